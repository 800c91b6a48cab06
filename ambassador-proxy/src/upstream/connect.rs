//! A new connection to one endpoint: TCP or a socket file, TLS, then HTTP.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::sockopt;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::endpoint::LocalEndpoint;
use super::io::{Plain, Stream};
use super::pool::{self, Lease1, Meta, Wire};
use super::{Peer, Shared};
use crate::config::StartTls;
use crate::config::plan::TlsPlan;
use crate::h1::client::Conn;
use crate::stats::Reason;

/// Buffers of a connection, each way. hyper's own default of 400 KB makes 12 MiB of 50 connections.
pub const BUFFER: usize = 64 << 10;

/// Why there is no connection.
#[derive(Debug, Clone)]
pub struct ConnectError {
    /// For metrics and the status.
    pub reason: Reason,
    /// RFC 9209's name for it.
    pub proxy_status: &'static str,
    /// For people.
    pub detail: String,
}

/// How long the parts of a connect took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timings {
    /// TCP.
    pub connect: Duration,
    /// TLS.
    pub tls: Duration,
}

/// What may be spoken on the new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 only.
    Http2,
    /// What ALPN says.
    Either,
}

/// Runs futures where they are: everything of a worker stays on its thread.
#[derive(Debug, Clone, Copy)]
pub struct Local;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

impl ConnectError {
    fn io(error: &io::Error, peer: &Peer) -> Self {
        let (proxy_status, what) = match error.kind() {
            io::ErrorKind::ConnectionRefused => ("connection_refused", "refused the connection".to_owned()),
            io::ErrorKind::NotFound => ("destination_unavailable", "is not there".to_owned()),
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                ("destination_ip_unroutable", "cannot be reached".to_owned())
            }
            _ => ("connection_terminated", format!("cannot be connected to: {error}")),
        };
        Self { reason: Reason::Connect, proxy_status, detail: format!("{peer} {what}") }
    }

    fn timeout(peer: &Peer, after: Duration) -> Self {
        let detail = format!("{peer} took no connection within {after:?}");
        Self { reason: Reason::ConnectTimeout, proxy_status: "connection_timeout", detail }
    }

    fn tls(error: &io::Error, peer: &Peer, name: &str) -> Self {
        let certificate = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let proxy_status = match certificate {
            Some(rustls::Error::InvalidCertificate(_)) => "tls_certificate_error",
            Some(rustls::Error::AlertReceived(_)) => "tls_alert_received",
            _ => "tls_protocol_error",
        };
        let mut detail = format!("TLS with {peer} as {name} failed: {error}");
        // What OpenSSL lets pass, and everybody meets who tries this with a certificate made in one line.
        if detail.contains("CaUsedAsEndEntity") {
            detail.push_str(
                "; the server shows a CA's certificate: make it one with basicConstraints=CA:FALSE",
            );
        }
        Self { reason: Reason::Connect, proxy_status, detail }
    }

    fn http(error: &hyper::Error, peer: &Peer) -> Self {
        let detail = format!("{peer} does not speak the HTTP expected: {error}");
        Self { reason: Reason::Protocol, proxy_status: "http_protocol_error", detail }
    }
}

/// Dead peers are noticed within about a minute, also under a write that is never acknowledged.
pub fn keep_alive(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, Duration::from_secs(30));
    let _ = sockopt::set_tcp_keepintvl(stream, Duration::from_secs(10));
    let _ = sockopt::set_tcp_keepcnt(stream, 3);
    let _ = sockopt::set_tcp_user_timeout(stream, 60_000);
}

/// Bytes without TLS.
async fn plain(peer: &Peer) -> io::Result<Plain> {
    match peer {
        Peer::Tcp(addr) => {
            let stream = TcpStream::connect(addr).await?;
            keep_alive(&stream);
            Ok(Plain::Tcp(stream))
        }
        Peer::Unix(path) => Ok(Plain::Unix(UnixStream::connect(path).await?)),
    }
}

/// A byte stream that stands.
#[derive(Debug)]
pub struct Connected {
    /// The stream.
    pub stream: Stream,
    /// How long it took.
    pub timings: Timings,
    /// What the server said before TLS and the app has to hear.
    pub greeting: Vec<u8>,
}

/// A byte stream to a peer, with TLS where the plan asks for it; except for MySQL, where the login has to begin before.
///
/// # Errors
/// What failed. Nothing of a request has been sent by then.
pub async fn stream(
    shared: &Shared,
    peer: &Peer,
    want: Want,
    limit: Duration,
    hello: Option<&[u8]>,
) -> Result<Connected, ConnectError> {
    let started = Instant::now();
    let mut timings = Timings::default();
    let work = async {
        let mut stream = plain(peer).await.map_err(|error| ConnectError::io(&error, peer))?;
        if let Some(hello) = hello {
            let sent = tokio::io::AsyncWriteExt::write_all(&mut stream, hello).await;
            sent.map_err(|error| ConnectError::io(&error, peer))?;
        }
        timings.connect = started.elapsed();
        let plan = shared.plan.tls.as_ref().filter(|plan| plan.starttls != Some(StartTls::Mysql));
        let Some(plan) = plan else { return Ok((Stream::Plain(stream), Vec::new())) };
        let (stream, greeting) =
            crate::starttls::ask(stream, plan.starttls).await.map_err(|detail| refused(peer, &detail))?;
        let stream = tls(shared, plan, peer, want, stream).await?;
        timings.tls = started.elapsed() - timings.connect;
        Ok((Stream::Tls(Box::new(stream)), greeting))
    };
    let (stream, greeting) =
        tokio::time::timeout(limit, work).await.map_err(|_| ConnectError::timeout(peer, limit))??;
    Ok(Connected { stream, timings, greeting })
}

/// The peer said something else before TLS.
pub fn refused(peer: &Peer, detail: &str) -> ConnectError {
    let (reason, proxy_status) = (Reason::Protocol, "tls_protocol_error");
    ConnectError { reason, proxy_status, detail: format!("{peer} {detail}") }
}

/// TLS on a connection that stands.
///
/// # Errors
/// What the handshake said.
pub async fn tls(
    shared: &Shared,
    plan: &TlsPlan,
    peer: &Peer,
    want: Want,
    stream: Plain,
) -> Result<tokio_rustls::client::TlsStream<Plain>, ConnectError> {
    let refuse =
        |detail: String| ConnectError { reason: Reason::Connect, proxy_status: "tls_protocol_error", detail };
    let configs = shared.tls.load_full();
    let configs =
        configs.ok_or_else(|| refuse("the TLS files of this upstream could not be read yet".to_owned()))?;
    let config: &Arc<_> = if want == Want::Http1 { &configs.http1 } else { &configs.any };
    let name = ServerName::try_from(plan.server_name.clone())
        .map_err(|_| refuse(format!("{:?} is no name for TLS", plan.server_name)))?;
    let connected = TlsConnector::from(config.clone()).connect(name, stream).await;
    connected.map_err(|error| ConnectError::tls(&error, peer, &plan.server_name))
}

/// An HTTP connection to an endpoint, ready for its first request.
///
/// # Errors
/// What failed. Nothing of a request has been sent by then.
pub async fn http(
    shared: &Shared,
    endpoint: &Rc<LocalEndpoint>,
    want: Want,
    limit: Duration,
) -> Result<(Wire, Timings), ConnectError> {
    // In a box: TLS handshakes make a large future, and every request under way would carry room for one.
    let Connected { stream, timings, .. } =
        Box::pin(stream(shared, &endpoint.peer, want, limit, None)).await?;
    let h2 = match &stream {
        Stream::Tls(tls) if want == Want::Either => tls.get_ref().1.alpn_protocol() == Some(b"h2"),
        _ => want == Want::Http2,
    };
    if want == Want::Either {
        endpoint.speaks_h2.set(Some(h2));
    }
    let meta = Meta::new(&shared.plan.pool, Instant::now());
    let open = Open::new(endpoint);
    if h2 {
        let (sender, connection) = http2::Builder::new(Local)
            .timer(TokioTimer::new())
            .initial_stream_window_size(256 << 10)
            .initial_connection_window_size(1 << 20)
            .max_send_buf_size(BUFFER)
            .max_header_list_size(64 << 10)
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(10))
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| ConnectError::http(&error, &endpoint.peer))?;
        tokio::task::spawn_local(async move {
            let _open = open;
            if let Err(error) = connection.await {
                tracing::debug!(%error, "upstream h2 connection ended");
            }
        });
        return Ok((Wire::H2(pool::add(endpoint, sender, meta)), timings));
    }
    Ok((Wire::H1(Lease1 { conn: Conn::new(stream), meta, _open: open }), timings))
}

/// Counts an open connection.
pub(crate) struct Open(Arc<crate::stats::EndpointStats>);

impl Open {
    fn new(endpoint: &LocalEndpoint) -> Self {
        endpoint.stats.open.add(1);
        Self(endpoint.stats.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.add(-1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_of_a_ca_is_told_with_what_to_make() {
        let error = io::Error::other("invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))");
        let peer = Peer::Tcp(([127, 0, 0, 1], 443).into());
        let told = ConnectError::tls(&error, &peer, "db").detail;
        assert!(told.ends_with("basicConstraints=CA:FALSE"), "{told}");
    }
}
