//! A flat JSON object → GELF 1.1 (Graylog Extended Log Format): own names in front, additional fields with a `_` before their names; values are
//! texts and numbers.

use super::seconds;
use crate::{
    json::{self, Token},
    severity::Severity,
    text::{Str, escape_any},
    time::Time,
};

/// `object` is one that the encoder wrote: valid, no key twice.
pub(super) fn write(
    object: &[u8],
    time: Time,
    severity: Option<Severity>,
    hostname: &str,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b"{\"version\":\"1.1\",\"host\":\"");
    let (mut host, mut message, mut original) = (None, None, None);
    let mut given: Vec<Vec<u8>> = Vec::new();
    let mut moved = false;
    json::written(object, |member| {
        match (member.key.bytes(), &member.value) {
            (b"host", Token::Text(text)) => host = Some(*text),
            (b"message", Token::Text(text)) => message = Some(*text),
            (b"original", Token::Text(text)) => original = Some(*text),
            _ => {}
        }
        let mut key = Vec::new();
        member.key.resolve(&mut key);
        moved |= clean(&mut key);
        given.push(key);
    });
    match host {
        Some(host) => host.write(out, true, &mut Vec::new()),
        None => escape_any(out, hostname.as_bytes()),
    }
    out.extend_from_slice(b"\",\"short_message\":\"");
    // It may not be empty; the compact variant has none.
    match message.or(original).filter(|text| !text.bytes().is_empty()) {
        Some(text) => text.write(out, true, &mut Vec::new()),
        None => out.push(b'-'),
    }
    out.extend_from_slice(b"\",\"timestamp\":");
    seconds(time, out);
    if let Some(severity) = severity {
        out.extend_from_slice(b",\"level\":");
        out.push(b'0' + syslog(severity));
    }
    let mut place = 0;
    json::written(object, |member| {
        let mut key = std::mem::take(&mut given[place]);
        place += 1;
        let text = matches!(member.value, Token::Text(_));
        let own = match member.key.bytes() {
            b"time" => true,
            b"host" | b"message" => text,
            _ => false,
        };
        if own || matches!(member.value, Token::Word(b"null")) {
            return;
        }
        while moved && given.contains(&key) {
            key.push(b'_');
        }
        out.extend_from_slice(b",\"_");
        out.extend_from_slice(&key);
        out.extend_from_slice(b"\":");
        value(&member.value, out);
        given[place - 1] = key;
    });
    out.push(b'}');
}

/// Letters, digits, `_`, `-`, `.`; and no `_id`, which is Graylog's own.
fn clean(key: &mut Vec<u8>) -> bool {
    let mut changed = false;
    for byte in key.iter_mut().filter(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))) {
        *byte = b'_';
        changed = true;
    }
    if key.is_empty() || key == b"id" {
        key.push(b'_');
        changed = true;
    }
    changed
}

fn value(token: &Token<'_>, out: &mut Vec<u8>) {
    match token {
        // A number that Graylog could not keep exactly is text.
        Token::Number(raw) if raw.len() < 16 => out.extend_from_slice(raw),
        Token::Text(text) => quoted(text, out),
        Token::Number(raw) | Token::Word(raw) | Token::Odd(raw) => quoted(&Str::Raw(raw), out),
        Token::Array { raw, .. } | Token::Object { raw, .. } => quoted(&Str::Raw(raw), out),
    }
}

fn quoted(text: &Str<'_>, out: &mut Vec<u8>) {
    out.push(b'"');
    text.write(out, true, &mut Vec::new());
    out.push(b'"');
}

/// Syslog's severity (RFC 5424, table 2), which GELF's level is.
fn syslog(severity: Severity) -> u8 {
    match severity.number() {
        0..=8 => 7,
        10 => 5,
        9..=12 => 6,
        13..=16 => 4,
        18 => 2,
        19 => 1,
        17 | 20 => 3,
        22 => 0,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_names_in_front_and_the_rest_behind_an_underscore() {
        let mut out = Vec::new();
        let object = br#"{"time":"x","level":"warn","message":"m","host":"h","id":1,"a b":true,"a_b":2,"o":{"k":1},"n":null,"big":12345678901234567890}"#;
        let time = Time { seconds: 1_795_263_850, nanos: 120_000_000 };
        write(object, time, Some(Severity::WARN), "node", &mut out);
        let want = r#"{"version":"1.1","host":"h","short_message":"m","timestamp":1795263850.12,"level":4,"_level":"warn","_id_":1,"_a_b_":"true","_a_b":2,"_o":"{\"k\":1}","_big":"12345678901234567890"}"#;
        assert_eq!(String::from_utf8_lossy(&out), want);
    }
}
