//! Servers with a notation of their own: Redis, MongoDB before 4.4, RabbitMQ, etcd's capnslog, zap's console.

use super::{
    Context, Decoded, json, meaning, refuse,
    template::{Fixed, fixed, run},
};
use crate::{
    record::{Field, Record, Value},
    severity::Severity,
    text::Str,
    time::number,
};

/// `31:M 21 Nov 2026 12:24:10.123 * message`; `[31] 21 Nov 12:24:10 * message` before 3.0. (Redis, `serverLogRaw`.)
pub fn redis<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    let mut rest = line;
    if let Some(inner) = line.strip_prefix(b"[") {
        let Some(end) = memchr::memchr(b']', inner) else { return refuse(0, "no process in brackets") };
        let Some(pid) = number(&inner[..end]) else { return refuse(1, "no process id") };
        record.set(Field::Pid, Value::Int(pid));
        rest = inner[end + 1..].trim_ascii_start();
    } else if let Some(colon) = memchr::memchr(b':', &line[..line.len().min(12)])
        && let Some(pid) = number(&line[..colon])
    {
        record.set(Field::Pid, Value::Int(pid));
        let behind = &line[colon + 1..];
        if let Some(handler) = behind.strip_prefix(b"signal-handler (") {
            let end = memchr::memchr(b')', handler).unwrap_or(0);
            let Some(time) = crate::time::epoch(&handler[..end]) else {
                return refuse(colon + 17, "no Unix time");
            };
            record.time = Some(time);
            record.severity = Some(Severity::WARN);
            record.message = Some(Value::Text(Str::Raw(handler[end + 1..].trim_ascii_start())));
            return Ok(());
        }
        let role = match behind.first() {
            Some(b'M') => "master",
            Some(b'S') => "replica",
            Some(b'C') => "child",
            Some(b'X') => "sentinel",
            _ => return refuse(colon + 1, "no role M, S, C or X"),
        };
        record.push_sub("redis.log", Str::Raw(b"role"), Value::Text(Str::Raw(role.as_bytes())));
        let Some(behind) = behind[1..].strip_prefix(b" ") else {
            return refuse(colon + 2, "no blank behind the role");
        };
        rest = behind;
    }
    let at = line.len() - rest.len();
    let Some((time, used)) = redis_time(rest, cx) else {
        return refuse(at, "no time such as 21 Nov 2026 12:24:10.123");
    };
    let level = match rest.get(used..used + 3) {
        Some([b' ', mark, b' ']) => match mark {
            b'.' => Severity::DEBUG,
            b'-' => Severity::INFO,
            b'*' => Severity::NOTICE,
            b'#' => Severity::WARN,
            _ => return refuse(at + used + 1, "no level . - * or #"),
        },
        _ => return refuse(at + used, "no level . - * or #"),
    };
    record.time = Some(time);
    record.severity = Some(level);
    record.message = Some(Value::Text(Str::Raw(&rest[used + 3..])));
    Ok(())
}

/// `21 Nov 2026 12:24:10.123`, without year and fraction in older versions.
fn redis_time(text: &[u8], cx: &mut Context) -> Option<(crate::time::Time, usize)> {
    let day = number(text.get(..2)?.trim_ascii_start())?;
    let month = crate::time::month(text.get(3..6)?)?;
    let year = text.get(7..11).and_then(number);
    let clock_at = if year.is_some() { 12 } else { 7 };
    let clock = crate::time::clock_time(text.get(clock_at..clock_at + 8)?)?;
    let mut used = clock_at + 8;
    let mut nanos = 0;
    if text.get(used) == Some(&b'.') {
        nanos = number(text.get(used + 1..used + 4)?)? * 1_000_000;
        used += 4;
    }
    let seconds = match year {
        Some(year) => cx.clock.resolve((year, month, day), clock, None)?,
        None => cx.clock.nearest_year(month, day, clock, None)?,
    };
    Some((crate::time::Time { seconds, nanos: u32::try_from(nanos).ok()? }, used))
}

/// `2026-11-21T12:24:10.123+0000 I NETWORK  [conn7] message` (MongoDB 3.0 to 4.2); later versions write JSON.
pub fn mongodb<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    if line.first() == Some(&b'{') {
        return json::decode(line, cx, record);
    }
    let Some((time, used)) = cx.clock.prefix(line) else { return refuse(0, "no time") };
    let Some(rest) = line[used..].strip_prefix(b" ") else { return refuse(used, "no blank behind the time") };
    let [letter, b' ', rest @ ..] = rest else { return refuse(used + 1, "no level of one letter") };
    let Some(level) = Severity::from_letter(*letter) else {
        return refuse(used + 1, "no level of one letter");
    };
    let end = memchr::memchr(b' ', rest).unwrap_or(rest.len());
    let component = &rest[..end];
    if !component.iter().all(|b| b.is_ascii_uppercase() || *b == b'-' || *b == b'_') || component.is_empty() {
        return refuse(used + 3, "no component in capitals");
    }
    let behind = rest[end..].trim_ascii_start();
    let Some(inner) = behind.strip_prefix(b"[") else {
        return refuse(line.len() - behind.len(), "no context in brackets");
    };
    let Some(close) = memchr::memchr(b']', inner) else {
        return refuse(line.len() - inner.len(), "the context has no end");
    };
    record.time = Some(time);
    record.severity = Some(level);
    if component != b"-" {
        record.push_sub("mongodb", Str::Raw(b"component"), Value::Text(Str::Raw(component)));
    }
    record.push_sub("mongodb", Str::Raw(b"context"), Value::Text(Str::Raw(&inner[..close])));
    let message = &inner[close + 1..];
    record.message = Some(Value::Text(Str::Raw(message.strip_prefix(b" ").unwrap_or(message))));
    Ok(())
}

/// `2026-11-21 12:24:10.123456+00:00 [info] <0.222.0> message` (RabbitMQ 3.9 and later, and 3.7 with milliseconds).
pub fn rabbitmq<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    if line.first() == Some(&b'{') {
        return json::decode(line, cx, record);
    }
    let first = &line[..memchr::memchr(b'\n', line).unwrap_or(line.len())];
    let Some((time, used)) = cx.clock.prefix(first) else { return refuse(0, "no time") };
    let Some(inner) = first[used..].strip_prefix(b" [") else { return refuse(used, "no level in brackets") };
    let Some(close) = memchr::memchr(b']', inner).filter(|c| *c < 12) else {
        return refuse(used + 2, "no level in brackets");
    };
    let Some(level) = super::program::level(&inner[..close]) else {
        return refuse(used + 2, "no level in brackets");
    };
    let at = used + 2 + close + 1;
    let Some(process) = line[at..].strip_prefix(b" <") else {
        return refuse(at, "no Erlang process such as <0.222.0>");
    };
    let Some(end) = memchr::memchr(b'>', process).filter(|e| *e < 24) else {
        return refuse(at, "no Erlang process");
    };
    record.time = Some(time);
    record.severity = Some(level);
    record.push_sub("rabbitmq.log", Str::Raw(b"pid"), Value::Text(Str::Raw(&line[at + 1..at + 2 + end + 1])));
    // A report of several lines begins on the next one.
    let message = &process[end + 1..];
    let message = message.strip_prefix(b" ").or(message.strip_prefix(b"\n")).unwrap_or(message);
    record.message = Some(Value::Text(Str::Raw(message)));
    Ok(())
}

/// etcd's capnslog: `2026-11-21 12:24:10.123456 I | etcdserver: message`.
static CAPNSLOG: Fixed = Fixed::new(|| fixed("<time> <letter> | <logger>: <message>", "etcd"));

pub fn etcd<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    if line.first() == Some(&b'{') {
        return json::decode(line, cx, record);
    }
    run(&CAPNSLOG, line, cx, record)
}

/// Icinga 2 (its documentation, "Logging"): `[2026-11-21 12:24:10 +0000] information/Checkable: message`; at start without a time.
static ICINGA: Fixed = Fixed::new(|| fixed("[<time>] <level>/<logger>: <message>", "icinga"));
static ICINGA_START: Fixed = Fixed::new(|| fixed("<level>/<logger>: <message>", "icinga"));

pub fn icinga<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    match line.first() {
        Some(b'[') => run(&ICINGA, line, cx, record),
        _ => run(&ICINGA_START, line, cx, record),
    }
}

/// zap's console: `2026-11-21T12:24:10.123Z\tINFO\tlogger\tfile.go:7\tmessage\t{"key":"value"}`, logger and caller where they are on.
pub fn zap<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    let mut words = line.split(|b| *b == b'\t');
    let Some(time) = words.next().and_then(|t| cx.clock.parse(t)) else {
        return refuse(0, "no time before a tab");
    };
    let Some(level) = words.next().and_then(super::program::level) else {
        return refuse(0, "no level behind the time");
    };
    record.time = Some(time);
    record.severity = Some(level);
    let mut rest: [Option<&'a [u8]>; 5] = [None; 5];
    for (slot, word) in rest.iter_mut().zip(words) {
        *slot = Some(word);
    }
    let is_caller = |word: &[u8]| {
        memchr::memrchr(b':', word).is_some_and(|c| number(&word[c + 1..]).is_some())
            && memchr::memchr(b' ', word).is_none()
    };
    let mut place = 0;
    if let (Some(first), Some(second)) = (rest[0], rest[1]) {
        if is_caller(first) {
            super::values::origin(Str::Raw(first), record);
            place = 1;
        } else if is_caller(second) {
            record.text(Field::Logger, first);
            super::values::origin(Str::Raw(second), record);
            place = 2;
        } else if rest[2].is_some() || !second.starts_with(b"{") {
            record.text(Field::Logger, first);
            place = 1;
        }
    }
    let Some(message) = rest.get(place).copied().flatten() else { return refuse(line.len(), "no message") };
    record.message = Some(Value::Text(Str::Raw(message)));
    if let Some(fields) = rest.get(place + 1).copied().flatten() {
        let read = crate::json::object(fields, |member| {
            record.push(member.key, super::values::value(&member.value))
        });
        if read.is_err() {
            record.note("fields");
        }
    }
    Ok(())
}

/// The letter of capnslog.
pub fn capnslog_level<'a>(text: &'a [u8], record: &mut Record<'a>) -> bool {
    text.len() == 1 && meaning::letter(text, record)
}
