//! HTTP requests of the control thread itself: tokens, spans. One connection each: they are few, and far between.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use podkit::dns::Resolver;
use podkit::tls::TlsOptions;
use rustls::pki_types::ServerName;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use url::{Position, Url};

/// For one request, with the connection.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// An answer is far below.
const LARGEST: usize = 64 << 10;

/// Where to, and whom to trust there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// `http` or `https`.
    pub url: Url,
    /// Roots, or the default ones.
    pub ca: Option<PathBuf>,
}

/// Posts a body: status, headers and body of the answer.
///
/// # Errors
/// What kept it from being sent or answered within [`TIMEOUT`], as a sentence without secrets.
pub async fn post(
    place: &Place,
    resolver: &Resolver,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
) -> Result<(u16, HeaderMap, Bytes), String> {
    let answered = tokio::time::timeout(TIMEOUT, connect(place, resolver, headers, body)).await;
    answered.unwrap_or_else(|_| Err(format!("no answer within {TIMEOUT:?}")))
}

async fn connect(
    place: &Place,
    resolver: &Resolver,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
) -> Result<(u16, HeaderMap, Bytes), String> {
    let url = &place.url;
    let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(443));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let answer = resolver.ips(host).await.map_err(|error| error.to_string())?;
    let tries = answer.addrs.iter().map(|ip| TcpStream::connect((*ip, port)));
    let stream = podkit::stagger::first_patient(tries, Duration::from_millis(250)).await;
    let stream =
        stream.map_err(|errors| errors.last().map_or("no address".to_owned(), ToString::to_string))?;
    if url.scheme() != "https" {
        return send(url, stream, headers, body).await;
    }
    let options = TlsOptions { ca: place.ca.as_ref().map(Into::into), ..TlsOptions::default() };
    let config = podkit::tls::client_config(&options, &["http/1.1"]).map_err(|error| error.to_string())?;
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let connected = tokio_rustls::TlsConnector::from(config).connect(name, stream).await;
    send(url, connected.map_err(|error| error.to_string())?, headers, body).await
}

async fn send(
    url: &Url,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
) -> Result<(u16, HeaderMap, Bytes), String> {
    let authority = url.host_str().unwrap_or_default().to_owned()
        + &url.port().map_or_else(String::new, |port| format!(":{port}"));
    let mut request = Request::post(&url[Position::BeforePath..Position::AfterQuery])
        .header(header::HOST, authority)
        .header(header::CONNECTION, "close")
        .body(Full::<Bytes>::new(body))
        .map_err(|error| error.to_string())?;
    request.headers_mut().extend(headers);
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    tokio::task::spawn_local(tokio::time::timeout(TIMEOUT, connection));
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, LARGEST).collect().await.map_err(|error| error.to_string())?;
    Ok((head.status.as_u16(), head.headers, body.to_bytes()))
}
