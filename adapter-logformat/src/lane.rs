//! The pure middle of the pipeline: lines of one input in, encoded records out, everything counted.

use std::sync::Arc;

use crate::{
    config::{self, Config, timezone},
    decode::{Context, Decoder, FORMATS, Format, Refusal, behind, cri, detect::Detector, envelope, otlp},
    encode::{Encoder, Original, Schema, Source},
    join::{self, Event, Rule},
    record::{Memory, Part, Record},
    rules::{self, Edits, Redactor, Room, Series},
    text::{Around, strip_ansi, strip_escaped_ansi},
    time::{Clock, Time},
    trace,
};

/// A stream of the configuration, compiled.
#[derive(Debug)]
pub struct Stream {
    /// `None`: find out.
    pub decoder: Option<Decoder>,
    pub format: &'static str,
    zone: jiff::tz::TimeZone,
    schema: Schema,
    original: Original,
    fixed: Vec<(String, String)>,
    join: Rule,
    redact: Redactor,
    edits: Edits,
    filters: Vec<rules::Rule>,
    /// Its lines may come in an envelope.
    opens: bool,
    /// Whose envelopes; `None`: any format's.
    unwraps: Option<Format>,
    /// The decoder reads all lines of an event.
    whole: bool,
    /// Lines may be export requests of OTLP.
    requests: bool,
    #[cfg(feature = "vrl")]
    program: Option<rules::program::Program>,
}

impl Stream {
    /// Of a configuration that [`podkit::Config::check`] has passed.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence.
    pub fn compile(stream: &config::Stream, config: &Config) -> Result<Self, String> {
        let key = config.key()?;
        let key = key.as_ref();
        let (decoder, format) = match stream.from.as_deref() {
            None | Some("auto") => (None, "auto"),
            Some(name) => {
                let decoder = Decoder::new(name, stream.pattern.as_deref())?;
                let name = decoder.format().name();
                (Some(decoder), name)
            }
        };
        // Formats of one line per event have no traces behind them, unless the configuration says so.
        let join = match (stream.multiline.as_deref(), &decoder) {
            (Some(rule), _) => Rule::parse(rule)?,
            (None, None) => Rule::Auto,
            (None, Some(decoder)) => Rule::default_of(decoder.join())?,
        };
        let filters = config
            .filters
            .iter()
            .map(|filter| rules::Rule::compile(filter, config.schema).map_err(|(_, e)| e));
        Ok(Self {
            filters: filters.collect::<Result<_, _>>()?,
            #[cfg(feature = "vrl")]
            program: rules::program::Program::of(config.vrl.as_ref())?,
            redact: Redactor::compile(&config.redact, key)?,
            edits: Edits::compile(&config.edit, config.schema, key).map_err(|(_, problem)| problem)?,
            join,
            opens: decoder.as_ref().is_none_or(Decoder::wrapped),
            unwraps: decoder.as_ref().map(Decoder::format),
            whole: decoder.as_ref().is_some_and(Decoder::whole),
            requests: decoder.as_ref().is_none_or(|decoder| decoder.format() == Format::Json),
            decoder,
            format,
            zone: timezone(stream.timezone.as_deref())?,
            schema: config.schema,
            original: config.original,
            fixed: stream.fields.iter().map(|(name, value)| (name.clone(), value.json())).collect(),
        })
    }
}

/// What became of the lines. Lines = records + joined + filtered, always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    pub lines: u64,
    pub records: u64,
    /// Lines that became part of a record that another line began.
    pub joined: u64,
    /// Lines that a named rule of the configuration left out.
    pub filtered: u64,
    /// Records that hold a line no format could read.
    pub unparsed: u64,
    /// Records of which one field could not be read.
    pub partial: u64,
    /// Records that are a part of a line too long for one.
    pub parts: u64,
    pub formats: [u64; FORMATS.len()],
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            lines: 0,
            records: 0,
            joined: 0,
            filtered: 0,
            unparsed: 0,
            partial: 0,
            parts: 0,
            formats: [0; FORMATS.len()],
        }
    }
}

impl Counts {
    pub fn balanced(&self) -> bool {
        self.lines == self.records + self.joined + self.filtered
    }

    pub fn add(&mut self, other: &Self) {
        self.lines += other.lines;
        self.records += other.records;
        self.joined += other.joined;
        self.filtered += other.filtered;
        self.unparsed += other.unparsed;
        self.partial += other.partial;
        self.parts += other.parts;
        for (sum, more) in self.formats.iter_mut().zip(other.formats) {
            *sum += more;
        }
    }
}

/// How a line was read, for people.
#[derive(Clone, Copy, Debug)]
pub struct Verdict {
    pub format: &'static str,
    pub unparsed: Option<Refusal>,
    pub partial: Option<&'static str>,
    /// The filter that left it out, by its place in the configuration.
    pub left_out: Option<usize>,
}

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
    runner: rules::program::Runner,
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

/// What is known of the lines that are read, because all of them were looked at together.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// They are UTF-8.
    valid: bool,
    /// They have no terminal colours.
    plain: bool,
    /// Nor those that JSON spells `\u001b`.
    bare: bool,
}

impl Known {
    fn of(lines: &[u8]) -> Self {
        Self {
            valid: simdutf8::basic::from_utf8(lines).is_ok(),
            plain: memchr::memchr(0x1b, lines).is_none(),
            // Where the lines are objects; else one look at a line is cheaper.
            bare: lines.first() == Some(&b'{')
                && (memchr::memchr(b'\\', lines).is_none()
                    || memchr::memmem::find(lines, b"\\u001").is_none()),
        }
    }

    /// The text of an event of so many lines as it is read; `clean` is room for it where that differs.
    #[inline]
    fn tidy<'a>(self, text: &'a [u8], lines: u64, clean: &'a mut Vec<u8>) -> &'a [u8] {
        if lines > 1 && spread(text) {
            // Newlines between its parts are blanks: the record is one line.
            clean.clear();
            clean.extend(text.iter().map(|b| if *b == b'\n' { b' ' } else { *b }));
            return clean;
        }
        if !self.plain && memchr::memchr(0x1b, text).is_some() {
            strip_ansi(text, clean);
            return clean;
        }
        if !self.bare && text.first() == Some(&b'{') && strip_escaped_ansi(text, clean) {
            return clean;
        }
        text
    }
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
            runner: rules::program::Runner::default(),
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
                rules::program::Outcome::Kept => None,
                rules::program::Outcome::Dropped => {
                    out.truncate(start);
                    Some(stream.filters.len())
                }
                rules::program::Outcome::Failed => {
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

/// An object that goes on in the next lines.
fn spread(text: &[u8]) -> bool {
    text.first() == Some(&b'{')
        && memchr::memchr(b'\n', text).is_some_and(|end| text[..end].trim_ascii_end().last() != Some(&b'}'))
}

#[cfg(test)]
mod tests;
