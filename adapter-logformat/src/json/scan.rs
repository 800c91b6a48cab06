//! JSON, byte by byte.

use super::{Fault, Token};
use crate::text::{BLOCK, Block, Str, first_special, short};

/// Small enough to be handed out as a copy: where it is never lent, it stays in registers.
#[derive(Clone, Copy)]
pub(super) struct Scan<'a> {
    pub(super) text: &'a [u8],
    pub(super) at: usize,
    pub(super) deepest: usize,
}

impl<'a> Scan<'a> {
    #[inline(always)]
    pub(super) fn fault<T>(self, reason: &'static str) -> Result<T, Fault> {
        Err(Fault { at: self.at, reason })
    }

    #[inline(always)]
    pub(super) fn peek(&self) -> u8 {
        *self.text.get(self.at).unwrap_or(&0)
    }

    #[inline(always)]
    pub(super) fn space(&mut self) {
        if self.text.get(self.at).is_some_and(|byte| *byte <= b' ') {
            self.at = self.behind_spaces();
        }
    }

    /// One blank, where there is one.
    #[inline(always)]
    pub(super) fn blank(&mut self) {
        if self.text.get(self.at) == Some(&b' ') {
            self.at += 1;
        }
    }

    #[inline(never)]
    fn behind_spaces(self) -> usize {
        let rest = self.text.get(self.at..).unwrap_or_default();
        self.at + rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count()
    }

    #[inline(always)]
    pub(super) fn expect(&mut self, byte: u8, reason: &'static str) -> Result<(), Fault> {
        if self.text.get(self.at) != Some(&byte) {
            return self.fault(reason);
        }
        self.at += 1;
        Ok(())
    }

    /// True when a container ends right where it began.
    #[inline(always)]
    pub(super) fn is_empty(&mut self, end: u8) -> bool {
        self.space();
        // Not `self.at += usize::from(empty)` behind `peek`: LLVM 22.1.2 (rustc 1.95.0) leaves the addition out at opt-level 2 and 3.
        let empty = self.text.get(self.at) == Some(&end);
        if empty {
            self.at += 1;
        }
        empty
    }

    /// Behind a value: whether another one comes, or the end.
    #[inline(always)]
    pub(super) fn goes_on(&mut self, end: u8) -> Result<bool, Fault> {
        let mut byte = self.peek();
        if byte <= b' ' {
            self.at = self.behind_spaces();
            byte = self.peek();
        }
        if byte != b',' && byte != end {
            return self.fault(match end {
                b'}' => "neither ',' nor '}' after a value",
                _ => "neither ',' nor ']' after a value",
            });
        }
        self.at += 1;
        Ok(byte == b',')
    }

    #[inline(always)]
    pub(super) fn key(&mut self) -> Result<Str<'a>, Fault> {
        self.space();
        self.expect(b'"', "a key in quotes is missing")?;
        let key = self.string()?;
        self.space();
        self.expect(b':', "no ':' after a key")?;
        Ok(key)
    }

    /// The members after `{` up to and with `}`.
    pub(super) fn members(&mut self, mut member: impl FnMut(Str<'a>, Token<'a>)) -> Result<(), Fault> {
        if self.is_empty(b'}') {
            return Ok(());
        }
        loop {
            let key = self.key()?;
            let value = self.value(0)?;
            member(key, value);
            if !self.goes_on(b'}')? {
                return Ok(());
            }
        }
    }

    pub(super) fn items(&mut self, mut item: impl FnMut(Token<'a>)) -> Result<(), Fault> {
        if self.is_empty(b']') {
            return Ok(());
        }
        loop {
            item(self.value(0)?);
            if !self.goes_on(b']')? {
                return Ok(());
            }
        }
    }

    /// Behind a brace that opens an object within another value, which is only validated: where it ends, and whether it can be copied as it is.
    fn object_inside(self, depth: usize) -> Result<(usize, bool), Fault> {
        let mut scan = self;
        let mut clean = true;
        let mut seen = Seen::default();
        if scan.is_empty(b'}') {
            return Ok((scan.at, true));
        }
        loop {
            scan.space();
            let start = scan.at;
            match scan.peek() == b'"' && scan.plain_string().is_some() {
                true => clean &= !seen.twice(scan.text, start + 1..scan.at - 1),
                false => {
                    let (at, fine) = scan.odd_key(&mut seen)?;
                    scan.at = at;
                    clean &= fine;
                }
            }
            scan.space();
            scan.expect(b':', "no ':' after a key")?;
            clean &= scan.value_inside(depth)?;
            if !scan.goes_on(b'}')? {
                return Ok((scan.at, clean));
            }
        }
    }

    #[inline(never)]
    fn odd_key(self, seen: &mut Seen) -> Result<(usize, bool), Fault> {
        let mut scan = self;
        scan.expect(b'"', "a key in quotes is missing")?;
        let start = scan.at;
        let key = scan.string()?;
        let plain = matches!(key, Str::Json(_)) && key.is_plain();
        Ok((scan.at, plain && !seen.twice(scan.text, start..scan.at - 1)))
    }

    fn array_inside(self, depth: usize) -> Result<(usize, bool), Fault> {
        let mut scan = self;
        let mut clean = true;
        if scan.is_empty(b']') {
            return Ok((scan.at, true));
        }
        loop {
            clean &= scan.value_inside(depth)?;
            if !scan.goes_on(b']')? {
                return Ok((scan.at, clean));
            }
        }
    }

    /// A value, and whether it can be copied as it is.
    #[inline(always)]
    fn value_inside(&mut self, depth: usize) -> Result<bool, Fault> {
        self.space();
        let simple = match self.text.get(self.at..).unwrap_or_default() {
            [b'"', ..] => self.plain_string().is_some(),
            [b'0'..=b'9', b',' | b'}' | b']', ..] => {
                self.at += 1;
                true
            }
            [b'0'..=b'9', ..] => self.short_number().is_some(),
            _ => false,
        };
        if simple {
            return Ok(true);
        }
        let (at, clean) = self.other_inside(depth)?;
        self.at = at;
        Ok(clean)
    }

    #[inline(never)]
    fn other_inside(self, depth: usize) -> Result<(usize, bool), Fault> {
        let mut scan = self;
        let clean = is_clean(&scan.value(depth)?);
        Ok((scan.at, clean))
    }

    /// What most values are is read here, the rest by others.
    #[inline(always)]
    pub(super) fn value(&mut self, depth: usize) -> Result<Token<'a>, Fault> {
        self.space();
        match self.peek() {
            b'"' => {
                self.at += 1;
                Ok(Token::Text(self.string()?))
            }
            b'0'..=b'9' => match self.short_number() {
                Some(raw) => Ok(Token::Number(raw)),
                None => self.any_number(),
            },
            _ => self.other(depth),
        }
    }

    /// The end of an object or an array, and whether it can be copied as it is; `None` where it is none.
    #[inline(never)]
    pub(super) fn nested(self) -> Option<(usize, bool)> {
        let inside = Self { at: self.at + 1, ..self };
        match self.peek() {
            b'{' => inside.object_inside(1).ok(),
            _ => inside.array_inside(1).ok(),
        }
    }

    #[inline(never)]
    fn other(&mut self, depth: usize) -> Result<Token<'a>, Fault> {
        let start = self.at;
        match self.peek() {
            b'{' | b'[' if depth >= self.deepest => self.fault("nested deeper than 64 levels"),
            b'{' => {
                let inside = Self { at: start + 1, ..*self };
                let (end, clean) = inside.object_inside(depth + 1)?;
                self.at = end;
                Ok(Token::Object { raw: &self.text[start..self.at], clean })
            }
            b'[' => {
                let inside = Self { at: start + 1, ..*self };
                let (end, clean) = inside.array_inside(depth + 1)?;
                self.at = end;
                Ok(Token::Array { raw: &self.text[start..self.at], clean })
            }
            b'-' if self.text[start..].starts_with(b"-Infinity") => self.word(9, Token::Odd),
            b'-' => self.any_number(),
            _ => {
                let rest = &self.text[start..];
                if rest.starts_with(b"true") || rest.starts_with(b"null") {
                    self.word(4, Token::Word)
                } else if rest.starts_with(b"false") {
                    self.word(5, Token::Word)
                } else if rest.starts_with(b"NaN") {
                    self.word(3, Token::Odd)
                } else if rest.starts_with(b"Infinity") {
                    self.word(8, Token::Odd)
                } else {
                    self.fault("no JSON value")
                }
            }
        }
    }

    fn word(&mut self, length: usize, make: fn(&'a [u8]) -> Token<'a>) -> Result<Token<'a>, Fault> {
        let start = self.at;
        self.at += length;
        Ok(make(&self.text[start..self.at]))
    }

    /// Digits, and more behind a dot, within a block; `None` where it is not that simple.
    #[inline(always)]
    pub(super) fn short_number(&mut self) -> Option<&'a [u8]> {
        let rest = self.text.get(self.at..)?;
        let block = &padded(rest);
        let digits = Block::of(block).digits();
        let whole = (!digits).trailing_zeros() as usize;
        let mut length = whole;
        if block.get(whole) == Some(&b'.') {
            let fraction = (!(digits >> whole >> 1)).trailing_zeros() as usize;
            if fraction == 0 {
                return None;
            }
            length += 1 + fraction;
        }
        let end = *block.get(length)?;
        if matches!(end, b'e' | b'E') || block[0] == b'0' && whole != 1 {
            return None;
        }
        self.at += length;
        Some(&rest[..length])
    }

    #[inline]
    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        if self.at == start { self.fault("a digit is missing") } else { Ok(()) }
    }

    #[inline(never)]
    fn any_number(&mut self) -> Result<Token<'a>, Fault> {
        let start = self.at;
        if self.peek() == b'-' {
            self.at += 1;
        }
        if self.peek() == b'0' {
            self.at += 1;
            if self.peek().is_ascii_digit() {
                return self.fault("a number with a leading zero");
            }
        } else {
            self.digits()?;
        }
        if self.peek() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        let exponent = matches!(self.peek(), b'e' | b'E');
        if exponent {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        let raw = &self.text[start..self.at];
        // JSON, but no number to the readers of records: it goes on as text.
        let huge = (exponent || raw.len() > 300)
            && std::str::from_utf8(raw).ok().and_then(|t| t.parse::<f64>().ok()).is_none_or(f64::is_infinite);
        Ok(if huge { Token::Odd(raw) } else { Token::Number(raw) })
    }

    /// The body of a string whose opening quote is behind us.
    #[inline(always)]
    fn string(&mut self) -> Result<Str<'a>, Fault> {
        match self.short_string() {
            Some(body) => Ok(Str::Json(body)),
            None => self.long_string(),
        }
    }

    /// The same within a block, without escapes.
    #[inline(always)]
    fn short_string(&mut self) -> Option<&'a [u8]> {
        let rest = self.text.get(self.at..)?;
        let block = rest.first_chunk::<BLOCK>()?;
        let length = Block::of(block).specials().trailing_zeros() as usize;
        if block.get(length) != Some(&b'"') {
            return None;
        }
        self.at += length + 1;
        Some(&rest[..length])
    }

    /// A string with its quotes where it is without escapes.
    #[inline(always)]
    pub(super) fn plain_string(&mut self) -> Option<&'a [u8]> {
        let rest = self.text.get(self.at + 1..)?;
        let block = &padded(rest);
        let mut length = Block::of(block).specials().trailing_zeros() as usize;
        if length >= BLOCK {
            length = farther(rest)?;
        }
        if rest.get(length) != Some(&b'"') {
            return None;
        }
        self.at += length + 2;
        rest.get(..length)
    }

    /// The same where it is longer than a block, or near the end of the line.
    #[inline(never)]
    fn long_string(&mut self) -> Result<Str<'a>, Fault> {
        let rest = &self.text[self.at..];
        match first_special(rest) {
            Some(length) if rest[length] == b'"' => {
                self.at += length + 1;
                Ok(Str::Json(&rest[..length]))
            }
            _ => self.escaped(),
        }
    }

    /// The same where it is not that simple.
    #[inline(never)]
    fn escaped(&mut self) -> Result<Str<'a>, Fault> {
        let start = self.at;
        let mut clean = true;
        loop {
            let rest = &self.text[self.at..];
            let Some(step) = first_special(rest) else {
                self.at = self.text.len();
                return self.fault("a string without its closing quote");
            };
            self.at += step;
            match rest[step] {
                b'"' => {
                    let body = &self.text[start..self.at];
                    self.at += 1;
                    return Ok(if clean { Str::Json(body) } else { Str::Escaped(body) });
                }
                b'\\' => {
                    let escape = rest.get(step + 1..).unwrap_or_default();
                    self.at += match escape {
                        [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 2,
                        [b'u', a, b, c, d, ..] if [a, b, c, d].iter().all(|x| x.is_ascii_hexdigit()) => {
                            // Half a surrogate pair would make readers reject the record: the repair looks at the pairs.
                            clean &=
                                !matches!((a, b), (b'd' | b'D', b'8'..=b'9' | b'a'..=b'f' | b'A'..=b'F'));
                            6
                        }
                        [_, ..] => {
                            clean = false;
                            2
                        }
                        [] => 1,
                    };
                }
                _ => {
                    clean = false;
                    self.at += 1;
                }
            }
        }
    }
}

/// The first block, zeros behind a text that is shorter.
#[inline(always)]
fn padded(text: &[u8]) -> [u8; BLOCK] {
    text.first_chunk().copied().unwrap_or_else(|| short(text).to_le_bytes())
}

/// Where the first special byte is that is not in the first block.
#[inline(never)]
fn farther(text: &[u8]) -> Option<usize> {
    first_special(text.get(BLOCK..)?).map(|at| BLOCK + at)
}

pub(super) fn is_clean(token: &Token<'_>) -> bool {
    match token {
        Token::Text(text) => matches!(text, Str::Json(_)),
        Token::Odd(_) => false,
        Token::Array { clean, .. } | Token::Object { clean, .. } => *clean,
        Token::Number(_) | Token::Word(_) => true,
    }
}

/// Answers "perhaps seen before" without remembering the keys; a false alarm only costs a rewrite.
#[derive(Default)]
struct Seen([u64; 4]);

impl Seen {
    /// The key is where it says in the text.
    #[inline]
    fn twice(&mut self, text: &[u8], place: std::ops::Range<usize>) -> bool {
        let key = text.get(place.clone()).unwrap_or_default();
        let number = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
        let mixed = match (key.first_chunk(), key.last_chunk()) {
            (Some(first), Some(last)) => {
                let middle = key[key.len() / 2 - 4..].first_chunk().map_or(0, number);
                number(first) ^ number(last).rotate_left(23) ^ middle.rotate_left(41)
            }
            // With what stands behind it, which does not count.
            _ => match text.get(place.start..).and_then(<[u8]>::first_chunk) {
                Some(bytes) => number(bytes) & ((1 << (8 * key.len())) - 1),
                None => short(key) as u64,
            },
        };
        let hash = (mixed ^ key.len() as u64).wrapping_mul(0xff51_afd7_ed55_8ccd);
        let hash = hash ^ hash >> 32;
        // The golden ratio spreads short keys over the high bits.
        let hash = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let slot = &mut self.0[(hash >> 62) as usize];
        let bit = 1u64 << (hash >> 56 & 63);
        let seen = *slot & bit != 0;
        *slot |= bit;
        seen
    }
}
