//! Lines that belong together become one: stack traces by language, or events by the pattern of their first line. No I/O.
//!
//! What may still go on is held back here, and not acknowledged: after a kill it is read again. Memory is bounded by `max_bytes`
//! per file and by the caller, who counts [`Joiner::bytes`] and ends all events when there is no room.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use logtail::traces::{Languages, Trace};
use logtail::{FileKey, Line, Piece};
use regex::bytes::Regex;

use crate::style::Source;

/// When lines are joined, and how much at most.
#[derive(Clone, Debug)]
pub struct JoinPlan {
    pub rule: Rule,
    pub max_lines: usize,
    pub max_bytes: usize,
    /// An event that nothing was added to for so long is complete.
    pub idle: Duration,
}

/// What makes a line the continuation of the one before.
#[derive(Clone, Debug)]
pub enum Rule {
    /// It looks like a line of a stack trace.
    Traces(Languages),
    /// It does not match the pattern that starts an event.
    Start(Regex),
}

/// One event: a line, or several joined by newlines.
#[derive(Debug)]
pub struct Event<'a> {
    pub file: FileKey,
    pub source: &'a Rc<Source>,
    /// Its text; the range is that of all its lines.
    pub line: Line<'a>,
    pub lines: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Joiner {
    plan: JoinPlan,
    open: HashMap<FileKey, Open>,
    bytes: usize,
}

#[derive(Debug)]
struct Open {
    source: Rc<Source>,
    text: Vec<u8>,
    offset: u64,
    end: u64,
    lines: u64,
    trace: Trace,
    piece: Piece,
    since: Instant,
}

impl Joiner {
    pub fn new(plan: JoinPlan) -> Self {
        Self { plan, open: HashMap::new(), bytes: 0 }
    }

    /// Takes the next line of a file, and gives the events that are complete by it.
    pub fn push(
        &mut self,
        file: FileKey,
        source: &Rc<Source>,
        line: &Line<'_>,
        emit: &mut impl FnMut(Event<'_>),
    ) {
        let whole = matches!(line.piece, Piece::Lines | Piece::Unterminated { number: 1 });
        let text = line.bytes.strip_suffix(b"\r").unwrap_or(line.bytes);
        if let Some(open) = self.open.get_mut(&file) {
            let room = open.lines < self.plan.max_lines as u64
                && open.text.len() + text.len() < self.plan.max_bytes
                && open.end == line.offset;
            let next = if whole && room { self.plan.rule.next(open.trace, text) } else { None };
            if let Some(trace) = next {
                open.text.push(b'\n');
                open.text.extend_from_slice(text);
                self.bytes += text.len() + 1;
                open.end = line.end;
                open.lines += 1;
                open.trace = trace;
                open.piece = line.piece;
                open.since = Instant::now();
                return;
            }
            self.end(file, emit);
        }
        if !whole || text.len() >= self.plan.max_bytes || !self.plan.rule.may_go_on(text) {
            emit(Event { file, source, line: *line, lines: 1 });
            return;
        }
        self.bytes += text.len();
        let open = Open {
            source: Rc::clone(source),
            text: text.to_vec(),
            offset: line.offset,
            end: line.end,
            lines: 1,
            trace: self.plan.rule.begin(text),
            piece: line.piece,
            since: Instant::now(),
        };
        self.open.insert(file, open);
    }

    fn end(&mut self, file: FileKey, emit: &mut impl FnMut(Event<'_>)) {
        let Some(open) = self.open.remove(&file) else { return };
        self.bytes -= open.text.len();
        let line = Line { bytes: &open.text, offset: open.offset, end: open.end, piece: open.piece };
        emit(Event { file, source: &open.source, line, lines: open.lines });
    }

    /// Ends the events that nothing was added to for their time.
    pub fn end_idle(&mut self, now: Instant, emit: &mut impl FnMut(Event<'_>)) {
        let idle = self.plan.idle;
        let over = |open: &Open| now.saturating_duration_since(open.since) >= idle;
        let files: Vec<_> = self.open.iter().filter(|(_, open)| over(open)).map(|(file, _)| *file).collect();
        files.into_iter().for_each(|file| self.end(file, emit));
    }

    /// Ends all events: nothing comes behind them, or there is no room to wait.
    pub fn end_all(&mut self, emit: &mut impl FnMut(Event<'_>)) {
        let files: Vec<_> = self.open.keys().copied().collect();
        files.into_iter().for_each(|file| self.end(file, emit));
    }

    /// Held back.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// When the first event will be complete, if none is added to.
    pub fn due(&self) -> Option<Instant> {
        self.open.values().map(|open| open.since + self.plan.idle).min()
    }
}

impl Rule {
    fn begin(&self, line: &[u8]) -> Trace {
        match self {
            Self::Traces(languages) => Trace::begin(line, *languages),
            Self::Start(_) => Trace::Line,
        }
    }

    fn next(&self, trace: Trace, line: &[u8]) -> Option<Trace> {
        match self {
            Self::Traces(languages) => trace.next(line, *languages),
            Self::Start(pattern) => (!pattern.is_match(line)).then_some(Trace::Line),
        }
    }

    /// A JSON object is complete; it is not held back for a trace.
    fn may_go_on(&self, line: &[u8]) -> bool {
        matches!(self, Self::Start(_)) || !line.starts_with(b"{")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enrich::Origin;

    fn plan(rule: Rule) -> JoinPlan {
        JoinPlan { rule, max_lines: 5, max_bytes: 100, idle: Duration::from_secs(60) }
    }

    /// The events of these lines, and what is held back.
    fn events(rule: Rule, lines: &[&str]) -> (Vec<String>, usize) {
        let mut joiner = Joiner::new(plan(rule));
        let source = Rc::new(Source::new(std::path::Path::new("/a"), logtail::FileId(1), &Origin::default()));
        let (mut out, mut offset) = (Vec::new(), 0);
        for line in lines {
            let end = offset + line.len() as u64 + 1;
            let line = Line { bytes: line.as_bytes(), offset, end, piece: Piece::Lines };
            offset = end;
            joiner.push(FileKey::default(), &source, &line, &mut |event| {
                out.push(String::from_utf8_lossy(event.line.bytes).into_owned());
            });
        }
        (out, joiner.bytes())
    }

    #[test]
    fn a_start_pattern_cuts() {
        let rule = Rule::Start(Regex::new(r"^\d{4}-").expect("a pattern"));
        let (events, held) = events(rule, &["2026-a", "b\r", "c", "2026-d"]);
        assert_eq!((events, held), (vec!["2026-a\nb\nc".to_owned()], 6));
    }

    #[test]
    fn caps_hold() {
        let rule = || Rule::Start(Regex::new("^start").expect("a pattern"));
        assert_eq!(
            events(rule(), &["start", "1", "2", "3", "4", "5", "start"]).0,
            ["start\n1\n2\n3\n4", "5"]
        );
        let (long, longer) = ("x".repeat(60), "y".repeat(200));
        assert_eq!(events(rule(), &["start", &long, &long, &longer, "end"]).0.len(), 3);
    }

    #[test]
    fn json_is_not_held_back() {
        assert_eq!(
            events(Rule::Traces(Languages::ALL), &["{\"a\":1}", "{\"b\":1}"]),
            (vec!["{\"a\":1}".into(), "{\"b\":1}".into()], 0)
        );
    }

    #[test]
    fn what_is_idle_is_complete() {
        let mut joiner = Joiner::new(JoinPlan { idle: Duration::ZERO, ..plan(Rule::Traces(Languages::ALL)) });
        let source = Rc::new(Source::new(std::path::Path::new("/a"), logtail::FileId(1), &Origin::default()));
        let line = Line { bytes: b"one", offset: 0, end: 4, piece: Piece::Lines };
        joiner.push(FileKey::default(), &source, &line, &mut |_| panic!("not yet"));
        assert!(joiner.due().is_some());
        let mut ended = 0;
        joiner.end_idle(Instant::now(), &mut |event| {
            ended += 1;
            assert_eq!((event.line.offset, event.line.end, event.lines), (0, 4, 1));
        });
        assert_eq!((ended, joiner.bytes(), joiner.due()), (1, 0, None));
    }
}
