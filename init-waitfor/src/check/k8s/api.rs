//! One request to the API server over a connection of its own, bounded in every direction.

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use podkit::dial;
use podkit::dns::Resolver;
use serde_json::Value;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::access::Access;
use crate::wire::{Duplex, Trouble};

/// An object larger than this is larger than etcd takes; a list of EndpointSlices that large has 50,000 endpoints.
const MOST: usize = 8 << 20;
/// Of the answer's head.
const HEAD: usize = 64 << 10;

/// An answer, its body still to come.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    body: Incoming,
    buffer: BytesMut,
}

/// Why a body is not whole.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cut {
    #[error("the answer is larger than 8 MiB")]
    TooLarge,
    #[error("the answer ended early: {0}")]
    Early(hyper::Error),
}

/// # Errors
/// What kept the server from answering, in one sentence.
pub(super) async fn get(
    access: &Access,
    path: &str,
    resolver: &Resolver,
    until: Instant,
) -> Result<Reply, String> {
    let left = until.saturating_duration_since(Instant::now());
    let stream = dial::host(resolver, &access.at.host, access.at.port, left)
        .await
        .map_err(|error| format!("API server {}: {error}", access.at))?;
    let stream: Box<dyn Duplex> = match &access.tls {
        None => Box::new(stream),
        Some((config, name)) => {
            let connected = TlsConnector::from(config.clone()).connect(name.clone(), stream).await;
            Box::new(
                connected.map_err(|error| format!("API server {}: {}", access.at, Trouble::tls(&error)))?,
            )
        }
    };
    let broken = |error: hyper::Error| {
        let cause = std::error::Error::source(&error).map_or(String::new(), |cause| format!(": {cause}"));
        format!("API server {}: {error}{cause}", access.at)
    };
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(HEAD).handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // Ends when the answer is dropped.
    tokio::spawn(connection);
    let mut request = Request::get(format!("{}{path}", access.prefix))
        .header("host", access.at.to_string())
        .header("accept", "application/json")
        .header("user-agent", concat!("init-waitfor/", env!("CARGO_PKG_VERSION")));
    if let Some(authorization) = &access.authorization {
        request = request.header("authorization", authorization);
    }
    let request =
        request.body(Empty::<Bytes>::new()).map_err(|_| "the token is not one line of text".to_owned())?;
    let answer = sender.send_request(request).await.map_err(broken)?;
    let status = answer.status().as_u16();
    Ok(Reply { status, body: answer.into_body(), buffer: BytesMut::new() })
}

impl Reply {
    /// The whole body as JSON; `null` when it is none (a proxy's page).
    pub(super) async fn json(mut self) -> Result<Value, Cut> {
        while self.more().await? {}
        Ok(serde_json::from_slice(&self.buffer).unwrap_or_default())
    }

    /// The next line of a stream. What came of the next one stays here when the caller gives up waiting.
    pub(super) async fn line(&mut self) -> Result<Option<Bytes>, Cut> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.buffer[searched..].iter().position(|byte| *byte == b'\n') {
                return Ok(Some(self.buffer.split_to(searched + at + 1).freeze()));
            }
            searched = self.buffer.len();
            if !self.more().await? {
                return Ok(None);
            }
        }
    }

    async fn more(&mut self) -> Result<bool, Cut> {
        match self.body.frame().await {
            None => Ok(false),
            Some(Err(error)) => Err(Cut::Early(error)),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    self.buffer.extend_from_slice(&data);
                }
                if self.buffer.len() > MOST {
                    return Err(Cut::TooLarge);
                }
                Ok(true)
            }
        }
    }
}
