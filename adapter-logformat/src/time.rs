//! Times as logs write them → seconds since 1970 (UTC) and nanoseconds.
//!
//! Fixed-width parsing by hand, the zone rules from jiff's bundled data (a scratch image has none). What a log leaves out is
//! taken from [`Clock`]: the year nearest to now, the configured zone.

use jiff::{civil, tz::TimeZone};

/// The years 0001 to 9999.
const SECONDS: std::ops::Range<i64> = -62_135_596_800..253_402_300_800;

/// An instant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Time {
    /// Since 1970-01-01T00:00:00Z.
    pub seconds: i64,
    pub nanos: u32,
}

impl Time {
    /// The present, from the system clock.
    pub fn now() -> Self {
        let now = jiff::Timestamp::now();
        Self { seconds: now.as_second(), nanos: u32::try_from(now.subsec_nanosecond()).unwrap_or(0) }
    }

    /// Nanoseconds since 1970.
    pub fn total_nanos(self) -> i128 {
        i128::from(self.seconds) * 1_000_000_000 + i128::from(self.nanos)
    }

    /// From a count of nanoseconds since 1970; years 0001 to 9999 only.
    pub fn from_nanos(total: i128) -> Option<Self> {
        let seconds = i64::try_from(total.div_euclid(1_000_000_000)).ok()?;
        let nanos = u32::try_from(total.rem_euclid(1_000_000_000)).ok()?;
        SECONDS.contains(&seconds).then_some(Self { seconds, nanos })
    }

    /// Appends RFC 3339 in UTC with milliseconds, or more digits where the time has them.
    pub fn write(self, out: &mut Vec<u8>) {
        let mut stamp = Stamp::default();
        let (text, length) = stamp.quoted(self);
        out.extend_from_slice(&text[..length - 1]);
    }
}

/// Times as RFC 3339, and the last second of them, because lines come in bursts.
#[derive(Clone, Debug)]
pub struct Stamp {
    last: Time,
    /// `2026-11-21T12:24:10.000Z"`, with room for nine digits.
    text: [u8; 32],
    /// With the quote.
    length: usize,
}

impl Default for Stamp {
    fn default() -> Self {
        Self { last: Time::default(), text: *b"1970-01-01T00:00:00.000Z\"\0\0\0\0\0\0\0", length: 25 }
    }
}

impl Stamp {
    /// RFC 3339 in UTC with milliseconds, or more digits where the time has them, a quote behind it, and the length of both.
    #[inline]
    pub fn quoted(&mut self, time: Time) -> (&[u8; 32], usize) {
        if self.last != time {
            self.new_text(time);
        }
        (&self.text, self.length)
    }

    #[inline(never)]
    fn new_text(&mut self, time: Time) {
        if self.last.seconds != time.seconds {
            self.set(time.seconds);
        }
        self.last = time;
        let (millis, rest) = (time.nanos / 1_000_000, time.nanos % 1_000_000);
        digits(&mut self.text[20..23], u64::from(millis));
        let mut end = 23;
        if rest != 0 {
            digits(&mut self.text[23..29], u64::from(rest));
            end = if rest.is_multiple_of(1000) { 26 } else { 29 };
        }
        self.text[end..end + 2].copy_from_slice(b"Z\"");
        self.length = end + 2;
    }

    #[cold]
    fn set(&mut self, second: i64) {
        let days = second.div_euclid(86_400);
        let of_day = second.rem_euclid(86_400);
        let (year, month, day) = civil_from_days(days);
        let text = &mut self.text;
        for (range, value) in [
            (0..4, year.clamp(0, 9999)),
            (5..7, month),
            (8..10, day),
            (11..13, of_day / 3600),
            (14..16, of_day / 60 % 60),
            (17..19, of_day % 60),
        ] {
            digits(&mut text[range], value.unsigned_abs());
        }
    }
}

/// Fills `to` with the last digits of `value`.
fn digits(to: &mut [u8], mut value: u64) {
    for digit in to.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// What a log line's time leaves open: the year, the zone; and the last second parsed, because lines come in bursts.
#[derive(Debug, Clone)]
pub struct Clock {
    zone: TimeZone,
    /// When the line was read.
    pub now: Time,
    clf: ([u8; 26], i64),
    /// `2026-11-21T12:24:10` and its second in the zone that it does not say.
    iso: ([u8; 19], i64),
    local: (i64, i64),
    utc: bool,
}

impl Clock {
    pub fn new(zone: TimeZone, now: Time) -> Self {
        let utc = zone == TimeZone::UTC;
        Self {
            zone,
            now,
            clf: (*b"01/Jan/1970:00:00:00 +0000", 0),
            iso: (*b"1970-01-01T00:00:00", 0),
            local: (i64::MIN, 0),
            utc,
        }
    }

    /// `21/Nov/2026:12:24:10 +0000`, the time of nginx and Apache access logs.
    #[inline]
    pub fn clf(&mut self, text: &[u8]) -> Option<Time> {
        let key: &[u8; 26] = text.try_into().ok()?;
        if *key == self.clf.0 {
            return Some(Time { seconds: self.clf.1, nanos: 0 });
        }
        self.new_clf(key)
    }

    #[inline(never)]
    fn new_clf(&mut self, key: &[u8; 26]) -> Option<Time> {
        let text = &key[..];
        let [_, _, b'/', a, b, c, b'/', _, _, _, _, b':', rest @ ..] = key else { return None };
        if rest[8] != b' ' {
            return None;
        }
        let date = (number(&text[7..11])?, month(&[*a, *b, *c])?, number(&text[..2])?);
        let seconds = self.resolve(date, clock_time(&rest[..8])?, Some(offset(&text[21..])?))?;
        self.clf = (*key, seconds);
        Some(Time { seconds, nanos: 0 })
    }

    /// `21/Nov/2026:12:24:10.123`: the same without a zone, with a fraction (HAProxy).
    fn clf_short(&mut self, text: &[u8]) -> Option<(Time, usize)> {
        let date = (number(text.get(7..11)?)?, month(text.get(3..6)?)?, number(text.get(..2)?)?);
        let clock = clock_time(text.get(12..20)?)?;
        let (nanos, at) = fraction(text, 20);
        Some((Time { seconds: self.resolve(date, clock, None)?, nanos }, at))
    }

    fn day_first(&mut self, text: &[u8]) -> Option<(Time, usize)> {
        let date = (number(text.get(7..11)?)?, month(text.get(3..6)?)?, number(text.get(..2)?)?);
        let clock = clock_time(text.get(12..20)?)?;
        let (nanos, mut at) = fraction(text, 20);
        let mut zone = None;
        if let Some((offset, length)) = text.get(at + 1..).filter(|_| text[at] == b' ').and_then(zone_prefix)
        {
            zone = Some(offset);
            at += 1 + length;
        }
        Some((Time { seconds: self.resolve(date, clock, zone)?, nanos }, at))
    }

    /// Any of the notations in use: ISO 8601 and its relatives, CLF, RFC 3164, RFC 1123, a Unix time as digits.
    #[inline]
    pub fn parse(&mut self, text: &[u8]) -> Option<Time> {
        if text.first_chunk() == Some(&self.iso.0)
            && let Some(nanos) = utc_fraction(&text[19..])
        {
            return Some(Time { seconds: self.iso.1, nanos });
        }
        self.parse_any(text)
    }

    fn parse_any(&mut self, text: &[u8]) -> Option<Time> {
        let (time, used) = self.prefix(text)?;
        (used == text.len()).then_some(time)
    }

    /// The same for formats whose times are in UTC and do not say so.
    pub fn utc(&mut self, text: &[u8]) -> Option<Time> {
        let utc = std::mem::replace(&mut self.utc, true);
        let time = self.parse(text);
        self.utc = utc;
        time
    }

    /// What `read` gives when times that name no zone are in this one.
    pub fn in_zone<T>(&mut self, zone: &TimeZone, read: impl FnOnce(&mut Self) -> T) -> T {
        let own = std::mem::replace(&mut self.zone, zone.clone());
        let local = std::mem::replace(&mut self.local, (i64::MIN, 0));
        let utc = std::mem::replace(&mut self.utc, *zone == TimeZone::UTC);
        let found = read(self);
        (self.zone, self.local, self.utc) = (own, local, utc);
        found
    }

    /// The time at the start of `text` and how many bytes it takes.
    pub fn prefix(&mut self, text: &[u8]) -> Option<(Time, usize)> {
        match text {
            [b'0'..=b'9', b'0'..=b'9', b'/', b'A'..=b'Z', ..] if text.len() >= 20 && text[11] == b':' => {
                if text.len() >= 26 && text[20] == b' ' && matches!(text[21], b'+' | b'-') {
                    return Some((self.clf(&text[..26])?, 26));
                }
                self.clf_short(text)
            }
            // 21-Nov-2026 12:24:10.123, as Tomcat, PHP and BIND write it.
            [_, _, b'-', b'A'..=b'Z', _, _, b'-', _, _, _, _, b' ' | b'T', ..] => self.day_first(text),
            [_, _, _, _, b'-' | b'/' | b'.', _, _, b'-' | b'/' | b'.', _, _, ..] => self.iso(text),
            [b'A'..=b'Z', _, _, b' ', ..] => self.bsd(text),
            [b'A'..=b'Z', _, _, b',', b' ', ..] => self.rfc1123(text),
            [b'0'..=b'9' | b'-', ..] => epoch_prefix(text),
            _ => None,
        }
    }

    fn iso(&mut self, text: &[u8]) -> Option<(Time, usize)> {
        let key = text.first_chunk::<19>()?;
        if *key != self.iso.0 {
            let date = (number(&key[..4])?, number(&key[5..7])?, number(&key[8..10])?);
            if !matches!(key[10], b'T' | b't' | b' ' | b'_') {
                return None;
            }
            self.iso = (*key, local(date, clock_time(&key[11..])?)?);
        }
        let local = self.iso.1;
        let (nanos, mut at) = fraction(text, 19);
        let zone_at = if text.get(at) == Some(&b' ') { at + 1 } else { at };
        let mut zone = None;
        if let Some((offset, length)) = zone_prefix(&text[zone_at..]).or_else(|| zone_word(&text[zone_at..]))
        {
            zone = Some(offset);
            at = zone_at + length;
        }
        Some((Time { seconds: self.of_wall(local, zone)?, nanos }, at))
    }

    /// `Nov 21 12:24:10`, with a year after it in some daemons (`Nov 21 12:24:10 2026`), or before the time.
    fn bsd(&mut self, text: &[u8]) -> Option<(Time, usize)> {
        let month = month(&text[..3])?;
        let day = match text.get(4..6)? {
            [b' ', d] => number(&[*d])?,
            pair => number(pair)?,
        };
        if text.get(6)? != &b' ' {
            return None;
        }
        if let (Some(year), Some(b' ')) = (text.get(7..11).and_then(number), text.get(11)) {
            let clock = clock_time(text.get(12..20)?)?;
            let (nanos, at) = fraction(text, 20);
            return Some((Time { seconds: self.resolve((year, month, day), clock, None)?, nanos }, at));
        }
        let clock = clock_time(text.get(7..15)?)?;
        let (nanos, at) = fraction(text, 15);
        if let (Some(b' '), Some(year)) = (text.get(at), text.get(at + 1..at + 5).and_then(number))
            && (1970..=9999).contains(&year)
            && !text.get(at + 5).is_some_and(u8::is_ascii_alphanumeric)
        {
            let seconds = self.resolve((year, month, day), clock, None)?;
            return Some((Time { seconds, nanos }, at + 5));
        }
        Some((Time { seconds: self.nearest_year(month, day, clock, None)?, nanos }, at))
    }

    /// `Sat, 21 Nov 2026 12:24:10 GMT`.
    fn rfc1123(&mut self, text: &[u8]) -> Option<(Time, usize)> {
        let date = (number(text.get(12..16)?)?, month(text.get(8..11)?)?, number(text.get(5..7)?)?);
        let clock = clock_time(text.get(17..25)?)?;
        let (zone, length) = zone_prefix(text.get(26..)?)?;
        Some((Time { seconds: self.resolve(date, clock, Some(zone))?, nanos: 0 }, 26 + length))
    }

    /// A date without its year means the nearest such date, so that a line of 31 December read in January is a day old.
    pub fn nearest_year(&mut self, month: i64, day: i64, clock: i64, offset: Option<i64>) -> Option<i64> {
        let now = self.now.seconds;
        let (this, _, _) = civil_from_days(now.div_euclid(86_400));
        (this - 1..=this + 1)
            .filter_map(|year| self.resolve((year, month, day), clock, offset))
            .min_by_key(|seconds| (seconds - now).abs())
    }

    /// A time of day without its date means the nearest such moment.
    pub fn nearest_day(&mut self, of_day: i64, offset: Option<i64>) -> Option<i64> {
        let now = self.now.seconds;
        let today = now.div_euclid(86_400);
        (today - 1..=today + 1)
            .filter_map(|day| self.resolve(civil_from_days(day), of_day, offset))
            .min_by_key(|seconds| (seconds - now).abs())
    }

    /// Local date and second of the day → seconds since 1970.
    pub fn resolve(&mut self, date: (i64, i64, i64), of_day: i64, offset: Option<i64>) -> Option<i64> {
        self.of_wall(local(date, of_day)?, offset)
    }

    /// Seconds since 1970 by the clock on the wall → by UTC. A local time that a clock change skips or repeats is read as iCalendar (RFC 5545) reads
    /// it.
    #[inline]
    fn of_wall(&mut self, local: i64, offset: Option<i64>) -> Option<i64> {
        if let Some(offset) = offset {
            return Some(local - offset);
        }
        if self.utc {
            return Some(local);
        }
        if self.local.0 == local {
            return Some(self.local.1);
        }
        self.in_own_zone(local)
    }

    fn in_own_zone(&mut self, local: i64) -> Option<i64> {
        let (year, month, day) = civil_from_days(local.div_euclid(86_400));
        let second = local.rem_euclid(86_400);
        let narrow = |v: i64| i8::try_from(v).ok();
        let civil = civil::DateTime::new(
            i16::try_from(year).ok()?,
            narrow(month)?,
            narrow(day)?,
            narrow(second / 3600)?,
            narrow(second / 60 % 60)?,
            narrow(second % 60)?,
            0,
        );
        let seconds = self.zone.to_ambiguous_timestamp(civil.ok()?).compatible().ok()?.as_second();
        self.local = (local, seconds);
        Some(seconds)
    }
}

/// Date and second of the day → seconds since 1970 by the clock on the wall.
fn local((year, month, day): (i64, i64, i64), of_day: i64) -> Option<i64> {
    if !(1..=9999).contains(&year) || !(1..=12).contains(&month) || day < 1 || day > month_days(year, month) {
        return None;
    }
    Some(days_from_civil(year, month, day) * 86_400 + of_day)
}

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

fn epoch_prefix(text: &[u8]) -> Option<(Time, usize)> {
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

/// `12:24:10` → seconds of the day; a leap second counts as the next one.
pub fn clock_time(text: &[u8]) -> Option<i64> {
    let [h1, h2, b':', m1, m2, b':', s1, s2] = text else { return None };
    let (hour, minute, second) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?, number(&[*s1, *s2])?);
    (hour < 24 && minute < 60 && second <= 60).then_some(hour * 3600 + minute * 60 + second)
}

/// `.123`, `,123` at `at`: nanoseconds and the end.
fn fraction(text: &[u8], at: usize) -> (u32, usize) {
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
fn utc_fraction(text: &[u8]) -> Option<u32> {
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

fn offset(text: &[u8]) -> Option<i64> {
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

/// English month abbreviation → 1 to 12.
pub fn month(name: &[u8]) -> Option<i64> {
    const NAMES: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let place = NAMES.chunks(3).position(|m| m == name)?;
    i64::try_from(place + 1).ok()
}

fn month_days(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y - era * 400;
    let doy = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z - era * 146_097;
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(zone: &str, now: &str) -> Clock {
        let zone = if zone == "UTC" { TimeZone::UTC } else { TimeZone::get(zone).expect("bundled zone") };
        let now: jiff::Timestamp = now.parse().expect("a time");
        Clock::new(zone, Time { seconds: now.as_second(), nanos: 0 })
    }

    fn read(clock: &mut Clock, text: &str) -> Option<String> {
        let mut out = Vec::new();
        clock.parse(text.as_bytes())?.write(&mut out);
        String::from_utf8(out).ok()
    }

    #[test]
    fn notations_in_use_all_parse() {
        let mut clock = at("UTC", "2026-11-21T12:00:00Z");
        for (text, want) in [
            ("21/Nov/2026:12:24:10 +0100", "2026-11-21T11:24:10.000Z"),
            ("2026-11-21T12:24:10Z", "2026-11-21T12:24:10.000Z"),
            ("2026-11-21T12:24:10.123456789+05:30", "2026-11-21T06:54:10.123456789Z"),
            ("2026-11-21 12:24:10,123", "2026-11-21T12:24:10.123Z"),
            ("2026-11-21 12:24:10.5 UTC", "2026-11-21T12:24:10.500Z"),
            ("2026/11/21 12:24:10", "2026-11-21T12:24:10.000Z"),
            ("Nov 21 12:24:10", "2026-11-21T12:24:10.000Z"),
            ("Nov  1 12:24:10", "2026-11-01T12:24:10.000Z"),
            ("Nov 21 12:24:10 2025", "2025-11-21T12:24:10.000Z"),
            ("Sat, 21 Nov 2026 12:24:10 GMT", "2026-11-21T12:24:10.000Z"),
            ("1795263850", "2026-11-21T12:24:10.000Z"),
            ("1795263850.25", "2026-11-21T12:24:10.250Z"),
            ("-1.25", "1969-12-31T23:59:58.750Z"),
            ("-1", "1969-12-31T23:59:59.000Z"),
            ("1795263850123", "2026-11-21T12:24:10.123Z"),
            ("1795263850123456", "2026-11-21T12:24:10.123456Z"),
            ("1795263850123456789", "2026-11-21T12:24:10.123456789Z"),
            ("2024-02-29T23:59:60Z", "2024-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(read(&mut clock, text).as_deref(), Some(want), "{text}");
        }
        for text in [
            "",
            "-",
            "2026-13-01T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "21/Xxx/2026:12:24:10 +0100",
            "99999999999999999999",
            "1e999",
            "-1e300",
        ] {
            assert_eq!(read(&mut clock, text), None, "{text}");
        }
    }

    #[test]
    fn a_missing_year_is_the_nearest_one() {
        assert_eq!(
            read(&mut at("UTC", "2027-01-01T00:00:05Z"), "Dec 31 23:59:59").as_deref(),
            Some("2026-12-31T23:59:59.000Z")
        );
        assert_eq!(
            read(&mut at("UTC", "2026-12-31T23:59:59Z"), "Jan  1 00:00:01").as_deref(),
            Some("2027-01-01T00:00:01.000Z")
        );
        assert_eq!(
            read(&mut at("UTC", "2024-03-01T00:00:00Z"), "Feb 29 12:00:00").as_deref(),
            Some("2024-02-29T12:00:00.000Z")
        );
    }

    #[test]
    fn a_missing_zone_is_the_configured_one_with_its_clock_changes() {
        let mut clock = at("Europe/Berlin", "2026-11-21T12:00:00Z");
        for (text, want) in [
            ("2026-07-01 12:00:00", "2026-07-01T10:00:00.000Z"),
            ("2026-12-01 12:00:00", "2026-12-01T11:00:00.000Z"),
            ("2026-03-29 02:30:00", "2026-03-29T01:30:00.000Z"),
            ("2026-10-25 02:30:00", "2026-10-25T00:30:00.000Z"),
            ("2026-10-25 02:30:00 +0100", "2026-10-25T01:30:00.000Z"),
        ] {
            assert_eq!(read(&mut clock, text).as_deref(), Some(want), "{text}");
        }
    }

    #[test]
    fn every_day_of_four_centuries_comes_back() {
        for days in -719_162..200_000 {
            let (year, month, day) = civil_from_days(days);
            assert_eq!(days_from_civil(year, month, day), days);
        }
    }
}
