//! One line of the access log, as JSON or text.

use std::cell::RefCell;
use std::io::Write as _;
use std::rc::Rc;
use std::time::Duration;

use http::{HeaderValue, Method, Uri};
use jiff::Timestamp;

/// What there is to say about a request or TCP connection.
#[derive(Debug, Clone)]
pub struct Record {
    /// Since when.
    pub at: Timestamp,
    /// As the configuration writes its address.
    pub listener: Rc<str>,
    /// The client's address, empty for a socket file.
    pub client: Rc<str>,
    /// `HTTP/1.1`, `HTTP/2` or `TCP`.
    pub protocol: &'static str,
    /// A request, not a TCP connection.
    pub http: bool,
    /// The method and target; `None` for TCP, for what was no request, and where nobody looks.
    pub request: Option<(Method, Uri)>,
    /// The host asked for.
    pub host: Option<String>,
    /// The status sent; 0 when the client went away before.
    pub status: u16,
    /// What was unusual, as reasons: `stale_connection`, `connect`, …; joined by commas.
    pub flags: Vec<&'static str>,
    /// Why, when the proxy answered itself.
    pub error: Option<String>,
    /// The upstream's name.
    pub upstream: Option<Rc<str>>,
    /// The endpoint's address.
    pub endpoint: Option<Rc<str>>,
    /// Times sent to an upstream.
    pub attempts: u32,
    /// Whether the last try used a kept connection.
    pub reused: bool,
    /// Body bytes to the upstream and from it.
    pub bytes: (u64, u64),
    /// The request's id.
    pub id: Option<HeaderValue>,
    /// Waiting for discovery.
    pub dns: Duration,
    /// Connecting.
    pub connect: Duration,
    /// The TLS handshake.
    pub tls: Duration,
    /// Until the head of the answer.
    pub first_byte: Option<Duration>,
    /// All of it.
    pub took: Duration,
    /// `traceparent` as sent to the upstream.
    pub trace: Option<HeaderValue>,
    /// Headers that the log's format asks for.
    pub captured: super::format::Captured,
}

impl Record {
    /// Of which nothing has happened yet; a TCP connection, unless it is said to be a request.
    pub fn new(at: Timestamp, listener: Rc<str>, client: Rc<str>, protocol: &'static str) -> Self {
        Self {
            at,
            listener,
            client,
            protocol,
            http: false,
            request: None,
            host: None,
            status: 0,
            flags: Vec::new(),
            error: None,
            upstream: None,
            endpoint: None,
            attempts: 0,
            reused: false,
            bytes: (0, 0),
            id: None,
            dns: Duration::ZERO,
            connect: Duration::ZERO,
            tls: Duration::ZERO,
            first_byte: None,
            took: Duration::ZERO,
            trace: None,
            captured: super::format::Captured::default(),
        }
    }

    /// What was asked for: path and query, or the place that CONNECT names.
    pub fn target(uri: &Uri) -> &str {
        let path = uri.path_and_query().map(http::uri::PathAndQuery::as_str);
        path.or_else(|| uri.authority().map(http::uri::Authority::as_str)).unwrap_or_default()
    }

    /// The trace's id, out of `traceparent`.
    pub fn trace_id(&self) -> Option<&str> {
        self.trace.as_ref()?.to_str().ok()?.split('-').nth(1)
    }
}

thread_local! {
    /// The last whole second and its text: a worker logs many lines a second.
    static SECOND: RefCell<(i64, String)> = const { RefCell::new((i64::MIN, String::new())) };
}

pub(super) fn clock(at: Timestamp, out: &mut Vec<u8>) {
    SECOND.with_borrow_mut(|(second, text)| {
        if *second != at.as_second() {
            *second = at.as_second();
            *text = jiff::fmt::strtime::format("%Y-%m-%dT%H:%M:%S", at).unwrap_or_default();
        }
        let _ = write!(out, "{text}.{:03}Z", at.subsec_millisecond());
    });
}

fn ms(took: Duration, out: &mut Vec<u8>) {
    let micros = took.as_micros();
    let _ = write!(out, "{}.{:03}", micros / 1000, micros % 1000);
}

fn quote(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for chunk in text.utf8_chunks() {
        let valid = chunk.valid();
        if valid.bytes().all(|b| b >= b' ' && b != b'"' && b != b'\\' && b != 0x7f) {
            out.extend_from_slice(valid.as_bytes());
        } else {
            for c in valid.chars() {
                match c {
                    '"' => out.extend_from_slice(b"\\\""),
                    '\\' => out.extend_from_slice(b"\\\\"),
                    c if u32::from(c) < 0x20 || c == '\x7f' => drop(write!(out, "\\u{:04x}", u32::from(c))),
                    c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                }
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
}

fn field(name: &str, text: &[u8], out: &mut Vec<u8>) {
    let _ = write!(out, ",\"{name}\":");
    quote(text, out);
}

/// Appends a JSON object and a line end.
pub fn json(record: &Record, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"time\":\"");
    clock(record.at, out);
    out.push(b'"');
    field("listener", record.listener.as_bytes(), out);
    field("client", record.client.as_bytes(), out);
    field("protocol", record.protocol.as_bytes(), out);
    if let Some((method, uri)) = &record.request {
        field("method", method.as_str().as_bytes(), out);
        field("path", Record::target(uri).as_bytes(), out);
    }
    if record.request.is_some() || record.status > 0 {
        let _ = write!(out, ",\"status\":{}", record.status);
    }
    if let Some(host) = &record.host {
        field("host", host.as_bytes(), out);
    }
    if let Some(upstream) = &record.upstream {
        field("upstream", upstream.as_bytes(), out);
    }
    if let Some(endpoint) = &record.endpoint {
        field("endpoint", endpoint.as_bytes(), out);
    }
    let _ = write!(out, ",\"attempts\":{},\"reused\":{}", record.attempts, record.reused);
    let _ = write!(out, ",\"bytes_to_upstream\":{},\"bytes_to_client\":{}", record.bytes.0, record.bytes.1);
    out.extend_from_slice(b",\"duration_ms\":");
    ms(record.took, out);
    if let Some(first_byte) = record.first_byte {
        out.extend_from_slice(b",\"first_byte_ms\":");
        ms(first_byte, out);
    }
    for (name, part) in [("dns_ms", record.dns), ("connect_ms", record.connect), ("tls_ms", record.tls)] {
        if !part.is_zero() {
            let _ = write!(out, ",\"{name}\":");
            ms(part, out);
        }
    }
    if let Some(id) = &record.id {
        field("request_id", id.as_bytes(), out);
    }
    if let Some(trace) = record.trace_id() {
        field("trace_id", trace.as_bytes(), out);
    }
    if !record.flags.is_empty() {
        field("flags", record.flags.join(",").as_bytes(), out);
    }
    if let Some(error) = &record.error {
        field("error", error.as_bytes(), out);
    }
    out.extend_from_slice(b"}\n");
}

/// Appends a line for people.
pub fn text(record: &Record, out: &mut Vec<u8>) {
    clock(record.at, out);
    match &record.request {
        Some((method, uri)) => {
            let path = Record::target(uri);
            let _ = write!(out, " {} {method} {path} {}", record.protocol, record.status);
        }
        // A refused request: its head was no head.
        None if record.status > 0 => drop(write!(out, " {} - - {}", record.protocol, record.status)),
        None => drop(write!(out, " {}", record.protocol)),
    }
    let upstream = record.upstream.as_deref().unwrap_or("-");
    let endpoint = record.endpoint.as_deref().unwrap_or("-");
    let _ = write!(out, " {} -> {upstream} ({endpoint}) ", record.listener);
    ms(record.took, out);
    let _ = write!(out, "ms {}>{}B", record.bytes.0, record.bytes.1);
    if record.attempts > 1 {
        let _ = write!(out, " attempts={}", record.attempts);
    }
    if !record.flags.is_empty() {
        let _ = write!(out, " flags={}", record.flags.join(","));
    }
    if let Some(id) = &record.id {
        let _ = write!(out, " id={}", String::from_utf8_lossy(id.as_bytes()));
    }
    if let Some(error) = &record.error {
        out.extend_from_slice(b" error=");
        quote(error.as_bytes(), out);
    }
    out.push(b'\n');
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn record() -> Record {
        Record {
            http: true,
            request: Some((Method::GET, "/a?b=%22".parse().unwrap())),
            host: Some("orders".into()),
            status: 200,
            flags: vec!["stale_connection"],
            upstream: Some("orders".into()),
            endpoint: Some("10.0.0.1:80".into()),
            attempts: 2,
            bytes: (0, 42),
            id: Some(HeaderValue::from_static("id-1")),
            connect: Duration::from_micros(1500),
            first_byte: Some(Duration::from_millis(3)),
            took: Duration::from_micros(4200),
            ..Record::new(
                "2026-08-21T10:11:12.345Z".parse().unwrap(),
                "127.0.0.1:8080".into(),
                "127.0.0.1:50000".into(),
                "HTTP/1.1",
            )
        }
    }

    #[test]
    fn json_lines_parse() {
        let mut out = Vec::new();
        json(&record(), &mut out);
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["time"], "2026-08-21T10:11:12.345Z");
        assert_eq!(value["duration_ms"], 4.2);
        assert_eq!(value["connect_ms"], 1.5);
        assert_eq!(value["path"], "/a?b=%22");
        assert_eq!(value["flags"], "stale_connection");
    }

    #[test]
    fn connect_names_its_place() {
        let mut connect = record();
        connect.request = Some((Method::CONNECT, "api.example.com:443".parse().unwrap()));
        let (mut out, mut line) = (Vec::new(), Vec::new());
        json(&connect, &mut out);
        text(&connect, &mut line);
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["path"], "api.example.com:443");
        assert!(String::from_utf8(line).unwrap().contains(" CONNECT api.example.com:443 200 "));
    }

    #[test]
    fn hostile_text_stays_one_json_line() {
        let mut hostile = record();
        hostile.host = Some("a\"\\\n\u{1}é".into());
        hostile.id = Some(HeaderValue::from_bytes(b"\xff\xfe").unwrap());
        let mut out = Vec::new();
        json(&hostile, &mut out);
        assert_eq!(out.iter().filter(|b| **b == b'\n').count(), 1);
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["host"], "a\"\\\n\u{1}é");
    }

    #[test]
    fn text_lines_read_well() {
        let mut out = Vec::new();
        text(&record(), &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "2026-08-21T10:11:12.345Z HTTP/1.1 GET /a?b=%22 200 127.0.0.1:8080 -> orders (10.0.0.1:80) 4.200ms 0>42B attempts=2 flags=stale_connection id=id-1\n"
        );
    }
}
