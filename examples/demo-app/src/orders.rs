//! The client of the orders service: keep-alive connections to localhost, every request with an id, every
//! outcome counted.
//!
//! A request that meets a connection closed in the meantime is sent on a fresh one only if hyper says that it
//! never left; anything else counts as failed. The shop repeats nothing: that is for its ambassador to decide.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::ledger::Ledger;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections unused for longer are not trusted any more.
const IDLE: Duration = Duration::from_secs(2);

pub(crate) struct Orders {
    address: String,
    ledger: Rc<Ledger>,
    /// The newest last: it is taken first, and the others age and go.
    idle: RefCell<Vec<(SendRequest<Full<Bytes>>, Instant)>>,
    number: Cell<u64>,
}

/// What the shop's pages and its log say about a call.
pub(crate) struct Outcome {
    pub(crate) id: String,
    pub(crate) took: Duration,
    pub(crate) result: Result<StatusCode, String>,
}

impl Orders {
    /// `address` is `HOST:PORT`, with or without `http://` before it.
    pub(crate) fn new(address: &str, ledger: Rc<Ledger>) -> Self {
        let address = address.trim_start_matches("http://").trim_end_matches('/').to_owned();
        Orders { address, ledger, idle: RefCell::default(), number: Cell::default() }
    }

    pub(crate) async fn call(&self, method: Method, path: &str, body: String) -> Outcome {
        self.number.set(self.number.get() + 1);
        let id = format!("rq-{}-{}", self.ledger.run, self.number.get());
        let started = Instant::now();
        self.ledger.sent();
        let exchange = self.exchange(&id, method, path, Bytes::from(body));
        let result = match tokio::time::timeout(ANSWER_TIMEOUT, exchange).await {
            Ok(Ok(status)) if status.is_success() => Ok(status),
            Ok(Ok(status)) => Err(format!("answered {status}")),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs())),
        };
        match &result {
            Ok(_) => self.ledger.answered(),
            Err(why) => self.ledger.failed(why),
        }
        Outcome { id, took: started.elapsed(), result }
    }

    async fn exchange(
        &self,
        id: &str,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<StatusCode, String> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.address)
            .header("x-request-id", id)
            .header("user-agent", concat!("demo-app/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body))
            .map_err(|error| format!("cannot make the request: {error}"))?;
        let mut request = Some(request);
        while let Some(taken) = request.take() {
            let (mut connection, fresh) = match self.take_idle() {
                Some(connection) => (connection, false),
                None => (self.connect().await?, true),
            };
            let answer = match connection.try_send_request(taken).await {
                Ok(answer) => answer,
                Err(mut error) => {
                    request = error.take_message().filter(|_| !fresh);
                    if request.is_some() {
                        continue;
                    }
                    return Err(format!("no answer: {}", error.into_error()));
                }
            };
            let (parts, body) = answer.into_parts();
            body.collect().await.map_err(|error| format!("answer cut short: {error}"))?;
            if parts.headers.get("x-request-id").is_some_and(|echo| echo.as_bytes() != id.as_bytes()) {
                return Err("got the answer to another request".to_owned());
            }
            self.idle.borrow_mut().push((connection, Instant::now()));
            return Ok(parts.status);
        }
        Err("no connection took the request".to_owned())
    }

    fn take_idle(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|(connection, since)| !connection.is_closed() && since.elapsed() < IDLE);
        let newest = idle.pop_if(|(connection, _)| connection.is_ready());
        newest.map(|(connection, _)| connection)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let connect = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(&self.address)).await;
        let stream = connect
            .map_err(|_| format!("cannot connect to {} within 1 s", self.address))?
            .map_err(|error| format!("cannot connect to {}: {error}", self.address))?;
        let _ = stream.set_nodelay(true);
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|error| format!("handshake: {error}"))?;
        tokio::task::spawn_local(connection);
        Ok(sender)
    }
}
