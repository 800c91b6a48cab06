//! nginx `combined`, which is Apache's `combined` and `common` too:
//!
//! `$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"`
//!
//! (nginx: ngx_http_log_module). Quoted values carry `\xHH` for `"`, `\` and control bytes. A virtual host in front and
//! further fields behind are common additions: the host is read, the fields behind are kept as `nginx.extra`.

use super::{Context, Cursor, Decoded, Refusal, is_ip, refuse, whole};
use crate::{
    record::{Field, Record, Value},
    text::{Block, Str, first_of},
    time::{Time, number},
};

pub fn decode<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    let mut cursor = Cursor::new(line);
    let Some(open) = blank_bracket(line).filter(|p| *p <= 4096) else {
        return refuse(0, "no time in brackets");
    };
    let head = &line[..open];
    cursor.at = open + 2;
    let known_time = time(&mut cursor, cx)?;
    if !cursor.literal(b" \"") {
        return refuse(cursor.at, "no quoted request after the time");
    }
    let request_at = cursor.at;
    let Some(request) = cursor.quoted() else {
        return refuse(request_at, "the request has no closing quote");
    };
    if !cursor.literal(b" ") {
        return refuse(cursor.at, "no status after the request");
    }
    let status_at = cursor.at;
    let (status, is_number) = number_word(&mut cursor);
    if known_time.is_none() && !is_number {
        return refuse(status_at, "neither a time nor a status");
    }
    addresses(head, record)?;
    match known_time {
        Some(time) => record.time = Some(time),
        None => record.note("time"),
    }
    self::request(request, record);
    match (status, is_number) {
        ([b'1'..=b'9', _, _], true) => record.set(Field::Status, Value::Json(status)),
        _ => match whole(status).filter(|_| status.len() == 3) {
            Some(code) => record.set(Field::Status, code),
            None => record.note("status"),
        },
    }
    cursor.literal(b" ");
    match number_word(&mut cursor) {
        (b"-", _) => {}
        (bytes @ [b'1'..=b'9', ..], true) => record.set(Field::ResponseBytes, Value::Json(bytes)),
        (bytes, _) => match whole(bytes) {
            Some(bytes) => record.set(Field::ResponseBytes, bytes),
            None => record.note("bytes"),
        },
    }
    for field in [Field::Referrer, Field::UserAgent] {
        if !cursor.literal(b" \"") {
            break;
        }
        match cursor.quoted() {
            Some(b"-" | b"") => {}
            Some(text) => record.set(field, Value::Text(Str::Escaped(text))),
            None => {
                // Cut in the middle, as by a full disk: what is there is kept.
                record.set(field, Value::Text(Str::Escaped(cursor.rest())));
                record.note("cut");
                return Ok(());
            }
        }
    }
    let rest = cursor.rest().strip_prefix(b" ").unwrap_or(cursor.rest());
    if !rest.is_empty() && rest != b"\"-\"" {
        record.push_sub("nginx", Str::Raw(b"extra"), Value::Text(Str::Escaped(rest)));
    }
    Ok(())
}

/// What is in the brackets, where it is a time that can be read.
fn time(cursor: &mut Cursor<'_>, cx: &mut Context) -> Result<Option<Time>, Refusal> {
    if let Some((text, [b']', ..])) = cursor.rest().split_at_checked(26)
        && let Some(time) = cx.clock.clf(text)
    {
        cursor.at += 27;
        return Ok(Some(time));
    }
    let start = cursor.at;
    match cursor.until(b']') {
        Some(text) if text.len() <= 40 => Ok(cx.clock.parse(text)),
        Some(_) => Err(Refusal { at: start, reason: "the brackets hold no time" }),
        None => Err(Refusal { at: start, reason: "the time has no closing bracket" }),
    }
}

/// Where ` [` is.
fn blank_bracket(line: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + first_of(line.get(from..)?, *b"[")?;
        if at > 0 && line[at - 1] == b' ' {
            return Some(at - 1);
        }
        from = at + 1;
    }
}

/// Where ` - ` is.
fn blank_dash(head: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + first_of(head.get(from..)?, *b" ")?;
        if head[at..].starts_with(b" - ") {
            return Some(at);
        }
        from = at + 1;
    }
}

/// What stands before the next blank, and whether it is a number.
#[inline]
fn number_word<'a>(cursor: &mut Cursor<'a>) -> (&'a [u8], bool) {
    let rest = cursor.rest();
    if let Some(block) = rest.first_chunk() {
        let digits = (!Block::of(block).digits()).trailing_zeros() as usize;
        if digits > 0 && block.get(digits) == Some(&b' ') {
            cursor.at += digits;
            return (&rest[..digits], true);
        }
    }
    let length = first_of(rest, *b" ").unwrap_or(rest.len());
    cursor.at += length;
    (&rest[..length], number(&rest[..length]).is_some())
}

/// `[host[:port] ]address[, address…] - user`
fn addresses<'a>(head: &'a [u8], record: &mut Record<'a>) -> Decoded {
    let Some(dash) = blank_dash(head) else {
        return refuse(0, "no ' - ' between address and user");
    };
    let user = &head[dash + 3..];
    if user.is_empty() {
        return refuse(dash + 3, "no user before the time");
    }
    let mut list = &head[..dash];
    if let [b'"', ..] = list {
        // A forwarded-for list in quotes, then the peer.
        let Some(end) = memchr::memchr(b'"', &list[1..]) else {
            return refuse(0, "the address list has no closing quote");
        };
        list = &list[1..=end];
    }
    let first_end = first_of(list, *b" ").unwrap_or(list.len());
    let first = &list[..first_end];
    let mut client = first.strip_suffix(b",").unwrap_or(first);
    if first_end < list.len() && !first.ends_with(b",") {
        // Apache's vhost_combined, and the same with nginx: the host first.
        let (host, port) = host_port(first);
        record.text(Field::ServerAddress, host);
        if let Some(port) = port {
            record.set(Field::ServerPort, Value::Int(port));
        }
        let mut rest = &list[first_end + 1..];
        if let Some(inner) = rest.strip_prefix(b"\"") {
            rest = &inner[..memchr::memchr(b'"', inner).unwrap_or(inner.len())];
        }
        let end = rest.iter().position(|&b| b == b' ' || b == b',').unwrap_or(rest.len());
        client = &rest[..end];
        list = rest;
    }
    if client.is_empty() || client.len() > 255 {
        return refuse(0, "no client address");
    }
    self::client(client, record);
    if list.len() > client.len() {
        record.push_sub("nginx", Str::Raw(b"remote_addrs"), Value::Text(Str::Raw(list)));
    }
    if user != b"-" {
        record.set(Field::User, Value::Text(Str::Escaped(user)));
    }
    Ok(())
}

/// The client's address, and as an IP where it is one.
pub fn client<'a>(address: &'a [u8], record: &mut Record<'a>) {
    record.text(Field::ClientAddress, address);
    if is_ip(address) {
        record.text(Field::ClientIp, address);
    }
}

pub(super) fn host_port(text: &[u8]) -> (&[u8], Option<i64>) {
    match memchr::memrchr(b':', text) {
        Some(colon)
            if number(&text[colon + 1..]).is_some_and(|p| p < 65536)
                && memchr::memchr(b':', &text[..colon]).is_none() =>
        {
            (&text[..colon], number(&text[colon + 1..]))
        }
        _ => (text, None),
    }
}

/// `GET /path HTTP/1.1`: three parts, or kept whole when it is something else (TLS bytes sent to a plain port, nothing at all).
pub fn request<'a>(request: &'a [u8], record: &mut Record<'a>) {
    if matches!(request, b"" | b"-") {
        return;
    }
    // ` HTTP/1.1`, as a rule.
    let last = match request.last_chunk() {
        Some([b' ', b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9']) => Some(request.len() - 9),
        _ => memchr::memrchr(b' ', request),
    };
    let parts = first_of(request, *b" ").zip(last).filter(|(a, b)| a < b);
    if let Some((first, last)) = parts {
        let (method, url, version) = (&request[..first], &request[first + 1..last], &request[last + 1..]);
        if let Some(version) = version.strip_prefix(b"HTTP/")
            && method.iter().all(|b| b.is_ascii_uppercase() || *b == b'-' || *b == b'_')
            && version.len() <= 3
        {
            record.text(Field::Method, method);
            record.set(Field::Url, Value::Text(Str::Escaped(url)));
            record.text(Field::HttpVersion, version);
            return;
        }
    }
    record.set(Field::Url, Value::Text(Str::Escaped(request)));
    record.note("request");
}
