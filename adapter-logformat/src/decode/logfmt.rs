//! logfmt: `key=value key="quoted value" flag`, as go-kit, logrus and Heroku write it.
//!
//! Text is full of `=`, so the decoder is strict: at least two pairs, and pairs must make up most of the line.

use super::{
    Context, Decoded, Refusal, closing_quote,
    mapper::Mapper,
    refuse,
    shape::{NOWHERE, Next, Place, Style},
};
use crate::{
    json::{Member, Token},
    record::Record,
    text::{BLOCK, Block, Str, first_of, low, short},
};

pub fn decode<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    if line.first() == Some(&b'{') {
        return refuse(0, "an object, not pairs");
    }
    Mapper::read(Style::Pairs, cx, record, |mapper| {
        let mut mapped = Mapped { mapper, here: NOWHERE, loose: 0 };
        read(line, &mut mapped)?;
        if mapped.mapper.members < 2 || mapped.loose > mapped.mapper.members {
            return refuse(0, "fewer than two pairs, or more words than pairs");
        }
        Ok(())
    })
}

/// Calls `each` with every pair, or with `None` for a word that is none.
pub fn pairs<'a>(line: &'a [u8], each: impl FnMut(usize, Option<Member<'a>>) -> Decoded) -> Decoded {
    read(line, &mut Called(each))
}

const NOT_CLOSED: &str = "a quote is not closed";

/// Where pairs go.
trait Pairs<'a> {
    /// The key that comes next behind a blank, where that is known.
    fn next(&self, rest: &'a [u8]) -> Option<Next<'a>>;
    /// The same where the blank is behind us.
    fn next_here(&self, rest: &'a [u8]) -> Option<Next<'a>>;
    /// A pair with that key.
    fn known(&mut self, next: Next<'a>, raw: &'a [u8], token: impl Fn(&'a [u8]) -> Token<'a>);
    /// The same for a value of whatever kind.
    fn any(&mut self, next: Next<'a>, value: &Token<'a>);
    /// Another pair, and where it begins.
    fn pair(&mut self, at: usize, member: &Member<'a>) -> Decoded;
    /// A word that is no pair.
    fn word(&mut self, at: usize) -> Decoded;
}

struct Mapped<'p, 'm, 'a> {
    mapper: &'p mut Mapper<'m, 'a>,
    /// The key that was read last.
    here: Place,
    loose: usize,
}

impl<'a> Pairs<'a> for Mapped<'_, '_, 'a> {
    #[inline(always)]
    fn next(&self, rest: &'a [u8]) -> Option<Next<'a>> {
        self.mapper.next(self.here, b' ', rest)
    }

    fn next_here(&self, rest: &'a [u8]) -> Option<Next<'a>> {
        self.mapper.next_here(self.here, rest)
    }

    #[inline(always)]
    fn known(&mut self, next: Next<'a>, raw: &'a [u8], token: impl Fn(&'a [u8]) -> Token<'a>) {
        self.here = self.mapper.member(self.here, next, Str::Raw, raw, token);
    }

    fn any(&mut self, next: Next<'a>, value: &Token<'a>) {
        self.here = self.mapper.any(self.here, next, &Member { key: Str::Raw(next.key), value: *value });
    }

    fn pair(&mut self, _: usize, member: &Member<'a>) -> Decoded {
        self.here = self.mapper.unlike(self.here, member);
        Ok(())
    }

    fn word(&mut self, at: usize) -> Decoded {
        self.loose += 1;
        if self.loose > 8 + self.mapper.members { refuse(at, "more words than pairs") } else { Ok(()) }
    }
}

struct Called<F>(F);

impl<'a, F: FnMut(usize, Option<Member<'a>>) -> Decoded> Pairs<'a> for Called<F> {
    fn next(&self, _: &'a [u8]) -> Option<Next<'a>> {
        None
    }

    fn next_here(&self, _: &'a [u8]) -> Option<Next<'a>> {
        None
    }

    fn known(&mut self, _: Next<'a>, _: &'a [u8], _: impl Fn(&'a [u8]) -> Token<'a>) {}

    fn any(&mut self, _: Next<'a>, _: &Token<'a>) {}

    fn pair(&mut self, at: usize, member: &Member<'a>) -> Decoded {
        (self.0)(at, Some(*member))
    }

    fn word(&mut self, at: usize) -> Decoded {
        (self.0)(at, None)
    }
}

#[inline(always)]
fn read<'a>(line: &'a [u8], to: &mut impl Pairs<'a>) -> Decoded {
    let mut at = 0;
    while at < line.len() {
        let mut next = to.next(&line[at..]);
        if let Some(next) = next {
            at += next.width;
        } else {
            if matches!(line[at], b' ' | b'\t') {
                at += 1;
                if line.get(at).is_none_or(|byte| matches!(byte, b' ' | b'\t')) {
                    continue;
                }
            }
            // Part by part, because what a function has written to is not kept in registers, and this is seldom.
            if let Some(Next { key, width, place }) = to.next_here(&line[at..]) {
                next = Some(Next { key, width, place });
                at += width - 1;
            }
        }
        let Some(next) = next else {
            at = pair(line, at, to)?;
            continue;
        };
        let rest = &line[at..];
        if let [b'"', inner @ ..] = rest {
            let Some(end) = closing_quote(inner) else { return refuse(at, NOT_CLOSED) };
            let body = &inner[..end];
            at += end + 2;
            to.known(next, body, |raw| Token::Text(Str::Escaped(raw)));
            continue;
        }
        let (word, plain) = word(rest);
        match plain {
            Some(true) => to.known(next, word, Token::Number),
            Some(false) => to.known(next, word, |raw| Token::Text(Str::Raw(raw))),
            None => {
                let (value, length) = value(line, at)?;
                at += length;
                to.any(next, &value);
                continue;
            }
        }
        at += word.len();
    }
    Ok(())
}

/// A word, or a pair with a key that did not come here the last time; gives its end.
#[inline(never)]
fn pair<'a>(line: &'a [u8], start: usize, to: &mut impl Pairs<'a>) -> Result<usize, Refusal> {
    let rest = &line[start..];
    let key = &rest[..first_of(rest, *b"= \"\t").unwrap_or(rest.len())];
    let at = start + key.len();
    if line.get(at) != Some(&b'=') || key.is_empty() {
        to.word(start)?;
        return Ok(at.max(start + 1));
    }
    let (value, length) = value(line, at + 1)?;
    to.pair(start, &Member { key: Str::Raw(key), value })?;
    Ok(at + 1 + length)
}

/// Any value, and how long it is.
#[inline(never)]
fn value(line: &[u8], at: usize) -> Result<(Token<'_>, usize), Refusal> {
    let rest = &line[at..];
    if let [b'"', inner @ ..] = rest {
        let end = closing_quote(inner).ok_or(Refusal { at, reason: NOT_CLOSED })?;
        return Ok((Token::Text(Str::Escaped(&inner[..end])), end + 2));
    }
    let (word, plain) = word(rest);
    let value = match plain {
        Some(true) => Token::Number(word),
        Some(false) => Token::Text(Str::Raw(word)),
        None => bare(word),
    };
    Ok((value, word.len()))
}

/// A value without quotes at the start of the text, and where one look tells: whether it is a number, or text.
#[inline(always)]
fn word(text: &[u8]) -> (&[u8], Option<bool>) {
    let padded;
    let bytes = match text.first_chunk::<BLOCK>() {
        Some(bytes) => bytes,
        None => {
            padded = short(text).to_le_bytes();
            &padded
        }
    };
    let block = Block::of(bytes);
    let mut length = block.any(*b" \t").trailing_zeros() as usize;
    if text.len() < BLOCK {
        length = length.min(text.len());
    }
    let is_digit = bytes[0].is_ascii_digit();
    // A number has digits, and one dot between them at most.
    let others = !block.digits() & low(length.min(BLOCK));
    let dotted =
        others & others.wrapping_sub(1) == 0 && bytes.get(others.trailing_zeros() as usize) == Some(&b'.');
    if length < BLOCK {
        let word = &text[..length];
        let plain = match bytes[0] {
            _ if is_digit => {
                let whole = (others | 1 << length).trailing_zeros() as usize;
                let number =
                    (others == 0 || dotted && whole + 1 < length) && (whole == 1 || bytes[0] != b'0');
                Some(number)
            }
            // `true`, `false`, `null` perhaps.
            b't' | b'f' | b'n' if matches!(length, 4 | 5) => None,
            b'-' => None,
            _ => Some(false),
        };
        return (word, plain);
    }
    let word = &text[..far_blank(text)];
    // No number begins with a zero and another digit.
    let number = is_digit && (others == 0 || dotted) && !(bytes[0] == b'0' && bytes[1].is_ascii_digit());
    (word, (bytes[0] != b'-' && !number).then_some(false))
}

/// Where the first blank is that is not in the first block.
#[inline(never)]
fn far_blank(text: &[u8]) -> usize {
    first_of(&text[BLOCK..], *b" \t").map_or(text.len(), |at| BLOCK + at)
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
