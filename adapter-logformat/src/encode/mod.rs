//! A record → one line in a schema: one object with dotted names, or an envelope that an intake asks for.
//!
//! Always valid UTF-8 JSON without repeated keys, whatever the line was, and the line can be had back from it: as
//! `event.original`, or as `message` where that is the whole line, or as base64 where it is not UTF-8.

mod gcp;
mod gelf;
mod key;
mod logfmt;
pub mod names;
mod object;
mod otlp;
mod raw;
mod value;

use std::collections::HashMap;

use crate::{
    record::{Field, Name, Record, Value},
    text::{Around, Pen, escape_any},
    time::{Stamp, Time},
};
use key::Key;
use names::{FIELDS, Layout};
use raw::Raw;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which schema the records have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Schema {
    /// Elastic Common Schema 9, dotted names.
    #[default]
    Ecs,
    /// Elastic Common Schema 8.
    Ecs8,
    /// OpenTelemetry log data model, one object per record.
    Otel,
    /// OTLP/JSON: export requests with up to 512 records each, one per line.
    Otlp,
    /// Short names, one level.
    Flat,
    /// The flat names as `key=value`.
    Logfmt,
    /// Graylog Extended Log Format 1.1.
    Gelf,
    /// Google Cloud's structured logging.
    Gcp,
    /// Datadog's standard attributes.
    Datadog,
    /// Events of Splunk's HTTP Event Collector.
    Splunk,
}

impl Schema {
    pub const ALL: [Self; 10] = [
        Schema::Ecs,
        Schema::Ecs8,
        Schema::Otel,
        Schema::Otlp,
        Schema::Flat,
        Schema::Logfmt,
        Schema::Gelf,
        Schema::Gcp,
        Schema::Datadog,
        Schema::Splunk,
    ];

    fn is_ecs(self) -> bool {
        matches!(self, Schema::Ecs | Schema::Ecs8)
    }

    fn is_otel(self) -> bool {
        matches!(self, Schema::Otel | Schema::Otlp)
    }

    /// Dots in names mean nesting to its readers, so `a` cannot stand beside `a.b`.
    fn nests(self) -> bool {
        self.is_ecs() || self == Schema::Datadog
    }

    /// Durations are nanoseconds, not seconds.
    fn in_nanos(self) -> bool {
        self.is_ecs() || self == Schema::Datadog
    }
}

/// When the raw line goes along with what was read from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Original {
    /// With every record that does not hold it already.
    #[default]
    Always,
    /// Only where something could not be read: the compact variant.
    Failed,
}

/// What a line was before decoding.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The line as read, without its line end.
    pub line: &'a [u8],
    /// The same without terminal colours: what the record borrows from.
    pub text: &'a [u8],
    /// Name of the format that read it.
    pub format: &'static str,
    /// When it was read.
    pub now: Time,
    /// What is shown instead of the line where a rule has hidden something in it.
    pub shown: Option<&'a [u8]>,
    /// Line and text are known to be UTF-8.
    pub valid: bool,
    /// What the line stands in.
    pub around: Around<'a>,
}

impl<'a> Source<'a> {
    /// The raw line as it may be shown.
    fn raw(&self) -> &'a [u8] {
        self.shown.unwrap_or(self.line)
    }
}

/// Writes records of one stream.
#[derive(Debug)]
pub struct Encoder {
    schema: Schema,
    original: Original,
    layout: &'static Layout,
    /// Durations are nanoseconds, not seconds.
    nanos: bool,
    /// The shared fields' keys as they are written.
    keys: [Key; Field::COUNT],
    level: Key,
    message: Key,
    original_text: Key,
    severity: Key,
    /// How a record begins, up to its time.
    head: Key,
    /// What stands behind the message in every record.
    version: Key,
    /// How the name of an application's field begins, in general and where a line has the schema's own names.
    app: Key,
    bare: Key,
    /// … and that of a parameter of structured data.
    structured: Key,
    path: Option<String>,
    /// A record in another shape, on its way into this one.
    inner: Vec<u8>,
    batch: otlp::Open,
    host: String,
    /// Rendered `"key":value` pairs that every record of the stream gets, each with a comma in front.
    fixed: Vec<u8>,
    /// Shared fields that `fixed` sets instead.
    fixed_known: u64,
    /// These, and those that the schema has no name for.
    absent: u64,
    /// `fixed` has names where the application's go.
    fixed_app: bool,
    reserved: HashMap<Vec<u8>, Option<Field>>,
    bloom: [u64; 4],
    scratch: Vec<u8>,
    names: Vec<u8>,
    stamp: Stamp,
}

impl Encoder {
    /// `fixed`: name and JSON text of what every record gets; `path`: the file the stream is read from.
    pub fn new(schema: Schema, original: Original, fixed: &[(String, String)], path: Option<&str>) -> Self {
        let layout = names::layout(schema);
        let labels = FIELDS.map(|(field, _)| names::label(schema, field));
        let mut encoder = Self {
            schema,
            original,
            layout,
            nanos: schema.in_nanos(),
            keys: labels.map(Key::new),
            level: Key::new(layout.level),
            message: Key::new(layout.message),
            original_text: Key::new(layout.original),
            severity: Key::new("event.severity"),
            head: Key::of(&["{\"", layout.time, "\":\""]),
            version: Key::of(&[match schema {
                Schema::Ecs => ",\"ecs.version\":\"9.0.0\"",
                Schema::Ecs8 => ",\"ecs.version\":\"8.17.0\"",
                _ => "",
            }]),
            app: Key::prefix(layout.app),
            bare: Key::prefix(""),
            structured: Key::prefix(layout.structured),
            path: path.map(str::to_owned),
            inner: Vec::new(),
            batch: otlp::Open::default(),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            fixed: Vec::new(),
            fixed_known: 0,
            absent: 0,
            fixed_app: fixed.iter().any(|(name, _)| name.starts_with(layout.app)),
            reserved: HashMap::new(),
            bloom: [0; 4],
            scratch: Vec::new(),
            names: Vec::new(),
            stamp: Stamp::default(),
        };
        for (field, name) in FIELDS.iter().map(|(field, _)| *field).zip(labels) {
            encoder.reserve(name, Some(field));
        }
        for name in reserved(schema) {
            encoder.reserve(name, None);
        }
        for (name, json) in fixed {
            encoder.fixed.extend_from_slice(b",\"");
            jsontext::escape(name.as_bytes(), &mut encoder.fixed);
            encoder.fixed.extend_from_slice(b"\":");
            encoder.fixed.extend_from_slice(json.as_bytes());
            if let Some(place) = labels.iter().position(|label| label == name) {
                encoder.fixed_known |= 1 << place as u64;
            }
            encoder.reserve(name, None);
        }
        let nameless = labels.iter().enumerate().filter(|(_, label)| label.is_empty());
        encoder.absent = nameless.fold(encoder.fixed_known, |mask, (place, _)| mask | 1 << place);
        // Tags stand with ours, the ids of a trace at the top of the log data model.
        encoder.absent |= 1 << Field::Tags as u64;
        if schema.is_otel() {
            encoder.absent |= 1 << Field::TraceId as u64 | 1 << Field::SpanId as u64;
        }
        if let Some(path) = path.filter(|_| !fixed.iter().any(|(n, _)| n == layout.path)) {
            encoder.fixed.extend_from_slice(b",\"");
            encoder.fixed.extend_from_slice(layout.path.as_bytes());
            encoder.fixed.extend_from_slice(b"\":\"");
            escape_any(&mut encoder.fixed, path.as_bytes());
            encoder.fixed.push(b'"');
            encoder.reserve(layout.path, None);
        }
        encoder
    }

    fn reserve(&mut self, name: &str, field: Option<Field>) {
        if !name.is_empty() {
            let bit = hash(name.as_bytes());
            self.bloom[usize::from(bit >> 6)] |= 1 << (bit & 63);
            self.reserved.insert(name.as_bytes().to_vec(), field);
        }
    }

    /// True when the encoder itself writes this key in this record.
    fn taken(&self, name: &[u8], record: &Record<'_>) -> bool {
        let bit = hash(name);
        if self.bloom[usize::from(bit >> 6)] & 1 << (bit & 63) == 0 {
            return false;
        }
        match self.reserved.get(name) {
            Some(Some(field)) => record.has(*field),
            Some(None) => true,
            None => false,
        }
    }

    /// What follows has nothing to do with what went before: a batch of records that was open is closed.
    pub fn begin(&mut self) {
        self.batch = otlp::Open::default();
    }

    /// Appends the record and a newline.
    pub fn encode(&mut self, source: &Source<'_>, record: &Record<'_>, out: &mut Vec<u8>) {
        match self.schema {
            Schema::Ecs | Schema::Ecs8 | Schema::Flat | Schema::Datadog => {
                self.object(source, record, out).dotted(source);
                Pen::new(out, Around(&[])).block(b"}\n", 2);
            }
            Schema::Gcp => {
                self.object(source, record, out).gcp(source);
                out.push(b'\n');
            }
            Schema::Otel => {
                self.object(source, record, out).otel(source);
                out.push(b'\n');
            }
            Schema::Splunk => {
                self.splunk(source, record, out);
                self.object(source, record, out).dotted(source);
                out.extend_from_slice(b"}}\n");
            }
            Schema::Logfmt | Schema::Gelf | Schema::Otlp => self.by_another(source, record, out),
        }
    }

    /// A record that is made from one of another schema.
    fn by_another(&mut self, source: &Source<'_>, record: &Record<'_>, out: &mut Vec<u8>) {
        let mut inner = std::mem::take(&mut self.inner);
        inner.clear();
        if self.schema == Schema::Otlp {
            self.object(source, record, &mut inner).otel(source);
            self.batch.write(&inner, record.time.is_some().then_some(source.now), out);
        } else {
            self.object(source, record, &mut inner).dotted(source);
            inner.push(b'}');
            if self.schema == Schema::Gelf {
                let time = record.time.unwrap_or(source.now);
                gelf::write(&inner, time, record.severity, &self.host, out);
            } else {
                logfmt::write(&inner, out);
            }
            out.push(b'\n');
        }
        inner.shrink_to(4 << 20);
        self.inner = inner;
    }

    #[inline(always)]
    fn object<'e, 'r, 'o>(
        &'e mut self,
        source: &Source<'_>,
        record: &'e Record<'r>,
        out: &'o mut Vec<u8>,
    ) -> object::Object<'e, 'r, 'o> {
        let valid = source.valid || simdutf8::basic::from_utf8(source.text).is_ok();
        object::Object { encoder: self, record, valid, out, moved: Vec::new() }
    }

    /// The envelope of Splunk's HTTP Event Collector up to its event.
    fn splunk(&mut self, source: &Source<'_>, record: &Record<'_>, out: &mut Vec<u8>) {
        let time = record.time.unwrap_or(source.now);
        out.extend_from_slice(b"{\"time\":");
        seconds(time, out);
        let host = record.fields().iter().find(|(name, _)| matches!(name, Name::Known(Field::Host)));
        if let Some((_, Value::Text(host))) = host {
            out.extend_from_slice(b",\"host\":\"");
            host.write(out, false, &mut self.scratch);
            out.push(b'"');
        }
        if let Some(path) = &self.path {
            out.extend_from_slice(b",\"source\":\"");
            escape_any(out, path.as_bytes());
            out.push(b'"');
        }
        out.extend_from_slice(b",\"sourcetype\":\"");
        escape_any(out, source.format.as_bytes());
        out.extend_from_slice(b"\",\"event\":");
    }
}

/// Seconds since 1970 with their fraction.
fn seconds(time: Time, out: &mut Vec<u8>) {
    let nanos = time.total_nanos();
    let (whole, fraction) = (nanos / 1_000_000_000, (nanos % 1_000_000_000).unsigned_abs());
    if nanos < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(itoa::Buffer::new().format(whole.unsigned_abs()).as_bytes());
    if fraction != 0 {
        out.extend_from_slice(format!(".{fraction:09}").trim_end_matches('0').as_bytes());
    }
}

/// Keys that a schema writes itself and that no configuration may set.
pub fn reserved(schema: Schema) -> &'static [&'static str] {
    match schema {
        Schema::Ecs | Schema::Ecs8 => &[
            "@timestamp",
            "log.level",
            "message",
            "ecs.version",
            "event.severity",
            "event.original",
            "event.original_base64",
            "error.message",
            "tags",
            "log.part.number",
            "log.part.last",
        ],
        Schema::Otel | Schema::Otlp => &[
            "error.message",
            "log.record.original",
            "log.record.original_base64",
            "tags",
            "log.part.number",
            "log.part.last",
        ],
        Schema::Flat | Schema::Logfmt | Schema::Gelf | Schema::Splunk => &[
            "time",
            "level",
            "message",
            "original",
            "original_base64",
            "parse_error",
            "tags",
            "part",
            "part_last",
        ],
        Schema::Datadog => &[
            "timestamp",
            "status",
            "message",
            "ddsource",
            "original",
            "original_base64",
            "parse_error",
            "tags",
            "part",
            "part_last",
        ],
        Schema::Gcp => &[
            "time",
            "severity",
            "message",
            "httpRequest",
            "logging.googleapis.com/sourceLocation",
            "original",
            "original_base64",
            "parse_error",
            "tags",
            "part",
            "part_last",
        ],
    }
}

fn hash(name: &[u8]) -> u8 {
    let edge = |b: Option<&u8>| *b.unwrap_or(&0);
    edge(name.first())
        .wrapping_mul(31)
        .wrapping_add(edge(name.last()).wrapping_mul(7))
        .wrapping_add(edge(name.get(name.len() / 2)).wrapping_mul(3))
        .wrapping_add((name.len() & 0xff) as u8)
}
