//! One JSON object per line, of any shape; what loggers mean by their keys is [`super::dialect`]'s.

use super::{
    Context, Decoded, Refusal, loguru,
    mapper::Mapper,
    shape::{NOWHERE, Next, Style},
};
use crate::{
    json::{Fault, Member, Reader, Simple, Token},
    record::Record,
    text::Str,
};

pub fn decode<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    if loguru::decode(line, cx, record) {
        return Ok(());
    }
    Mapper::read(Style::Json, cx, record, |mapper| scan(line, mapper))
        .map_err(|fault| Refusal { at: fault.at, reason: fault.reason })
}

#[inline(never)]
fn scan<'a>(line: &'a [u8], mapper: &mut Mapper<'_, 'a>) -> Result<(), Fault> {
    let mut reader = Reader::new(line)?;
    let (mut here, mut separator) = (NOWHERE, b'{');
    loop {
        let mut next = mapper.next(here, separator, reader.rest());
        if let Some(next) = next {
            reader.pass(next.width);
        } else {
            // It is another key, or there is white space between, or it is the end.
            if !reader.goes_on(separator == b'{')? {
                return Ok(());
            }
            // Part by part, because what a function has written to is not kept in registers, and this is seldom.
            if let Some(Next { key, width, place }) = mapper.next_here(here, reader.rest()) {
                next = Some(Next { key, width, place });
                reader.pass(width - 1);
                reader.blank();
            }
        }
        separator = b',';
        let Some(next) = next else {
            let (member, behind) = reader.member()?;
            reader = behind;
            here = mapper.unlike(here, &member);
            continue;
        };
        here = match reader.simple() {
            Simple::Text(body) => {
                mapper.member(here, next, Str::Json, body, |raw| Token::Text(Str::Json(raw)))
            }
            Simple::Number(raw) => mapper.member(here, next, Str::Json, raw, Token::Number),
            Simple::Array(raw) => {
                mapper.own(here, next, Str::Json, raw, |raw| Token::Array { raw, clean: true })
            }
            Simple::Object(raw) => {
                mapper.own(here, next, Str::Json, raw, |raw| Token::Object { raw, clean: true })
            }
            Simple::No => {
                let (value, behind) = reader.value()?;
                reader = behind;
                mapper.any(here, next, &Member { key: Str::Json(next.key), value })
            }
        };
    }
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
