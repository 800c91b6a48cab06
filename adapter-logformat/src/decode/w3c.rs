//! W3C extended logs, whose `#Fields` line says what the columns are: IIS, CloudFront, and others.
//!
//! (W3C working draft "Extended Log File Format"; Microsoft, "W3C Logging"; AWS, "Standard logging" of CloudFront.) Times are UTC.

use super::{Context, Decoded, meaning, nginx, refuse};
use crate::{
    record::{Field, Record, Value},
    text::Str,
    time::number,
};

/// CloudFront's columns where the header has been cut off.
const CLOUDFRONT: &str = "date time x-edge-location sc-bytes c-ip cs-method cs(Host) cs-uri-stem sc-status cs(Referer) cs(User-Agent) cs-uri-query cs(Cookie) x-edge-result-type x-edge-request-id x-host-header cs-protocol cs-bytes time-taken x-forwarded-for ssl-protocol ssl-cipher x-edge-response-result-type cs-protocol-version fle-status fle-encrypted-fields c-port time-to-first-byte x-edge-detailed-result-type sc-content-type sc-content-len sc-range-start sc-range-end";

/// HTTP.sys' error log.
const HTTP_SYS: &str =
    "date time c-ip c-port s-ip s-port cs-version cs-method cs-uri sc-status s-siteid s-reason s-queuename";
/// IIS 8 and later.
const IIS: &str = "date time s-ip cs-method cs-uri-stem cs-uri-query s-port cs-username c-ip cs(User-Agent) cs(Referer) sc-status sc-substatus sc-win32-status time-taken";

pub fn decode<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    if directive(line, cx, record) {
        return Ok(());
    }
    columns(line, b' ', "iis", cx, record)
}

pub fn cloudfront<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    if directive(line, cx, record) {
        return Ok(());
    }
    if cx.header.columns().is_empty() {
        cx.header.set(CLOUDFRONT.as_bytes(), b' ');
    }
    columns(line, b'\t', "aws.cloudfront", cx, record)
}

/// `#Fields: …`, `#Software: …`: records of their own, because every line is one.
fn directive<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> bool {
    if line.first() != Some(&b'#') {
        return false;
    }
    if let Some(fields) = line.strip_prefix(b"#Fields:") {
        let separator = if memchr::memchr(b'\t', fields).is_some() { b'\t' } else { b' ' };
        cx.header.set(fields.trim_ascii(), separator);
    }
    if let Some(date) = line.strip_prefix(b"#Date:") {
        record.time = cx.clock.utc(date.trim_ascii());
    }
    record.message = Some(Value::Text(Str::Raw(line)));
    true
}

fn columns<'a>(
    line: &'a [u8],
    separator: u8,
    space: &'static str,
    cx: &mut Context,
    record: &mut Record<'a>,
) -> Decoded {
    if cx.header.columns().is_empty() {
        // Cut off by a rotation: the columns that Windows has by default are told by their number.
        let known = match line.split(|b| *b == separator).count() {
            13 => HTTP_SYS,
            15 => IIS,
            _ => return refuse(0, "no #Fields line has named the columns yet"),
        };
        cx.header.set(known.as_bytes(), b' ');
    }
    let separator = if memchr::memchr(b'\t', line).is_some() { b'\t' } else { separator };
    let (mut date, mut clock) = (&b""[..], &b""[..]);
    let mut values = line.split(|b| *b == separator);
    let mut seen = 0;
    let (mut stem, mut query) = (None, false);
    for place in 0..cx.header.columns().len() {
        let name = cx.header.columns()[place];
        let Some(text) = values.next() else { break };
        seen += 1;
        match name {
            "date" => date = text,
            "time" => clock = text,
            _ if matches!(text, b"-" | b"") => {}
            "cs-uri-stem" => {
                stem = Some(text);
                record.push_sub("url", Str::Raw(b"path"), Value::Text(Str::Raw(text)));
            }
            "cs-uri-query" => {
                query = true;
                record.push_sub("url", Str::Raw(b"query"), Value::Text(Str::Raw(text)));
            }
            _ => value(name, text, space, record),
        }
    }
    if seen < cx.header.columns().len() && seen < 4 || values.next().is_some_and(|rest| !rest.is_empty()) {
        return refuse(0, "not as many values as the #Fields line has names");
    }
    if seen < cx.header.columns().len() {
        record.note("cut");
    }
    if let (Some(stem), false) = (stem, query) {
        record.set(Field::Url, Value::Text(Str::Raw(stem)));
    }
    let mut both = [0u8; 40];
    let length = date.len() + 1 + clock.len();
    if let Some(text) = both.get_mut(..length) {
        text[..date.len()].copy_from_slice(date);
        text[date.len()] = b' ';
        text[date.len() + 1..].copy_from_slice(clock);
        record.time = cx.clock.utc(text).or_else(|| cx.clock.parse(clock));
    }
    if record.time.is_none() && !(date.is_empty() && clock.is_empty()) {
        record.note("time");
    }
    Ok(())
}

fn value<'a>(name: &'static str, text: &'a [u8], space: &'static str, record: &mut Record<'a>) {
    let field = match name {
        "c-ip" => return nginx::client(text, record),
        "s-ip" => return meaning::peer("destination", text, record),
        "s-port" => return record.push_sub("destination", Str::Raw(b"port"), meaning::typed(text)),
        "time-taken" => {
            // IIS counts milliseconds, CloudFront seconds with a fraction.
            let unit = if memchr::memchr(b'.', text).is_some() { 1_000_000_000 } else { 1_000_000 };
            match meaning::nanos(text, unit) {
                Some(nanos) => record.set(Field::Duration, Value::Duration(nanos)),
                None => record.note("duration"),
            }
            return;
        }
        "cs-version" | "cs-protocol-version" => {
            return record.text(Field::HttpVersion, text.strip_prefix(b"HTTP/").unwrap_or(text));
        }
        "cs-username" => Field::User,
        "cs-method" => Field::Method,
        "cs-uri" => Field::Url,
        "cs-host" | "cs(Host)" | "x-host-header" => Field::ServerAddress,
        "cs(User-Agent)" => Field::UserAgent,
        "cs(Referer)" | "cs(Referrer)" => Field::Referrer,
        "sc-status" | "c-port" | "sc-bytes" | "cs-bytes" => {
            let field = match name {
                "sc-status" => Field::Status,
                "c-port" => Field::ClientPort,
                "sc-bytes" => Field::ResponseBytes,
                _ => Field::RequestBytes,
            };
            return match number(text) {
                Some(number) => record.set(field, Value::Int(number)),
                None => record.note("number"),
            };
        }
        "x-edge-request-id" => Field::RequestId,
        other => return meaning::named(space, other.as_bytes(), text, record),
    };
    if !record.has(field) {
        record.set(field, Value::Text(Str::Escaped(text)));
    }
}
