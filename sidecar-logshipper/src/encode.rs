//! Lines into what a sink takes. No event model: a line is a slice, and what stands around it is rendered once per file.

use std::cell::RefCell;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsontext::escape;
use logtail::{Line, Piece};

use crate::enrich::Origin;
use crate::members::{MOST_MEMBERS, present};
use crate::stencil::Stencil;

/// What stands around the lines of one file.
#[derive(Clone, Debug)]
pub struct Wrapping {
    /// `{"log.file.path":"…","host.name":"…"…,"@timestamp":"`
    ecs: Vec<u8>,
    /// `…2026-01-01T00:00:00.000Z","log.offset":123`: the same with the time and all but the last digits of the offset, which are those of many lines.
    timed: RefCell<Timed>,
    /// `{"Resource":{…},"Attributes":{"log.file.path":"…","log.file.position":`
    otel: Vec<u8>,
    /// What is put into a JSON object that does not have it: its name, and `"name":"value",` where that is the same for all lines.
    names: Vec<String>,
    members: Vec<Vec<u8>>,
}

/// A beginning that holds for one millisecond and [`NEAR`] bytes.
#[derive(Clone, Debug, Default)]
struct Timed {
    millis: Option<u64>,
    /// Without the digits.
    len: usize,
    /// The offset divided by [`NEAR`].
    far: u64,
    head: Stencil,
}

/// Offsets that differ in their last digits only.
const NEAR: u64 = 10_000;
/// Places in [`Wrapping::names`] of what differs from line to line.
const TIME: usize = 0;
const OFFSET: usize = 1;

/// What happened to a line on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrapped {
    Whole,
    /// It held bytes that are not UTF-8: replaced in `message`, complete in `message_base64`.
    NotUtf8,
}

impl Wrapping {
    /// For the lines of this file.
    pub fn new(path: &std::path::Path, origin: &Origin) -> Self {
        let path = path.to_string_lossy();
        let mut ecs = b"{\"log.file.path\":\"".to_vec();
        escape(path.as_bytes(), &mut ecs);
        ecs.push(b'"');
        ecs.extend_from_slice(origin.members.as_bytes());
        ecs.extend_from_slice(b",\"@timestamp\":\"");
        let mut otel = b"{\"Resource\":{".to_vec();
        otel.extend_from_slice(origin.resource.as_bytes());
        otel.extend_from_slice(b"},\"Attributes\":{\"log.file.path\":\"");
        escape(path.as_bytes(), &mut otel);
        otel.extend_from_slice(b"\",\"log.file.position\":");
        let mut names = vec!["@timestamp".to_owned(), "log.offset".to_owned()];
        let mut members = vec![Vec::new(), Vec::new()];
        let own = origin.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in own.chain([("log.file.path", &*path)]).take(MOST_MEMBERS - 2) {
            let mut member = b"\"".to_vec();
            escape(name.as_bytes(), &mut member);
            member.extend_from_slice(b"\":\"");
            escape(value.as_bytes(), &mut member);
            member.extend_from_slice(b"\",");
            names.push(name.to_owned());
            members.push(member);
        }
        Self { ecs, timed: RefCell::default(), otel, names, members }
    }

    /// Appends the line as an object of the Elastic Common Schema, without a newline at its end.
    pub fn wrap(&self, line: &Line<'_>, moment: &Moment<'_>, out: &mut Vec<u8>) -> Wrapped {
        self.begin(line.offset, moment, out);
        part(line, out);
        out.extend_from_slice(b",\"message\":\"");
        message(line, moment.is_utf8, b"\",\"message_base64\":\"", out, b"\"}")
    }

    /// What such an object begins with.
    #[inline]
    pub fn begin(&self, offset: u64, moment: &Moment<'_>, out: &mut Vec<u8>) {
        let timed = &mut *self.timed.borrow_mut();
        let (far, near) = (offset / NEAR, (offset % NEAR) as usize);
        if timed.millis != Some(moment.millis) {
            let text = [&self.ecs, moment.text.as_bytes(), b"\",\"log.offset\":"].concat();
            *timed =
                Timed { millis: Some(moment.millis), len: text.len(), far: 0, head: Stencil::new(&text) };
        }
        if timed.far != far {
            timed.far = far;
            let mut digits = itoa::Buffer::new();
            timed.head.set(timed.len, if far == 0 { b"" } else { digits.format(far).as_bytes() });
        }
        timed.head.append(out);
        if far == 0 {
            out.extend_from_slice(itoa::Buffer::new().format(offset).as_bytes());
        } else {
            let ([a, b], [c, d]) = (PAIRS[near / 100], PAIRS[near % 100]);
            out.extend_from_slice(&[a, b, c, d]);
        }
    }

    /// The same as an object of the OpenTelemetry log data model; `timed`: with the `@timestamp` that a data stream asks for.
    pub fn wrap_otel(&self, timed: bool, line: &Line<'_>, moment: &Moment<'_>, out: &mut Vec<u8>) -> Wrapped {
        out.extend_from_slice(&self.otel);
        out.extend_from_slice(itoa::Buffer::new().format(line.offset).as_bytes());
        part(line, out);
        out.extend_from_slice(b"},\"ObservedTimestamp\":\"");
        out.extend_from_slice(itoa::Buffer::new().format(moment.nanos).as_bytes());
        if timed {
            out.extend_from_slice(b"\",\"@timestamp\":\"");
            out.extend_from_slice(moment.text.as_bytes());
        }
        out.extend_from_slice(b"\",\"Body\":\"");
        message(line, moment.is_utf8, b"\",\"BodyBase64\":\"", out, b"\"}")
    }

    /// Appends a JSON object with what it does not say itself: time, file, offset and origin.
    pub fn merge(&self, object: &[u8], offset: u64, time: &str, out: &mut Vec<u8>) {
        let Some(present) = present(object, &self.names) else {
            flat(object, out);
            return;
        };
        let brace = object.iter().position(|byte| *byte == b'{').unwrap_or(0);
        out.push(b'{');
        for (place, member) in self.members.iter().enumerate().filter(|(place, _)| !present.has(*place)) {
            match place {
                TIME => {
                    out.extend_from_slice(b"\"@timestamp\":\"");
                    out.extend_from_slice(time.as_bytes());
                    out.extend_from_slice(b"\",");
                }
                OFFSET => {
                    out.extend_from_slice(b"\"log.offset\":");
                    out.extend_from_slice(itoa::Buffer::new().format(offset).as_bytes());
                    out.push(b',');
                }
                _ => out.extend_from_slice(member),
            }
        }
        if is_empty(&object[brace + 1..]) && out.ends_with(b",") {
            out.pop();
        }
        flat(&object[brace + 1..], out);
    }
}

/// From `00` to `99`.
static PAIRS: [[u8; 2]; 100] = {
    let mut all = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        all[number] = [b'0' + number as u8 / 10, b'0' + number as u8 % 10];
        number += 1;
    }
    all
};

fn part(line: &Line<'_>, out: &mut Vec<u8>) {
    if let Piece::Part { number, .. } | Piece::Unterminated { number } = line.piece {
        out.extend_from_slice(b",\"log.part\":");
        out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }
    if let Piece::Part { last, .. } = line.piece {
        out.extend_from_slice(if last { b",\"log.last_part\":true" } else { b",\"log.last_part\":false" });
    }
}

/// The text escaped; where it is not UTF-8, behind `between` in base64.
fn message(line: &Line<'_>, is_utf8: bool, between: &[u8], out: &mut Vec<u8>, end: &[u8]) -> Wrapped {
    let text = text(line);
    let valid = is_utf8 || simdutf8::basic::from_utf8(text).is_ok();
    if valid {
        escape(text, out);
    } else {
        escape(String::from_utf8_lossy(text).as_bytes(), out);
        out.extend_from_slice(between);
        out.extend_from_slice(STANDARD.encode(text).as_bytes());
    }
    out.extend_from_slice(end);
    if valid { Wrapped::Whole } else { Wrapped::NotUtf8 }
}

/// Appends JSON on one line. A joined event may be printed over several; in JSON, a raw newline is a blank (RFC 8259, 2).
pub fn flat(json: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(json);
    if memchr::memchr2(b'\n', b'\r', json).is_some() {
        out[start..].iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    }
}

fn is_empty(inside: &[u8]) -> bool {
    inside.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'}')
}

/// A line without the carriage return of a Windows line end.
pub fn text<'a>(line: &Line<'a>) -> &'a [u8] {
    line.bytes.strip_suffix(b"\r").unwrap_or(line.bytes)
}

/// The line as it is, when it is a JSON object (RFC 8259) that may pass byte for byte.
pub fn json_object<'a>(line: &Line<'a>) -> Option<&'a [u8]> {
    let text = text(line);
    if line.piece != Piece::Lines && !matches!(line.piece, Piece::Unterminated { number: 1 }) {
        return None;
    }
    let first = text.iter().position(|byte| !byte.is_ascii_whitespace())?;
    if text[first] != b'{' {
        return None;
    }
    serde_json::from_slice::<&serde_json::value::RawValue>(text).is_ok().then_some(text)
}

/// Appends a JSON object with `@timestamp`, which a data stream asks for: byte for byte when it has one.
pub fn with_time(object: &[u8], time: &str, out: &mut Vec<u8>) {
    let brace = object.iter().position(|byte| *byte == b'{').unwrap_or(0);
    let inside = &object[brace + 1..];
    // Most who write it write it first; and only where the text occurs at all it can be a member.
    if inside.trim_ascii_start().starts_with(b"\"@timestamp\"")
        || memchr::memmem::find(inside, b"@time").is_some()
            && present(object, &["@timestamp"]).is_some_and(|present| present.has(0))
    {
        flat(object, out);
        return;
    }
    out.extend_from_slice(b"{\"@timestamp\":\"");
    out.extend_from_slice(time.as_bytes());
    out.push(b'"');
    if !is_empty(inside) {
        out.push(b',');
    }
    flat(inside, out);
}

/// The time of reading, rendered once per millisecond.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    nanos: u64,
    millis: u64,
    text: String,
    is_utf8: bool,
}

/// One moment of a [`Clock`].
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// RFC 3339 with milliseconds, UTC.
    pub text: &'a str,
    /// The same in milliseconds since 1970.
    pub millis: u64,
    /// Nanoseconds since 1970; grows from line to line.
    pub nanos: u64,
    /// The line was read among others that are UTF-8, all of them.
    pub is_utf8: bool,
}

impl Clock {
    /// The same moment a nanosecond later: for the next line of a block, without asking the kernel.
    pub fn tick(&mut self) -> Moment<'_> {
        self.nanos += 1;
        Moment { text: &self.text, millis: self.millis, nanos: self.nanos, is_utf8: self.is_utf8 }
    }

    /// Whether the lines that come next are known to be UTF-8: a block is looked at as a whole faster than line by line.
    pub fn are_utf8(&mut self, known: bool) {
        self.is_utf8 = known;
    }

    /// Now, and never twice the same.
    pub fn now(&mut self) -> Moment<'_> {
        let now = jiff::Timestamp::now();
        self.nanos = u64::try_from(now.as_nanosecond()).unwrap_or(0).max(self.nanos + 1);
        if self.nanos / 1_000_000 != self.millis {
            self.millis = self.nanos / 1_000_000;
            self.text = format!("{now:.3}");
        }
        Moment { text: &self.text, millis: self.millis, nanos: self.nanos, is_utf8: self.is_utf8 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn line(bytes: &[u8], piece: Piece) -> Line<'_> {
        Line { bytes, offset: 7, end: 7 + bytes.len() as u64, piece }
    }

    fn wrapping() -> Wrapping {
        let fields = [("x".to_owned(), "y".to_owned())].into();
        Wrapping::new(Path::new("/var/log/a \"b\".log"), &Origin::new(|_| None, "node", &fields))
    }

    fn wrap(bytes: &[u8], piece: Piece) -> (serde_json::Value, Wrapped) {
        let mut out = Vec::new();
        let wrapping = wrapping();
        let moment = Moment { text: "2026-01-01T00:00:00.000Z", millis: 1, nanos: 1, is_utf8: false };
        let wrapped = wrapping.wrap(&line(bytes, piece), &moment, &mut out);
        (serde_json::from_slice(&out).expect("valid JSON"), wrapped)
    }

    #[test]
    fn a_line_is_wrapped_with_its_origin() {
        let (value, wrapped) = wrap(b"say \"hi\"\r", Piece::Lines);
        assert_eq!(wrapped, Wrapped::Whole);
        let expected = serde_json::json!({
            "log.file.path": "/var/log/a \"b\".log", "host.name": "node", "x": "y", "log.offset": 7,
            "@timestamp": "2026-01-01T00:00:00.000Z", "message": "say \"hi\"",
        });
        assert_eq!(value, expected);
        let (value, _) = wrap(b"x", Piece::Part { number: 2, last: true });
        assert_eq!((&value["log.part"], &value["log.last_part"]), (&2.into(), &true.into()));
    }

    #[test]
    fn bytes_that_are_no_text_are_kept() {
        let (value, wrapped) = wrap(b"a\xff\xfeb", Piece::Lines);
        assert_eq!(wrapped, Wrapped::NotUtf8);
        assert_eq!(value["message"], "a\u{fffd}\u{fffd}b");
        assert_eq!(
            STANDARD.decode(value["message_base64"].as_str().expect("text")).expect("base64"),
            b"a\xff\xfeb"
        );
    }

    #[test]
    fn only_whole_json_objects_pass() {
        let passes = |bytes: &[u8]| json_object(&line(bytes, Piece::Lines)).is_some();
        assert!(passes(br#"{"a":1}"#) && passes(br#"  {"a":{"b":[]}} "#) && passes(b"{\"a\":1}\r"));
        for other in [&b"{"[..], b"", b"[1]", b"text", b"{\"a\":1} x", b"{\"a\":\"\xff\"}", b"{a:1}"] {
            assert!(!passes(other), "{other:?}");
        }
        assert!(json_object(&line(b"{}", Piece::Part { number: 1, last: false })).is_none());
    }

    #[test]
    fn a_time_is_added_only_where_none_is() {
        let timed = |object: &[u8]| {
            let mut out = Vec::new();
            with_time(object, "T", &mut out);
            String::from_utf8(out).expect("text")
        };
        assert_eq!(timed(br#"{"@timestamp":"x","a":1}"#), r#"{"@timestamp":"x","a":1}"#);
        assert_eq!(timed(br#"{"a":1}"#), r#"{"@timestamp":"T","a":1}"#);
        let nested = r#""a":{"@timestamp":"x"}}"#;
        assert_eq!(timed(format!("{{{nested}").as_bytes()), format!("{{\"@timestamp\":\"T\",{nested}"));
        assert_eq!(timed(br#"{"a":1,"@timestamp":"x"}"#), r#"{"a":1,"@timestamp":"x"}"#);
        assert_eq!(timed(br"{ }"), r#"{"@timestamp":"T" }"#);
    }

    #[test]
    fn a_line_takes_the_shape_of_opentelemetry() {
        let mut out = Vec::new();
        let moment = Moment { text: "T", millis: 1, nanos: 5, is_utf8: false };
        let wrapped = wrapping().wrap_otel(false, &line(b"a\xff", Piece::Lines), &moment, &mut out);
        assert_eq!(wrapped, Wrapped::NotUtf8);
        let expected = serde_json::json!({
            "Resource": {"host.name": "node", "x": "y"},
            "Attributes": {"log.file.path": "/var/log/a \"b\".log", "log.file.position": 7},
            "ObservedTimestamp": "5", "Body": "a\u{fffd}", "BodyBase64": "Yf8=",
        });
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&out).expect("JSON"), expected);
    }

    #[test]
    fn what_an_object_does_not_say_is_merged_into_it() {
        let merged = |object: &str| {
            let mut out = Vec::new();
            wrapping().merge(object.as_bytes(), 7, "T", &mut out);
            String::from_utf8(out).expect("text")
        };
        let path = r#""log.file.path":"/var/log/a \"b\".log""#;
        assert_eq!(
            merged(r#"{"b": 1.50}"#),
            format!(r#"{{"@timestamp":"T","log.offset":7,"host.name":"node","x":"y",{path},"b": 1.50}}"#)
        );
        assert_eq!(
            merged(" {\n}"),
            format!(r#"{{"@timestamp":"T","log.offset":7,"host.name":"node","x":"y",{path} }}"#)
        );
        assert_eq!(
            merged(r#"{"@timestamp":"own","log":{"offset":1},"host":"h","x":0}"#),
            format!(r#"{{{path},"@timestamp":"own","log":{{"offset":1}},"host":"h","x":0}}"#)
        );
    }

    #[test]
    fn json_over_several_lines_becomes_one() {
        let mut out = Vec::new();
        with_time(b"{\n  \"@timestamp\": \"x\",\r\n  \"a\": 1\n}", "T", &mut out);
        assert_eq!(out, b"{   \"@timestamp\": \"x\",    \"a\": 1 }");
    }

    #[test]
    fn the_clock_has_milliseconds() {
        let mut clock = Clock::default();
        let now = clock.now().text.to_owned();
        assert_eq!((now.len(), now.ends_with('Z')), (24, true), "{now}");
    }
}
