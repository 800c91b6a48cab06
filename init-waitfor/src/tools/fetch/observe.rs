//! What `/metrics` and `/statusz` say about `--refresh`.

use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use podkit::process::Pod;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Unit;
use serde_json::json;

/// Counts, and remembers the last word of everything.
#[derive(Clone, Debug)]
pub(super) struct Observer {
    fetches: Counter,
    failures: Counter,
    unchanged: Counter,
    swaps: Counter,
    bytes: Counter,
    success: Gauge<f64, AtomicU64>,
    swapped: Gauge<f64, AtomicU64>,
    last: Arc<Mutex<Last>>,
}

#[derive(Debug, Default)]
struct Last {
    version: String,
    error: String,
}

impl Observer {
    pub(super) fn new(pod: &Pod, url: &str, dest: &Path) -> Self {
        let this = Observer {
            fetches: Counter::default(),
            failures: Counter::default(),
            unchanged: Counter::default(),
            swaps: Counter::default(),
            bytes: Counter::default(),
            success: Gauge::default(),
            swapped: Gauge::default(),
            last: Arc::default(),
        };
        pod.metrics.with(|registry| {
            registry.register("fetch", "Looks at the source, failed ones too", this.fetches.clone());
            registry.register(
                "fetch_failures",
                "Looks that failed; what was there stayed",
                this.failures.clone(),
            );
            registry.register("fetch_unchanged", "Looks that found nothing new", this.unchanged.clone());
            registry.register("fetch_swaps", "Times that the link got a new target", this.swaps.clone());
            registry.register_with_unit(
                "fetch_received",
                "Downloaded and found whole",
                Unit::Bytes,
                this.bytes.clone(),
            );
            registry.register_with_unit(
                "fetch_last_success_timestamp",
                "When a look last succeeded, Unix time; 0 before the first",
                Unit::Seconds,
                this.success.clone(),
            );
            registry.register_with_unit(
                "fetch_last_swap_timestamp",
                "When the link last got a new target, Unix time; 0 before the first",
                Unit::Seconds,
                this.swapped.clone(),
            );
        });
        let (view, url, dest) = (this.clone(), url.to_owned(), dest.display().to_string());
        pod.status.provide(move || {
            let last = view.last();
            json!({
                "totals": {
                    "fetches": view.fetches.get(),
                    "failures": view.failures.get(),
                    "unchanged": view.unchanged.get(),
                    "swaps": view.swaps.get(),
                    "bytes": view.bytes.get(),
                },
                "gauges": {
                    "last_success_unix_seconds": view.success.get(),
                    "last_swap_unix_seconds": view.swapped.get(),
                },
                "fetch": [{ "url": url, "dest": dest, "version": last.version, "error": last.error }],
            })
        });
        this
    }

    /// What is there from an earlier run.
    pub(super) fn version(&self, version: &str) {
        self.last().version = version.to_owned();
    }

    pub(super) fn unchanged(&self) {
        self.unchanged.inc();
        self.succeeded();
    }

    pub(super) fn fetched(&self, version: &str, bytes: u64, swapped: bool) {
        self.bytes.inc_by(bytes);
        self.version(version);
        if swapped {
            self.swaps.inc();
            self.swapped.set(now());
        } else {
            self.unchanged.inc();
        }
        self.succeeded();
    }

    pub(super) fn failed(&self, reason: &str) {
        self.fetches.inc();
        self.failures.inc();
        self.last().error = reason.to_owned();
    }

    fn succeeded(&self) {
        self.fetches.inc();
        self.success.set(now());
        self.last().error.clear();
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
