//! Format strings that operators have already: nginx's `$variables` and Envoy's `%OPERATORS%`, also mixed.
//!
//! Names as nginx documents them for `log_format` and Envoy for access logs; what this proxy has no value for is refused at start.

use std::io::Write as _;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::line::{Record, clock};
use crate::fields::Headers;

/// What one part of a line is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    RemoteAddr,
    RemotePort,
    Remote,
    Listener,
    TimeIso,
    TimeLocal,
    Msec,
    Request,
    Method,
    Target,
    Path,
    Query,
    Protocol,
    Host,
    Status,
    BytesIn,
    BytesOut,
    Seconds,
    Millis,
    FirstByteSeconds,
    FirstByteMillis,
    ConnectSeconds,
    ConnectMillis,
    TlsMillis,
    DnsMillis,
    Endpoint,
    Upstream,
    Attempts,
    Id,
    Trace,
    Flags,
    Error,
    Dash,
}

/// Names of nginx, then of Envoy. A table.
#[rustfmt::skip]
const NAMES: &[(&str, Value)] = &[
    ("remote_addr", Value::RemoteAddr), ("remote_port", Value::RemotePort), ("remote_user", Value::Dash),
    ("server_addr", Value::Listener), ("time_iso8601", Value::TimeIso), ("time_local", Value::TimeLocal), ("msec", Value::Msec),
    ("request", Value::Request), ("request_method", Value::Method), ("request_uri", Value::Target), ("uri", Value::Path),
    ("document_uri", Value::Path), ("args", Value::Query), ("query_string", Value::Query), ("server_protocol", Value::Protocol),
    ("host", Value::Host), ("status", Value::Status), ("body_bytes_sent", Value::BytesOut), ("bytes_sent", Value::BytesOut),
    ("request_length", Value::BytesIn), ("bytes_received", Value::BytesIn), ("request_time", Value::Seconds),
    ("session_time", Value::Seconds), ("upstream_response_time", Value::FirstByteSeconds),
    ("upstream_header_time", Value::FirstByteSeconds), ("upstream_connect_time", Value::ConnectSeconds),
    ("upstream_addr", Value::Endpoint), ("proxy_host", Value::Upstream), ("request_id", Value::Id),
    ("START_TIME", Value::TimeIso), ("PROTOCOL", Value::Protocol), ("RESPONSE_CODE", Value::Status),
    ("RESPONSE_FLAGS", Value::Flags), ("RESPONSE_CODE_DETAILS", Value::Error), ("UPSTREAM_TRANSPORT_FAILURE_REASON", Value::Error),
    ("BYTES_RECEIVED", Value::BytesIn), ("BYTES_SENT", Value::BytesOut), ("DURATION", Value::Millis),
    ("RESPONSE_DURATION", Value::FirstByteMillis), ("UPSTREAM_HOST", Value::Endpoint), ("UPSTREAM_REMOTE_ADDRESS", Value::Endpoint),
    ("UPSTREAM_CLUSTER", Value::Upstream), ("UPSTREAM_REQUEST_ATTEMPT_COUNT", Value::Attempts),
    ("DOWNSTREAM_REMOTE_ADDRESS", Value::Remote), ("DOWNSTREAM_DIRECT_REMOTE_ADDRESS", Value::Remote),
    ("DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", Value::RemoteAddr), ("DOWNSTREAM_REMOTE_PORT", Value::RemotePort),
    ("DOWNSTREAM_LOCAL_ADDRESS", Value::Listener), ("TRACE_ID", Value::Trace), ("STREAM_ID", Value::Id),
    // Not known to either: what this proxy can say besides.
    ("dns_ms", Value::DnsMillis), ("connect_ms", Value::ConnectMillis), ("tls_ms", Value::TlsMillis),
    ("first_byte_ms", Value::FirstByteMillis), ("upstream_name", Value::Upstream), ("attempts", Value::Attempts),
    ("flags", Value::Flags), ("error", Value::Error), ("trace_id", Value::Trace),
];

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Value(Value, Option<usize>),
    /// A request header, another if it is missing, and the longest length.
    Request(usize, Option<usize>, Option<usize>),
    Answer(usize, Option<usize>),
}

/// A compiled format string.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Format {
    parts: Vec<Part>,
    request: Vec<HeaderName>,
    answer: Vec<HeaderName>,
}

/// Headers that a format asks for.
#[derive(Debug, Clone, Default)]
pub struct Captured {
    request: Vec<Option<HeaderValue>>,
    answer: Vec<Option<HeaderValue>>,
}

impl Format {
    /// Compiles a format string.
    ///
    /// # Errors
    /// What is not known, and what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut format = Self::default();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['$', '%']) {
            literal.push_str(&rest[..at]);
            let nginx = rest.as_bytes()[at] == b'$';
            rest = &rest[at + 1..];
            let part = if nginx {
                let (name, after) = variable(rest).ok_or("a `$` without a name behind it; write `$name`")?;
                rest = after;
                format.variable(name)?
            } else {
                let (operator, after) =
                    rest.split_once('%').ok_or("a `%` without its end; write `%OPERATOR%`, or `%%`")?;
                rest = after;
                if operator.is_empty() {
                    literal.push('%');
                    continue;
                }
                format.operator(operator)?
            };
            if !literal.is_empty() {
                format.parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            format.parts.push(part);
        }
        literal.push_str(rest);
        let literal = literal.trim_end_matches('\n');
        if !literal.is_empty() {
            format.parts.push(Part::Text(literal.to_owned()));
        }
        Ok(format)
    }

    fn variable(&mut self, name: &str) -> Result<Part, String> {
        let header =
            |name: &str| HeaderName::try_from(name.replace('_', "-")).map_err(|error| error.to_string());
        if let Some(name) = name.strip_prefix("sent_http_").or_else(|| name.strip_prefix("upstream_http_")) {
            let index = slot(&mut self.answer, header(name)?);
            return Ok(Part::Answer(index, None));
        }
        if let Some(name) = name.strip_prefix("http_") {
            let index = slot(&mut self.request, header(name)?);
            return Ok(Part::Request(index, None, None));
        }
        known(name).map(|value| Part::Value(value, None)).ok_or_else(|| unknown(&format!("${name}"), name))
    }

    /// `NAME`, `NAME(ARGUMENT)`, and `:LENGTH` behind it.
    fn operator(&mut self, text: &str) -> Result<Part, String> {
        let (call, longest) = match text.rsplit_once(':') {
            Some((call, digits)) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
                (call, digits.parse().ok())
            }
            _ => (text, None),
        };
        let (name, argument) = match call.split_once('(').map(|(name, rest)| (name, rest.strip_suffix(')'))) {
            Some((name, Some(argument))) => (name, Some(argument)),
            Some((_, None)) => return Err(format!("%{text}% has no closing parenthesis")),
            None => (call, None),
        };
        let header = |name: &str| {
            HeaderName::try_from(name).map_err(|_| format!("{name:?} in %{text}% is no header name"))
        };
        match (name, argument) {
            ("REQ", Some(names)) => {
                let (first, second) = names.split_once('?').map_or((names, None), |(a, b)| (a, Some(b)));
                for pseudo in [first, second.unwrap_or_default()] {
                    let value = match pseudo {
                        ":METHOD" => Value::Method,
                        ":PATH" => Value::Target,
                        ":AUTHORITY" => Value::Host,
                        _ => continue,
                    };
                    // `REQ(X-ENVOY-ORIGINAL-PATH?:PATH)`: nobody sets the first here.
                    return Ok(Part::Value(value, longest));
                }
                let first = slot(&mut self.request, header(first)?);
                let second = match second {
                    Some(name) => Some(slot(&mut self.request, header(name)?)),
                    None => None,
                };
                Ok(Part::Request(first, second, longest))
            }
            ("RESP", Some(name)) => {
                let name = header(name.split('?').next().unwrap_or_default())?;
                Ok(Part::Answer(slot(&mut self.answer, name), longest))
            }
            _ => known(name)
                .map(|value| Part::Value(value, longest))
                .ok_or_else(|| unknown(&format!("%{text}%"), name)),
        }
    }

    /// The headers of a request that the line will need.
    pub fn request(&self, headers: &Headers) -> Captured {
        let request = self.request.iter().map(|name| headers.value(name)).collect();
        Captured { request, answer: Vec::new() }
    }

    /// Those of an answer.
    pub fn answer(&self, headers: &Headers, captured: &mut Captured) {
        captured.answer = self.answer.iter().map(|name| headers.value(name)).collect();
    }

    /// Appends a line and its end.
    pub fn write(&self, record: &Record, out: &mut Vec<u8>) {
        for part in &self.parts {
            let start = out.len();
            let longest = match part {
                Part::Text(text) => {
                    out.extend_from_slice(text.as_bytes());
                    continue;
                }
                Part::Value(what, longest) => {
                    value(*what, record, out);
                    longest
                }
                Part::Request(first, second, longest) => {
                    let get = |index: usize| record.captured.request.get(index).and_then(Option::as_ref);
                    escape(
                        get(*first).or_else(|| second.and_then(get)).map_or(b"-", HeaderValue::as_bytes),
                        out,
                    );
                    longest
                }
                Part::Answer(index, longest) => {
                    let found = record.captured.answer.get(*index).and_then(Option::as_ref);
                    escape(found.map_or(b"-", HeaderValue::as_bytes), out);
                    longest
                }
            };
            if let Some(longest) = longest {
                out.truncate(start.saturating_add(*longest).min(out.len()));
            }
        }
        out.push(b'\n');
    }
}

/// A variable's name and what follows: `$name` or `${name}`.
fn variable(text: &str) -> Option<(&str, &str)> {
    if let Some(braced) = text.strip_prefix('{') {
        return braced.split_once('}').filter(|(name, _)| !name.is_empty());
    }
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn known(name: &str) -> Option<Value> {
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}

fn unknown(written: &str, name: &str) -> String {
    let near = podkit::config::nearest(name, NAMES.iter().map(|(known, _)| *known));
    let hint =
        near.map_or_else(|| "see the README's list".to_owned(), |near| format!("did you mean {near}?"));
    format!("{written} is not known in an access-log format; {hint}")
}

fn slot(list: &mut Vec<HeaderName>, name: HeaderName) -> usize {
    list.iter().position(|known| *known == name).unwrap_or_else(|| {
        list.push(name);
        list.len() - 1
    })
}

/// As nginx does by default: quotes, backslashes and what is no printable ASCII become `\xHH`, so that one line stays one line.
fn escape(text: &[u8], out: &mut Vec<u8>) {
    if text.is_empty() {
        out.push(b'-');
    }
    for byte in text {
        if (b' '..=b'~').contains(byte) && *byte != b'"' && *byte != b'\\' {
            out.push(*byte);
        } else {
            let _ = write!(out, "\\x{byte:02X}");
        }
    }
}

fn seconds(took: Duration, out: &mut Vec<u8>) {
    let _ = write!(out, "{}.{:03}", took.as_secs(), took.subsec_millis());
}

fn value(what: Value, record: &Record, out: &mut Vec<u8>) {
    let ip_and_port = || record.client.rsplit_once(':').unwrap_or((&record.client, ""));
    let target = |pick: fn(&http::Uri) -> Option<&str>| {
        record.request.as_ref().and_then(|(_, uri)| pick(uri)).unwrap_or("")
    };
    let text: &str = match what {
        Value::RemoteAddr => ip_and_port().0.trim_start_matches('[').trim_end_matches(']'),
        Value::RemotePort => ip_and_port().1,
        Value::Remote => &record.client,
        Value::Listener => &record.listener,
        Value::Method => record.request.as_ref().map_or("", |(method, _)| method.as_str()),
        Value::Target => target(|uri| Some(Record::target(uri))),
        Value::Path => target(|uri| Some(uri.path())),
        Value::Query => target(http::Uri::query),
        Value::Protocol => record.protocol,
        Value::Host => record.host.as_deref().unwrap_or(""),
        Value::Endpoint => record.endpoint.as_deref().unwrap_or(""),
        Value::Upstream => record.upstream.as_deref().unwrap_or(""),
        Value::Error => record.error.as_deref().unwrap_or(""),
        Value::Id => return escape(record.id.as_ref().map_or(b"", HeaderValue::as_bytes), out),
        Value::Trace => return escape(record.trace_id().unwrap_or("").as_bytes(), out),
        Value::Flags => return escape(record.flags.join(",").as_bytes(), out),
        Value::Dash => "",
        Value::Request => {
            let Some((method, uri)) = &record.request else { return escape(b"", out) };
            escape(method.as_str().as_bytes(), out);
            out.push(b' ');
            escape(Record::target(uri).as_bytes(), out);
            out.push(b' ');
            return escape(record.protocol.as_bytes(), out);
        }
        Value::TimeIso => return clock(record.at, out),
        Value::TimeLocal => {
            let text = jiff::fmt::strtime::format("%d/%b/%Y:%H:%M:%S +0000", record.at).unwrap_or_default();
            return out.extend_from_slice(text.as_bytes());
        }
        number => return digits(number, record, out),
    };
    escape(text.as_bytes(), out);
}

fn digits(what: Value, record: &Record, out: &mut Vec<u8>) {
    let _ = match what {
        Value::Status => write!(out, "{}", record.status),
        Value::BytesIn => write!(out, "{}", record.bytes.0),
        Value::BytesOut => write!(out, "{}", record.bytes.1),
        Value::Attempts => write!(out, "{}", record.attempts),
        Value::Msec => write!(out, "{}.{:03}", record.at.as_second(), record.at.subsec_millisecond()),
        Value::Millis => write!(out, "{}", record.took.as_millis()),
        Value::ConnectMillis => write!(out, "{}", record.connect.as_millis()),
        Value::TlsMillis => write!(out, "{}", record.tls.as_millis()),
        Value::DnsMillis => write!(out, "{}", record.dns.as_millis()),
        Value::Seconds => return seconds(record.took, out),
        Value::ConnectSeconds => return seconds(record.connect, out),
        Value::FirstByteSeconds | Value::FirstByteMillis => match record.first_byte {
            Some(took) if what == Value::FirstByteSeconds => return seconds(took, out),
            Some(took) => write!(out, "{}", took.as_millis()),
            None => return out.push(b'-'),
        },
        _ => return out.push(b'-'),
    };
}

#[cfg(test)]
mod tests {
    use super::super::line::tests::record;
    use super::*;

    fn line(format: &str) -> String {
        let format = Format::parse(format).unwrap();
        let mut record = record();
        let mut headers = Headers::from(http::HeaderMap::new());
        headers.set(&http::header::USER_AGENT, HeaderValue::from_static("curl/8 \"x\""));
        record.captured = format.request(&headers);
        format.answer(&headers, &mut record.captured);
        let mut out = Vec::new();
        format.write(&record, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn nginx_combined() {
        let combined = r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent" rt=${request_time}s"#;
        assert_eq!(
            line(combined),
            "127.0.0.1 - - [21/Aug/2026:10:11:12 +0000] \"GET /a?b=%22 HTTP/1.1\" 200 42 \"-\" \"curl/8 \\x22x\\x22\" rt=0.004s\n"
        );
    }

    #[test]
    fn envoy_default() {
        let default = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT):4%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" 100%%\n";
        assert_eq!(
            line(default),
            "[2026-08-21T10:11:12.345Z] \"GET /a?b=%22 HTTP/1.1\" 200 stale_connection 0 42 4 \"-\" \"curl\" \"orders\" \"10.0.0.1:80\" 100%\n"
        );
    }

    #[test]
    fn what_is_not_known_is_said() {
        assert!(Format::parse("$statsu").unwrap_err().contains("did you mean status?"));
        assert!(Format::parse("%DURATON%").unwrap_err().contains("did you mean DURATION?"));
        for bad in ["$", "100%", "%REQ(X%", "%REQ(a b)%", "$ssl_cipher", "${}"] {
            assert!(Format::parse(bad).is_err(), "{bad}");
        }
    }
}
