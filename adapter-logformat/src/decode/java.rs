//! What Java's programs write out of the box: Spring Boot, Tomcat, Kafka, ZooKeeper, Elasticsearch. Each is a logging library's pattern.

use super::{
    Context, Decoded, Refusal, behind, refuse,
    template::{Fixed, fixed, run},
};
use crate::{
    record::{Field, Record, Value},
    text::Str,
    time::number,
};

/// log4j's `[%d] %p %m (%c)%n` (Kafka, `config/log4j.properties`); a message of several lines has the logger at its very end.
static KAFKA: Fixed = Fixed::new(|| fixed("[<time>] <level> <message> (<logger>)", "kafka"));
static KAFKA_TRACE: Fixed = Fixed::new(|| fixed("[<time>] <level> <message>", "kafka"));
/// `[%d{ISO8601}][%-5p][%-25c{1.}] [%node_name]%marker %m%n` (Elasticsearch, `config/log4j2.properties`).
static ELASTIC: Fixed =
    Fixed::new(|| fixed("[<time>][<level~>][<logger~>] [<node.name~*>] <message>", "elasticsearch"));
static ELASTIC_BARE: Fixed = Fixed::new(|| fixed("[<time>][<level~>][<logger~>] <message>", "elasticsearch"));
/// `%1$td-%1$tb-%1$tY … %4$s [%3$s] %2$s %5$s` (Tomcat, `org.apache.juli.OneLineFormatter`).
static TOMCAT: Fixed = Fixed::new(|| fixed("<time> <level> [<thread*>] <logger> <message>", "tomcat"));

pub fn kafka<'a>(text: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    let end = memchr::memchr(b'\n', text).unwrap_or(text.len());
    let line = text[..end].strip_suffix(b"\r").unwrap_or(&text[..end]);
    let alone = line.ends_with(b")") && run(&KAFKA, line, cx, record).is_ok() && logger(record);
    if !alone {
        record.clear();
    }
    // A list of settings, or a trace: its last line has the logger.
    let text = match (alone, text.get(end + 1..).and_then(last_logger)) {
        (true, _) => text,
        (false, Some((name, used))) => {
            run(&KAFKA_TRACE, line, cx, record)?;
            record.text(Field::Logger, name);
            &text[..end + 1 + used]
        }
        (false, None) if line.trim_ascii_end().ends_with(b":") => {
            run(&KAFKA_TRACE, line, cx, record)?;
            text
        }
        (false, None) => return refuse(line.len(), "no logger in parentheses at the end"),
    };
    component(record);
    if end < text.len() {
        behind::read(text, end + 1, record);
    }
    Ok(())
}

/// ` (kafka.server.KafkaConfig)` at the end of what follows the first line: the logger, and how many bytes stand before that.
fn last_logger(rest: &[u8]) -> Option<(&[u8], usize)> {
    let rest = rest.trim_ascii_end();
    let open = memchr::memrchr(b'(', rest)?;
    let name = rest[open + 1..].strip_suffix(b")").filter(|name| is_logger(name) && name.contains(&b'.'))?;
    (open > 0 && rest[open - 1].is_ascii_whitespace()).then(|| (name, rest[..open].trim_ascii_end().len()))
}

/// `[GroupCoordinator 0]: …`: which part of the broker speaks, also in a field of its own.
fn component<'a>(record: &mut Record<'a>) {
    let Some(Value::Text(text)) = record.message else { return };
    let Some(inner) = text.bytes().strip_prefix(b"[") else { return };
    if let Some(close) = memchr::memchr(b']', inner) {
        record.push_sub("kafka.log", Str::Raw(b"component"), Value::Text(Str::Raw(&inner[..close])));
    }
}

/// A parenthesis at the end of a message is a logger only when it looks like one.
fn logger(record: &Record<'_>) -> bool {
    record.fields().iter().any(|(name, value)| match (name, value) {
        (crate::record::Name::Known(Field::Logger), Value::Text(text)) => is_logger(text.bytes()),
        _ => false,
    })
}

fn is_logger(name: &[u8]) -> bool {
    name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'$' | b'-'))
}

pub fn elasticsearch<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    if line.first() == Some(&b'{') {
        return super::json::decode(line, cx, record);
    }
    if run(&ELASTIC, line, cx, record).is_ok() {
        return Ok(());
    }
    record.clear();
    let bare = run(&ELASTIC_BARE, line, cx, record);
    if bare.is_err() {
        record.clear();
        return audit(line, cx, record).or(bare);
    }
    // logstash has the pipeline behind the logger: `[INFO ][logstash.agent][main]`.
    if let Some(text) = known(record, Field::Logger)
        && let Some(gap) = memchr::memmem::find(text, b"][")
    {
        record.text(Field::Logger, text[..gap].trim_ascii());
        record.push_sub("logstash", Str::Raw(b"pipeline_id"), Value::Text(Str::Raw(&text[gap + 2..])));
    }
    Ok(())
}

/// The text of a shared field that holds one.
fn known<'a>(record: &Record<'a>, field: Field) -> Option<&'a [u8]> {
    record.fields().iter().find_map(|(name, value)| match (name, value) {
        (crate::record::Name::Known(f), Value::Text(text)) if *f == field => Some(text.bytes()),
        _ => None,
    })
}

/// The audit log of 6.x: `[time] [node] [rest] [authentication_failed]  origin_address=[192.0.2.7], principal=[bob], uri=[/]`.
fn audit<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    let Some(inner) = line.strip_prefix(b"[") else { return refuse(0, "no time in brackets") };
    let Some((time, used)) = cx.clock.prefix(inner) else { return refuse(1, "no time in brackets") };
    let mut rest = &inner[used..];
    let mut words: [&[u8]; 3] = [b""; 3];
    let mut count = 0;
    while let Some(word) = rest.strip_prefix(b"] [") {
        let Some(end) = memchr::memchr(b']', word).filter(|_| count < 3) else { break };
        words[count] = &word[..end];
        count += 1;
        rest = &word[end..];
    }
    let pairs = rest.strip_prefix(b"]").map(<[u8]>::trim_ascii_start).filter(|p| p.contains(&b'='));
    let (Some(pairs), 2..) = (pairs, count) else {
        return refuse(line.len() - rest.len(), "no level in brackets");
    };
    record.time = Some(time);
    for (name, word) in ["event_type", "layer", "node"].iter().zip(words[..count].iter().rev()) {
        super::meaning::named("elasticsearch.audit", name.as_bytes(), word, record);
    }
    let mut at = pairs;
    while let Some(open) = memchr::memmem::find(at, b"=[") {
        let (key, value) = (&at[..open], &at[open + 2..]);
        let end =
            memchr::memmem::find(value, b"], ").or_else(|| value.ends_with(b"]").then(|| value.len() - 1));
        let Some(end) = end else { break };
        match key {
            b"origin_address" => super::meaning::client_port(&value[..end], record),
            b"principal" => record.text(Field::User, &value[..end]),
            b"uri" => record.text(Field::Url, &value[..end]),
            _ => super::meaning::named("elasticsearch.audit", key, &value[..end], record),
        }
        at = value.get(end + 3..).unwrap_or_default();
    }
    Ok(())
}

/// `org.apache.catalina.startup.Catalina.start`: class and method.
pub fn tomcat<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    if line.get(2) != Some(&b'-') {
        return refuse(0, "no time such as 21-Nov-2026 12:24:10.123");
    }
    run(&TOMCAT, line, cx, record)?;
    let place = record.fields().iter().find_map(|(name, value)| match (name, value) {
        (crate::record::Name::Known(Field::Logger), Value::Text(text)) => Some(text.bytes()),
        _ => None,
    });
    if let Some(place) = place
        && let Some(dot) = memchr::memrchr(b'.', place)
    {
        record.text(Field::Logger, &place[..dot]);
        record.text(Field::Function, &place[dot + 1..]);
    }
    Ok(())
}

/// `… [myid:1] - INFO  [main:Quorum@48] - message`: `%d{ISO8601} [myid:%X{myid}] - %-5p  [%t:%C{1}@%L] - %m%n`.
pub fn zookeeper<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    let bad = |at, reason| refuse(at, reason);
    let Some((time, used)) = cx.clock.prefix(line) else { return bad(0, "no time") };
    let mut rest = &line[used..];
    let at = |rest: &[u8]| line.len() - rest.len();
    if let Some(inner) = rest.strip_prefix(b" [myid:") {
        let Some(end) = memchr::memchr(b']', inner) else { return bad(at(rest), "[myid: has no end") };
        super::meaning::named("zookeeper", b"myid", &inner[..end], record);
        rest = &inner[end + 1..];
    }
    let Some(behind) = rest.strip_prefix(b" - ") else { return bad(at(rest), "no ' - ' before the level") };
    let level_end = memchr::memchr(b' ', behind).unwrap_or(behind.len());
    let Some(level) = super::program::level(&behind[..level_end]) else { return bad(at(behind), "no level") };
    let place = behind[level_end..].trim_ascii_start();
    let Some(inner) = place.strip_prefix(b"[") else { return bad(at(place), "no [thread:Class@line]") };
    let Some(end) = memchr::memmem::find(inner, b"] - ") else {
        return bad(at(inner), "no '] - ' before the message");
    };
    origin(&inner[..end], record);
    record.time = Some(time);
    record.severity = Some(level);
    record.message = Some(Value::Text(Str::Raw(&inner[end + 4..])));
    Ok(())
}

/// `thread:Class@line`, where a thread's name holds colons of its own.
fn origin<'a>(text: &'a [u8], record: &mut Record<'a>) {
    let (text, line) = match memchr::memrchr(b'@', text) {
        Some(mark) if number(&text[mark + 1..]).is_some() => (&text[..mark], number(&text[mark + 1..])),
        _ => (text, None),
    };
    match memchr::memrchr(b':', text) {
        Some(colon) => {
            record.text(Field::ThreadName, &text[..colon]);
            record.text(Field::Logger, &text[colon + 1..]);
        }
        None => record.text(Field::ThreadName, text),
    }
    if let Some(line) = line {
        record.set(Field::Line, Value::Int(line));
    }
}

/// `TIME  LEVEL PID --- [app] [thread] [trace-span] logger : message`: app since Spring Boot 3.2, trace with Micrometer.
pub fn spring<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    let Some((time, used)) = cx.clock.prefix(line) else { return refuse(0, "no time") };
    let head = &line[used..];
    let Some(dashes) = memchr::memmem::find(&head[..head.len().min(64)], b" --- [") else {
        return refuse(used, "no ' --- [' behind the process");
    };
    let mut words = head[..dashes].split(|b| *b == b' ').filter(|w| !w.is_empty());
    let Some(level) = words.next().and_then(super::program::level) else { return refuse(used, "no level") };
    // Without a process id there is nothing between level and dashes.
    let pid = words.next().map(number);
    if pid == Some(None) || words.next().is_some() {
        return refuse(used, "no process id");
    }
    let mut rest = &head[dashes + 5..];
    let mut groups: [&[u8]; 3] = [b""; 3];
    let mut count = 0;
    while let Some(inner) = rest.strip_prefix(b"[")
        && count < 3
    {
        let Some(end) = memchr::memmem::find(inner, b"] ") else { break };
        groups[count] = inner[..end].trim_ascii();
        count += 1;
        rest = &inner[end + 2..];
    }
    let Some(colon) =
        memchr::memmem::find(rest, b" : ").or_else(|| rest.ends_with(b" :").then(|| rest.len() - 2))
    else {
        return Err(Refusal { at: line.len() - rest.len(), reason: "no ' : ' behind the logger" });
    };
    let trace = |group: &[u8]| group.iter().all(|b| b.is_ascii_hexdigit() || matches!(b, b'-' | b','));
    match (count, groups) {
        (3, [app, thread, ids]) => spring_names(Some(app), thread, Some(ids), record),
        (2, [thread, ids, _]) if ids.len() > 30 && trace(ids) || ids.is_empty() => {
            spring_names(None, thread, Some(ids), record)
        }
        (2, [app, thread, _]) => spring_names(Some(app), thread, None, record),
        (_, [thread, ..]) => spring_names(None, thread, None, record),
    }
    record.time = Some(time);
    record.severity = Some(level);
    if let Some(Some(pid)) = pid {
        record.set(Field::Pid, Value::Int(pid));
    }
    record.text(Field::Logger, rest[..colon].trim_ascii());
    record.message = Some(Value::Text(Str::Raw(rest.get(colon + 3..).unwrap_or_default())));
    Ok(())
}

fn spring_names<'a>(app: Option<&'a [u8]>, thread: &'a [u8], ids: Option<&'a [u8]>, record: &mut Record<'a>) {
    if let Some(app) = app.filter(|a| !a.is_empty()) {
        record.text(Field::Service, app);
    }
    record.text(Field::ThreadName, thread);
    if let Some(ids) = ids.filter(|ids| ids.len() > 2)
        && let Some(dash) = ids.iter().position(|b| matches!(b, b'-' | b','))
    {
        record.text(Field::TraceId, &ids[..dash]);
        record.text(Field::SpanId, &ids[dash + 1..]);
    }
}
