//! Ruby's Logger, and what Rails says through it: `I, [2026-11-21T12:24:10.123456 #31]  INFO -- shop: message`.
//!
//! (Ruby, `Logger::Formatter`; Rails, `Rails::Rack::Logger` and `ActionController::LogSubscriber`.)

use super::{Context, Decoded, meaning, nginx, refuse};
use crate::{
    record::{Field, Record, Value},
    severity::Severity,
    text::Str,
    time::number,
};

pub fn decode<'a>(text: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    let line = &text[..memchr::memchr(b'\n', text).unwrap_or(text.len())];
    let [letter @ (b'D' | b'I' | b'W' | b'E' | b'F' | b'A'), b',', b' ', b'[', ..] = line else {
        return bare(line, text, cx, record);
    };
    let inner = &line[4..];
    let Some(close) = memchr::memchr(b']', inner) else {
        return refuse(4, "the time has no closing bracket");
    };
    let head = &inner[..close];
    let Some((time, used)) = cx.clock.prefix(head) else { return refuse(4, "no time") };
    let Some(pid) = head[used..].trim_ascii_start().strip_prefix(b"#").and_then(number) else {
        return refuse(4 + used, "no process such as #31");
    };
    let at = 4 + close + 1;
    let Some(dashes) = memchr::memmem::find(&line[at..], b" -- ") else {
        return refuse(at, "no ' -- ' behind the level");
    };
    let level = line[at..at + dashes].trim_ascii();
    let rest = &text[at + dashes + 4..];
    let Some(colon) = memchr::memchr(b':', rest) else {
        return refuse(at + dashes + 4, "no colon behind the program");
    };
    record.time = Some(time);
    record.severity = match letter {
        // Ruby's `unknown` is what always has to be seen.
        b'A' => Some(Severity::ERROR),
        letter => super::program::level(level).or(Severity::from_letter(*letter)),
    };
    record.set(Field::Pid, Value::Int(pid));
    let program = rest[..colon].trim_ascii();
    if !program.is_empty() {
        record.text(Field::Process, program);
    }
    let message = rest[colon + 1..].strip_prefix(b" ").unwrap_or(&rest[colon + 1..]);
    record.message = Some(Value::Text(Str::Raw(message)));
    details(message, record);
    Ok(())
}

/// Rails in development writes no head.
fn bare<'a>(line: &'a [u8], text: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    if !details(line, record) {
        return refuse(0, "neither the head of Ruby's Logger nor a line of Rails");
    }
    if let Some(at) = memchr::memmem::rfind(line, b" at ").filter(|_| line.starts_with(b"Started ")) {
        record.time = cx.clock.parse(&line[at + 4..]);
    }
    record.message = Some(Value::Text(Str::Raw(text)));
    Ok(())
}

/// What the messages of a request say. True when it is one of them.
fn details<'a>(message: &'a [u8], record: &mut Record<'a>) -> bool {
    let mut text = message;
    // Tags, the request's id first.
    while let Some(inner) = text.strip_prefix(b"[")
        && let Some(end) = memchr::memmem::find(inner, b"] ")
    {
        if end >= 32 && !record.has(Field::RequestId) {
            record.text(Field::RequestId, &inner[..end]);
        }
        text = &inner[end + 2..];
    }
    if let Some(rest) = text.strip_prefix(b"Started ") {
        let mut words = rest.splitn(2, |b| *b == b' ');
        let (Some(method), Some(rest)) = (words.next(), words.next()) else { return false };
        let Some(url) = rest.strip_prefix(b"\"").and_then(|r| Some(&r[..memchr::memchr(b'"', r)?])) else {
            return false;
        };
        record.text(Field::Method, method);
        record.text(Field::Url, url);
        if let Some(from) = rest[url.len() + 2..].strip_prefix(b" for ") {
            nginx::client(&from[..memchr::memchr(b' ', from).unwrap_or(from.len())], record);
        }
        return true;
    }
    if let Some(rest) = text.strip_prefix(b"Processing by ") {
        let end = memchr::memchr(b' ', rest).unwrap_or(rest.len());
        if let Some(hash) = memchr::memchr(b'#', &rest[..end]) {
            record.push_sub("rails", Str::Raw(b"controller"), Value::Text(Str::Raw(&rest[..hash])));
            record.push_sub("rails", Str::Raw(b"action"), Value::Text(Str::Raw(&rest[hash + 1..end])));
        }
        if let Some(format) = rest[end..].strip_prefix(b" as ") {
            record.push_sub("rails", Str::Raw(b"format"), Value::Text(Str::Raw(format)));
        }
        return true;
    }
    if let Some(rest) = text.strip_prefix(b"Completed ") {
        let Some(status) = rest.get(..3).and_then(number) else { return false };
        record.set(Field::Status, Value::Int(status));
        if let Some(at) = memchr::memmem::find(rest, b" in ")
            && let Some(end) = memchr::memmem::find(&rest[at + 4..], b"ms")
            && let Some(nanos) = meaning::nanos(&rest[at + 4..at + 4 + end], 1_000_000)
        {
            record.set(Field::Duration, Value::Duration(nanos));
        }
        for (mark, name) in
            [(&b"Views: "[..], "view_ms"), (b"ActiveRecord: ", "db_ms"), (b"Allocations: ", "allocations")]
        {
            if let Some(at) = memchr::memmem::find(rest, mark) {
                let value = &rest[at + mark.len()..];
                let end =
                    value.iter().position(|b| !(b.is_ascii_digit() || *b == b'.')).unwrap_or(value.len());
                meaning::named("rails", name.as_bytes(), &value[..end], record);
            }
        }
        return true;
    }
    text.starts_with(b"# Logfile created on ")
        || text.starts_with(b"Parameters: {")
        || text.starts_with(b"  Parameters: {")
}
