//! What is counted: metrics for machines, a snapshot for `/statusz` and the page.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use serde_json::{Value, json};

use crate::{decode::FORMATS, lane::Counts, pipeline::sink::Sink};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FormatLabel {
    format: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FilterLabel {
    filter: String,
}

/// What can go wrong with TLS on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFailure {
    /// Refused by one side.
    Handshake,
    /// Not done in time.
    Timeout,
    /// Changed files that cannot be used.
    Certificate,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TlsLabel {
    reason: &'static str,
}

/// All counters; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    lines: Counter,
    records: Counter,
    joined: Counter,
    filtered: Counter,
    unparsed: Counter,
    partial: Counter,
    parts: Counter,
    formats: Family<FormatLabel, Counter>,
    filters: Family<FilterLabel, Counter>,
    bytes_read: Counter,
    bytes_written: Counter,
    pub output_errors: Counter,
    pub output_blocked: Gauge,
    pub rotations: Counter,
    pub state_errors: Counter,
    pub checkpoints_damaged: Counter,
    pub torn_records: Counter,
    pub output_connections: Counter,
    /// Connections that are open.
    pub connections: Gauge,
    pub connections_held: Counter,
    pub datagrams_dropped: Counter,
    tls_failures: Family<TlsLabel, Counter>,
    connection: Arc<AtomicU64>,
    lag: Gauge<f64, AtomicU64>,
    files: Gauge,
    snapshot: Arc<Mutex<Snapshot>>,
}

/// What the page shows.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub counts: Counts,
    pub bytes_read: u64,
    pub bytes_written: u64,
    pub lag: u64,
    pub files: Vec<Value>,
    pub problems: Vec<Value>,
    pub listeners: Vec<Value>,
    /// Why nothing can be written at the moment.
    pub blocked: Option<String>,
    pub output: String,
}

impl Meter {
    pub fn register(&self, registry: &mut Registry) {
        for (name, help, counter) in [
            ("lines_read", "Lines read: records + joined + filtered", &self.lines),
            ("records_written", "Records written", &self.records),
            ("lines_joined", "Lines that became part of the record of an earlier line", &self.joined),
            ("lines_filtered", "Lines left out by a rule of the configuration", &self.filtered),
            (
                "records_unparsed",
                "Records that hold a line which no format could read, whole and marked",
                &self.unparsed,
            ),
            ("records_partial", "Records of which one field could not be read", &self.partial),
            ("line_parts", "Records that are a part of a line over 1 MiB", &self.parts),
            ("output_errors", "Writes that failed and were tried again", &self.output_errors),
            ("output_rotations", "Output files renamed because they were full", &self.rotations),
            ("state_errors", "Positions that could not be saved and were tried again", &self.state_errors),
            ("checkpoints_damaged", "Position files found damaged and set aside", &self.checkpoints_damaged),
            (
                "torn_records",
                "Fragments of records left by a kill that could not be completed",
                &self.torn_records,
            ),
            ("output_connections", "Connections made to the output", &self.output_connections),
            (
                "connections_held",
                "Times that a listener had as many connections as allowed, so that further ones waited",
                &self.connections_held,
            ),
            (
                "datagrams_dropped",
                "UDP datagrams that the kernel dropped because they came faster than they were taken; not among the lines read",
                &self.datagrams_dropped,
            ),
        ] {
            registry.register(name, help, counter.clone());
        }
        registry.register("records_read", "Records by the format of their line", self.formats.clone());
        registry.register(
            "records_filtered",
            "Records left out, by the filter of the configuration",
            self.filters.clone(),
        );
        registry.register(
            "tls_failures",
            "TLS on listeners: handshakes that failed or took too long, changed certificates that cannot be used",
            self.tls_failures.clone(),
        );
        registry.register_with_unit("read", "Bytes of lines read", Unit::Bytes, self.bytes_read.clone());
        registry.register_with_unit(
            "written",
            "Bytes of records written",
            Unit::Bytes,
            self.bytes_written.clone(),
        );
        registry.register_with_unit(
            "lag",
            "Bytes in the input files that are not written yet",
            Unit::Bytes,
            self.lag.clone(),
        );
        registry.register(
            "output_blocked",
            "1 while the output takes nothing; reading waits, nothing is lost",
            self.output_blocked.clone(),
        );
        registry.register("connections", "Connections that send lines", self.connections.clone());
        registry.register("files_followed", "Input files followed", self.files.clone());
    }

    /// A batch has been written.
    pub fn delivered(&self, counts: &Counts, bytes_read: u64, bytes_written: u64) {
        self.lines.inc_by(counts.lines);
        self.records.inc_by(counts.records);
        self.joined.inc_by(counts.joined);
        self.filtered.inc_by(counts.filtered);
        self.unparsed.inc_by(counts.unparsed);
        self.partial.inc_by(counts.partial);
        self.parts.inc_by(counts.parts);
        self.bytes_read.inc_by(bytes_read);
        self.bytes_written.inc_by(bytes_written);
        for (entry, count) in FORMATS.iter().zip(counts.formats).filter(|(_, count)| *count > 0) {
            self.formats.get_or_create(&FormatLabel { format: entry.name }).inc_by(count);
        }
        self.update(|snapshot| {
            snapshot.counts.add(counts);
            snapshot.bytes_read += bytes_read;
            snapshot.bytes_written += bytes_written;
        });
    }

    /// Records left out, by the filter's place in the configuration.
    pub fn filtered(&self, names: &[String], counts: &[u64]) {
        for (name, count) in names.iter().zip(counts).filter(|(_, count)| **count > 0) {
            self.filters.get_or_create(&FilterLabel { filter: name.clone() }).inc_by(*count);
        }
    }

    pub fn tls_failed(&self, reason: TlsFailure) {
        let reason = match reason {
            TlsFailure::Handshake => "handshake",
            TlsFailure::Timeout => "timeout",
            TlsFailure::Certificate => "certificate",
        };
        self.tls_failures.get_or_create(&TlsLabel { reason }).inc();
    }

    /// What the output did since the last time.
    pub fn output(&self, sink: &mut Sink) {
        self.rotations.inc_by(sink.take_rotations());
        self.output_connections.inc_by(sink.take_connections());
    }

    /// A number for a connection, never 0.
    pub fn next_connection(&self) -> u64 {
        self.connection.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub fn lag(&self, bytes: u64, files: usize) {
        self.lag.set(bytes as f64);
        self.files.set(i64::try_from(files).unwrap_or(i64::MAX));
    }

    pub fn update(&self, change: impl FnOnce(&mut Snapshot)) {
        change(&mut self.snapshot.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// For `/statusz`.
    pub fn status(&self) -> Value {
        let now = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let formats: Vec<_> = FORMATS
            .iter()
            .zip(now.counts.formats)
            .filter(|(_, count)| *count > 0)
            .map(|(entry, count)| json!({"format": entry.name, "records": count}))
            .collect();
        json!({
            "totals": {
                "lines_read": now.counts.lines,
                "records_written": now.counts.records,
                "lines_joined": now.counts.joined,
                "lines_filtered": now.counts.filtered,
                "records_unparsed": now.counts.unparsed,
                "records_partial": now.counts.partial,
                "bytes_read": now.bytes_read,
                "bytes_written": now.bytes_written,
            },
            "gauges": { "lag_bytes": now.lag, "files": now.files.len() },
            "balanced": now.counts.balanced(),
            "output": now.output,
            "blocked": now.blocked,
            "files": now.files,
            "formats": formats,
            "problems": now.problems,
            "listeners": now.listeners,
        })
    }
}
