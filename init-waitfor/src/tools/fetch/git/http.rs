//! The HTTP below gix: our client, with its resolver, authorities, proxies, headers and limits.
//!
//! gix asks from a thread of its own; the requests run on the runtime of the process.

use std::io::{self, BufReader, Cursor, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gix::error::{Error, Result};
use gix_transport::client::blocking_io::http::{GetResponse, Http, PostBodyDataKind, PostResponse};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use podkit::http::describe;
use podkit::units::Size;
use tokio::runtime::Handle;

use super::super::transfer::{self, Failure};

/// What gix asks for: names of refs and of objects that it wants.
const LARGEST_QUESTION: usize = 4 << 20;
/// Redirects of the first question; git follows some there, and none later.
const REDIRECTS: usize = 5;

/// One conversation with a server.
pub(in crate::tools::fetch) struct Web {
    shared: Arc<Shared>,
    base: Option<String>,
}

struct Shared {
    client: reqwest::Client,
    runtime: Handle,
    /// Sent to `origin` only.
    headers: HeaderMap,
    origin: url::Origin,
    idle: Duration,
    most: u64,
    received: Arc<AtomicU64>,
    told: Arc<Told>,
}

/// The failure that ended the conversation, in our own words.
#[derive(Debug, Default)]
pub(super) struct Told(Mutex<Option<Failure>>);

impl Told {
    pub(super) fn failure(&self) -> Option<Failure> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Web {
    pub(in crate::tools::fetch) fn new(
        client: reqwest::Client,
        headers: HeaderMap,
        origin: url::Origin,
        idle: Duration,
        most: u64,
    ) -> Self {
        let runtime = Handle::current();
        let (received, told) = (Arc::default(), Arc::default());
        let shared = Shared { client, runtime, headers, origin, idle, most, received, told };
        Web { shared: Arc::new(shared), base: None }
    }

    pub(super) fn told(&self) -> Arc<Told> {
        self.shared.told.clone()
    }

    /// Bytes received so far.
    pub(super) fn counter(&self) -> Arc<AtomicU64> {
        self.shared.received.clone()
    }
}

impl Shared {
    /// gix gets a plain error; the failure itself is kept.
    fn fail(&self, failure: Failure) -> io::Error {
        let text = match &failure {
            Failure::Again(text, _) | Failure::Final(text) => text.clone(),
        };
        *self.told.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
        io::Error::other(text)
    }

    fn send(&self, question: &Question, body: Vec<u8>) -> io::Result<(reqwest::Response, url::Url)> {
        let mut url =
            url::Url::parse(&question.url).map_err(|_| self.fail(Failure::Final("no URL".to_owned())))?;
        for _ in 0..=REDIRECTS {
            let mut request =
                self.client.request(question.method.clone(), url.clone()).headers(question.headers.clone());
            if url.origin() == self.origin {
                request = request.headers(self.headers.clone());
            }
            if question.method == Method::POST {
                request = request.body(body.clone());
            }
            let sent = self.runtime.block_on(async { tokio::time::timeout(self.idle, request.send()).await });
            let response = sent
                .map_err(|_| self.fail(Failure::again(format!("no answer for {:?}", self.idle))))?
                .map_err(|error| self.fail(Failure::again(describe(&error))))?;
            let status = response.status();
            if status.is_success() {
                return Ok((response, url));
            }
            if !(question.method == Method::GET && matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)) {
                return Err(self.fail(transfer::refusal(status, response.headers())));
            }
            url =
                transfer::location(&url, response.headers(), false).map_err(|failure| self.fail(failure))?;
        }
        Err(self.fail(Failure::Final(format!("more than {REDIRECTS} redirects"))))
    }
}

/// A request that may still wait for its body.
struct Question {
    method: Method,
    url: String,
    headers: HeaderMap,
}

impl Question {
    fn new(method: Method, url: &str, lines: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let mut headers = HeaderMap::new();
        for line in lines {
            if let Some((name, value)) = line.as_ref().split_once(':')
                && let Ok(name) = HeaderName::from_bytes(name.trim().as_bytes())
                && let Ok(value) = HeaderValue::from_str(value.trim())
            {
                headers.append(name, value);
            }
        }
        Question { method, url: url.to_owned(), headers }
    }
}

/// An answer that is asked for when it is first read; until then the body of the question is collected.
pub(in crate::tools::fetch) struct Exchange {
    shared: Arc<Shared>,
    state: Mutex<State>,
}

enum State {
    Collecting(Question, Vec<u8>),
    Answered { head: Cursor<Vec<u8>>, response: reqwest::Response, chunk: Cursor<bytes::Bytes> },
    Broken,
}

impl Exchange {
    fn answered(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Collecting(..) = *state
            && let State::Collecting(question, body) = std::mem::replace(&mut *state, State::Broken)
        {
            let (response, _) = self.shared.send(&question, body)?;
            *state = State::from(response);
        }
        Ok(state)
    }
}

impl From<reqwest::Response> for State {
    fn from(response: reqwest::Response) -> Self {
        let mut head = Vec::new();
        for (name, value) in response.headers() {
            head.extend_from_slice(name.as_str().as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.push(b'\n');
        }
        State::Answered { head: Cursor::new(head), response, chunk: Cursor::default() }
    }
}

/// The three ends of an exchange.
pub(in crate::tools::fetch) struct Head(Arc<Exchange>);
pub(in crate::tools::fetch) struct Body(Arc<Exchange>);
pub(in crate::tools::fetch) struct Upload(Arc<Exchange>);

impl Read for Head {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut *self.0.answered()? {
            State::Answered { head, .. } => head.read(buffer),
            _ => Ok(0),
        }
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let shared = &self.0.shared;
        let mut state = self.0.answered()?;
        let State::Answered { response, chunk, .. } = &mut *state else { return Ok(0) };
        loop {
            match chunk.read(buffer)? {
                0 if !buffer.is_empty() => {}
                count => return Ok(count),
            }
            let next =
                shared.runtime.block_on(async { tokio::time::timeout(shared.idle, response.chunk()).await });
            let next = next
                .map_err(|_| shared.fail(Failure::again(format!("nothing arrived for {:?}", shared.idle))))?
                .map_err(|error| shared.fail(Failure::again(describe(&error))))?;
            let Some(bytes) = next else { return Ok(0) };
            let length = bytes.len() as u64;
            if shared.received.fetch_add(length, Ordering::Relaxed) + length > shared.most {
                let reason = format!("is larger than --max-size {}", Size(shared.most));
                return Err(shared.fail(Failure::Final(reason)));
            }
            *chunk = Cursor::new(bytes);
        }
    }
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut *self.0.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Collecting(_, body) if body.len() + bytes.len() <= LARGEST_QUESTION => {
                body.extend_from_slice(bytes);
                Ok(bytes.len())
            }
            _ => Err(io::Error::other("a question of such a length")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Http for Web {
    type Headers = BufReader<Head>;
    type ResponseBody = BufReader<Body>;
    type PostBody = Upload;

    fn get(
        &mut self,
        url: &str,
        base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<GetResponse<Self::Headers, Self::ResponseBody>> {
        let sent = self.shared.send(&Question::new(Method::GET, url, headers), Vec::new());
        let (response, reached) = sent.map_err(Error::from_error)?;
        // All further questions go where this one has led.
        let tail = url.strip_prefix(base_url).unwrap_or_default();
        self.base = reached.as_str().strip_suffix(tail).filter(|base| *base != base_url).map(str::to_owned);
        let exchange =
            Arc::new(Exchange { shared: self.shared.clone(), state: Mutex::new(State::from(response)) });
        Ok(GetResponse {
            headers: BufReader::new(Head(exchange.clone())),
            body: BufReader::new(Body(exchange)),
        })
    }

    fn post(
        &mut self,
        url: &str,
        _: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
        _: PostBodyDataKind,
    ) -> Result<PostResponse<Self::Headers, Self::ResponseBody, Self::PostBody>> {
        let state = State::Collecting(Question::new(Method::POST, url, headers), Vec::new());
        let exchange = Arc::new(Exchange { shared: self.shared.clone(), state: Mutex::new(state) });
        Ok(PostResponse {
            post_body: Upload(exchange.clone()),
            headers: BufReader::new(Head(exchange.clone())),
            body: BufReader::new(Body(exchange)),
        })
    }

    fn configure(&mut self, _: &dyn std::any::Any) -> Result {
        Ok(())
    }

    fn redirected_base_url(&self) -> Option<String> {
        self.base.clone()
    }
}
