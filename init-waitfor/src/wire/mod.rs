//! Connections for the protocols spoken here by hand: TCP or unix socket, TLS at once or after a word in plain text.

pub mod scram;
mod trouble;

use std::path::Path;
use std::sync::Arc;

use podkit::dial;
use podkit::dns::Resolver;
use podkit::tls::TlsOptions;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use crate::target::HostPort;

pub use trouble::Trouble;
pub(crate) use trouble::{certificate, rustls_error};

/// A reply longer than this is not from the server that we asked for.
const REPLY_LIMIT: usize = 4 << 20;

/// What the clients need of a connection.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// A connection with what has been read and not yet used.
pub struct Wire {
    stream: Box<dyn Duplex>,
    buffer: bytes::BytesMut,
    until: Instant,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").field("buffered", &self.buffer.len()).finish_non_exhaustive()
    }
}

/// How to reach a server, and until when.
#[derive(Clone, Copy, Debug)]
pub struct Reach<'a> {
    pub resolver: &'a Resolver,
    pub until: Instant,
}

impl Wire {
    /// # Errors
    /// No address accepts, no such name.
    pub async fn tcp(reach: Reach<'_>, at: &HostPort) -> Result<Self, Trouble> {
        let left = reach.until.saturating_duration_since(Instant::now());
        let stream = dial::host(reach.resolver, &at.host, at.port, left).await?;
        Ok(Self::new(Box::new(stream), reach.until))
    }

    /// # Errors
    /// Nobody accepts on the socket.
    pub async fn unix(reach: Reach<'_>, path: &Path) -> Result<Self, Trouble> {
        let connect = tokio::net::UnixStream::connect(path);
        match tokio::time::timeout_at(reach.until, connect).await {
            Ok(Ok(stream)) => Ok(Self::new(Box::new(stream), reach.until)),
            Ok(Err(error)) => Err(Trouble::no("connect", format!("{}: {error}", path.display()))),
            Err(_) => Err(Trouble::unknown("connect", "nobody accepts in time")),
        }
    }

    /// A wire that leads nowhere, to stand in while another is being changed.
    pub fn closed(until: Instant) -> Self {
        Self::new(Box::new(tokio::io::empty()), until)
    }

    fn new(stream: Box<dyn Duplex>, until: Instant) -> Self {
        Wire { stream, buffer: bytes::BytesMut::new(), until }
    }

    /// Goes on in TLS. What was read before would be an injection (CVE-2021-23214), so it is refused.
    ///
    /// # Errors
    /// Certificate files, or the handshake.
    pub async fn into_tls(
        self,
        options: &TlsOptions,
        name: ServerName<'static>,
        alpn: &[&str],
    ) -> Result<Self, Trouble> {
        if !self.buffer.is_empty() {
            return Err(Trouble::unknown("handshake", "data before the TLS handshake"));
        }
        let config = podkit::tls::client_config(options, alpn)
            .map_err(|error| Trouble::unknown("tls files", error.to_string()))?;
        let connect = TlsConnector::from(Arc::clone(&config)).connect(name, self.stream);
        match tokio::time::timeout_at(self.until, connect).await {
            Ok(Ok(stream)) => Ok(Self::new(Box::new(stream), self.until)),
            Ok(Err(error)) => Err(Trouble::tls(&error)),
            Err(_) => Err(Trouble::unknown("handshake", "no TLS handshake in time")),
        }
    }

    /// Another limit for what follows.
    pub fn until(&mut self, until: Instant) {
        self.until = until;
    }

    /// # Errors
    /// The connection's, or too slow.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        let work = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        match tokio::time::timeout_at(self.until, work).await {
            Ok(result) => result.map_err(|error| Trouble::io(&error)),
            Err(_) => Err(Trouble::unknown("reply", "the server does not read in time")),
        }
    }

    /// Reads some more; `false` at the end of the stream.
    ///
    /// # Errors
    /// The connection's, too slow, or too much.
    pub async fn more(&mut self) -> Result<bool, Trouble> {
        if self.buffer.len() > REPLY_LIMIT {
            return Err(Trouble::unknown("reply", "the reply is larger than 4 MiB"));
        }
        match tokio::time::timeout_at(self.until, self.stream.read_buf(&mut self.buffer)).await {
            Ok(Ok(count)) => Ok(count > 0),
            Ok(Err(error)) => Err(Trouble::io(&error)),
            Err(_) => Err(Trouble::unknown("reply", "no reply in time")),
        }
    }

    /// What has been read and not used.
    pub fn buffer(&mut self) -> &mut bytes::BytesMut {
        &mut self.buffer
    }

    /// Exactly this many bytes.
    ///
    /// # Errors
    /// The end of the stream before that.
    pub async fn take(&mut self, count: usize) -> Result<bytes::Bytes, Trouble> {
        if count > REPLY_LIMIT {
            return Err(Trouble::unknown("reply", "the reply is larger than 4 MiB"));
        }
        while self.buffer.len() < count {
            if !self.more().await? {
                return Err(Trouble::ended());
            }
        }
        Ok(self.buffer.split_to(count).freeze())
    }

    /// Up to and without `\r\n` or `\n`.
    ///
    /// # Errors
    /// The end of the stream before that.
    pub async fn line(&mut self) -> Result<String, Trouble> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.buffer[searched..].iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(searched + at + 1);
                return Ok(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned());
            }
            searched = self.buffer.len();
            if !self.more().await? {
                return Err(Trouble::ended());
            }
        }
    }
}
