//! One JSON object per line, of any shape; what loggers mean by their keys is [`super::dialect`]'s.

use super::{Context, Decoded, Refusal, dialect};
use crate::{
    json::{self, Member},
    record::Record,
};

pub fn decode<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    let mut members: [Option<Member<'a>>; 64] = [None; 64];
    let mut count = 0;
    json::object(line, |member| {
        if count < members.len() {
            members[count] = Some(member);
            count += 1;
        } else {
            // A wide object: the keys loggers use come early, the rest is kept as it is.
            record.push(member.key, dialect::value(&member.value));
        }
    })
    .map_err(|fault| Refusal { at: fault.at, reason: fault.reason })?;
    dialect::map(members[..count].iter().flatten(), cx, record);
    Ok(())
}
