//! A strict JSON scanner (RFC 8259) that builds nothing: it validates and hands out the spans of the members.
//!
//! Values are copied as written, so 64-bit and longer numbers, exponents and key order survive. What loggers get wrong but
//! means something clear (nginx `\x22`, raw control bytes, `NaN`, a key given twice) is accepted and marked for repair.

mod rewrite;
mod scan;

pub use rewrite::rewrite;

use crate::text::Str;
use scan::Scan;

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
    let mut begins = true;
    while reader.goes_on(std::mem::take(&mut begins))? {
        let (found, behind) = reader.member()?;
        reader = behind;
        member(found);
    }
    Ok(())
}

/// An object that fills the whole line, member by member.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    scan: Scan<'a>,
}

impl<'a> Reader<'a> {
    /// At its opening brace.
    ///
    /// # Errors
    /// It begins as no object.
    #[inline]
    pub fn new(line: &'a [u8]) -> Result<Self, Fault> {
        let mut scan = Scan { text: line, at: 0, deepest: MAX_DEPTH };
        scan.space();
        match scan.peek() {
            b'{' => Ok(Self { scan }),
            _ => scan.fault("no JSON object"),
        }
    }

    /// From the opening brace where it `begins`, or from behind a member: whether there is another one. Behind the last one the line has to end.
    ///
    /// # Errors
    /// Where it is no object any more.
    #[inline(always)]
    pub fn goes_on(&mut self, begins: bool) -> Result<bool, Fault> {
        let more = match begins {
            true => {
                self.scan.at += 1;
                !self.scan.is_empty(b'}')
            }
            false => self.scan.goes_on(b'}')?,
        };
        self.scan.space();
        if !more && self.scan.at < self.scan.text.len() {
            return self.scan.fault("text after the JSON object");
        }
        Ok(more)
    }

    /// Any member, and what comes behind it.
    ///
    /// # Errors
    /// Where it is none.
    #[inline(never)]
    pub fn member(mut self) -> Result<(Member<'a>, Self), Fault> {
        let (key, value) = (self.scan.key()?, self.scan.value(0)?);
        Ok((Member { key, value }, self))
    }

    /// What is left.
    #[inline(always)]
    pub fn rest(&self) -> &'a [u8] {
        &self.scan.text[self.scan.at..]
    }

    /// Goes over what was recognized.
    #[inline(always)]
    pub fn pass(&mut self, length: usize) {
        self.scan.at += length;
    }

    /// The blank that some put behind colons.
    #[inline(always)]
    pub fn blank(&mut self) {
        self.scan.blank();
    }

    /// Any value, and what comes behind it.
    ///
    /// # Errors
    /// Where it is none.
    #[inline(never)]
    pub fn value(mut self) -> Result<(Token<'a>, Self), Fault> {
        let value = self.scan.value(0)?;
        Ok((value, self))
    }

    /// The value where it is what most are; otherwise it is still to be read. As parts and not as a token, because with the kind told at the place where
    /// it is used nothing has to be put together and taken apart again.
    #[inline(always)]
    pub fn simple(&mut self) -> Simple<'a> {
        let Some(first) = self.scan.text.get(self.scan.at) else { return Simple::No };
        match first {
            b'"' => self.scan.plain_string().map_or(Simple::No, Simple::Text),
            b'0'..=b'9' => self.scan.short_number().map_or(Simple::No, Simple::Number),
            open @ (b'{' | b'[') => match self.scan.nested() {
                Some((end, true)) => {
                    let raw = self.scan.text.get(self.scan.at..end).unwrap_or_default();
                    self.scan.at = end;
                    if *open == b'{' { Simple::Object(raw) } else { Simple::Array(raw) }
                }
                _ => Simple::No,
            },
            _ => Simple::No,
        }
    }
}

/// See [`Reader::simple`].
#[derive(Clone, Copy, Debug)]
pub enum Simple<'a> {
    /// The body of a string that may be copied, as [`Str::Json`].
    Text(&'a [u8]),
    Number(&'a [u8]),
    /// It can be copied as it is.
    Array(&'a [u8]),
    Object(&'a [u8]),
    No,
}

/// Scans one array.
///
/// # Errors
/// Where it stops being one.
pub fn array<'a>(text: &'a [u8], item: impl FnMut(Token<'a>)) -> Result<(), Fault> {
    let mut scan = Scan { text, at: 0, deepest: MAX_DEPTH };
    scan.expect(b'[', "no JSON array")?;
    scan.items(item)?;
    Ok(())
}

/// [`object`] for what the encoder wrote itself: a level or two deeper than what it was made from.
pub fn written<'a>(line: &'a [u8], mut member: impl FnMut(Member<'a>)) {
    let mut scan = Scan { text: line, at: 1, deepest: MAX_DEPTH + 4 };
    let scanned = scan.members(|key, value| member(Member { key, value }));
    debug_assert!(scanned.is_ok(), "the encoder writes JSON");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanned(text: &str) -> Result<Vec<String>, Fault> {
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
        let found = scanned(
            r#" {"a":1,"b":"x\"y","c":[1,{"d":null}],"e":-1.5e+3, "big":123456789012345678901234567890} "#,
        );
        assert_eq!(found.map(|f| f.len()), Ok(5));
    }

    #[test]
    fn containers_may_be_empty() {
        for text in
            [r#"{"a":[],"b":{}}"#, r#"{"a":{},"b":[]}"#, r#"{"a":[[],{}, [ ]],"b":{"c":{},"d":[],"e":{ }}}"#]
        {
            assert_eq!(scanned(text).map(|f| f.len()), Ok(2), "{text}");
            assert_eq!(rewritten(text), text.replace(' ', ""));
        }
        assert_eq!(scanned(" { } "), Ok(Vec::new()));
        assert!(scanned(r#"{"a":1{"b":2}"#).is_err());
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
            assert_eq!(scanned(text).err().map(|f| f.at), Some(at), "{text}");
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(scanned(&deep).err().map(|f| f.reason), Some("nested deeper than 64 levels"));
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
            object(text.as_bytes(), |m| clean &= scan::is_clean(&m.value)).expect("scans");
            !clean
        };
        assert!(dirty(r#"{"a":{"b":1,"b":2}}"#));
        assert!(dirty(r#"{"a":"\x22"}"#));
        assert!(dirty("{\"a\":\"tab\there\"}"));
        assert!(!dirty(r#"{"a":{"b":1,"c":[true,"\u00e9"]}}"#));
    }
}
