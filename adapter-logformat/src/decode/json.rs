//! One JSON object per line, of any shape; what loggers mean by their keys is [`super::dialect`]'s.

use super::{
    Context, Decoded, Refusal, dialect,
    dialect_servers::Kind,
    loguru,
    shape::{Shape, Style},
};
use crate::{
    json::{Fault, Member, Reader, Token},
    record::Record,
    text::Str,
};

pub fn decode<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    if loguru::decode(line, cx, record) {
        return Ok(());
    }
    let mut members: Vec<Member<'a>> = recycle(std::mem::take(&mut cx.members));
    cx.shape.begin(Style::Json, Kind::Plain);
    let scanned = scan(line, &mut cx.shape, &mut members, record);
    if scanned.is_ok() {
        dialect::mapped(&members, cx, record);
    }
    cx.members = recycle(members);
    scanned.map_err(|fault| Refusal { at: fault.at, reason: fault.reason })
}

fn scan<'a>(
    line: &'a [u8],
    shape: &mut Shape,
    members: &mut Vec<Member<'a>>,
    record: &mut Record<'a>,
) -> Result<(), Fault> {
    let mut reader = Reader::new(line)?;
    while reader.goes_on()? {
        let next = shape.next(reader.rest());
        let key = match next {
            Some(next) => {
                reader.pass(next.width);
                Str::Json(next.key)
            }
            None => reader.key()?,
        };
        reader.value(|value| {
            if members.len() < WIDE {
                shape.take(next, &key, &value);
                members.push(Member { key, value });
            } else {
                // A wide object: the keys loggers use come early, the rest is kept as it is.
                record.push(key, dialect::value(&value));
            }
        })?;
    }
    Ok(())
}

/// Members whose meaning is looked for.
pub(super) const WIDE: usize = 64;

/// The same memory for another line.
pub(super) fn recycle<'b>(mut members: Vec<Member<'_>>) -> Vec<Member<'b>> {
    members.clear();
    members.into_iter().map(|_| Member { key: Str::Raw(b""), value: Token::Word(b"null") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_the_same_behind_any_other() {
        let lines = [
            r#"{"level":"info","ts":1795263850.123,"msg":"hello","a":1,"b":{"c":1}}"#,
            r#"{"level":"warn","ts":1795263850.123,"msg":"hello","a":1,"b":{"c":1}}"#,
            r#"{ "level" : "info", "ts": 1795263850.123, "msg": "hello", "a": 1, "b": 2 }"#,
            r#"{"level":"info","ts":"x","msg":"hello","a":1,"b":{"c":1},"d":"\u0041"}"#,
            r#"{"level":"info","ts":1795263850.123,"msg":"hello","a":1,"a":2}"#,
            r#"{"level":30,"time":1795263850123,"pid":7,"hostname":"h","msg":"m","v":1,"name":"n"}"#,
            r#"{"@timestamp":"2026-11-21T12:24:10Z","log.level":"info","message":"m","ecs.version":"9.0.0","name":"n"}"#,
            r#"{"t":{"$date":"2026-11-21T12:24:10Z"},"s":"I","c":"NETWORK","ctx":"x","msg":"m"}"#,
            r#"{"DownstreamStatus":200,"ClientHost":"192.0.2.7","host":"x","level":"info"}"#,
            r#"{"\u0061":1,"a.b":2,"":3,"a":4}"#,
            "{}",
        ];
        crate::decode::reads_alike_behind_any(&lines, |line, cx, record| {
            decode(line, cx, record).expect("reads")
        });
    }
}
