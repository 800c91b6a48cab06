//! Readiness: a latch that each part releases; ready when all are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Knows what the process still waits for.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    latches: Arc<Mutex<Vec<Part>>>,
}

/// A part's name and whether it is ready.
type Part = (&'static str, Arc<AtomicBool>);

/// One part's word that it is ready.
#[derive(Debug)]
#[must_use = "a latch that is never released keeps the process unready"]
pub struct Latch(Arc<AtomicBool>);

impl Readiness {
    /// Adds a part that has to be ready, by the name that `/readyz` shows.
    pub fn latch(&self, name: &'static str) -> Latch {
        let flag = Arc::new(AtomicBool::new(false));
        self.lock().push((name, flag.clone()));
        Latch(flag)
    }

    /// The parts that are not ready yet; empty means ready.
    pub fn waiting_for(&self) -> Vec<&'static str> {
        self.lock().iter().filter(|(_, flag)| !flag.load(Ordering::Acquire)).map(|(name, _)| *name).collect()
    }

    /// True when all parts are ready.
    pub fn is_ready(&self) -> bool {
        self.waiting_for().is_empty()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Part>> {
        self.latches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Latch {
    /// This part is ready.
    pub fn release(self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Liveness: a loop says that it turns; `/livez` asks when it last did.
#[derive(Debug, Clone)]
pub struct Pulse {
    start: Instant,
    last: Arc<AtomicU64>,
}

impl Default for Pulse {
    fn default() -> Self {
        Self { start: Instant::now(), last: Arc::default() }
    }
}

impl Pulse {
    /// The loop has turned.
    pub fn beat(&self) {
        let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(millis, Ordering::Relaxed);
    }

    /// Time since the loop last turned.
    pub fn age(&self) -> Duration {
        self.start.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_every_latch_is_released() {
        let readiness = Readiness::default();
        let (config, listening) = (readiness.latch("config"), readiness.latch("listening"));
        config.release();
        assert_eq!(readiness.waiting_for(), ["listening"]);
        listening.release();
        assert!(readiness.is_ready());
    }
}
