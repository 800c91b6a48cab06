//! What the configuration means: every default filled in, every string parsed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method};

use super::{AccessLog, Balance, Config, Credentials, Protocol, ProxyProtocol, StartTls};
use crate::policy::limit::Bucket;
use crate::route::Routes;

/// The effective configuration of the data path.
#[derive(Debug)]
pub struct Plan {
    /// One per local address, in the order written.
    pub listeners: Vec<Arc<ListenerPlan>>,
    /// Every upstream that a listener or route refers to.
    pub upstreams: BTreeMap<String, Arc<UpstreamPlan>>,
    /// The form of the access log.
    pub access_log: AccessLog,
    /// Whether requests without `traceparent` get one.
    pub trace: bool,
    /// Where spans go.
    pub traces: Option<Arc<TracesPlan>>,
    /// Worker threads; `None` means by the CPU limit.
    pub workers: Option<usize>,
}

/// Where spans go.
#[derive(Debug, Clone, PartialEq)]
pub struct TracesPlan {
    /// The collector.
    pub place: crate::control::Place,
    /// The share of requests without `traceparent` that are sampled.
    pub ratio: f64,
    /// `service.name`.
    pub service: String,
    /// Headers for the collector.
    pub headers: Vec<(HeaderName, podkit::secret::Secret)>,
}

/// A local address and what happens to what arrives there.
#[derive(Debug)]
pub struct ListenerPlan {
    /// As written; also its name in metrics and logs.
    pub name: String,
    /// The same for the same listener after a reload, different for each.
    pub key: String,
    /// Where to bind.
    pub bind: Bind,
    /// Whether a PROXY protocol header comes first.
    pub proxy_protocol: bool,
    /// Whether a client that has shut down its writing side still waits.
    pub half_close: bool,
    /// What CONNECT may reach: authority as asked for, and the upstream behind it.
    pub connect: BTreeMap<String, String>,
    /// What is spoken there.
    pub kind: ListenerKind,
}

/// What a listener speaks.
#[derive(Debug)]
pub enum ListenerKind {
    /// HTTP/1.1 and h2c.
    Http(Routes),
    /// Bytes, to this upstream.
    Tcp(String),
}

/// A local address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Bind {
    /// Host and port, to be resolved when it is bound (`localhost` or a literal).
    Tcp(String),
    /// A socket file.
    Unix(PathBuf),
}

/// Where endpoints come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Names or literals with ports, resolved as A and AAAA.
    Hosts(Vec<Host>),
    /// The same from a file.
    File(PathBuf),
    /// One name, resolved as SRV.
    Srv(String),
    /// A socket file.
    Unix(PathBuf),
}

/// One endpoint as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// A name or an address.
    pub name: String,
    /// The port.
    pub port: u16,
    /// Its share among those of its priority.
    pub weight: u32,
    /// Lower ones come first.
    pub priority: u16,
}

impl Host {
    /// Of weight 1 and the first priority.
    pub fn plain(name: impl Into<String>, port: u16) -> Self {
        Self { name: name.into(), port, weight: 1, priority: 0 }
    }
}

/// Faults on purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultPlan {
    /// Waits this long.
    pub delay: Option<Duration>,
    /// Answers so.
    pub status: Option<http::StatusCode>,
    /// Percent of the requests.
    pub percent: u32,
}

/// TLS as asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsPlan {
    /// Roots, or the default ones.
    pub ca: Option<PathBuf>,
    /// Chain and key of the client.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name asked for and checked.
    pub server_name: String,
    /// Names of which the certificate has to carry one; empty = `server_name` has to fit.
    pub san: Vec<String>,
    /// Any certificate will do.
    pub insecure: bool,
    /// What is said before.
    pub starttls: Option<StartTls>,
}

/// The Host header sent to an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostRule {
    /// The authority of the upstream's URL.
    Upstream,
    /// As the client wrote it.
    Keep,
    /// This value.
    Literal(HeaderValue),
}

/// How long things may take. `None` means for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeoutPlan {
    /// Until a connection (with TLS) stands.
    pub connect: Duration,
    /// From the request sent to the head of the answer.
    pub first_byte: Option<Duration>,
    /// Without a byte either way.
    pub idle: Option<Duration>,
    /// The whole request with its retries.
    pub total: Option<Duration>,
}

/// What is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPlan {
    /// Tries in all.
    pub attempts: u32,
    /// Statuses that are tried again.
    pub statuses: Vec<u16>,
    /// gRPC codes that are tried again.
    pub grpc_codes: Vec<u32>,
    /// Whether a broken connection is tried again.
    pub on_reset: bool,
    /// Methods that may be repeated once sent; `None` = the idempotent ones.
    pub methods: Option<Vec<Method>>,
    /// Time for the first byte of one try.
    pub per_try: Option<Duration>,
    /// First pause.
    pub backoff: Duration,
    /// Longest pause.
    pub max_backoff: Duration,
    /// Percent of the requests.
    pub budget_percent: u32,
    /// A second try races the first one after this.
    pub hedge_after: Option<Duration>,
}

/// Connections kept open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolPlan {
    /// Longest unused.
    pub idle: Duration,
    /// Unused ones kept per endpoint and worker.
    pub max_idle: usize,
    /// Longest age for new requests.
    pub max_age: Duration,
    /// Most requests, 0 = no limit.
    pub max_requests: u64,
}

/// How much at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitPlan {
    /// In flight.
    pub in_flight: usize,
    /// Waiting.
    pub pending: usize,
    /// How long they wait.
    pub pending_wait: Duration,
    /// Bytes of a request's body.
    pub body: Option<u64>,
    /// Whether `in_flight` is only the most, and less is found by itself.
    pub adaptive: bool,
}

/// The passive breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerPlan {
    /// Failures in a row, 0 = never.
    pub failures: u32,
    /// First time out.
    pub base: Duration,
    /// Longest time out.
    pub max: Duration,
}

/// What a health check asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthKind {
    /// Only a connection.
    Connect,
    /// GET this.
    Get(PathAndQuery),
    /// gRPC's health protocol, for this service.
    Grpc(String),
}

/// Active checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthPlan {
    /// What is asked.
    pub kind: HealthKind,
    /// Between two checks.
    pub interval: Duration,
    /// Longest check.
    pub timeout: Duration,
    /// Failures until ill.
    pub fall: u32,
    /// Successes until well.
    pub rise: u32,
}

/// What a hash is taken of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    /// A header's value.
    Header(HeaderName),
    /// A cookie's value.
    Cookie(String),
    /// The client's address.
    Source,
}

/// A service outside.
#[derive(Debug, Clone, PartialEq)]
pub struct UpstreamPlan {
    /// The name in the file, or `host:port` of the URL.
    pub name: String,
    /// Where endpoints come from.
    pub source: Source,
    /// The authority of the URL, for the Host header.
    pub authority: String,
    /// Goes before every path; empty or without a slash at the end.
    pub prefix: String,
    /// Whether bytes go there (`tcp://`, `tls://`), not HTTP.
    pub bytes: bool,
    /// TLS, when asked for.
    pub tls: Option<TlsPlan>,
    /// The protocol.
    pub protocol: Protocol,
    /// The Host header.
    pub host: HostRule,
    /// How an endpoint is chosen.
    pub balance: Balance,
    /// Until a new endpoint has its full share.
    pub slow_start: Duration,
    /// What hashing balancers hash.
    pub hash_on: HashKey,
    /// Timeouts.
    pub timeouts: TimeoutPlan,
    /// Without a byte either way in a TCP connection.
    pub tcp_idle: Option<Duration>,
    /// Retries.
    pub retry: RetryPlan,
    /// The pool.
    pub pool: PoolPlan,
    /// Limits.
    pub limits: LimitPlan,
    /// The breaker.
    pub breaker: BreakerPlan,
    /// Active checks.
    pub health: Option<HealthPlan>,
    /// Shortest and longest time between two lookups.
    pub ttl: (Duration, Duration),
    /// Credentials to inject.
    pub credentials: Option<Credentials>,
    /// Rules for requests.
    pub request_headers: Rules,
    /// Rules for answers.
    pub response_headers: Rules,
    /// PROXY protocol sent.
    pub proxy_protocol: Option<ProxyProtocol>,
}

/// Header rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// Headers set.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Headers taken away.
    pub remove: Vec<HeaderName>,
}

impl Rules {
    /// Applies them: first what goes, then what is set.
    pub fn apply(&self, headers: &mut crate::fields::Headers) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.set(name, value.clone());
        }
    }
}

/// What one route says on top of its upstream.
#[derive(Debug)]
pub struct Policy {
    /// The upstream's name.
    pub upstream: String,
    /// Timeouts in force.
    pub timeouts: TimeoutPlan,
    /// Retries in force.
    pub retry: RetryPlan,
    /// The matched prefix becomes this.
    pub replace_prefix: Option<(String, String)>,
    /// A local rate limit.
    pub rate_limit: Option<Bucket>,
    /// Faults on purpose.
    pub fault: Option<FaultPlan>,
    /// The upstream that gets copies, and of how many percent.
    pub shadow: Option<(String, u32)>,
}

/// A problem in the configuration: where, what, and what to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key's path, such as `listeners[0].to`.
    pub path: String,
    /// What is wrong.
    pub what: String,
    /// What to write.
    pub remedy: String,
}

impl Plan {
    /// Turns what was written into what it means.
    ///
    /// # Errors
    /// Every problem found, never only the first.
    pub fn new(config: &Config) -> Result<Self, Vec<Problem>> {
        super::check::plan(config)
    }
}
