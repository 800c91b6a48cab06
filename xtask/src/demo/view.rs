//! What the demo shows: one line per event, with the time and who it is about, and a status line that stays at
//! the bottom of a terminal. Without a terminal the status becomes a line of its own now and then.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How often the status is shown: it is redrawn on a terminal and printed again elsewhere.
const REDRAW: Duration = Duration::from_millis(500);
const REPRINT: Duration = Duration::from_secs(5);

pub(crate) struct View {
    started: Instant,
    terminal: bool,
    color: bool,
    status: String,
    shown: Option<Instant>,
}

/// What an event is, which is its colour on a terminal.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Bad,
    Faint,
    Loud,
}

impl View {
    pub(crate) fn new() -> Self {
        let terminal = std::io::stdout().is_terminal();
        let color = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        View { started: Instant::now(), terminal, color, status: String::new(), shown: None }
    }

    pub(crate) fn event(&mut self, who: &str, tone: Tone, text: &str) {
        let seconds = self.started.elapsed().as_secs_f64();
        let width = if self.terminal { columns() } else { 240 };
        for (at, line) in text.lines().enumerate() {
            let head = if at == 0 { format!("{seconds:6.1}s  {who:<18} ") } else { " ".repeat(28) };
            let line = cut(line, width.saturating_sub(head.chars().count() + 1));
            let painted = self.paint(tone, &line);
            self.line(&format!("{head}{painted}"));
        }
    }

    /// A line without a time, at the left edge.
    pub(crate) fn line(&mut self, text: &str) {
        self.clear();
        self.put(&format!("{text}\n"));
        self.draw();
    }

    pub(crate) fn headline(&mut self, text: &str) {
        let text = self.paint(Tone::Loud, text);
        self.line("");
        self.line(&text);
    }

    pub(crate) fn status(&mut self, text: String) {
        self.status = text;
        let every = if self.terminal { REDRAW } else { REPRINT };
        if self.shown.is_none_or(|at| at.elapsed() >= every) {
            self.shown = Some(Instant::now());
            if self.terminal {
                self.clear();
                self.draw();
            } else {
                let text = std::mem::take(&mut self.status);
                self.event("", Tone::Plain, &text);
            }
        }
    }

    /// Removes the status line for good.
    pub(crate) fn end_status(&mut self) {
        self.clear();
        self.status.clear();
    }

    pub(crate) fn paint(&self, tone: Tone, text: &str) -> String {
        let code = match tone {
            _ if !self.color => return text.to_owned(),
            Tone::Plain => return text.to_owned(),
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Faint => "2",
            Tone::Loud => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    fn clear(&self) {
        if self.terminal && !self.status.is_empty() {
            self.put("\r\x1b[2K");
        }
    }

    fn draw(&self) {
        if self.terminal && !self.status.is_empty() {
            self.put(&cut(&self.status, columns().saturating_sub(1)));
        }
    }

    fn put(&self, text: &str) {
        // A closed pipe (`… | head`) must not end the demo before it has drained.
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stdout());
    size.map_or(120, |size| usize::from(size.ws_col)).clamp(60, 400)
}

pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// `12345` as `12,345`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A process's own JSON log line as `message key=value …`, with its tone; other text as it is.
pub(crate) fn log_line(line: &str) -> (Tone, String) {
    let Ok(Value::Object(fields)) = serde_json::from_str::<Value>(line) else {
        return (Tone::Faint, line.to_owned());
    };
    let tone = match fields.get("level").and_then(Value::as_str) {
        Some("ERROR" | "error") => Tone::Bad,
        Some("WARN" | "warn") => Tone::Plain,
        _ => Tone::Faint,
    };
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut text = fields.get("message").map(plain).unwrap_or_default();
    for (key, value) in &fields {
        if !matches!(key.as_str(), "message" | "level" | "timestamp" | "time" | "target") {
            text.push_str(&format!(" {key}={}", plain(value)));
        }
    }
    (tone, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_lines_are_for_people() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(cut("abcdef", 4), "abc…");
        let (tone, text) = log_line(r#"{"level":"ERROR","message":"no","timestamp":"t","code":7}"#);
        assert!(tone == Tone::Bad);
        assert_eq!(text, "no code=7");
        assert_eq!(log_line("plain").1, "plain");
    }
}
