//! How long one attempt may take. While the pod ends: as long as there is time for another one.

use std::cell::Cell;
use std::time::Duration;

use podkit::shutdown::Shutdown;
use tokio::time::{Instant, sleep, timeout};

use crate::config::SinkPlan;

/// A server that has not answered for so long is asked again, however little time is left.
const LEAST: Duration = Duration::from_secs(1);
/// Between questions while the pod ends.
const SHORTLY: Duration = Duration::from_millis(250);

/// See the module.
#[derive(Clone, Debug)]
pub struct Patience {
    timeout: Duration,
    shutdown: Shutdown,
    /// How long answers took lately: a server that is slow by nature is waited for.
    usual: Cell<Duration>,
}

impl Patience {
    pub fn new(plan: &SinkPlan, shutdown: &Shutdown) -> Self {
        Self { timeout: plan.timeout, shutdown: shutdown.clone(), usual: Cell::default() }
    }

    /// The time of one attempt without a shutdown.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Runs `attempt` to its end, or until it has taken too long (`None`).
    pub(super) async fn within<T>(&self, attempt: impl Future<Output = T>) -> Option<T> {
        let begun = Instant::now();
        let done = tokio::select! {
            biased;
            done = timeout(self.timeout, attempt) => done.ok()?,
            () = self.is_over(begun) => return None,
        };
        self.usual.set(begun.elapsed().max(self.usual.get() / 8 * 7));
        Some(done)
    }

    /// Sleeps; while the pod ends, shortly.
    pub(super) async fn pause(&self, pause: Duration) {
        let ending = async {
            self.shutdown.started().await;
            sleep(SHORTLY).await;
        };
        tokio::select! {
            () = sleep(pause) => {}
            () = ending => {}
        }
    }

    /// Half of what is left of the grace from its start on, but twice the time that answers take.
    async fn is_over(&self, begun: Instant) {
        self.shutdown.started().await;
        let half = Instant::now() + (self.shutdown.remaining() / 2).max(LEAST);
        tokio::time::sleep_until(half.max(begun + self.usual.get() * 2)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patience(grace: u64) -> Patience {
        let shutdown = Shutdown::new(Duration::from_secs(grace));
        Patience { timeout: Duration::from_secs(30), shutdown, usual: Cell::default() }
    }

    async fn waited(patience: &Patience, attempt: Duration) -> (bool, u64) {
        let begun = Instant::now();
        let done = patience.within(tokio::time::sleep(attempt)).await.is_some();
        (done, begun.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_pod_ends_a_silent_server_is_left_in_time() {
        let patience = patience(8);
        let hour = Duration::from_secs(3600);
        assert_eq!(waited(&patience, hour).await, (false, 30));
        patience.shutdown.begin();
        assert_eq!(waited(&patience, hour).await, (false, 4));
        assert_eq!(waited(&patience, hour).await, (false, 2));
        assert_eq!(waited(&patience, hour).await, (false, 1));
        assert_eq!(waited(&patience, hour).await, (false, 1), "and not less");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_slow_by_nature_is_waited_for() {
        let patience = patience(8);
        let slow = Duration::from_secs(6);
        assert_eq!(waited(&patience, slow).await, (true, 6));
        patience.shutdown.begin();
        assert_eq!(waited(&patience, slow).await, (true, 6));
    }
}
