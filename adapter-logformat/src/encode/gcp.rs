//! Google Cloud's structured logging: the special fields that Cloud Logging moves to its own places, the rest is `jsonPayload`.
//!
//! Names: "Structured logging" and `LogEntry` / `HttpRequest` of the Cloud Logging API.

use super::{
    Source,
    object::Object,
    raw::{raw_needed, write_raw},
};
use crate::{
    record::{Field, Name, Value},
    severity::Severity,
};

const REQUEST: &[(Field, &str)] = &[
    (Field::Method, "requestMethod"),
    (Field::Url, "requestUrl"),
    (Field::Status, "status"),
    (Field::ResponseBytes, "responseSize"),
    (Field::RequestBytes, "requestSize"),
    (Field::UserAgent, "userAgent"),
    (Field::ClientAddress, "remoteIp"),
    (Field::Referrer, "referer"),
    (Field::Duration, "latency"),
    (Field::HttpVersion, "protocol"),
];
const LOCATION: &[(Field, &str)] =
    &[(Field::File, "file"), (Field::Line, "line"), (Field::Function, "function")];

impl Object<'_, '_, '_> {
    pub(super) fn gcp(&mut self, source: &Source<'_>) {
        let record = self.record;
        self.time(source);
        if let Some(severity) = record.severity {
            self.key(b"severity");
            self.quoted(name(severity).as_bytes());
        }
        let raw = raw_needed(source, record, self.encoder.original, self.valid);
        self.message(source, raw);
        let request = [Field::Method, Field::Url, Field::Status].iter().any(|field| record.has(*field));
        let mut apart = 0;
        for (group, list, here) in [
            ("httpRequest", REQUEST, request),
            ("logging.googleapis.com/sourceLocation", LOCATION, record.has(Field::File)),
        ] {
            if here {
                apart |= self.group(group, list);
            }
        }
        self.fields(source, apart);
        self.out.extend_from_slice(&self.encoder.fixed);
        self.marks(source);
        write_raw(raw, source, self.encoder, self.out);
        self.out.push(b'}');
    }

    fn as_text(&mut self, value: &Value<'_>) {
        self.out.push(b'"');
        self.value(value);
        self.out.push(b'"');
    }

    /// Shared fields that stand together under one name; gives a bit for each.
    fn group(&mut self, name: &str, list: &[(Field, &str)]) -> u64 {
        let record = self.record;
        let mut mask = 0;
        self.key(name.as_bytes());
        let start = self.out.len();
        for (known, value) in record.fields() {
            let Name::Known(field) = known else { continue };
            let Some((_, name)) = list.iter().find(|(f, _)| f == field) else { continue };
            if self.encoder.fixed_known & (1 << *field as u64) != 0 {
                continue;
            }
            mask |= 1 << *field as u64;
            self.key(name.as_bytes());
            match (field, value) {
                (Field::Status, Value::Int(_) | Value::Json(_)) => self.value(value),
                (Field::HttpVersion, Value::Text(text)) => {
                    self.out.extend_from_slice(b"\"HTTP/");
                    text.write(self.out, self.valid, &mut self.encoder.scratch);
                    self.out.push(b'"');
                }
                (Field::Duration, Value::Duration(_)) => {
                    // A protobuf duration: seconds with an `s`.
                    self.out.push(b'"');
                    self.value(value);
                    self.out.extend_from_slice(b"s\"");
                }
                // 64-bit numbers are texts in the JSON of protobuf.
                (_, Value::Int(_) | Value::Duration(_)) => self.as_text(value),
                (_, Value::Json(number)) if number.iter().all(u8::is_ascii_digit) => self.as_text(value),
                (_, value) => self.value(value),
            }
        }
        if self.out.len() > start {
            self.out[start] = b'{';
            self.out.push(b'}');
        } else {
            self.out.extend_from_slice(b"{}");
        }
        mask
    }
}

/// `LogSeverity`.
fn name(severity: Severity) -> &'static str {
    match severity.name() {
        "trace" | "debug" => "DEBUG",
        "info" => "INFO",
        "notice" => "NOTICE",
        "warn" => "WARNING",
        "error" => "ERROR",
        "alert" => "ALERT",
        "emergency" => "EMERGENCY",
        _ => "CRITICAL",
    }
}
