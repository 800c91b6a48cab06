//! Accepting connections, and the few things every answer needs.

use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::watch;

pub(crate) type Answer = Response<Full<Bytes>>;

/// How long open connections may go on after the signal to stop.
const GRACE: Duration = Duration::from_secs(3);

pub(crate) async fn bind(addr: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(addr)
        .await
        .with_context(|| format!("cannot listen on {addr}; is another demo running?"))
}

/// The line a test waits for: the addresses really bound, when port 0 was asked for.
pub(crate) fn say_ready(orders: SocketAddr, elasticsearch: SocketAddr) {
    let line = serde_json::json!({
        "level": "INFO", "message": "ready",
        "orders": orders.to_string(), "elasticsearch": elasticsearch.to_string(),
    });
    eprintln!("{line}");
}

/// Serves each connection until `stopping` turns true, then lets open ones finish within [`GRACE`].
///
/// The handler answers `None` to have the connection cut without an answer.
pub(crate) async fn accept<F, A>(listener: TcpListener, mut stopping: watch::Receiver<bool>, handler: F)
where
    F: Fn(Request<Incoming>) -> A + 'static,
    A: Future<Output = Option<Answer>> + 'static,
{
    let handler = Rc::new(handler);
    let mut open = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.wait_for(|stop| *stop) => break,
            Some(_) = open.join_next(), if !open.is_empty() => continue,
        };
        let Ok((stream, _)) = accepted else {
            // Out of descriptors, most likely: give the open connections a moment to end.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (handler, mut stopping) = (Rc::clone(&handler), stopping.clone());
        open.spawn_local(async move {
            let service = service_fn(move |request| {
                let answer = handler(request);
                async move { answer.await.ok_or(Cut) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service);
            tokio::pin!(connection);
            tokio::select! {
                _ = connection.as_mut() => return,
                _ = stopping.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
            }
            let _ = connection.await;
        });
    }
    let _ = tokio::time::timeout(GRACE, async { while open.join_next().await.is_some() {} }).await;
}

/// Ends a connection without an answer, as an outage does.
#[derive(Debug)]
struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("connection cut by the outage switch")
    }
}

impl std::error::Error for Cut {}

pub(crate) fn json(status: StatusCode, body: &serde_json::Value) -> Answer {
    with_type(status, "application/json", body.to_string())
}

pub(crate) fn with_type(status: StatusCode, content_type: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// The value of `name` in the query: `Some("")` for a bare `?fail`.
pub(crate) fn query<'a>(request: &'a Request<Incoming>, name: &str) -> Option<&'a str> {
    request.uri().query()?.split('&').find_map(|pair| match pair.split_once('=') {
        Some((key, value)) if key == name => Some(value),
        None if pair == name => Some(""),
        _ => None,
    })
}

/// One `GET /healthz` to `addr`, by loopback when it listens on every address.
pub(crate) async fn probe(addr: SocketAddr) -> anyhow::Result<()> {
    let target =
        if addr.ip().is_unspecified() { SocketAddr::from(([127, 0, 0, 1], addr.port())) } else { addr };
    let ask = async {
        let stream = tokio::net::TcpStream::connect(target).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::task::spawn_local(connection);
        let request = Request::get("/healthz").header("host", "localhost").body(Full::<Bytes>::default())?;
        anyhow::Ok(sender.send_request(request).await?.status())
    };
    let status =
        tokio::time::timeout(Duration::from_secs(3), ask).await.context("no answer within 3 s")??;
    anyhow::ensure!(status.is_success(), "answered {status}");
    Ok(())
}
