//! Metrics: one registry per process, names prefixed with the tool's, OpenMetrics text out.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::cli::App;

/// The process's metrics; clones share the registry.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    few: Arc<AtomicBool>,
}

impl Metrics {
    /// A registry with what every process has: build, start time, memory, CPU, open files.
    pub fn new(app: &App) -> Self {
        let mut registry = Registry::with_prefix(app.metric_prefix());
        let build = Info::new([
            ("version", env!("CARGO_PKG_VERSION")),
            ("commit", env!("PODMATES_COMMIT")),
            ("commit_date", env!("PODMATES_COMMIT_DATE")),
        ]);
        registry.register("build", "Version of this binary", build);
        let few = Arc::new(AtomicBool::new(false));
        registry.register_collector(Box::new(Process::new(few.clone())));
        Self { registry: Arc::new(Mutex::new(registry)), few }
    }

    /// Leaves out what the kubelet and the tool's own families say as well: of the process only memory, of reloads only failures. For tools
    /// that run in every pod, where each family is multiplied by the number of pods.
    pub fn keep_few(&self) {
        self.few.store(true, Relaxed);
    }

    /// Whether [`Metrics::keep_few`] was called.
    pub(crate) fn few(&self) -> bool {
        self.few.load(Relaxed)
    }

    /// Registers metrics; the tool's prefix is already applied.
    pub fn with<R>(&self, register: impl FnOnce(&mut Registry) -> R) -> R {
        register(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// All metrics as OpenMetrics text (content type [`CONTENT_TYPE`]).
    pub fn render(&self) -> String {
        let mut out = String::with_capacity(8 << 10);
        // Writing into a String fails only when an encoder of ours does; then what is there is shown.
        let _ = self.with(|registry| text::encode(&mut out, registry));
        out
    }
}

/// Media type of [`Metrics::render`] (OpenMetrics 1.0).
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Reads `/proc/self` at scrape time.
#[derive(Debug)]
struct Process {
    started_seconds: f64,
    few: Arc<AtomicBool>,
}

impl Process {
    fn new(few: Arc<AtomicBool>) -> Self {
        let started_seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
        Self { started_seconds, few }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let memory = ConstGauge::new(resident_bytes());
        memory.encode(encoder.encode_descriptor(
            "process_resident_memory",
            "Memory in use",
            Some(&Unit::Bytes),
            memory.metric_type(),
        )?)?;
        if self.few.load(Relaxed) {
            return Ok(());
        }
        let cpu = ConstCounter::new(cpu_seconds());
        cpu.encode(encoder.encode_descriptor(
            "process_cpu",
            "CPU time used, user and system",
            Some(&Unit::Seconds),
            cpu.metric_type(),
        )?)?;
        for (name, help, unit, value) in [
            ("process_open_fds", "Open file descriptors", None, open_fds()),
            (
                "process_start_time",
                "When the process started, Unix time",
                Some(Unit::Seconds),
                self.started_seconds,
            ),
        ] {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, unit.as_ref(), gauge.metric_type())?)?;
        }
        Ok(())
    }
}

/// User and system time of the process, in seconds.
pub fn cpu_seconds() -> f64 {
    // Fields 14 and 15 of proc_pid_stat(5), in clock ticks; the name in field 2 may hold blanks, so count from its closing bracket.
    let ticks: f64 = std::fs::read_to_string("/proc/self/stat")
        .ok()
        .and_then(|text| {
            let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
            Some(fields.next()?.parse::<f64>().ok()? + fields.next()?.parse::<f64>().ok()?)
        })
        .unwrap_or(0.0);
    ticks / rustix::param::clock_ticks_per_second() as f64
}

/// Resident memory of the process, in bytes; 0 where `/proc` cannot be read.
pub fn resident_bytes() -> f64 {
    let pages: f64 = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split(' ').nth(1)?.parse().ok())
        .unwrap_or(0.0);
    pages * rustix::param::page_size() as f64
}

/// Open file descriptors of the process; 0 where `/proc` cannot be read.
pub fn open_fds() -> f64 {
    std::fs::read_dir("/proc/self/fd").map_or(0.0, |entries| entries.count() as f64)
}
