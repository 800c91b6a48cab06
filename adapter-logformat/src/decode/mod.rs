//! One line → one [`Record`]: a decoder per format, a registry that lists them.
//!
//! A decoder is strict where it identifies its format and lenient in each field: a request line from a port scanner does
//! not cost the status code. What it refuses, it refuses with the place where it stopped.

pub mod apache_error;
pub mod apache_pattern;
pub mod auditd;
pub mod aws;
pub mod behind;
pub mod cef;
pub mod clef;
pub mod cri;
pub mod csv;
pub mod detect;
pub mod dialect;
pub mod dialect_servers;
pub mod envelope;
pub mod envoy;
pub mod grok;
pub mod haproxy;
pub mod haproxy_pattern;
pub mod header;
pub mod java;
pub mod java_pattern;
pub mod json;
pub mod key_value;
pub mod klog;
pub mod logfmt;
pub mod loguru;
pub mod mapper;
pub mod meaning;
pub mod mysql;
pub mod names;
pub mod nginx;
pub mod nginx_error;
pub mod nginx_pattern;
pub mod otlp;
pub mod plain;
pub mod postgres;
pub mod postgres_pattern;
pub mod program;
pub mod proxies;
pub mod python;
pub mod python_pattern;
pub mod rails;
pub mod regex;
pub mod registry;
pub mod servers;
mod shape;
pub mod syslog;
pub mod table;
pub mod template;
pub mod time_pattern;
pub mod values;
pub mod w3c;

pub use registry::{Compile, Entry, Format, Join};
pub use table::FORMATS;

use crate::{
    record::{Record, Value},
    text::{Block, first_of, low, short},
    time::{Clock, number},
};

/// Why and where a line is not of a format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Byte offset into the line.
    pub at: usize,
    pub reason: &'static str,
}

pub type Decoded = Result<(), Refusal>;

pub fn refuse(at: usize, reason: &'static str) -> Decoded {
    Err(Refusal { at, reason })
}

/// What decoders share from line to line.
#[derive(Debug)]
pub struct Context {
    pub clock: Clock,
    /// The columns that a line of the stream has named.
    pub header: header::Header,
    /// Memory of a user's pattern.
    captures: Option<::regex::bytes::CaptureLocations>,
    /// What the keys of the last lines meant.
    shape: shape::Shape,
    /// … and their levels.
    levels: values::Levels,
}

impl Context {
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            header: header::Header::default(),
            captures: None,
            shape: shape::Shape::default(),
            levels: values::Levels::default(),
        }
    }
}

/// A format ready to decode.
#[derive(Debug)]
pub enum Decoder {
    Fixed(Format),
    /// A format string of the configuration; counted as this format.
    Program(Format, Box<program::Program>),
    /// A regular expression or grok.
    Pattern(Format, Box<regex::Pattern>),
    /// Columns that the configuration names.
    Columns(Format, String),
}

impl Decoder {
    /// The decoder for a name of `--from` and, where the format has them, a format string.
    ///
    /// # Errors
    /// What is wrong with either, in a sentence.
    pub fn new(name: &str, pattern: Option<&str>) -> Result<Self, String> {
        let format = Format::by_name(name).ok_or_else(|| format!("there is no format {name:?}"))?;
        match (format.entry().compile, pattern) {
            (Compile::Needed(_) | Compile::Pattern(_), None) => {
                Err(format!("the format {name} needs a pattern"))
            }
            (_, None) => Ok(Decoder::Fixed(format)),
            (Compile::Program(compile) | Compile::Needed(compile), Some(pattern)) => compile(pattern)
                .map(|program| Decoder::Program(format, Box::new(program)))
                .map_err(|error| error.to_string()),
            (Compile::Pattern(compile), Some(pattern)) => {
                compile(pattern).map(|pattern| Decoder::Pattern(format, Box::new(pattern)))
            }
            (Compile::Columns, Some(pattern)) => Ok(Decoder::Columns(format, pattern.to_owned())),
            (Compile::No, Some(_)) => {
                let takes = |entry: &&Entry| !matches!(entry.compile, Compile::No);
                let with: Vec<_> = FORMATS.iter().filter(takes).map(|e| e.name).collect();
                Err(format!("the format {name} takes no pattern; {} do", with.join(", ")))
            }
        }
    }

    /// What its records count as.
    pub fn format(&self) -> Format {
        match self {
            Decoder::Fixed(format)
            | Decoder::Program(format, _)
            | Decoder::Pattern(format, _)
            | Decoder::Columns(format, _) => *format,
        }
    }

    /// Which lines belong together when the configuration does not say.
    pub fn join(&self) -> Join {
        self.format().entry().join
    }

    /// True when it reads all lines of an event, not only the first.
    pub fn whole(&self) -> bool {
        self.format().entry().whole
    }

    /// True when its lines may come in an envelope of JSON.
    pub fn wrapped(&self) -> bool {
        matches!(self.format(), Format::Docker | Format::Journald | Format::Cri)
    }

    /// Fills `record` from `line` (no newline, no carriage return, no colours).
    pub fn decode<'a>(&'a self, line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
        match self {
            Decoder::Fixed(format) => format.decode(line, cx, record),
            Decoder::Program(_, program) => program.decode(line, cx, record),
            Decoder::Pattern(_, pattern) => pattern.decode(line, cx, record),
            Decoder::Columns(format, columns) => {
                if cx.header.columns().is_empty() {
                    cx.header.set(columns.as_bytes(), b',');
                    if *format == Format::Tsv {
                        cx.header.separator = b'\t';
                    }
                }
                format.decode(line, cx, record)
            }
        }
    }
}

/// A reader of delimited fields over one line.
pub struct Cursor<'a> {
    pub line: &'a [u8],
    pub at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(line: &'a [u8]) -> Self {
        Self { line, at: 0 }
    }

    #[inline(always)]
    pub fn rest(&self) -> &'a [u8] {
        &self.line[self.at..]
    }

    /// Takes `literal` when it comes next.
    #[inline]
    pub fn literal(&mut self, literal: &[u8]) -> bool {
        let found = self.rest().starts_with(literal);
        if found {
            self.at += literal.len();
        }
        found
    }

    /// The bytes before the next `end`, which is taken too.
    #[inline]
    pub fn until(&mut self, end: u8) -> Option<&'a [u8]> {
        let length = first_of(self.rest(), [end])?;
        let field = &self.line[self.at..self.at + length];
        self.at += length + 1;
        Some(field)
    }

    /// The same as [`Self::quoted`], and whether there may be a backslash in it.
    #[inline]
    pub fn quoted_plainly(&mut self) -> Option<(&'a [u8], bool)> {
        let first = first_of(self.rest(), *b"\"\\")?;
        let escapes = self.rest()[first] == b'\\';
        Some((self.quoted()?, escapes))
    }

    /// The inside of a string whose opening quote is behind us, up to the closing quote that no backslash escapes.
    #[inline]
    pub fn quoted(&mut self) -> Option<&'a [u8]> {
        let end = closing_quote(self.rest())?;
        let field = &self.line[self.at..self.at + end];
        self.at += end + 1;
        Some(field)
    }
}

/// A number of digits only, as it is where JSON would write it so.
#[inline]
pub(crate) fn whole(text: &[u8]) -> Option<Value<'_>> {
    match text {
        [b'1'..=b'9', ..] if text.len() <= 18 && text.iter().all(u8::is_ascii_digit) => {
            Some(Value::Json(text))
        }
        _ => number(text).map(Value::Int),
    }
}

/// Index of the first `"` that no backslash escapes.
#[inline(always)]
pub fn closing_quote(text: &[u8]) -> Option<usize> {
    match text.first_chunk() {
        Some(block) => {
            let at = Block::of(block).any(*b"\"\\").trailing_zeros() as usize;
            if block.get(at) == Some(&b'"') { Some(at) } else { far_quote(text, at.min(block.len())) }
        }
        None => far_quote(text, 0),
    }
}

/// The same where there is none in front of `from`.
#[inline(never)]
fn far_quote(text: &[u8], mut from: usize) -> Option<usize> {
    loop {
        let at = from + first_of(text.get(from..)?, *b"\"\\")?;
        if text[at] == b'"' {
            return Some(at);
        }
        from = at + 2;
    }
}

/// An address that is an IP: usable where a schema wants one.
pub fn is_ip(text: &[u8]) -> bool {
    is_ipv4(text)
        || (memchr::memchr(b':', text).is_some()
            && std::str::from_utf8(text).is_ok_and(|t| t.parse::<std::net::Ipv6Addr>().is_ok()))
}

/// Four numbers up to 255 with dots between; a number may begin with zeros, and has three digits at most.
fn is_ipv4(text: &[u8]) -> bool {
    let length = text.len();
    if length > 15 {
        return false;
    }
    let bytes = short(text).to_le_bytes();
    let block = Block::of(&bytes);
    let (dots, digits) = (block.any([b'.']) & low(length), block.digits() & low(length));
    if dots | digits != low(length) {
        return false;
    }
    let (mut dots, mut from) = (dots | 1 << length, 0);
    for _ in 0..4 {
        let end = dots.trailing_zeros() as usize;
        dots &= dots.wrapping_sub(1);
        let value = match bytes.get(from..end) {
            Some([_] | [_, _]) => 0,
            Some([a, b, c]) => u32::from(*a) << 16 | u32::from(*b) << 8 | u32::from(*c),
            _ => return false,
        };
        if value > 0x32_35_35 {
            return false;
        }
        from = end + 1;
    }
    dots == 0
}

/// Each line, behind every other one and behind itself, reads as it does where nothing was before: what a decoder remembers never shows.
#[cfg(test)]
fn reads_alike_behind_any(lines: &[&str], decode: impl for<'a> Fn(&'a [u8], &mut Context, &mut Record<'a>)) {
    let read = |cx: &mut Context, line: &str| {
        let mut record = Record::default();
        decode(line.as_bytes(), cx, &mut record);
        format!("{record:?}")
    };
    let new = || Context::new(crate::time::Clock::new(jiff::tz::TimeZone::UTC, crate::time::Time::default()));
    let mut cx = new();
    for line in lines.iter().flat_map(|a| lines.iter().flat_map(move |b| [a, b, b])) {
        assert_eq!(read(&mut cx, line), read(&mut new(), line), "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_what_looks_like_one() {
        for text in ["10.0.17.203", "255.255.255.255", "0.0.0.0", "001.02.3.4", "::1", "fe80::1:2"] {
            assert!(is_ip(text.as_bytes()), "{text}");
        }
        for text in [
            "",
            ".",
            "...",
            "1.2.3",
            "1.2.3.",
            ".1.2.3",
            "1..2.3",
            "1.2.3.4.",
            "1.2.3.4.5",
            "256.1.1.1",
            "1.1.1.300",
            "1.1.1.0001",
            "1.1.1.1a",
            "a.b.c.d",
            "1.1.1.1 ",
            "100.100.100.1000",
            "1:2",
            "é.1.1.1",
        ] {
            assert!(!is_ip(text.as_bytes()), "{text}");
        }
    }
}
