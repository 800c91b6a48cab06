//! What loggers mean by their keys: pino, bunyan, winston, zap, logrus, zerolog, slog, log4j2, logback/logstash-encoder,
//! python-json-logger, structlog, Serilog (CLEF), tracing, MongoDB, journald, ECS loggers. A table, no rules to write.
//!
//! A key that is none of these keeps its name. Two keys that mean the same (`msg` and `message`) are both kept: the first
//! takes the meaning, the second keeps its name.

use super::{
    Context,
    dialect_servers::{self, Kind},
    shape::{Hint, Style, Told},
};
use crate::{
    json::{Member, Token, object},
    record::{Field, Known, Record, Value},
    severity::Severity,
    text::{Str, first_of},
    time::{Clock, Time, epoch, number},
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

/// Takes over what the keys mean; the rest goes into the record under its own names.
pub fn map<'a, 'm>(
    members: impl Iterator<Item = &'m Member<'a>> + Clone,
    cx: &mut Context,
    record: &mut Record<'a>,
) where
    'a: 'm,
{
    map_as(Kind::Plain, members, cx, record);
}

/// The same where a line may be one of an access log with names of its own choice: LTSV, grok and the like.
pub fn access<'a, 'm>(
    members: impl Iterator<Item = &'m Member<'a>> + Clone,
    cx: &mut Context,
    record: &mut Record<'a>,
) where
    'a: 'm,
{
    map_as(Kind::Access, members, cx, record);
}

fn map_as<'a, 'm>(
    kind: Kind,
    members: impl Iterator<Item = &'m Member<'a>> + Clone,
    cx: &mut Context,
    record: &mut Record<'a>,
) where
    'a: 'm,
{
    cx.shape.begin(Style::Other, kind);
    members.clone().for_each(|member| cx.shape.take(None, &member.key, &member.value));
    mapped(members, cx, record);
}

/// [`map`] for members that the context's shape has taken in.
pub(super) fn mapped<'a, 'm>(
    members: impl IntoIterator<Item = &'m Member<'a>>,
    cx: &mut Context,
    record: &mut Record<'a>,
) where
    'a: 'm,
{
    let hints = cx.shape.hints;
    let word = hints.word();
    record.ecs = hints.ecs;
    let mut taken = Taken::default();
    for (number, member) in members.into_iter().enumerate() {
        let Context { shape, clock, levels, .. } = cx;
        let (meaning, known) = shape.meaning(number, member, &hints, word);
        taken.take((member, meaning, known), &hints, (clock, levels), record);
    }
    taken.end(&hints, record);
}

/// The keys that set what a line has once, because a later, repeated key replaces.
#[derive(Default)]
struct Taken<'a> {
    time: &'a [u8],
    level: &'a [u8],
    message: &'a [u8],
}

impl<'a> Taken<'a> {
    /// Puts one member where it belongs. `known`: what is known of its key as a name.
    #[inline(always)]
    fn take(
        &mut self,
        (member, meaning, known): (&Member<'a>, &Option<Meaning>, Option<Known>),
        hints: &Hints,
        (clock, levels): (&mut Clock, &mut Levels),
        record: &mut Record<'a>,
    ) {
        let key = member.key.bytes();
        let value = &member.value;
        let taken = match *meaning {
            None => false,
            Some(Meaning::Time) if record.time.is_none() || self.time == key => {
                let time = time(value, clock);
                self.time = key;
                record.time = time.or(record.time);
                time.is_some()
            }
            Some(Meaning::Level) if record.severity.is_none() || self.level == key => {
                let level = levels.of(value);
                self.level = key;
                record.severity = level.or(record.severity);
                level.is_some()
            }
            Some(Meaning::Message) if record.message.is_none() || self.message == key => {
                self.message = key;
                record.message = Some(self::value(value));
                true
            }
            Some(Meaning::Error) => error(value, record),
            Some(Meaning::Origin) => caller(value, record),
            // Servers write what is not there as an empty text or a dash.
            Some(Meaning::Is(_))
                if hints.kind != Kind::Plain
                    && matches!(value, Token::Text(text) if matches!(text.bytes(), b"" | b"-")) =>
            {
                true
            }
            Some(Meaning::Is(field)) if !record.has(field) => scalar(value).is_some_and(|value| {
                record.set(field, value);
                true
            }),
            Some(Meaning::Nothing) => true,
            Some(Meaning::Custom(read)) => read(value, record),
            Some(Meaning::Sub(space, name)) => {
                if !matches!(value, Token::Word(b"null") | Token::Text(Str::Json(b"" | b"-"))) {
                    record.push_sub(space, Str::Raw(name.as_bytes()), self::value(value));
                }
                true
            }
            Some(meaning) if hints.kind != Kind::Plain => dialect_servers::apply(meaning, value, record),
            _ => false,
        };
        if taken {
            return;
        }
        if let (None, Some(known)) = (meaning, known)
            && !matches!(value, Token::Object { .. })
        {
            return record.push_known(member.key, known, self::value(value));
        }
        keep(key, member, hints, record);
    }

    fn end(self, hints: &Hints, record: &mut Record<'a>) {
        if hints.clef && self.level.is_empty() {
            record.severity = record.severity.or(Some(Severity::INFO));
        }
    }
}

/// What means nothing to us goes along under its own name, unless what it holds does.
#[inline(never)]
fn keep<'a>(key: &[u8], member: &Member<'a>, hints: &Hints, record: &mut Record<'a>) {
    let value = &member.value;
    if hints.ecs && ecs_object(key, value, record) {
        return;
    }
    if key == b"fields" && record.message.is_none() && tracing_fields(value, record) {
        return;
    }
    dialect_servers::exchange(key, value, record);
    record.push(member.key, self::value(value));
}

/// Levels by their texts, the last of them remembered.
#[derive(Debug, Default)]
pub(super) struct Levels {
    text: [u8; 8],
    length: usize,
    level: Option<Severity>,
}

impl Levels {
    #[inline]
    fn of(&mut self, token: &Token<'_>) -> Option<Severity> {
        match token {
            Token::Text(text) if !text.bytes().is_empty() && text.bytes().len() <= 8 => {
                if self.text.get(..self.length) != Some(text.bytes()) {
                    self.learn(text.bytes());
                }
                self.level
            }
            _ => level(token),
        }
    }

    #[inline(never)]
    fn learn(&mut self, text: &[u8]) {
        self.length = text.len();
        self.text[..text.len()].copy_from_slice(text);
        self.level = Severity::from_name(text);
    }
}

impl Hints {
    /// All of them in a word.
    #[inline]
    pub(super) fn word(&self) -> u64 {
        let flags = [self.ecs, self.mongo, self.named, self.clef];
        flags.into_iter().fold(self.kind as u64, |word, flag| word << 1 | u64::from(flag))
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

/// A value as it goes out.
pub fn value<'a>(token: &Token<'a>) -> Value<'a> {
    match token {
        Token::Text(text) => Value::Text(*text),
        Token::Number(raw) | Token::Word(raw) => Value::Json(raw),
        Token::Odd(raw) => Value::Text(Str::Raw(raw)),
        Token::Array { raw, clean: true } | Token::Object { raw, clean: true } => Value::Json(raw),
        Token::Array { raw, .. } | Token::Object { raw, .. } => Value::Repair(raw),
    }
}

/// A value for a field that a schema wants to be one text or number. `null` says nothing.
fn scalar<'a>(token: &Token<'a>) -> Option<Value<'a>> {
    match token {
        Token::Object { .. } | Token::Word(b"null") => None,
        Token::Array { raw, .. } if !raw.starts_with(b"[\"") => None,
        other => Some(value(other)),
    }
}

fn time(token: &Token<'_>, clock: &mut Clock) -> Option<Time> {
    match token {
        Token::Text(text) => clock.parse(text.bytes()),
        Token::Number(raw) => epoch(raw),
        // MongoDB {"$date":"…"}, log4j2 {"epochSecond":…,"nanoOfSecond":…}
        Token::Object { raw, .. } => {
            let (mut date, mut seconds, mut nanos) = (None, None, 0);
            let _ = object(raw, |m| match (m.key.bytes(), m.value) {
                (b"$date", Token::Text(text)) => date = clock.parse(text.bytes()),
                (b"epochSecond", Token::Number(raw)) => seconds = number(raw),
                (b"nanoOfSecond", Token::Number(raw)) => nanos = number(raw).unwrap_or(0),
                _ => {}
            });
            let nanos = u32::try_from(nanos).ok().filter(|n| *n < 1_000_000_000).unwrap_or(0);
            date.or(seconds.map(|seconds| Time { seconds, nanos }))
        }
        _ => None,
    }
}

fn level(token: &Token<'_>) -> Option<Severity> {
    match token {
        Token::Text(text) => Severity::from_name(text.bytes()),
        Token::Number(raw) => Severity::from_number(std::str::from_utf8(raw).ok()?.parse().ok()?),
        _ => None,
    }
}

/// An error as text, or as an object of name, message and stack (pino, bunyan, Java).
fn error<'a>(token: &Token<'a>, record: &mut Record<'a>) -> bool {
    match token {
        Token::Text(_) if !record.has(Field::ErrorMessage) => {
            record.set(Field::ErrorMessage, value(token));
            true
        }
        Token::Object { raw, .. } => {
            let mut all = true;
            let mut any = false;
            let _ = object(raw, |m| {
                let field = match m.key.bytes() {
                    b"message" | b"msg" | b"localizedMessage" => Field::ErrorMessage,
                    b"type" | b"name" | b"class" | b"kind" => Field::ErrorType,
                    b"stack" | b"stack_trace" | b"stacktrace" | b"extendedStackTrace" => Field::ErrorStack,
                    b"code" => Field::ErrorCode,
                    _ => {
                        all = false;
                        return;
                    }
                };
                match scalar(&m.value) {
                    Some(value) if !record.has(field) => {
                        record.set(field, value);
                        any = true;
                    }
                    _ => all = false,
                }
            });
            // Whatever has no place of its own keeps the whole object.
            all && any
        }
        _ => false,
    }
}

/// `main.go:42` or slog's `{"function":…,"file":…,"line":…}`.
fn caller<'a>(token: &Token<'a>, record: &mut Record<'a>) -> bool {
    match token {
        Token::Text(text) => {
            let bytes = text.bytes();
            let looks = first_of(bytes, *b": ")
                .is_some_and(|at| bytes[at] == b':' && first_of(&bytes[at..], *b" ").is_none());
            if looks && !record.has(Field::File) {
                origin(*text, record);
            }
            looks
        }
        Token::Object { raw, .. } => {
            let mut all = true;
            let _ = object(raw, |m| match (m.key.bytes(), scalar(&m.value)) {
                (b"function" | b"method", Some(value)) => record.set(Field::Function, value),
                (b"file", Some(value)) => record.set(Field::File, value),
                (b"line", Some(value)) => record.set(Field::Line, value),
                _ => all = false,
            });
            all
        }
        _ => false,
    }
}

/// `file:line`, the line split off when it is a number.
pub fn origin<'a>(text: Str<'a>, record: &mut Record<'a>) {
    let bytes = text.bytes();
    let again = |part: &'a [u8]| match text {
        Str::Raw(_) => Str::Raw(part),
        Str::Json(_) => Str::Json(part),
        Str::Escaped(_) => Str::Escaped(part),
        Str::Doubled(_) => Str::Doubled(part),
    };
    let digits = bytes.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let colon = bytes.len().checked_sub(digits + 1).filter(|at| bytes[*at] == b':');
    let line = colon.and_then(|at| Some((at, number(&bytes[at + 1..])?)));
    match line {
        Some((at, line)) => {
            record.set(Field::File, Value::Text(again(&bytes[..at])));
            record.set(Field::Line, Value::Int(line));
        }
        None => record.set(Field::File, Value::Text(text)),
    }
}

/// The nested spelling of ECS: `"log":{"level":"info","logger":"x"}`, `"ecs":{"version":…}`.
fn ecs_object<'a>(key: &[u8], token: &Token<'a>, record: &mut Record<'a>) -> bool {
    let Token::Object { raw, .. } = token else { return false };
    match key {
        b"ecs" => true,
        b"log" => {
            let mut all = true;
            let _ = object(raw, |m| match (m.key.bytes(), &m.value) {
                (b"level", value) if record.severity.is_none() => {
                    record.severity = level(value);
                    all &= record.severity.is_some();
                }
                (b"logger", value @ Token::Text(_)) => record.set(Field::Logger, self::value(value)),
                (b"origin", Token::Object { raw, .. }) => all &= ecs_origin(raw, record),
                // The unformatted message; the line itself goes along anyway.
                (b"original", Token::Text(_)) => {}
                _ => all = false,
            });
            all
        }
        _ => false,
    }
}

/// `"origin":{"file":{"name":"a.py","line":3},"function":"f"}`; false when it holds more than that.
fn ecs_origin<'a>(raw: &'a [u8], record: &mut Record<'a>) -> bool {
    let mut all = true;
    let _ = object(raw, |m| match (m.key.bytes(), &m.value) {
        (b"function", value @ Token::Text(_)) => record.set(Field::Function, self::value(value)),
        (b"file.line", value @ Token::Number(_)) => record.set(Field::Line, self::value(value)),
        (b"file.name", value @ Token::Text(_)) => record.set(Field::File, self::value(value)),
        (b"file", Token::Object { raw, .. }) => {
            let _ = object(raw, |m| match (m.key.bytes(), &m.value) {
                (b"name", value @ Token::Text(_)) => record.set(Field::File, self::value(value)),
                (b"line", value @ Token::Number(_)) => record.set(Field::Line, self::value(value)),
                _ => all = false,
            });
        }
        _ => all = false,
    });
    all
}

/// tracing-subscriber's JSON: the message is one of the `fields`, the others are the application's.
fn tracing_fields<'a>(token: &Token<'a>, record: &mut Record<'a>) -> bool {
    let Token::Object { raw, .. } = token else { return false };
    let mut found = false;
    let _ = object(raw, |m| found |= m.key.bytes() == b"message");
    if found {
        let _ = object(raw, |m| match m.key.bytes() {
            b"message" => record.message = Some(value(&m.value)),
            _ => record.push(m.key, value(&m.value)),
        });
    }
    found
}
