//! nginx error log: `2026/11/21 12:24:10 [error] 31#31: *7 message, client: …, server: …, request: "…", upstream: "…", host: "…"`
//!
//! (nginx: `ngx_log.c` and `ngx_http_log_error`). The message keeps its own commas; only the known pairs at its end are fields.

use super::{Context, Cursor, Decoded, nginx, refuse};
use crate::{
    record::{Field, Record, Value},
    severity::Severity,
    text::Str,
    time::number,
};

pub fn decode<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    let mut cursor = Cursor::new(line);
    let time = match line {
        [_, _, _, _, b'/', ..] => cx.clock.prefix(line),
        _ => None,
    };
    let Some((time, used)) = time else { return refuse(0, "no time such as 2026/11/21 12:24:10") };
    cursor.at = used;
    if !cursor.literal(b" [") {
        return refuse(cursor.at, "no level in brackets after the time");
    }
    let level_at = cursor.at;
    let Some(level) = cursor.until(b']').and_then(Severity::from_name) else {
        return refuse(level_at, "no nginx level");
    };
    record.time = Some(time);
    record.severity = Some(level);
    cursor.literal(b" ");
    let ids = cursor.at;
    let pid = cursor.until(b'#').and_then(number);
    let thread = pid.and_then(|_| cursor.until(b':')).and_then(number);
    match (pid, thread) {
        (Some(pid), Some(thread)) => {
            record.set(Field::Pid, Value::Int(pid));
            record.set(Field::ThreadId, Value::Int(thread));
            cursor.literal(b" ");
        }
        _ => {
            cursor.at = ids;
            record.note("process");
        }
    }
    if cursor.rest().starts_with(b"*") {
        let end = memchr::memchr(b' ', cursor.rest()).unwrap_or(0);
        if let Some(id) = cursor.rest().get(1..end).and_then(number) {
            record.push_sub("nginx", Str::Raw(b"connection_id"), Value::Int(id));
            cursor.at += end + 1;
        }
    }
    let message = cursor.rest();
    record.message = Some(Value::Text(Str::Raw(message)));
    pairs(message, record);
    Ok(())
}

fn pairs<'a>(message: &'a [u8], record: &mut Record<'a>) {
    let Some(mut at) = memchr::memmem::find(message, b", client: ") else { return };
    while let Some(pair) = message.get(at..).and_then(|m| m.strip_prefix(b", ")) {
        let Some(colon) = memchr::memmem::find(pair, b": ") else { return };
        let (key, value) = (&pair[..colon], &pair[colon + 2..]);
        let (text, length) = match value.strip_prefix(b"\"") {
            Some(quoted) => match closing(quoted) {
                Some(end) => (&quoted[..end], end + 2),
                None => return,
            },
            None => {
                let end = memchr::memmem::find(value, b", ").unwrap_or(value.len());
                (&value[..end], end)
            }
        };
        at += 2 + colon + 2 + length;
        match key {
            b"client" => nginx::client(text, record),
            b"server" => record.text(Field::ServerAddress, text),
            b"request" => nginx::request(text, record),
            b"referrer" => record.set(Field::Referrer, Value::Text(Str::Escaped(text))),
            b"upstream" | b"host" | b"subrequest" | b"login" => {
                record.push_sub("nginx", Str::Raw(key), Value::Text(Str::Escaped(text)));
            }
            _ => return,
        }
    }
}

/// nginx escapes nothing here, so a value may hold quotes: it ends where a known key follows, or the line ends.
fn closing(quoted: &[u8]) -> Option<usize> {
    const NEXT: [&[u8]; 7] = [
        b"server: ",
        b"request: \"",
        b"subrequest: \"",
        b"upstream: \"",
        b"host: \"",
        b"login: \"",
        b"referrer: \"",
    ];
    memchr::memchr_iter(b'"', quoted).find(|end| match &quoted[end + 1..] {
        [] => true,
        rest => rest.strip_prefix(b", ").is_some_and(|rest| NEXT.iter().any(|key| rest.starts_with(key))),
    })
}
