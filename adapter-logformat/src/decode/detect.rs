//! `--from auto`: which format a stream has.
//!
//! Each line is tried against strict candidates, the most specific first. After 32 lines a format that read at least 90 %
//! of them is locked, so that later lines try it first; 16 refusals in a row open the question again. The lock only saves
//! work and settles what two formats could read: a line of another format in a locked stream is still read as what it is.

use super::{Context, FORMATS, Format, plain};
use crate::record::Record;

const SAMPLE: u32 = 32;
const REOPEN: u32 = 16;

/// The state of one stream.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Detector {
    locked: Option<Format>,
    seen: u32,
    /// By the format's place in the table; as long as it had to be so far.
    hits: Vec<u32>,
    refused: u32,
}

impl Detector {
    /// A stream whose format is known.
    #[cfg(test)]
    pub fn locked_to(format: Option<Format>) -> Self {
        Self { locked: format, ..Self::default() }
    }

    /// The format of the stream, once that is known.
    pub fn format(&self) -> Option<Format> {
        self.locked
    }

    /// Reads a line as what it is.
    pub fn decode<'a>(&mut self, line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Format {
        if let Some(format) = self.locked {
            if format.decode(line, cx, record).is_ok() {
                self.refused = 0;
                return format;
            }
            record.clear();
            self.refused += 1;
            if self.refused >= REOPEN {
                *self = Self::default();
            }
        }
        let (found, _) = first(line, cx, record);
        if self.locked.is_none() && !line.is_empty() {
            self.count(found);
        }
        found
    }

    fn count(&mut self, found: Format) {
        self.seen += 1;
        self.hits.resize(FORMATS.len(), 0);
        self.hits[found.index()] += 1;
        if self.seen < SAMPLE {
            return;
        }
        let best = self.hits.iter().position(|hits| *hits * 10 >= self.seen * 9);
        let locked = best.map(|place| FORMATS[place].format).filter(|f| *f != Format::Plain);
        *self = Self { locked, ..Self::default() };
    }
}

/// The first candidate that reads the line; plain text always does. True when a strict one did.
pub fn first<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> (Format, bool) {
    match candidate(line, cx, record, None) {
        Some(format) => (format, true),
        None => {
            let _ = plain::decode(line, cx, record);
            (Format::Plain, false)
        }
    }
}

/// The content of an envelope: anything but another envelope of the same kind.
pub fn content<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) {
    if candidate(line, cx, record, Some(Format::Cri)).is_none() {
        let _ = plain::decode(line, cx, record);
    }
}

/// The first format that reads the line; one look at the first byte spares most of them.
fn candidate<'a>(
    line: &'a [u8],
    cx: &mut Context,
    record: &mut Record<'a>,
    but: Option<Format>,
) -> Option<Format> {
    let first = *line.first()?;
    for entry in FORMATS {
        if entry.detect.is_some_and(|fits| fits(first)) && Some(entry.format) != but {
            if (entry.decode)(line, cx, record).is_ok() {
                return Some(entry.format);
            }
            record.clear();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{Clock, Time};

    fn run(detector: &mut Detector, line: &str, times: usize) -> Format {
        let mut cx = Context::new(Clock::new(jiff::tz::TimeZone::UTC, Time::now()));
        let mut last = Format::Plain;
        for _ in 0..times {
            last = detector.decode(line.as_bytes(), &mut cx, &mut Record::default());
        }
        last
    }

    const PAIRS: &str = "ts=2026-11-21T12:24:10Z level=info msg=hi";

    #[test]
    fn a_stream_locks_at_ninety_percent_of_its_sample() {
        let mut detector = Detector::default();
        run(&mut detector, "{\"a\":1}", 28);
        run(&mut detector, "some text", 4);
        assert_eq!(detector.format(), None, "28 of 32 are too few");
        run(&mut detector, "{\"a\":1}", 29);
        run(&mut detector, "some text", 3);
        assert_eq!(detector.format(), Some(Format::Json));
    }

    #[test]
    fn a_locked_stream_still_reads_other_lines_and_reopens_after_sixteen() {
        let mut detector = Detector::locked_to(Some(Format::Json));
        assert_eq!(run(&mut detector, PAIRS, 15), Format::Logfmt);
        assert_eq!(detector.format(), Some(Format::Json));
        run(&mut detector, "{\"a\":1}", 1);
        run(&mut detector, PAIRS, 16);
        assert_eq!(detector.format(), None);
        run(&mut detector, PAIRS, 31);
        assert_eq!(detector.format(), Some(Format::Logfmt));
    }

    #[test]
    fn text_is_not_taken_for_something_else() {
        for text in [
            "",
            "hello",
            "x = 1 and y = 2",
            "error: a=b was not expected here by anyone",
            "Exception in thread main",
            "2026-11-21 12:24:10,123 INFO listening",
            "2026-11-21T12:24:10Z INFO server: listening",
            "2026-11-21T12:24:10Z [error] server: not listening",
            "2026-11-21T12:24:10Z INFO since=2026-11-21T10:30:00Z user=alice logged in",
            "    at com.example.Main.run(Main.java:10)",
            "127.0.0.1 said hello [x] \"y\"",
        ] {
            assert_eq!(run(&mut Detector::default(), text, 1), Format::Plain, "{text}");
        }
    }
}
