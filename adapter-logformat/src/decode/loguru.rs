//! Loguru's `serialize=True`: `{"text": "the formatted line\n", "record": {…}}`, where the record has what the text was made of.
//!
//! (loguru documentation, "The record dict"; levels have Python's numbers.)

use super::{Context, values};
use crate::{
    json::{Token, object},
    record::{Field, Record, Value},
    severity::Severity,
    text::Str,
    time::{epoch, number},
};

/// False where the line is some other object, and nothing was read.
pub fn decode<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> bool {
    if !line.starts_with(b"{\"text\": \"") {
        return false;
    }
    let (mut text, mut inner, mut others) = (None, None, false);
    let scanned = object(line, |member| match (member.key.bytes(), member.value) {
        (b"text", Token::Text(found)) => text = Some(found),
        (b"record", Token::Object { raw, .. }) => inner = Some(raw),
        _ => others = true,
    });
    let (Ok(()), Some(text), Some(inner), false) = (scanned, text, inner, others) else { return false };
    let _ = object(inner, |member| match (member.key.bytes(), member.value) {
        (b"time", Token::Object { raw, .. }) => {
            let _ = object(raw, |m| match (m.key.bytes(), m.value) {
                (b"timestamp", Token::Number(raw)) => record.time = epoch(raw).or(record.time),
                (b"repr", Token::Text(text)) => record.time = record.time.or(cx.clock.parse(text.bytes())),
                _ => {}
            });
        }
        (b"level", Token::Object { raw, .. }) => level(raw, record),
        (b"message", value) => record.message = Some(values::value(&value)),
        (b"name", value @ Token::Text(_)) => record.set(Field::Logger, values::value(&value)),
        (b"function", value @ Token::Text(_)) => record.set(Field::Function, values::value(&value)),
        (b"line", value @ Token::Number(_)) => record.set(Field::Line, values::value(&value)),
        (b"file", Token::Object { raw, .. }) => {
            let _ = object(raw, |m| {
                if m.key.bytes() == b"path" {
                    record.set(Field::File, values::value(&m.value));
                }
            });
        }
        (b"process", Token::Object { raw, .. }) => pair(raw, [Field::Pid, Field::Process], record),
        (b"thread", Token::Object { raw, .. }) => pair(raw, [Field::ThreadId, Field::ThreadName], record),
        (b"exception", Token::Object { raw, .. }) => {
            let _ = object(raw, |m| match (m.key.bytes(), m.value) {
                (b"type", value @ Token::Text(_)) => record.set(Field::ErrorType, values::value(&value)),
                (b"value", value @ Token::Text(_)) => record.set(Field::ErrorMessage, values::value(&value)),
                _ => {}
            });
        }
        (b"extra", Token::Object { raw, .. }) => {
            let _ = object(raw, |m| record.push(m.key, values::value(&m.value)));
        }
        (b"exception", Token::Word(b"null")) => {}
        (_, value) => record.push(member.key, values::value(&value)),
    });
    // The trace is in the formatted text only; its newlines are still written `\n`.
    if record.has(Field::ErrorType)
        && let Some(at) = memchr::memmem::find(text.bytes(), b"\\nTraceback (most recent call last):")
    {
        let trace = &text.bytes()[at + 2..];
        let trace = trace.strip_suffix(b"\\n").unwrap_or(trace);
        record.set(Field::ErrorStack, Value::Text(Str::Escaped(trace)));
    }
    true
}

/// Names of the user's own have a number.
fn level<'a>(raw: &'a [u8], record: &mut Record<'a>) {
    let (mut name, mut no) = (None, None);
    let _ = object(raw, |m| match (m.key.bytes(), m.value) {
        (b"name", Token::Text(text)) => name = Some(text),
        (b"no", Token::Number(raw)) => no = number(raw),
        _ => {}
    });
    record.severity = name.and_then(|name| Severity::from_name(name.bytes()));
    if record.severity.is_some() {
        return;
    }
    record.severity = no.map(|no| match no {
        ..10 => Severity::TRACE,
        10..20 => Severity::DEBUG,
        20..30 => Severity::INFO,
        30..40 => Severity::WARN,
        40..50 => Severity::ERROR,
        _ => Severity::CRITICAL,
    });
    if let Some(name) = name {
        record.push(Str::Raw(b"level"), Value::Text(name));
    }
}

/// `{"id": 7, "name": "MainThread"}`
fn pair<'a>(raw: &'a [u8], [id, name]: [Field; 2], record: &mut Record<'a>) {
    let _ = object(raw, |m| match (m.key.bytes(), m.value) {
        (b"id", value @ Token::Number(_)) => record.set(id, values::value(&value)),
        (b"name", value @ Token::Text(_)) => record.set(name, values::value(&value)),
        _ => {}
    });
}
