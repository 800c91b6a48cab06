//! An HTTP/2 service (prior knowledge, and behind [`crate::TlsShim::alpn`] with TLS): h2c and gRPC upstreams.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;

use super::{Received, Reply};
use crate::listener::{Listener, block_on};

/// What is kept of the past.
const KEPT: usize = 100_000;

/// A response that may have trailers.
#[derive(Clone, Debug, Default)]
pub struct H2Reply {
    pub reply: Reply,
    pub trailers: Vec<(String, String)>,
}

impl From<Reply> for H2Reply {
    fn from(reply: Reply) -> Self {
        Self { reply, trailers: Vec::new() }
    }
}

impl H2Reply {
    #[must_use]
    pub fn trailer(mut self, name: &str, value: &str) -> Self {
        self.trailers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// One gRPC message (already encoded) with its status in the trailers; without a message only the status.
    #[must_use]
    pub fn grpc(status: u8, message: Option<&[u8]>) -> Self {
        let body = message.map(|message| {
            let length = u32::try_from(message.len()).expect("a message below 4 GiB").to_be_bytes();
            [&[0], &length[..], message].concat()
        });
        let reply = Reply::new(200, body.unwrap_or_default()).header("content-type", "application/grpc");
        Self::from(reply).trailer("grpc-status", &status.to_string())
    }
}

type Work = dyn Fn(&Received) -> H2Reply + Send + Sync;

/// An HTTP/2 server with one function for all requests.
#[derive(Debug)]
pub struct FakeH2 {
    listener: Listener,
    core: Arc<Core>,
}

struct Core {
    work: Box<Work>,
    requests: Mutex<VecDeque<Received>>,
    count: AtomicUsize,
    connections: AtomicU64,
    goaway_after: AtomicUsize,
}

impl FakeH2 {
    /// Answers with what it got, as [`super::FakeHttp::echo`] does.
    #[must_use]
    pub fn echo() -> Self {
        Self::with(|request| {
            let headers: serde_json::Map<_, _> =
                request.headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
            let body = String::from_utf8_lossy(&request.body);
            let echo =
                json!({"method": request.method, "target": request.target, "headers": headers, "body": body});
            Reply::json(200, &echo).into()
        })
    }

    /// Answers as `work` says.
    #[must_use]
    pub fn with(work: impl Fn(&Received) -> H2Reply + Send + Sync + 'static) -> Self {
        let core = Arc::new(Core {
            work: Box::new(work),
            requests: Mutex::default(),
            count: AtomicUsize::new(0),
            connections: AtomicU64::new(0),
            goaway_after: AtomicUsize::new(usize::MAX),
        });
        let serving = Arc::clone(&core);
        Self { listener: Listener::start(move |stream| serving.serve(&stream)), core }
    }

    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.listener.addr()
    }

    /// Says GOAWAY on each further connection after so many requests.
    pub fn goaway_after(&self, requests: usize) {
        self.core.goaway_after.store(requests, Ordering::Relaxed);
    }

    /// Every request so far, oldest first (the last 100,000).
    #[must_use]
    pub fn requests(&self) -> Vec<Received> {
        self.core.requests().iter().cloned().collect()
    }

    /// How many requests were read to their end.
    #[must_use]
    pub fn count(&self) -> usize {
        self.core.count.load(Ordering::Relaxed)
    }

    /// How many connections were accepted so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.core.connections.load(Ordering::Relaxed)
    }

    /// How many connections are open now.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.listener.open()
    }

    /// Stops listening and resets all connections: connecting is refused.
    pub fn down(&self) {
        self.listener.down();
    }

    /// Listens again, on the same port.
    pub fn up(&self) {
        self.listener.up();
    }

    /// Resets all open connections, and goes on listening.
    pub fn reset_all(&self) {
        self.listener.reset_all();
    }
}

impl Core {
    fn requests(&self) -> MutexGuard<'_, VecDeque<Received>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(self: &Arc<Self>, stream: &TcpStream) {
        let connection = self.connections.fetch_add(1, Ordering::Relaxed);
        let enough = self.goaway_after.load(Ordering::Relaxed);
        let (served, goaway) = (Arc::new(AtomicUsize::new(0)), Arc::new(tokio::sync::Notify::new()));
        let core = Arc::clone(self);
        let _ = block_on(stream, |stream| async move {
            let told = Arc::clone(&goaway);
            let service = service_fn(move |request| {
                let core = Arc::clone(&core);
                if served.fetch_add(1, Ordering::Relaxed) + 1 >= enough {
                    told.notify_one();
                }
                async move { core.answer(request, connection).await }
            });
            let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let serving = http2.serve_connection(TokioIo::new(stream), service);
            tokio::pin!(serving);
            let ended = tokio::select! {
                ended = serving.as_mut() => Some(ended),
                () = goaway.notified() => None,
            };
            if ended.is_none() {
                serving.as_mut().graceful_shutdown();
                let _ = serving.await;
            }
            Ok(())
        });
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        connection: u64,
    ) -> Result<Response<impl hyper::body::Body<Data = Bytes, Error = Infallible> + use<>>, hyper::Error>
    {
        let (head, body) = request.into_parts();
        let collected = body.collect().await?;
        let trailers = collected.trailers().cloned().unwrap_or_default();
        let text = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let received = Received {
            method: head.method.to_string(),
            target: head.uri.path_and_query().map_or_else(|| head.uri.to_string(), ToString::to_string),
            headers: head.headers.iter().chain(&trailers).map(text).collect(),
            body: collected.to_bytes().to_vec(),
            connection,
            executed: true,
        };
        let H2Reply { reply, trailers } = (self.work)(&received);
        self.count.fetch_add(1, Ordering::Relaxed);
        {
            let mut requests = self.requests();
            if requests.len() == KEPT {
                requests.pop_front();
            }
            requests.push_back(received);
        }
        let sent = Some(Ok(header_map(&trailers))).filter(|_| !trailers.is_empty());
        let body = Full::new(Bytes::from(reply.body)).with_trailers(async move { sent });
        let mut response = Response::new(body);
        *response.status_mut() = reply.status.try_into().expect("a status");
        *response.headers_mut() = header_map(&reply.headers);
        Ok(response)
    }
}

fn header_map(fields: &[(String, String)]) -> HeaderMap {
    let field = |(name, value): &(String, String)| {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a header name");
        (name, HeaderValue::from_str(value).expect("a header value"))
    };
    fields.iter().map(field).collect()
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("count", &self.count).finish_non_exhaustive()
    }
}
