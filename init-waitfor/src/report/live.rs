//! A terminal: one line per target, redrawn in place.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use tokio::time::Instant;

use super::short;
use crate::wait::{Outcome, Phase, State};

const REDRAW: Duration = Duration::from_millis(120);
const FRAMES: [char; 8] = ['⣷', '⣯', '⣟', '⡿', '⢿', '⣻', '⣽', '⣾'];

#[derive(Debug)]
pub struct Live {
    pub(super) next: Instant,
    /// Lines of the last drawing, to go up over.
    drawn: usize,
    frame: usize,
    colour: bool,
}

impl Default for Live {
    fn default() -> Self {
        let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Live { next: Instant::now(), drawn: 0, frame: 0, colour }
    }
}

impl Live {
    pub(super) fn draw(&mut self, states: &[State], elapsed: Duration) {
        let (width, height) = size();
        self.frame = self.frame.wrapping_add(1);
        self.next = Instant::now() + REDRAW;
        // With more targets than lines, those that are ready make room.
        let most = height.saturating_sub(2).max(1);
        let mut shown: Vec<&State> = states.iter().collect();
        if shown.len() > most {
            shown.sort_by_key(|state| matches!(state.phase, Phase::Ready(_)));
            shown.truncate(most);
        }
        let names = shown.iter().map(|state| state.name.chars().count()).max().unwrap_or(0).min(width / 2);
        let mut text = String::new();
        if self.drawn > 0 {
            let _ = write!(text, "\x1b[{}A", self.drawn);
        }
        for state in &shown {
            self.line(&mut text, state, elapsed, names, width);
        }
        // What is left of a longer drawing.
        text.push_str("\x1b[J");
        self.drawn = shown.len();
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }

    fn line(&self, text: &mut String, state: &State, elapsed: Duration, names: usize, width: usize) {
        let (mark, colour) = match &state.phase {
            Phase::Ready(_) => ('✓', "32"),
            Phase::Failed { .. } => ('✗', "31"),
            Phase::Blocked(_) => ('·', "2"),
            Phase::Waiting { .. } => (FRAMES[self.frame % FRAMES.len()], "33"),
        };
        let name: String = state.name.chars().take(names).collect();
        let time = short(state.settled.unwrap_or(elapsed));
        let tries = match state.attempts {
            0 | 1 => String::new(),
            n => format!("{n}x "),
        };
        let rest = format!(" {name:<names$} {time:>6}  {tries}{}", state.reason());
        let rest: String = rest.chars().take(width.saturating_sub(2)).collect();
        let _ = if self.colour {
            writeln!(text, "\r\x1b[{colour}m{mark}\x1b[0m{rest}\x1b[K")
        } else {
            writeln!(text, "\r{mark}{rest}\x1b[K")
        };
    }

    pub(super) fn finish(&mut self, states: &[State], outcome: Outcome, elapsed: Duration) {
        self.draw(states, elapsed);
        let ready = states.iter().filter(|state| matches!(state.phase, Phase::Ready(_))).count();
        let end = match outcome {
            Outcome::Ready => "ready",
            Outcome::Timeout => "time is up",
            Outcome::Never => "cannot become ready",
            Outcome::Stopped(_) => "stopped",
        };
        let _ =
            writeln!(std::io::stderr().lock(), "{end}: {ready} of {} after {}", states.len(), short(elapsed));
    }
}

/// Columns and rows; asked each time, because windows change.
fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(std::io::stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
            (usize::from(size.ws_col), usize::from(size.ws_row))
        }
        _ => (80, 24),
    }
}
