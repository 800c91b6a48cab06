//! logfmt: `key=value key="quoted value" flag`, as go-kit, logrus and Heroku write it.
//!
//! Text is full of `=`, so the decoder is strict: at least two pairs, and pairs must make up most of the line.

use super::{
    Context, Decoded, closing_quote, dialect,
    dialect_servers::Kind,
    json::{WIDE, recycle},
    refuse,
    shape::{Shape, Style},
};
use crate::{
    json::{Member, Token},
    record::Record,
    text::{BLOCK, Block, Str, first_of, low},
};

pub fn decode<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    if line.first() == Some(&b'{') {
        return refuse(0, "an object, not pairs");
    }
    let mut members: Vec<Member<'a>> = recycle(std::mem::take(&mut cx.members));
    cx.shape.begin(Style::Pairs, Kind::Plain);
    let mut loose = 0;
    let read = read(line, Some(&mut cx.shape), |at, member| match member {
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
        dialect::mapped(&members, cx, record);
    }
    cx.members = recycle(members);
    read
}

/// Calls `each` with every pair, or with `None` for a word that is none.
pub fn pairs<'a>(line: &'a [u8], each: impl FnMut(usize, Option<Member<'a>>) -> Decoded) -> Decoded {
    read(line, None, each)
}

#[inline(always)]
fn read<'a>(
    line: &'a [u8],
    mut shape: Option<&mut Shape>,
    mut each: impl FnMut(usize, Option<Member<'a>>) -> Decoded,
) -> Decoded {
    let (mut at, mut count) = (0, 0);
    while at < line.len() {
        if matches!(line[at], b' ' | b'\t') {
            at += 1;
            continue;
        }
        let start = at;
        let next = shape.as_ref().and_then(|shape| shape.next(&line[at..]));
        let key = match next {
            Some(next) => {
                at += next.width;
                next.key
            }
            None => {
                at += first_of(&line[at..], *b"= \"\t").unwrap_or(line.len() - at);
                let key = &line[start..at];
                if line.get(at) != Some(&b'=') || key.is_empty() {
                    at = at.max(start + 1);
                    each(start, None)?;
                    continue;
                }
                at += 1;
                key
            }
        };
        let key = Str::Raw(key);
        let mut put = |value: Token<'a>| {
            if let Some(shape) = &mut shape
                && count < WIDE
            {
                shape.take(next, &key, &value);
            }
            count += 1;
            each(start, Some(Member { key, value }))
        };
        if line.get(at) == Some(&b'"') {
            let Some(end) = closing_quote(&line[at + 1..]) else {
                return refuse(at, "a quote is not closed");
            };
            let body = &line[at + 1..at + 1 + end];
            at += end + 2;
            put(Token::Text(Str::Escaped(body)))?;
            continue;
        }
        let (word, plain) = word(&line[at..]);
        at += word.len();
        match plain {
            Some(true) => put(Token::Number(word))?,
            Some(false) => put(Token::Text(Str::Raw(word)))?,
            None => put(bare(word))?,
        }
    }
    Ok(())
}

/// A value without quotes at the start of the text, and where one look tells: whether it is a number, or text.
#[inline(always)]
fn word(text: &[u8]) -> (&[u8], Option<bool>) {
    if let Some(bytes) = text.first_chunk::<BLOCK>() {
        let block = Block::of(bytes);
        let length = block.any(*b" \t").trailing_zeros() as usize;
        if length < BLOCK {
            let word = &text[..length];
            if matches!(bytes[0], b't' | b'f' | b'n' | b'-') {
                return (word, None);
            }
            if !bytes[0].is_ascii_digit() {
                return (word, Some(false));
            }
            // A number has digits, and one dot between them at most.
            let others = !block.digits() & low(length);
            let whole = if others == 0 { length } else { others.trailing_zeros() as usize };
            let number = others & others.wrapping_sub(1) == 0
                && (others == 0 || bytes[whole] == b'.' && whole + 1 < length)
                && (whole == 1 || bytes[0] != b'0');
            return (word, Some(number));
        }
    }
    let word = &text[..first_of(text, *b" \t").unwrap_or(text.len())];
    let unlike = |first: &u8| !first.is_ascii_digit() && !matches!(first, b't' | b'f' | b'n' | b'-');
    (word, word.first().is_some_and(unlike).then_some(false))
}

/// A value without quotes: a number or a word of JSON when it is exactly that, text otherwise.
#[inline]
pub fn bare(word: &[u8]) -> Token<'_> {
    match word {
        [b't' | b'f' | b'n', ..] => match word {
            b"true" | b"false" | b"null" => Token::Word(word),
            _ => Token::Text(Str::Raw(word)),
        },
        [b'0'..=b'9' | b'-', ..] if is_number(word) => Token::Number(word),
        _ => Token::Text(Str::Raw(word)),
    }
}

/// A JSON number that reads back as it was written: no leading zeros, no exponent (`1e5` may be a git hash).
pub fn is_number(word: &[u8]) -> bool {
    let body = word.strip_prefix(b"-").unwrap_or(word);
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let whole = digits(body);
    if whole == 0 || whole > 1 && body[0] == b'0' || word.len() >= 40 {
        return false;
    }
    match body.get(whole) {
        None => true,
        Some(b'.') => whole + 1 < body.len() && digits(&body[whole + 1..]) == body.len() - whole - 1,
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_what_it_is_however_it_is_looked_at() {
        for text in [
            "",
            "0",
            "7",
            "10",
            "007",
            "0.5",
            "00.5",
            "1.5",
            "1.",
            ".5",
            "1.5.2",
            "1.2s",
            "17ms",
            "1e5",
            "-1",
            "-1.5",
            "-",
            "true",
            "false",
            "null",
            "trueish",
            "INFO",
            "o-17",
            "123456789012345",
            "1234567890.12345",
            "12345678901234567890",
            "2026-11-21T12:24:10Z",
            "a=b",
        ] {
            for behind in ["", " ", " x", "\tand much more behind it"] {
                let line = format!("{text}{behind}");
                let (word, plain) = word(line.as_bytes());
                assert_eq!(word, text.as_bytes(), "{line}");
                let token = match plain {
                    Some(true) => Token::Number(word),
                    Some(false) => Token::Text(Str::Raw(word)),
                    None => bare(word),
                };
                assert_eq!(format!("{token:?}"), format!("{:?}", bare(text.as_bytes())), "{line}");
                assert_eq!(matches!(token, Token::Number(_)), is_number(text.as_bytes()), "{line}");
            }
        }
    }

    #[test]
    fn a_line_reads_the_same_behind_any_other() {
        let lines = [
            "ts=1 level=info msg=\"a b\" n=17",
            "ts=1 level=info msg=\"a b\" n=17 and=more than=that",
            "ts=1 level=info msg=text n=x",
            "ts=1 levels=info msg=text n=x",
            "ts=1 level= msg=text n=x",
            "level=info ts=1 level=warn",
            "a=1 b=2",
        ];
        crate::decode::reads_alike_behind_any(&lines, |line, cx, record| {
            decode(line, cx, record).expect("reads")
        });
    }
}
