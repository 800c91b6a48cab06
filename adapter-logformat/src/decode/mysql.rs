//! MySQL and MariaDB: the error log in the notations of 5.5 to 8.4, and the slow query log.
//!
//! (MySQL 8.4 manual, "The Error Log", "The Slow Query Log"; MariaDB, "Error Log", "Slow Query Log".)

use super::{Context, Decoded, logfmt, meaning, nginx, refuse};
use crate::{
    record::{Field, Record, Value},
    severity::Severity,
    text::Str,
    time::{Time, clock_time, number},
};

/// `2026-11-21T12:24:10.123456Z 0 [System] [MY-010116] [Server] message`, without code and subsystem before 8.0, `YYMMDD HH:MM:SS [Note] …`
/// before 5.7.
pub fn error<'a>(text: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    let line = &text[..memchr::memchr(b'\n', text).unwrap_or(text.len())];
    let Some((time, used)) = time(line, cx) else { return refuse(0, "no time") };
    record.time = Some(time);
    let mut rest = line[used..].trim_ascii_start();
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    if digits > 0 && rest.get(digits) == Some(&b' ') {
        if let Some(thread) = number(&rest[..digits]) {
            record.set(Field::ThreadId, Value::Int(thread));
        }
        rest = rest[digits..].trim_ascii_start();
    }
    let bracketed = rest.strip_prefix(b"[").and_then(|inner| Some((inner, memchr::memchr(b']', inner)?)));
    if let Some((inner, end)) = bracketed
        && let Some(level) = level(&inner[..end])
    {
        record.severity = Some(level);
        rest = inner[end + 1..].trim_ascii_start();
        for field in [Field::ErrorCode, Field::Logger] {
            let Some(inner) = rest.strip_prefix(b"[") else { break };
            let Some(end) = memchr::memchr(b']', inner) else { break };
            if field == Field::ErrorCode && !inner.starts_with(b"MY-") {
                break;
            }
            record.text(field, &inner[..end]);
            rest = inner[end + 1..].trim_ascii_start();
        }
    } else if !(rest.starts_with(b"mysqld") || rest.starts_with(b"mariadbd") || rest.starts_with(b"InnoDB:"))
    {
        return refuse(used, "no level in brackets");
    }
    let at = line.len() - rest.len();
    record.message = Some(Value::Text(Str::Raw(&text[at..])));
    Ok(())
}

fn level(word: &[u8]) -> Option<Severity> {
    Some(match word {
        b"ERROR" | b"Error" => Severity::ERROR,
        b"Warning" | b"WARNING" => Severity::WARN,
        b"Note" | b"Info" | b"System" | b"NOTE" | b"Server" => Severity::INFO,
        _ => return None,
    })
}

/// `2026-11-21 12:24:10`, and the short `261121 12:24:10`; an hour of one digit has a blank in front (MariaDB, MySQL 5.5).
fn time(line: &[u8], cx: &mut Context) -> Option<(Time, usize)> {
    let long = line.get(4) == Some(&b'-');
    if long && let Some(read) = cx.clock.prefix(line) {
        return Some(read);
    }
    let (year, rest) = if long {
        (number(line.get(..4)?)?, [line.get(5..7)?, line.get(8..10)?])
    } else {
        (2000 + number(line.get(..2)?)?, [line.get(2..4)?, line.get(4..6)?])
    };
    let at = if long { 11 } else { 7 };
    let mut clock: [u8; 8] = line.get(at..at + 8)?.try_into().ok()?;
    if clock[0] == b' ' {
        clock[0] = b'0';
    }
    let date = (year, number(rest[0])?, number(rest[1])?);
    let seconds = cx.clock.resolve(date, clock_time(&clock)?, None)?;
    (line[at - 1] == b' ').then_some((Time { seconds, nanos: 0 }, at + 8))
}

/// `# Time`, `# User@Host`, `# Query_time …`, then the statements.
pub fn slow<'a>(text: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    let mut at = 0;
    let mut seen = false;
    // A time that names its zone; `SET timestamp` knows better than one that does not.
    let mut zoned = false;
    while let Some(rest) = text.get(at..).filter(|r| !r.is_empty()) {
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
        let Some(comment) = line.strip_prefix(b"# ") else {
            if line != b"#" && !statement_head(line, zoned, record) {
                break;
            }
            at += end + 1;
            continue;
        };
        seen = true;
        if let Some(stamp) = comment.strip_prefix(b"Time: ") {
            match time(stamp.trim_ascii(), cx).or_else(|| cx.clock.prefix(stamp.trim_ascii())) {
                Some((time, _)) => record.time = Some(time),
                None => record.note("time"),
            }
            zoned = stamp.get(10) == Some(&b'T');
        } else if let Some(user) = comment.strip_prefix(b"User@Host: ") {
            user_host(user, record);
        } else {
            pairs(comment, record);
        }
        at += end + 1;
    }
    if !seen {
        if memchr::memmem::find(text, b"Version: ").is_some()
            || text.starts_with(b"Tcp port:")
            || text.starts_with(b"Time  ")
        {
            record.message = Some(Value::Text(Str::Raw(text)));
            return Ok(());
        }
        return refuse(0, "no '# Time', '# User@Host' or '# Query_time'");
    }
    let query = text.get(at..).unwrap_or_default().trim_ascii_end();
    if !query.is_empty() {
        record.message = Some(Value::Text(Str::Raw(query)));
    }
    Ok(())
}

/// `use shop;` and `SET timestamp=…;` stand before the statement; the latter is the time where no other is.
fn statement_head<'a>(line: &'a [u8], zoned: bool, record: &mut Record<'a>) -> bool {
    let lower = line.get(..4).map(<[u8]>::to_ascii_lowercase).unwrap_or_default();
    if lower == b"use " && line.ends_with(b";") {
        let name = line[4..line.len() - 1].trim_ascii();
        let name = name.strip_prefix(b"`").and_then(|n| n.strip_suffix(b"`")).unwrap_or(name);
        record.push_sub("mysql.slowlog", Str::Raw(b"schema"), Value::Text(Str::Raw(name)));
        return true;
    }
    let Some(stamp) = line.strip_prefix(b"SET timestamp=").and_then(|s| s.strip_suffix(b";")) else {
        return false;
    };
    match crate::time::epoch(stamp) {
        Some(time) => {
            record.time = record.time.filter(|_| zoned).or(Some(time));
            true
        }
        None => false,
    }
}

/// `root[root] @ localhost [127.0.0.1]  Id:     3`
fn user_host<'a>(text: &'a [u8], record: &mut Record<'a>) {
    let Some(mark) = memchr::memmem::find(text, b" @ ") else { return record.note("user") };
    let user = &text[..memchr::memchr(b'[', &text[..mark]).unwrap_or(mark)];
    if !user.is_empty() {
        record.text(Field::User, user);
    }
    let rest = &text[mark + 3..];
    let open = memchr::memchr(b'[', rest);
    let host = rest[..open.unwrap_or(rest.len())].trim_ascii();
    let ip = open.and_then(|open| {
        let inner = &rest[open + 1..];
        Some(&inner[..memchr::memchr(b']', inner)?])
    });
    match ip.filter(|ip| !ip.is_empty()) {
        Some(ip) => nginx::client(ip, record),
        None if !host.is_empty() => record.text(Field::ClientAddress, host),
        None => {}
    }
    if !host.is_empty() {
        record.push_sub("source", Str::Raw(b"domain"), Value::Text(Str::Raw(host)));
    }
    if let Some(id) = memchr::memmem::find(rest, b"Id: ") {
        meaning::named("mysql", b"thread_id", rest[id + 4..].trim_ascii(), record);
    }
}

/// `Query_time: 0.2  Lock_time: 0.0  Rows_sent: 1`
fn pairs<'a>(text: &'a [u8], record: &mut Record<'a>) {
    let mut rest = text.trim_ascii();
    while let Some(colon) = memchr::memchr(b':', rest) {
        let key = rest[..colon].trim_ascii();
        let behind = &rest[colon + 1..];
        // A value without text is followed by two blanks and the next key.
        let value = behind.trim_ascii_start();
        let skipped = behind.len() - value.len();
        let end = memchr::memchr(b' ', value).unwrap_or(value.len());
        let empty = skipped > 1 && value[..end].ends_with(b":");
        let (value, next) =
            if empty { (&b""[..], value) } else { (&value[..end], value[end..].trim_ascii_start()) };
        pair(key, value, record);
        if next.len() >= rest.len() {
            return;
        }
        rest = next;
    }
}

fn pair<'a>(key: &'a [u8], value: &'a [u8], record: &mut Record<'a>) {
    let name: &[u8] = match key {
        b"Query_time" => {
            match meaning::nanos(value, 1_000_000_000) {
                Some(nanos) => record.set(Field::Duration, Value::Duration(nanos)),
                None => record.note("duration"),
            }
            return;
        }
        b"Thread_id" | b"Id" => return meaning::named("mysql", b"thread_id", value, record),
        b"Schema" => b"schema",
        b"Last_errno" => b"last_errno",
        b"Killed" => b"killed",
        b"Rows_sent" => b"rows_sent",
        b"Rows_examined" => b"rows_examined",
        b"Rows_affected" => b"rows_affected",
        b"Bytes_sent" => b"bytes_sent",
        b"Bytes_received" => b"bytes_received",
        b"Lock_time" => b"lock_time.sec",
        b"QC_Hit" | b"QC_hit" => b"query_cache_hit",
        b"Full_scan" => b"full_scan",
        b"Full_join" => b"full_join",
        b"Tmp_table" => b"tmp_table",
        b"Tmp_table_on_disk" => b"tmp_table_on_disk",
        b"Filesort" => b"filesort",
        b"Filesort_on_disk" => b"filesort_on_disk",
        b"Tmp_tables" => b"tmp_tables",
        b"Tmp_disk_tables" => b"tmp_disk_tables",
        b"Tmp_table_sizes" => b"tmp_table_sizes",
        b"Merge_passes" => b"merge_passes",
        b"Log_slow_rate_type" => b"log_slow_rate_type",
        b"Log_slow_rate_limit" => b"log_slow_rate_limit",
        b"InnoDB_IO_r_ops" => b"innodb.io_r_ops",
        b"InnoDB_IO_r_bytes" => b"innodb.io_r_bytes",
        b"InnoDB_IO_r_wait" => b"innodb.io_r_wait.sec",
        b"InnoDB_rec_lock_wait" => b"innodb.rec_lock_wait.sec",
        b"InnoDB_queue_wait" => b"innodb.queue_wait.sec",
        b"InnoDB_pages_distinct" => b"innodb.pages_distinct",
        b"InnoDB_trx_id" => b"innodb.trx_id",
        other => other,
    };
    if value.is_empty() || name.iter().any(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.'))) {
        return;
    }
    let value = match value {
        b"Yes" => Value::Json(b"true"),
        b"No" => Value::Json(b"false"),
        _ if name == b"innodb.trx_id" => Value::Text(Str::Raw(value)),
        _ if logfmt::is_number(value) => Value::Json(value),
        _ => Value::Text(Str::Raw(value)),
    };
    record.push_sub("mysql.slowlog", Str::Raw(name), value);
}
