//! Ctrl-C: the first asks for the end, the second does not wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Signals this close together are one: a terminal and a wrapper may each send theirs.
const ONE: Duration = Duration::from_millis(700);

pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From here on SIGINT and SIGTERM are noted; at the second one the process leaves at once, and its children
    /// with it.
    pub(crate) fn catch() -> anyhow::Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot handle signals")?;
        let came = Arc::new(AtomicBool::new(false));
        let noted = Arc::clone(&came);
        std::thread::spawn(move || {
            let mut first: Option<Instant> = None;
            for _ in signals.forever() {
                if first.get_or_insert_with(Instant::now).elapsed() > ONE {
                    signal_hook::low_level::exit(130);
                }
                noted.store(true, Ordering::SeqCst);
            }
        });
        Ok(Interrupt(came))
    }

    pub(crate) fn came(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
