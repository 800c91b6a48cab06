//! logfmt: `key=value key="quoted value" flag`, as go-kit, logrus and Heroku write it.
//!
//! Text is full of `=`, so the decoder is strict: at least two pairs, and pairs must make up most of the line.

use super::{
    Context, Decoded, closing_quote, dialect,
    json::{WIDE, recycle},
    refuse,
};
use crate::{
    json::{Member, Token},
    record::Record,
    text::{Str, first_of},
};

pub fn decode<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    if line.first() == Some(&b'{') {
        return refuse(0, "an object, not pairs");
    }
    let mut members: Vec<Member<'a>> = recycle(std::mem::take(&mut cx.members));
    let mut loose = 0;
    let read = pairs(line, |at, member| match member {
        Some(member) if members.len() < WIDE => {
            members.push(member);
            Ok(())
        }
        Some(member) => {
            // More than 64 pairs: they are kept as they come, unmapped.
            record.push(member.key, dialect::value(&member.value));
            Ok(())
        }
        None => {
            loose += 1;
            if loose > 8 + members.len() { refuse(at, "more words than pairs") } else { Ok(()) }
        }
    });
    let few = members.len() < 2 || loose > members.len();
    let read = match read {
        Ok(()) if few => refuse(0, "fewer than two pairs, or more words than pairs"),
        read => read,
    };
    if read.is_ok() {
        dialect::map(members.iter(), cx, record);
    }
    cx.members = recycle(members);
    read
}

/// Calls `each` with every pair, or with `None` for a word that is none.
pub fn pairs<'a>(line: &'a [u8], mut each: impl FnMut(usize, Option<Member<'a>>) -> Decoded) -> Decoded {
    let mut at = 0;
    while at < line.len() {
        if matches!(line[at], b' ' | b'\t') {
            at += 1;
            continue;
        }
        let start = at;
        at += first_of(&line[at..], *b"= \"\t").unwrap_or(line.len() - at);
        let key = &line[start..at];
        if line.get(at) != Some(&b'=') || key.is_empty() {
            at = at.max(start + 1);
            each(start, None)?;
            continue;
        }
        at += 1;
        let value = match line.get(at) {
            Some(b'"') => {
                let Some(end) = closing_quote(&line[at + 1..]) else {
                    return refuse(at, "a quote is not closed");
                };
                let body = &line[at + 1..at + 1 + end];
                at += end + 2;
                Token::Text(Str::Escaped(body))
            }
            _ => {
                let length = first_of(&line[at..], *b" \t").unwrap_or(line.len() - at);
                let word = &line[at..at + length];
                at += length;
                bare(word)
            }
        };
        each(start, Some(Member { key: Str::Raw(key), value }))?;
    }
    Ok(())
}

/// A value without quotes: a number or a word of JSON when it is exactly that, text otherwise.
pub fn bare(word: &[u8]) -> Token<'_> {
    match word {
        b"true" | b"false" | b"null" => Token::Word(word),
        _ if is_number(word) => Token::Number(word),
        _ => Token::Text(Str::Raw(word)),
    }
}

/// A JSON number that reads back as it was written: no leading zeros, no exponent (`1e5` may be a git hash).
pub fn is_number(word: &[u8]) -> bool {
    if !word.first().is_some_and(|byte| byte.is_ascii_digit() || *byte == b'-') {
        return false;
    }
    let body = word.strip_prefix(b"-").unwrap_or(word);
    let (whole, fraction) =
        match body.iter().position(|byte| !byte.is_ascii_digit()).filter(|at| body[*at] == b'.') {
            Some(dot) => (&body[..dot], Some(&body[dot + 1..])),
            None => (body, None),
        };
    let all = |d: &[u8]| !d.is_empty() && d.iter().all(u8::is_ascii_digit);
    all(whole) && (whole.len() == 1 || whole[0] != b'0') && word.len() < 40 && fraction.is_none_or(all)
}
