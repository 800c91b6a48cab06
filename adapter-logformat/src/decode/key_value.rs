//! `key=value` in any of its spellings: blanks, commas, semicolons or bars between the pairs, `=` or `: ` within them; text before the first
//! pair is the message. More lenient than [`super::logfmt`], so not a candidate of detection.

use super::{Context, Decoded, logfmt, mapper, refuse, values};
use crate::{
    json::{Member, Token},
    record::{Record, Value},
    text::Str,
};

pub fn decode<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    let mut members: [Option<Member<'a>>; 64] = [None; 64];
    let mut count = 0;
    let mut first = None;
    let mut at = 0;
    while at < line.len() {
        let rest = &line[at..];
        let skip = rest.iter().take_while(|b| is_gap(**b)).count();
        if skip > 0 {
            at += skip;
            continue;
        }
        let key = rest.iter().take_while(|b| is_key(**b)).count();
        if key == 0 || rest.get(key) != Some(&b'=') {
            // No pair: to the next gap.
            at += rest.iter().take_while(|b| !is_gap(**b)).count().max(1);
            continue;
        }
        first.get_or_insert(at);
        let (value, used) = value(&rest[key + 1..]);
        match members.get_mut(count) {
            Some(slot) => *slot = Some(Member { key: Str::Raw(&rest[..key]), value }),
            None => record.push(Str::Raw(&rest[..key]), values::value(&value)),
        }
        count += 1;
        at += key + 1 + used;
    }
    let Some(first) = first else { return refuse(0, "no key=value") };
    let text = line[..first].trim_ascii();
    if !text.is_empty() {
        if let Some((time, used)) = cx.clock.prefix(text) {
            record.time = Some(time);
            let words = text[used..].trim_ascii();
            record.severity = words.split(|b| *b == b' ').next().and_then(super::program::level);
        }
        record.message = Some(Value::Text(Str::Raw(text)));
    }
    mapper::access(members.iter().flatten(), cx, record);
    Ok(())
}

fn is_gap(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b',' | b';' | b'|')
}

fn is_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'@' | b'/')
}

fn value(text: &[u8]) -> (Token<'_>, usize) {
    match text.first() {
        Some(b'"') => match super::closing_quote(&text[1..]) {
            Some(end) => (Token::Text(Str::Escaped(&text[1..=end])), end + 2),
            None => (Token::Text(Str::Escaped(&text[1..])), text.len()),
        },
        Some(quote @ (b'\'' | b'[' | b'(')) => {
            let close = match quote {
                b'[' => b']',
                b'(' => b')',
                other => *other,
            };
            match memchr::memchr(close, &text[1..]) {
                Some(end) => (Token::Text(Str::Raw(&text[1..=end])), end + 2),
                None => (Token::Text(Str::Raw(text)), text.len()),
            }
        }
        _ => {
            let end = text.iter().position(|b| is_gap(*b)).unwrap_or(text.len());
            (logfmt::bare(&text[..end]), end)
        }
    }
}
