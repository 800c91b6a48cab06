//! The schemas as a table: what each shared field is called in each of them.
//!
//! ECS: Elastic Common Schema 9 field reference. OTel: OpenTelemetry semantic conventions (attributes registry); where that
//! has no name, ECS's, which it is merging with.

use super::Schema;
use crate::record::Field;

/// ECS, OTel, flat.
pub type Row = [&'static str; 3];

/// One row per [`Field`], in its order.
pub const FIELDS: [(Field, Row); Field::COUNT] = [
    (Field::Logger, ["log.logger", "log.logger", "logger"]),
    (Field::File, ["log.origin.file.name", "code.file.path", "file"]),
    (Field::Line, ["log.origin.file.line", "code.line.number", "line"]),
    (Field::Function, ["log.origin.function", "code.function.name", "function"]),
    (Field::ThreadName, ["process.thread.name", "thread.name", "thread"]),
    (Field::ThreadId, ["process.thread.id", "thread.id", "thread_id"]),
    (Field::Pid, ["process.pid", "process.pid", "pid"]),
    (Field::Process, ["process.name", "process.executable.name", "process"]),
    (Field::Host, ["host.name", "host.name", "host"]),
    (Field::Service, ["service.name", "service.name", "service"]),
    (Field::ServiceVersion, ["service.version", "service.version", "service_version"]),
    (Field::TraceId, ["trace.id", "trace.id", "trace_id"]),
    (Field::SpanId, ["span.id", "span.id", "span_id"]),
    (Field::ErrorType, ["error.type", "exception.type", "error_type"]),
    (Field::ErrorMessage, ["error.message", "exception.message", "error"]),
    (Field::ErrorStack, ["error.stack_trace", "exception.stacktrace", "stack"]),
    (Field::ErrorCode, ["error.code", "error.code", "error_code"]),
    (Field::ClientAddress, ["source.address", "client.address", "client"]),
    (Field::ClientIp, ["source.ip", "", ""]),
    (Field::ClientPort, ["source.port", "client.port", "client_port"]),
    (Field::User, ["user.name", "user.name", "user"]),
    (Field::Method, ["http.request.method", "http.request.method", "method"]),
    (Field::Url, ["url.original", "url.original", "url"]),
    (Field::HttpVersion, ["http.version", "network.protocol.version", "http_version"]),
    (Field::Status, ["http.response.status_code", "http.response.status_code", "status"]),
    (Field::ResponseBytes, ["http.response.body.bytes", "http.response.body.size", "bytes"]),
    (Field::RequestBytes, ["http.request.bytes", "http.request.size", "request_bytes"]),
    (Field::Referrer, ["http.request.referrer", "http.request.header.referer", "referrer"]),
    (Field::UserAgent, ["user_agent.original", "user_agent.original", "user_agent"]),
    (Field::Duration, ["event.duration", "http.server.request.duration", "duration"]),
    (Field::ServerAddress, ["url.domain", "server.address", "server"]),
    (Field::ServerPort, ["url.port", "server.port", "server_port"]),
    (Field::RequestId, ["http.request.id", "http.request.id", "request_id"]),
    (Field::Stream, ["log.iostream", "log.iostream", "stream"]),
    (Field::SyslogFacility, ["log.syslog.facility.code", "log.syslog.facility.code", "facility_code"]),
    (Field::SyslogFacilityName, ["log.syslog.facility.name", "log.syslog.facility.name", "facility"]),
    (Field::SyslogSeverity, ["log.syslog.severity.code", "log.syslog.severity.code", "severity_code"]),
    (Field::SyslogPriority, ["log.syslog.priority", "log.syslog.priority", "priority"]),
    (Field::SyslogVersion, ["log.syslog.version", "log.syslog.version", "syslog_version"]),
    (Field::SyslogProcId, ["log.syslog.procid", "log.syslog.procid", "procid"]),
    (Field::SyslogMsgId, ["log.syslog.msgid", "log.syslog.msgid", "msgid"]),
    (Field::Tags, ["tags", "tags", "tags"]),
];

/// Where Datadog's standard attributes differ from the OpenTelemetry names.
const DATADOG: &[(Field, &str)] = &[
    (Field::Logger, "logger.name"),
    (Field::Function, "logger.method_name"),
    (Field::ThreadName, "logger.thread_name"),
    (Field::Host, "host"),
    (Field::Service, "service"),
    (Field::ServiceVersion, "version"),
    (Field::TraceId, "dd.trace_id"),
    (Field::SpanId, "dd.span_id"),
    (Field::ErrorType, "error.kind"),
    (Field::ErrorMessage, "error.message"),
    (Field::ErrorStack, "error.stack"),
    (Field::ClientAddress, "network.client.ip"),
    (Field::ClientPort, "network.client.port"),
    (Field::User, "usr.name"),
    (Field::Method, "http.method"),
    (Field::Url, "http.url"),
    (Field::HttpVersion, "http.version"),
    (Field::Status, "http.status_code"),
    (Field::ResponseBytes, "network.bytes_written"),
    (Field::RequestBytes, "network.bytes_read"),
    (Field::Referrer, "http.referer"),
    (Field::UserAgent, "http.useragent"),
    (Field::Duration, "duration"),
    (Field::ServerAddress, "http.url_details.host"),
    (Field::ServerPort, "http.url_details.port"),
    (Field::RequestId, "http.request_id"),
];

/// Where Google Cloud's special names differ from the flat ones.
const GCP: &[(Field, &str)] = &[
    (Field::TraceId, "logging.googleapis.com/trace"),
    (Field::SpanId, "logging.googleapis.com/spanId"),
    // Error Reporting looks for this one.
    (Field::ErrorStack, "stack_trace"),
];

/// What a schema calls a shared field; empty where it has no place for it.
pub fn label(schema: Schema, field: Field) -> &'static str {
    let row = &FIELDS[field as usize].1;
    let own = |list: &'static [(Field, &'static str)]| {
        list.iter().find(|(f, _)| *f == field).map(|(_, name)| *name)
    };
    match schema {
        Schema::Ecs | Schema::Ecs8 => row[0],
        Schema::Otel | Schema::Otlp => row[1],
        Schema::Flat | Schema::Logfmt | Schema::Gelf | Schema::Splunk => row[2],
        Schema::Datadog => own(DATADOG).unwrap_or(row[1]),
        Schema::Gcp => own(GCP).unwrap_or(row[2]),
    }
}

/// The names of everything else.
pub fn layout(schema: Schema) -> &'static Layout {
    match schema {
        Schema::Ecs | Schema::Ecs8 => &LAYOUTS[0],
        Schema::Otel | Schema::Otlp => &LAYOUTS[1],
        Schema::Flat | Schema::Logfmt | Schema::Gelf | Schema::Splunk => &LAYOUTS[2],
        Schema::Datadog => &LAYOUTS[3],
        Schema::Gcp => &LAYOUTS[4],
    }
}

/// What the schema calls the things that are not fields of a line.
#[derive(Debug)]
pub struct Layout {
    pub time: &'static str,
    pub level: &'static str,
    pub message: &'static str,
    /// In front of a name that the application chose.
    pub app: &'static str,
    pub structured: &'static str,
    pub error: &'static str,
    pub original: &'static str,
    pub base64: &'static str,
    pub part: &'static str,
    pub last: &'static str,
    pub path: &'static str,
}

const LAYOUTS: [Layout; 5] = [
    Layout {
        time: "@timestamp",
        level: "log.level",
        message: "message",
        app: "app.",
        structured: "log.syslog.structured_data.",
        error: "error.message",
        original: "event.original",
        base64: "event.original_base64",
        part: "log.part.number",
        last: "log.part.last",
        path: "log.file.path",
    },
    Layout {
        time: "Timestamp",
        level: "SeverityText",
        message: "Body",
        app: "",
        structured: "log.syslog.structured_data.",
        error: "error.message",
        original: "log.record.original",
        base64: "log.record.original_base64",
        part: "log.part.number",
        last: "log.part.last",
        path: "log.file.path",
    },
    Layout {
        time: "time",
        level: "level",
        message: "message",
        app: "",
        structured: "sd.",
        error: "parse_error",
        original: "original",
        base64: "original_base64",
        part: "part",
        last: "part_last",
        path: "file_path",
    },
    Layout {
        time: "timestamp",
        level: "status",
        message: "message",
        app: "",
        structured: "syslog.structured_data.",
        error: "parse_error",
        original: "original",
        base64: "original_base64",
        part: "part",
        last: "part_last",
        path: "filename",
    },
    Layout {
        time: "time",
        level: "severity",
        message: "message",
        app: "",
        structured: "sd.",
        error: "parse_error",
        original: "original",
        base64: "original_base64",
        part: "part",
        last: "part_last",
        path: "file_path",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_at_the_place_of_their_field_and_no_name_twice() {
        for (place, (field, _)) in FIELDS.iter().enumerate() {
            assert_eq!(*field as usize, place);
        }
        for schema in Schema::ALL {
            let mut names: Vec<_> =
                FIELDS.iter().map(|(field, _)| label(schema, *field)).filter(|n| !n.is_empty()).collect();
            let all = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), all, "{schema:?}");
        }
    }
}
