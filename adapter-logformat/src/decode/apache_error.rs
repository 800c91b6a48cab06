//! Apache's error log: `[Sat Nov 21 12:24:10.123456 2026] [core:error] [pid 31:tid 32] [client 192.0.2.7:5000] AH00126: message`
//! (2.4, `ErrorLogFormat` default), and without module, process and client as 2.2 wrote it.

use super::{Context, Cursor, Decoded, nginx, refuse};
use crate::{
    record::{Field, Record, Value},
    severity::Severity,
    text::Str,
    time::number,
};

pub fn decode<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    let mut cursor = Cursor::new(line);
    if !cursor.literal(b"[") {
        return refuse(0, "no time in brackets");
    }
    let Some(time) = cursor.until(b']').filter(|t| t.len() <= 40) else {
        return refuse(1, "the time has no closing bracket");
    };
    // `Sat Nov 21 …`: the day of the week says nothing more.
    let Some(time) = time.get(4..).and_then(|t| cx.clock.parse(t)) else {
        return refuse(1, "no time such as Sat Nov 21 12:24:10 2026");
    };
    if !cursor.literal(b" [") {
        return refuse(cursor.at, "no level in brackets");
    }
    let level_at = cursor.at;
    let Some(level) = cursor.until(b']') else { return refuse(level_at, "the level has no closing bracket") };
    let (module, name) = match memchr::memchr(b':', level) {
        Some(colon) => (&level[..colon], &level[colon + 1..]),
        None => (&b""[..], level),
    };
    let trace = name.strip_prefix(b"trace").filter(|digit| digit.len() == 1).map(|_| Severity::TRACE);
    let Some(severity) = trace.or(Severity::from_name(name)) else {
        return refuse(level_at, "no level of Apache");
    };
    record.time = Some(time);
    record.severity = Some(severity);
    if !matches!(module, b"" | b"-") {
        record.push_sub("apache", Str::Raw(b"module"), Value::Text(Str::Raw(module)));
    }
    while cursor.literal(b" [") {
        let start = cursor.at - 2;
        let Some(part) = cursor.until(b']') else {
            cursor.at = start;
            break;
        };
        if let Some(ids) = part.strip_prefix(b"pid ") {
            let colon = memchr::memchr(b':', ids).unwrap_or(ids.len());
            match number(&ids[..colon]) {
                Some(pid) => record.set(Field::Pid, Value::Int(pid)),
                None => record.note("process"),
            }
            if let Some(thread) = ids[colon..].strip_prefix(b":tid ").and_then(number) {
                record.set(Field::ThreadId, Value::Int(thread));
            }
        } else if let Some(client) = part.strip_prefix(b"client ") {
            client_port(client, record);
        } else if part.starts_with(b"remote ") {
            client_port(&part[7..], record);
        } else {
            cursor.at = start;
            break;
        }
    }
    let message = cursor.rest().strip_prefix(b" ").unwrap_or(cursor.rest());
    let own = behind_system_error(message, record);
    if let Some(code) = own.get(..7).filter(|c| c.starts_with(b"AH") && c[2..].iter().all(u8::is_ascii_digit))
    {
        record.text(Field::ErrorCode, code);
    }
    // httpd puts the page that led here behind everything else.
    if let Some(at) = memchr::memmem::rfind(message, b", referer: ") {
        record.set(Field::Referrer, Value::Text(Str::Escaped(&message[at + 11..])));
    }
    record.message = Some(Value::Text(Str::Escaped(message)));
    Ok(())
}

/// `(13)Permission denied: [client 192.0.2.7:5000] AH00035: …`: what the system said stands in front of the client. Gives what is behind both.
fn behind_system_error<'a>(message: &'a [u8], record: &mut Record<'a>) -> &'a [u8] {
    let system = message
        .strip_prefix(b"(")
        .and_then(|rest| number(&rest[..memchr::memchr(b')', rest).filter(|end| *end < 8)?]));
    if system.is_none() {
        return message;
    }
    if let Some(at) = memchr::memmem::find(message, b" [client ")
        && let Some(end) = memchr::memchr(b']', &message[at..])
    {
        client_port(&message[at + 9..at + end], record);
        return message[at + end + 1..].trim_ascii_start();
    }
    memchr::memmem::find(message, b": ").map_or(message, |at| &message[at + 2..])
}

/// `192.0.2.7:5000`, `192.0.2.7`, `2001:db8::1:5000`
fn client_port<'a>(text: &'a [u8], record: &mut Record<'a>) {
    let port = memchr::memrchr(b':', text)
        .and_then(|colon| Some((colon, number(&text[colon + 1..]).filter(|p| *p < 65536)?)));
    match port {
        Some((colon, port)) if !super::is_ip(text) || memchr::memchr(b'.', text).is_some() => {
            nginx::client(&text[..colon], record);
            record.set(Field::ClientPort, Value::Int(port));
        }
        _ => nginx::client(text, record),
    }
}
