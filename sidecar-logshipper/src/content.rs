//! What a line says about itself: its text, and for JSON objects its time and level.

use std::borrow::Cow;

use logtail::Line;
use serde::Deserialize;

use crate::config::Format;
use crate::encode::{Moment, Wrapped, Wrapping, flat, json_object, text};

/// A line on its way into a sink that has a place of its own for time, level and origin.
#[derive(Debug)]
pub struct Content<'a> {
    pub bytes: Cow<'a, [u8]>,
    /// `bytes` is a JSON object.
    pub is_object: bool,
    pub is_utf8: bool,
    /// Nanoseconds since 1970.
    pub nanos: u64,
    pub level: Option<Level>,
}

/// Severity, coarse: what all sinks can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Trace,
    Debug,
    Info,
    Notice,
    Warn,
    Error,
    Critical,
    Fatal,
}

/// The members that other companions write (adapter-logformat's ECS schema).
#[derive(Deserialize)]
struct Peek<'a> {
    #[serde(rename = "@timestamp", borrow)]
    timestamp: Option<Cow<'a, str>>,
    #[serde(rename = "log.level", borrow)]
    level: Option<Cow<'a, str>>,
}

/// When a JSON line says it was written, in nanoseconds since 1970.
pub fn own_time(line: &Line<'_>) -> Option<u64> {
    time_of(text(line))
}

/// The same of a document.
pub fn time_of(bytes: &[u8]) -> Option<u64> {
    memchr::memmem::find(bytes, b"\"@timestamp\"")?;
    let peek: Peek<'_> = serde_json::from_slice(bytes).ok()?;
    u64::try_from(peek.timestamp?.parse::<jiff::Timestamp>().ok()?.as_nanosecond()).ok()
}

impl<'a> Content<'a> {
    pub fn new(format: Format, line: &Line<'a>, wrapping: &Wrapping, moment: &Moment<'_>) -> Self {
        if matches!(format, Format::Ecs | Format::Otel) {
            let mut bytes = Vec::new();
            let wrapped = match format {
                Format::Otel => wrapping.wrap_otel(false, line, moment, &mut bytes),
                _ => wrapping.wrap(line, moment, &mut bytes),
            };
            let is_utf8 = wrapped == Wrapped::Whole;
            return Self { bytes: bytes.into(), is_object: true, is_utf8, nanos: moment.nanos, level: None };
        }
        let object = if format == Format::Raw { None } else { json_object(line) };
        let peek: Option<Peek<'_>> = object.and_then(|object| serde_json::from_slice(object).ok());
        let time = peek.as_ref().and_then(|peek| peek.timestamp.as_ref()?.parse::<jiff::Timestamp>().ok());
        let bytes: Cow<'a, [u8]> = match object {
            Some(object) if format == Format::Merge => {
                let mut merged = Vec::with_capacity(object.len() + 256);
                wrapping.merge(object, line.offset, moment.text, &mut merged);
                merged.into()
            }
            Some(object) if memchr::memchr2(b'\n', b'\r', object).is_some() => {
                let mut one_line = Vec::with_capacity(object.len());
                flat(object, &mut one_line);
                one_line.into()
            }
            Some(object) => object.into(),
            None => text(line).into(),
        };
        Self {
            is_object: object.is_some(),
            is_utf8: object.is_some() || moment.is_utf8 || simdutf8::basic::from_utf8(&bytes).is_ok(),
            bytes,
            nanos: time.and_then(|time| u64::try_from(time.as_nanosecond()).ok()).unwrap_or(moment.nanos),
            level: peek.and_then(|peek| Level::parse(peek.level.as_ref()?)),
        }
    }

    /// What to count.
    pub fn wrapped(&self) -> Wrapped {
        if self.is_utf8 { Wrapped::Whole } else { Wrapped::NotUtf8 }
    }

    /// The text, with what is no UTF-8 replaced.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes)
    }
}

impl Level {
    fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_lowercase().as_str() {
            "trace" => Self::Trace,
            "debug" => Self::Debug,
            "info" | "information" | "informational" => Self::Info,
            "notice" => Self::Notice,
            "warn" | "warning" => Self::Warn,
            "error" | "err" => Self::Error,
            "critical" | "crit" | "alert" => Self::Critical,
            "fatal" | "emergency" | "emerg" | "panic" => Self::Fatal,
            _ => return None,
        })
    }

    /// OpenTelemetry's SeverityNumber (Logs Data Model, "Severity Fields").
    pub fn otel(self) -> u64 {
        match self {
            Self::Trace => 1,
            Self::Debug => 5,
            Self::Info => 9,
            Self::Notice => 10,
            Self::Warn => 13,
            Self::Error => 17,
            Self::Critical => 18,
            Self::Fatal => 21,
        }
    }

    /// RFC 5424, table 2.
    pub fn syslog(self) -> u8 {
        match self {
            Self::Trace | Self::Debug => 7,
            Self::Info => 6,
            Self::Notice => 5,
            Self::Warn => 4,
            Self::Error => 3,
            Self::Critical => 2,
            Self::Fatal => 0,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Trace => "TRACE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Notice => "INFO2",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
            Self::Critical => "ERROR2",
            Self::Fatal => "FATAL",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use logtail::Piece;
    use std::path::Path;

    fn content(bytes: &'static [u8], format: Format) -> Content<'static> {
        let line = Line { bytes, offset: 0, end: bytes.len() as u64, piece: Piece::Lines };
        let moment = Moment { text: "2026-01-01T00:00:00.000Z", millis: 1, nanos: 7, is_utf8: false };
        Content::new(
            format,
            &line,
            &Wrapping::new(Path::new("/a"), &crate::enrich::Origin::default()),
            &moment,
        )
    }

    #[test]
    fn an_object_tells_its_time_and_level() {
        let json = br#"{"@timestamp":"1970-01-01T00:00:01.5Z","log.level":"warn","message":"x"}"#;
        let said = content(json, Format::Auto);
        assert_eq!((said.nanos, said.level, said.is_object), (1_500_000_000, Some(Level::Warn), true));
        assert_eq!(&said.bytes[..], json);
        let raw = content(json, Format::Raw);
        assert_eq!((raw.nanos, raw.level, raw.is_object), (7, None, false));
    }

    #[test]
    fn other_lines_are_text() {
        let said = content(b"plain \xff", Format::Auto);
        assert_eq!((said.nanos, said.is_utf8, said.is_object), (7, false, false));
        assert_eq!(said.text(), "plain \u{fffd}");
        assert!(content(b"plain", Format::Ecs).is_object);
    }
}
