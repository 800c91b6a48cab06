//! One request as spans: a server span, and a client span for each try (OpenTelemetry's semantic conventions for HTTP spans;
//! opentelemetry-proto v1, trace/v1/trace.proto).

use std::rc::Rc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use http::{HeaderValue, Method};
use podkit::otlp;

use super::context::{Context, TRACEPARENT};
use super::{Message, Sink};
use crate::access::Record;
use crate::fields::Headers;

/// Tries of one request that become spans; more are not told apart.
const TRIES: usize = 16;
/// The most of a text of the client's that goes into a span: the queue holds thousands.
const TEXT: usize = 512;

/// `SpanKind`.
const SERVER: u64 = 2;
const CLIENT: u64 = 3;
/// `Status.StatusCode`.
const ERROR: u64 = 2;

/// A request under way.
#[derive(Debug)]
pub struct Span {
    context: Context,
    parent: Option<u64>,
    state: Option<HeaderValue>,
    at: u64,
    began: Instant,
    tries: Vec<Try>,
    sink: Sink,
}

/// One try.
#[derive(Debug)]
struct Try {
    span: u64,
    /// Nanoseconds since the request came.
    from: u64,
    until: Option<u64>,
    endpoint: Option<Rc<str>>,
    reused: bool,
    status: u16,
    error: Option<&'static str>,
}

impl Span {
    /// A span in this trace: below the one it brought, or at its root.
    pub fn new(context: &Context, known: bool, state: Option<HeaderValue>, sink: Sink) -> Self {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            context: if known { context.child() } else { *context },
            parent: known.then_some(context.span),
            state,
            at: nanos(at),
            began: Instant::now(),
            tries: Vec::new(),
            sink,
        }
    }

    /// Of the server span.
    pub fn context(&self) -> &Context {
        &self.context
    }

    fn now(&self) -> u64 {
        nanos(self.began.elapsed())
    }

    /// A try begins; its id.
    pub fn begin(&mut self) -> u64 {
        let (span, from) = (fastrand::u64(1..), self.now());
        if self.tries.len() < TRIES {
            let (until, endpoint, reused, status, error) = (None, None, false, 0, None);
            self.tries.push(Try { span, from, until, endpoint, reused, status, error });
        }
        span
    }

    /// It has a connection: what goes out there names it as the parent.
    pub fn goes_out(&mut self, span: u64, endpoint: &Rc<str>, reused: bool, headers: &mut Headers) {
        let outgoing = if let Some(found) = self.tries.iter_mut().find(|one| one.span == span) {
            (found.endpoint, found.reused) = (Some(endpoint.clone()), reused);
            Context { span, ..self.context }
        } else {
            self.context
        };
        if let Some(value) = outgoing.header() {
            headers.set(&TRACEPARENT, value);
        }
    }

    /// The head of an answer came to it.
    pub fn answered(&mut self, span: u64, status: u16) {
        if let Some(found) = self.tries.iter_mut().find(|one| one.span == span) {
            found.status = status;
        }
    }

    /// It is over, and another may follow.
    pub fn ended(&mut self, span: u64, error: &'static str) {
        let now = self.now();
        if let Some(found) = self.tries.iter_mut().find(|one| one.span == span && one.until.is_none()) {
            (found.until, found.error) = (Some(now), Some(error));
        }
    }

    /// The request is over: its spans go to the exporter.
    pub fn finish(&self, record: &Record) {
        let mut message = Message { bytes: Vec::with_capacity(768), spans: 1 };
        let took = self.now();
        self.server(record, took, &mut message.bytes);
        for (n, one) in self.tries.iter().enumerate() {
            message.spans += 1;
            self.client(record, n, one, took, &mut message.bytes);
        }
        self.sink.add(message);
    }

    fn server(&self, record: &Record, took: u64, out: &mut Vec<u8>) {
        let method = record.request.as_ref().map(|(method, _)| method);
        let name = match &record.upstream {
            Some(upstream) => format!("{} {upstream}", verb(method)),
            None => verb(method).to_owned(),
        };
        let mut span = self.head(self.context.span, self.parent, &name, SERVER, 0, took);
        let mut text = |key: &str, value: &str| otlp::key_value(9, key, cut(value), &mut span);
        text("http.request.method", known(method));
        text("url.scheme", "http");
        if let Some((_, uri)) = &record.request {
            text("url.path", uri.path());
        }
        if let Some(host) = &record.host {
            text("server.address", host);
        }
        if !record.client.is_empty() {
            text("client.address", host_of(&record.client).0);
        }
        text("network.protocol.version", version(record.protocol));
        text("ambassador.listener", &record.listener);
        if let Some(upstream) = &record.upstream {
            text("ambassador.upstream", upstream);
        }
        if let Some(id) = record.id.as_ref().and_then(|id| id.to_str().ok()) {
            text("ambassador.request_id", id);
        }
        if !record.flags.is_empty() {
            text("ambassador.flags", &record.flags.join(","));
        }
        if record.status > 0 {
            otlp::key_number(9, "http.response.status_code", u64::from(record.status), &mut span);
        }
        otlp::key_number(9, "ambassador.attempts", u64::from(record.attempts), &mut span);
        let broken = record.flags.iter().find(|flag| ["broken_answer", "timeout"].contains(flag));
        // What the client did wrong is no error of the server's.
        if record.status >= 500 || broken.is_some() {
            let status = record.status.to_string();
            let kind =
                record.error.as_ref().and(record.flags.last()).or(broken).map_or(&*status, |kind| kind);
            otlp::key_value(9, "error.type", kind, &mut span);
            failed(record.error.as_deref().unwrap_or_default(), &mut span);
        }
        otlp::bytes(2, &span, out);
    }

    fn client(&self, record: &Record, n: usize, one: &Try, took: u64, out: &mut Vec<u8>) {
        let method = record.request.as_ref().map(|(method, _)| method);
        let (until, mut error) = (one.until.unwrap_or(took), one.error);
        if one.until.is_none() && one.status == 0 {
            // Nobody waits for it any more: another try was faster, or the client has gone.
            error = Some("cancelled");
        }
        let mut span = self.head(one.span, Some(self.context.span), verb(method), CLIENT, one.from, until);
        otlp::key_value(9, "http.request.method", known(method), &mut span);
        if let Some(endpoint) = &one.endpoint {
            let (host, port) = host_of(endpoint);
            otlp::key_value(9, "server.address", host, &mut span);
            if let Some(port) = port {
                otlp::key_number(9, "server.port", port, &mut span);
            }
            otlp::key_flag(9, "ambassador.connection.reused", one.reused, &mut span);
        }
        if n > 0 {
            otlp::key_number(9, "http.request.resend_count", n as u64, &mut span);
        }
        if one.status > 0 {
            otlp::key_number(9, "http.response.status_code", u64::from(one.status), &mut span);
        }
        let status = one.status.to_string();
        let kind = error.or((one.status >= 400).then_some(status.as_str()));
        if let Some(kind) = kind {
            otlp::key_value(9, "error.type", kind, &mut span);
            failed("", &mut span);
        }
        otlp::bytes(2, &span, out);
    }

    /// What every `Span` begins with.
    fn head(&self, span: u64, parent: Option<u64>, name: &str, kind: u64, from: u64, until: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(384);
        otlp::bytes(1, &self.context.trace.to_be_bytes(), &mut out);
        otlp::bytes(2, &span.to_be_bytes(), &mut out);
        if let Some(state) = self.state.as_ref().and_then(|state| state.to_str().ok()) {
            otlp::bytes(3, cut(state).as_bytes(), &mut out);
        }
        if let Some(parent) = parent {
            otlp::bytes(4, &parent.to_be_bytes(), &mut out);
        }
        otlp::bytes(5, cut(name).as_bytes(), &mut out);
        otlp::number(6, kind, &mut out);
        otlp::fixed64(7, self.at + from, &mut out);
        otlp::fixed64(8, self.at + until.max(from), &mut out);
        otlp::fixed32(16, u32::from(self.context.flags), &mut out);
        out
    }
}

/// `Status`: an error, with what is known of it.
fn failed(why: &str, span: &mut Vec<u8>) {
    let mut status = Vec::new();
    if !why.is_empty() {
        otlp::bytes(2, cut(why).as_bytes(), &mut status);
    }
    otlp::number(3, ERROR, &mut status);
    otlp::bytes(15, &status, span);
}

/// Methods are made by clients: only those that are known may name spans and their attributes.
fn known(method: Option<&Method>) -> &str {
    let list = [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::HEAD,
        Method::PATCH,
        Method::OPTIONS,
        Method::CONNECT,
        Method::TRACE,
    ];
    method.filter(|method| list.contains(method)).map_or("_OTHER", Method::as_str)
}

fn verb(method: Option<&Method>) -> &str {
    match known(method) {
        "_OTHER" => "HTTP",
        known => known,
    }
}

fn version(protocol: &str) -> &str {
    protocol.strip_prefix("HTTP/").unwrap_or(protocol)
}

fn host_of(address: &str) -> (&str, Option<u64>) {
    match address.rsplit_once(':').map(|(host, port)| (host, port.parse().ok())) {
        Some((host, Some(port))) => (host.trim_start_matches('[').trim_end_matches(']'), Some(port)),
        _ => (address, None),
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT)]
}

fn nanos(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
