//! Connections kept open: HTTP/1.1 ones last in first out, HTTP/2 ones shared.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hyper::client::conn::http2;

use super::connect::Open;
use super::endpoint::LocalEndpoint;
use crate::config::plan::PoolPlan;
use crate::forward::body::Outgoing;
use crate::h1::client::Conn;

/// Streams on one connection before another one is made: what servers allow at least, by RFC 9113's advice.
const STREAMS: usize = 100;

/// What is known about a connection.
#[derive(Debug)]
pub struct Meta {
    /// Takes no new request after this.
    expires: Instant,
    /// Requests sent on it.
    pub requests: Cell<u64>,
    /// How long it may be unused.
    idle: Cell<Duration>,
}

impl Meta {
    /// For a connection made now.
    pub fn new(plan: &PoolPlan, now: Instant) -> Rc<Self> {
        let age = plan.max_age.mul_f64(0.9 + 0.2 * fastrand::f64());
        Rc::new(Self { expires: now + age, requests: Cell::new(0), idle: Cell::new(plan.idle) })
    }

    /// The upstream said `Keep-Alive: timeout=…`: a second less is what can be relied on.
    pub fn keep_alive(&self, seconds: u64) {
        let said = Duration::from_secs(seconds.saturating_sub(1));
        self.idle.set(self.idle.get().min(said));
    }

    fn fit(&self, plan: &PoolPlan, now: Instant) -> bool {
        now < self.expires && (plan.max_requests == 0 || self.requests.get() < plan.max_requests)
    }
}

/// An unused HTTP/1.1 connection.
pub struct Idle {
    lease: Lease1,
    since: Instant,
}

/// An HTTP/1.1 connection in use.
pub struct Lease1 {
    pub(crate) conn: Box<Conn>,
    /// What is known about it.
    pub meta: Rc<Meta>,
    /// Counts it.
    pub(crate) _open: Open,
}

/// A shared HTTP/2 connection.
pub struct Multiplexed {
    sender: http2::SendRequest<Outgoing>,
    meta: Rc<Meta>,
    streams: Rc<Cell<usize>>,
    since: Cell<Instant>,
}

/// A stream on an HTTP/2 connection.
pub struct Lease2 {
    /// Sends the request.
    pub sender: http2::SendRequest<Outgoing>,
    /// What is known about the connection.
    pub meta: Rc<Meta>,
    streams: Rc<Cell<usize>>,
}

impl Drop for Lease2 {
    fn drop(&mut self) {
        self.streams.set(self.streams.get().saturating_sub(1));
    }
}

/// A connection to send one request on.
pub enum Wire {
    /// HTTP/1.1.
    H1(Lease1),
    /// HTTP/2.
    H2(Lease2),
}

impl Wire {
    /// What is known about the connection.
    pub fn meta(&self) -> &Rc<Meta> {
        match self {
            Self::H1(lease) => &lease.meta,
            Self::H2(lease) => &lease.meta,
        }
    }
}

/// The latest unused HTTP/1.1 connection that is still good.
pub fn take(endpoint: &LocalEndpoint, plan: &PoolPlan, now: Instant) -> Option<Lease1> {
    let mut idle = endpoint.idle.borrow_mut();
    let mut found = None;
    while let Some(mut entry) = idle.pop() {
        if entry.fit(plan, now) {
            found = Some(entry.lease);
            break;
        }
    }
    endpoint.stats.idle.set(i64::try_from(idle.len()).unwrap_or(0));
    found
}

impl Idle {
    fn fit(&mut self, plan: &PoolPlan, now: Instant) -> bool {
        !self.lease.conn.is_dead()
            && now.saturating_duration_since(self.since) < self.lease.meta.idle.get()
            && self.lease.meta.fit(plan, now)
    }
}

/// Keeps a connection whose answer has been read to its end.
pub fn give_back(endpoint: &LocalEndpoint, lease: Lease1, plan: PoolPlan, now: Instant) {
    if endpoint.retired.get() || !lease.conn.is_reusable() || !lease.meta.fit(&plan, now) {
        return;
    }
    let mut idle = endpoint.idle.borrow_mut();
    if idle.len() < plan.max_idle {
        idle.push(Idle { lease, since: now });
    }
    endpoint.stats.idle.set(i64::try_from(idle.len()).unwrap_or(0));
}

/// A stream on an HTTP/2 connection that has room.
pub fn share(endpoint: &LocalEndpoint, plan: &PoolPlan, now: Instant) -> Option<Lease2> {
    let mut connections = endpoint.h2.borrow_mut();
    // Dropping the sender lets the streams that are under way end, and then the connection.
    connections.retain(|connection| !connection.sender.is_closed() && connection.meta.fit(plan, now));
    let connection = connections.iter().find(|connection| connection.streams.get() < STREAMS)?;
    connection.since.set(now);
    connection.streams.set(connection.streams.get() + 1);
    Some(Lease2 {
        sender: connection.sender.clone(),
        meta: connection.meta.clone(),
        streams: connection.streams.clone(),
    })
}

/// Adds an HTTP/2 connection and takes its first stream.
pub fn add(endpoint: &LocalEndpoint, sender: http2::SendRequest<Outgoing>, meta: Rc<Meta>) -> Lease2 {
    let streams = Rc::new(Cell::new(1));
    let lease = Lease2 { sender: sender.clone(), meta: meta.clone(), streams: streams.clone() };
    if !endpoint.retired.get() {
        let since = Cell::new(Instant::now());
        endpoint.h2.borrow_mut().push(Multiplexed { sender, meta, streams, since });
    }
    lease
}

/// Closes what has been unused for too long or is too old. Called every second.
pub fn sweep(endpoint: &LocalEndpoint, plan: &PoolPlan, now: Instant) {
    let mut idle = endpoint.idle.borrow_mut();
    idle.retain_mut(|entry| entry.fit(plan, now));
    endpoint.stats.idle.set(i64::try_from(idle.len()).unwrap_or(0));
    endpoint.h2.borrow_mut().retain(|connection| {
        let unused = connection.streams.get() == 0;
        // A shared connection is cheap to keep and dear to make: it may be unused ten times as long.
        let idle = now.saturating_duration_since(connection.since.get()) >= connection.meta.idle.get() * 10;
        !connection.sender.is_closed() && connection.meta.fit(plan, now) && !(unused && idle)
    });
}
