//! The line of a container runtime: `2026-11-21T12:24:10.123456789Z stdout F content` (kubernetes/kubernetes
//! `pkg/kubelet/kuberuntime/logs`). `P` marks a part of a line; the parts are joined before they come here.

use super::{Context, Decoded, detect, refuse};
use crate::{
    record::{Field, Record, Value},
    text::Str,
};

/// What stands in front of the content.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    pub time: &'a [u8],
    pub stream: &'a [u8],
    pub partial: bool,
    /// Offset of the content in the line.
    pub content: usize,
}

pub fn envelope(line: &[u8]) -> Result<Envelope<'_>, super::Refusal> {
    let bad = |at, reason| Err(super::Refusal { at, reason });
    let Some(time) = memchr::memchr(b' ', line).filter(|e| (20..=35).contains(e) && line[10] == b'T') else {
        return bad(0, "no RFC 3339 time");
    };
    let rest = &line[time + 1..];
    let stream = match rest {
        [b's', b't', b'd', b'o', b'u', b't', b' ', ..] | [b's', b't', b'd', b'e', b'r', b'r', b' ', ..] => {
            &rest[..6]
        }
        _ => return bad(time + 1, "neither stdout nor stderr"),
    };
    let tags = &rest[7..];
    let length = memchr::memchr(b' ', tags).unwrap_or(tags.len());
    let partial = match tags[..length].split(|&b| b == b':').next() {
        Some(b"P") => true,
        Some(b"F") => false,
        _ => return bad(time + 8, "neither P nor F"),
    };
    let content = (time + 8 + length + 1).min(line.len());
    Ok(Envelope { time: &line[..time], stream, partial, content })
}

pub fn decode<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    let envelope = envelope(line)?;
    let Some(time) = cx.clock.parse(envelope.time) else { return refuse(0, "no RFC 3339 time") };
    let content = &line[envelope.content..];
    detect::content(content, cx, record);
    // The program's own time is the event's; the runtime's is when the line arrived.
    record.time = record.time.or(Some(time));
    if record.message.is_none() {
        record.message = Some(Value::Text(Str::Raw(content)));
    }
    record.text(Field::Stream, envelope.stream);
    Ok(())
}
