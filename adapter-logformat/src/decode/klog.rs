//! klog and glog: `I1121 12:24:10.123456    1234 server.go:79] message`, with klog's structured form `"message" key="value"`.
//!
//! (kubernetes/klog `klog.go`, formatHeader.) There is no year: the nearest one is meant.

use super::{Context, Cursor, Decoded, logfmt, refuse};
use crate::{
    decode::values,
    record::{Field, Record, Value},
    severity::Severity,
    text::Str,
    time::{Time, clock_time, number},
};

pub fn decode<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    let Some(severity) = line.first().filter(|b| matches!(b, b'I' | b'W' | b'E' | b'F' | b'D')) else {
        return refuse(0, "no level letter");
    };
    let date = line.get(1..5).map(|d| (number(&d[..2]), number(&d[2..])));
    let Some((Some(month), Some(day))) = date else { return refuse(1, "no month and day") };
    let Some(clock) = line.get(5..14).and_then(|c| c.strip_prefix(b" ")).and_then(clock_time) else {
        return refuse(5, "no time of day");
    };
    let Some(micros) = line.get(14..21).and_then(|f| f.strip_prefix(b".")).and_then(number) else {
        return refuse(14, "no microseconds");
    };
    let Some(seconds) = cx.clock.nearest_year(month, day, clock, None) else {
        return refuse(1, "no such day");
    };
    let mut cursor = Cursor::new(line);
    cursor.at = 21;
    while cursor.literal(b" ") {}
    let thread_at = cursor.at;
    let Some(thread) = cursor.until(b' ').and_then(number) else { return refuse(thread_at, "no thread id") };
    let place_at = cursor.at;
    let Some(place) = cursor.until(b']').filter(|p| p.len() < 512) else {
        return refuse(place_at, "no file:line]");
    };
    record.time = Some(Time { seconds, nanos: u32::try_from(micros * 1000).unwrap_or(0) });
    record.severity = Severity::from_letter(*severity);
    record.set(Field::ThreadId, Value::Int(thread));
    values::origin(Str::Raw(place), record);
    cursor.literal(b" ");
    message(cursor.rest(), record);
    Ok(())
}

/// `"message" key="value" …`, or any text.
fn message<'a>(text: &'a [u8], record: &mut Record<'a>) {
    record.message = Some(Value::Text(Str::Raw(text)));
    let Some(quoted) = text.strip_prefix(b"\"") else { return };
    let Some(end) = super::closing_quote(quoted) else { return };
    let rest = &quoted[end + 1..];
    let all_pairs = logfmt::pairs(rest, |at, pair| match pair {
        Some(_) => Ok(()),
        None => refuse(at, "not a pair"),
    });
    if all_pairs.is_err() {
        return;
    }
    record.message = Some(Value::Text(Str::Escaped(&quoted[..end])));
    let _ = logfmt::pairs(rest, |_, pair| {
        if let Some(pair) = pair {
            match pair.key.bytes() {
                b"err" => record.set(Field::ErrorMessage, values::value(&pair.value)),
                _ => record.push(pair.key, values::value(&pair.value)),
            }
        }
        Ok(())
    });
}
