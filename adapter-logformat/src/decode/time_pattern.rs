//! Times in a notation that a configuration names: Java's letters (`yyyy-MM-dd HH:mm:ss,SSS`: SimpleDateFormat and DateTimeFormatter) and
//! strftime's percent signs (Python, Envoy, Apache), both compiled to one list of steps.
//!
//! What a notation leaves out comes from the [`Clock`]: a missing year is the nearest one, a missing date the nearest day.

use jiff::tz::{Offset, TimeZone};

use crate::time::{Clock, Time, month, number, zone_prefix, zone_word};

/// What comes next in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Year,
    /// Two digits: 1970 to 2069.
    ShortYear,
    Month,
    MonthName,
    Day,
    DayOfYear,
    /// A name that says nothing new, such as that of the day of the week.
    Word,
    Hour,
    Half,
    Minute,
    Second,
    /// One or more digits behind the decimal mark.
    Fraction,
    Zone,
    /// Seconds since 1970.
    Epoch,
    /// Milliseconds since 1970.
    EpochMillis,
    Literal(u8),
    /// Anything that [`Clock::prefix`] knows.
    Any,
}

/// A compiled notation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimePattern {
    steps: Vec<Step>,
    /// Of times that name none; the configured one where this is not set.
    zone: Option<TimeZone>,
}

impl TimePattern {
    /// The same in this zone: a name such as `Europe/Berlin`, or `GMT+2`.
    ///
    /// # Errors
    /// The zone is not known.
    pub fn in_zone(mut self, name: &str) -> Result<Self, String> {
        let name = name.trim();
        let bare = name.strip_prefix("GMT").or_else(|| name.strip_prefix("UTC")).unwrap_or(name);
        let zone = match (bare, hours(bare)) {
            ("" | "Z", _) => TimeZone::UTC,
            (_, Some(offset)) => TimeZone::fixed(offset),
            _ => TimeZone::get(name).map_err(|error| error.to_string())?,
        };
        self.zone = Some(zone);
        Ok(self)
    }

    fn any() -> Self {
        Self { steps: vec![Step::Any], zone: None }
    }

    /// Java's letters; the names that log4j and logback give to notations work, too.
    ///
    /// # Errors
    /// A letter that is none.
    pub fn java(text: &str) -> Result<Self, String> {
        let text = match text {
            "" | "ISO8601" | "DEFAULT" | "ISO8601_BASIC" | "ISO8601_OFFSET_DATE_TIME_HHMM" => {
                return Ok(Self::any());
            }
            "ABSOLUTE" => "HH:mm:ss,SSS",
            "DATE" => "dd MMM yyyy HH:mm:ss,SSS",
            "COMPACT" => "yyyyMMddHHmmssSSS",
            "UNIX" => return Self::usable(vec![Step::Epoch]),
            "UNIX_MILLIS" => return Self::usable(vec![Step::EpochMillis]),
            other => other,
        };
        let mut steps = Vec::new();
        let bytes = text.as_bytes();
        let mut i = 0;
        while i < bytes.len() {
            let letter = bytes[i];
            let run = bytes[i..].iter().take_while(|b| **b == letter).count();
            match letter {
                b'\'' if run >= 2 => {
                    steps.push(Step::Literal(b'\''));
                    i += 2;
                    continue;
                }
                b'\'' => {
                    let Some(end) = text[i + 1..].find('\'') else {
                        return Err("a quote is not closed".to_owned());
                    };
                    steps.extend(bytes[i + 1..i + 1 + end].iter().map(|b| Step::Literal(*b)));
                    i += end + 2;
                    continue;
                }
                b'y' | b'u' | b'Y' if run == 2 => steps.push(Step::ShortYear),
                b'y' | b'u' | b'Y' => steps.push(Step::Year),
                b'M' | b'L' if run >= 3 => steps.push(Step::MonthName),
                b'M' | b'L' => steps.push(Step::Month),
                b'd' => steps.push(Step::Day),
                b'D' => steps.push(Step::DayOfYear),
                b'E' => steps.push(Step::Word),
                b'H' | b'k' | b'h' | b'K' => steps.push(Step::Hour),
                b'a' => steps.push(Step::Half),
                b'm' => steps.push(Step::Minute),
                b's' => steps.push(Step::Second),
                b'S' | b'n' => steps.push(Step::Fraction),
                b'z' | b'Z' | b'X' | b'x' => steps.push(Step::Zone),
                b'[' | b']' => {}
                letter if letter.is_ascii_alphabetic() => {
                    return Err(format!("{:?} is no letter of a date pattern", char::from(letter)));
                }
                other => {
                    steps.push(Step::Literal(other));
                    i += 1;
                    continue;
                }
            }
            i += run;
        }
        Self::usable(steps)
    }

    /// strftime's percent signs, with `%f` and Envoy's `%3f`, Apache's `msec_frac` words aside.
    ///
    /// # Errors
    /// A letter that is none.
    pub fn strftime(text: &str) -> Result<Self, String> {
        let mut steps = Vec::new();
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            if byte != b'%' {
                steps.push(Step::Literal(byte));
                continue;
            }
            let mut letter = rest.next().unwrap_or(b' ');
            while matches!(letter, b'-' | b'_' | b'0'..=b'9' | b'E' | b'O' | b':' | b'#') {
                letter = rest.next().unwrap_or(b' ');
            }
            let more = match letter {
                b'Y' => vec![Step::Year],
                b'y' => vec![Step::ShortYear],
                b'm' => vec![Step::Month],
                b'b' | b'B' | b'h' => vec![Step::MonthName],
                b'd' | b'e' => vec![Step::Day],
                b'j' => vec![Step::DayOfYear],
                b'a' | b'A' => vec![Step::Word],
                b'H' | b'I' | b'k' | b'l' => vec![Step::Hour],
                b'p' | b'P' => vec![Step::Half],
                b'M' => vec![Step::Minute],
                b'S' => vec![Step::Second],
                b'f' | b'L' | b'N' => vec![Step::Fraction],
                b'z' | b'Z' => vec![Step::Zone],
                b's' => vec![Step::Epoch],
                b'F' => Self::strftime("%Y-%m-%d")?.steps,
                b'T' => Self::strftime("%H:%M:%S")?.steps,
                b'R' => Self::strftime("%H:%M")?.steps,
                b'D' => Self::strftime("%m/%d/%y")?.steps,
                b'c' => Self::strftime("%a %b %e %H:%M:%S %Y")?.steps,
                b'%' => vec![Step::Literal(b'%')],
                b'n' | b't' => vec![Step::Literal(b' ')],
                other => return Err(format!("'%{}' is no time", char::from(other))),
            };
            steps.extend(more);
        }
        Self::usable(steps)
    }

    fn usable(steps: Vec<Step>) -> Result<Self, String> {
        let has = |wanted: &[Step]| steps.iter().any(|s| wanted.contains(s));
        if has(&[Step::Epoch, Step::EpochMillis, Step::Hour, Step::Day, Step::DayOfYear, Step::Any]) {
            Ok(Self { steps, zone: None })
        } else {
            Err("it names neither a day nor a time of day".to_owned())
        }
    }

    /// The time at the start of `text` and how many bytes it takes.
    pub fn prefix(&self, text: &[u8], clock: &mut Clock) -> Option<(Time, usize)> {
        match &self.zone {
            None => self.read(text, clock),
            Some(zone) => clock.in_zone(zone, |clock| self.read(text, clock)),
        }
    }

    fn read(&self, text: &[u8], clock: &mut Clock) -> Option<(Time, usize)> {
        let (mut year, mut month_day, mut day) = (None, None, None);
        let mut of_year = None;
        let (mut hour, mut half, mut minute, mut second, mut nanos) = (0, None, 0, 0, 0);
        let mut zone = None;
        let mut at = 0;
        for step in &self.steps {
            let rest = text.get(at..)?;
            let (value, used) = match step {
                Step::Literal(byte) => {
                    // Numbers padded with blanks take the place of one.
                    if rest.first() != Some(byte) {
                        return None;
                    }
                    (0, 1)
                }
                Step::Year => (number(rest.get(..4)?)?, 4),
                Step::ShortYear => (number(rest.get(..2)?)?, 2),
                Step::DayOfYear => (number(rest.get(..3)?)?, 3),
                Step::MonthName => {
                    let used = rest.iter().take_while(|b| b.is_ascii_alphabetic()).count();
                    (month(rest.get(..3)?)?, used)
                }
                Step::Word => (0, rest.iter().take_while(|b| b.is_ascii_alphabetic()).count()),
                Step::Half => match rest.get(..2)?.to_ascii_lowercase().as_slice() {
                    b"am" => (0, 2),
                    b"pm" => (12, 2),
                    _ => return None,
                },
                Step::Fraction => {
                    let used = rest.iter().take_while(|b| b.is_ascii_digit()).count();
                    let digits = rest.get(..used.min(9)).filter(|d| !d.is_empty())?;
                    let scale = 10i64.pow(u32::try_from(9 - digits.len()).ok()?);
                    (number(digits)? * scale, used)
                }
                Step::Zone => {
                    let (offset, used) = zone_prefix(rest).or_else(|| zone_word(rest))?;
                    zone = Some(offset);
                    (0, used)
                }
                Step::Epoch | Step::EpochMillis => {
                    let used = rest.iter().take_while(|b| b.is_ascii_digit() || **b == b'.').count();
                    return Some((crate::time::epoch(&rest[..used])?, at + used));
                }
                Step::Any => {
                    let (time, used) = clock.prefix(rest)?;
                    if self.steps.len() == 1 {
                        return Some((time, used));
                    }
                    return None;
                }
                Step::Month | Step::Day | Step::Hour | Step::Minute | Step::Second => two_digits(rest)?,
            };
            match step {
                Step::Year => year = Some(value),
                Step::ShortYear => year = Some(if value < 70 { 2000 + value } else { 1900 + value }),
                Step::Month | Step::MonthName => month_day = Some(value),
                Step::Day => day = Some(value),
                Step::DayOfYear => of_year = Some(value),
                Step::Hour => hour = value,
                Step::Half => half = Some(value),
                Step::Minute => minute = value,
                Step::Second => second = value,
                Step::Fraction => nanos = value,
                _ => {}
            }
            at += used;
        }
        if let Some(half) = half {
            hour = hour % 12 + half;
        }
        if hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let of_day = hour * 3600 + minute * 60 + second;
        let seconds = match (year, month_day, day, of_year) {
            (Some(year), _, _, Some(day)) => clock.resolve((year, 1, 1), of_day, zone)? + (day - 1) * 86_400,
            (Some(year), Some(month), Some(day), _) => clock.resolve((year, month, day), of_day, zone)?,
            (None, Some(month), Some(day), _) => clock.nearest_year(month, day, of_day, zone)?,
            _ => clock.nearest_day(of_day, zone)?,
        };
        Some((Time { seconds, nanos: u32::try_from(nanos).ok()? }, at))
    }
}

/// `+2`, `-03:30`.
fn hours(text: &str) -> Option<Offset> {
    let (sign, rest) = match text.as_bytes() {
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let (hours, used) = two_digits(rest)?;
    let minutes = match &rest[used..] {
        [] => 0,
        [b':', minutes @ ..] | minutes => number(minutes).filter(|m| *m < 60)?,
    };
    Offset::from_seconds(i32::try_from(sign * (hours * 3600 + minutes * 60)).ok()?).ok()
}

/// One or two digits, perhaps with a blank in front.
fn two_digits(text: &[u8]) -> Option<(i64, usize)> {
    match text {
        [a @ b'0'..=b'9', b @ b'0'..=b'9', ..] => Some((i64::from(a - b'0') * 10 + i64::from(b - b'0'), 2)),
        [b' ', d @ b'0'..=b'9', ..] => Some((i64::from(d - b'0'), 2)),
        [d @ b'0'..=b'9', ..] => Some((i64::from(d - b'0'), 1)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn clock() -> Clock {
        let now: jiff::Timestamp = "2026-11-21T00:10:00Z".parse().expect("a time");
        Clock::new(jiff::tz::TimeZone::UTC, Time { seconds: now.as_second(), nanos: 0 })
    }

    fn read(pattern: &TimePattern, text: &str) -> Option<String> {
        let (time, used) = pattern.prefix(text.as_bytes(), &mut clock())?;
        let mut out = Vec::new();
        time.write(&mut out);
        (used == text.len()).then(|| String::from_utf8(out).expect("UTF-8"))
    }

    #[test]
    fn notations_of_java_and_of_strftime() {
        for (pattern, text, want) in [
            ("yyyy-MM-dd HH:mm:ss,SSS", "2026-11-21 12:24:10,123", "2026-11-21T12:24:10.123Z"),
            ("yyyy-MM-dd'T'HH:mm:ss.SSSXXX", "2026-11-21T12:24:10.123+01:00", "2026-11-21T11:24:10.123Z"),
            ("dd-MMM-yyyy HH:mm:ss.SSS", "21-Nov-2026 12:24:10.123", "2026-11-21T12:24:10.123Z"),
            ("dd.MM.yy hh:mm:ss a", "21.11.26 01:24:10 PM", "2026-11-21T13:24:10.000Z"),
            ("HH:mm:ss.SSS", "23:59:10.123", "2026-11-20T23:59:10.123Z"),
            ("HH:mm:ss.SSS", "00:09:10.123", "2026-11-21T00:09:10.123Z"),
            ("ISO8601", "2026-11-21 12:24:10,123", "2026-11-21T12:24:10.123Z"),
            ("DATE", "21 Nov 2026 12:24:10,123", "2026-11-21T12:24:10.123Z"),
            ("UNIX_MILLIS", "1795263850123", "2026-11-21T12:24:10.123Z"),
        ] {
            let compiled = TimePattern::java(pattern).expect("compiles");
            assert_eq!(read(&compiled, text).as_deref(), Some(want), "{pattern}");
        }
        for (pattern, text, want) in [
            ("%Y-%m-%d %H:%M:%S", "2026-11-21 12:24:10", "2026-11-21T12:24:10.000Z"),
            ("%d/%b/%Y:%T %z", "21/Nov/2026:12:24:10 +0100", "2026-11-21T11:24:10.000Z"),
            ("%b %e %H:%M:%S", "Nov  1 12:24:10", "2026-11-01T12:24:10.000Z"),
            ("%Y-%m-%dT%H:%M:%S.%3fZ", "2026-11-21T12:24:10.123Z", "2026-11-21T12:24:10.123Z"),
            ("%s", "1795263850", "2026-11-21T12:24:10.000Z"),
            ("%Y %j %I:%M %p", "2026 325 01:05 am", "2026-11-21T01:05:00.000Z"),
        ] {
            let compiled = TimePattern::strftime(pattern).expect("compiles");
            assert_eq!(read(&compiled, text).as_deref(), Some(want), "{pattern}");
        }
        assert!(TimePattern::java("qqq").is_err());
        assert!(TimePattern::java("'open").is_err());
        assert!(TimePattern::strftime("%Q").is_err());
        assert!(TimePattern::strftime("no time").is_err());
    }

    #[test]
    fn a_zone_of_its_own_is_used_where_the_text_names_none() {
        for (zone, want) in [
            ("UTC", "2026-07-01T12:24:10.000Z"),
            ("Europe/Berlin", "2026-07-01T10:24:10.000Z"),
            ("GMT-3", "2026-07-01T15:24:10.000Z"),
            ("+05:30", "2026-07-01T06:54:10.000Z"),
        ] {
            let pattern = TimePattern::java("yyyy-MM-dd HH:mm:ss").and_then(|p| p.in_zone(zone));
            assert_eq!(read(&pattern.expect("compiles"), "2026-07-01 12:24:10").as_deref(), Some(want));
        }
        let named = TimePattern::java("yyyy-MM-dd HH:mm:ss z").expect("compiles");
        assert_eq!(read(&named, "2026-07-01 12:24:10 CEST").as_deref(), Some("2026-07-01T10:24:10.000Z"));
        assert!(TimePattern::java("HH:mm").and_then(|p| p.in_zone("Mars/Olympus")).is_err());
        // The clock's own zone is back afterwards.
        let mut clock = clock();
        let berlin =
            TimePattern::java("HH:mm:ss").and_then(|p| p.in_zone("Europe/Berlin")).expect("compiles");
        let bare = TimePattern::java("HH:mm:ss").expect("compiles");
        let at =
            |pattern: &TimePattern, clock: &mut Clock| pattern.prefix(b"00:05:00", clock).expect("a time").0;
        assert_eq!(at(&bare, &mut clock).seconds - at(&berlin, &mut clock).seconds, 3600);
        assert_eq!(at(&bare, &mut clock).seconds - at(&berlin, &mut clock).seconds, 3600);
    }

    proptest! {
        #[test]
        fn anything_compiles_or_is_refused_and_reads_or_does_not(
            pattern in "[-yMdHhmsSaEXz%A-Z:., '\\[]{0,24}", text in "[-0-9A-Za-z:., +]{0,32}"
        ) {
            for compiled in [TimePattern::java(&pattern), TimePattern::strftime(&pattern)].into_iter().flatten() {
                if let Some((_, used)) = compiled.prefix(text.as_bytes(), &mut clock()) {
                    prop_assert!(used <= text.len());
                }
            }
        }
    }
}
