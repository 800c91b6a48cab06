//! The pure middle of the pipeline: lines of one input in, encoded records out, everything counted.

use std::sync::Arc;

use crate::{
    decode::{Context, Decoder, Format, Refusal, behind, cri, detect::Detector, envelope, otlp},
    encode::{Encoder, Source},
    join::{self, Event, Rule},
    record::{Memory, Part, Record},
    rules::{Room, Series},
    text::Around,
    time::{Clock, Time},
    trace,
};

mod counts;
mod known;
mod stream;
#[cfg(test)]
mod tests;

pub use counts::{Counts, Verdict};
use known::Known;
pub use stream::Stream;

/// One input (a file, or stdin) on its way through.
#[derive(Debug)]
pub struct Lane {
    stream: Arc<Stream>,
    detector: Detector,
    encoder: Encoder,
    cx: Context,
    /// Of the record.
    memory: Memory,
    spare: Option<Box<Spare>>,
    redacted: [Vec<u8>; 2],
    /// Metrics made from records, where there are any.
    series: Option<Series>,
    scratch: Vec<u8>,
    /// Records left out, by the filter's place in the configuration.
    filtered: Vec<u64>,
    known: Known,
    #[cfg(feature = "vrl")]
    runner: crate::rules::program::Runner,
}

/// Memory that a record may borrow from.
#[derive(Debug, Default)]
struct Spare {
    /// The line without its colours.
    clean: Vec<u8>,
    /// A line that was inside of an envelope.
    content: Vec<u8>,
    /// What the edits make.
    room: Room,
}

impl Lane {
    /// `path` goes into the records.
    pub fn new(stream: Arc<Stream>, path: Option<&str>) -> Self {
        let encoder = Encoder::new(stream.schema, stream.original, &stream.fixed, path);
        // One more: what a program drops.
        let filtered = vec![0; stream.filters.len() + usize::from(cfg!(feature = "vrl"))];
        let cx = Context::new(Clock::new(stream.zone.clone(), Time::default()));
        Self {
            stream,
            detector: Detector::default(),
            encoder,
            cx,
            memory: Memory::new(),
            spare: None,
            redacted: [Vec::new(), Vec::new()],
            series: None,
            scratch: Vec::new(),
            filtered,
            known: Known::default(),
            #[cfg(feature = "vrl")]
            runner: crate::rules::program::Runner::default(),
        }
    }

    /// What detection knows, to be remembered; `null` where nothing is to be detected.
    pub fn detector(&self) -> serde_json::Value {
        let mut state = match self.stream.decoder {
            Some(_) => serde_json::Value::Null,
            None => serde_json::to_value(&self.detector).unwrap_or_default(),
        };
        if !self.cx.header.columns().is_empty() {
            if state.is_null() {
                state = serde_json::json!({});
            }
            state["header"] = serde_json::json!(self.cx.header.save());
        }
        state
    }

    /// What [`Self::detector`] said before.
    pub fn remember(&mut self, detector: &serde_json::Value) {
        self.detector = serde_json::from_value(detector.clone()).unwrap_or_default();
        if let Some(header) = detector.get("header").and_then(|h| serde_json::from_value(h.clone()).ok()) {
            self.cx.header.restore(header);
        }
    }

    /// Whether what comes may be syslog.
    pub fn is_syslog(&self) -> bool {
        matches!(self.stream.decoder.as_ref().map(Decoder::format), None | Some(Format::Syslog))
    }

    /// The format as people call it.
    pub fn format(&self) -> String {
        match (&self.stream.decoder, self.detector.format()) {
            (Some(_), _) => self.stream.format.to_owned(),
            (None, Some(found)) => format!("auto: {}", found.name()),
            (None, None) => "auto".to_owned(),
        }
    }

    /// When the following lines were read: what a missing time or year is taken from.
    pub fn set_now(&mut self, now: Time) {
        self.cx.clock.now = now;
    }

    /// Counts records in these metrics from now on.
    pub fn count_in(&mut self, series: &Series) {
        self.series = Some(series.clone()).filter(|series| !series.is_empty());
    }

    /// What follows has nothing to do with what went before.
    pub fn begin(&mut self) {
        self.encoder.begin();
    }

    /// Turns whole lines into records and gives the bytes that they took: what may go on with later lines is left, unless `flush`
    /// says that nothing comes behind. The same bytes, after the same detector state, give the same records.
    pub fn lines(&mut self, bytes: &[u8], flush: bool, counts: &mut Counts, out: &mut Vec<u8>) -> usize {
        self.lines_seen(bytes, flush, counts, out, |_, _, _| ())
    }

    /// [`Self::lines`]; `seen` is told of each event what was made of it, behind what is in the output by then.
    pub fn lines_seen(
        &mut self,
        bytes: &[u8],
        flush: bool,
        counts: &mut Counts,
        out: &mut Vec<u8>,
        mut seen: impl FnMut(&Event<'_>, Verdict, &mut Vec<u8>),
    ) -> usize {
        let stream = self.stream.clone();
        self.known = Known::of(bytes);
        let around = Around(bytes);
        match stream.join.of(bytes, stream.opens) {
            (rule, true) => join::enveloped::cut(rule, bytes, flush, |event| {
                let verdict = self.event(around, &event, None, counts, out);
                seen(&event, verdict, out);
            }),
            (Rule::Off, false) => {
                let mut from = 0;
                for end in memchr::memchr_iter(b'\n', bytes) {
                    let event = Event { raw: &bytes[from..end], text: None, lines: 1 };
                    let verdict = self.event(around, &event, None, counts, out);
                    seen(&event, verdict, out);
                    from = end + 1;
                }
                if from < bytes.len() {
                    let event = Event { raw: &bytes[from..], text: None, lines: 1 };
                    let verdict = self.event(around, &event, None, counts, out);
                    seen(&event, verdict, out);
                }
                bytes.len()
            }
            (rule, false) => {
                // A stream of access records is not kept waiting for a trace, unless a line begins one.
                let alone =
                    matches!(rule, Rule::Traces) && self.detector.format().is_some_and(Format::stands_alone);
                let open = |line: &[u8]| match rule {
                    Rule::Start(_) => true,
                    _ if alone => trace::bare_trace(line),
                    _ => line.first() != Some(&b'{'),
                };
                join::cut(rule, bytes, flush, open, |event| {
                    let verdict = self.event(around, &event, None, counts, out);
                    seen(&event, verdict, out);
                })
            }
        }
    }

    /// Reads one line (without its newline) and appends its record. `part` says that it is a piece of a longer one.
    pub fn line(
        &mut self,
        line: &[u8],
        part: Option<Part>,
        counts: &mut Counts,
        out: &mut Vec<u8>,
    ) -> Verdict {
        self.known = Known::default();
        self.event(Around(line), &Event { raw: line, text: None, lines: 1 }, part, counts, out)
    }

    /// Records left out since the last time, by the filter's place in the configuration.
    pub fn take_filtered(&mut self, into: &mut Vec<u64>) {
        into.resize(self.filtered.len().max(into.len()), 0);
        for (sum, more) in into.iter_mut().zip(&mut self.filtered) {
            *sum += std::mem::take(more);
        }
    }

    /// `around`: what the event's line stands in.
    #[inline]
    fn event(
        &mut self,
        around: Around<'_>,
        event: &Event<'_>,
        part: Option<Part>,
        counts: &mut Counts,
        out: &mut Vec<u8>,
    ) -> Verdict {
        if self.stream.requests
            && part.is_none()
            && otlp::likely(event.raw)
            && let Some(verdict) = self.request(event, counts, out)
        {
            return verdict;
        }
        self.clean(around, event, part, counts, out)
    }

    /// Reads the records of an export request; `None` where the line is none. Each counts as a line. The verdict is that of the last.
    #[cold]
    fn request(&mut self, event: &Event<'_>, counts: &mut Counts, out: &mut Vec<u8>) -> Option<Verdict> {
        let (mut lines, mut ends) = (Vec::new(), Vec::new());
        if !otlp::unfold(event.raw, &mut lines, &mut ends) {
            return None;
        }
        let (mut from, mut verdict) = (0, None);
        for end in ends {
            let event = Event { raw: &lines[from..end], text: None, lines: 1 };
            verdict = Some(self.clean(Around(&lines), &event, None, counts, out));
            from = end;
        }
        verdict
    }

    /// Reads an event without what the configuration hides.
    #[inline]
    fn clean(
        &mut self,
        around: Around<'_>,
        event: &Event<'_>,
        part: Option<Part>,
        counts: &mut Counts,
        out: &mut Vec<u8>,
    ) -> Verdict {
        if self.stream.redact.is_empty() {
            return self.decode(around, event, part, counts, out);
        }
        let stream = self.stream.clone();
        // A pattern may have cut a character in two.
        self.known.valid = false;
        let [mut raw, mut text] = std::mem::take(&mut self.redacted);
        let clean_raw = if stream.redact.apply(event.raw, &mut raw) { &raw[..] } else { event.raw };
        let clean_text = event.text.map(|t| if stream.redact.apply(t, &mut text) { &text[..] } else { t });
        let event = Event { raw: clean_raw, text: clean_text, lines: event.lines };
        let verdict = self.decode(around, &event, part, counts, out);
        self.redacted = [raw, text];
        verdict
    }

    fn decode(
        &mut self,
        around: Around<'_>,
        event: &Event<'_>,
        part: Option<Part>,
        counts: &mut Counts,
        out: &mut Vec<u8>,
    ) -> Verdict {
        let line = event.raw.strip_suffix(b"\r").unwrap_or(event.raw);
        // What was joined is made anew.
        let known = if event.text.is_none() { self.known } else { Known::default() };
        let mut spare = self.spare.take().unwrap_or_default();
        let Spare { clean, content, room } = &mut *spare;
        let text = match event.text {
            Some(text) => text.strip_suffix(b"\r").unwrap_or(text),
            None => line,
        };
        let text = known.tidy(text, event.lines, clean);
        let stream = &*self.stream;
        if !stream.edits.is_empty() {
            room.reset(&stream.edits);
        }
        let mut record: Record<'_> = Record::within(std::mem::take(&mut self.memory));
        let mut verdict = Verdict { format: stream.format, unparsed: None, partial: None, left_out: None };
        let mut found = Format::Plain;
        // The first line is what the format describes; the trace behind it is text.
        let several = event.lines > 1 && !stream.whole;
        let first = match several.then(|| memchr::memchr(b'\n', text)).flatten() {
            Some(end) => &text[..end],
            None => text,
        };
        if part.is_some() {
            // A piece of a line is no line of any format; it goes out as the text it is.
            record.part = part;
            counts.parts += 1;
            verdict.format = Format::Plain.name();
        } else if let Some(wrapped) = envelope::unwrap(first, stream.unwraps, content) {
            found = wrapped.format();
            verdict.format = found.name();
            verdict.unparsed = envelope::decode(wrapped, first, content, &mut self.cx, &mut record).err();
        } else if let Some(decoder) = &stream.decoder {
            found = decoder.format();
            verdict.unparsed = decoder.decode(first, &mut self.cx, &mut record).err();
        } else {
            found = self.detector.decode(first, &mut self.cx, &mut record);
            verdict.format = found.name();
        }
        if record.full() && verdict.unparsed.is_none() {
            verdict.unparsed = Some(Refusal { at: 0, reason: "more than 1024 fields" });
        }
        if let Some(refusal) = verdict.unparsed {
            record.clear();
            record.unparsed = Some(refusal.reason);
            counts.unparsed += 1;
        } else if first.len() < text.len() {
            // What the runtime wrote in front is no part of the program's text.
            let front = event.text.and_then(|_| cri::envelope(first).ok()).map_or(0, |e| e.content);
            behind::read(&text[front..], first.len() - front + 1, &mut record);
        }
        verdict.partial = record.partial;
        counts.lines += event.lines;
        counts.joined += event.lines - 1;
        let hidden = match stream.edits.is_empty() {
            true => None,
            false => stream.edits.apply(line, &mut record, room).map(|hidden| hidden.show(line)),
        };
        if let Some(series) = &self.series {
            series.observe(&record, &mut self.scratch);
        }
        let left_out = stream.filters.iter().position(|rule| rule.applies(line, &record, &mut self.scratch));
        let source = Source {
            line,
            text,
            format: verdict.format,
            now: self.cx.clock.now,
            shown: hidden.as_deref(),
            valid: known.valid,
            around,
        };
        #[cfg(feature = "vrl")]
        let start = out.len();
        if left_out.is_none() {
            self.encoder.encode(&source, &record, out);
        }
        #[cfg(feature = "vrl")]
        let left_out = match (&stream.program, left_out) {
            (Some(program), None) => match self.runner.run(program, out, start) {
                crate::rules::program::Outcome::Kept => None,
                crate::rules::program::Outcome::Dropped => {
                    out.truncate(start);
                    Some(stream.filters.len())
                }
                crate::rules::program::Outcome::Failed => {
                    out.truncate(start);
                    record.note("vrl");
                    verdict.partial = record.partial;
                    self.encoder.encode(&source, &record, out);
                    None
                }
            },
            (_, left_out) => left_out,
        };
        match left_out {
            Some(rule) => {
                self.filtered[rule] += 1;
                verdict.left_out = Some(rule);
                // The lines that were joined to it go with it.
                counts.joined -= event.lines - 1;
                counts.filtered += event.lines;
                counts.unparsed -= u64::from(record.unparsed.is_some());
                counts.parts -= u64::from(part.is_some());
            }
            None => {
                counts.records += 1;
                counts.partial += u64::from(record.partial.is_some());
                counts.formats[found.index()] += u64::from(record.unparsed.is_none());
            }
        }
        self.memory = record.memory();
        self.spare = Some(spare);
        verdict
    }
}
