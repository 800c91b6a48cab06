//! Lines in a container runtime's envelope: the envelope is taken off first, pieces of a line are put together, and what is inside is joined like
//! any other lines, each of the two streams by itself.

use super::{Event, MAX_BYTES, MAX_LINES, Rule, begins_with, continues};
use crate::{
    decode::{cri, envelope},
    trace::Trace,
};

/// Most bytes of a line that a container runtime cut up.
const MAX_PARTIAL: usize = 1 << 20;
/// So many lines of the other stream later, an event goes on no more: it must not hold them back.
const MAX_BETWEEN: u64 = 64;

/// A line of a container runtime.
enum Piece<'a> {
    Cri(cri::Envelope<'a>),
    Docker(envelope::Docker<'a>),
}

impl<'a> Piece<'a> {
    fn of(line: &'a [u8]) -> Option<Self> {
        match cri::envelope(line) {
            Ok(found) => Some(Piece::Cri(found)),
            Err(_) => envelope::docker(line).map(Piece::Docker),
        }
    }

    fn stderr(&self) -> bool {
        let (Piece::Cri(cri::Envelope { stream, .. }) | Piece::Docker(envelope::Docker { stream, .. })) =
            self;
        *stream == b"stderr"
    }

    /// More of the line follows.
    fn partial(&self) -> bool {
        match self {
            Piece::Cri(found) => found.partial,
            Piece::Docker(found) => found.partial(),
        }
    }

    /// What the runtimes write in front of a whole line, whichever of them it was.
    fn head(&self, to: &mut Vec<u8>) {
        let (Piece::Cri(cri::Envelope { time, stream, .. })
        | Piece::Docker(envelope::Docker { time, stream, .. })) = self;
        for text in [*time, b" ", *stream, b" F "] {
            to.extend_from_slice(text);
        }
    }

    fn content(&self, line: &[u8], to: &mut Vec<u8>) {
        match self {
            Piece::Cri(found) => to.extend_from_slice(&line[found.content..]),
            Piece::Docker(found) => {
                found.log.resolve(to);
                if to.last() == Some(&b'\n') {
                    to.pop();
                    // A terminal's lines end with both.
                    let _ = to.pop_if(|last| *last == b'\r');
                }
            }
        }
    }
}

/// True for a line that a container runtime has wrapped.
pub fn is_wrapped(line: &[u8]) -> bool {
    Piece::of(line).is_some()
}

/// An event on its way.
#[derive(Clone, Copy)]
struct Open {
    stderr: bool,
    start: usize,
    end: usize,
    lines: u64,
    /// The number of its last line.
    last: u64,
    /// The rest of its last line is to come.
    unfinished: bool,
    /// Further lines may belong to it.
    goes_on: bool,
    trace: Trace,
}

struct Cutter<'a, F> {
    bytes: &'a [u8],
    open: [Option<Open>; 2],
    /// Complete, and waiting for an event that began before they ended.
    done: Vec<Open>,
    raw: Vec<u8>,
    text: Vec<u8>,
    each: F,
}

/// Cuts `bytes` (whole lines) into events, what is inside by `inner`; `flush`: nothing comes behind. Gives the bytes that the events took.
pub fn cut(inner: &Rule, bytes: &[u8], flush: bool, each: impl FnMut(Event<'_>)) -> usize {
    let mut cutter =
        Cutter { bytes, open: [None, None], done: Vec::new(), raw: Vec::new(), text: Vec::new(), each };
    let mut content = Vec::new();
    let (mut at, mut number) = (0, 0);
    while at < bytes.len() {
        let end = memchr::memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |n| at + n);
        let line = &bytes[at..end];
        number += 1;
        let mut begun = Open {
            stderr: false,
            start: at,
            end,
            lines: 1,
            last: number,
            unfinished: false,
            goes_on: false,
            trace: Trace::None,
        };
        at = end + 1;
        let Some(piece) = Piece::of(line) else {
            cutter.close(begun);
            continue;
        };
        begun.stderr = piece.stderr();
        begun.unfinished = piece.partial();
        let (mine, other) = (usize::from(begun.stderr), usize::from(!begun.stderr));
        let late = |open: &mut Open| !open.unfinished && number - open.last > MAX_BETWEEN;
        if let Some(stale) = cutter.open[other].take_if(late) {
            cutter.close(stale);
        }
        content.clear();
        piece.content(line, &mut content);
        if let Some(open) = &mut cutter.open[mine] {
            let next = match open.unfinished {
                true => Some(open.trace),
                false if open.lines >= MAX_LINES || end - open.start > MAX_BYTES => None,
                false => continues(inner, &content, open.trace),
            };
            if let Some(trace) = next {
                open.trace = trace;
                (open.end, open.last, open.lines) = (end, number, open.lines + 1);
                open.unfinished = begun.unfinished && end - open.start <= MAX_PARTIAL;
            }
            let done = match next {
                Some(_) if open.unfinished || open.goes_on => continue,
                _ => *open,
            };
            cutter.open[mine] = None;
            cutter.close(done);
            if next.is_some() {
                continue;
            }
        }
        begun.trace = begins_with(inner, &content);
        begun.goes_on = match inner {
            Rule::Start(_) => true,
            Rule::Traces => content.first() != Some(&b'{'),
            _ => false,
        };
        if begun.unfinished || begun.goes_on {
            cutter.open[mine] = Some(begun);
        } else {
            cutter.close(begun);
        }
    }
    if flush {
        let [a, b] = std::mem::take(&mut cutter.open);
        cutter.done.extend(a.into_iter().chain(b));
    }
    cutter.settle()
}

impl<F: FnMut(Event<'_>)> Cutter<'_, F> {
    fn close(&mut self, event: Open) {
        let earlier = |open: &Open| open.start < event.end;
        if self.done.is_empty() && !self.open.iter().flatten().any(earlier) {
            self.emit(event);
        } else {
            self.done.push(event);
            self.settle();
        }
    }

    /// Passes on what ends before anything that is open begins. Gives the bytes that nothing reaches over: streams interleave, and what begins
    /// before the cut must not end behind it.
    fn settle(&mut self) -> usize {
        let first = self.open.iter().flatten().map(|open| open.start).min();
        let mut settled = first.unwrap_or(self.bytes.len());
        while let Some(over) = self.done.iter().find(|e| e.start < settled && e.end > settled) {
            settled = over.start;
        }
        if !self.done.is_empty() {
            self.done.sort_unstable_by_key(|event| event.end);
            let ready = self.done.partition_point(|event| event.end <= settled);
            let done: Vec<Open> = self.done.drain(..ready).collect();
            done.into_iter().for_each(|event| self.emit(event));
        }
        settled
    }

    fn emit(&mut self, event: Open) {
        let span = &self.bytes[event.start..event.end];
        if event.lines == 1 {
            return (self.each)(Event { raw: span, text: None, lines: 1 });
        }
        self.raw.clear();
        self.text.clear();
        let mut whole = true;
        // Between its lines there may be some of the other stream, and none of its own that is not part of it.
        for line in span.split(|b| *b == b'\n') {
            let Some(piece) = Piece::of(line).filter(|piece| piece.stderr() == event.stderr) else {
                continue;
            };
            if self.raw.is_empty() {
                piece.head(&mut self.text);
            } else {
                self.raw.push(b'\n');
                if whole {
                    self.text.push(b'\n');
                }
            }
            self.raw.extend_from_slice(line);
            piece.content(line, &mut self.text);
            whole = !piece.partial();
        }
        (self.each)(Event { raw: &self.raw, text: Some(&self.text), lines: event.lines });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "2026-11-21T12:24:10.123456789Z";

    /// The joined texts without what the runtime wrote in front, and how many bytes were taken.
    fn events(rule: &Rule, text: &str, flush: bool) -> (Vec<(String, u64)>, usize) {
        let mut found = Vec::new();
        let used = cut(rule, text.as_bytes(), flush, |event| {
            let text = String::from_utf8_lossy(event.text.unwrap_or(event.raw));
            let text = text.strip_prefix(HEAD).map_or(&*text, |rest| rest.get(10..).unwrap_or_default());
            found.push((text.to_owned(), event.lines));
        });
        (found, used)
    }

    fn cri(lines: &[&str]) -> String {
        lines.iter().map(|line| format!("{HEAD} {line}\n")).collect()
    }

    fn owned(events: &[(&str, u64)]) -> Vec<(String, u64)> {
        events.iter().map(|(text, lines)| ((*text).to_owned(), *lines)).collect()
    }

    #[test]
    fn partial_lines_of_two_streams_are_joined_apart() {
        let text = cri(&["stdout P {aa", "stderr F {x", "stdout P bb", "stdout F cc", "stdout P dd"]);
        let (found, used) = events(&Rule::Traces, &text, false);
        assert_eq!(found, owned(&[("{x", 1), ("{aabbcc", 3)]));
        assert_eq!(&text[used..], cri(&["stdout P dd"]));
        let crossed = cri(&["stdout P a", "stderr P b", "stdout F {c"]);
        assert_eq!(
            events(&Rule::Traces, &crossed, false),
            (Vec::new(), 0),
            "one ends behind the beginning of another that does not"
        );
        let mut found = events(&Rule::Traces, &crossed, true).0;
        found.sort();
        assert_eq!(found, owned(&[("a{c", 2), ("b", 1)]));
    }

    const TRACE: [&str; 4] = [
        "stderr F ERROR failed",
        "stderr F java.lang.IllegalStateException: no",
        "stderr P \tat com.example.A.",
        "stderr F b(A.java:3)",
    ];
    const JOINED: &str = "ERROR failed\njava.lang.IllegalStateException: no\n\tat com.example.A.b(A.java:3)";

    #[test]
    fn traces_inside_are_joined_and_the_other_stream_goes_between() {
        let [a, b, c, d] = TRACE;
        let text =
            cri(&["stdout F {1", a, "stdout F {2", b, c, "stdout F {3", d, "stderr F next", "stdout F {4"]);
        let want = owned(&[("{1", 1), ("{2", 1), ("{3", 1), (JOINED, 4)]);
        let (found, used) = events(&Rule::Traces, &text, false);
        assert_eq!(found, want);
        assert_eq!(&text[used..], cri(&["stderr F next", "stdout F {4"]), "that may go on");
        let all = [want, owned(&[("next", 1), ("{4", 1)])].concat();
        assert_eq!(events(&Rule::Traces, &text, true), (all, text.len()));
    }

    #[test]
    fn docker_and_start_patterns_too() {
        let docker = |log: &str| {
            format!("{{\"log\":\"{log}\",\"stream\":\"stderr\",\"time\":\"2026-11-21T12:24:10Z\"}}\n")
        };
        let text = [docker("boom\\r\\n"), docker("\\tat a.b(C.java:1)\\r\\n"), docker("next\\n")].concat();
        let (found, _) = events(&Rule::Traces, &text, true);
        let joined = "2026-11-21T12:24:10Z stderr F boom\n\tat a.b(C.java:1)";
        assert_eq!(found[0], (joined.to_owned(), 2));
        assert_eq!(found.len(), 2);
        let start = Rule::parse("^#").expect("a pattern");
        let text = cri(&["stdout F #1", "stdout F more", "stdout F #2"]);
        assert_eq!(events(&start, &text, true).0, owned(&[("#1\nmore", 2), ("#2", 1)]));
    }

    #[test]
    fn a_silent_stream_does_not_hold_back_the_other() {
        let mut lines = vec!["stderr F waits"];
        lines.extend(["stdout F {x"; 100]);
        let text = cri(&lines);
        let (found, used) = events(&Rule::Traces, &text, false);
        assert_eq!((found.len(), used), (101, text.len()));
        assert_eq!(found[0].0, "waits");
    }

    #[test]
    fn however_it_is_offered_each_line_is_in_one_event() {
        let mut lines = Vec::new();
        for id in 0..40 {
            lines.extend(TRACE);
            lines.push(["stdout F {x", "stdout P a", "stdout F b", "no envelope"][id % 4]);
        }
        let text = cri(&lines);
        let whole = events(&Rule::Traces, &text, true).0;
        assert_eq!(whole.iter().map(|(_, lines)| *lines).sum::<u64>(), lines.len() as u64);
        assert_eq!(whole.iter().filter(|(text, _)| text == JOINED).count(), 40);
        // In pieces: what was not taken is offered again with what comes behind it.
        let (mut open, mut found) = (String::new(), Vec::new());
        for line in text.split_inclusive('\n') {
            open.push_str(line);
            let (some, used) = events(&Rule::Traces, &open, false);
            found.extend(some);
            open.drain(..used);
        }
        found.extend(events(&Rule::Traces, &open, true).0);
        assert_eq!(found, whole);
    }
}
