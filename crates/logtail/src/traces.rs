//! Stack traces: which lines go on with the one before. A pure stage for consumers that join lines; each language by how its runtime prints
//! an uncaught error.

/// A set of languages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Languages(u8);

impl Languages {
    /// Java, Kotlin, Scala.
    pub const JAVA: Self = Self(1);
    pub const PYTHON: Self = Self(2);
    pub const GO: Self = Self(4);
    pub const DOTNET: Self = Self(8);
    pub const RUBY: Self = Self(16);
    pub const PHP: Self = Self(32);
    pub const NODE: Self = Self(64);
    pub const RUST: Self = Self(128);
    pub const ALL: Self = Self(255);

    /// These and those.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn any(self, of: Self) -> bool {
        self.0 & of.0 != 0
    }
}

/// Where an event stands, line by line: begin with [`Trace::begin`], then ask [`Trace::next`] of each line behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trace {
    /// A line that may be followed by a trace.
    #[default]
    Line,
    /// Python: frames until the first line that is not indented, which names the exception.
    Python,
    /// Python: a group of exceptions, drawn as an indented tree.
    PythonGroup,
    /// Python after the exception's name: perhaps another trace.
    PythonDone,
    /// Go: until something that is no frame.
    Go,
    /// Rust: the panic's message is the next line.
    RustMessage,
    /// Rust: numbered frames.
    Rust,
    /// PHP: numbered calls; behind the last one perhaps the next exception.
    Php,
    /// Node: the place, the source line and a caret stand before the error's name.
    NodeHead,
    /// Node: the error's properties behind its frames.
    NodeProperties,
}

const LINKS: [&[u8]; 2] =
    [b"During handling of the above exception", b"The above exception was the direct cause"];

impl Trace {
    /// What the first line of an event says about those behind it.
    pub fn begin(line: &[u8], languages: Languages) -> Self {
        let starts = |prefixes: &[&[u8]]| prefixes.iter().any(|prefix| line.starts_with(prefix));
        if languages.any(Languages::PYTHON) && line.starts_with(b"Traceback (most recent call last):") {
            Self::Python
        } else if languages.any(Languages::PYTHON) && starts(&[b"  + Exception Group Traceback"]) {
            Self::PythonGroup
        } else if languages.any(Languages::GO) && starts(&[b"panic: ", b"fatal error: ", b"goroutine "]) {
            Self::Go
        } else if languages.any(Languages::RUST) && starts(&[b"thread '"]) && contains(line, b" panicked at ")
        {
            Self::RustMessage
        } else if languages.any(Languages::NODE) && is_script_place(line) {
            Self::NodeHead
        } else {
            Self::Line
        }
    }

    /// `Some` when `line` (without its newline and carriage return) goes on with the event, and where it stands then.
    pub fn next(self, line: &[u8], languages: Languages) -> Option<Self> {
        let text = line.trim_ascii_start();
        let indented = text.len() < line.len();
        match self {
            // Frames and source lines are indented; the first line that is not names the exception.
            Self::Python => return Some(if indented || line.is_empty() { self } else { Self::PythonDone }),
            Self::PythonGroup if indented => return Some(self),
            Self::PythonDone if line.is_empty() || LINKS.iter().any(|link| line.starts_with(link)) => {
                return Some(self);
            }
            Self::Go if is_go_frame(line, indented) => return Some(self),
            Self::RustMessage => return Some(Self::Rust),
            Self::Rust if indented || text == b"stack backtrace:" || line.starts_with(b"note: ") => {
                return Some(self);
            }
            Self::Php if line.is_empty() => return Some(self),
            Self::Php if line.starts_with(b"Next ") && contains(line, b" in ") => return Some(self),
            // The source line, the caret, an empty line, then the error's name; its frames are everybody's.
            Self::NodeHead if !(indented && text.starts_with(b"at ")) => return Some(self),
            Self::NodeProperties => {
                return Some(if line.starts_with(b"}") { Self::Line } else { self })
                    .filter(|_| indented || line.starts_with(b"}"));
            }
            _ => {}
        }
        if languages.any(Languages::PYTHON) {
            if text.starts_with(b"Traceback (most recent call last):") {
                return Some(Self::Python);
            }
            if indented && text.starts_with(b"+ Exception Group Traceback") {
                return Some(Self::PythonGroup);
            }
        }
        if matches!(self, Self::PythonGroup | Self::PythonDone | Self::Go | Self::Rust) {
            return None;
        }
        self.frame(line, text, indented, languages)
    }

    /// A line that can stand behind any line.
    fn frame(self, line: &[u8], text: &[u8], indented: bool, languages: Languages) -> Option<Self> {
        let starts = |prefixes: &[&[u8]]| prefixes.iter().any(|prefix| text.starts_with(prefix));
        let jvm = languages.any(Languages::JAVA);
        let dotnet = languages.any(Languages::DOTNET);
        let node = languages.any(Languages::NODE);
        if indented && (jvm || dotnet || node) && text.starts_with(b"at ") {
            let properties = node && line.ends_with(b" {");
            return Some(if properties { Self::NodeProperties } else { Self::Line });
        }
        let java = jvm
            && (indented && starts(&[b"... ", b"Suppressed: "])
                || starts(&[b"Caused by: ", b"Wrapped by: "]));
        let net = dotnet && (starts(&[b"--- End of "]) || starts(&[b"---> "]));
        let ruby = languages.any(Languages::RUBY)
            && (indented && text.starts_with(b"from ")
                || (indented || !contains(text, b"': ") && !contains(text, b"`: ")) && is_ruby_place(text));
        if java || net || ruby || (jvm || dotnet) && is_exception(line) {
            return Some(Self::Line);
        }
        let php = languages.any(Languages::PHP)
            && (starts(&[b"Stack trace:", b"PHP Stack trace:", b"[stacktrace]"])
                || text.starts_with(b"#") && text.get(1).is_some_and(u8::is_ascii_digit)
                || text.starts_with(b"PHP   ") && text.trim_ascii_start().len() > 6
                || indented && text.starts_with(b"thrown in "));
        if php {
            return Some(Self::Php);
        }
        (languages.any(Languages::RUST) && text == b"stack backtrace:").then_some(Self::Rust)
    }
}

/// `java.lang.IllegalStateException: no`: the head of a trace behind the line that reports it. Only full class names: a sentence may
/// begin with "Error:".
pub fn is_exception(line: &[u8]) -> bool {
    let is_name = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'$');
    let end = line.iter().position(|b| !is_name(b)).unwrap_or(line.len());
    let name = &line[..end];
    memchr::memchr(b'.', name).is_some()
        && [&b"Exception"[..], b"Error", b"Throwable"].iter().any(|suffix| name.ends_with(suffix))
        && (end == line.len() || line[end] == b':')
}

fn is_go_frame(line: &[u8], indented: bool) -> bool {
    const HEADS: [&[u8]; 5] = [b"goroutine ", b"created by ", b"[signal ", b"exit status ", b"panic: "];
    line.is_empty()
        || line.starts_with(b"\t")
        || HEADS.iter().any(|head| line.starts_with(head))
        || line.ends_with(b")") && !indented && memchr::memchr(b'(', line).is_some()
}

/// `/app/index.js:3` and nothing else.
fn is_script_place(line: &[u8]) -> bool {
    let Some(colon) = memchr::memrchr(b':', line) else { return false };
    let (path, number) = (&line[..colon], &line[colon + 1..]);
    !number.is_empty()
        && number.iter().all(u8::is_ascii_digit)
        && [&b".js"[..], b".mjs", b".cjs", b".ts"].iter().any(|extension| path.ends_with(extension))
        && memchr::memchr(b' ', path).is_none()
}

/// `app/models/cart.rb:12:in 'total'`.
fn is_ruby_place(text: &[u8]) -> bool {
    memchr::memmem::find(text, b".rb:").is_some_and(|at| {
        let rest = &text[at + 4..];
        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        digits > 0 && rest[digits..].starts_with(b":in ") && memchr::memchr(b' ', &text[..at]).is_none()
    })
}

fn contains(line: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(line, needle).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many lines each event has.
    fn events(text: &str, languages: Languages) -> Vec<usize> {
        let mut lengths = Vec::new();
        let mut trace = Trace::Line;
        for line in text.lines().map(str::as_bytes) {
            match trace.next(line, languages).filter(|_| !lengths.is_empty()) {
                Some(next) => {
                    trace = next;
                    *lengths.last_mut().expect("an event") += 1;
                }
                None => {
                    trace = Trace::begin(line, languages);
                    lengths.push(1);
                }
            }
        }
        lengths
    }

    const TRACES: [(Languages, &str); 11] = [
        (
            Languages::JAVA,
            "2026-11-21 12:24:10 ERROR failed\njava.lang.IllegalStateException: no\n\tat com.example.A.b(A.java:3)\n\tat com.example.A.main(A.java:9)\n\tSuppressed: java.io.IOException: also\n\t\tat x.Y.z(Y.java:1)\nCaused by: java.io.IOException: gone\n\t... 2 more",
        ),
        (
            Languages::PYTHON,
            "ERROR:root:failed\nTraceback (most recent call last):\n  File \"a.py\", line 1, in <module>\n    1/0\n    ~^~\nZeroDivisionError: division by zero\n\nDuring handling of the above exception, another exception occurred:\n\nTraceback (most recent call last):\n  File \"a.py\", line 3, in <module>\nValueError: x",
        ),
        (
            Languages::PYTHON,
            "ERROR:root:failed\n  + Exception Group Traceback (most recent call last):\n  |   File \"a.py\", line 1, in <module>\n  | ExceptionGroup: two (2 sub-exceptions)\n  +-+---------------- 1 ----------------\n    | ValueError: 1\n    +------------------------------------",
        ),
        (
            Languages::GO,
            "panic: runtime error: index out of range [5] with length 3\n\ngoroutine 1 [running]:\nmain.main()\n\t/app/main.go:7 +0x1d\nexit status 2",
        ),
        (
            Languages::DOTNET,
            "Unhandled exception. System.InvalidOperationException: outer\n ---> System.IO.IOException: inner\n   at Shop.Cart.Load(String id) in /src/Cart.cs:line 12\n   --- End of inner exception stack trace ---\n   at Shop.Program.Main(String[] args) in /src/Program.cs:line 5\n--- End of stack trace from previous location ---\n   at Shop.X.Y()",
        ),
        (
            Languages::RUBY,
            "app.rb:3:in 'Cart#total': no price (RuntimeError)\n\tfrom app.rb:7:in 'block in <main>'\n\tfrom app.rb:9:in '<main>'",
        ),
        (
            Languages::RUBY,
            "NoMethodError (undefined method `price' for nil):\napp/models/cart.rb:12:in `total'\napp/controllers/carts_controller.rb:5:in `show'",
        ),
        (
            Languages::PHP,
            "PHP Fatal error:  Uncaught RuntimeException: no in /app/a.php:3\nStack trace:\n#0 /app/b.php(7): load()\n#1 {main}\n\nNext LogicException: outer in /app/a.php:9\nStack trace:\n#0 {main}\n  thrown in /app/a.php on line 9",
        ),
        (
            Languages::NODE,
            "TypeError: x is not a function\n    at main (/app/index.js:3:1)\n    at node:internal/main:1:1 {\n  code: 'EX',\n  [cause]: Error: y\n      at z (/app/z.js:1:1)\n}",
        ),
        (
            Languages::NODE,
            "/app/index.js:3\n  throw new Error('x')\n  ^\n\nError: x\n    at Object.<anonymous> (/app/index.js:3:9)",
        ),
        (
            Languages::RUST,
            "thread 'main' panicked at src/main.rs:2:5:\nexplicit panic\nstack backtrace:\n   0: rust_begin_unwind\n             at /rustc/lib.rs:1:1\nnote: Some details are omitted, run with `RUST_BACKTRACE=full` for a verbose backtrace.",
        ),
    ];

    #[test]
    fn the_traces_of_each_language_are_one_event_each() {
        for (language, trace) in TRACES {
            for languages in [language, Languages::ALL] {
                let text = format!("12:00 before\n{trace}\n12:01 after\n12:02 more");
                let lines = trace.lines().count();
                assert_eq!(events(&text, languages), [1, lines, 1, 1], "{languages:?}\n{trace}");
            }
        }
    }

    #[test]
    fn another_languages_trace_is_none() {
        let (_, go) = TRACES[3];
        assert_eq!(events(go, Languages::JAVA).len(), go.lines().count());
        assert_eq!(events("a\n\tat x.y(z)", Languages::GO), [1, 1]);
    }

    #[test]
    fn ordinary_lines_stay_apart() {
        let text =
            "a\n  indented text\nError: not a trace\nat the end\n# 1\n- item\nfrom here\nNext in line\n";
        assert!(events(text, Languages::ALL).iter().all(|lines| *lines == 1));
    }
}
