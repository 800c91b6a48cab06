//! The parts of times as they are written: times of day, fractions, zones.

/// `12:24:10` → seconds of the day; a leap second counts as the next one.
pub fn clock_time(text: &[u8]) -> Option<i64> {
    let [h1, h2, b':', m1, m2, b':', s1, s2] = text else { return None };
    let (hour, minute, second) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?, number(&[*s1, *s2])?);
    (hour < 24 && minute < 60 && second <= 60).then_some(hour * 3600 + minute * 60 + second)
}

/// `.123`, `,123` at `at`: nanoseconds and the end.
pub(super) fn fraction(text: &[u8], at: usize) -> (u32, usize) {
    if !matches!(text.get(at), Some(b'.' | b',')) || !text.get(at + 1).is_some_and(u8::is_ascii_digit) {
        return (0, at);
    }
    let mut nanos = 0;
    let mut place = 100_000_000;
    let mut end = at + 1;
    while let Some(d @ b'0'..=b'9') = text.get(end) {
        nanos += place * u32::from(d - b'0');
        place /= 10;
        end += 1;
    }
    (nanos, end)
}

/// `.123Z`, `Z`: the nanoseconds.
#[inline]
pub(super) fn utc_fraction(text: &[u8]) -> Option<u32> {
    match text {
        b"Z" => Some(0),
        [b'.', a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', b'Z'] => {
            let digit = |byte: &u8| u32::from(byte - b'0');
            Some((digit(a) * 100 + digit(b) * 10 + digit(c)) * 1_000_000)
        }
        [b'.', digits @ .., b'Z'] if !digits.is_empty() && digits.len() <= 9 => {
            let mut nanos = 0;
            for digit in digits {
                nanos = nanos * 10 + u32::from(digit.is_ascii_digit().then(|| digit - b'0')?);
            }
            #[expect(clippy::cast_possible_truncation, reason = "nine at most")]
            Some(nanos * 10u32.pow(9 - digits.len() as u32))
        }
        _ => None,
    }
}

/// `Z`, `UTC`, `GMT`, `+02`, `+0200`, `+02:00` → seconds east, and the bytes used.
pub(crate) fn zone_prefix(text: &[u8]) -> Option<(i64, usize)> {
    match text {
        [b'Z' | b'z', ..] => Some((0, 1)),
        [b'U', b'T', b'C', ..] | [b'G', b'M', b'T', ..] => Some((0, 3)),
        [b'+' | b'-', a, b, rest @ ..] => {
            let hours = number(&[*a, *b])?;
            let (minutes, length) = match rest {
                [b':', c, d, ..] if c.is_ascii_digit() && d.is_ascii_digit() => (number(&[*c, *d])?, 6),
                [c, d, ..] if c.is_ascii_digit() && d.is_ascii_digit() => (number(&[*c, *d])?, 5),
                _ => (0, 3),
            };
            let east = hours * 3600 + minutes * 60;
            (hours < 24 && minutes < 60).then_some((if text[0] == b'-' { -east } else { east }, length))
        }
        _ => None,
    }
}

/// `EST`, `CEST`: what PostgreSQL and `date` write behind a time. Only names that mean one thing to most; others are left to the
/// configured zone.
pub(crate) fn zone_word(text: &[u8]) -> Option<(i64, usize)> {
    let length = text.iter().take(6).take_while(|b| b.is_ascii_alphanumeric()).count();
    let quarter_hours = match &text[..length] {
        b"EST" | b"CDT" => -20,
        b"EDT" => -16,
        b"CST" | b"MDT" => -24,
        b"MST" | b"PDT" => -28,
        b"PST" => -32,
        b"WET" => 0,
        b"CET" | b"BST" | b"WEST" => 4,
        b"CEST" | b"EET" => 8,
        b"EEST" | b"MSK" => 12,
        b"HKT" | b"SGT" => 32,
        b"JST" | b"KST" => 36,
        b"AEST" => 40,
        b"AEDT" => 44,
        _ => return None,
    };
    Some((quarter_hours * 900, length))
}

pub(super) fn offset(text: &[u8]) -> Option<i64> {
    zone_prefix(text).filter(|(_, used)| *used == text.len()).map(|(offset, _)| offset)
}

/// Digits only.
pub fn number(text: &[u8]) -> Option<i64> {
    if text.is_empty() || text.len() > 18 {
        return None;
    }
    let mut value = 0i64;
    for &d in text {
        if !d.is_ascii_digit() {
            return None;
        }
        value = value * 10 + i64::from(d - b'0');
    }
    Some(value)
}
