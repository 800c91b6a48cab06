//! What loggers mean by their keys: pino, bunyan, winston, zap, logrus, zerolog, slog, log4j2, logback/logstash-encoder,
//! python-json-logger, structlog, Serilog (CLEF), tracing, MongoDB, journald, ECS loggers. A table, no rules to write.
//!
//! A key that is none of these keeps its name. Two keys that mean the same (`msg` and `message`) are both kept: the first
//! takes the meaning, the second keeps its name.

use super::{
    dialect_servers::{self, Kind},
    shape::{Hint, Told},
};
use crate::{
    json::Token,
    record::{Field, Record},
};

#[derive(Clone, Copy, Debug)]
pub(super) enum Meaning {
    Time,
    Level,
    Message,
    Error,
    Origin,
    Is(Field),
    /// Said by the schema itself (`ecs.version`), or without meaning outside its logger (`@version`).
    Nothing,
    Client,
    ClientPort,
    /// `GET /path HTTP/1.1`
    Request,
    Protocol,
    Number(Field),
    /// So many nanoseconds are one unit.
    Duration(i64),
    /// Below a namespace of ours.
    Sub(&'static str, &'static str),
    /// Read by a function of its own; false leaves the member to the application.
    Custom(for<'a> fn(&Token<'a>, &mut Record<'a>) -> bool),
}

/// What a line as a whole says about its keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hints {
    pub(super) ecs: bool,
    pub(super) mongo: bool,
    /// `name` is the logger's name (bunyan, pino, python), not a field of the application.
    pub(super) named: bool,
    /// Serilog leaves the level out where it is Information.
    pub(super) clef: bool,
    pub(super) kind: Kind,
}

impl Hints {
    /// All of them in a word.
    #[inline]
    pub(super) fn word(&self) -> u16 {
        let flags = [self.ecs, self.mongo, self.named, self.clef];
        flags.into_iter().fold(self.kind as u16, |word, flag| word << 1 | u16::from(flag))
    }

    #[inline]
    pub(super) fn take(&mut self, told: Told) {
        self.kind = told.kind.unwrap_or(self.kind);
        match told.hint {
            Hint::None => {}
            Hint::Clef => self.clef = true,
            Hint::Ecs => self.ecs = true,
            Hint::Mongo(mongo) => self.mongo = mongo,
            Hint::Named => self.named = true,
        }
    }
}

/// What a key says about the line; by the key and by what kind of value it has, nothing else.
pub(super) fn tell(key: &[u8], value: &Token<'_>) -> Told {
    let hint = match key {
        b"@mt" | b"@m" => Hint::Clef,
        b"ecs.version" | b"ecs" => Hint::Ecs,
        b"t" => Hint::Mongo(matches!(value, Token::Object { .. })),
        b"v" | b"levelname" | b"pid" => Hint::Named,
        _ => Hint::None,
    };
    Told { kind: dialect_servers::kind(key, value), hint }
}

/// What a key means; by the key, by what kind of value it has and by the hints, but for those of [`by_value`].
pub(super) fn meaning(key: &[u8], value: &Token<'_>, hints: &Hints) -> Option<Meaning> {
    use Meaning::{Error, Is, Level, Message, Nothing, Origin, Time};
    if hints.kind != Kind::Plain
        && let Some(meaning) = dialect_servers::meaning(hints.kind, key, value)
    {
        return Some(meaning);
    }
    Some(match key {
        b"time"
        | b"ts"
        | b"timestamp"
        | b"@timestamp"
        | b"@t"
        | b"asctime"
        | b"datetime"
        | b"eventTime"
        | b"instant"
        | b"timeMillis"
        | b"__REALTIME_TIMESTAMP"
        | b"Timestamp"
        | b"Time" => Time,
        b"t" if hints.mongo || !matches!(value, Token::Object { .. }) => Time,
        b"level" | b"lvl" | b"severity" | b"levelname" | b"loglevel" | b"log.level" | b"log_level"
        | b"@l" | b"PRIORITY" | b"severity_text" | b"Level" | b"SeverityText" | b"LogLevel" | b"Severity" => {
            Level
        }
        b"s" if hints.mongo => Level,
        b"message" | b"msg" | b"MESSAGE" | b"@m" | b"Message" => Message,
        b"event" if matches!(value, Token::Text(_)) => Message,
        b"@mt" | b"RenderedMessage" | b"MessageTemplate" if matches!(value, Token::Text(_)) => Message,
        b"logEvent" => dialect_servers::LOG_EVENT,
        b"err" | b"error" | b"exception" | b"thrown" => Error,
        b"error.message" => Is(Field::ErrorMessage),
        b"error.type" => Is(Field::ErrorType),
        b"error.code" => Is(Field::ErrorCode),
        b"error.stack_trace" | b"stacktrace" | b"stack_trace" | b"stack" | b"exc_info" | b"@x"
        | b"traceback" => Is(Field::ErrorStack),
        b"logger" | b"logger_name" | b"loggerName" | b"log.logger" | b"SourceContext" | b"Category" => {
            Is(Field::Logger)
        }
        b"name" if hints.named => Is(Field::Logger),
        b"target" if matches!(value, Token::Text(_)) => Is(Field::Logger),
        b"c" if hints.mongo => Is(Field::Logger),
        b"ctx" if hints.mongo => Is(Field::ThreadName),
        b"caller" | b"source" => Origin,
        b"log.origin.file.name" | b"pathname" | b"code.filepath" | b"code.file.path" => Is(Field::File),
        b"log.origin.file.line" | b"lineno" | b"code.lineno" | b"code.line.number" => Is(Field::Line),
        b"log.origin.function" | b"funcName" | b"code.function" => Is(Field::Function),
        b"thread" | b"thread_name" | b"threadName" | b"process.thread.name" => Is(Field::ThreadName),
        b"threadId" | b"process.thread.id" => Is(Field::ThreadId),
        b"pid" | b"process.pid" | b"_PID" => Is(Field::Pid),
        b"process.name" | b"processName" | b"_COMM" => Is(Field::Process),
        b"hostname" | b"host.name" | b"_HOSTNAME" => Is(Field::Host),
        b"host" if matches!(value, Token::Text(_)) && !hints.ecs => Is(Field::Host),
        b"service.name" | b"SYSLOG_IDENTIFIER" => Is(Field::Service),
        b"service" if matches!(value, Token::Text(_)) => Is(Field::Service),
        b"service.version" => Is(Field::ServiceVersion),
        b"trace_id" | b"traceId" | b"traceid" | b"trace.id" | b"TraceId" | b"@tr" | b"dd.trace_id" => {
            Is(Field::TraceId)
        }
        b"span_id" | b"spanId" | b"spanid" | b"span.id" | b"SpanId" | b"@sp" | b"dd.span_id" => {
            Is(Field::SpanId)
        }
        b"request_id" | b"requestId" | b"http.request.id" => Is(Field::RequestId),
        b"user_agent.original" => Is(Field::UserAgent),
        b"http.request.method" => Is(Field::Method),
        b"http.response.status_code" => Is(Field::Status),
        b"url.original" => Is(Field::Url),
        b"tags" if matches!(value, Token::Array { .. }) => Is(Field::Tags),
        b"ecs.version" => Nothing,
        b"@version" => Nothing,
        _ => return None,
    })
}

/// Keys whose meaning depends on the value itself.
pub(super) fn by_value(key: &[u8], hints: &Hints) -> bool {
    hints.kind != Kind::Plain && matches!(key, b"host" | b"remote_host")
}
