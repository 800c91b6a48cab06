//! One line as one item of a sink's body. What stands around the items is the sink's.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsontext::{escape, escape_line};
use logtail::{FileId, Line};

use crate::config::{Body, Format, SinkPlan, Target};
use crate::content::{Content, own_time};
use crate::encode::{Moment, Wrapped, Wrapping, flat, json_object, text, with_time};
use crate::enrich::Origin;
use crate::id;
use crate::index::IndexPattern;
use crate::stencil::{Stencil, append};
use crate::wire::protobuf::key_value;
use crate::wire::{msgpack, protobuf};

/// How a sink takes lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// The bytes, without items: nothing has to be told apart again.
    Stream,
    /// One line each.
    Lines,
    /// An action line before each document.
    Bulk,
    /// `LogRecord` as field 2 of `ScopeLogs` (opentelemetry-proto, logs/v1/logs.proto).
    Otlp,
    /// The same message in protobuf's JSON mapping.
    OtlpJson,
    /// `EntryAdapter` as field 2 of `StreamAdapter` (Loki, pkg/push/push.proto).
    Loki,
    /// An event of Splunk's HTTP Event Collector.
    Hec,
    /// RFC 5424, with octet counting (RFC 6587, 3.4.1) before each message.
    Syslog,
    /// An entry of fluentd's Forward mode: time and record.
    Fluent,
}

/// What is the same for all lines of a file.
#[derive(Debug)]
pub struct Source {
    pub path: Arc<Path>,
    wrapping: Wrapping,
    /// `{"create":{"_id":"…`: the beginning of its documents' actions.
    action: Stencil,
    /// The beginning of their ids.
    file: [u8; 12],
    /// `"attributes":[{"key":"log.file.path",…},{"key":"log.file.position","value":{"intValue":"`
    otlp_json: Vec<u8>,
    /// `{"host":…,"source":…,"fields":{…,"log.offset":"`
    hec: Vec<u8>,
    /// `host app - - - ` as in a syslog message.
    syslog: String,
    /// Structured metadata of a Loki entry that is the same for all: what is no label.
    loki: Vec<u8>,
    /// The members of a fluent record, without their number.
    members: Vec<u8>,
    member_count: usize,
}

impl Style {
    pub fn of(plan: &SinkPlan) -> Self {
        match (&plan.target, plan.format) {
            (Target::Stdout | Target::File(_), Format::Raw) => Self::Stream,
            (Target::Stdout | Target::File(_) | Target::Http(_), _)
            | (Target::S3(_) | Target::Kafka(_), _) => Self::Lines,
            (Target::Elasticsearch { .. }, _) => Self::Bulk,
            (Target::Otlp(_), _) if plan.body == Body::Json => Self::OtlpJson,
            (Target::Otlp(_), _) => Self::Otlp,
            (Target::Loki(_), _) => Self::Loki,
            (Target::Splunk(_), _) => Self::Hec,
            (Target::Syslog { .. }, _) => Self::Syslog,
            (Target::Fluent { .. }, _) => Self::Fluent,
        }
    }

    /// Appends one item. Says where the line itself, or what it became, lies in `out`.
    pub fn render(
        self,
        format: Format,
        line: &Line<'_>,
        source: &Source,
        moment: &Moment<'_>,
        index: Option<&mut IndexPattern>,
        out: &mut Vec<u8>,
    ) -> (Range<usize>, Wrapped) {
        match self {
            Self::Stream | Self::Lines => {
                let start = out.len();
                let wrapped = document(format, false, line, source, moment, out);
                out.push(b'\n');
                (start..out.len() - 1, wrapped)
            }
            Self::Bulk => {
                let index = index.map(|pattern| pattern.name(own_time(line).unwrap_or(moment.nanos)));
                action(index, source, line, out);
                let start = out.len();
                let wrapped = document(format, true, line, source, moment, out);
                out.push(b'\n');
                (start..out.len() - 1, wrapped)
            }
            _ => {
                let content = Content::new(format, line, &source.wrapping, moment);
                let document = match self {
                    Self::Otlp => otlp(&content, line, source, moment, out),
                    Self::OtlpJson => otlp_json(&content, line, source, moment, out),
                    Self::Loki => loki(&content, line, source, out),
                    Self::Hec => hec(&content, line, source, out),
                    Self::Syslog => syslog(&content, source, out),
                    _ => fluent(&content, line, source, out),
                };
                (document, content.wrapped())
            }
        }
    }
}

impl Source {
    /// For the lines of the file `id`, which is at `at`.
    pub fn new(at: &Path, id: FileId, origin: &Origin) -> Self {
        let path = at.to_string_lossy();
        let member = |name: &str| origin.pairs.get(name).map(String::as_str);
        let host = member("host.name").unwrap_or("-");
        let mut hec = b"{\"host\":\"".to_vec();
        escape(host.as_bytes(), &mut hec);
        hec.extend_from_slice(b"\",\"source\":\"");
        escape(path.as_bytes(), &mut hec);
        hec.extend_from_slice(b"\",\"fields\":{");
        hec.extend_from_slice(origin.members.strip_prefix(',').unwrap_or(&origin.members).as_bytes());
        hec.extend_from_slice(b",\"log.offset\":");
        let mut members = Vec::new();
        for (name, value) in
            origin.pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).chain([("log.file.path", &*path)])
        {
            msgpack::str(name.as_bytes(), &mut members);
            msgpack::str(value.as_bytes(), &mut members);
        }
        let mut loki = Vec::new();
        for (name, value) in &origin.pairs {
            if !crate::sink::is_loki_label(name) {
                metadata(&name.replace(|c: char| !c.is_ascii_alphanumeric(), "_"), value, &mut loki);
            }
        }
        let mut otlp_json =
            b"\"attributes\":[{\"key\":\"log.file.path\",\"value\":{\"stringValue\":\"".to_vec();
        escape(path.as_bytes(), &mut otlp_json);
        otlp_json.extend_from_slice(b"\"}},{\"key\":\"log.file.position\",\"value\":{\"stringValue\":\"");
        let file = id::of_file(origin.seed, id);
        let app = member("kubernetes.container.name").or(member("kubernetes.pod.name")).unwrap_or("-");
        Self {
            path: at.into(),
            wrapping: Wrapping::new(at, origin),
            action: Stencil::new(&[b"{\"create\":{\"_id\":\"", &file[..]].concat()),
            file,
            otlp_json,
            hec,
            syslog: format!(" {} {} - - - ", printable(host, 255), printable(app, 48)),
            loki,
            members,
            member_count: origin.pairs.len() + 1,
        }
    }
}

impl Source {
    /// Appends the first line of `lines`, which is UTF-8 and no JSON object, and before it the action of a bulk request. Says where its document
    /// lies, and how many bytes the line has with its newline.
    #[inline]
    pub fn render_text(
        &self,
        bulk: bool,
        lines: &[u8],
        offset: u64,
        moment: &Moment<'_>,
        out: &mut Vec<u8>,
    ) -> (Range<usize>, usize) {
        let mut digest = 0;
        if bulk {
            self.action.append(out);
            digest = id::end(offset, out);
        }
        let start = out.len();
        self.wrapping.begin(offset, moment, out);
        append([b",\"message\":\"\0\0\0\0"], 12, out);
        let read = escape_line(lines, out);
        let line = &lines[..read];
        if line.ends_with(b"\r") {
            // It was escaped already, into two bytes.
            out.truncate(out.len() - 2);
        }
        out.extend_from_slice(b"\"}\n");
        if bulk {
            id::say(line, &mut out[digest..]);
        }
        (start..out.len() - 1, (read + 1).min(lines.len()))
    }
}

/// PRINTUSASCII of RFC 5424, 6: no blanks, bounded, never empty.
fn printable(text: &str, limit: usize) -> String {
    let text: String = text.chars().filter(char::is_ascii_graphic).take(limit).collect();
    if text.is_empty() { "-".into() } else { text }
}

fn document(
    format: Format,
    timed: bool,
    line: &Line<'_>,
    source: &Source,
    moment: &Moment<'_>,
    out: &mut Vec<u8>,
) -> Wrapped {
    let passes = matches!(format, Format::Auto | Format::Merge);
    match (format, if passes { json_object(line) } else { None }) {
        (Format::Raw, _) => out.extend_from_slice(text(line)),
        (Format::Otel, _) => return source.wrapping.wrap_otel(timed, line, moment, out),
        (Format::Merge, Some(object)) => source.wrapping.merge(object, line.offset, moment.text, out),
        (_, Some(object)) if timed => with_time(object, moment.text, out),
        (_, Some(object)) => flat(object, out),
        (_, None) => return source.wrapping.wrap(line, moment, out),
    }
    Wrapped::Whole
}

/// `create` with an id made of where the line is and what it says.
fn action(index: Option<&str>, source: &Source, line: &Line<'_>, out: &mut Vec<u8>) {
    match index {
        None => source.action.append(out),
        Some(index) => {
            out.extend_from_slice(b"{\"create\":{\"_index\":\"");
            escape(index.as_bytes(), out);
            out.extend_from_slice(b"\",\"_id\":\"");
            out.extend_from_slice(&source.file);
        }
    }
    let digest = id::end(line.offset, out);
    id::say(line.bytes, &mut out[digest..]);
}

fn otlp(
    content: &Content<'_>,
    line: &Line<'_>,
    source: &Source,
    moment: &Moment<'_>,
    out: &mut Vec<u8>,
) -> Range<usize> {
    let mut record = Vec::with_capacity(content.bytes.len() + 160);
    protobuf::fixed64(1, content.nanos, &mut record);
    if let Some(level) = content.level {
        protobuf::number(2, level.otel(), &mut record);
        protobuf::bytes(3, level.name().as_bytes(), &mut record);
    }
    // AnyValue: a string, or bytes where it is none.
    let kind = if content.is_utf8 || content.is_object { 1 } else { 7 };
    protobuf::head(5, protobuf::size(kind, content.bytes.len()), &mut record);
    protobuf::head(kind, content.bytes.len(), &mut record);
    let start = record.len();
    record.extend_from_slice(&content.bytes);
    let end = record.len();
    key_value(6, "log.file.path", &source.path.to_string_lossy(), &mut record);
    key_value(6, "log.file.position", itoa::Buffer::new().format(line.offset), &mut record);
    protobuf::fixed64(11, moment.nanos, &mut record);
    protobuf::head(2, record.len(), out);
    let at = out.len();
    out.extend_from_slice(&record);
    at + start..at + end
}

/// `LabelPairAdapter` as field 3 of `EntryAdapter`: structured metadata.
fn metadata(name: &str, value: &str, entry: &mut Vec<u8>) {
    protobuf::head(3, protobuf::size(1, name.len()) + protobuf::size(2, value.len()), entry);
    protobuf::bytes(1, name.as_bytes(), entry);
    protobuf::bytes(2, value.as_bytes(), entry);
}

/// One `LogRecord` (OTLP specification, "JSON Protobuf Encoding": 64-bit numbers as texts, bytes in base64).
fn otlp_json(
    content: &Content<'_>,
    line: &Line<'_>,
    source: &Source,
    moment: &Moment<'_>,
    out: &mut Vec<u8>,
) -> Range<usize> {
    let start = out.len();
    out.extend_from_slice(b"{\"timeUnixNano\":\"");
    out.extend_from_slice(itoa::Buffer::new().format(content.nanos).as_bytes());
    out.extend_from_slice(b"\",\"observedTimeUnixNano\":\"");
    out.extend_from_slice(itoa::Buffer::new().format(moment.nanos).as_bytes());
    if let Some(level) = content.level {
        out.extend_from_slice(b"\",\"severityNumber\":");
        out.extend_from_slice(itoa::Buffer::new().format(level.otel()).as_bytes());
        out.extend_from_slice(b",\"severityText\":\"");
        out.extend_from_slice(level.name().as_bytes());
    }
    if content.is_utf8 || content.is_object {
        out.extend_from_slice(b"\",\"body\":{\"stringValue\":\"");
        escape(&content.bytes, out);
    } else {
        out.extend_from_slice(b"\",\"body\":{\"bytesValue\":\"");
        out.extend_from_slice(STANDARD.encode(&content.bytes).as_bytes());
    }
    out.extend_from_slice(b"\"},");
    out.extend_from_slice(&source.otlp_json);
    out.extend_from_slice(itoa::Buffer::new().format(line.offset).as_bytes());
    out.extend_from_slice(b"\"}}]}\n");
    start..out.len() - 1
}

fn loki(content: &Content<'_>, line: &Line<'_>, source: &Source, out: &mut Vec<u8>) -> Range<usize> {
    let text = content.text();
    // Loki takes two entries with the same time and text for one; lines at different places differ by nanoseconds.
    let nanos = content.nanos + line.offset % 1_000_000;
    let mut entry = Vec::with_capacity(text.len() + 64);
    let mut time = Vec::with_capacity(16);
    protobuf::number(1, nanos / 1_000_000_000, &mut time);
    protobuf::number(2, nanos % 1_000_000_000, &mut time);
    protobuf::bytes(1, &time, &mut entry);
    protobuf::head(2, text.len(), &mut entry);
    let start = entry.len();
    entry.extend_from_slice(text.as_bytes());
    let end = entry.len();
    entry.extend_from_slice(&source.loki);
    metadata("log_offset", itoa::Buffer::new().format(line.offset), &mut entry);
    if let Some(level) = content.level {
        metadata("detected_level", &level.name().to_ascii_lowercase(), &mut entry);
    }
    if !content.is_utf8 && !content.is_object {
        metadata("message_base64", &STANDARD.encode(&content.bytes), &mut entry);
    }
    protobuf::head(2, entry.len(), out);
    let at = out.len();
    out.extend_from_slice(&entry);
    at + start..at + end
}

fn hec(content: &Content<'_>, line: &Line<'_>, source: &Source, out: &mut Vec<u8>) -> Range<usize> {
    let start = out.len();
    out.extend_from_slice(&source.hec);
    out.extend_from_slice(itoa::Buffer::new().format(line.offset).as_bytes());
    if !content.is_utf8 && !content.is_object {
        out.extend_from_slice(b",\"message_base64\":\"");
        out.extend_from_slice(STANDARD.encode(&content.bytes).as_bytes());
        out.push(b'"');
    }
    let (seconds, millis) = (content.nanos / 1_000_000_000, content.nanos / 1_000_000 % 1000);
    out.extend_from_slice(format!("}},\"time\":{seconds}.{millis:03},\"event\":").as_bytes());
    if content.is_object {
        out.extend_from_slice(&content.bytes);
    } else {
        // An empty event is refused (code 12): a blank stands for it.
        let text = content.text();
        out.push(b'"');
        escape(if text.is_empty() { b" " } else { text.as_bytes() }, out);
        out.push(b'"');
    }
    out.extend_from_slice(b"}\n");
    start..out.len() - 1
}

fn syslog(content: &Content<'_>, source: &Source, out: &mut Vec<u8>) -> Range<usize> {
    // Facility 1: user-level messages.
    let priority = 8 + content.level.map_or(6, crate::content::Level::syslog);
    let time = jiff::Timestamp::from_nanosecond(i128::from(content.nanos)).unwrap_or_default();
    let head = format!("<{priority}>1 {time:.3}{}", source.syslog);
    let len = head.len() + content.bytes.len();
    out.extend_from_slice(format!("{len} ").as_bytes());
    let start = out.len();
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(&content.bytes);
    start..out.len()
}

fn fluent(content: &Content<'_>, line: &Line<'_>, source: &Source, out: &mut Vec<u8>) -> Range<usize> {
    let start = out.len();
    msgpack::array(2, out);
    msgpack::event_time(content.nanos, out);
    let object = if content.is_object {
        serde_json::from_slice::<serde_json::Value>(&content.bytes).ok()
    } else {
        None
    };
    if let Some(serde_json::Value::Object(members)) = object {
        // The line's own members win: they come last, and a map has each name once.
        msgpack::json(&serde_json::Value::Object(members), out);
        return start..out.len();
    }
    msgpack::map(source.member_count + 2, out);
    out.extend_from_slice(&source.members);
    msgpack::str(b"log.offset", out);
    msgpack::uint(line.offset, out);
    msgpack::str(b"message", out);
    if content.is_utf8 {
        msgpack::str(&content.bytes, out)
    } else {
        msgpack::bin(&content.bytes, out)
    }
    start..out.len()
}
