//! What a log line's time leaves open is taken from a clock.

use jiff::{civil, tz::TimeZone};

use super::{
    Time,
    civil::{civil_from_days, local, month},
    epoch::epoch_prefix,
    parts::{clock_time, fraction, number, offset, utc_fraction, zone_prefix, zone_word},
};

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
}
