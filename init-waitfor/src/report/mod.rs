//! What people and programs see: a live line per target on a terminal, otherwise a line per change, or JSON events.

mod json;
mod last_word;
mod lines;
mod live;
mod redact;

use std::io::IsTerminal as _;
use std::time::Duration;

use podkit::cli::LogFormat;
use tokio::time::Instant;

pub use last_word::last_word;
pub use redact::Redactor;
pub(crate) use redact::is_telling;

use crate::cli::{Cli, Output};
use crate::wait::{Change, Outcome, State};

/// Where a wait is told.
#[derive(Debug)]
pub enum Report {
    Quiet,
    Live(live::Live),
    Lines(lines::Lines),
    Json(json::Json),
}

impl Report {
    pub fn new(cli: &Cli) -> Self {
        let terminal = std::io::stderr().is_terminal()
            && cli.common.log_format != LogFormat::Json
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        match cli.wait.output {
            _ if cli.wait.quiet => Report::Quiet,
            Output::Json => Report::Json(json::Json::default()),
            Output::Text if terminal => Report::Live(live::Live::default()),
            Output::Text => Report::Lines(lines::Lines::default()),
        }
    }

    pub fn start(&mut self, states: &[State], required: usize) {
        match self {
            Report::Quiet => {}
            Report::Live(live) => live.draw(states, Duration::ZERO),
            Report::Lines(lines) => lines.start(states, required),
            Report::Json(json) => json.start(states, required),
        }
    }

    /// An attempt has ended.
    pub fn attempt(&mut self, states: &[State], index: usize, change: Change) {
        match self {
            Report::Lines(lines) => lines.attempt(&states[index], index, change),
            Report::Json(json) => json.attempt(&states[index], change),
            Report::Quiet | Report::Live(_) => {}
        }
    }

    /// When [`Report::tick`] should be called next even if nothing happens.
    pub fn wakes(&self) -> Option<Instant> {
        match self {
            Report::Quiet => None,
            Report::Live(live) => Some(live.next),
            Report::Lines(lines) => Some(lines.heartbeat.next),
            Report::Json(json) => Some(json.heartbeat.next),
        }
    }

    pub fn tick(&mut self, states: &[State], elapsed: Duration) {
        match self {
            Report::Quiet => {}
            Report::Live(live) => {
                if Instant::now() >= live.next {
                    live.draw(states, elapsed);
                }
            }
            Report::Lines(lines) => {
                if lines.heartbeat.due(Instant::now()) {
                    lines.beat(states, elapsed);
                }
            }
            Report::Json(json) => {
                if json.heartbeat.due(Instant::now()) {
                    json.beat(states, elapsed);
                }
            }
        }
    }

    pub fn finish(&mut self, states: &[State], outcome: Outcome, elapsed: Duration) {
        match self {
            Report::Quiet => {}
            Report::Live(live) => live.finish(states, outcome, elapsed),
            Report::Lines(lines) => lines.finish(states, outcome, elapsed),
            Report::Json(json) => json.finish(states, outcome, elapsed),
        }
    }
}

/// A sign of life while nothing changes.
#[derive(Debug)]
pub struct Heartbeat {
    next: Instant,
}

const HEARTBEAT: Duration = Duration::from_secs(30);

impl Default for Heartbeat {
    fn default() -> Self {
        Heartbeat { next: Instant::now() + HEARTBEAT }
    }
}

impl Heartbeat {
    /// Whether it is time for the next one; then the one after that is set.
    pub(crate) fn due(&mut self, now: Instant) -> bool {
        let due = now >= self.next;
        if due {
            self.next = now + HEARTBEAT;
        }
        due
    }
}

/// `12ms`, `1.2s`, `2m05s`.
pub(crate) fn short(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{}ms", time.as_millis()),
        1..60 => format!("{:.1}s", time.as_secs_f64()),
        seconds => format!("{}m{:02}s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_each_thirty_seconds() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat { next: start + HEARTBEAT };
        let at = |seconds| start + Duration::from_secs(seconds);
        let due: Vec<bool> =
            [1, 29, 30, 31, 59, 60, 61].into_iter().map(|second| heartbeat.due(at(second))).collect();
        assert_eq!(due, [false, false, true, false, false, true, false]);
    }

    #[test]
    fn times_in_the_unit_that_fits() {
        let told = [3, 999, 1200, 59_990, 125_000].map(|millis| short(Duration::from_millis(millis)));
        assert_eq!(told, ["3ms", "999ms", "1.2s", "60.0s", "2m05s"]);
    }
}
