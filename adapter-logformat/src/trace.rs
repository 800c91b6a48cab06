//! Lines of stack traces: what begins one, and what goes on with it, as runtimes print them.

/// Where a trace stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Trace {
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
    /// Python's exception groups: all lines are indented.
    Group,
    /// What Node says of an exception that nobody caught: its place, and the source line next.
    NodeSource,
    /// … and the rest.
    Node,
    /// Properties of a JavaScript error, up to their brace.
    Braces,
    /// Ruby: frames, and those of the causes.
    Ruby,
    /// Rails: an exception's head, then frames without indentation.
    Rails,
    /// CSV: within quotes.
    Quote,
    /// A slow query's `# Time`, before its `# User@Host`.
    SlowHead,
}

/// True when an event is a trace from its first line on, with no line of a logger before it.
pub fn bare_trace(first: &[u8]) -> bool {
    begins(first) != Trace::None
}

/// What the first line of an event says about those behind it.
pub fn begins(line: &[u8]) -> Trace {
    if line.starts_with(b"Traceback (most recent call last):") {
        Trace::Python
    } else if line.starts_with(b"panic: ")
        || line.starts_with(b"fatal error: ")
        || line.starts_with(b"goroutine ")
    {
        Trace::Go
    } else if line.starts_with(b"thread '") && memchr::memmem::find(line, b"panicked at").is_some() {
        Trace::Rust
    } else if node_place(line) {
        Trace::NodeSource
    } else if ruby_frame(line) && !line.starts_with(b" ") {
        Trace::Ruby
    } else if rails_head(line) {
        Trace::Rails
    } else {
        Trace::None
    }
}

/// `/app/index.js:3`, alone on its line.
fn node_place(line: &[u8]) -> bool {
    let from = line.starts_with(b"/") || line.starts_with(b"file:///") || line.starts_with(b"node:");
    let Some(colon) = memchr::memrchr(b':', line).filter(|_| from) else { return false };
    let (file, number) = (&line[..colon], &line[colon + 1..]);
    let script = [&b".js"[..], b".mjs", b".cjs", b".ts"].iter().any(|end| file.ends_with(end));
    (script || line.starts_with(b"node:"))
        && !number.is_empty()
        && number.iter().all(u8::is_ascii_digit)
        && !file.contains(&b' ')
}

/// ` ActionController::RoutingError (No route matches [GET] "/settings"):`
fn rails_head(line: &[u8]) -> bool {
    let text = line.trim_ascii();
    let Some(open) = memchr::memmem::find(text, b" (").filter(|_| text.ends_with(b"):")) else {
        return false;
    };
    let name = &text[..open];
    name.first().is_some_and(u8::is_ascii_uppercase)
        && name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b':' | b'_'))
        && (memchr::memmem::find(name, b"::").is_some() || name.ends_with(b"Error"))
}

/// `app/models/order.rb:12:in `, a frame of Ruby.
fn ruby_frame(text: &[u8]) -> bool {
    let Some(at) = memchr::memmem::find(text, b".rb:") else { return false };
    let digits = text[at + 4..].iter().take_while(|b| b.is_ascii_digit()).count();
    digits > 0 && text[at + 4 + digits..].starts_with(b":in ")
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

/// `Some` when `line` goes on with a trace, and where that stands then.
pub fn trace_line(line: &[u8], trace: Trace) -> Option<Trace> {
    let text = line.trim_ascii_start();
    let indented = text.len() < line.len();
    if trace == Trace::Python {
        // Frames and source lines are indented; the first line that is not names the exception.
        let inside = indented || line.is_empty() || line.starts_with(b"> File ");
        return Some(if inside { Trace::Python } else { Trace::PythonDone });
    }
    if text.starts_with(b"Traceback (most recent call last):") {
        return Some(Trace::Python);
    }
    if trace == Trace::Group || text.starts_with(b"+ Exception Group Traceback") {
        return indented.then_some(Trace::Group);
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
    if line.starts_with(b"goroutine ") && line.ends_with(b"]:") {
        // Behind a line that reports the panic, such as net/http's.
        return Some(Trace::Go);
    }
    match trace {
        Trace::NodeSource => return Some(Trace::Node),
        Trace::Node if line.starts_with(b"Node.js v") => return Some(Trace::None),
        Trace::Braces if line.starts_with(b"}") => return Some(Trace::None),
        Trace::Braces => return (indented || line.is_empty()).then_some(Trace::Braces),
        Trace::Ruby => {
            return (indented && text.starts_with(b"from ") || ruby_frame(text)).then_some(Trace::Ruby);
        }
        _ => {}
    }
    if trace == Trace::Node {
        let name = &line[..memchr::memchr2(b':', b' ', line).unwrap_or(line.len())];
        let goes_on = indented
            || matches!(line, b"" | b"}")
            || name.ends_with(b"Error")
            || name.ends_with(b"Exception")
            || line.starts_with(b"throw ");
        return goes_on.then_some(Trace::Node);
    }
    if trace == Trace::Rails {
        return (text.is_empty() || ruby_frame(text)).then_some(Trace::Rails);
    }
    if trace == Trace::Rust || text == b"stack backtrace:" {
        let frame = indented || text == b"stack backtrace:" || line.starts_with(b"note: ");
        return frame.then_some(Trace::Rust).or_else(|| {
            // The message of a panic stands on the line behind its place.
            (!line.is_empty() && trace == Trace::Rust && !line.starts_with(b"{")).then_some(Trace::None)
        });
    }
    let starts = |prefixes: &[&[u8]]| prefixes.iter().any(|prefix| text.starts_with(prefix));
    let java = (indented && starts(&[b"at ", b"eval at ", b"... ", b"Suppressed: ", b"--- End of "]))
        || starts(&[b"Caused by: ", b"Wrapped by: ", b"--- End of stack trace", b"---> "]);
    if indented && text.starts_with(b"at ") && text.ends_with(b" {") {
        return Some(Trace::Braces);
    }
    let ruby = indented && starts(&[b"from "]);
    let php = starts(&[b"Stack trace:", b"PHP Stack trace:", b"[stacktrace]", b"[previous exception]"])
        || line == b"\"} "
        || line == b"\"}"
        || (text.starts_with(b"#") && text.get(1).is_some_and(u8::is_ascii_digit))
        || (indented && starts(&[b"thrown in "]));
    (java || ruby || php || exception(line)).then_some(Trace::None)
}

/// The class and the message of the exception that a trace is about, as far as it names them.
pub fn cause(trace: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let mut lines = trace.split(|b| *b == b'\n');
    let head = match begins(trace) {
        // Python names it behind the frames.
        Trace::Python => lines.rfind(|line| {
            line.first().is_some_and(u8::is_ascii_alphabetic) && !line.starts_with(b"Traceback (most")
        })?,
        _ => lines.next().filter(|head| exception(head))?,
    };
    let head = head.strip_suffix(b"\r").unwrap_or(head);
    let (class, message) = match memchr::memmem::find(head, b": ") {
        Some(colon) => (&head[..colon], Some(&head[colon + 2..])),
        None => (head, None),
    };
    (!class.contains(&b' ')).then_some((class, message))
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
