//! Text. A time at its start and a level behind it (bare, in brackets, with a colon) are taken over; the message stays whole.

use super::{Context, Decoded};
use crate::{
    record::{Record, Value},
    severity::Severity,
    text::Str,
};

pub fn decode<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    record.message = Some(Value::Text(Str::Raw(line)));
    let mut rest = line;
    let bracket = rest.first() == Some(&b'[');
    let from = &rest[usize::from(bracket)..];
    // A bare number at the start of a text is hardly ever a time.
    let date = from.get(4).is_some_and(|b| matches!(b, b'-' | b'/'))
        || from.first().is_some_and(u8::is_ascii_alphabetic);
    if let Some((time, used)) = cx.clock.prefix(from).filter(|_| date) {
        record.time = Some(time);
        rest = &from[used..];
        if bracket {
            rest = rest.strip_prefix(b"]").unwrap_or(rest);
        }
    }
    record.severity = level(rest, record.time.is_some());
    Ok(())
}

/// A level among the first words. Words that are also ordinary text count only in capitals, in brackets, or before a colon.
fn level(text: &[u8], after_time: bool) -> Option<Severity> {
    let head = &text[..text.len().min(64)];
    let words = head.split(|b| matches!(b, b' ' | b'\t' | b'|')).filter(|w| !w.is_empty() && *w != b"-");
    for word in words.take(if after_time { 4 } else { 1 }) {
        // `12:24:10,123:DEBUG:text`, in capitals: `http://…` is no level.
        let glued = word.strip_prefix(b":").filter(|_| after_time).unwrap_or(word);
        let cut = memchr::memchr(b':', glued)
            .filter(|at| after_time && glued[..*at].iter().all(u8::is_ascii_uppercase));
        let bare = cut.map_or_else(|| glued.strip_suffix(b":").unwrap_or(glued), |at| &glued[..at]);
        let inner = bare.strip_prefix(b"[").and_then(|w| w.strip_suffix(b"]"));
        let marked = inner.is_some() || bare.len() < word.len();
        let name = inner.unwrap_or(bare);
        let capitals = name.iter().all(u8::is_ascii_uppercase);
        if name.len() > 2
            && (marked || capitals || after_time)
            && let Some(severity) = Severity::from_name(name)
        {
            return Some(severity);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_found_behind_the_time_however_it_is_set_apart() {
        let mut cx =
            Context::new(crate::time::Clock::new(jiff::tz::TimeZone::UTC, crate::time::Time::default()));
        for (line, level) in [
            ("2026-11-21 12:24:10,123 WARN low", Some("warn")),
            ("2026-11-21 12:24:10,123:DEBUG:low", Some("debug")),
            ("2026-11-21 12:24:10 [main] ERROR: low", Some("error")),
            ("[2026-11-21 12:24:10] INFO low", Some("info")),
            ("ERROR: low", Some("error")),
            ("2026-11-21 12:24:10 GET http://shop/", None),
            ("http://shop/ is there", None),
        ] {
            let mut record = Record::default();
            assert_eq!(decode(line.as_bytes(), &mut cx, &mut record), Ok(()));
            assert_eq!(record.severity.map(Severity::name), level, "{line}");
        }
    }
}
