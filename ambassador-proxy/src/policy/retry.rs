//! What may be sent again, and how often.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use http::Method;

use crate::config::plan::RetryPlan;

/// Whether a request may be repeated once it may have reached the upstream (RFC 9110, 9.2.2).
pub fn repeatable(plan: &RetryPlan, method: &Method) -> bool {
    plan.methods.as_ref().map_or_else(|| method.is_idempotent(), |methods| methods.contains(method))
}

/// The pause before try number `attempt` (the second try is 2): exponential with full jitter.
pub fn pause(plan: &RetryPlan, attempt: u32) -> Duration {
    let longest = plan.backoff.saturating_mul(1 << attempt.saturating_sub(2).min(16)).min(plan.max_backoff);
    longest.mul_f64(fastrand::f64())
}

const SLOTS: usize = 10;

/// The retry budget of one upstream on one worker: a share of the requests of the last 10 s, and 3 per second.
#[derive(Debug)]
pub struct Budget {
    /// Requests and retries of each of the last ten seconds.
    slots: RefCell<[(u32, u32); SLOTS]>,
    /// The second that the newest slot stands for.
    second: Cell<u64>,
    start: Instant,
}

impl Budget {
    /// Nothing counted yet.
    pub fn new(now: Instant) -> Self {
        Self { slots: RefCell::new([(0, 0); SLOTS]), second: Cell::new(0), start: now }
    }

    fn slot(&self, now: Instant) -> usize {
        let second = now.saturating_duration_since(self.start).as_secs();
        let last = self.second.get();
        if second > last {
            let mut slots = self.slots.borrow_mut();
            for passed in (last + 1..=second).take(SLOTS) {
                slots[usize::try_from(passed % 10).unwrap_or(0)] = (0, 0);
            }
            self.second.set(second);
        }
        usize::try_from(second.max(last) % 10).unwrap_or(0)
    }

    /// A request came.
    pub fn request(&self, now: Instant) {
        let slot = self.slot(now);
        self.slots.borrow_mut()[slot].0 += 1;
    }

    /// Asks for one retry and counts it.
    pub fn retry(&self, now: Instant, percent: u32) -> bool {
        if self.left(now, percent) == 0 {
            return false;
        }
        let slot = self.slot(now);
        self.slots.borrow_mut()[slot].1 += 1;
        true
    }

    /// How many retries it would allow now.
    pub fn left(&self, now: Instant, percent: u32) -> u64 {
        self.slot(now);
        let slots = self.slots.borrow();
        let (requests, retries) = slots
            .iter()
            .fold((0u64, 0u64), |sum, slot| (sum.0 + u64::from(slot.0), sum.1 + u64::from(slot.1)));
        (requests * u64::from(percent) / 100 + 3 * 10).saturating_sub(retries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::plan::Plan;
    use crate::config::{Config, Listener};

    fn plan() -> RetryPlan {
        let listener =
            Listener { http: Some("127.0.0.1:0".into()), to: Some("http://x".into()), ..Listener::default() };
        let config = Config { listeners: vec![listener], ..Config::default() };
        Plan::new(&config).unwrap().upstreams["http://x"].retry.clone()
    }

    #[test]
    fn only_idempotent_methods_are_repeated_unless_named() {
        let mut plan = plan();
        assert!(repeatable(&plan, &Method::GET) && repeatable(&plan, &Method::PUT));
        assert!(!repeatable(&plan, &Method::POST) && !repeatable(&plan, &Method::PATCH));
        plan.methods = Some(vec![Method::POST]);
        assert!(repeatable(&plan, &Method::POST) && !repeatable(&plan, &Method::GET));
    }

    #[test]
    fn pauses_grow_up_to_a_limit() {
        let plan = plan();
        for attempt in 2..40 {
            assert!(pause(&plan, attempt) <= plan.max_backoff);
        }
    }

    #[test]
    fn the_budget_is_a_share_and_a_floor() {
        let now = Instant::now();
        let budget = Budget::new(now);
        for _ in 0..100 {
            budget.request(now);
        }
        let granted = (0..100).filter(|_| budget.retry(now, 20)).count();
        assert_eq!(granted, 50, "20 % of 100, and 3 per second for 10 s");
        let later = now + Duration::from_secs(11);
        let granted = (0..100).filter(|_| budget.retry(later, 20)).count();
        assert_eq!(granted, 30, "old requests do not count");
    }
}
