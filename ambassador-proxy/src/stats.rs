//! Counters: each has one writer thread, so a count is a plain load and store; the admin port adds them up.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::tap::Tap;
use crate::trace::Counts;

/// A counter with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds; only the owning thread may call it.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// The value, from any thread.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A gauge with one writer.
#[derive(Debug, Default)]
pub struct Level(AtomicI64);

impl Level {
    /// Adds (or subtracts); only the owning thread may call it.
    pub fn add(&self, n: i64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Sets it.
    pub fn set(&self, n: i64) {
        self.0.store(n, Relaxed);
    }

    /// The value, from any thread.
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// Upper bounds of the latency histogram, in seconds.
pub const BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// A latency histogram with one writer.
#[derive(Debug, Default)]
pub struct Latency {
    buckets: [Counter; BUCKETS.len() + 1],
    micros: Counter,
}

impl Latency {
    /// Counts one observation.
    pub fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(BUCKETS.len());
        self.buckets[bucket].add(1);
        self.micros.add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }
}

/// Why an upstream did not answer. Also a metric label, so the list is short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Reason {
    /// The name has no address yet.
    Dns,
    /// Refused, unreachable, or TLS failed.
    Connect,
    /// No connection in time.
    ConnectTimeout,
    /// No answer in time.
    Timeout,
    /// The connection broke.
    Reset,
    /// It answered something that is no HTTP.
    Protocol,
    /// Too much at once.
    Limit,
    /// The client went away.
    ClientGone,
}

/// All reasons with their label.
pub const REASONS: [(Reason, &str); 8] = [
    (Reason::Dns, "dns"),
    (Reason::Connect, "connect"),
    (Reason::ConnectTimeout, "connect_timeout"),
    (Reason::Timeout, "timeout"),
    (Reason::Reset, "reset"),
    (Reason::Protocol, "protocol"),
    (Reason::Limit, "limit"),
    (Reason::ClientGone, "client_gone"),
];

/// Why a request was sent again. Also a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Again {
    /// The connect failed: nothing had been sent.
    Connect,
    /// A kept connection was dead: nothing had come back.
    Stale,
    /// A reset, asked for by `on_reset`.
    Reset,
    /// A status or gRPC code, asked for.
    Status,
    /// A second try beside one that took long, asked for.
    Hedge,
    /// The budget said no.
    Refused,
}

/// All of them with their label.
pub const AGAINS: [(Again, &str); 6] = [
    (Again::Connect, "connect"),
    (Again::Stale, "stale_connection"),
    (Again::Reset, "reset"),
    (Again::Status, "status"),
    (Again::Hedge, "hedge"),
    (Again::Refused, "over_budget"),
];

/// What one worker counts about one upstream.
#[derive(Debug, Default)]
pub struct UpstreamStats {
    /// By class of the status sent to the client: 1xx … 5xx, and 0 for "client went away".
    pub classes: [Counter; 6],
    /// Until the head of the answer.
    pub latency: Latency,
    /// By [`Reason`].
    pub failures: [Counter; REASONS.len()],
    /// By [`Again`].
    pub again: [Counter; AGAINS.len()],
    /// Bytes of bodies and TCP streams: to the upstream, from the upstream.
    pub bytes: [Counter; 2],
    /// Connections made.
    pub connects: Counter,
    /// Requests on a kept connection.
    pub reused: Counter,
    /// TCP connections carried.
    pub tunnels: Counter,
    /// Requests and TCP connections being carried.
    pub in_flight: Level,
    /// Retries that the budget would allow, as of the last second.
    pub budget: Level,
}

/// What one worker knows about one endpoint.
#[derive(Debug, Default)]
pub struct EndpointStats {
    /// Requests sent.
    pub requests: Counter,
    /// Of them failed.
    pub failures: Counter,
    /// Now.
    pub in_flight: Level,
    /// Unused connections kept.
    pub idle: Level,
    /// Open connections.
    pub open: Level,
    /// Latency as the balancer sees it, µs.
    pub ewma_us: Level,
    /// Whether the breaker is open.
    pub ejected: Level,
}

/// What one worker counts about one listener.
#[derive(Debug, Default)]
pub struct ListenerStats {
    /// Connections accepted.
    pub accepted: Counter,
    /// Open now.
    pub open: Level,
}

type Named<T> = Mutex<BTreeMap<String, Vec<Arc<T>>>>;

/// Where every worker registers what it counts.
#[derive(Debug)]
pub struct Board {
    upstreams: Named<UpstreamStats>,
    endpoints: Named<EndpointStats>,
    listeners: Named<ListenerStats>,
    /// Downstream connections and tunnels open in the whole process.
    pub open: AtomicUsize,
    /// When the last connection came, ms after `start`.
    pub last_accept: AtomicU64,
    /// Access-log lines that could not be written.
    pub log_lost: AtomicU64,
    /// Spans sent and lost.
    pub spans: Arc<Counts>,
    /// Requests that somebody looks at.
    pub tap: Tap,
    start: Instant,
}

impl Default for Board {
    fn default() -> Self {
        Self {
            upstreams: Mutex::default(),
            endpoints: Mutex::default(),
            listeners: Mutex::default(),
            open: AtomicUsize::new(0),
            last_accept: AtomicU64::new(0),
            log_lost: AtomicU64::new(0),
            spans: Arc::default(),
            tap: Tap::default(),
            start: Instant::now(),
        }
    }
}

fn register<T: Default>(board: &Named<T>, name: &str) -> Arc<T> {
    let stats = Arc::new(T::default());
    let mut map = board.lock().unwrap_or_else(PoisonError::into_inner);
    map.entry(name.to_owned()).or_default().push(stats.clone());
    stats
}

fn each<T>(board: &Named<T>, mut f: impl FnMut(&str, &[Arc<T>])) {
    let map = board.lock().unwrap_or_else(PoisonError::into_inner);
    map.iter().for_each(|(name, list)| f(name, list));
}

impl Board {
    /// Counters for an upstream on the calling worker.
    pub fn upstream(&self, name: &str) -> Arc<UpstreamStats> {
        register(&self.upstreams, name)
    }

    /// Counters for a listener on the calling worker.
    pub fn listener(&self, name: &str) -> Arc<ListenerStats> {
        register(&self.listeners, name)
    }

    /// Gauges for an endpoint on the calling worker, as `upstream\0address`.
    pub fn endpoint(&self, upstream: &str, address: &str) -> Arc<EndpointStats> {
        register(&self.endpoints, &format!("{upstream}\0{address}"))
    }

    /// Forgets an endpoint's gauges when its worker has let go of it.
    pub fn forget_endpoint(&self, upstream: &str, address: &str, stats: &Arc<EndpointStats>) {
        let mut map = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        let key = format!("{upstream}\0{address}");
        if let Some(list) = map.get_mut(&key) {
            list.retain(|other| !Arc::ptr_eq(other, stats));
            if list.is_empty() {
                map.remove(&key);
            }
        }
    }

    /// Visits every upstream.
    pub fn each_upstream(&self, f: impl FnMut(&str, &[Arc<UpstreamStats>])) {
        each(&self.upstreams, f);
    }

    /// Visits every listener.
    pub fn each_listener(&self, f: impl FnMut(&str, &[Arc<ListenerStats>])) {
        each(&self.listeners, f);
    }

    /// Visits every endpoint: upstream, address, gauges.
    pub fn each_endpoint(&self, mut f: impl FnMut(&str, &str, &[Arc<EndpointStats>])) {
        each(&self.endpoints, |key, list| {
            let (upstream, address) = key.split_once('\0').unwrap_or((key, ""));
            f(upstream, address, list);
        });
    }

    /// A connection came.
    pub fn opened(&self) {
        self.open.fetch_add(1, Relaxed);
        self.last_accept.store(self.millis(), Relaxed);
    }

    /// It went.
    pub fn closed(&self) {
        self.open.fetch_sub(1, Relaxed);
    }

    /// No connection is open, and how long ago the last one came.
    pub fn quiet_for(&self) -> Option<Duration> {
        if self.open.load(Relaxed) > 0 {
            return None;
        }
        Some(Duration::from_millis(self.millis().saturating_sub(self.last_accept.load(Relaxed))))
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// The sum of several workers' histograms: count, seconds, and cumulative-free buckets.
pub fn sum_latency(list: &[Arc<UpstreamStats>]) -> (u64, f64, [u64; BUCKETS.len() + 1]) {
    let mut buckets = [0; BUCKETS.len() + 1];
    let mut micros = 0u64;
    for stats in list {
        for (sum, bucket) in buckets.iter_mut().zip(&stats.latency.buckets) {
            *sum += bucket.get();
        }
        micros += stats.latency.micros.get();
    }
    (buckets.iter().sum(), Duration::from_micros(micros).as_secs_f64(), buckets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_summed() {
        let board = Board::default();
        let (a, b) = (board.upstream("orders"), board.upstream("orders"));
        a.classes[2].add(2);
        b.classes[2].add(3);
        a.latency.observe(Duration::from_millis(3));
        b.latency.observe(Duration::from_secs(60));
        let mut seen = 0;
        board.each_upstream(|name, list| {
            assert_eq!(name, "orders");
            seen = list.iter().map(|stats| stats.classes[2].get()).sum();
            let (count, seconds, buckets) = sum_latency(list);
            assert_eq!((count, buckets[2], buckets[12]), (2, 1, 1));
            assert!(seconds > 60.0);
        });
        assert_eq!(seen, 5);
    }

    #[test]
    fn quiet_means_no_connection() {
        let board = Board::default();
        board.opened();
        assert_eq!(board.quiet_for(), None);
        board.closed();
        assert!(board.quiet_for().is_some());
    }

    #[test]
    fn endpoints_are_forgotten() {
        let board = Board::default();
        let stats = board.endpoint("orders", "127.0.0.1:1");
        board.forget_endpoint("orders", "127.0.0.1:1", &stats);
        board.each_endpoint(|_, _, _| panic!("still there"));
    }
}
