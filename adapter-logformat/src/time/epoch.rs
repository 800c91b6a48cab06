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
    let (whole, rest) = text.split_first_chunk::<8>()?;
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u32::from(byte - b'0'));
    let (a, b, rest) = match rest {
        [a, b, rest @ ..] => (digit(a)?, digit(b)?, rest),
        _ => return None,
    };
    let seconds = i64::from(eight(*whole)?) * 100 + i64::from(a * 10 + b);
    let fraction = match rest {
        [] => return Some(Time { seconds, nanos: 0 }),
        [b'.', a, b, c] => {
            return Some(Time { seconds, nanos: (digit(a)? * 100 + digit(b)? * 10 + digit(c)?) * 1_000_000 });
        }
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

/// Eight digits at once: neighbours are added up, then pairs, then fours.
#[inline(always)]
fn eight(text: [u8; 8]) -> Option<u32> {
    let digits = u64::from_le_bytes(text) ^ 0x3030_3030_3030_3030;
    // A byte over 9 has its highest bit set, or gets it here.
    if (digits | ((digits & 0x7f7f_7f7f_7f7f_7f7f) + 0x7676_7676_7676_7676)) & 0x8080_8080_8080_8080 != 0 {
        return None;
    }
    let pairs = (digits & 0x00ff_00ff_00ff_00ff) * 10 + ((digits >> 8) & 0x00ff_00ff_00ff_00ff);
    let fours = (pairs & 0x0000_ffff_0000_ffff) * 100 + ((pairs >> 16) & 0x0000_ffff_0000_ffff);
    u32::try_from((fours & 0xffff_ffff) * 10_000 + (fours >> 32)).ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_digits_are_what_they_are_one_by_one() {
        for number in [0, 1, 12_345_678, 87_654_321, 99_999_999, 10_000_000, 9] {
            let text = format!("{number:08}");
            assert_eq!(eight(*text.as_bytes().first_chunk().expect("eight")), Some(number));
        }
        for byte in (0..=255u8).filter(|byte| !byte.is_ascii_digit()) {
            for place in 0..8 {
                let mut text = *b"12345678";
                text[place] = byte;
                assert_eq!(eight(text), None, "{byte} at {place}");
            }
        }
    }

    #[test]
    fn seconds_of_now_are_what_they_are_in_general() {
        for text in ["1795263850", "1795263850.1", "1795263850.123", "1795263850.123456789", "0000000001.000"]
        {
            assert_eq!(
                seconds_of_now(text.as_bytes()),
                epoch_prefix(text.as_bytes()).map(|found| found.0),
                "{text}"
            );
        }
        for text in
            ["179526385", "17952638501", "1795263850.", "1795263850.1x3", "179526385x.123", "x795263850"]
        {
            assert_eq!(seconds_of_now(text.as_bytes()), None, "{text}");
        }
    }
}
