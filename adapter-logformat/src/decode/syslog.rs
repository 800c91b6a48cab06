//! Syslog lines: RFC 5424, RFC 3164 and what daemons write to files (no priority; ISO time with rsyslog and syslog-ng).

use super::{Context, Cursor, Decoded, refuse, whole};
use crate::{
    record::{Field, Record, Value},
    severity::Severity,
    text::{Str, first_of},
    time::number,
};

const FACILITIES: [&str; 24] = [
    "kern",
    "user",
    "mail",
    "daemon",
    "auth",
    "syslog",
    "lpr",
    "news",
    "uucp",
    "cron",
    "authpriv",
    "ftp",
    "ntp",
    "security",
    "console",
    "solaris-cron",
    "local0",
    "local1",
    "local2",
    "local3",
    "local4",
    "local5",
    "local6",
    "local7",
];

pub fn decode<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    let mut cursor = Cursor::new(line);
    let priority = priority(&mut cursor);
    if line.first() == Some(&b'<') && priority.is_none() {
        return refuse(0, "no priority 0 to 191 between < and >");
    }
    if let Some(priority) = priority {
        let code = u8::try_from(priority & 7).unwrap_or(7);
        record.severity = Severity::from_syslog(code);
        record.set(Field::SyslogPriority, Value::Int(priority));
        record.set(Field::SyslogFacility, Value::Int(priority >> 3));
        if let Some(name) = usize::try_from(priority >> 3).ok().and_then(|f| FACILITIES.get(f)) {
            record.set(Field::SyslogFacilityName, Value::Text(Str::Json(name.as_bytes())));
        }
        record.set(Field::SyslogSeverity, Value::Int(i64::from(code)));
        if cursor.literal(b"1 ") {
            return rfc5424(cursor, cx, record);
        }
    }
    rfc3164(cursor, cx, record, priority.is_some())
}

fn priority(cursor: &mut Cursor<'_>) -> Option<i64> {
    let body = cursor.rest().strip_prefix(b"<")?;
    let digits = match body {
        [_, b'>', ..] => 1,
        [_, _, b'>', ..] => 2,
        [_, _, _, b'>', ..] => 3,
        [_, _, _, _, b'>', ..] => 4,
        _ => return None,
    };
    let value = number(&body[..digits]).filter(|p| *p < 192)?;
    cursor.at += digits + 2;
    Some(value)
}

/// A header field; `-` is the nil value.
fn header<'a>(cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
    let rest = cursor.rest();
    let end = first_of(rest, *b" ").unwrap_or(rest.len());
    if end == 0 {
        return None;
    }
    cursor.at = (cursor.at + end + 1).min(cursor.line.len());
    Some(&rest[..end])
}

fn rfc5424<'a>(mut cursor: Cursor<'a>, cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    record.set(Field::SyslogVersion, Value::Int(1));
    let mut fields = [&b"-"[..]; 5];
    for field in &mut fields {
        match header(&mut cursor) {
            Some(text) => *field = text,
            None => return refuse(cursor.at, "fewer than five header fields"),
        }
    }
    let [time, host, app, process, id] = fields;
    if time != b"-" {
        match cx.clock.parse(time) {
            Some(time) => record.time = Some(time),
            None => record.note("time"),
        }
    }
    for (field, text) in [(Field::Host, host), (Field::Service, app), (Field::SyslogMsgId, id)] {
        if text != b"-" {
            record.text(field, text);
        }
    }
    process_id(process, record);
    if !(cursor.literal(b"- ") || cursor.rest() == b"-" && cursor.literal(b"-")) {
        structured_data(&mut cursor, record);
    }
    let message = cursor.rest();
    record.message = Some(Value::Text(Str::Raw(message.strip_prefix(b"\xef\xbb\xbf").unwrap_or(message))));
    Ok(())
}

fn process_id<'a>(text: &'a [u8], record: &mut Record<'a>) {
    match whole(text) {
        Some(pid) => record.set(Field::Pid, pid),
        None if text != b"-" && !text.is_empty() => record.text(Field::SyslogProcId, text),
        None => {}
    }
}

/// `[id name="value" …]…`; what is not well formed becomes part of the message.
fn structured_data<'a>(cursor: &mut Cursor<'a>, record: &mut Record<'a>) {
    while cursor.literal(b"[") {
        let start = cursor.at - 1;
        let rest = cursor.rest();
        let end = first_of(rest, *b" ]").unwrap_or(rest.len());
        let id = &rest[..end];
        cursor.at += end;
        while cursor.literal(b" ") {
            let Some(name) = cursor.until(b'=') else { break };
            if !cursor.literal(b"\"") {
                break;
            }
            let Some((value, escapes)) = cursor.quoted_plainly() else { break };
            record.push_sd(id, name, Value::Text(if escapes { sd_value(value) } else { Str::Raw(value) }));
        }
        if id.is_empty() || !cursor.literal(b"]") {
            cursor.at = start;
            record.note("structured-data");
            return;
        }
    }
    cursor.literal(b" ");
}

/// In a value only `\"`, `\\` and `\]` are escapes; other backslashes are text.
fn sd_value(value: &[u8]) -> Str<'_> {
    let mut escaped = false;
    for pair in value.windows(2) {
        if pair[0] == b'\\' {
            if !matches!(pair[1], b'"' | b'\\') {
                return Str::Raw(value);
            }
            escaped = true;
        }
    }
    if escaped { Str::Escaped(value) } else { Str::Raw(value) }
}

/// `Google Chrome[85294]: …`: a program's name with blanks, told by the process id behind it.
fn with_blanks(rest: &[u8]) -> Option<usize> {
    let open = memchr::memchr(b'[', &rest[..rest.len().min(64)])?;
    let close = open + memchr::memchr(b']', &rest[open..rest.len().min(open + 12)])?;
    let name = rest[..open]
        .iter()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b' ' | b'.' | b'_' | b'-' | b'/'));
    (name && open > 0 && number(&rest[open + 1..close]).is_some() && rest.get(close + 1) == Some(&b':'))
        .then_some(open)
}

/// `INFO`, `[error]`: a logger's line of time, level and text, and no host.
fn level(host: &[u8]) -> bool {
    let inner = host.strip_prefix(b"[").and_then(|h| h.strip_suffix(b"]"));
    let name = inner.unwrap_or(host);
    let plain: [&[u8]; 7] = [b"trace", b"debug", b"info", b"warn", b"warning", b"error", b"fatal"];
    inner.is_some()
        || plain.contains(&name)
        || name.len() > 2 && name.iter().all(u8::is_ascii_uppercase) && Severity::from_name(name).is_some()
}

fn rfc3164<'a>(mut cursor: Cursor<'a>, cx: &mut Context, record: &mut Record<'a>, marked: bool) -> Decoded {
    let start = cursor.at;
    let Some((time, used)) = cx.clock.prefix(cursor.rest()).filter(|(_, used)| *used >= 15) else {
        if !marked {
            return refuse(start, "no time such as Nov 21 12:24:10");
        }
        record.message = Some(Value::Text(Str::Raw(cursor.rest())));
        record.note("time");
        return Ok(());
    };
    if !marked && !matches!(cursor.rest(), [b'A'..=b'Z', ..] | [_, _, _, _, b'-', _, _, b'-', _, _, b'T', ..])
    {
        return refuse(start, "no time of syslog");
    }
    cursor.at += used;
    if !cursor.literal(b" ") {
        return refuse(cursor.at, "no space after the time");
    }
    let host_at = cursor.at;
    let Some(host) = header(&mut cursor) else { return refuse(host_at, "no host") };
    let tag_at = cursor.at;
    let rest = cursor.rest();
    let end = rest.iter().position(|b| matches!(b, b':' | b'[' | b' ')).unwrap_or(rest.len());
    let end = with_blanks(rest).unwrap_or(end);
    if !marked && (level(host) || rest[..end].iter().any(|b| matches!(b, b'=' | b'"' | b'{' | b'(' | b','))) {
        return refuse(host_at, "a level, or a pair, where the host or the program's name stands");
    }
    let (tag, mut after) = (&rest[..end], end);
    let mut pid = None;
    if rest.get(end) == Some(&b'[') {
        match memchr::memchr(b']', &rest[end..]) {
            Some(close) => {
                pid = Some(&rest[end + 1..end + close]);
                after = end + close + 1;
            }
            None => return refuse(tag_at + end, "the process id has no closing bracket"),
        }
    }
    // macOS names the caller between the process and the colon: `com.apple.xpc.launchd[1] (com.apple.x): …`
    if rest[after..].starts_with(b" (") {
        after = memchr::memmem::find(&rest[after..], b"):").map_or(after, |close| after + close + 1);
    }
    record.time = Some(time);
    if rest.get(after) == Some(&b':') && !tag.is_empty() {
        record.text(Field::Host, host);
        record.text(Field::Process, tag);
        if let Some(pid) = pid {
            process_id(pid, record);
        }
        let message = &rest[after + 1..];
        record.message = Some(Value::Text(Str::Raw(message.strip_prefix(b" ").unwrap_or(message))));
        return Ok(());
    }
    if !marked {
        return refuse(tag_at, "no tag with a colon after the host");
    }
    // `<13>Nov 21 12:24:10 text`: with a priority it is syslog, whatever else is missing.
    record.text(Field::Host, host);
    record.message = Some(Value::Text(Str::Raw(rest)));
    record.note("tag");
    Ok(())
}
