//! PostgreSQL: the log on stderr with whatever prefix it has, csvlog, and jsonlog's names.
//!
//! (PostgreSQL documentation, "Error Reporting and Logging".) A given `log_line_prefix` is [`super::postgres_pattern`]'s; without one the
//! prefix is read as the text before the level: a time, ids in brackets, `user@database`, `name=value`.

use super::{Context, Decoded, csv, meaning, nginx, refuse};
use crate::{
    record::{Field, Record, Value},
    severity::Severity,
    text::Str,
    time::number,
};

const SPACE: &str = "postgresql.log";

/// Levels, and the kinds of lines that explain the one before.
pub fn severity(word: &[u8]) -> Option<Severity> {
    Some(match word {
        b"DEBUG" | b"DEBUG1" | b"DEBUG2" | b"DEBUG3" | b"DEBUG4" | b"DEBUG5" => Severity::DEBUG,
        b"LOG" | b"INFO" | b"DETAIL" | b"HINT" | b"QUERY" | b"CONTEXT" | b"STATEMENT" | b"LOCATION"
        | b"BACKTRACE" => Severity::INFO,
        b"NOTICE" => Severity::NOTICE,
        b"WARNING" => Severity::WARN,
        b"ERROR" => Severity::ERROR,
        b"FATAL" => Severity::FATAL,
        b"PANIC" => Severity::EMERGENCY,
        _ => return None,
    })
}

pub fn decode<'a>(text: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    let line = &text[..memchr::memchr(b'\n', text).unwrap_or(text.len())];
    let Some((start, end)) = level(line) else { return refuse(0, "no level such as 'LOG:  '") };
    let mut prefix = line[..start].trim_ascii();
    let from = prefix.strip_prefix(b"<").map_or(prefix, <[u8]>::trim_ascii_start);
    let Some((time, used)) = cx.clock.prefix(from) else { return refuse(0, "no time before the level") };
    record.time = Some(time);
    prefix = &from[used..];
    words(prefix, record);
    kind(&line[start..end], record);
    message(text[end + 1..].trim_ascii_start(), record);
    Ok(())
}

/// Where the level stands: behind a blank or at the start, before a colon and two blanks.
fn level(line: &[u8]) -> Option<(usize, usize)> {
    memchr::memmem::find_iter(line, b":  ").find_map(|colon| {
        let start = memchr::memrchr(b' ', &line[..colon]).map_or(0, |blank| blank + 1);
        severity(&line[start..colon]).map(|_| (start, colon))
    })
}

pub fn kind<'a>(word: &'a [u8], record: &mut Record<'a>) -> bool {
    record.severity = severity(word);
    if matches!(
        word,
        b"DETAIL" | b"HINT" | b"QUERY" | b"CONTEXT" | b"STATEMENT" | b"LOCATION" | b"BACKTRACE" | b"LOG"
    ) {
        record.push_sub(SPACE, Str::Raw(b"kind"), Value::Text(Str::Raw(word)));
    }
    record.severity.is_some()
}

fn words<'a>(prefix: &'a [u8], record: &mut Record<'a>) {
    for word in prefix.split(|b| matches!(b, b' ' | b',')).filter(|w| !w.is_empty()) {
        let bare = word.strip_suffix(b":").unwrap_or(word);
        let inner = bare.strip_prefix(b"[").and_then(|w| w.strip_suffix(b"]"));
        if let Some(ids) = inner {
            let dash = memchr::memchr(b'-', ids).unwrap_or(ids.len());
            match number(&ids[..dash]) {
                Some(pid) if !record.has(Field::Pid) => record.set(Field::Pid, Value::Int(pid)),
                _ => {}
            }
            if let Some(line) = ids.get(dash + 1..).filter(|l| !l.is_empty()) {
                meaning::named(SPACE, b"session_line_number", line, record);
            }
        } else if let Some(equals) = memchr::memchr(b'=', bare) {
            pair(&bare[..equals], &bare[equals + 1..], record);
        } else if let Some(at) = memchr::memchr(b'@', bare) {
            user(&bare[..at], record);
            database(&bare[at + 1..], record);
        } else if bare.len() == 5 && bare.iter().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase()) {
            record.push_sub(SPACE, Str::Raw(b"sql_state_code"), Value::Text(Str::Raw(bare)));
        }
    }
}

fn pair<'a>(key: &[u8], text: &'a [u8], record: &mut Record<'a>) {
    match key {
        b"user" => user(text, record),
        b"db" | b"database" => database(text, record),
        b"app" | b"application" => meaning::named(SPACE, b"application_name", text, record),
        b"client" | b"host" => {
            host(text, record);
        }
        _ => {}
    }
}

fn user<'a>(text: &'a [u8], record: &mut Record<'a>) {
    if !matches!(text, b"" | b"[unknown]") {
        record.text(Field::User, text);
    }
}

fn database<'a>(text: &'a [u8], record: &mut Record<'a>) {
    if !matches!(text, b"" | b"[unknown]") {
        record.push_sub(SPACE, Str::Raw(b"database"), Value::Text(Str::Raw(text)));
    }
}

/// `192.0.2.7`, `192.0.2.7(5432)`, `[local]`
pub fn host<'a>(text: &'a [u8], record: &mut Record<'a>) -> bool {
    if matches!(text, b"" | b"[local]" | b"[unknown]") {
        return true;
    }
    match memchr::memchr(b'(', text).zip(text.strip_suffix(b")")) {
        Some((open, inside)) => {
            nginx::client(&text[..open], record);
            if let Some(port) = number(&inside[open + 1..]) {
                record.set(Field::ClientPort, Value::Int(port));
            }
        }
        None => nginx::client(text, record),
    }
    true
}

/// The message, and from `duration: 0.286 ms  statement: select 1` what it says.
pub fn message<'a>(text: &'a [u8], record: &mut Record<'a>) -> bool {
    record.message = Some(Value::Text(Str::Raw(text)));
    let Some(rest) = text.strip_prefix(b"duration: ") else { return true };
    let Some(end) = memchr::memmem::find(rest, b" ms") else { return true };
    if let Some(nanos) = meaning::nanos(&rest[..end], 1_000_000) {
        record.set(Field::Duration, Value::Duration(nanos));
    }
    let rest = rest[end + 3..].trim_ascii_start();
    let verbs: [&[u8]; 4] = [b"statement: ", b"execute ", b"parse ", b"bind "];
    if verbs.iter().any(|verb| rest.starts_with(verb))
        && let Some(colon) = memchr::memmem::find(rest, b": ")
    {
        record.push_sub(SPACE, Str::Raw(b"query"), Value::Text(Str::Raw(&rest[colon + 2..])));
    }
    true
}

/// csvlog's columns (version 14 and later; earlier ones end sooner).
const COLUMNS: [&str; 26] = [
    "log_time",
    "user_name",
    "database",
    "process_id",
    "connection_from",
    "session_id",
    "session_line_number",
    "command_tag",
    "session_start_time",
    "virtual_transaction_id",
    "transaction_id",
    "error_severity",
    "sql_state_code",
    "message",
    "detail",
    "hint",
    "internal_query",
    "internal_query_pos",
    "context",
    "query",
    "query_pos",
    "location",
    "application_name",
    "backend_type",
    "leader_pid",
    "query_id",
];

pub fn csvlog<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    let (mut at, mut columns) = (0, 0);
    for name in COLUMNS {
        let Some((text, quoted, next)) = csv::value(line, at, b',') else { break };
        columns += 1;
        let start = at;
        at = next;
        let value = Value::Text(if quoted { Str::Doubled(text) } else { Str::Raw(text) });
        match name {
            "log_time" => match cx.clock.parse(text) {
                Some(time) => record.time = Some(time),
                None => return refuse(start, "no time in the first column"),
            },
            "error_severity" => {
                if !kind(text, record) {
                    return refuse(start, "no level in the twelfth column");
                }
            }
            "message" => {
                record.message = Some(value);
                if let Some(end) =
                    text.strip_prefix(b"duration: ").and_then(|t| memchr::memmem::find(t, b" ms"))
                    && let Some(nanos) = meaning::nanos(&text[10..10 + end], 1_000_000)
                {
                    record.set(Field::Duration, Value::Duration(nanos));
                }
            }
            _ if text.is_empty() => {}
            "user_name" => record.set(Field::User, value),
            "process_id" => match number(text) {
                Some(pid) => record.set(Field::Pid, Value::Int(pid)),
                None => return refuse(start, "no process id in the fourth column"),
            },
            "connection_from" => {
                let (address, port) = meaning::split_port(text);
                if address != b"[local]" {
                    nginx::client(address, record);
                }
                if let Some(port) = port {
                    record.set(Field::ClientPort, Value::Int(port));
                }
            }
            "session_line_number" | "transaction_id" | "leader_pid" => {
                meaning::named(SPACE, name.as_bytes(), text, record)
            }
            _ => record.push_sub(SPACE, Str::Raw(name.as_bytes()), value),
        }
    }
    if columns < 14 {
        return refuse(line.len(), "fewer columns than csvlog has");
    }
    Ok(())
}
