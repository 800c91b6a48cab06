//! One JSON object per line, of any shape; what loggers mean by their keys is [`super::dialect`]'s.

use super::{Context, Decoded, Refusal, dialect, loguru};
use crate::{
    json::{self, Member, Token},
    record::Record,
    text::Str,
};

pub fn decode<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    if loguru::decode(line, cx, record) {
        return Ok(());
    }
    let mut members: Vec<Member<'a>> = recycle(std::mem::take(&mut cx.members));
    let scanned = json::object(line, |member| {
        if members.len() < WIDE {
            members.push(member);
        } else {
            // A wide object: the keys loggers use come early, the rest is kept as it is.
            record.push(member.key, dialect::value(&member.value));
        }
    });
    if scanned.is_ok() {
        dialect::map(members.iter(), cx, record);
    }
    cx.members = recycle(members);
    scanned.map_err(|fault| Refusal { at: fault.at, reason: fault.reason })
}

/// Members whose meaning is looked for.
pub(super) const WIDE: usize = 64;

/// The same memory for another line.
pub(super) fn recycle<'b>(mut members: Vec<Member<'_>>) -> Vec<Member<'b>> {
    members.clear();
    members.into_iter().map(|_| Member { key: Str::Raw(b""), value: Token::Word(b"null") }).collect()
}
