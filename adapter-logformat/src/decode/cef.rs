//! ArcSight's Common Event Format, bare or behind syslog's head: `CEF:0|vendor|product|version|id|name|severity|key=value …`
//!
//! (Micro Focus, "Implementing ArcSight Common Event Format (CEF)", version 25.)

use super::{Context, Decoded, meaning, nginx, refuse, syslog};
use crate::{
    record::{Field, Record, Value},
    severity::Severity,
    text::Str,
    time::number,
};

const HEAD: [&str; 7] = [
    "version",
    "device.vendor",
    "device.product",
    "device.version",
    "device.event_class_id",
    "name",
    "severity",
];

pub fn decode<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    let Some(start) = memchr::memmem::find(line, b"CEF:") else { return refuse(0, "no CEF:") };
    if start > 0 {
        // Whatever the head is, what counts is behind it.
        if syslog::decode(line, cx, record).is_err() {
            record.clear();
            return refuse(0, "what stands before CEF: is no syslog");
        }
        record.message = None;
    }
    let mut rest = &line[start + 4..];
    let mut extension = &b""[..];
    for (place, name) in HEAD.iter().enumerate() {
        let Some(end) = bar(rest) else {
            return refuse(line.len() - rest.len(), "fewer than seven fields before the extension");
        };
        let text = &rest[..end];
        rest = &rest[end + 1..];
        extension = rest;
        match place {
            0 => {
                if number(text).is_none() {
                    return refuse(start + 4, "no version after CEF:");
                }
                meaning::named("cef", b"version", text, record);
            }
            5 => record.message = Some(Value::Text(Str::Escaped(text))),
            6 => {
                record.severity = severity(text).or(record.severity);
                record.push_sub("cef", Str::Raw(b"severity"), Value::Text(Str::Escaped(text)));
            }
            _ => record.push_sub("cef", Str::Raw(name.as_bytes()), Value::Text(Str::Escaped(text))),
        }
    }
    pairs(extension, cx, record);
    Ok(())
}

/// The next bar that no backslash escapes.
fn bar(text: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + memchr::memchr2(b'|', b'\\', text.get(from..)?)?;
        if text[at] == b'|' {
            return Some(at);
        }
        from = at + 2;
    }
}

/// 0 to 10, or a word.
fn severity(text: &[u8]) -> Option<Severity> {
    match number(text) {
        Some(0..=3) => Some(Severity::INFO),
        Some(4..=6) => Some(Severity::WARN),
        Some(7..=8) => Some(Severity::ERROR),
        Some(9..=10) => Some(Severity::CRITICAL),
        Some(_) => None,
        None => match text.to_ascii_lowercase().as_slice() {
            b"low" | b"unknown" => Some(Severity::INFO),
            b"medium" => Some(Severity::WARN),
            b"high" => Some(Severity::ERROR),
            b"very-high" => Some(Severity::CRITICAL),
            _ => None,
        },
    }
}

/// Values hold blanks: one ends where the next ` key=` begins.
fn pairs<'a>(text: &'a [u8], cx: &mut Context, record: &mut Record<'a>) {
    let mut at = 0;
    while let Some(equals) = next_equals(text, at) {
        let key = text[at..equals].trim_ascii();
        let value_at = equals + 1;
        let end = match next_equals(text, value_at) {
            Some(next) => memchr::memrchr(b' ', &text[value_at..next]).map_or(next, |blank| value_at + blank),
            None => text.len(),
        };
        pair(key, text[value_at..end.max(value_at)].trim_ascii(), cx, record);
        at = end.max(value_at);
    }
}

/// The next `=` with a key right before it.
fn next_equals(text: &[u8], mut from: usize) -> Option<usize> {
    loop {
        let at = from + memchr::memchr(b'=', text.get(from..)?)?;
        let word = memchr::memrchr(b' ', &text[..at]).map_or(0, |blank| blank + 1);
        let key = &text[word.min(at)..at];
        if !key.is_empty() && key.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        {
            return Some(at);
        }
        from = at + 1;
    }
}

fn pair<'a>(key: &'a [u8], text: &'a [u8], cx: &mut Context, record: &mut Record<'a>) {
    let field = match key {
        b"rt" | b"end" | b"start" if record.time.is_none() || key == b"rt" => {
            if let Some(time) = cx.clock.parse(text) {
                record.time = Some(time);
                return;
            }
            return record.push_sub("cef.extensions", Str::Raw(key), Value::Text(Str::Escaped(text)));
        }
        b"src" => return nginx::client(text, record),
        b"dst" => return meaning::peer("destination", text, record),
        b"dpt" => return record.push_sub("destination", Str::Raw(b"port"), meaning::typed(text)),
        b"spt" => match number(text) {
            Some(port) => return record.set(Field::ClientPort, Value::Int(port)),
            None => return record.note("number"),
        },
        b"msg" => {
            record.message = Some(Value::Text(Str::Escaped(text)));
            return;
        }
        b"suser" => Field::User,
        b"request" => Field::Url,
        b"requestMethod" => Field::Method,
        b"requestClientApplication" => Field::UserAgent,
        b"dvchost" => Field::Host,
        b"sproc" => Field::Process,
        _ => return record.push_sub("cef.extensions", Str::Raw(key), meaning::typed(text)),
    };
    record.set(field, Value::Text(Str::Escaped(text)));
}
