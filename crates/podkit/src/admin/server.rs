//! Serves the admin port with hyper, HTTP/1.1 only.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ORIGIN, X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, body::Incoming};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use super::{Reply, Status};
use crate::exit::Exit;
use crate::limit::Every;
use crate::metrics::{self, Metrics};
use crate::ready::{Pulse, Readiness};
use crate::shutdown::Shutdown;

const PAGE: &str = include_str!("page.html");
/// Connections served at once; probes and a scraper need three.
const CONNECTIONS: usize = 64;
/// Time for the head of a request, so that a slow client holds no place.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for a whole connection.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);
/// A loop that has not turned for so long is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(20);

/// What the answers are made of.
#[derive(Clone)]
pub struct Context {
    /// For `/readyz`.
    pub ready: Readiness,
    /// For `/livez`.
    pub pulse: Pulse,
    /// For `/metrics`.
    pub metrics: Metrics,
    /// For `/statusz` and actions.
    pub status: Status,
    /// For the state.
    pub shutdown: Shutdown,
}

/// The bound admin port.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    addr: SocketAddr,
}

impl Admin {
    /// Binds `admin`, or `[::]:default_port` (dual-stack), or `0.0.0.0` where there is no IPv6. `off` binds nothing.
    ///
    /// # Errors
    /// Code 2 when `admin` is no address, code 1 when it cannot be bound.
    pub async fn bind(admin: Option<&str>, default_port: u16) -> Result<Option<Self>, Exit> {
        let listener = match admin {
            Some("off") => return Ok(None),
            Some(text) => {
                let addr: SocketAddr = text.parse().map_err(|_| {
                    Exit::usage(format!("--admin {text}: not an address; write for example [::]:{default_port}, 127.0.0.1:0 or off"))
                })?;
                TcpListener::bind(addr).await.map_err(|error| in_use(text, &error))?
            }
            None => {
                let (any6, any4) = (format!("[::]:{default_port}"), format!("0.0.0.0:{default_port}"));
                match TcpListener::bind(&any6).await {
                    Ok(listener) => listener,
                    Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                        return Err(in_use(&any6, &error));
                    }
                    Err(_) => TcpListener::bind(&any4).await.map_err(|error| in_use(&any4, &error))?,
                }
            }
        };
        let addr = listener.local_addr().map_err(|error| in_use("?", &error))?;
        Ok(Some(Self { listener, addr }))
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until the process ends, the drain included.
    pub async fn serve(self, context: Context) {
        static ACCEPT: Every = Every::new(Duration::from_secs(30));
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        let context = Arc::new(context);
        loop {
            let Ok(slot) = slots.clone().acquire_owned().await else { return };
            let (stream, peer) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    if let Some(suppressed) = ACCEPT.allow() {
                        warn!(%error, suppressed, "admin port cannot accept");
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let context = context.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let response = answer(&context, &request, peer);
                    async move { Ok::<_, Infallible>(response) }
                });
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD_TIMEOUT)
                    .max_buf_size(16 << 10)
                    .serve_connection(TokioIo::new(stream), service);
                if let Ok(Err(error)) = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
                    debug!(%error, "admin connection");
                }
                drop(slot);
            });
        }
    }
}

fn in_use(addr: &str, error: &std::io::Error) -> Exit {
    let remedy = if error.kind() == std::io::ErrorKind::AddrInUse {
        "all containers of a pod share its ports: choose another one with --admin"
    } else {
        "choose another address with --admin"
    };
    Exit::failed(format!("admin port {addr} cannot be bound: {error}; {remedy}"))
}

fn answer(context: &Context, request: &Request<Incoming>, peer: SocketAddr) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    match *request.method() {
        Method::GET | Method::HEAD => read(context, path),
        Method::POST => act(context, request, peer),
        _ => {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET, HEAD and POST\n");
            response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD, POST"));
            response
        }
    }
}

fn read(context: &Context, path: &str) -> Response<Full<Bytes>> {
    match path {
        "/livez" => {
            let age = context.pulse.age();
            if age < STUCK_AFTER {
                plain(StatusCode::OK, "ok\n")
            } else {
                plain(
                    StatusCode::SERVICE_UNAVAILABLE,
                    format!("the main loop has not turned for {} s\n", age.as_secs()),
                )
            }
        }
        "/readyz" => {
            let waiting = context.ready.waiting_for();
            if waiting.is_empty() {
                plain(StatusCode::OK, "ok\n")
            } else {
                plain(StatusCode::SERVICE_UNAVAILABLE, format!("waiting for: {}\n", waiting.join(", ")))
            }
        }
        "/metrics" => typed(StatusCode::OK, metrics::CONTENT_TYPE, context.metrics.render()),
        "/statusz" => {
            let status = context.status.json(context.ready.is_ready(), context.shutdown.is_started());
            typed(StatusCode::OK, "application/json", format!("{status}\n"))
        }
        "/" => {
            let mut page = typed(StatusCode::OK, "text/html; charset=utf-8", PAGE);
            page.headers_mut().insert(
                CONTENT_SECURITY_POLICY,
                hyper::header::HeaderValue::from_static(
                    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'",
                ),
            );
            page
        }
        _ => plain(StatusCode::NOT_FOUND, "there is / /livez /readyz /metrics /statusz\n"),
    }
}

/// Actions change state: from loopback alone, and not for a web page of another origin.
fn act(context: &Context, request: &Request<Incoming>, peer: SocketAddr) -> Response<Full<Bytes>> {
    if !peer.ip().to_canonical().is_loopback() {
        return plain(StatusCode::FORBIDDEN, "actions are taken from loopback only\n");
    }
    if request.headers().contains_key(ORIGIN) {
        return plain(StatusCode::FORBIDDEN, "actions are not taken from web pages\n");
    }
    let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
    match context.status.call(path, query) {
        Some(Reply { code, body }) => {
            plain(StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), body)
        }
        None => plain(StatusCode::NOT_FOUND, "no such action\n"),
    }
}

fn plain(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    typed(status, "text/plain; charset=utf-8", body)
}

fn typed(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, hyper::header::HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, hyper::header::HeaderValue::from_static("nosniff"));
    response
}
