//! Values with separators: CSV (RFC 4180) and TSV with a header line or named columns, and LTSV.

use super::{Context, Decoded, logfmt, mapper, refuse, values};
use crate::{
    json::{Member, Token},
    record::Record,
    record::Value,
    text::Str,
};

pub fn decode<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    let separator = match cx.header.columns() {
        [] => guess(line),
        _ => cx.header.separator,
    };
    with_header(line, separator, cx, record)
}

pub fn tsv<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    with_header(line, b'\t', cx, record)
}

fn guess(line: &[u8]) -> u8 {
    [b',', b';', b'\t', b'|']
        .into_iter()
        .max_by_key(|s| memchr::memchr_iter(*s, line).count())
        .unwrap_or(b',')
}

/// The first line names the columns; it is a record like any other, because every line is one.
fn with_header<'a>(line: &'a [u8], separator: u8, cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    if cx.header.columns().is_empty() {
        if memchr::memchr(separator, line).is_none() {
            return refuse(0, "no separator in the line that should name the columns");
        }
        cx.header.set(line, separator);
    }
    if cx.header.is_line(line) {
        record.message = Some(Value::Text(Str::Raw(line)));
        return Ok(());
    }
    let mut members: [Option<Member<'a>>; 64] = [None; 64];
    let count = cx.header.columns().len().min(64);
    let mut at = 0;
    let mut filled = 0;
    for (place, slot) in members.iter_mut().enumerate().take(count) {
        let Some((text, quoted, next)) = value(line, at, separator) else { break };
        filled += 1;
        if !text.is_empty() {
            let name = cx.header.columns()[place];
            let value = if quoted { Token::Text(Str::Doubled(text)) } else { logfmt::bare(text) };
            *slot = Some(Member { key: Str::Raw(name.as_bytes()), value });
        }
        at = next;
    }
    if filled < 2 && count > 1 {
        return refuse(0, "one value where the header names several");
    }
    if filled < count || at <= line.len() {
        record.note("columns");
    }
    mapper::map(members.iter().flatten(), cx, record);
    Ok(())
}

/// The value at `at`: its text, whether it was in quotes, and where the next one begins (behind the line's end + 1 when there is none).
pub fn value(line: &[u8], at: usize, separator: u8) -> Option<(&[u8], bool, usize)> {
    let rest = line.get(at..)?;
    if let Some(inner) = rest.strip_prefix(b"\"") {
        let mut from = 0;
        loop {
            let end = from + memchr::memchr(b'"', &inner[from..])?;
            if inner.get(end + 1) == Some(&b'"') {
                from = end + 2;
                continue;
            }
            let behind =
                end + 1 + memchr::memchr(separator, &inner[end + 1..]).unwrap_or(inner.len() - end - 1);
            return Some((&inner[..end], true, at + 1 + behind + 1));
        }
    }
    let end = memchr::memchr(separator, rest).unwrap_or(rest.len());
    Some((&rest[..end], false, at + end + 1))
}

/// `label:value` with tabs between (ltsv.org).
pub fn ltsv<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    let mut members: [Option<Member<'a>>; 64] = [None; 64];
    let mut at = 0;
    let mut count = 0;
    for pair in line.split(|b| *b == b'\t') {
        let colon = memchr::memchr(b':', pair).filter(|c| *c > 0);
        let label =
            |c: usize| pair[..c].iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
        let Some(colon) = colon.filter(|c| label(*c)) else {
            return refuse(at, "not a label and its value");
        };
        at += pair.len() + 1;
        let (key, text) = (Str::Raw(&pair[..colon]), &pair[colon + 1..]);
        if matches!(text, b"-" | b"") {
            count += 1;
            continue;
        }
        let value = match logfmt::bare(text) {
            Token::Text(Str::Raw(text)) => {
                let time = text.strip_prefix(b"[").and_then(|t| t.strip_suffix(b"]"));
                Token::Text(Str::Escaped(time.filter(|_| key.bytes() == b"time").unwrap_or(text)))
            }
            other => other,
        };
        match members.get_mut(count) {
            Some(slot) => *slot = Some(Member { key, value }),
            None => record.push(key, values::value(&value)),
        }
        count += 1;
    }
    if count < 2 {
        return refuse(0, "fewer than two labels");
    }
    mapper::access(members.iter().flatten(), cx, record);
    Ok(())
}
