//! Bytes of a log line → the body of a JSON string.
//!
//! Log lines hold anything: quotes, control bytes, terminal colours, bytes that are no UTF-8. Everything here is total:
//! any input gives a valid JSON string body, and what is not valid UTF-8 shows as `\xHH`, the way nginx writes it.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem::Finder;

mod copy;
mod pen;
mod place;

pub use copy::{copy, copy_plain};
use jsontext::escape;
pub use jsontext::{Around, first_of, first_special};
pub(crate) use jsontext::{BLOCK, Block, low, short};
pub(crate) use pen::Pen;

/// A text as it stands in the line, with what is known about its escapes.
#[derive(Clone, Copy, Debug)]
pub enum Str<'a> {
    /// Bytes as they are.
    Raw(&'a [u8]),
    /// The body of a JSON string that a strict scan has accepted: may be copied.
    Json(&'a [u8]),
    /// Bytes with C-like escapes (`\xHH`, `\"`, `\n`, `\u00e9`), as nginx, Apache, Go and sloppy JSON write them.
    Escaped(&'a [u8]),
    /// The inside of a quoted value in which a quote is written twice: CSV (RFC 4180) and its relatives.
    Doubled(&'a [u8]),
}

impl<'a> Str<'a> {
    /// The bytes as written, escapes included.
    pub fn bytes(&self) -> &'a [u8] {
        match self {
            Str::Raw(b) | Str::Json(b) | Str::Escaped(b) | Str::Doubled(b) => b,
        }
    }

    /// True when the written bytes are the meant bytes.
    pub fn is_plain(&self) -> bool {
        match self {
            Str::Raw(_) => true,
            Str::Json(b) | Str::Escaped(b) => memchr::memchr(b'\\', b).is_none(),
            Str::Doubled(b) => memchr::memchr(b'"', b).is_none(),
        }
    }

    /// The meant bytes, escapes resolved, appended to `to`.
    pub fn resolve(&self, to: &mut Vec<u8>) {
        match self {
            Str::Raw(b) => to.extend_from_slice(b),
            Str::Json(b) | Str::Escaped(b) => unescape(b, to),
            Str::Doubled(b) => undouble(b, to),
        }
    }

    /// Appends the text as a JSON string body. `valid` says that the line it comes from is valid UTF-8.
    pub fn write(&self, out: &mut Vec<u8>, valid: bool, scratch: &mut Vec<u8>) {
        match self {
            Str::Raw(b) if valid => escape(b, out),
            Str::Raw(b) => escape_any(out, b),
            Str::Doubled(b) => {
                scratch.clear();
                undouble(b, scratch);
                escape_any(out, scratch);
            }
            Str::Json(b) if valid => copy(out, b),
            // Nothing to resolve and nothing to escape, as a rule.
            Str::Escaped(b) if valid && copy_plain(out, b) => {}
            Str::Json(b) | Str::Escaped(b) => {
                if memchr::memchr(b'\\', b).is_none() {
                    return if valid { escape(b, out) } else { escape_any(out, b) };
                }
                scratch.clear();
                unescape(b, scratch);
                escape_any(out, scratch);
            }
        }
    }
}

/// Every second quote of a run goes.
fn undouble(mut from: &[u8], to: &mut Vec<u8>) {
    while let Some(at) = memchr::memmem::find(from, b"\"\"") {
        to.extend_from_slice(&from[..=at]);
        from = &from[at + 2..];
    }
    to.extend_from_slice(from);
}

/// Appends any bytes as a JSON string body; a byte that is no UTF-8 becomes the four characters `\xHH`.
pub fn escape_any(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        escape(chunk.valid().as_bytes(), out);
        for &byte in chunk.invalid() {
            out.extend_from_slice(b"\\\\x");
            out.push(HEX_UPPER[usize::from(byte >> 4)]);
            out.push(HEX_UPPER[usize::from(byte & 15)]);
        }
    }
}

const HEX_UPPER: &[u8; 16] = b"0123456789ABCDEF";

fn hex(digits: &[u8]) -> Option<u32> {
    let mut value = 0u32;
    for &d in digits {
        value = value * 16 + char::from(d).to_digit(16)?;
    }
    Some(value)
}

/// Resolves C-like and JSON escapes. What is no known escape stays as it is written; half a surrogate pair becomes U+FFFD.
pub fn unescape(mut from: &[u8], to: &mut Vec<u8>) {
    while let Some(at) = memchr::memchr(b'\\', from) {
        to.extend_from_slice(&from[..at]);
        from = &from[at..];
        let simple = match from.get(1) {
            Some(b'n') => Some(b'\n'),
            Some(b't') => Some(b'\t'),
            Some(b'r') => Some(b'\r'),
            Some(b'b') => Some(8),
            Some(b'f') => Some(12),
            Some(b'v') => Some(11),
            Some(b'a') => Some(7),
            Some(&c @ (b'"' | b'\\' | b'/' | b'\'')) => Some(c),
            _ => None,
        };
        if let Some(byte) = simple {
            to.push(byte);
            from = &from[2..];
            continue;
        }
        let (used, done) = unescape_hex(from, to);
        if !done {
            to.extend_from_slice(&from[..used]);
        }
        from = &from[used..];
    }
    to.extend_from_slice(from);
}

/// `\xHH`, `\uHHHH` (with its low half) and `\UHHHHHHHH`: how many bytes were used, and whether they meant something.
fn unescape_hex(from: &[u8], to: &mut Vec<u8>) -> (usize, bool) {
    let mut push = |code: u32| {
        let mut buffer = [0u8; 4];
        let ch = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
        to.extend_from_slice(ch.encode_utf8(&mut buffer).as_bytes());
    };
    match from.get(1) {
        Some(b'x') => match from.get(2..4).and_then(hex) {
            Some(byte) => {
                to.push((byte & 0xff) as u8);
                (4, true)
            }
            None => (1, false),
        },
        Some(b'u') => match from.get(2..6).and_then(hex) {
            Some(high @ 0xd800..=0xdbff) => {
                let low = from.get(6..8).filter(|m| *m == b"\\u").and(from.get(8..12)).and_then(hex);
                match low {
                    Some(low @ 0xdc00..=0xdfff) => {
                        push(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00));
                        (12, true)
                    }
                    _ => {
                        push(0xfffd);
                        (6, true)
                    }
                }
            }
            Some(code) => {
                push(code);
                (6, true)
            }
            None => (1, false),
        },
        Some(b'U') => match from.get(2..10).and_then(hex) {
            Some(code) => {
                push(code);
                (10, true)
            }
            None => (1, false),
        },
        _ => (1, false),
    }
}

/// Copies `line` to `to` without terminal colour and cursor sequences (CSI and OSC of ECMA-48).
pub fn strip_ansi(mut line: &[u8], to: &mut Vec<u8>) {
    to.clear();
    while let Some(at) = memchr::memchr(0x1b, line) {
        to.extend_from_slice(&line[..at]);
        line = &line[at..];
        let length = match line.get(1) {
            Some(b'[') => line[2..]
                .iter()
                .position(|b| !matches!(b, 0x20..=0x3f))
                .and_then(|p| matches!(line[2 + p], 0x40..=0x7e).then_some(p + 3)),
            Some(b']') => {
                let body = &line[2..];
                let bell = body.iter().position(|&b| b == 7).map(|p| p + 3);
                let end = memchr::memmem::find(body, b"\x1b\\").map(|p| p + 4);
                bell.into_iter().chain(end).min()
            }
            Some(0x40..=0x5f) => Some(2),
            _ => None,
        };
        match length {
            Some(length) => line = &line[length..],
            None => {
                to.push(0x1b);
                line = &line[1..];
            }
        }
    }
    to.extend_from_slice(line);
}

/// The same for colours within the texts of a JSON object, where their first byte is written `\u001b`; false when there are none, and `to` says nothing.
pub fn strip_escaped_ansi(line: &[u8], to: &mut Vec<u8>) -> bool {
    static ESCAPE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\\u001"));
    if line.first() != Some(&b'{') || ESCAPE.find(line).is_none() {
        return false;
    }
    to.clear();
    let (mut copied, mut at) = (0, 0);
    while let Some(found) = ESCAPE.find(&line[at..]) {
        let start = at + found;
        at = start + 5;
        // A backslash that is itself escaped begins nothing.
        let escapes = line[..start].iter().rev().take_while(|b| **b == b'\\').count();
        let Some([b'b' | b'B', b'[', rest @ ..]) = line.get(start + 5..).filter(|_| escapes % 2 == 0) else {
            continue;
        };
        let parameters = rest.iter().take_while(|b| matches!(b, b'0'..=b'9' | b';' | b'?')).count();
        if rest.get(parameters).is_some_and(u8::is_ascii_alphabetic) {
            to.extend_from_slice(&line[copied..start]);
            copied = start + 7 + parameters + 1;
            at = copied;
        }
    }
    to.extend_from_slice(&line[copied..]);
    copied > 0
}

/// Appends standard base64 (RFC 4648, with padding).
pub fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let at = out.len();
    // A line that does not fit into a `usize` four thirds as long is in no memory.
    out.resize(at + base64::encoded_len(bytes.len(), true).unwrap_or(0), 0);
    let _ = STANDARD.encode_slice(bytes, &mut out[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        escape_any(&mut out, bytes);
        String::from_utf8(out).expect("JSON bodies are UTF-8")
    }

    #[test]
    fn every_byte_value_escapes_to_a_valid_string() {
        for length in [1usize, 7, 8, 9, 17] {
            for byte in 0..=255u8 {
                let mut text = vec![b'a'; length];
                text[length - 1] = byte;
                let json = format!("\"{}\"", escaped(&text));
                let back: String = serde_json::from_str(&json).expect("valid JSON");
                if byte < 128 {
                    assert_eq!(back.as_bytes(), text);
                } else {
                    assert!(back.ends_with(&format!("\\x{byte:02X}")), "{back}");
                }
            }
        }
    }

    #[test]
    fn escapes_of_nginx_go_and_json_resolve() {
        let resolve = |text: &str| {
            let mut to = Vec::new();
            unescape(text.as_bytes(), &mut to);
            String::from_utf8_lossy(&to).into_owned()
        };
        assert_eq!(resolve(r#"\x22a\xC3\xA9\x22"#), "\"aé\"");
        assert_eq!(resolve(r"\u00e9\ud83d\ude00\U0001F600"), "é😀😀");
        assert_eq!(resolve(r"\ud83d!"), "\u{fffd}!");
        assert_eq!(resolve(r"C:\Users\q \x2 \u12 \"), r"C:\Users\q \x2 \u12 \");
    }

    #[test]
    fn colours_go_text_stays() {
        let mut to = Vec::new();
        assert!(strip_escaped_ansi(
            br#"{"m":"\u001b[1;31mred\u001B[0m \\u001b[0m \u001b] \u001bx","k":1}"#,
            &mut to
        ));
        assert_eq!(to, br#"{"m":"red \\u001b[0m \u001b] \u001bx","k":1}"#);
        assert!(!strip_escaped_ansi(br#"{"m":"\u001fx \u001b["}"#, &mut to));
        assert!(!strip_escaped_ansi(b"{\"m\":\"\\u001", &mut to));
        strip_ansi(b"\x1b[1;31merror\x1b[0m [x] \x1b]0;title\x07done\x1b", &mut to);
        assert_eq!(to, b"error [x] done\x1b");
    }

    #[test]
    fn base64_matches_the_rfc_vectors() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ] {
            let mut out = Vec::new();
            base64(&mut out, plain.as_bytes());
            assert_eq!(out, coded.as_bytes());
        }
    }
}
