//! Lines that hold another one: what a runtime wraps around a program's line as JSON (Docker's json-file and journald's export), Serilog's templates, and
//! audit records with texts in hexadecimal. What is inside is made readable in a buffer and read as what it is; the line outside adds what that does not say.
//!
//! (moby `daemon/logger/jsonfilelog`; systemd, "Journal Export Formats", "JSON format".)

use super::{Context, Decoded, Format, auditd, clef, cri, detect, json, mapper, refuse};
use crate::{
    json::{Member, Token, object},
    record::{Record, Value},
    text::{Str, strip_ansi},
};

/// What a line turned out to be wrapped in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wrapped {
    Docker,
    Journald,
    /// Serilog: the buffer has the message.
    Template,
    /// The buffer has the line without hexadecimal texts.
    Audit,
}

impl Wrapped {
    /// What its records count as.
    pub fn format(self) -> Format {
        match self {
            Wrapped::Docker => Format::Docker,
            Wrapped::Journald => Format::Journald,
            Wrapped::Template => Format::Json,
            Wrapped::Audit => Format::Auditd,
        }
    }
}

/// Docker's members.
#[derive(Clone, Copy, Debug)]
pub struct Docker<'a> {
    pub log: Str<'a>,
    pub stream: &'a [u8],
    pub time: &'a [u8],
    attrs: Option<&'a [u8]>,
}

impl Docker<'_> {
    /// Longer lines are cut; only the last piece ends with a newline.
    pub fn partial(&self) -> bool {
        !self.log.bytes().ends_with(b"\\n")
    }
}

/// The members of a line that `dockerd` wrote; `None` where it is none.
pub fn docker(line: &[u8]) -> Option<Docker<'_>> {
    // Loggers begin with the time, too; a second look is for those that have a stream as well.
    let likely = line.starts_with(b"{\"log\":\"")
        || (line.starts_with(b"{\"stream\":\"std") || line.starts_with(b"{\"time\":\""))
            && memchr::memmem::find(line, b"\"stream\":\"std").is_some();
    if !likely {
        return None;
    }
    let mut found = Docker { log: Str::Raw(b""), stream: b"", time: b"", attrs: None };
    let (mut log, mut other) = (false, false);
    object(line, |member| match (member.key.bytes(), member.value) {
        (b"log", Token::Text(text)) => (found.log, log) = (text, true),
        (b"stream", Token::Text(text)) => found.stream = text.bytes(),
        (b"time", Token::Text(text)) => found.time = text.bytes(),
        (b"attrs", Token::Object { raw, clean: true }) => found.attrs = Some(raw),
        _ => other = true,
    })
    .ok()?;
    let good =
        log && !other && matches!(found.stream, b"stdout" | b"stderr") && found.time.get(10) == Some(&b'T');
    good.then_some(found)
}

/// Fills `to` with what is inside of `line`, where there is something and lines of this format (`None`: of any) have it.
pub fn unwrap(line: &[u8], format: Option<Format>, to: &mut Vec<u8>) -> Option<Wrapped> {
    let any = matches!(format, None | Some(Format::Docker | Format::Journald | Format::Cri));
    match line.first()? {
        b'{' => {}
        b't' | b'n' if any || format == Some(Format::Auditd) => {
            let found = auditd::unhex(line, to).then_some(Wrapped::Audit);
            if found.is_some() {
                printable(to);
            }
            return found;
        }
        _ => return None,
    }
    if (any || format == Some(Format::Json)) && clef::render(line, to) {
        printable(to);
        return Some(Wrapped::Template);
    }
    if !any {
        return None;
    }
    if let Some(docker) = docker(line) {
        to.clear();
        docker.log.resolve(to);
        strip_newline(to);
        printable(to);
        return Some(Wrapped::Docker);
    }
    let third = *line.get(2)?;
    if !(third == b'_' || third.is_ascii_uppercase())
        || memchr::memmem::find(line, b"\"__REALTIME_TIMESTAMP\"").is_none()
    {
        return None;
    }
    let mut message = None;
    object(line, |member| {
        if member.key.bytes() == b"MESSAGE" {
            message = Some(member.value);
        }
    })
    .ok()?;
    to.clear();
    match message? {
        Token::Text(text) => text.resolve(to),
        // Bytes that are no text are an array of numbers.
        Token::Array { raw, .. } => {
            for number in raw[1..raw.len() - 1].split(|b| *b == b',') {
                let byte = crate::time::number(number.trim_ascii()).and_then(|n| u8::try_from(n).ok())?;
                to.push(byte);
            }
        }
        _ => return None,
    }
    strip_newline(to);
    printable(to);
    Some(Wrapped::Journald)
}

/// The line outside is UTF-8, and so has to be the one inside: bytes that are not show as `\xHH`. The raw line has them as they were.
/// Colours go, as they do from any line.
fn printable(text: &mut Vec<u8>) {
    if memchr::memchr(0x1b, text).is_some() {
        let mut plain = Vec::with_capacity(text.len());
        strip_ansi(text, &mut plain);
        *text = plain;
    }
    if simdutf8::basic::from_utf8(text).is_ok() {
        return;
    }
    let mut shown = Vec::with_capacity(text.len() + 16);
    for chunk in text.utf8_chunks() {
        shown.extend_from_slice(chunk.valid().as_bytes());
        for byte in chunk.invalid() {
            shown.extend_from_slice(format!("\\x{byte:02X}").as_bytes());
        }
    }
    *text = shown;
}

fn strip_newline(text: &mut Vec<u8>) {
    if text.last() == Some(&b'\n') {
        text.pop();
    }
    if text.last() == Some(&b'\r') {
        text.pop();
    }
}

/// Reads the line and what was inside of it.
pub fn decode<'a>(
    wrapped: Wrapped,
    line: &'a [u8],
    content: &'a [u8],
    cx: &mut Context,
    record: &mut Record<'a>,
) -> Decoded {
    match wrapped {
        Wrapped::Template => {
            json::decode(line, cx, record)?;
            let template = record.message.replace(Value::Text(Str::Raw(content)));
            if let (Some(template), Some(name)) = (template, line.get(2)) {
                // What groups events of one kind, under the logger's own name for it.
                let name: &[u8] = if *name == b'@' { b"@mt" } else { b"MessageTemplate" };
                record.push(Str::Raw(name), template);
            }
            return Ok(());
        }
        Wrapped::Audit => return auditd::decode(content, cx, record),
        Wrapped::Docker | Wrapped::Journald => {}
    }
    detect::content(content, cx, record);
    if record.message.is_none() {
        record.message = Some(Value::Text(Str::Raw(content)));
    }
    match wrapped {
        Wrapped::Docker => {
            let Some(docker) = docker(line) else { return refuse(0, "no line of Docker's json-file") };
            record.time = record.time.or_else(|| cx.clock.parse(docker.time));
            record.text(crate::record::Field::Stream, docker.stream);
            if let Some(attrs) = docker.attrs {
                record.push_sub("docker", Str::Raw(b"attrs"), Value::Json(attrs));
            }
            Ok(())
        }
        _ => {
            let mut members: Vec<Member<'a>> = Vec::new();
            object(line, |member| {
                if member.key.bytes() != b"MESSAGE" && members.len() < 128 {
                    members.push(member);
                }
            })
            .map_err(|fault| super::Refusal { at: fault.at, reason: fault.reason })?;
            let ecs = record.ecs;
            mapper::map(members.iter(), cx, record);
            record.ecs = ecs;
            Ok(())
        }
    }
}

/// A line by itself, where nobody has unwrapped it: what is inside is the message.
pub fn docker_decode<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    if line.first() != Some(&b'{') {
        // Joined pieces come in the notation of the container runtimes.
        return cri::decode(line, cx, record);
    }
    let Some(found) = docker(line) else { return refuse(0, "no object with log, stream and time") };
    record.time = cx.clock.parse(found.time);
    record.text(crate::record::Field::Stream, found.stream);
    record.message = Some(Value::Text(found.log));
    Ok(())
}

pub fn journald_decode<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    if memchr::memmem::find(line, b"\"__REALTIME_TIMESTAMP\"").is_none() {
        return refuse(0, "no __REALTIME_TIMESTAMP");
    }
    json::decode(line, cx, record)
}
