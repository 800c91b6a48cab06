//! The headers of a message, in the form they came in: lines of a head of HTTP/1 stay bytes ([`lines`]), what HTTP/2 brings is a map.
//!
//! From HTTP/1 to HTTP/1 no map is ever made: what nobody changes is copied from head to head, whole runs of lines at once.

pub mod lines;
pub mod name;
mod parts;

use http::header::{HeaderMap, HeaderValue};
use http::{Method, Uri, Version};

pub use self::lines::Lines;
use self::name::Named;

/// What was asked for: everything about a request but its body.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The method.
    pub method: Method,
    /// The target.
    pub uri: Uri,
    /// The version it was asked in.
    pub version: Version,
    /// The headers.
    pub headers: Headers,
}

impl Ask {
    /// Path and query, `/` without one.
    pub fn target(&self) -> &str {
        self.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str)
    }
}

impl From<http::request::Parts> for Ask {
    fn from(parts: http::request::Parts) -> Self {
        let http::request::Parts { method, uri, version, headers, .. } = parts;
        Self { method, uri, version, headers: Headers::Map(headers) }
    }
}

/// The headers of a message.
#[derive(Debug, Clone)]
pub enum Headers {
    /// By name.
    Map(HeaderMap),
    /// As they were written.
    Lines(Lines),
}

impl From<HeaderMap> for Headers {
    fn from(map: HeaderMap) -> Self {
        Self::Map(map)
    }
}

impl Headers {
    /// The first value of a header.
    pub fn get(&self, name: &impl Named) -> Option<&[u8]> {
        match self {
            Self::Map(map) => map.get(name.name()).map(HeaderValue::as_bytes),
            Self::Lines(lines) => lines.get(name),
        }
    }

    /// The same as text, if it is printable ASCII.
    pub fn text(&self, name: &impl Named) -> Option<&str> {
        let value = self.get(name)?;
        let printable = value.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
        std::str::from_utf8(value).ok().filter(|_| printable)
    }

    /// The same to keep.
    pub fn value(&self, name: &impl Named) -> Option<HeaderValue> {
        match self {
            Self::Map(map) => map.get(name.name()).cloned(),
            Self::Lines(lines) => HeaderValue::from_bytes(lines.get(name)?).ok(),
        }
    }

    /// Whether there is such a header.
    pub fn has(&self, name: &impl Named) -> bool {
        match self {
            Self::Map(map) => map.contains_key(name.name()),
            Self::Lines(lines) => lines.has(name),
        }
    }

    /// Whether there may be a header with one of these bits ([`name::bit`]); only `false` is certain.
    pub fn may_have(&self, bits: u64) -> bool {
        match self {
            Self::Map(_) => true,
            Self::Lines(lines) => lines.may_have(bits),
        }
    }

    /// Calls `f` with every value of a header, in order.
    pub fn each(&self, name: &impl Named, mut f: impl FnMut(&[u8])) {
        match self {
            Self::Map(map) => map.get_all(name.name()).iter().for_each(|value| f(value.as_bytes())),
            Self::Lines(lines) => lines.each(name, f),
        }
    }

    /// Whether one of the values of a header fits.
    pub fn any(&self, name: &impl Named, mut fits: impl FnMut(&[u8]) -> bool) -> bool {
        let mut found = false;
        self.each(name, |value| found = found || fits(value));
        found
    }

    /// Whether a list in these headers has this word, in any case.
    pub fn says(&self, name: &impl Named, word: &[u8]) -> bool {
        let is = |part: &[u8]| part.trim_ascii().eq_ignore_ascii_case(word);
        self.has(name) && self.any(name, |value| value.split(|byte| *byte == b',').any(is))
    }

    /// Calls `f` with the name, in lower case or as it was written, and the value of everything, in order.
    pub fn all(&self, mut f: impl FnMut(&[u8], &[u8])) {
        match self {
            Self::Map(map) => {
                map.iter().for_each(|(name, value)| f(name.as_str().as_bytes(), value.as_bytes()))
            }
            Self::Lines(lines) => lines.all(f),
        }
    }

    /// Takes a header away.
    pub fn remove(&mut self, name: &impl Named) {
        match self {
            Self::Map(map) => drop(map.remove(name.name())),
            Self::Lines(lines) => lines.remove(name),
        }
    }

    /// Sets a header, in the place of the first one of its name.
    pub fn set(&mut self, name: &impl Named, value: HeaderValue) {
        match self {
            Self::Map(map) => drop(map.insert(name.name().clone(), value)),
            Self::Lines(lines) => lines.set(name, value),
        }
    }

    /// As a map from now on: for what is rarely asked for.
    pub fn map(&mut self) -> &mut HeaderMap {
        if let Self::Lines(lines) = self {
            *self = Self::Map(lines.to_map());
        }
        match self {
            Self::Map(map) => map,
            Self::Lines(_) => unreachable!("it was made a map above"),
        }
    }

    /// A map of them.
    pub fn into_map(mut self) -> HeaderMap {
        std::mem::take(self.map())
    }

    /// A map of them, and these stay.
    pub fn to_map(&self) -> HeaderMap {
        match self {
            Self::Map(map) => map.clone(),
            Self::Lines(lines) => lines.to_map(),
        }
    }

    /// The bytes they were read from; none for a map.
    pub fn head(&self) -> &[u8] {
        match self {
            Self::Map(_) => b"",
            Self::Lines(lines) => lines.head(),
        }
    }

    /// Writes them as lines of a head.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Map(map) => {
                out.reserve(64 + map.len() * 48);
                for (name, value) in map {
                    lines::write_line(out, name.as_str().as_bytes(), value.as_bytes());
                }
            }
            Self::Lines(lines) => lines.write(out),
        }
    }
}
