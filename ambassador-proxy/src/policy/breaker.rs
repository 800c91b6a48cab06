//! The passive breaker of one endpoint: failures in a row take it out, one probe brings it back.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::config::plan::BreakerPlan;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Well, after so many failures in a row.
    Closed(u32),
    /// Out until then, for the nth time in a row.
    Open(Instant, u32),
    /// One request is finding out, since then.
    Probing(Instant, u32),
}

/// The state of one endpoint on one worker.
#[derive(Debug)]
pub struct Breaker {
    state: Cell<State>,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { state: Cell::new(State::Closed(0)) }
    }
}

/// A probe that never reports back (its client went away) gives way to the next one after this.
const PROBE_LIMIT: Duration = Duration::from_secs(30);

impl Breaker {
    /// Whether a request may go there. Does not start a probe.
    pub fn allows(&self, now: Instant) -> bool {
        match self.state.get() {
            State::Closed(_) => true,
            State::Open(until, _) => now >= until,
            State::Probing(since, _) => now >= since + PROBE_LIMIT,
        }
    }

    /// Whether it is out (a probe included).
    pub fn is_out(&self) -> bool {
        !matches!(self.state.get(), State::Closed(_))
    }

    /// A request goes there; the first one after the time out is the probe.
    pub fn sent(&self, now: Instant) {
        match self.state.get() {
            State::Open(until, n) if now >= until => self.state.set(State::Probing(now, n)),
            State::Probing(since, n) if now >= since + PROBE_LIMIT => self.state.set(State::Probing(now, n)),
            _ => {}
        }
    }

    /// It answered.
    pub fn succeeded(&self) {
        if self.state.get() != State::Closed(0) {
            self.state.set(State::Closed(0));
        }
    }

    /// It failed. `may_eject` says whether enough others are left. True when it is out from now on.
    pub fn failed(&self, plan: &BreakerPlan, now: Instant, may_eject: bool) -> bool {
        let (failures, times) = match self.state.get() {
            State::Closed(n) => (n.saturating_add(1), 0),
            State::Probing(_, n) => (plan.failures, n),
            State::Open(..) => return false,
        };
        if plan.failures == 0 || failures < plan.failures || (times == 0 && !may_eject) {
            self.state.set(State::Closed(failures.min(plan.failures)));
            return false;
        }
        let out = plan.base.saturating_mul(1 << times.min(16)).min(plan.max);
        // Up to a tenth more, so that several workers and pods do not probe in the same instant.
        let out = out + out.mul_f64(fastrand::f64() / 10.0);
        self.state.set(State::Open(now + out, times + 1));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: BreakerPlan =
        BreakerPlan { failures: 3, base: Duration::from_secs(1), max: Duration::from_secs(4) };

    #[test]
    fn failures_in_a_row_open_it_and_one_probe_closes_it() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        assert!(!breaker.failed(&PLAN, now, true) && !breaker.failed(&PLAN, now, true));
        breaker.succeeded();
        assert!(!breaker.failed(&PLAN, now, true) && !breaker.failed(&PLAN, now, true));
        assert!(breaker.failed(&PLAN, now, true));
        assert!(!breaker.allows(now) && breaker.is_out());
        let later = now + Duration::from_secs(2);
        assert!(breaker.allows(later));
        breaker.sent(later);
        assert!(!breaker.allows(later), "one probe at a time");
        breaker.succeeded();
        assert!(breaker.allows(later) && !breaker.is_out());
    }

    #[test]
    fn time_out_doubles_up_to_a_limit() {
        let (breaker, mut now) = (Breaker::default(), Instant::now());
        for _ in 0..3 {
            breaker.failed(&PLAN, now, true);
        }
        for seconds in [1.0, 2.0, 4.0, 4.0] {
            assert!(!breaker.allows(now + Duration::from_secs_f64(seconds * 0.99)));
            now += Duration::from_secs_f64(seconds * 1.11);
            assert!(breaker.allows(now));
            breaker.sent(now);
            assert!(breaker.failed(&PLAN, now, false), "a probe that failed stays out");
        }
    }

    #[test]
    fn the_last_one_stays() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..100 {
            assert!(!breaker.failed(&PLAN, now, false));
        }
        assert!(breaker.allows(now));
    }
}
