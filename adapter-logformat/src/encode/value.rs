//! A value as JSON.

use crate::{
    json,
    record::Value,
    text::{Around, Pen, Str, copy},
    time::Time,
};

/// Writes a text without the quote that opens it.
#[inline]
pub(super) fn rest_of_text(text: &Str<'_>, valid: bool, out: &mut Vec<u8>, scratch: &mut Vec<u8>) {
    text.write(out, valid, scratch);
    out.push(b'"');
}

/// Writes one value. `seconds`: durations as seconds, nanoseconds otherwise.
pub(super) fn write_value(
    value: &Value<'_>,
    valid: bool,
    seconds: bool,
    out: &mut Vec<u8>,
    scratch: &mut Vec<u8>,
) {
    match value {
        Value::Text(text) => {
            out.push(b'"');
            rest_of_text(text, valid, out, scratch);
        }
        Value::Json(raw) if valid => copy(out, raw),
        Value::Json(raw) | Value::Repair(raw) => json::rewrite(raw, out),
        Value::Duration(nanos) if seconds => {
            let (whole, fraction) = (nanos / 1_000_000_000, (nanos % 1_000_000_000).unsigned_abs());
            int(whole, out);
            // Nine digits in front of which stands a 1, without the zeros at the end.
            let mut buffer = itoa::Buffer::new();
            let digits = buffer.format(1_000_000_000 + fraction).as_bytes();
            let length = digits.iter().rposition(|digit| *digit != b'0').unwrap_or(0).max(1);
            out.push(b'.');
            copy(out, &digits[1..=length]);
        }
        Value::Int(number) | Value::Duration(number) => int(*number, out),
    }
}

#[inline]
pub(super) fn int(number: i64, out: &mut Vec<u8>) {
    Pen::new(out, Around(&[])).int(number);
}

/// Nanoseconds since 1970.
pub(super) fn nanos(time: Time, out: &mut Vec<u8>) {
    if time.seconds <= 0 {
        out.extend_from_slice(itoa::Buffer::new().format(time.total_nanos()).as_bytes());
        return;
    }
    int(time.seconds, out);
    // Nine digits in front of which stands a 1.
    let mut buffer = itoa::Buffer::new();
    copy(out, &buffer.format(1_000_000_000 + u64::from(time.nanos)).as_bytes()[1..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_their_digits() {
        for (nanos, text) in [
            (0, "0.0"),
            (1, "0.000000001"),
            (1_500_000_000, "1.5"),
            (50_000_000, "0.05"),
            (2_000_000_000, "2.0"),
        ] {
            let mut out = Vec::new();
            write_value(&Value::Duration(nanos), true, true, &mut out, &mut Vec::new());
            assert_eq!(out, text.as_bytes());
        }
    }

    #[test]
    fn nanoseconds_of_a_time_are_one_number() {
        for (seconds, fraction) in
            [(1_795_263_850, 0), (1_795_263_850, 123), (0, 5), (-1, 999_999_999), (1, 1)]
        {
            let time = Time { seconds, nanos: fraction };
            let mut out = Vec::new();
            nanos(time, &mut out);
            assert_eq!(out, time.total_nanos().to_string().as_bytes());
        }
    }
}
