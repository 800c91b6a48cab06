//! Records of the log data model → OTLP/JSON export requests (`ExportLogsServiceRequest`), many records to a line.
//!
//! A line is open as long as the records of one run come behind one another: the next one is put in front of its end. Lines have at most 512
//! records and about 1 MiB.

use super::value::nanos;
use crate::{
    json::{self, Token},
    text::{Str, escape_any},
    time::Time,
};

const FOOTER: &[u8] = b"]}]}]}\n";
const MOST: u32 = 512;
const BYTES: usize = 1 << 20;

/// The line that the next record may go into.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Open {
    start: usize,
    end: usize,
    records: u32,
}

impl Open {
    /// `record` is one that the encoder wrote in the log data model; `observed`: when it was read, where that is not in it.
    pub(super) fn write(&mut self, record: &[u8], observed: Option<Time>, out: &mut Vec<u8>) {
        let open = self.records > 0
            && self.end == out.len()
            && self.records < MOST
            && self.end - self.start + record.len() < BYTES;
        if open {
            out.truncate(self.end - FOOTER.len());
            out.push(b',');
        } else {
            *self = Self { start: out.len(), end: 0, records: 0 };
            out.extend_from_slice(b"{\"resourceLogs\":[{\"resource\":{\"attributes\":[");
            json::written(record, |member| {
                if let (b"Resource", Token::Object { raw, .. }) = (member.key.bytes(), member.value) {
                    attributes(raw, out);
                }
            });
            out.extend_from_slice(
                b"]},\"scopeLogs\":[{\"scope\":{\"name\":\"adapter-logformat\"},\"logRecords\":[",
            );
        }
        log_record(record, observed, out);
        out.extend_from_slice(FOOTER);
        self.end = out.len();
        self.records += 1;
    }
}

fn log_record(record: &[u8], observed: Option<Time>, out: &mut Vec<u8>) {
    out.push(b'{');
    let mut ids: [Option<Token<'_>>; 2] = [None, None];
    json::written(record, |member| match (member.key.bytes(), &member.value) {
        (b"Timestamp", value) => named(b"timeUnixNano", value, out),
        (b"ObservedTimestamp", value) => named(b"observedTimeUnixNano", value, out),
        (b"SeverityNumber", value) => named(b"severityNumber", value, out),
        (b"SeverityText", value) => named(b"severityText", value, out),
        (b"TraceId", value) if hex(value, 32) => named(b"traceId", value, out),
        (b"SpanId", value) if hex(value, 16) => named(b"spanId", value, out),
        (b"TraceId", value) => ids[0] = Some(*value),
        (b"SpanId", value) => ids[1] = Some(*value),
        (b"Body", value) => {
            out.extend_from_slice(b",\"body\":");
            any(value, out);
        }
        (b"Attributes", Token::Object { raw, .. }) => {
            out.extend_from_slice(b",\"attributes\":[");
            let start = out.len();
            // What calls itself an id and is none that OTLP takes.
            for (name, id) in ["trace.id", "span.id"].iter().zip(ids) {
                if let Some(id) = id {
                    attribute(&Str::Raw(name.as_bytes()), &id, out.len() > start, out);
                }
            }
            let first = out.len() == start;
            if !first && raw.len() > 2 {
                out.push(b',');
            }
            attributes(raw, out);
            out.push(b']');
        }
        _ => {}
    });
    if let Some(observed) = observed {
        out.extend_from_slice(b",\"observedTimeUnixNano\":\"");
        nanos(observed, out);
        out.push(b'"');
    }
    out.push(b'}');
}

/// The time comes first, so every other member has a comma in front.
fn named(name: &[u8], value: &Token<'_>, out: &mut Vec<u8>) {
    if !out.ends_with(b"{") {
        out.push(b',');
    }
    out.push(b'"');
    out.extend_from_slice(name);
    out.extend_from_slice(b"\":");
    match value {
        Token::Text(text) => quoted(text, out),
        Token::Number(raw) | Token::Word(raw) => out.extend_from_slice(raw),
        Token::Odd(raw) | Token::Array { raw, .. } | Token::Object { raw, .. } => quoted(&Str::Raw(raw), out),
    }
}

fn attributes(object: &[u8], out: &mut Vec<u8>) {
    let mut comma = false;
    json::written(object, |member| {
        attribute(&member.key, &member.value, std::mem::replace(&mut comma, true), out);
    });
}

fn attribute(key: &Str<'_>, value: &Token<'_>, comma: bool, out: &mut Vec<u8>) {
    if comma {
        out.push(b',');
    }
    out.extend_from_slice(b"{\"key\":");
    quoted(key, out);
    out.extend_from_slice(b",\"value\":");
    any(value, out);
    out.push(b'}');
}

/// `AnyValue` in the JSON mapping of protobuf: 64-bit integers are texts, what no double holds is text.
fn any(value: &Token<'_>, out: &mut Vec<u8>) {
    match value {
        Token::Text(text) => {
            out.extend_from_slice(b"{\"stringValue\":");
            quoted(text, out);
        }
        Token::Word(b"null") => out.push(b'{'),
        Token::Word(word) => {
            out.extend_from_slice(b"{\"boolValue\":");
            out.extend_from_slice(word);
        }
        Token::Number(raw) => number(raw, out),
        Token::Odd(raw) => {
            out.extend_from_slice(b"{\"stringValue\":");
            quoted(&Str::Raw(raw), out);
        }
        Token::Array { raw, .. } => {
            out.extend_from_slice(b"{\"arrayValue\":{\"values\":[");
            let mut comma = false;
            let _ = json::array(raw, |item| {
                if std::mem::replace(&mut comma, true) {
                    out.push(b',');
                }
                any(&item, out);
            });
            out.extend_from_slice(b"]}");
        }
        Token::Object { raw, .. } => {
            out.extend_from_slice(b"{\"kvlistValue\":{\"values\":[");
            attributes(raw, out);
            out.extend_from_slice(b"]}");
        }
    }
    out.push(b'}');
}

fn number(raw: &[u8], out: &mut Vec<u8>) {
    let text = std::str::from_utf8(raw).unwrap_or_default();
    let whole = raw.iter().all(|b| b.is_ascii_digit() || *b == b'-');
    if whole && text.parse::<i64>().is_ok() {
        out.extend_from_slice(b"{\"intValue\":");
        quoted(&Str::Raw(raw), out);
    } else if !whole && raw.len() <= 17 {
        out.extend_from_slice(b"{\"doubleValue\":");
        out.extend_from_slice(raw);
    } else {
        // More digits than a double keeps.
        out.extend_from_slice(b"{\"stringValue\":");
        quoted(&Str::Raw(raw), out);
    }
}

fn quoted(text: &Str<'_>, out: &mut Vec<u8>) {
    out.push(b'"');
    match text {
        Str::Raw(bytes) => escape_any(out, bytes),
        text => text.write(out, true, &mut Vec::new()),
    }
    out.push(b'"');
}

fn hex(value: &Token<'_>, length: usize) -> bool {
    matches!(value, Token::Text(text) if text.bytes().len() == length
        && text.bytes().iter().all(u8::is_ascii_hexdigit)
        && text.bytes().iter().any(|b| *b != b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_share_a_line_and_values_keep_their_kind() {
        let mut out = Vec::new();
        let mut open = Open::default();
        let record = br#"{"Timestamp":"17","SeverityText":"info","SeverityNumber":9,"TraceId":"x","Body":"b","Resource":{"service.name":"shop"},"Attributes":{"i":7,"d":1.5,"t":true,"n":null,"l":[1,"x"],"o":{"k":1},"big":12345678901234567890}}"#;
        open.write(record, None, &mut out);
        open.write(record, None, &mut out);
        let text = String::from_utf8(out).expect("text");
        assert_eq!(text.lines().count(), 1);
        let line: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let resource = &line["resourceLogs"][0];
        assert_eq!(resource["resource"]["attributes"][0]["value"]["stringValue"], "shop");
        let records = resource["scopeLogs"][0]["logRecords"].as_array().expect("records");
        assert_eq!(records.len(), 2);
        assert_eq!(records[0]["timeUnixNano"], "17");
        assert_eq!(records[0]["body"]["stringValue"], "b");
        let value = |key: &str| {
            let list = records[0]["attributes"].as_array().expect("attributes");
            list.iter().find(|a| a["key"] == key).map(|a| a["value"].clone()).expect(key)
        };
        assert_eq!(value("trace.id"), serde_json::json!({"stringValue": "x"}));
        assert_eq!(value("i"), serde_json::json!({"intValue": "7"}));
        assert_eq!(value("d"), serde_json::json!({"doubleValue": 1.5}));
        assert_eq!(value("t"), serde_json::json!({"boolValue": true}));
        assert_eq!(value("n"), serde_json::json!({}));
        assert_eq!(value("big"), serde_json::json!({"stringValue": "12345678901234567890"}));
        assert_eq!(value("l")["arrayValue"]["values"][1], serde_json::json!({"stringValue": "x"}));
        assert_eq!(value("o")["kvlistValue"]["values"][0]["key"], "k");
    }
}
