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
pub mod meaning;
pub mod mysql;
pub mod names;
pub mod nginx;
pub mod nginx_error;
pub mod nginx_pattern;
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
pub mod w3c;

pub use registry::{Compile, Entry, Format, Join};
pub use table::FORMATS;

use crate::{json::Member, record::Record, text::first_of, time::Clock};

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
    /// Memory of the JSON decoder.
    members: Vec<Member<'static>>,
    /// What the keys of the last lines meant.
    shape: shape::Shape,
}

impl Context {
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            header: header::Header::default(),
            captures: None,
            members: Vec::new(),
            shape: shape::Shape::default(),
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
    pub fn until(&mut self, end: u8) -> Option<&'a [u8]> {
        let length = first_of(self.rest(), [end])?;
        let field = &self.line[self.at..self.at + length];
        self.at += length + 1;
        Some(field)
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

/// Index of the first `"` that no backslash escapes.
#[inline]
pub fn closing_quote(text: &[u8]) -> Option<usize> {
    let mut from = 0;
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

fn is_ipv4(text: &[u8]) -> bool {
    if text.len() > 15 {
        return false;
    }
    let (mut dots, mut digits, mut value) = (0, 0, 0u32);
    for &byte in text {
        match byte {
            b'0'..=b'9' => {
                value = value * 10 + u32::from(byte - b'0');
                digits += 1;
                if digits > 3 || value > 255 {
                    return false;
                }
            }
            b'.' if digits > 0 => (dots, digits, value) = (dots + 1, 0, 0),
            _ => return false,
        }
    }
    dots == 3 && digits > 0
}
