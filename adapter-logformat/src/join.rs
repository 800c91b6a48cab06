//! Lines that belong together: partial lines of a container runtime, stack traces, events with a start pattern.
//!
//! Joining keeps no state of its own: it cuts a run of whole lines into events, and says how many bytes those took. What is left is an event that
//! may go on; the caller offers it again with what comes behind it, or says that nothing will. So a run of bytes always gives the
//! same records, which exactly-once rests on.

pub mod enveloped;

use regex::bytes::Regex;

use crate::{
    decode::Join,
    trace::{Trace, begins, trace_line},
};

/// Most lines of one event.
const MAX_LINES: u64 = 512;
/// Most bytes of one event.
const MAX_BYTES: usize = 256 << 10;

/// What makes a line the continuation of the one before.
#[derive(Clone, Debug)]
pub enum Rule {
    /// Nothing.
    Off,
    /// It looks like a line of a stack trace: Java, Kotlin, .NET, JavaScript, Python, Go, Ruby, PHP, Rust.
    Traces,
    /// [`Rule::Traces`], in the envelope of a container runtime or not.
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
            Join::Partial => Rule::Auto,
            Join::Indented => Rule::Indented,
            Join::Quotes => Rule::Quotes,
            Join::Slow => Rule::Slow,
            Join::Start(pattern) => Rule::parse(pattern)?,
        })
    }

    /// The rule for a run of lines, and whether it is for what is inside of a container runtime's envelope. `opens`: these lines may be in one.
    pub fn of(&self, bytes: &[u8], opens: bool) -> (&Self, bool) {
        let wrapped =
            || opens && enveloped::is_wrapped(&bytes[..memchr::memchr(b'\n', bytes).unwrap_or(bytes.len())]);
        match self {
            Rule::Auto => (&Rule::Traces, wrapped()),
            Rule::Start(_) => (self, wrapped()),
            other => (other, false),
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

fn odd_quotes(line: &[u8]) -> bool {
    memchr::memchr_iter(b'"', line).count() % 2 == 1
}

/// `Some` when `line` goes on with the event, and where the trace stands then.
fn continues(rule: &Rule, line: &[u8], trace: Trace) -> Option<Trace> {
    match rule {
        Rule::Off | Rule::Auto => None,
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

    const GO_HTTP: &str = "2026/11/21 12:24:10 http: panic serving [::1]:54143: no stock\ngoroutine 24 [running]:\nnet/http.(*conn).serve.func1(0xc00007eaa0)\n\t/usr/lib/go/src/net/http/server.go:1746 +0xd0\npanic(0x12459c0, 0x12f3b10)\n\t/usr/lib/go/src/runtime/panic.go:513 +0x1b9\nmain.main.func1(0x12f5180)\n\t/app/main.go:12 +0x39\ncreated by net/http.(*Server).Serve\n\t/usr/lib/go/src/net/http/server.go:2851 +0x2f5\n";
    const NODE_UNCAUGHT: &str = "/app/index.js:2\n  throw new Error('no stock');\n  ^\n\nError: no stock\n    at buy (/app/index.js:2:9)\n    at Object.<anonymous> (/app/index.js:5:1) {\n  code: 'E_STOCK'\n}\n\nNode.js v18.20.4\n";
    const RAILS: &str = "ActionController::RoutingError (No route matches [GET] \"/settings\"):\n  \nactionpack (7.0.4) lib/action_dispatch/middleware/debug_exceptions.rb:63:in `call'\nrailties (7.0.4) lib/rails/rack/logger.rb:36:in `call_app'\napp/models/order.rb:12:in `buy'\n";
    const LARAVEL: &str = "[2026-11-21 12:24:10] local.ERROR: no stock {\"exception\":\"[object] (RuntimeException(code: 0): no stock at /srv/app/Shop.php:7)\n[stacktrace]\n#0 /srv/app/Http.php(12): Shop->buy()\n#1 {main}\n\"}\n";
    const NODE_CAUSE: &str = "failed TypeError: no stock\n    at buy (/app/index.js:2:23)\n    ... 5 lines matching cause stack trace ...\n    at node:internal/main/run_main_module:28:49 {\n  code: 'E_STOCK',\n  [cause]: Error: gone\n      at buy (/app/index.js:2:56)\n      at node:internal/main/run_main_module:28:49\n}\n";
    const RUBY_CAUSE: &str = "shop.rb:2:in `rescue in <main>': wrapped (RuntimeError)\n\tfrom shop.rb:2:in `<main>'\nshop.rb:1:in `fetch': no such order (ArgumentError)\n\tfrom shop.rb:2:in `<main>'\n";
    const LOGURU: &str = "2026-11-21 12:24:10.623 | ERROR    | __main__:<module>:35 - failed\nTraceback (most recent call last):\n\n> File \"/app/shop.py\", line 34, in <module>\n    try: 1/0\n         ^\n\nZeroDivisionError: division by zero\n";
    const GROUP: &str = "  + Exception Group Traceback (most recent call last):\n  |   File \"a.py\", line 3, in <module>\n  | ExceptionGroup: two (2 sub-exceptions)\n  +-+---------------- 1 ----------------\n    | ValueError: 1\n    +------------------------------------\n";

    #[test]
    fn what_servers_and_runtimes_print_around_a_trace_belongs_to_it() {
        for (text, lines) in [
            (GO_HTTP, 10),
            (NODE_UNCAUGHT, 11),
            (RAILS, 5),
            (LARAVEL, 5),
            (NODE_CAUSE, 9),
            (RUBY_CAUSE, 4),
            (LOGURU, 8),
        ] {
            let both = format!("before\n{text}after\n");
            assert_eq!(events(&Rule::Traces, &both, true).0, [1, lines, 1], "{text}");
        }
        // All of its lines are indented: it belongs to the line that reports it.
        assert_eq!(events(&Rule::Traces, &format!("ERROR:root:failed\n{GROUP}after\n"), true).0, [7, 1]);
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
}
