//! A strict JSON scanner (RFC 8259) that builds nothing: it validates and hands out the spans of the members.
//!
//! Values are copied as written, so 64-bit and longer numbers, exponents and key order survive. What loggers get wrong but
//! means something clear (nginx `\x22`, raw control bytes, `NaN`, a key given twice) is accepted and marked for repair.

use crate::text::{BLOCK, Block, Str, escape_any, first_special};

/// Containers nested deeper than this are refused, so that no line can exhaust the stack.
const MAX_DEPTH: usize = 64;

#[derive(Clone, Copy, Debug)]
pub enum Token<'a> {
    Text(Str<'a>),
    Number(&'a [u8]),
    /// `true`, `false`, `null`.
    Word(&'a [u8]),
    /// `NaN`, `Infinity`, `-Infinity`: no JSON, but what Python writes; and numbers beyond a double.
    Odd(&'a [u8]),
    Array {
        raw: &'a [u8],
        clean: bool,
    },
    Object {
        raw: &'a [u8],
        clean: bool,
    },
}

#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    pub key: Str<'a>,
    pub value: Token<'a>,
}

/// Where the text stopped being JSON.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Byte offset into the line.
    pub at: usize,
    pub reason: &'static str,
}

/// Scans one object that fills the whole line (white space around it is allowed).
pub fn object<'a>(line: &'a [u8], mut member: impl FnMut(Member<'a>)) -> Result<(), Fault> {
    let mut reader = Reader::new(line)?;
    while reader.goes_on()? {
        let key = reader.key()?;
        reader.value(|value| member(Member { key, value }))?;
    }
    Ok(())
}

/// An object that fills the whole line, member by member.
pub struct Reader<'a> {
    scan: Scan<'a>,
    begun: bool,
}

impl<'a> Reader<'a> {
    /// # Errors
    /// It begins as no object.
    #[inline]
    pub fn new(line: &'a [u8]) -> Result<Self, Fault> {
        let mut scan = Scan { text: line, at: 0, deepest: MAX_DEPTH };
        scan.space();
        scan.expect(b'{', "no JSON object")?;
        Ok(Self { scan, begun: false })
    }

    /// Whether there is another member. Behind the last one the line has to end.
    ///
    /// # Errors
    /// Where it is no object any more.
    #[inline(always)]
    pub fn goes_on(&mut self) -> Result<bool, Fault> {
        let begun = std::mem::replace(&mut self.begun, true);
        let more = if begun { self.scan.goes_on(b'}')? } else { !self.scan.is_empty(b'}') };
        if !more {
            self.scan.space();
            if self.scan.at < self.scan.text.len() {
                return self.scan.fault("text after the JSON object");
            }
        }
        Ok(more)
    }

    /// # Errors
    /// Where it is no key, or has no colon.
    #[inline(always)]
    pub fn key(&mut self) -> Result<Str<'a>, Fault> {
        self.scan.key()
    }

    /// What is left.
    #[inline(always)]
    pub fn rest(&self) -> &'a [u8] {
        self.scan.text.get(self.scan.at..).unwrap_or_default()
    }

    /// Goes over a key that was recognized, with its quotes and colon.
    #[inline(always)]
    pub fn pass(&mut self, length: usize) {
        self.scan.at += length;
    }

    /// Hands out the value where its kind is told, because passing it on as whatever kind it may have costs more than scanning it.
    ///
    /// # Errors
    /// Where it is no value.
    #[inline(always)]
    pub fn value(&mut self, take: impl FnOnce(Token<'a>)) -> Result<(), Fault> {
        self.scan.space();
        let other = match self.scan.peek() {
            b'"' => {
                self.scan.at += 1;
                if let Some(body) = self.scan.short_string() {
                    take(Token::Text(Str::Json(body)));
                    return Ok(());
                }
                Token::Text(self.scan.long_string()?)
            }
            b'0'..=b'9' => {
                if let Some(raw) = self.scan.short_number() {
                    take(Token::Number(raw));
                    return Ok(());
                }
                self.scan.any_number()?
            }
            _ => self.scan.other(0)?,
        };
        take(other);
        Ok(())
    }
}

/// Scans one array.
///
/// # Errors
/// Where it stops being one.
pub fn array<'a>(text: &'a [u8], item: impl FnMut(Token<'a>)) -> Result<(), Fault> {
    let mut scan = Scan { text, at: 0, deepest: MAX_DEPTH };
    scan.expect(b'[', "no JSON array")?;
    scan.items(0, item)?;
    Ok(())
}

/// [`object`] for what the encoder wrote itself: a level or two deeper than what it was made from.
pub fn written<'a>(line: &'a [u8], mut member: impl FnMut(Member<'a>)) {
    let mut scan = Scan { text: line, at: 1, deepest: MAX_DEPTH + 4 };
    let scanned = scan.members(0, |key, value| member(Member { key, value }));
    debug_assert!(scanned.is_ok(), "the encoder writes JSON");
}

/// Writes accepted JSON again, repaired: keys once (the last wins), strings clean, odd words as strings.
pub fn rewrite(raw: &[u8], out: &mut Vec<u8>) {
    let mut scan = Scan { text: raw, at: 0, deepest: MAX_DEPTH };
    match scan.value(0) {
        Ok(token) => write_token(&token, out),
        // Only accepted spans come here; should that ever fail, the text itself is still there to read.
        Err(_) => {
            out.push(b'"');
            escape_any(out, raw);
            out.push(b'"');
        }
    }
}

fn write_token(token: &Token<'_>, out: &mut Vec<u8>) {
    match token {
        Token::Text(text) => write_text(text, out),
        Token::Number(raw) | Token::Word(raw) => out.extend_from_slice(raw),
        Token::Odd(raw) => write_text(&Str::Raw(raw), out),
        Token::Array { raw, .. } => {
            let mut scan = Scan { text: raw, at: 1, deepest: MAX_DEPTH };
            let mut first = true;
            out.push(b'[');
            let _ = scan.items(0, |value| {
                comma(&mut first, out);
                write_token(&value, out);
            });
            out.push(b']');
        }
        Token::Object { raw, .. } => {
            let mut scan = Scan { text: raw, at: 1, deepest: MAX_DEPTH };
            let mut members: Vec<(Vec<u8>, Token<'_>)> = Vec::new();
            let mut places = std::collections::HashMap::new();
            let _ = scan.members(0, |key, value| {
                let mut name = Vec::new();
                key.resolve(&mut name);
                match places.get(&name) {
                    Some(&place) => {
                        let entry: &mut (Vec<u8>, Token<'_>) = &mut members[place];
                        entry.1 = value;
                    }
                    None => {
                        places.insert(name.clone(), members.len());
                        members.push((name, value));
                    }
                }
            });
            let mut first = true;
            out.push(b'{');
            for (name, value) in &members {
                comma(&mut first, out);
                write_text(&Str::Raw(name), out);
                out.push(b':');
                write_token(value, out);
            }
            out.push(b'}');
        }
    }
}

fn comma(first: &mut bool, out: &mut Vec<u8>) {
    if !std::mem::take(first) {
        out.push(b',');
    }
}

fn write_text(text: &Str<'_>, out: &mut Vec<u8>) {
    out.push(b'"');
    text.write(out, false, &mut Vec::new());
    out.push(b'"');
}

/// What is inside of a value is only validated; as functions, so that there is one such scan.
const NO_MEMBER: fn(Str<'_>, Token<'_>) = |_, _| ();
const NO_ITEM: fn(Token<'_>) = |_| ();

struct Scan<'a> {
    text: &'a [u8],
    at: usize,
    deepest: usize,
}

impl<'a> Scan<'a> {
    fn fault<T>(&self, reason: &'static str) -> Result<T, Fault> {
        Err(Fault { at: self.at, reason })
    }

    #[inline(always)]
    fn peek(&self) -> u8 {
        *self.text.get(self.at).unwrap_or(&0)
    }

    #[inline(always)]
    fn space(&mut self) {
        if self.text.get(self.at).is_some_and(|byte| *byte <= b' ') {
            self.spaces();
        }
    }

    #[inline(never)]
    fn spaces(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.text.get(self.at) {
            self.at += 1;
        }
    }

    #[inline(always)]
    fn expect(&mut self, byte: u8, reason: &'static str) -> Result<(), Fault> {
        if self.text.get(self.at) != Some(&byte) {
            return self.fault(reason);
        }
        self.at += 1;
        Ok(())
    }

    /// True when a container ends right where it began.
    #[inline(always)]
    fn is_empty(&mut self, end: u8) -> bool {
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
    fn goes_on(&mut self, end: u8) -> Result<bool, Fault> {
        let mut byte = self.peek();
        if byte <= b' ' {
            self.spaces();
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
    fn key(&mut self) -> Result<Str<'a>, Fault> {
        self.space();
        self.expect(b'"', "a key in quotes is missing")?;
        let key = self.string()?;
        self.space();
        self.expect(b':', "no ':' after a key")?;
        Ok(key)
    }

    /// The members after `{` up to and with `}`. True when the object can be copied as it is.
    fn members(&mut self, depth: usize, mut member: impl FnMut(Str<'a>, Token<'a>)) -> Result<bool, Fault> {
        let mut clean = true;
        let mut seen = Seen::default();
        if self.is_empty(b'}') {
            return Ok(true);
        }
        loop {
            let key = self.key()?;
            // At the top the record itself keeps keys apart.
            clean &=
                depth == 0 || (matches!(key, Str::Json(_)) && key.is_plain() && !seen.twice(key.bytes()));
            let value = self.value(depth)?;
            clean &= is_clean(&value);
            member(key, value);
            if !self.goes_on(b'}')? {
                return Ok(clean);
            }
        }
    }

    fn items(&mut self, depth: usize, mut item: impl FnMut(Token<'a>)) -> Result<bool, Fault> {
        let mut clean = true;
        if self.is_empty(b']') {
            return Ok(true);
        }
        loop {
            let value = self.value(depth)?;
            clean &= is_clean(&value);
            item(value);
            if !self.goes_on(b']')? {
                return Ok(clean);
            }
        }
    }

    /// What most values are is read here, the rest by others.
    #[inline(always)]
    fn value(&mut self, depth: usize) -> Result<Token<'a>, Fault> {
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

    #[inline(never)]
    fn other(&mut self, depth: usize) -> Result<Token<'a>, Fault> {
        let start = self.at;
        match self.peek() {
            b'{' | b'[' if depth >= self.deepest => self.fault("nested deeper than 64 levels"),
            b'{' => {
                self.at += 1;
                let clean = self.members(depth + 1, NO_MEMBER)?;
                Ok(Token::Object { raw: &self.text[start..self.at], clean })
            }
            b'[' => {
                self.at += 1;
                let clean = self.items(depth + 1, NO_ITEM)?;
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
    fn short_number(&mut self) -> Option<&'a [u8]> {
        let rest = self.text.get(self.at..)?;
        let block = rest.first_chunk::<BLOCK>()?;
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

fn is_clean(token: &Token<'_>) -> bool {
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
    fn twice(&mut self, key: &[u8]) -> bool {
        let mut hash = 0xcbf2_9ce4_8422_2325u64 ^ key.len() as u64;
        for &byte in key {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        // The golden ratio spreads short keys over the high bits.
        let hash = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let slot = &mut self.0[(hash >> 62) as usize];
        let bit = 1u64 << (hash >> 56 & 63);
        let seen = *slot & bit != 0;
        *slot |= bit;
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &str) -> Result<Vec<String>, Fault> {
        let mut found = Vec::new();
        object(text.as_bytes(), |m| {
            found.push(format!("{}={:?}", String::from_utf8_lossy(m.key.bytes()), m.value))
        })?;
        Ok(found)
    }

    fn rewritten(text: &str) -> String {
        let mut out = Vec::new();
        rewrite(text.as_bytes(), &mut out);
        let text = String::from_utf8(out).expect("UTF-8");
        serde_json::from_str::<serde_json::Value>(&text).expect("valid JSON");
        text
    }

    #[test]
    fn members_come_out_in_order_with_their_text() {
        let found = scan(
            r#" {"a":1,"b":"x\"y","c":[1,{"d":null}],"e":-1.5e+3, "big":123456789012345678901234567890} "#,
        );
        assert_eq!(found.map(|f| f.len()), Ok(5));
    }

    #[test]
    fn containers_may_be_empty() {
        for text in
            [r#"{"a":[],"b":{}}"#, r#"{"a":{},"b":[]}"#, r#"{"a":[[],{}, [ ]],"b":{"c":{},"d":[],"e":{ }}}"#]
        {
            assert_eq!(scan(text).map(|f| f.len()), Ok(2), "{text}");
            assert_eq!(rewritten(text), text.replace(' ', ""));
        }
        assert_eq!(scan(" { } "), Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_place() {
        for (text, at) in [
            ("", 0),
            ("[1]", 0),
            ("{\"a\":01}", 6),
            ("{\"a\":1", 6),
            ("{\"a\":1}x", 7),
            ("{\"a\" 1}", 5),
            ("{\"a\":1,}", 7),
            ("{\"a\":\"x}", 8),
            ("{\"a\":tru}", 5),
            ("{\"a\":1.}", 7),
            ("{a:1}", 1),
        ] {
            assert_eq!(scan(text).err().map(|f| f.at), Some(at), "{text}");
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(scan(&deep).err().map(|f| f.reason), Some("nested deeper than 64 levels"));
    }

    #[test]
    fn repair_keeps_numbers_and_the_last_of_equal_keys() {
        assert_eq!(
            rewritten(
                r#"{"k":1,"k":2,"n":18446744073709551616,"x":NaN,"q":"\x22\ud800","l":[{"a":1,"\u0061":3}]}"#
            ),
            r#"{"k":2,"n":18446744073709551616,"x":"NaN","q":"\"�","l":[{"a":3}]}"#
        );
    }

    #[test]
    fn nested_doubles_and_bad_escapes_are_marked() {
        let dirty = |text: &str| {
            let mut clean = true;
            object(text.as_bytes(), |m| clean &= is_clean(&m.value)).expect("scans");
            !clean
        };
        assert!(dirty(r#"{"a":{"b":1,"b":2}}"#));
        assert!(dirty(r#"{"a":"\x22"}"#));
        assert!(dirty("{\"a\":\"tab\there\"}"));
        assert!(!dirty(r#"{"a":{"b":1,"c":[true,"\u00e9"]}}"#));
    }
}
