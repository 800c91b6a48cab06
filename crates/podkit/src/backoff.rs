//! Exponential backoff with full jitter, so that a hundred replicas that failed together do not come back together.
//! (AWS Architecture Blog, "Exponential Backoff And Jitter": full jitter spreads best for the work it costs.)

use std::time::Duration;

/// Pauses between tries: each is drawn from zero to a ceiling that doubles up to `max`.
#[derive(Clone, Debug)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
    ceiling: Duration,
}

impl Backoff {
    /// The first pause is at most `initial`, no pause is longer than `max`.
    pub fn new(initial: Duration, max: Duration) -> Self {
        let max = max.max(initial);
        Backoff { initial, max, ceiling: initial }
    }

    /// The next pause. Never shorter than a tenth of its ceiling: full jitter may draw zero, and a loop of zero
    /// pauses is a busy loop.
    pub fn next_pause(&mut self) -> Duration {
        let ceiling = self.ceiling;
        self.ceiling = ceiling.saturating_mul(2).min(self.max);
        let floor = ceiling / 10;
        floor + (ceiling - floor).mul_f64(fastrand::f64())
    }

    /// The upper limit of the next pause.
    pub fn ceiling(&self) -> Duration {
        self.ceiling
    }

    /// Start again with short pauses, after progress.
    pub fn reset(&mut self) {
        self.ceiling = self.initial;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_the_cap_and_starts_again() {
        let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));
        let mut ceilings = Vec::new();
        for _ in 0..8 {
            let ceiling = backoff.ceiling();
            let pause = backoff.next_pause();
            assert!(pause <= ceiling && pause >= ceiling / 10, "{pause:?} of {ceiling:?}");
            ceilings.push(ceiling.as_millis());
        }
        assert_eq!(ceilings, [250, 500, 1000, 2000, 4000, 5000, 5000, 5000]);
        backoff.reset();
        assert_eq!(backoff.ceiling().as_millis(), 250);
    }

    #[test]
    fn odd_limits_do_no_harm() {
        let mut backoff = Backoff::new(Duration::from_secs(9), Duration::from_secs(1));
        assert_eq!(backoff.ceiling(), Duration::from_secs(9));
        backoff.next_pause();
        assert_eq!(backoff.ceiling(), Duration::from_secs(9));
        assert_eq!(Backoff::new(Duration::ZERO, Duration::ZERO).next_pause(), Duration::ZERO);
    }
}
