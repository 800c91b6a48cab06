//! What servers mean by the keys of their JSON logs (Traefik, Caddy, Envoy and Istio, PostgreSQL, Elasticsearch, OTLP), and by the names that
//! access logs give to values (LTSV, grok, CSV). Which of them wrote a line is told by keys that nobody else has. Tables.

use super::{dialect::Meaning, values};
use crate::{
    json::{Token, object},
    record::{Field, Record, Value},
    severity::Severity,
    text::Str,
    time::{epoch, number},
};

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Kind {
    #[default]
    Plain,
    /// Names of access logs, in a format whose author chose the names.
    Access,
    Traefik,
    Caddy,
    Envoy,
    Postgres,
    Elastic,
    Otlp,
}

/// What a key says about its writer.
pub fn kind(key: &[u8], value: &Token<'_>) -> Option<Kind> {
    Some(match key {
        b"DownstreamStatus" | b"OriginStatus" => Kind::Traefik,
        b"resp_headers" => Kind::Caddy,
        b"response_flags" | b"upstream_cluster" => Kind::Envoy,
        b"error_severity" => Kind::Postgres,
        b"cluster.name" | b"cluster.uuid" | b"origin.address" => Kind::Elastic,
        b"timeUnixNano" | b"observedTimeUnixNano" | b"severityNumber" => Kind::Otlp,
        b"body" | b"Body" if matches!(value, Token::Object { .. }) => return None,
        b"SeverityNumber" | b"ObservedTimestamp" => Kind::Otlp,
        _ => return None,
    })
}

pub(super) fn meaning(kind: Kind, key: &[u8], value: &Token<'_>) -> Option<Meaning> {
    use Meaning::{Client, ClientPort, Duration, Is, Nothing, Number, Request, Sub, Time};
    Some(match (kind, key) {
        (
            Kind::Access,
            b"remote_addr" | b"client_ip" | b"clientip" | b"client" | b"remote_host" | b"c_ip"
            | b"source.address",
        ) => Client,
        (Kind::Access, b"host") if matches!(value, Token::Text(text) if super::is_ip(text.bytes())) => Client,
        (Kind::Access, b"status" | b"response" | b"status_code" | b"http_status") => Number(Field::Status),
        (Kind::Access, b"size" | b"bytes" | b"body_bytes_sent" | b"bytes_sent") => {
            Number(Field::ResponseBytes)
        }
        (Kind::Access, b"method" | b"verb" | b"request_method") => Is(Field::Method),
        (Kind::Access, b"uri" | b"url" | b"request_uri") => Is(Field::Url),
        (Kind::Access, b"req" | b"request") => Request,
        (Kind::Access, b"referer" | b"referrer" | b"http_referer") => Is(Field::Referrer),
        (Kind::Access, b"ua" | b"agent" | b"user_agent" | b"http_user_agent") => Is(Field::UserAgent),
        (Kind::Access, b"reqtime" | b"request_time" | b"taken_sec") => Duration(1_000_000_000),
        (Kind::Access, b"duration_ms" | b"took_ms") => Duration(1_000_000),
        (Kind::Access, b"vhost" | b"server_name") => Is(Field::ServerAddress),
        (Kind::Access, b"user" | b"auth" | b"username" | b"remote_user") => Is(Field::User),
        (Kind::Access, b"protocol" | b"http_version" | b"httpversion") => Meaning::Protocol,
        (Kind::Access, b"class") => Is(Field::Logger),

        (Kind::Traefik, b"ClientHost") => Client,
        (Kind::Traefik, b"ClientAddr") => ClientPort,
        (Kind::Traefik, b"ClientPort") => Number(Field::ClientPort),
        (Kind::Traefik, b"ClientUsername") => Is(Field::User),
        (Kind::Traefik, b"DownstreamStatus") => Number(Field::Status),
        (Kind::Traefik, b"DownstreamContentSize") => Number(Field::ResponseBytes),
        (Kind::Traefik, b"RequestContentSize") => Number(Field::RequestBytes),
        (Kind::Traefik, b"Duration") => Duration(1),
        (Kind::Traefik, b"RequestMethod") => Is(Field::Method),
        (Kind::Traefik, b"RequestPath") => Is(Field::Url),
        (Kind::Traefik, b"RequestProtocol") => Meaning::Protocol,
        (Kind::Traefik, b"RequestHost" | b"RequestAddr") => Is(Field::ServerAddress),
        (Kind::Traefik, b"RequestPort") => Number(Field::ServerPort),
        (Kind::Traefik, b"StartUTC") => Time,
        (Kind::Traefik, b"request_User-Agent") => Is(Field::UserAgent),
        (Kind::Traefik, b"request_Referer") => Is(Field::Referrer),
        (Kind::Traefik, b"RouterName") => Sub("traefik", "router_name"),
        (Kind::Traefik, b"ServiceName") => Sub("traefik", "service_name"),
        (Kind::Traefik, b"ServiceURL" | b"ServiceAddr") if matches!(value, Token::Text(_)) => {
            Sub("traefik", "server_url")
        }
        (Kind::Traefik, b"RequestCount") => Sub("traefik", "request_count"),
        (Kind::Traefik, b"RequestLine") => Nothing,

        (Kind::Caddy, b"request") => Meaning::Custom(caddy_request),
        (Kind::Caddy, b"status") => Number(Field::Status),
        (Kind::Caddy, b"size") => Number(Field::ResponseBytes),
        (Kind::Caddy, b"bytes_read") => Number(Field::RequestBytes),
        (Kind::Caddy, b"duration") => Duration(1_000_000_000),
        (Kind::Caddy, b"user_id") => Is(Field::User),

        (Kind::Envoy, b"start_time") => Time,
        (Kind::Envoy, b"method") => Is(Field::Method),
        (Kind::Envoy, b"path" | b"x_envoy_original_path") => Is(Field::Url),
        (Kind::Envoy, b"protocol") => Meaning::Protocol,
        (Kind::Envoy, b"response_code") => Number(Field::Status),
        (Kind::Envoy, b"bytes_received") => Number(Field::RequestBytes),
        (Kind::Envoy, b"bytes_sent") => Number(Field::ResponseBytes),
        (Kind::Envoy, b"duration") => Duration(1_000_000),
        (Kind::Envoy, b"user_agent") => Is(Field::UserAgent),
        (Kind::Envoy, b"authority") => Is(Field::ServerAddress),
        (Kind::Envoy, b"downstream_remote_address") => ClientPort,
        (Kind::Envoy, b"response_flags") => Sub("envoy", "response_flags"),
        (Kind::Envoy, b"response_code_details") => Sub("envoy", "response_code_details"),
        (Kind::Envoy, b"upstream_host") => Sub("envoy", "upstream_host"),
        (Kind::Envoy, b"upstream_cluster") => Sub("envoy", "upstream_cluster"),
        (Kind::Envoy, b"upstream_service_time") => Sub("envoy", "upstream_service_time"),
        (Kind::Envoy, b"upstream_local_address") => Sub("envoy", "upstream_local_address"),
        (Kind::Envoy, b"downstream_local_address") => Sub("envoy", "downstream_local_address"),
        (Kind::Envoy, b"requested_server_name") => Sub("envoy", "requested_server_name"),
        (Kind::Envoy, b"route_name") => Sub("envoy", "route_name"),
        (Kind::Envoy, b"x_forwarded_for") => Sub("envoy", "x_forwarded_for"),
        (Kind::Envoy, b"connection_termination_details") => Sub("envoy", "connection_termination_details"),
        (Kind::Envoy, b"upstream_transport_failure_reason") => {
            Sub("envoy", "upstream_transport_failure_reason")
        }

        (Kind::Postgres, b"error_severity") => Meaning::Custom(postgres_level),
        (Kind::Postgres, b"message") => Meaning::Custom(postgres_message),
        (Kind::Postgres, b"user") => Is(Field::User),
        (Kind::Postgres, b"dbname") => Sub("postgresql.log", "database"),
        (Kind::Postgres, b"remote_host") if matches!(value, Token::Text(Str::Json(b"[local]"))) => Nothing,
        (Kind::Postgres, b"remote_host") => Client,
        (Kind::Postgres, b"remote_port") => Number(Field::ClientPort),
        (Kind::Postgres, b"session_id") => Sub("postgresql.log", "session_id"),
        (Kind::Postgres, b"line_num") => Sub("postgresql.log", "session_line_number"),
        (Kind::Postgres, b"ps") => Sub("postgresql.log", "command_tag"),
        (Kind::Postgres, b"session_start") => Sub("postgresql.log", "session_start_time"),
        (Kind::Postgres, b"vxid") => Sub("postgresql.log", "virtual_transaction_id"),
        (Kind::Postgres, b"txid") => Sub("postgresql.log", "transaction_id"),
        (Kind::Postgres, b"state_code") => Sub("postgresql.log", "sql_state_code"),
        (Kind::Postgres, b"detail") => Sub("postgresql.log", "detail"),
        (Kind::Postgres, b"hint") => Sub("postgresql.log", "hint"),
        (Kind::Postgres, b"context") => Sub("postgresql.log", "context"),
        (Kind::Postgres, b"statement") => Sub("postgresql.log", "query"),
        (Kind::Postgres, b"cursor_position") => Sub("postgresql.log", "query_pos"),
        (Kind::Postgres, b"internal_query") => Sub("postgresql.log", "internal_query"),
        (Kind::Postgres, b"application_name") => Sub("postgresql.log", "application_name"),
        (Kind::Postgres, b"backend_type") => Sub("postgresql.log", "backend_type"),
        (Kind::Postgres, b"leader_pid") => Sub("postgresql.log", "leader_pid"),
        (Kind::Postgres, b"query_id") => Sub("postgresql.log", "query_id"),
        (Kind::Postgres, b"func_name") => Is(Field::Function),
        (Kind::Postgres, b"file_name") => Is(Field::File),
        (Kind::Postgres, b"file_line_num") => Is(Field::Line),

        (Kind::Elastic, b"component") => Is(Field::Logger),
        (Kind::Elastic, b"origin.address") => ClientPort,
        (Kind::Elastic, b"user.name") => Is(Field::User),
        (Kind::Elastic, b"url.path") => Is(Field::Url),
        (Kind::Elastic, b"request.method") => Is(Field::Method),
        (Kind::Elastic, b"cluster.name") => Sub("elasticsearch", "cluster.name"),
        (Kind::Elastic, b"cluster.uuid") => Sub("elasticsearch", "cluster.uuid"),
        (Kind::Elastic, b"node.name") => Sub("elasticsearch", "node.name"),
        (Kind::Elastic, b"node.id") => Sub("elasticsearch", "node.id"),
        (Kind::Elastic, b"type") => Sub("elasticsearch", "type"),

        (Kind::Otlp, b"timeUnixNano") => Time,
        (Kind::Otlp, b"observedTimeUnixNano" | b"ObservedTimestamp") => Meaning::Custom(observed),
        (Kind::Otlp, b"severityNumber" | b"SeverityNumber") => Meaning::Custom(severity_number),
        (Kind::Otlp, b"severityText" | b"SeverityText") => Meaning::Custom(severity_text),
        (Kind::Otlp, b"body" | b"Body") => Meaning::Custom(body),
        (Kind::Otlp, b"attributes" | b"Attributes") => Meaning::Custom(attributes),
        (Kind::Otlp, b"resource" | b"Resource") => Meaning::Custom(resource),
        (Kind::Otlp, b"scope" | b"InstrumentationScope") => Meaning::Custom(scope),
        (Kind::Otlp, b"flags" | b"droppedAttributesCount") => Nothing,
        _ => return None,
    })
}

/// `{"remote_ip":…,"method":…,"headers":{"User-Agent":[…]}}`; headers without a field of their own stay as they are.
fn caddy_request<'a>(token: &Token<'a>, record: &mut Record<'a>) -> bool {
    let Token::Object { raw, .. } = token else { return false };
    let scanned = object(raw, |m| {
        let field = match (m.key.bytes(), &m.value) {
            (b"remote_ip", Token::Text(text)) => return super::nginx::client(text.bytes(), record),
            (b"remote_port", Token::Text(text)) => {
                if let Some(port) = number(text.bytes()) {
                    record.set(Field::ClientPort, Value::Int(port));
                }
                return;
            }
            // Until 2.5 address and port were one.
            (b"remote_addr", Token::Text(text)) => return super::meaning::client_port(text.bytes(), record),
            (b"method", Token::Text(_)) => Field::Method,
            (b"uri", Token::Text(_)) => Field::Url,
            (b"host", Token::Text(_)) => Field::ServerAddress,
            (b"proto", Token::Text(text)) => {
                return record
                    .text(Field::HttpVersion, text.bytes().strip_prefix(b"HTTP/").unwrap_or(text.bytes()));
            }
            (b"headers", Token::Object { raw, .. }) => return headers(raw, record),
            _ => return record.push_sub("caddy.request", m.key, values::value(&m.value)),
        };
        record.set(field, values::value(&m.value));
    });
    scanned.is_ok()
}

fn headers<'a>(raw: &'a [u8], record: &mut Record<'a>) {
    let _ = object(raw, |m| {
        let field = match m.key.bytes() {
            b"User-Agent" => Field::UserAgent,
            b"Referer" => Field::Referrer,
            _ => return record.push_sub("caddy.request.headers", m.key, values::value(&m.value)),
        };
        match first_text(&m.value) {
            Some(text) => record.set(field, Value::Text(text)),
            None => record.push_sub("caddy.request.headers", m.key, values::value(&m.value)),
        }
    });
}

/// Of `["a"]` the a.
fn first_text<'a>(token: &Token<'a>) -> Option<Str<'a>> {
    let Token::Array { raw, clean: true } = token else { return None };
    let inner = raw.strip_prefix(b"[\"")?.strip_suffix(b"\"]")?;
    (super::closing_quote(inner).is_none()).then_some(Str::Json(inner))
}

fn text_of<'a>(token: &Token<'a>) -> Option<&'a [u8]> {
    match token {
        Token::Text(text) => Some(text.bytes()),
        _ => None,
    }
}

fn postgres_level<'a>(token: &Token<'a>, record: &mut Record<'a>) -> bool {
    text_of(token).is_some_and(|word| super::postgres::kind(word, record))
}

fn postgres_message<'a>(token: &Token<'a>, record: &mut Record<'a>) -> bool {
    record.message = Some(values::value(token));
    if let Some(text) = text_of(token)
        && let Some(rest) = text.strip_prefix(b"duration: ")
        && let Some(end) = memchr::memmem::find(rest, b" ms")
        && let Some(nanos) = super::meaning::nanos(&rest[..end], 1_000_000)
    {
        record.set(Field::Duration, Value::Duration(nanos));
    }
    true
}

/// The time of observation counts where there is no other.
fn observed<'a>(token: &Token<'a>, record: &mut Record<'a>) -> bool {
    let digits = match token {
        Token::Text(text) => text.bytes(),
        Token::Number(raw) => raw,
        _ => return false,
    };
    record.time = record.time.or_else(|| epoch(digits));
    record.time.is_some()
}

fn severity_number<'a>(token: &Token<'a>, record: &mut Record<'a>) -> bool {
    let Token::Number(raw) = token else { return false };
    let severity = number(raw).and_then(Severity::from_otel);
    record.severity = severity.or(record.severity);
    // 0 says that it was not specified.
    severity.is_some() || *raw == b"0"
}

/// Says in words what the number says; where there is no number it has to do.
fn severity_text<'a>(token: &Token<'a>, record: &mut Record<'a>) -> bool {
    let severity = text_of(token).and_then(Severity::from_name);
    record.severity = record.severity.or(severity);
    severity.is_some()
}

fn body<'a>(token: &Token<'a>, record: &mut Record<'a>) -> bool {
    record.message = Some(any_value(token));
    true
}

/// `{"stringValue":"x"}` is the text x; other kinds of values likewise.
fn any_value<'a>(token: &Token<'a>) -> Value<'a> {
    let Token::Object { raw, .. } = token else { return values::value(token) };
    let mut inner = None;
    let mut count = 0;
    let _ = object(raw, |m| {
        count += 1;
        inner = match m.key.bytes() {
            b"stringValue" | b"boolValue" | b"doubleValue" | b"bytesValue" => Some(values::value(&m.value)),
            b"intValue" => Some(match m.value {
                Token::Text(text) if super::logfmt::is_number(text.bytes()) => Value::Json(text.bytes()),
                other => values::value(&other),
            }),
            _ => None,
        };
    });
    inner.filter(|_| count == 1).unwrap_or_else(|| values::value(token))
}

/// `[{"key":"k","value":{"stringValue":"v"}}]`, and the data model's plain object.
fn attributes<'a>(token: &Token<'a>, record: &mut Record<'a>) -> bool {
    match token {
        Token::Object { raw, .. } => {
            object(raw, |m| attribute(m.key, values::value(&m.value), record)).is_ok()
        }
        Token::Array { raw, .. } => crate::json::array(raw, |item| {
            let Token::Object { raw, .. } = item else { return };
            let (mut key, mut value) = (None, None);
            let _ = object(raw, |m| match (m.key.bytes(), m.value) {
                (b"key", Token::Text(text)) => key = Some(text),
                (b"value", token) => value = Some(any_value(&token)),
                _ => {}
            });
            if let (Some(key), Some(value)) = (key, value) {
                attribute(key, value, record);
            }
        })
        .is_ok(),
        _ => false,
    }
}

fn resource<'a>(token: &Token<'a>, record: &mut Record<'a>) -> bool {
    let Token::Object { raw, .. } = token else { return false };
    let mut nested = None;
    let _ = object(raw, |m| {
        if m.key.bytes() == b"attributes" {
            nested = Some(m.value);
        }
    });
    attributes(&nested.unwrap_or(*token), record)
}

/// What wrote the record: by convention a logger's name.
fn scope<'a>(token: &Token<'a>, record: &mut Record<'a>) -> bool {
    let Token::Object { raw, .. } = token else { return false };
    object(raw, |m| match (m.key.bytes(), &m.value) {
        (b"name" | b"Name", Token::Text(name)) if !record.has(Field::Logger) => {
            record.set(Field::Logger, Value::Text(*name));
        }
        (b"attributes" | b"Attributes", list) => {
            attributes(list, record);
        }
        (b"droppedAttributesCount", _) => {}
        _ => record.push_sub("otel.scope", m.key, values::value(&m.value)),
    })
    .is_ok()
}

fn attribute<'a>(key: Str<'a>, value: Value<'a>, record: &mut Record<'a>) {
    let field = match key.bytes() {
        b"service.name" => Field::Service,
        b"service.version" => Field::ServiceVersion,
        b"host.name" => Field::Host,
        b"process.pid" => Field::Pid,
        b"exception.type" => Field::ErrorType,
        b"exception.message" => Field::ErrorMessage,
        b"exception.stacktrace" => Field::ErrorStack,
        b"code.filepath" | b"code.file.path" => Field::File,
        b"code.lineno" | b"code.line.number" => Field::Line,
        b"code.function" | b"code.function.name" => Field::Function,
        b"thread.name" => Field::ThreadName,
        b"http.request.method" | b"http.method" => Field::Method,
        b"http.response.status_code" | b"http.status_code" => Field::Status,
        b"user_agent.original" => Field::UserAgent,
        _ => return record.push(key, value),
    };
    if record.has(field) {
        record.push(key, value);
    } else {
        record.set(field, value);
    }
}

/// `req` and `res` as pino-http, bunyan, restify and hapi write them; the objects themselves stay as they are.
pub(super) fn exchange<'a>(key: &[u8], token: &Token<'a>, record: &mut Record<'a>) {
    let Token::Object { raw, .. } = token else { return };
    match key {
        b"req" | b"request" => {
            let _ = object(raw, |m| match (m.key.bytes(), m.value) {
                (b"headers", Token::Object { raw, .. }) => {
                    let _ = object(raw, |m| match m.key.bytes() {
                        b"user-agent" => absent(Field::UserAgent, &m.value, record),
                        b"referer" => absent(Field::Referrer, &m.value, record),
                        b"host" => absent(Field::ServerAddress, &m.value, record),
                        _ => {}
                    });
                }
                (b"method", value) => absent(Field::Method, &value, record),
                (b"url", value) => absent(Field::Url, &value, record),
                (b"id", value @ Token::Text(_)) => absent(Field::RequestId, &value, record),
                (b"remotePort", value) => absent(Field::ClientPort, &value, record),
                (b"remoteAddress", Token::Text(text))
                    if text.is_plain() && !record.has(Field::ClientAddress) =>
                {
                    super::nginx::client(text.bytes(), record);
                }
                _ => {}
            });
        }
        b"res" | b"response" => {
            let _ = object(raw, |m| match m.key.bytes() {
                b"statusCode" => absent(Field::Status, &m.value, record),
                b"contentLength" => absent(Field::ResponseBytes, &m.value, record),
                _ => {}
            });
        }
        _ => {}
    }
}

/// Sets a field to a text or a number, where nothing else has.
fn absent<'a>(field: Field, token: &Token<'a>, record: &mut Record<'a>) {
    if !record.has(field) && matches!(token, Token::Text(_) | Token::Number(_)) {
        record.set(field, values::value(token));
    }
}

/// logstash's `logEvent`: the message, and what belongs to it.
fn log_event<'a>(token: &Token<'a>, record: &mut Record<'a>) -> bool {
    let Token::Object { raw, .. } = token else { return false };
    let mut found = false;
    let _ = object(raw, |m| found |= m.key.bytes() == b"message");
    if found && record.message.is_none() {
        let _ = object(raw, |m| match m.key.bytes() {
            b"message" => record.message = Some(values::value(&m.value)),
            _ => record.push(m.key, values::value(&m.value)),
        });
        return true;
    }
    false
}

pub(super) const LOG_EVENT: Meaning = Meaning::Custom(log_event);

/// Reads what a meaning of an access log stands for; false when it could not.
pub(super) fn apply<'a>(meaning: Meaning, token: &Token<'a>, record: &mut Record<'a>) -> bool {
    let text = match token {
        Token::Text(text) if text.is_plain() => text.bytes(),
        Token::Number(raw) | Token::Word(raw) | Token::Odd(raw) => raw,
        _ => return false,
    };
    if matches!(text, b"" | b"-") {
        return true;
    }
    match meaning {
        Meaning::Client => super::nginx::client(text, record),
        Meaning::ClientPort => super::meaning::client_port(text, record),
        Meaning::Request => super::nginx::request(text, record),
        Meaning::Protocol => record.text(Field::HttpVersion, text.strip_prefix(b"HTTP/").unwrap_or(text)),
        Meaning::Number(field) => match number(text) {
            Some(number) => record.set(field, Value::Int(number)),
            None => return false,
        },
        Meaning::Duration(unit) => match seconds(text, unit) {
            Some(nanos) => record.set(Field::Duration, Value::Duration(nanos)),
            None => return false,
        },
        _ => return false,
    }
    true
}

/// A decimal number of units, or one in scientific notation as Go writes small ones.
fn seconds(text: &[u8], unit: i64) -> Option<i64> {
    if let Some(nanos) = super::meaning::nanos(text, unit) {
        return Some(nanos);
    }
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "a duration of a float has no more digits than that"
    )]
    let nanos = (value * unit as f64).round() as i64;
    (0..i64::MAX).contains(&nanos).then_some(nanos)
}
