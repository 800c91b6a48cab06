//! Unix times as numbers.

use super::{SECONDS, Time};

/// A Unix time written as a number: seconds, milliseconds, microseconds or nanoseconds by its size, with a fraction.
pub fn epoch(text: &[u8]) -> Option<Time> {
    if let Some(time) = seconds_of_now(text) {
        return Some(time);
    }
    let (time, used) = epoch_prefix(text)?;
    (used == text.len()).then_some(time)
}

/// Ten digits, and up to nine behind a dot: the seconds of 2001 to 2286.
#[inline]
fn seconds_of_now(text: &[u8]) -> Option<Time> {
    let (whole, rest) = text.split_first_chunk::<10>()?;
    let mut seconds = 0;
    for digit in whole {
        seconds = seconds * 10 + i64::from(digit.is_ascii_digit().then(|| digit - b'0')?);
    }
    let fraction = match rest {
        [] => return Some(Time { seconds, nanos: 0 }),
        [b'.', fraction @ ..] if !fraction.is_empty() && fraction.len() <= 9 => fraction,
        _ => return None,
    };
    let (mut nanos, mut place) = (0, 1_000_000_000);
    for digit in fraction {
        place /= 10;
        nanos += place * u32::from(digit.is_ascii_digit().then(|| digit - b'0')?);
    }
    Some(Time { seconds, nanos })
}

pub(super) fn epoch_prefix(text: &[u8]) -> Option<(Time, usize)> {
    let (negative, body) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let whole = body.iter().take_while(|b| b.is_ascii_digit()).count();
    if whole == 0 || whole > 19 {
        return None;
    }
    // Nineteen digits are below 2^64.
    let value = body[..whole].iter().fold(0u64, |value, digit| value * 10 + u64::from(digit - b'0'));
    // 1e11 s is the year 5138, 1e11 ms is 1973: no two units overlap in the times that logs are about.
    let (per_second, unit) = match value {
        0..100_000_000_000 => (1, 1_000_000_000),
        100_000_000_000..100_000_000_000_000 => (1000, 1_000_000),
        100_000_000_000_000..100_000_000_000_000_000 => (1_000_000, 1000),
        _ => (1_000_000_000, 1),
    };
    let mut at = whole;
    let mut nanos = value % per_second * unit;
    if body.get(at) == Some(&b'.') {
        let mut place = unit;
        at += 1;
        while let Some(d @ b'0'..=b'9') = body.get(at) {
            place /= 10;
            nanos += place * u64::from(d - b'0');
            at += 1;
        }
    }
    if let Some(b'e' | b'E') = body.get(at) {
        let rest = text;
        let number: f64 = std::str::from_utf8(rest).ok()?.parse().ok()?;
        #[allow(
            clippy::cast_possible_truncation,
            reason = "a time written in scientific notation has no nanoseconds to lose"
        )]
        let micros = (number * 1e6) as i128;
        return Some((Time::from_nanos(micros.checked_mul(1000)?)?, text.len()));
    }
    let seconds = i64::try_from(value / per_second).ok()?;
    let nanos = u32::try_from(nanos).ok()?;
    let time = match (negative, nanos) {
        (false, _) => Time { seconds, nanos },
        (true, 0) => Time { seconds: -seconds, nanos },
        (true, _) => Time { seconds: -seconds - 1, nanos: 1_000_000_000 - nanos },
    };
    SECONDS.contains(&time.seconds).then_some((time, at + usize::from(negative)))
}
