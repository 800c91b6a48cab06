//! One endpoint on one worker: its latency, its breaker, its kept connections.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::pool::{Idle, Multiplexed};
use super::{Endpoint, Peer};
use crate::config::plan::BreakerPlan;
use crate::policy::breaker::Breaker;
use crate::stats::{Board, EndpointStats};

/// A fresh endpoint counts as this fast; a seed of zero would draw every request to it.
const SEED: f64 = 1_000_000.0;
/// How fast old latencies fade.
const DECAY: Duration = Duration::from_secs(10);
/// What a failure counts as.
const PENALTY: f64 = 1_000_000_000.0;

/// What one worker knows about one endpoint.
pub struct LocalEndpoint {
    /// Where it is.
    pub peer: Peer,
    /// The peer as text, for logs and tables.
    pub name: Rc<str>,
    /// Share of the requests.
    pub weight: u32,
    /// Lower ones first.
    pub priority: u16,
    /// The active check's word.
    pub well: Arc<AtomicBool>,
    /// The passive breaker.
    pub breaker: Breaker,
    /// Unused HTTP/1.1 connections, the latest last.
    pub idle: RefCell<Vec<Idle>>,
    /// HTTP/2 connections.
    pub h2: RefCell<Vec<Multiplexed>>,
    /// HTTP/2 connections being made, so that a burst does not make one each.
    pub h2_pending: Cell<u32>,
    /// What ALPN said the last time.
    pub speaks_h2: Cell<Option<bool>>,
    /// Gone from discovery: no new request, no connection kept.
    pub retired: Cell<bool>,
    /// Gauges.
    pub stats: Arc<EndpointStats>,
    distrusted_until: Cell<Option<Instant>>,
    latency_ns: Cell<f64>,
    measured: Cell<Instant>,
    in_flight: Cell<u32>,
    /// Since when it gets less than its share, and until it has all of it.
    warming: Cell<Option<(Instant, Duration)>>,
    upstream: Rc<str>,
    board: Arc<Board>,
}

impl LocalEndpoint {
    /// Nothing known yet.
    pub fn new(endpoint: &Endpoint, upstream: Rc<str>, board: &Arc<Board>) -> Self {
        let name = endpoint.peer.to_string();
        Self {
            stats: board.endpoint(&upstream, &name),
            name: name.into(),
            peer: endpoint.peer.clone(),
            weight: endpoint.weight.max(1),
            priority: endpoint.priority,
            well: endpoint.well.clone(),
            breaker: Breaker::default(),
            idle: RefCell::default(),
            h2: RefCell::default(),
            h2_pending: Cell::new(0),
            speaks_h2: Cell::new(None),
            retired: Cell::new(false),
            distrusted_until: Cell::new(None),
            latency_ns: Cell::new(SEED),
            measured: Cell::new(Instant::now()),
            in_flight: Cell::new(0),
            warming: Cell::new(None),
            upstream,
            board: board.clone(),
        }
    }

    /// Whether requests may go there now.
    pub fn available(&self, now: Instant) -> bool {
        self.well.load(Ordering::Relaxed) && self.breaker.allows(now)
    }

    /// Requests being carried.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.get()
    }

    /// What a request there costs: latency times queue, by weight.
    pub fn load(&self, now: Instant) -> f64 {
        let aged = self.aged(now).max(SEED);
        aged * self.queue(now)
    }

    /// Requests in flight, by weight.
    pub fn queue(&self, now: Instant) -> f64 {
        f64::from(self.in_flight.get() + 1) / f64::from(self.weight) / self.warmth(now)
    }

    /// Begins with a tenth of its share, and has all of it after `window`.
    pub fn slow_start(&self, window: Duration) {
        if !window.is_zero() {
            self.warming.set(Some((Instant::now(), window)));
        }
    }

    /// Its share: 0.1 to 1.
    pub fn warmth(&self, now: Instant) -> f64 {
        let Some((since, window)) = self.warming.get() else { return 1.0 };
        let share = now.saturating_duration_since(since).as_secs_f64() / window.as_secs_f64();
        if share >= 1.0 {
            self.warming.set(None);
            return 1.0;
        }
        share.max(0.1)
    }

    fn aged(&self, now: Instant) -> f64 {
        self.latency_ns.get() * self.keep(now)
    }

    /// What is left of the last measurement.
    fn keep(&self, now: Instant) -> f64 {
        let age = now.saturating_duration_since(self.measured.get()).as_secs_f64();
        (-age / DECAY.as_secs_f64()).exp()
    }

    /// An answer came after so long. A worse one counts at once, a better one slowly (peak EWMA).
    pub fn observe(&self, took: Duration, now: Instant) {
        let took = took.as_secs_f64() * 1e9;
        let keep = self.keep(now);
        let aged = self.latency_ns.get() * keep;
        let next = if took > aged { took } else { aged + took * (1.0 - keep) };
        self.latency_ns.set(next);
        self.measured.set(now);
        #[expect(clippy::cast_possible_truncation, reason = "a latency in µs fits, and `as` saturates")]
        self.stats.ewma_us.set((next / 1000.0) as i64);
    }

    /// A good answer. One that was out starts slowly, if so configured.
    pub fn succeeded(&self, slow_start: Duration) {
        if self.breaker.is_out() {
            self.slow_start(slow_start);
            tracing::info!(upstream = %self.upstream, endpoint = %self.name, "endpoint is back: its probe succeeded");
            self.stats.ejected.set(0);
        }
        self.breaker.succeeded();
    }

    /// A failure. True when it is out from now on.
    pub fn failed(&self, plan: &BreakerPlan, now: Instant, may_eject: bool) {
        self.stats.failures.add(1);
        self.latency_ns.set(self.aged(now).max(PENALTY));
        self.measured.set(now);
        if self.breaker.failed(plan, now, may_eject) {
            self.stats.ejected.set(1);
            tracing::warn!(upstream = %self.upstream, endpoint = %self.name, "endpoint is out for a while: too many failures in a row");
        }
    }

    /// A kept connection died under a request: for a minute, what must not be repeated takes fresh ones.
    pub fn distrust(&self, now: Instant) {
        self.distrusted_until.set(Some(now + Duration::from_secs(60)));
    }

    /// Whether kept connections are no good for what must not be repeated.
    pub fn distrusted(&self, now: Instant) -> bool {
        self.distrusted_until.get().is_some_and(|until| now < until)
    }

    /// Closes every unused connection.
    pub fn retire(&self) {
        self.retired.set(true);
        self.idle.borrow_mut().clear();
        self.h2.borrow_mut().clear();
        self.stats.idle.set(0);
    }
}

impl Drop for LocalEndpoint {
    fn drop(&mut self) {
        self.board.forget_endpoint(&self.upstream, &self.name, &self.stats);
    }
}

/// A request being carried by an endpoint.
pub struct Carried(pub Rc<LocalEndpoint>);

impl Carried {
    /// Counts it in.
    pub fn new(endpoint: Rc<LocalEndpoint>, now: Instant) -> Self {
        endpoint.breaker.sent(now);
        endpoint.in_flight.set(endpoint.in_flight.get() + 1);
        endpoint.stats.in_flight.add(1);
        endpoint.stats.requests.add(1);
        Self(endpoint)
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get().saturating_sub(1));
        self.0.stats.in_flight.add(-1);
    }
}
