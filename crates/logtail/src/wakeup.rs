use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// Fires when [`crate::Tail::poll`] may find something new. For a thread and for a task; clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Wakeup(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    notify: Notify,
    fired: Mutex<bool>,
    condvar: Condvar,
}

impl Wakeup {
    /// Fires. A firing nobody waits for is kept for the next one who does.
    pub fn fire(&self) {
        self.0.notify.notify_one();
        *self.0.fired.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.condvar.notify_one();
    }

    /// Waits, as a task, until it fires.
    pub async fn changed(&self) {
        self.0.notify.notified().await;
    }

    /// Waits, as a thread, until it fires or the time is over.
    pub fn wait(&self, timeout: Duration) {
        let fired = self.0.fired.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut fired, _) = self
            .0
            .condvar
            .wait_timeout_while(fired, timeout, |fired| !*fired)
            .unwrap_or_else(PoisonError::into_inner);
        *fired = false;
    }
}
