//! Values of members, read as what their keys mean.

use crate::{
    json::{Token, object},
    record::{Field, Record, Value},
    severity::Severity,
    text::{Str, first_of, short},
    time::{Clock, Time, epoch, number},
};

/// A value as it goes out.
#[inline(always)]
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
pub(super) fn scalar<'a>(token: &Token<'a>) -> Option<Value<'a>> {
    match token {
        Token::Object { .. } | Token::Word(b"null") => None,
        Token::Array { raw, .. } if !raw.starts_with(b"[\"") => None,
        other => Some(value(other)),
    }
}

pub(super) fn time(token: &Token<'_>, clock: &mut Clock) -> Option<Time> {
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
pub(super) fn error<'a>(token: &Token<'a>, record: &mut Record<'a>) -> bool {
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
pub(super) fn caller<'a>(token: &Token<'a>, record: &mut Record<'a>) -> bool {
    match token {
        Token::Text(text) => {
            let bytes = text.bytes();
            let line = line_of(bytes);
            let looks =
                first_of(bytes, *b" ").is_none() && (line.is_some() || memchr::memchr(b':', bytes).is_some());
            if looks && !record.has(Field::File) {
                place(*text, line, record);
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
    place(text, line_of(text.bytes()), record);
}

/// Where the colon in front of the number of a line is, and the number.
#[inline]
fn line_of(bytes: &[u8]) -> Option<(usize, i64)> {
    let digits = bytes.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let at = bytes.len().checked_sub(digits + 1).filter(|at| bytes[*at] == b':')?;
    Some((at, number(&bytes[at + 1..])?))
}

#[inline]
fn place<'a>(text: Str<'a>, line: Option<(usize, i64)>, record: &mut Record<'a>) {
    let again = |part: &'a [u8]| match text {
        Str::Raw(_) => Str::Raw(part),
        Str::Json(_) => Str::Json(part),
        Str::Escaped(_) => Str::Escaped(part),
        Str::Doubled(_) => Str::Doubled(part),
    };
    match line {
        Some((at, line)) => {
            record.set(Field::File, Value::Text(again(&text.bytes()[..at])));
            record.set(Field::Line, Value::Int(line));
        }
        None => record.set(Field::File, Value::Text(text)),
    }
}

/// The nested spelling of ECS: `"log":{"level":"info","logger":"x"}`, `"ecs":{"version":…}`.
pub(super) fn ecs_object<'a>(key: &[u8], token: &Token<'a>, record: &mut Record<'a>) -> bool {
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
pub(super) fn tracing_fields<'a>(token: &Token<'a>, record: &mut Record<'a>) -> bool {
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

/// Levels by their texts, the last of them remembered.
#[derive(Debug, Default)]
pub(super) struct Levels {
    /// Up to eight bytes.
    text: (u128, usize),
    level: Option<Severity>,
}

impl Levels {
    #[inline]
    pub(super) fn of(&mut self, token: &Token<'_>) -> Option<Severity> {
        match token {
            Token::Text(text) => self.of_text(text.bytes()),
            _ => level(token),
        }
    }

    #[inline(always)]
    pub(super) fn of_text(&mut self, text: &[u8]) -> Option<Severity> {
        if !(1..=8).contains(&text.len()) {
            return Severity::from_name(text);
        }
        if self.text != (short(text), text.len()) {
            self.learn(text);
        }
        self.level
    }

    #[inline(never)]
    fn learn(&mut self, text: &[u8]) {
        self.text = (short(text), text.len());
        self.level = Severity::from_name(text);
    }
}
