//! Repeating warnings, said at most once per interval and with the number of those left unsaid.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Lets one event through per interval and counts the others.
#[derive(Debug)]
pub struct Every {
    interval: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    suppressed: u64,
}

impl Every {
    /// One event per `interval`.
    pub const fn new(interval: Duration) -> Self {
        Self { interval, state: Mutex::new(State { last: None, suppressed: 0 }) }
    }

    /// `Some(n)` when it may be said now, `n` being how many were left unsaid since the last time.
    pub fn allow(&self) -> Option<u64> {
        self.allow_at(Instant::now())
    }

    fn allow_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if state.last.is_some_and(|last| now.duration_since(last) < self.interval) {
            state.suppressed += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_per_interval_and_the_rest_counted() {
        let every = Every::new(Duration::from_secs(10));
        let start = Instant::now();
        assert_eq!(every.allow_at(start), Some(0));
        assert_eq!(every.allow_at(start + Duration::from_secs(1)), None);
        assert_eq!(every.allow_at(start + Duration::from_secs(2)), None);
        assert_eq!(every.allow_at(start + Duration::from_secs(10)), Some(2));
    }
}
