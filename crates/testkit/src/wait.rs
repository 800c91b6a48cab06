//! Bounded waiting: the one place that knows how long a test may take.

use std::time::{Duration, Instant};

const DEFAULT: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(5);

/// How long any wait may take: 30 s, or `PODMATES_TEST_TIMEOUT` seconds.
#[must_use]
pub fn timeout() -> Duration {
    std::env::var("PODMATES_TEST_TIMEOUT")
        .ok()
        .and_then(|text| text.trim().parse::<f64>().ok())
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|wait| !wait.is_zero())
        .unwrap_or(DEFAULT)
}

/// Polls `probe` until it returns something, for at most [`timeout`].
///
/// # Panics
///
/// When the time is over, naming `what`.
#[track_caller]
pub fn eventually<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    eventually_within(timeout(), what, probe)
}

/// [`eventually`] with its own bound, for the rare wait that has a reason to differ.
///
/// # Panics
///
/// When `limit` is over, naming `what`.
#[track_caller]
pub fn eventually_within<T>(limit: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    match poll(limit, &mut probe) {
        Some(found) => found,
        None => panic!("not within {limit:?}: {what}"),
    }
}

/// The last look happens after the deadline, so that a stalled machine does not fail what has become true.
pub(crate) fn poll<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    let mut step = Duration::from_millis(1);
    loop {
        let over = Instant::now() >= deadline;
        if let Some(found) = probe() {
            return Some(found);
        }
        if over {
            return None;
        }
        std::thread::sleep(step);
        step = (step * 2).min(STEP);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_what_the_probe_finds() {
        let mut calls = 0;
        let found = eventually("third call", || {
            calls += 1;
            (calls == 3).then_some(calls)
        });
        assert_eq!(found, 3);
    }

    #[test]
    #[should_panic(expected = "not within 10ms: pigs fly")]
    fn names_what_did_not_happen() {
        eventually_within(Duration::from_millis(10), "pigs fly", || None::<()>);
    }
}
