//! Lines that belong together: partial lines of a container runtime, stack traces, events with a start pattern.
//!
//! Joining keeps no state of its own: it cuts a run of whole lines into events, and says how many bytes those took. What is left is an event that
//! may go on; the caller offers it again with what comes behind it, or says that nothing will. So a run of bytes always gives the
//! same records, which exactly-once rests on.

use regex::bytes::Regex;

use crate::decode::{Join, cri, envelope};

/// Most lines of one event.
const MAX_LINES: u64 = 512;
/// Most bytes of one event.
const MAX_BYTES: usize = 256 << 10;
/// Most bytes of a line that a container runtime cut up.
const MAX_PARTIAL: usize = 1 << 20;

/// What makes a line the continuation of the one before.
#[derive(Clone, Debug)]
pub enum Rule {
    /// Nothing.
    Off,
    /// It looks like a line of a stack trace: Java, Kotlin, .NET, JavaScript, Python, Go, Ruby, PHP, Rust.
    Traces,
    /// The line before is marked `P` by the container runtime.
    Cri,
    /// [`Rule::Cri`] where the lines have a container runtime's envelope, [`Rule::Traces`] otherwise.
    Auto,
    /// It does not match the pattern that starts an event.
    Start(Box<Regex>),
    /// It begins with a tab or a blank.
    Indented,
    /// A quote of the lines before is still open.
    Quotes,
    /// MySQL's slow log: neither `# Time` nor the first `# User@Host` behind it.
    Slow,
}

impl Rule {
    /// `auto`, `off`, or the pattern of an event's first line.
    ///
    /// # Errors
    /// What is wrong with the pattern.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Rule::Off),
            "auto" => Ok(Rule::Auto),
            pattern => {
                let built =
                    regex::bytes::RegexBuilder::new(pattern).size_limit(1 << 20).unicode(false).build();
                built.map(|regex| Rule::Start(Box::new(regex))).map_err(|error| error.to_string())
            }
        }
    }

    /// What a format asks for.
    ///
    /// # Errors
    /// What is wrong with its pattern, which a test has tried.
    pub fn default_of(join: Join) -> Result<Self, String> {
        Ok(match join {
            Join::Off => Rule::Off,
            Join::Traces => Rule::Traces,
            Join::Partial => Rule::Cri,
            Join::Indented => Rule::Indented,
            Join::Quotes => Rule::Quotes,
            Join::Slow => Rule::Slow,
            Join::Start(pattern) => Rule::parse(pattern)?,
        })
    }

    /// The rule for a run of lines.
    pub fn of(&self, bytes: &[u8]) -> &Self {
        match self {
            Rule::Auto => {
                let first = &bytes[..memchr::memchr(b'\n', bytes).unwrap_or(bytes.len())];
                if cri::envelope(first).is_ok() || envelope::docker(first).is_some() {
                    &Rule::Cri
                } else {
                    &Rule::Traces
                }
            }
            other => other,
        }
    }
}

/// One event.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// Its lines as read, without the last newline.
    pub raw: &'a [u8],
    /// What is to be decoded, where that is something else.
    pub text: Option<&'a [u8]>,
    pub lines: u64,
}

/// Where a trace stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Trace {
    #[default]
    None,
    /// Python: frames until the first line that is not indented, which names the exception.
    Python,
    /// Python after that: perhaps another trace.
    PythonDone,
    /// Go: until something that is no frame.
    Go,
    /// Rust: numbered frames.
    Rust,
    /// CSV: within quotes.
    Quote,
    /// A slow query's `# Time`, before its `# User@Host`.
    SlowHead,
}

/// Cuts `bytes` (whole lines) into events. `open(line)` says whether a line may have continuations; `flush`: nothing comes behind. Gives the
/// bytes that the events took.
pub fn cut<'a>(
    rule: &Rule,
    bytes: &'a [u8],
    flush: bool,
    mut open: impl FnMut(&[u8]) -> bool,
    mut each: impl FnMut(Event<'a>),
) -> usize {
    let mut pending: Option<(usize, usize, u64, Trace)> = None;
    let mut at = 0;
    let emit = |each: &mut dyn FnMut(Event<'a>), (start, end, lines, _): (usize, usize, u64, Trace)| {
        each(Event { raw: &bytes[start..end], text: None, lines });
    };
    while at < bytes.len() {
        let end = memchr::memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |n| at + n);
        let line = &bytes[at..end];
        if let Some((start, last, lines, trace)) = &mut pending {
            let next = continues(rule, line.strip_suffix(b"\r").unwrap_or(line), *trace);
            if let Some(next) = next.filter(|_| *lines < MAX_LINES && end - *start <= MAX_BYTES) {
                (*last, *lines, *trace) = (end, *lines + 1, next);
                at = end + 1;
                continue;
            }
        }
        if let Some(done) = pending.take() {
            emit(&mut each, done);
        }
        let begun = (at, end, 1, begins_with(rule, line));
        let closed = matches!(rule, Rule::Quotes) && begun.3 != Trace::Quote;
        if !closed && open(line) {
            pending = Some(begun);
        } else {
            emit(&mut each, begun);
        }
        at = end + 1;
    }
    match pending {
        Some(event) if flush => emit(&mut each, event),
        Some((start, ..)) => return start,
        None => {}
    }
    bytes.len()
}

/// How many bytes of `bytes` can be cut so that no partial line of a container runtime is torn from its rest.
pub fn settled_cri(bytes: &[u8]) -> usize {
    let mut spans: Vec<(usize, usize)> = Vec::new();
    let mut open: [Option<usize>; 2] = [None, None];
    let mut at = 0;
    while at < bytes.len() {
        let end = memchr::memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |n| at + n);
        if let Some((stderr, partial)) = piece(&bytes[at..end]) {
            let slot = &mut open[usize::from(stderr)];
            match (*slot, partial) {
                (Some(start), false) => {
                    spans.push((start, end));
                    *slot = None;
                }
                (Some(start), true) if end - start > MAX_PARTIAL => *slot = None,
                (None, true) => *slot = Some(at),
                _ => {}
            }
        }
        at = end + 1;
    }
    let mut settled = open.iter().flatten().copied().min().unwrap_or(bytes.len());
    // Streams interleave: what begins before the cut must not end behind it.
    while let Some((start, _)) = spans.iter().find(|(start, end)| *start < settled && *end > settled) {
        settled = *start;
    }
    settled
}

/// Of a container runtime's line: whether it comes from stderr, and whether more of it follows.
fn piece(line: &[u8]) -> Option<(bool, bool)> {
    match cri::envelope(line) {
        Ok(envelope) => Some((envelope.stream == b"stderr", envelope.partial)),
        Err(_) => envelope::docker(line).map(|docker| (docker.stream == b"stderr", docker.partial())),
    }
}

/// Joins the partial lines of a container runtime, per stream: the raw lines, and the joined one to decode.
pub fn cut_cri(bytes: &[u8], mut each: impl FnMut(Event<'_>)) {
    let mut waiting: [Option<Partial>; 2] = [None, None];
    let mut at = 0;
    while at < bytes.len() {
        let end = memchr::memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |n| at + n);
        let line = &bytes[at..end];
        at = end + 1;
        let Some((stderr, more)) = piece(line) else {
            each(Event { raw: line, text: None, lines: 1 });
            continue;
        };
        let slot = &mut waiting[usize::from(stderr)];
        match slot {
            Some(partial) => {
                partial.add(line);
                if !more || partial.raw.len() > MAX_PARTIAL {
                    each(partial.event());
                    *slot = None;
                }
            }
            None if more => *slot = Some(Partial::new(line)),
            None => each(Event { raw: line, text: None, lines: 1 }),
        }
    }
    for partial in waiting.iter().flatten() {
        each(partial.event());
    }
}

struct Partial {
    raw: Vec<u8>,
    text: Vec<u8>,
    lines: u64,
}

impl Partial {
    /// The joined line has the container runtimes' notation, whichever of them cut it.
    fn new(line: &[u8]) -> Self {
        let mut text = Vec::new();
        if let Ok(envelope) = cri::envelope(line) {
            text.extend([envelope.time, b" ", envelope.stream, b" F "].concat());
        } else if let Some(docker) = envelope::docker(line) {
            text.extend([docker.time, b" ", docker.stream, b" F "].concat());
        }
        let mut partial = Self { raw: Vec::new(), text, lines: 0 };
        partial.add(line);
        partial
    }

    fn add(&mut self, line: &[u8]) {
        if self.lines > 0 {
            self.raw.push(b'\n');
        }
        self.raw.extend_from_slice(line);
        self.lines += 1;
        if let Ok(envelope) = cri::envelope(line) {
            self.text.extend_from_slice(&line[envelope.content..]);
        } else if let Some(docker) = envelope::docker(line) {
            docker.log.resolve(&mut self.text);
            if self.text.last() == Some(&b'\n') {
                self.text.pop();
            }
        }
    }

    fn event(&self) -> Event<'_> {
        Event { raw: &self.raw, text: Some(&self.text), lines: self.lines }
    }
}

/// True when an event is a trace from its first line on, with no line of a logger before it.
pub fn bare_trace(first: &[u8]) -> bool {
    begins(first) != Trace::None
}

/// What the first line of an event says about those behind it.
fn begins(line: &[u8]) -> Trace {
    if line.starts_with(b"Traceback (most recent call last):") {
        Trace::Python
    } else if line.starts_with(b"panic: ")
        || line.starts_with(b"fatal error: ")
        || line.starts_with(b"goroutine ")
    {
        Trace::Go
    } else if line.starts_with(b"thread '") && memchr::memmem::find(line, b"panicked at").is_some() {
        Trace::Rust
    } else {
        Trace::None
    }
}

fn begins_with(rule: &Rule, line: &[u8]) -> Trace {
    match rule {
        Rule::Quotes if odd_quotes(line) => Trace::Quote,
        Rule::Slow if line.starts_with(b"# Time:") => Trace::SlowHead,
        Rule::Quotes | Rule::Slow | Rule::Indented => Trace::None,
        _ => begins(line),
    }
}

/// A console's lines begin with the colour of their level.
fn behind_colour(line: &[u8]) -> &[u8] {
    match line.strip_prefix(b"\x1b[") {
        Some(rest) => &rest[memchr::memchr(b'm', &rest[..rest.len().min(16)]).map_or(0, |m| m + 1)..],
        None => line,
    }
}

/// Offset of the first line that belongs to a stack trace.
pub fn trace_start(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    for line in text.split(|b| *b == b'\n') {
        if trace_line(line.strip_suffix(b"\r").unwrap_or(line), Trace::None).is_some()
            || begins(line) != Trace::None
        {
            return Some(at);
        }
        at += line.len() + 1;
    }
    None
}

fn odd_quotes(line: &[u8]) -> bool {
    memchr::memchr_iter(b'"', line).count() % 2 == 1
}

/// `Some` when `line` goes on with the event, and where the trace stands then.
fn continues(rule: &Rule, line: &[u8], trace: Trace) -> Option<Trace> {
    match rule {
        Rule::Off | Rule::Cri | Rule::Auto => None,
        Rule::Start(pattern) => (!pattern.is_match(behind_colour(line))).then_some(Trace::None),
        Rule::Indented => matches!(line.first(), Some(b'\t' | b' ')).then_some(Trace::None),
        Rule::Quotes => {
            (trace == Trace::Quote).then(|| if odd_quotes(line) { Trace::None } else { Trace::Quote })
        }
        Rule::Slow if line.starts_with(b"# Time:") => None,
        Rule::Slow if line.starts_with(b"# User@Host:") => (trace == Trace::SlowHead).then_some(Trace::None),
        Rule::Slow => Some(trace),
        Rule::Traces => trace_line(line, trace),
    }
}

fn trace_line(line: &[u8], trace: Trace) -> Option<Trace> {
    let text = line.trim_ascii_start();
    let indented = text.len() < line.len();
    if trace == Trace::Python {
        // Frames and source lines are indented; the first line that is not names the exception.
        return Some(if indented || line.is_empty() { Trace::Python } else { Trace::PythonDone });
    }
    if text.starts_with(b"Traceback (most recent call last):") {
        return Some(Trace::Python);
    }
    if trace == Trace::PythonDone {
        let link = line.is_empty()
            || line.starts_with(b"During handling of the above exception")
            || line.starts_with(b"The above exception was the direct cause");
        return link.then_some(Trace::PythonDone);
    }
    if trace == Trace::Go {
        let frame = line.is_empty()
            || line.starts_with(b"\t")
            || line.starts_with(b"goroutine ")
            || line.starts_with(b"created by ")
            || line.starts_with(b"[signal ")
            || line.starts_with(b"exit status ")
            || line.starts_with(b"panic: ")
            || (line.ends_with(b")") && !indented && memchr::memchr(b'(', line).is_some());
        return frame.then_some(Trace::Go);
    }
    if trace == Trace::Rust || text == b"stack backtrace:" {
        let frame = indented || text == b"stack backtrace:" || line.starts_with(b"note: ");
        return frame.then_some(Trace::Rust).or_else(|| {
            // The message of a panic stands on the line behind its place.
            (!line.is_empty() && trace == Trace::Rust && !line.starts_with(b"{")).then_some(Trace::None)
        });
    }
    let starts = |prefixes: &[&[u8]]| prefixes.iter().any(|prefix| text.starts_with(prefix));
    let java = (indented && starts(&[b"at ", b"... ", b"Suppressed: ", b"--- End of "]))
        || starts(&[b"Caused by: ", b"Wrapped by: ", b"--- End of stack trace", b"---> "]);
    let ruby = indented && starts(&[b"from "]);
    let php = starts(&[b"Stack trace:", b"PHP Stack trace:"])
        || (text.starts_with(b"#") && text.get(1).is_some_and(u8::is_ascii_digit))
        || (indented && starts(&[b"thrown in "]));
    (java || ruby || php || exception(line)).then_some(Trace::None)
}

/// `java.lang.IllegalStateException: no`, `Error: no`: the head of a trace behind the line that reports it. Only full class names: a sentence may
/// begin with "Error:".
pub fn exception(line: &[u8]) -> bool {
    let end = line
        .iter()
        .position(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'$')))
        .unwrap_or(line.len());
    let name = &line[..end];
    memchr::memchr(b'.', name).is_some()
        && (name.ends_with(b"Exception") || name.ends_with(b"Error") || name.ends_with(b"Throwable"))
        && (end == line.len() || line[end] == b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(rule: &Rule, text: &str, flush: bool) -> (Vec<u64>, usize) {
        let mut lines = Vec::new();
        let used = cut(
            rule,
            text.as_bytes(),
            flush,
            |line| !line.starts_with(b"{"),
            |event| lines.push(event.lines),
        );
        (lines, used)
    }

    const JAVA: &str = "2026-11-21 12:24:10 ERROR failed\njava.lang.IllegalStateException: no\n\tat com.example.A.b(A.java:3)\n\tat com.example.A.main(A.java:9)\nCaused by: java.io.IOException: gone\n\t... 2 more\n";
    const PYTHON: &str = "ERROR:root:failed\nTraceback (most recent call last):\n  File \"a.py\", line 1, in <module>\n    1/0\n    ~^~\nZeroDivisionError: division by zero\n\nDuring handling of the above exception, another exception occurred:\n\nTraceback (most recent call last):\n  File \"a.py\", line 3, in <module>\nValueError: x\n";
    const GO: &str = "panic: runtime error: index out of range [5] with length 3\n\ngoroutine 1 [running]:\nmain.main()\n\t/app/main.go:7 +0x1d\nexit status 2\n";
    const NODE: &str =
        "TypeError: x is not a function\n    at main (/app/index.js:3:1)\n    at node:internal/main:1:1\n";
    const RUST: &str = "thread 'main' panicked at src/main.rs:2:5:\nexplicit panic\nstack backtrace:\n   0: rust_begin_unwind\n             at /rustc/lib.rs:1:1\nnote: Some details are omitted\n";

    #[test]
    fn traces_of_each_language_are_one_event_each() {
        for (text, lines) in [(JAVA, 6), (PYTHON, 12), (GO, 6), (NODE, 3)] {
            let both = format!("before\n{text}after\n");
            assert_eq!(events(&Rule::Traces, &both, true).0, [1, lines, 1], "{text}");
        }
        assert!(events(&Rule::Traces, &format!("before\n{RUST}"), true).0.len() <= 3);
    }

    const DOTNET: &str = "fail: Shop.Orders[0]\n      Order failed\nSystem.InvalidOperationException: no such order\n ---> System.IO.IOException: gone\n   at Shop.Store.Load(Int32 id) in /src/Store.cs:line 12\n   --- End of inner exception stack trace ---\n   at Shop.Orders.Get(Int32 id) in /src/Orders.cs:line 31\n";
    const RUBY: &str = "shop.rb:4:in `fetch': no such order (ArgumentError)\n\tfrom shop.rb:9:in `block in main'\n\tfrom shop.rb:12:in `<main>'\n";
    const PHP: &str = "PHP Fatal error:  Uncaught InvalidArgumentException: no such order in /srv/shop.php:7\nStack trace:\n#0 /srv/shop.php(12): order(7)\n#1 {main}\n  thrown in /srv/shop.php on line 7\n";

    #[test]
    fn traces_of_dotnet_ruby_and_php_are_one_event_each() {
        // .NET's console logger indents the message below the category; that line is its own.
        for (text, lines) in [(DOTNET, vec![1, 6]), (RUBY, vec![3]), (PHP, vec![5])] {
            let both = format!("before\n{text}after\n");
            let want: Vec<u64> = [vec![1], lines, vec![1]].concat();
            assert_eq!(events(&Rule::Traces, &both, true).0, want, "{text}");
        }
    }

    #[test]
    fn what_formats_ask_for() {
        let slow = "# Time: 1\n# User@Host: a\nselect 1\nfrom t;\n# User@Host: b\nselect 2;\n# Time: 2\n# User@Host: c\nx;\n";
        assert_eq!(events(&Rule::Slow, slow, true).0, [4, 2, 3]);
        assert_eq!(events(&Rule::Quotes, "a,\"b\nc\nd\",e\nf\n\"g\"\n", true).0, [3, 1, 1]);
        assert_eq!(events(&Rule::Indented, "a\n\tb\n c\nd\n", true).0, [3, 1]);
        for entry in crate::decode::FORMATS {
            assert!(Rule::default_of(entry.join).is_ok(), "{}", entry.name);
        }
    }

    #[test]
    fn ordinary_lines_stay_apart() {
        let text = "a\n  indented text\nError: not a trace\nat the end\n{\"json\":1}\n\tat x.y(z)\n";
        assert_eq!(events(&Rule::Traces, text, true).0, [1, 1, 1, 1, 1, 1]);
    }

    #[test]
    fn an_event_that_may_go_on_is_left_until_it_ends() {
        let (done, used) = events(&Rule::Traces, JAVA, false);
        assert_eq!((done.len(), used), (0, 0));
        let more = format!("{JAVA}next\n");
        let (done, used) = events(&Rule::Traces, &more, false);
        assert_eq!((done, used), (vec![6], JAVA.len()));
        assert_eq!(events(&Rule::Traces, "{}\n", false), (vec![1], 3));
    }

    #[test]
    fn a_start_pattern_cuts_and_caps_hold() {
        let rule = Rule::Start(Box::new(Regex::new(r"^\d{4}-").expect("a pattern")));
        assert_eq!(events(&rule, "2026-a\nb\nc\n2026-d\n", true).0, [3, 1]);
        let long = format!("2026-a\n{}", "x\n".repeat(1000));
        assert_eq!(events(&rule, &long, true).0, [512, 489]);
    }

    #[test]
    fn partial_lines_of_two_streams_are_joined_apart() {
        let head = "2026-11-21T12:24:10.123456789Z";
        let text = format!(
            "{head} stdout P aa\n{head} stderr F x\n{head} stdout P bb\n{head} stdout F cc\n{head} stdout P dd\n"
        );
        let mut joined = Vec::new();
        let used = settled_cri(text.as_bytes());
        cut_cri(&text.as_bytes()[..used], |event| {
            joined.push((String::from_utf8_lossy(event.text.unwrap_or(event.raw)).into_owned(), event.lines));
        });
        assert_eq!(joined, [(format!("{head} stderr F x"), 1), (format!("{head} stdout F aabbcc"), 3)]);
        assert_eq!(&text[used..], format!("{head} stdout P dd\n"));
        let crossed = format!("{head} stdout P a\n{head} stderr P b\n{head} stdout F c\n");
        assert_eq!(
            settled_cri(crossed.as_bytes()),
            0,
            "one ends behind the beginning of another that does not"
        );
    }
}
