//! Shutdown is a value: a signal (or the tool itself) starts it, a deadline ends it.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::exit::Exit;

/// A signal so soon behind the first is the same wish: `timeout` and many wrappers send one to the process and one to its group.
const ECHO: Duration = Duration::from_millis(200);

/// Handed to every part that has something to finish.
#[derive(Debug, Clone)]
pub struct Shutdown {
    token: CancellationToken,
    deadline: Arc<OnceLock<Instant>>,
    grace: Duration,
}

impl Shutdown {
    /// A shutdown that gives the drain `grace` from its start.
    pub fn new(grace: Duration) -> Self {
        Self { token: CancellationToken::new(), deadline: Arc::default(), grace }
    }

    /// Starts the drain; further calls change nothing.
    pub fn begin(&self) {
        self.deadline.get_or_init(|| Instant::now() + self.grace);
        self.token.cancel();
    }

    /// True once the drain has started.
    pub fn is_started(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits for the start of the drain.
    pub async fn started(&self) {
        self.token.cancelled().await;
    }

    /// When the drain has to be over; `None` before it started.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline.get().copied()
    }

    /// What is left of the grace: all of it before the start, zero after the deadline.
    pub fn remaining(&self) -> Duration {
        self.deadline().map_or(self.grace, |deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// True when the deadline has passed.
    pub fn is_overdue(&self) -> bool {
        self.is_started() && self.remaining().is_zero()
    }

    /// Waits until the deadline has passed (for ever when the drain never starts).
    pub async fn overdue(&self) {
        self.started().await;
        if let Some(deadline) = self.deadline() {
            tokio::time::sleep_until(deadline).await;
        }
    }

    /// Runs `work` until it ends or the deadline passes (`None`).
    pub async fn bounded<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.overdue() => None,
        }
    }

    /// Starts the drain at SIGTERM or SIGINT and leaves the process at the second signal. The handlers also make both signals work as
    /// PID 1, where the kernel ignores signals without a handler.
    ///
    /// # Errors
    /// When the process may not install handlers.
    pub fn on_signals(&self) -> Result<(), Exit> {
        let fail =
            |error: std::io::Error| Exit::failed(format!("signal handlers cannot be installed: {error}"));
        let mut term = signal(SignalKind::terminate()).map_err(fail)?;
        let mut int = signal(SignalKind::interrupt()).map_err(fail)?;
        let shutdown = self.clone();
        tokio::spawn(async move {
            let mut next = async || {
                tokio::select! {
                    _ = term.recv() => "SIGTERM",
                    _ = int.recv() => "SIGINT",
                }
            };
            let first = next().await;
            info!(signal = first, grace = %crate::units::Dur(shutdown.grace), "draining");
            shutdown.begin();
            let over = Instant::now() + ECHO;
            let second = loop {
                let signal = next().await;
                if Instant::now() >= over {
                    break signal;
                }
            };
            warn!(signal = second, "second signal: leaving at once, the drain is not complete");
            leave();
        });
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "a second signal asks to leave without any last words")]
fn leave() -> ! {
    std::process::exit(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_deadline_counts_from_the_start() {
        let shutdown = Shutdown::new(Duration::from_secs(5));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(shutdown.remaining(), Duration::from_secs(5));
        shutdown.begin();
        tokio::time::sleep(Duration::from_secs(2)).await;
        shutdown.begin();
        assert_eq!(shutdown.remaining(), Duration::from_secs(3));
        assert_eq!(shutdown.bounded(std::future::pending::<()>()).await, None);
        assert!(shutdown.is_overdue());
        assert_eq!(shutdown.bounded(async { 7 }).await, Some(7));
    }
}
