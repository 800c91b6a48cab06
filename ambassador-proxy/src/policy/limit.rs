//! How much may be going on at once, and how often.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::adaptive::Adaptive;
use crate::config::RateLimit;
use crate::config::plan::LimitPlan;

/// Requests in flight and waiting, for the whole process.
#[derive(Debug)]
pub struct InFlight {
    adaptive: Option<Arc<Adaptive>>,
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    plan: LimitPlan,
}

/// The right to be in flight.
#[derive(Debug)]
pub struct Permit {
    _permit: OwnedSemaphorePermit,
    adaptive: Option<Arc<Adaptive>>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(adaptive) = &self.adaptive {
            adaptive.left();
        }
    }
}

impl InFlight {
    /// All free.
    pub fn new(plan: LimitPlan) -> Self {
        let adaptive = plan.adaptive.then(|| Arc::new(Adaptive::new(plan.in_flight, Instant::now())));
        Self {
            adaptive,
            permits: Arc::new(Semaphore::new(plan.in_flight)),
            waiting: AtomicUsize::new(0),
            plan,
        }
    }

    /// A permit, if there is one now.
    pub fn enter(&self) -> Option<Permit> {
        if self.adaptive.is_some() {
            return None;
        }
        let permit = self.permits.clone().try_acquire_owned().ok()?;
        Some(Permit { _permit: permit, adaptive: None })
    }

    /// A permit, at once or after a wait.
    ///
    /// # Errors
    /// What was full, when as many are waiting as may, or the wait was too long.
    pub async fn acquire(&self) -> Result<Permit, String> {
        if let Some(adaptive) = &self.adaptive {
            adaptive.enter().map_err(|limit| {
                format!("{limit} requests are in flight, and with more of them answers become slower (limits.adaptive)")
            })?;
        }
        // From here on it is counted in, and a `Permit` or this guard counts it out.
        let mut entered = Entered(self.adaptive.clone());
        let permit = self.permit().await?;
        Ok(Permit { _permit: permit, adaptive: entered.0.take() })
    }

    /// An answer took so long; `None` = it never came.
    pub fn observe(&self, took: Option<Duration>) {
        if let Some(adaptive) = &self.adaptive {
            adaptive.observe(took, Instant::now());
        }
    }

    /// The most that may be in flight now.
    pub fn limit(&self) -> usize {
        self.adaptive.as_ref().map_or(self.plan.in_flight, |adaptive| adaptive.limit())
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, String> {
        if let Ok(permit) = self.permits.clone().try_acquire_owned() {
            return Ok(permit);
        }
        let plan = &self.plan;
        if self.waiting.fetch_add(1, Relaxed) >= plan.pending {
            self.waiting.fetch_sub(1, Relaxed);
            return Err(format!(
                "{} requests are in flight and {} wait already",
                plan.in_flight, plan.pending
            ));
        }
        let waiting = Waiting(&self.waiting);
        let result = tokio::time::timeout(plan.pending_wait, self.permits.clone().acquire_owned()).await;
        drop(waiting);
        match result {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(format!(
                "{} requests are in flight and none ended within {:?}",
                plan.in_flight, plan.pending_wait
            )),
        }
    }

    /// Waiting now.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }
}

struct Entered(Option<Arc<Adaptive>>);

impl Drop for Entered {
    fn drop(&mut self) {
        if let Some(adaptive) = &self.0 {
            adaptive.left();
        }
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// A token bucket for the whole process.
#[derive(Debug)]
pub struct Bucket {
    rate: f64,
    burst: f64,
    state: Mutex<(f64, Instant)>,
}

impl Bucket {
    /// Full.
    pub fn new(limit: RateLimit, now: Instant) -> Self {
        let burst = f64::from(limit.burst.unwrap_or(limit.per_second).max(1));
        Self { rate: f64::from(limit.per_second), burst, state: Mutex::new((burst, now)) }
    }

    /// Takes a token.
    ///
    /// # Errors
    /// How long until there is one.
    pub fn take(&self, now: Instant) -> Result<(), Duration> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (tokens, at) = *state;
        let tokens = (tokens + now.saturating_duration_since(at).as_secs_f64() * self.rate).min(self.burst);
        if tokens >= 1.0 {
            *state = (tokens - 1.0, now);
            return Ok(());
        }
        *state = (tokens, now);
        Err(Duration::from_secs_f64((1.0 - tokens) / self.rate.max(0.001)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_lets_the_burst_and_then_the_rate_through() {
        let now = Instant::now();
        let bucket = Bucket::new(RateLimit { per_second: 10, burst: Some(2) }, now);
        assert!(bucket.take(now).is_ok() && bucket.take(now).is_ok());
        let wait = bucket.take(now).unwrap_err();
        assert!(wait <= Duration::from_millis(100));
        assert!(bucket.take(now + Duration::from_millis(101)).is_ok());
        assert!(bucket.take(now + Duration::from_millis(101)).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_fit_waits_and_then_is_told_why() {
        let plan = LimitPlan {
            in_flight: 1,
            pending: 1,
            pending_wait: Duration::from_secs(1),
            body: None,
            adaptive: false,
        };
        let limit = InFlight::new(plan);
        let first = limit.acquire().await.unwrap();
        let (second, third) = tokio::join!(limit.acquire(), limit.acquire());
        assert!(second.unwrap_err().contains("none ended within 1s"));
        assert!(third.unwrap_err().contains("1 wait already"));
        drop(first);
        assert!(limit.acquire().await.is_ok());
        assert_eq!(limit.waiting(), 0);
    }
}
