//! A limit of requests in flight that finds itself: by the ratio of the best latency to the present one.
//!
//! The idea is that of Netflix's gradient limits and of TCP Vegas: while answers take as long as they do on an idle service, more
//! may be in flight; once they take longer, they only queue there.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Where it begins, and what it never falls below.
const FIRST: usize = 20;
const LEAST: usize = 4;
/// Answers that one decision is made of, and the longest it waits for them.
const WINDOW: u32 = 25;
const AGE: Duration = Duration::from_secs(1);
/// Latency that is still as good as the best.
const TOLERANCE: f64 = 1.5;
/// The best latency is forgotten after this, because services change.
const MEMORY: Duration = Duration::from_secs(60);

/// The limit of one upstream, for the whole process.
#[derive(Debug)]
pub struct Adaptive {
    limit: AtomicUsize,
    in_flight: AtomicUsize,
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The best mean of a window, and since when it is the best.
    best: Option<(f64, Instant)>,
    sum: f64,
    count: u32,
    failed: u32,
    /// The most that were in flight in this window.
    peak: usize,
    since: Instant,
}

impl Adaptive {
    /// Nothing known yet.
    pub fn new(most: usize, now: Instant) -> Self {
        let state = State { best: None, sum: 0.0, count: 0, failed: 0, peak: 0, since: now };
        Self {
            limit: AtomicUsize::new(FIRST.min(most)),
            in_flight: AtomicUsize::new(0),
            most,
            state: Mutex::new(state),
        }
    }

    /// One more, if there is room.
    ///
    /// # Errors
    /// The limit that is reached.
    pub fn enter(&self) -> Result<(), usize> {
        let limit = self.limit();
        if self.in_flight.fetch_add(1, Relaxed) >= limit {
            self.in_flight.fetch_sub(1, Relaxed);
            return Err(limit);
        }
        Ok(())
    }

    /// One less.
    pub fn left(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    /// The limit now.
    pub fn limit(&self) -> usize {
        self.limit.load(Relaxed)
    }

    /// An answer took so long; `None` = it never came.
    pub fn observe(&self, took: Option<Duration>, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.peak = state.peak.max(self.in_flight.load(Relaxed));
        match took {
            Some(took) => state.sum += took.as_secs_f64(),
            None => state.failed += 1,
        }
        state.count += 1;
        if state.count >= WINDOW || now.saturating_duration_since(state.since) >= AGE {
            let limit = state.decide(self.limit(), now);
            self.limit.store(limit.clamp(LEAST.min(self.most), self.most), Relaxed);
        }
    }
}

impl State {
    fn decide(&mut self, limit: usize, now: Instant) -> usize {
        let answered = self.count - self.failed;
        let mean = if answered == 0 { f64::INFINITY } else { self.sum / f64::from(answered) };
        let known = self.best.filter(|(_, since)| now.saturating_duration_since(*since) < MEMORY);
        let best = match known {
            Some((best, since)) if best <= mean => (best, since),
            _ => (mean, now),
        };
        if mean.is_finite() {
            self.best = Some(best);
        }
        let failing = self.failed * 10 > self.count;
        let gradient =
            if failing { 0.7 } else { (best.0.max(1e-5) * TOLERANCE / mean.max(1e-5)).clamp(0.5, 1.0) };
        let busy = self.peak * 2 >= limit;
        (self.sum, self.count, self.failed, self.peak, self.since) = (0.0, 0, 0, 0, now);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most 2^20"
        )]
        let next = {
            let limit = limit as f64;
            // Room grows only where it is used: an idle service says nothing about a busy one.
            let room = if gradient >= 1.0 && busy { limit.sqrt() } else { 0.0 };
            (limit * gradient + room).round() as usize
        };
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(adaptive: &Adaptive, took: Option<u64>, now: Instant) {
        while adaptive.enter().is_ok() {}
        for _ in 0..WINDOW {
            adaptive.observe(took.map(Duration::from_millis), now);
        }
        adaptive.in_flight.store(0, Relaxed);
    }

    #[test]
    fn it_grows_while_answers_are_fast_and_shrinks_when_they_are_slow() {
        let now = Instant::now();
        let adaptive = Adaptive::new(200, now);
        for _ in 0..40 {
            window(&adaptive, Some(10), now);
        }
        assert_eq!(adaptive.limit(), 200);
        window(&adaptive, Some(100), now);
        assert_eq!(adaptive.limit(), 100);
        for _ in 0..10 {
            window(&adaptive, Some(100), now);
        }
        assert_eq!(adaptive.limit(), LEAST);
        for _ in 0..40 {
            window(&adaptive, Some(12), now);
        }
        assert_eq!(adaptive.limit(), 200, "as good as the best");
    }

    #[test]
    fn failures_shrink_it_and_idleness_changes_nothing() {
        let now = Instant::now();
        let adaptive = Adaptive::new(1024, now);
        for _ in 0..WINDOW {
            adaptive.observe(Some(Duration::from_millis(1)), now);
        }
        assert_eq!(adaptive.limit(), FIRST, "nobody needed more");
        window(&adaptive, None, now);
        assert_eq!(adaptive.limit(), 14);
        assert_eq!(Adaptive::new(2, now).limit(), 2);
    }
}
