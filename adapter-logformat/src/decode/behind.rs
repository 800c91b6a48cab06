//! What follows the first line of an event: more of its message, and a stack trace.

use crate::{
    record::{Field, Record, Value},
    text::Str,
    trace,
};

/// What stands behind the first line of an event: a stack trace, with the exception's class and message where they are there to read.
pub fn read<'a>(text: &'a [u8], from: usize, record: &mut Record<'a>) {
    let rest = &text[from..];
    if trace::bare_trace(&text[..from - 1]) {
        record.message = Some(Value::Text(Str::Raw(text)));
        name_cause(text, record);
        return;
    }
    if record.has(Field::ErrorStack) {
        record.message = Some(Value::Text(Str::Raw(text)));
        return;
    }
    let start = trace::trace_start(rest);
    if start != Some(0) {
        // Lines before the trace, or without one, are the message's own.
        let end = start.map_or(text.len(), |start| from + start - 1);
        record.message = Some(Value::Text(Str::Raw(extended(text, from, end, record))));
    }
    let Some(start) = start else { return };
    let rest = &rest[start..];
    record.text(Field::ErrorStack, rest);
    name_cause(rest, record);
}

/// The class and the message of an exception, where the line has named neither.
fn name_cause<'a>(trace: &'a [u8], record: &mut Record<'a>) {
    if record.has(Field::ErrorType) {
        return;
    }
    if let Some((class, message)) = trace::cause(trace) {
        record.text(Field::ErrorType, class);
        if let Some(message) = message.filter(|_| !record.has(Field::ErrorMessage)) {
            record.text(Field::ErrorMessage, message);
        }
    }
}

/// The message of the first line, going on to `end`.
fn extended<'a>(text: &'a [u8], from: usize, end: usize, record: &Record<'a>) -> &'a [u8] {
    let start = match record.message {
        Some(Value::Text(Str::Raw(message))) => {
            let start = (message.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
            if start <= from && start + message.len() + 1 == from { start } else { 0 }
        }
        _ => 0,
    };
    &text[start..end]
}
