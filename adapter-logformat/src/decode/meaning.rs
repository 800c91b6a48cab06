//! What the values of a format string mean, and how each is read.

use super::{Context, nginx, program, time_pattern::TimePattern, values};
use crate::{
    record::{Field, Record, Value},
    severity::Severity,
    text::Str,
    time::number,
};

/// Reads a value in a way of its own; false when it could not.
pub type Reader = for<'a> fn(&'a [u8], &mut Record<'a>) -> bool;

/// What a value means.
#[derive(Clone, Debug)]
pub enum Meaning {
    Ignored,
    /// In the notation given, or in any that [`crate::time::Clock`] knows.
    Time(Option<TimePattern>),
    /// `GET /path HTTP/1.1`
    Request,
    Client,
    /// `192.0.2.7:5000`, `[2001:db8::1]:5000`
    ClientPort,
    /// An address and a port in fields below this name.
    Peer(&'static str),
    /// `HTTP/1.1`
    Protocol,
    Text(Field),
    Number(Field),
    /// So many nanoseconds are one unit.
    Duration(i64),
    Level,
    Message,
    /// `file:line`
    Origin,
    /// Kept under this name in the namespace.
    Named(String),
    /// Kept under the name behind the namespace; the message is told apart by the reader.
    Read(Reader),
    /// Pairs such as `k=v, k2=v2` (Java's MDC).
    Pairs,
}

impl Meaning {
    pub fn named(name: &str) -> Self {
        Meaning::Named(name.to_owned())
    }

    /// Puts the value where it belongs.
    ///
    /// # Errors
    /// What it should have been; the record is marked already.
    pub(super) fn read<'a>(
        &'a self,
        space: &'static str,
        text: &'a [u8],
        cx: &mut Context,
        record: &mut Record<'a>,
    ) -> Result<(), &'static str> {
        let read = match self {
            Meaning::Message => {
                record.message = Some(Value::Text(Str::Raw(text)));
                Ok(())
            }
            Meaning::Time(_) => match cx.clock.parse(text) {
                Some(time) => {
                    record.time = Some(time);
                    Ok(())
                }
                // A time left out says nothing wrong; that a line without one is of another format is the program's to say.
                None if matches!(text, b"-" | b"") => return Err("time"),
                None => Err("time"),
            },
            Meaning::Level => match program::level(text) {
                Some(severity) => {
                    record.severity = Some(severity);
                    Ok(())
                }
                None => Err("level"),
            },
            _ if matches!(text, b"-" | b"") => return Ok(()),
            Meaning::Ignored => Ok(()),
            Meaning::Request => {
                nginx::request(text, record);
                return Ok(());
            }
            Meaning::Client => {
                nginx::client(text, record);
                Ok(())
            }
            Meaning::ClientPort => {
                client_port(text, record);
                Ok(())
            }
            Meaning::Peer(side) => {
                peer(side, text, record);
                Ok(())
            }
            Meaning::Protocol => {
                record.text(Field::HttpVersion, text.strip_prefix(b"HTTP/").unwrap_or(text));
                Ok(())
            }
            Meaning::Text(field) => {
                record.set(*field, Value::Text(Str::Escaped(text)));
                Ok(())
            }
            // HAProxy marks with a plus what was still going on.
            Meaning::Number(field) => match super::whole(text.strip_prefix(b"+").unwrap_or(text)) {
                Some(number) => {
                    record.set(*field, number);
                    Ok(())
                }
                None => Err("number"),
            },
            // Of a pattern that has the duration twice, the finer one is kept.
            Meaning::Duration(unit) if record.has(Field::Duration) && *unit >= 1_000_000 => Ok(()),
            Meaning::Duration(unit) => match nanos(text.strip_prefix(b"+").unwrap_or(text), *unit) {
                Some(nanos) => {
                    record.set(Field::Duration, Value::Duration(nanos));
                    Ok(())
                }
                None if text.starts_with(b"-") => Ok(()),
                None => Err("duration"),
            },
            Meaning::Origin => {
                values::origin(Str::Raw(text), record);
                Ok(())
            }
            Meaning::Named(name) => {
                named(space, name.as_bytes(), text, record);
                Ok(())
            }
            Meaning::Read(reader) => {
                if reader(text, record) {
                    Ok(())
                } else {
                    Err("value")
                }
            }
            Meaning::Pairs => {
                pairs(text, record);
                Ok(())
            }
        };
        if let Err(part) = read {
            record.note(part);
        }
        read
    }
}

/// A number as a number, anything else as text.
pub fn named<'a>(space: &'static str, name: &'a [u8], text: &'a [u8], record: &mut Record<'a>) {
    if !matches!(text, b"-" | b"") {
        record.push_sub(space, Str::Raw(name), typed(text));
    }
}

pub fn typed(text: &[u8]) -> Value<'_> {
    if super::logfmt::is_number(text) { Value::Json(text) } else { Value::Text(Str::Escaped(text)) }
}

fn pairs<'a>(text: &'a [u8], record: &mut Record<'a>) {
    let inner = text.strip_prefix(b"{").and_then(|t| t.strip_suffix(b"}")).unwrap_or(text);
    for pair in inner.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|p| !p.is_empty()) {
        match memchr::memchr(b'=', pair) {
            Some(at) => {
                let (key, value) = (&pair[..at], &pair[at + 1..]);
                match key {
                    b"traceId" | b"trace_id" | b"trace.id" => record.text(Field::TraceId, value),
                    b"spanId" | b"span_id" | b"span.id" => record.text(Field::SpanId, value),
                    _ => record.push(Str::Raw(key), Value::Text(Str::Raw(value))),
                }
            }
            None => record.note("pairs"),
        }
    }
}

/// Splits `host:port`, `[v6]:port`, `v6`, `host`.
pub fn split_port(text: &[u8]) -> (&[u8], Option<i64>) {
    if let Some(inner) = text.strip_prefix(b"[")
        && let Some(end) = memchr::memchr(b']', inner)
    {
        let port = inner[end + 1..].strip_prefix(b":").and_then(number).filter(|p| *p < 65_536);
        return (&inner[..end], port);
    }
    match memchr::memrchr(b':', text) {
        Some(colon) => match number(&text[colon + 1..]).filter(|p| *p < 65_536) {
            // A v6 address without brackets has colons of its own; HAProxy and Apache put the port behind them all the same.
            Some(port) if !super::is_ip(text) || super::is_ip(&text[..colon]) && colons(text) > 7 => {
                (&text[..colon], Some(port))
            }
            _ => (text, None),
        },
        None => (text, None),
    }
}

fn colons(text: &[u8]) -> usize {
    memchr::memchr_iter(b':', text).count()
}

pub fn client_port<'a>(text: &'a [u8], record: &mut Record<'a>) {
    let (address, port) = split_port(text);
    nginx::client(address, record);
    if let Some(port) = port {
        record.set(Field::ClientPort, Value::Int(port));
    }
}

/// `destination.address`, `.ip`, `.port` and the like.
pub fn peer<'a>(side: &'static str, text: &'a [u8], record: &mut Record<'a>) {
    let (address, port) = split_port(text);
    record.push_sub(side, Str::Raw(b"address"), Value::Text(Str::Raw(address)));
    if super::is_ip(address) {
        record.push_sub(side, Str::Raw(b"ip"), Value::Text(Str::Raw(address)));
    }
    if let Some(port) = port {
        record.push_sub(side, Str::Raw(b"port"), Value::Int(port));
    }
}

/// `0.005` units → nanoseconds.
pub fn nanos(text: &[u8], unit: i64) -> Option<i64> {
    let (whole, fraction) = match memchr::memchr(b'.', text) {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &b""[..]),
    };
    let mut total = number(whole)?.checked_mul(unit)?;
    let mut place = unit;
    for digit in fraction {
        place /= 10;
        total = total.checked_add(i64::from(char::from(*digit).to_digit(10)?) * place)?;
    }
    Some(total)
}

/// A level that has a letter only.
pub fn letter<'a>(text: &'a [u8], record: &mut Record<'a>) -> bool {
    record.severity = text.first().and_then(|l| Severity::from_letter(*l)).or(record.severity);
    record.severity.is_some()
}
