//! The pure middle of the pipeline: lines of one input in, encoded records out, everything counted.

use std::sync::Arc;

use crate::{
    config::{self, Config, timezone},
    decode::{Context, Decoder, FORMATS, Format, detect::Detector, envelope},
    encode::{Encoder, Original, Schema, Source},
    join::{self, Event, Rule},
    record::{Field, Part, Record, Value},
    rules::{self, Edits, Redactor, Room, Series},
    text::{Str, strip_ansi},
    time::{Clock, Time},
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
            redact: Redactor::compile(&config.redact, key)?,
            edits: Edits::compile(&config.edit, config.schema, key).map_err(|(_, problem)| problem)?,
            join,
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
    pub unparsed: Option<crate::decode::Refusal>,
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
    record: Option<Record<'static>>,
    clean: Vec<u8>,
    redacted: [Vec<u8>; 2],
    /// Memory of the edits.
    room: Room,
    /// Metrics made from records, where there are any.
    series: Option<Series>,
    /// A line that was inside of an envelope.
    content: Vec<u8>,
    scratch: Vec<u8>,
    /// Records left out, by the filter's place in the configuration.
    filtered: Vec<u64>,
    known: Known,
}

/// What is known of the lines that are read, because all of them were looked at together.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// They are UTF-8.
    valid: bool,
    /// They have no terminal colours.
    plain: bool,
}

impl Known {
    fn of(lines: &[u8]) -> Self {
        Self {
            valid: simdutf8::basic::from_utf8(lines).is_ok(),
            plain: memchr::memchr(0x1b, lines).is_none(),
        }
    }
}

impl Lane {
    /// `path` goes into the records.
    pub fn new(stream: Arc<Stream>, path: Option<&str>) -> Self {
        let encoder = Encoder::new(stream.schema, stream.original, &stream.fixed, path);
        let filtered = vec![0; stream.filters.len()];
        let cx = Context::new(Clock::new(stream.zone.clone(), Time::default()));
        Self {
            stream,
            detector: Detector::default(),
            encoder,
            cx,
            record: None,
            clean: Vec::new(),
            redacted: [Vec::new(), Vec::new()],
            room: Room::default(),
            series: None,
            content: Vec::new(),
            scratch: Vec::new(),
            filtered,
            known: Known::default(),
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
        match stream.join.of(bytes) {
            Rule::Off => {
                let mut from = 0;
                for end in memchr::memchr_iter(b'\n', bytes) {
                    let event = Event { raw: &bytes[from..end], text: None, lines: 1 };
                    let verdict = self.event(&event, None, counts, out);
                    seen(&event, verdict, out);
                    from = end + 1;
                }
                if from < bytes.len() {
                    let event = Event { raw: &bytes[from..], text: None, lines: 1 };
                    let verdict = self.event(&event, None, counts, out);
                    seen(&event, verdict, out);
                }
                bytes.len()
            }
            Rule::Cri => {
                let used = if flush { bytes.len() } else { join::settled_cri(bytes) };
                join::cut_cri(&bytes[..used], |event| {
                    let verdict = self.event(&event, None, counts, out);
                    seen(&event, verdict, out);
                });
                used
            }
            rule => {
                // A stream whose lines are known to be whole events is not kept waiting for a trace.
                let known = self.detector.format().is_some() && matches!(rule, Rule::Traces);
                let open =
                    |line: &[u8]| !known && (line.first() != Some(&b'{') || matches!(rule, Rule::Start(_)));
                join::cut(rule, bytes, flush, open, |event| {
                    let verdict = self.event(&event, None, counts, out);
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
        self.event(&Event { raw: line, text: None, lines: 1 }, part, counts, out)
    }

    /// Records left out since the last time, by the filter's place in the configuration.
    pub fn take_filtered(&mut self, into: &mut Vec<u64>) {
        into.resize(self.filtered.len().max(into.len()), 0);
        for (sum, more) in into.iter_mut().zip(&mut self.filtered) {
            *sum += std::mem::take(more);
        }
    }

    fn event(
        &mut self,
        event: &Event<'_>,
        part: Option<Part>,
        counts: &mut Counts,
        out: &mut Vec<u8>,
    ) -> Verdict {
        if self.stream.redact.is_empty() {
            return self.decode(event, part, counts, out);
        }
        let stream = self.stream.clone();
        // A pattern may have cut a character in two.
        self.known.valid = false;
        let [mut raw, mut text] = std::mem::take(&mut self.redacted);
        let clean_raw = if stream.redact.apply(event.raw, &mut raw) { &raw[..] } else { event.raw };
        let clean_text = event.text.map(|t| if stream.redact.apply(t, &mut text) { &text[..] } else { t });
        let verdict =
            self.decode(&Event { raw: clean_raw, text: clean_text, lines: event.lines }, part, counts, out);
        self.redacted = [raw, text];
        verdict
    }

    fn decode(
        &mut self,
        event: &Event<'_>,
        part: Option<Part>,
        counts: &mut Counts,
        out: &mut Vec<u8>,
    ) -> Verdict {
        let line = event.raw.strip_suffix(b"\r").unwrap_or(event.raw);
        let text = event.text.unwrap_or(line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        // What was joined is made anew.
        let known = if event.text.is_none() { self.known } else { Known::default() };
        let mut clean = std::mem::take(&mut self.clean);
        let text = if !known.plain && memchr::memchr(0x1b, text).is_some() {
            strip_ansi(text, &mut clean);
            &clean[..]
        } else {
            text
        };
        let stream = &*self.stream;
        let mut room = std::mem::take(&mut self.room);
        if !stream.edits.is_empty() {
            room.reset(&stream.edits);
        }
        let mut record: Record<'_> = self.record.take().unwrap_or_default().recycle();
        let mut verdict =
            Verdict { format: self.stream.format, unparsed: None, partial: None, left_out: None };
        let mut found = Format::Plain;
        // The first line is what the format describes; the trace behind it is text.
        let whole = self.stream.decoder.as_ref().is_some_and(Decoder::whole);
        let first = match event.lines > 1 && event.text.is_none() && !whole {
            true => &text[..memchr::memchr(b'\n', text).unwrap_or(text.len())],
            false => text,
        };
        let opens = self.stream.decoder.as_ref().is_none_or(Decoder::wrapped) && part.is_none();
        let mut content = std::mem::take(&mut self.content);
        let wrapped = if opens { envelope::unwrap(first, &mut content) } else { None };
        if part.is_some() {
            // A piece of a line is no line of any format; it goes out as the text it is.
            record.part = part;
            counts.parts += 1;
            verdict.format = Format::Plain.name();
        } else {
            match &self.stream.decoder {
                _ if let Some(wrapped) = wrapped => {
                    found = wrapped.format();
                    verdict.format = found.name();
                    if let Err(refusal) =
                        envelope::decode(wrapped, first, &content, &mut self.cx, &mut record)
                    {
                        record.clear();
                        record.unparsed = Some(refusal.reason);
                        verdict.unparsed = Some(refusal);
                        counts.unparsed += 1;
                    }
                }
                None => {
                    found = self.detector.decode(first, &mut self.cx, &mut record);
                    verdict.format = found.name();
                }
                Some(decoder) => {
                    found = decoder.format();
                    if let Err(refusal) = decoder.decode(first, &mut self.cx, &mut record) {
                        record.clear();
                        record.unparsed = Some(refusal.reason);
                        verdict.unparsed = Some(refusal);
                        counts.unparsed += 1;
                    }
                }
            }
        }
        if first.len() < text.len() && record.unparsed.is_none() {
            trace(text, first.len() + 1, &mut record);
        }
        verdict.partial = record.partial;
        counts.lines += event.lines;
        counts.joined += event.lines - 1;
        let hidden = match stream.edits.is_empty() {
            true => None,
            false => stream.edits.apply(line, &mut record, &room).map(|hidden| hidden.show(line)),
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
                self.encoder.encode(&source, &record, out);
                counts.records += 1;
                counts.partial += u64::from(record.partial.is_some());
                counts.formats[found.index()] += u64::from(record.unparsed.is_none());
            }
        }
        self.record = Some(record.recycle());
        self.room = room;
        self.clean = clean;
        self.content = content;
        verdict
    }
}

/// What stands behind the first line of an event: a stack trace, with the exception's class and message where they are there to read.
fn trace<'a>(text: &'a [u8], from: usize, record: &mut Record<'a>) {
    let rest = &text[from..];
    if join::bare_trace(text) {
        record.message = Some(Value::Text(Str::Raw(text)));
        return;
    }
    if record.has(Field::ErrorStack) {
        record.message = Some(Value::Text(Str::Raw(text)));
        return;
    }
    let start = join::trace_start(rest);
    if start != Some(0) {
        // Lines before the trace, or without one, are the message's own.
        let end = start.map_or(text.len(), |start| from + start - 1);
        record.message = Some(Value::Text(Str::Raw(extended(text, from, end, record))));
    }
    let Some(start) = start else { return };
    let rest = &rest[start..];
    record.text(Field::ErrorStack, rest);
    let head = &rest[..memchr::memchr(b'\n', rest).unwrap_or(rest.len())];
    if join::exception(head) && !record.has(Field::ErrorType) {
        match memchr::memmem::find(head, b": ") {
            Some(colon) => {
                record.text(Field::ErrorType, &head[..colon]);
                record.text(Field::ErrorMessage, &head[colon + 2..]);
            }
            None => record.text(Field::ErrorType, head),
        }
    }
}

/// The message of the first line, going on to `end`.
fn extended<'a>(text: &'a [u8], from: usize, end: usize, record: &Record<'a>) -> &'a [u8] {
    let start = match record.message {
        Some(Value::Text(Str::Raw(message))) => {
            let start = (message.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
            if start <= from && start + message.len() + 1 == from { start } else { 0 }
        }
        _ => 0,
    };
    &text[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Edit;
    use proptest::prelude::*;
    use serde_json::Value;

    fn lane(from: &str, schema: Schema, original: Original) -> Lane {
        let config = Config { schema, original, ..Config::default() };
        let stream = config::Stream { from: Some(from.to_owned()), ..config::Stream::default() };
        Lane::new(Arc::new(Stream::compile(&stream, &config).expect("compiles")), Some("/var/log/x"))
    }

    fn convert(lane: &mut Lane, line: &[u8]) -> (String, Counts) {
        let (mut counts, mut out) = (Counts::default(), Vec::new());
        lane.line(line, None, &mut counts, &mut out);
        assert!(counts.balanced());
        (String::from_utf8(out).expect("records are UTF-8"), counts)
    }

    /// No repeated keys at any depth, and valid JSON.
    fn strict(text: &str) -> Value {
        struct Once(Value);
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Once;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("JSON")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Once, A::Error> {
                let mut object = serde_json::Map::new();
                while let Some((key, value)) = map.next_entry::<String, Once>()? {
                    if object.insert(key.clone(), value.0).is_some() {
                        return Err(serde::de::Error::custom(format!("{key:?} is there twice")));
                    }
                }
                Ok(Once(Value::Object(object)))
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Once, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element::<Once>()? {
                    items.push(item.0);
                }
                Ok(Once(Value::Array(items)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Once, E> {
                Ok(Once(Value::from(text)))
            }
            fn visit_bool<E>(self, value: bool) -> Result<Once, E> {
                Ok(Once(Value::from(value)))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Once, E> {
                Ok(Once(Value::from(value)))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Once, E> {
                Ok(Once(Value::from(value)))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Once, E> {
                Ok(Once(Value::from(value)))
            }
            fn visit_unit<E>(self) -> Result<Once, E> {
                Ok(Once(Value::Null))
            }
        }
        impl<'de> serde::Deserialize<'de> for Once {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Visitor)
            }
        }
        match serde_json::from_str::<Once>(text) {
            Ok(value) => value.0,
            Err(error) => panic!("{error}: {text}"),
        }
    }

    /// The line that a record holds.
    fn recover(text: &str, schema: Schema) -> Option<Vec<u8>> {
        let record = match schema {
            Schema::Logfmt => pairs(text),
            _ => strict(text),
        };
        let (at, message, original, coded) = match schema {
            Schema::Ecs | Schema::Ecs8 => {
                (record.clone(), "message", "event.original", "event.original_base64")
            }
            Schema::Otel => {
                let mut at = record.get("Attributes")?.clone();
                at["Body"] = record.get("Body").cloned().unwrap_or_default();
                (at, "Body", "log.record.original", "log.record.original_base64")
            }
            Schema::Otlp => (otlp(&record)?, "body", "log.record.original", "log.record.original_base64"),
            Schema::Gelf => (record.clone(), "short_message", "_original", "_original_base64"),
            Schema::Splunk => (record.get("event")?.clone(), "message", "original", "original_base64"),
            _ => (record.clone(), "message", "original", "original_base64"),
        };
        if let Some(coded) = at.get(coded).and_then(Value::as_str) {
            return Some(unbase64(coded));
        }
        let text = at.get(original).or_else(|| at.get(message)).and_then(Value::as_str)?;
        // GELF's message may not be empty.
        Some(if schema == Schema::Gelf && text == "-" { Vec::new() } else { text.as_bytes().to_vec() })
    }

    /// The attributes of the one log record, and its body.
    fn otlp(request: &Value) -> Option<Value> {
        let record = &request["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
        let mut found = serde_json::Map::new();
        for attribute in record["attributes"].as_array()? {
            let key = attribute["key"].as_str()?.to_owned();
            assert!(found.insert(key, attribute["value"]["stringValue"].clone()).is_none(), "{request}");
        }
        found.insert("body".to_owned(), record["body"]["stringValue"].clone());
        Some(Value::Object(found))
    }

    /// logfmt, read by its rules.
    fn pairs(mut text: &str) -> Value {
        let mut found = serde_json::Map::new();
        while !text.is_empty() {
            let (key, rest) = text.split_once('=').unwrap_or_else(|| panic!("no pair: {text:?}"));
            assert!(!key.is_empty() && !key.contains([' ', '"']), "{key:?}");
            let (value, rest) = if rest.starts_with('"') {
                let mut values = serde_json::Deserializer::from_str(rest).into_iter::<String>();
                let value = values.next().expect("a value").expect("closed quotes");
                (value, &rest[values.byte_offset()..])
            } else {
                let end = rest.find(' ').unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            };
            assert!(found.insert(key.to_owned(), Value::from(value)).is_none(), "{key:?} is there twice");
            text = rest.strip_prefix(' ').unwrap_or(rest);
        }
        Value::Object(found)
    }

    fn unbase64(text: &str) -> Vec<u8> {
        const TABLE: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let (mut word, mut bits, mut bytes) = (0u32, 0, Vec::new());
        for place in text.chars().filter_map(|c| TABLE.find(c)) {
            word = word << 6 | place as u32;
            bits += 6;
            if bits >= 8 {
                bits -= 8;
                bytes.push((word >> bits & 255) as u8);
            }
        }
        bytes
    }

    fn check_all(line: &[u8]) {
        let line: Vec<u8> = line.iter().copied().filter(|b| *b != b'\n').collect();
        let names = FORMATS.iter().filter(|e| !e.needs_pattern()).map(|e| e.name);
        for name in std::iter::once("auto").chain(names) {
            for schema in Schema::ALL {
                // What an envelope adds does not depend on the format.
                let own = matches!(schema, Schema::Ecs | Schema::Otel | Schema::Flat);
                if own || matches!(name, "auto" | "json" | "nginx" | "syslog") {
                    check(name, schema, &line);
                }
            }
        }
    }

    fn check(name: &str, schema: Schema, line: &[u8]) {
        let bare = line.strip_suffix(b"\r").unwrap_or(line);
        let (text, counts) = convert(&mut lane(name, schema, Original::Always), line);
        assert_eq!(counts.records, 1);
        assert_eq!(text.bytes().filter(|b| *b == b'\n').count(), 1, "{text:?}");
        let recovered = recover(text.trim_end_matches('\n'), schema);
        assert_eq!(recovered.as_deref(), Some(bare), "{name} {schema:?} {text}");
        let (text, _) = convert(&mut lane(name, schema, Original::Failed), line);
        let text = text.trim_end_matches('\n');
        if schema == Schema::Logfmt {
            pairs(text)
        } else {
            strict(text)
        };
    }

    fn json_like() -> impl Strategy<Value = String> {
        let key = prop_oneof![
            Just("msg"),
            Just("message"),
            Just("time"),
            Just("level"),
            Just("a"),
            Just("a.b"),
            Just("a_"),
            Just("tags"),
            Just("error"),
            Just("ecs.version"),
            Just("event.original"),
            Just("\\u0061"),
            Just("host"),
            Just("pid"),
            Just("v"),
            Just("name"),
            Just("status"),
            Just(""),
            Just("."),
            Just("@timestamp"),
            Just("event.severity"),
            Just("fields"),
            Just("t")
        ];
        let leaf = prop_oneof![
            Just("1".to_owned()),
            Just("\"x\"".to_owned()),
            Just("null".to_owned()),
            Just("\"\\x22\"".to_owned()),
            Just("[\"t\",\"t\"]".to_owned()),
            Just("12345678901234567890123".to_owned()),
            Just("NaN".to_owned()),
            Just("1e999".to_owned()),
            Just("\"2026-11-21T12:24:10Z\"".to_owned()),
            Just("\"warn\"".to_owned()),
            Just("\"\\ud800\"".to_owned())
        ];
        let value = leaf.prop_recursive(3, 12, 4, move |inner| {
            let key = prop_oneof![
                Just("message"),
                Just("type"),
                Just("k"),
                Just("stack"),
                Just("line"),
                Just("file")
            ];
            prop::collection::vec((key, inner), 0..4).prop_map(|members| {
                let body: Vec<_> = members.iter().map(|(k, v)| format!("\"{k}\":{v}")).collect();
                format!("{{{}}}", body.join(","))
            })
        });
        prop::collection::vec((key, value), 0..9).prop_map(|members| {
            let body: Vec<_> = members.iter().map(|(k, v)| format!("\"{k}\":{v}")).collect();
            format!("{{{}}}", body.join(","))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_become_one_valid_record_that_holds_them(line in prop::collection::vec(any::<u8>(), 0..200)) {
            check_all(&line);
        }

        #[test]
        fn damaged_lines_of_known_formats_do_too(
            which in 0..FORMATS.len(), cut in 0usize..200, at in 0usize..200, byte in any::<u8>()
        ) {
            let mut line = FORMATS[which].example.as_bytes().to_vec();
            line.truncate(cut.max(1));
            let at = at % line.len();
            line[at] = byte;
            check_all(&line);
        }

        #[test]
        fn edits_leave_valid_records(line in json_like(), hit in any::<bool>()) {
            let name = |name: &str| name.to_owned();
            let pair = |from: &str, to: &str| rules::FromTo { from: name(from), to: name(to) };
            let edit = vec![
                Edit::Rename(pair("app.a", "labels.a")),
                Edit::Rename(pair("app.t", if hit { "app.v" } else { "message" })),
                Edit::Copy(pair("app.name", "log.level")),
                Edit::Copy(pair("app.a.b", "app.a_")),
                Edit::Add(rules::Add { field: name("labels.k"), value: config::Scalar::Int(1) }),
                Edit::Convert(rules::Convert { field: name("app.v"), to: rules::Kind::Text }),
                Edit::Expand(name("app.fields")),
                Edit::Mask(name("app.error.message")),
                Edit::Mask(name("app.status")),
                Edit::Drop(name("app.fields.k")),
            ];
            for schema in [Schema::Ecs, Schema::Flat, Schema::Otel, Schema::Gelf, Schema::Gcp] {
                let config = Config { schema, edit: edit.clone(), ..Config::default() };
                let stream = config::Stream { from: Some("json".to_owned()), ..config::Stream::default() };
                let stream = Stream::compile(&stream, &config);
                // Where names have no prefix, some of the targets are the schema's own.
                let Ok(stream) = stream else { continue };
                let (text, _) = convert(&mut Lane::new(Arc::new(stream), None), line.as_bytes());
                strict(text.trim_end_matches('\n'));
            }
        }

        #[test]
        fn any_object_does_too(line in json_like()) {
            check_all(line.as_bytes());
        }
    }

    #[test]
    fn lines_inside_of_envelopes_are_read_and_whatever_they_hold_is_text() {
        for line in [
            &br#"{"log":"{\"a\":\"\ud800\"}\n","stream":"stdout","time":"2026-11-21T12:24:10Z"}"#[..],
            br#"{"log":"\xff\u001b[31mx\n","stream":"stderr","time":"2026-11-21T12:24:10Z","attrs":{"a":1,"a":2}}"#,
            br#"{"__REALTIME_TIMESTAMP":"1795263850123456","MESSAGE":[104,255,10],"A":"\ud800"}"#,
            br#"{"__REALTIME_TIMESTAMP":"1795263850123456","MESSAGE":"k=v msg=\"\xff\" x=1"}"#,
            br#"{"__REALTIME_TIMESTAMP":"1","MESSAGE":null}"#,
        ] {
            check_all(line);
        }
        let (text, _) = convert(
            &mut lane("auto", Schema::Flat, Original::Failed),
            br#"{"log":"{\"level\":\"warn\",\"msg\":\"low\"}\n","stream":"stdout","time":"2026-11-21T12:24:10Z"}"#,
        );
        let record = strict(&text);
        assert_eq!((&record["level"], &record["message"]), (&"warn".into(), &"low".into()));
    }

    #[test]
    fn keys_that_collide_move_aside() {
        let (text, _) = convert(
            &mut lane("json", Schema::Ecs, Original::Failed),
            br#"{"msg":"m","a":1,"a.b":2,"":3,"x..y":4}"#,
        );
        let record = strict(&text);
        assert_eq!(record["app.a_"], 1);
        assert_eq!(record["app.a.b"], 2);
        assert_eq!(record["app._"], 3);
        assert_eq!(record["app.x__y"], 4);
        let (text, _) = convert(
            &mut lane("json", Schema::Flat, Original::Failed),
            br#"{"msg":"m","message":"n","original":"o","message_":1}"#,
        );
        let record = strict(&text);
        assert_eq!(record["message"], "m");
        assert_eq!(record["message__"], "n");
        assert_eq!(record["message_"], 1);
        assert_eq!(record["original_"], "o");
    }

    #[test]
    fn a_refused_line_goes_out_whole_and_marked() {
        let (text, counts) =
            convert(&mut lane("nginx", Schema::Ecs, Original::Always), b"GET / is not an access log");
        let record = strict(&text);
        assert_eq!(record["message"], "GET / is not an access log");
        assert_eq!(record["tags"], serde_json::json!(["unparsed"]));
        assert_eq!(record["error.message"], "nginx: no time in brackets");
        assert_eq!(counts.unparsed, 1);
    }

    #[test]
    fn a_bad_field_costs_only_itself() {
        let line = b"192.0.2.7 - - [21/Nov/2026:12:24:10 +0000] \"\\x16\\x03\\x01\" 400 150 \"-\" \"-\"";
        let (text, counts) = convert(&mut lane("nginx", Schema::Ecs, Original::Always), line);
        let record = strict(&text);
        assert_eq!(record["http.response.status_code"], 400);
        assert_eq!(record["source.ip"], "192.0.2.7");
        assert_eq!(record["tags"], serde_json::json!(["partial"]));
        assert_eq!((counts.partial, counts.unparsed), (1, 0));
    }
}
