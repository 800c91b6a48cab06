//! A service outside: what all workers share about it, and what each worker keeps to itself.

pub mod balance;
pub mod connect;
pub mod endpoint;
pub mod health;
pub mod io;
pub mod local;
pub mod oauth2;
pub mod pool;
pub mod refresh;
pub mod san;
pub mod sign;
pub mod table;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption};
use http::{HeaderName, HeaderValue};
use tokio::sync::Notify;

use crate::config::plan::UpstreamPlan;
use crate::policy::limit::InFlight;

/// The address of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Peer {
    /// IP and port.
    Tcp(SocketAddr),
    /// A socket file.
    Unix(PathBuf),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// One endpoint as discovery sees it.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Where it is.
    pub peer: Peer,
    /// Share of the requests among its priority (SRV weight; 1 otherwise).
    pub weight: u32,
    /// Lower ones are used first; others only when none of them is well.
    pub priority: u16,
    /// What the active check says; true without one.
    pub well: Arc<AtomicBool>,
}

/// TLS configurations of an upstream: one that offers h2, one that does not.
#[derive(Debug)]
pub struct TlsConfigs {
    /// ALPN as the plan's protocol wants it.
    pub any: Arc<rustls::ClientConfig>,
    /// HTTP/1.1 only (Upgrade), or no ALPN at all (TCP).
    pub http1: Arc<rustls::ClientConfig>,
}

/// How a request shows who sends it.
#[derive(Debug)]
pub enum Credential {
    /// The same header for every request.
    Header(HeaderName, HeaderValue),
    /// A signature of its own for each.
    Signature(sign::Signer),
}

/// What all workers share about an upstream. Replaced as a whole when its configuration changes.
#[derive(Debug)]
pub struct Shared {
    /// Different for each configuration of each upstream.
    pub id: u64,
    /// The configuration.
    pub plan: Arc<UpstreamPlan>,
    /// The Host header.
    pub authority: HeaderValue,
    /// Requests in flight.
    pub in_flight: InFlight,
    /// TLS, when the plan asks for it; `None` until the files could be read.
    pub tls: ArcSwapOption<TlsConfigs>,
    /// The credential to inject, as it is now.
    pub credential: ArcSwapOption<Credential>,
    /// Discovery's own word on how it goes.
    pub discovery: Mutex<Discovery>,
    set: ArcSwap<Vec<Endpoint>>,
    generation: AtomicU64,
    changed: Notify,
    /// Failed lookups.
    pub dns_failures: AtomicU64,
}

/// How discovery goes, for people.
#[derive(Debug, Clone, Default)]
pub struct Discovery {
    /// The last lookup that succeeded.
    pub resolved: Option<Instant>,
    /// The error of the last lookup, if it failed.
    pub error: Option<String>,
    /// Why the credential or TLS files could not be read, if so.
    pub files: Option<String>,
}

impl Shared {
    /// Nothing known yet.
    pub fn new(id: u64, plan: Arc<UpstreamPlan>) -> Self {
        let authority = HeaderValue::try_from(plan.authority.as_str());
        Self {
            id,
            authority: authority.unwrap_or_else(|_| HeaderValue::from_static("localhost")),
            in_flight: InFlight::new(plan.limits),
            tls: ArcSwapOption::empty(),
            credential: ArcSwapOption::empty(),
            discovery: Mutex::default(),
            set: ArcSwap::default(),
            generation: AtomicU64::new(0),
            changed: Notify::new(),
            dns_failures: AtomicU64::new(0),
            plan,
        }
    }

    /// The endpoints known now.
    pub fn endpoints(&self) -> Arc<Vec<Endpoint>> {
        self.set.load_full()
    }

    /// Changes with every new set; 0 means none was ever known.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Replaces the set and wakes who waits for the first one.
    pub fn publish(&self, set: Vec<Endpoint>) {
        self.set.store(Arc::new(set));
        self.generation.fetch_add(1, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// Waits until a set is known.
    pub async fn first_set(&self) {
        loop {
            let changed = self.changed.notified();
            if self.generation() > 0 {
                return;
            }
            changed.await;
        }
    }

    /// Writes down how discovery goes.
    pub fn note(&self, f: impl FnOnce(&mut Discovery)) {
        f(&mut self.discovery.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
