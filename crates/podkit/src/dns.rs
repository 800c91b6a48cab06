//! `hosts file → candidate names → every server, A and AAAA → first hit in search order`
//!
//! Names as glibc resolves them, without the libc: a static binary must not load NSS modules, musl's resolver ends the
//! search list at the first SERVFAIL, and neither tells NXDOMAIN from a silent server. Nothing is cached:
//! `/etc/resolv.conf` and `/etc/hosts` are read at every lookup, so a changed network shows at once.
//!
//! `PODKIT_RESOLV_CONF` and `PODKIT_HOSTS` name other files than those in `/etc`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

pub mod conf;
mod error;
mod message;
mod order;
mod trace;
mod transport;
mod walk;

pub use conf::ResolvConf;
pub use error::{DnsError, Failure};
pub use message::{Kind, Value};
pub use trace::{Explanation, Step};

use trace::Trace;
use walk::Hit;

/// How long the answer of a hosts file may be kept by a caller that keeps answers.
const HOSTS_TTL: Duration = Duration::from_secs(10);
/// An address is its own answer; callers may look again after this time if they like.
const LITERAL_TTL: Duration = Duration::from_secs(3600);

/// Where to look and for how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// Missing: one server on 127.0.0.1, as glibc does.
    pub resolv_conf: PathBuf,
    /// `None`: the DNS alone.
    pub hosts: Option<PathBuf>,
    /// Not empty: these servers instead of those in resolv.conf.
    pub servers: Vec<SocketAddr>,
    /// For the whole lookup, with all its candidates, servers and repetitions.
    pub budget: Duration,
}

impl Default for Options {
    fn default() -> Self {
        let path = |variable: &str, default: &str| {
            std::env::var_os(variable).map_or_else(|| PathBuf::from(default), PathBuf::from)
        };
        Options {
            resolv_conf: path("PODKIT_RESOLV_CONF", "/etc/resolv.conf"),
            hosts: Some(path("PODKIT_HOSTS", "/etc/hosts")),
            servers: Vec::new(),
            budget: Duration::from_secs(10),
        }
    }
}

/// Resolves names. Cheap to clone; holds no sockets, no cache, no memory worth mentioning.
#[derive(Clone, Debug, Default)]
pub struct Resolver {
    options: Options,
}

/// The addresses of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Never empty. In the order in which they should be tried: those with a route first, then IPv6 before IPv4.
    pub addrs: Vec<IpAddr>,
    /// The smallest time to live of all records that led here.
    pub ttl: Duration,
    /// The candidate name that had the addresses, without the root dot.
    pub name: String,
}

/// The records of one type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Records {
    /// Never empty.
    pub values: Vec<Value>,
    /// The smallest time to live of all records that led here.
    pub ttl: Duration,
    /// The candidate name that had the records, without the root dot.
    pub name: String,
    /// The name after aliases.
    pub canonical: String,
}

impl Resolver {
    /// The pod's own resolver configuration.
    pub fn system() -> Self {
        Resolver::default()
    }

    pub fn new(options: Options) -> Self {
        Resolver { options }
    }

    /// The same resolver with another time limit for a whole lookup.
    #[must_use]
    pub fn within(&self, budget: Duration) -> Self {
        Resolver { options: Options { budget, ..self.options.clone() } }
    }

    /// The same resolver asking these servers, and no hosts file.
    #[must_use]
    pub fn asking(&self, servers: Vec<SocketAddr>) -> Self {
        Resolver { options: Options { servers, hosts: None, ..self.options.clone() } }
    }

    /// Every address of a host: a literal, a name in the hosts file, `localhost`, or a name in the DNS (A and AAAA at the
    /// same time).
    ///
    /// # Errors
    /// What each candidate name came to; `is_definite()` says whether the DNS has answered at all.
    pub async fn ips(&self, host: &str) -> Result<Answer, DnsError> {
        if let Some(answer) = self.without_dns(host) {
            return Ok(answer);
        }
        let conf = self.conf();
        let kinds: &[Kind] = if conf.no_aaaa { &[Kind::A] } else { &[Kind::Aaaa, Kind::A] };
        let hit = self.walk(&conf, host, kinds, &Trace::off()).await?;
        let addrs = hit
            .values()
            .filter_map(|value| match value {
                Value::Ip(ip) => Some(*ip),
                _ => None,
            })
            .collect();
        Ok(Answer { addrs: order::sorted(addrs), ttl: hit.ttl(), name: hit.name })
    }

    /// The records of one type.
    ///
    /// # Errors
    /// What each candidate name came to.
    pub async fn lookup(&self, name: &str, kind: Kind) -> Result<Records, DnsError> {
        let conf = self.conf();
        let hit = self.walk(&conf, name, &[kind], &Trace::off()).await?;
        let canonical = hit.canonical().to_owned();
        Ok(Records { values: hit.values().cloned().collect(), ttl: hit.ttl(), name: hit.name, canonical })
    }

    /// Asks for every candidate name, also after a hit, and keeps every exchange. `None` asks for addresses.
    pub async fn explain(&self, name: &str, kind: Option<Kind>) -> Explanation {
        let conf = self.conf();
        let kinds: &[Kind] = match &kind {
            Some(kind) => std::slice::from_ref(kind),
            None if conf.no_aaaa => &[Kind::A],
            None => &[Kind::A, Kind::Aaaa],
        };
        let local = if kind.is_none() { self.without_dns(name) } else { None };
        let trace = Trace::on();
        let candidates = conf::candidates(name, &conf);
        let until = Instant::now() + self.options.budget;
        let results = join_all(candidates.iter().map(|candidate| {
            let (conf, trace) = (&conf, &trace);
            async move {
                let until = until.max(Instant::now());
                let step = walk::budget_per_try(conf, self.options.budget);
                (candidate.clone(), walk::candidate(conf, candidate, kinds, step, until, trace).await)
            }
        }))
        .await;
        trace.finish(name, kinds, conf, local, results)
    }

    /// What resolv.conf says now, with our own servers in place of its servers.
    pub fn conf(&self) -> ResolvConf {
        let text = std::fs::read(&self.options.resolv_conf).unwrap_or_default();
        let mut conf = ResolvConf::parse(&String::from_utf8_lossy(&text));
        if !self.options.servers.is_empty() {
            conf.servers.clone_from(&self.options.servers);
        } else if conf.rotate {
            let by = fastrand::usize(..conf.servers.len());
            conf.servers.rotate_left(by);
        }
        conf
    }

    /// Literals, the hosts file, `localhost` (RFC 6761: never asked for).
    fn without_dns(&self, host: &str) -> Option<Answer> {
        let literal = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        if let Ok(ip) = literal.parse::<IpAddr>() {
            return Some(Answer { addrs: vec![ip], ttl: LITERAL_TTL, name: host.to_owned() });
        }
        let name = host.strip_suffix('.').unwrap_or(host);
        if let Some(path) = &self.options.hosts {
            let text = std::fs::read(path).unwrap_or_default();
            let addrs = conf::hosts(&String::from_utf8_lossy(&text), name);
            if !addrs.is_empty() {
                return Some(Answer { addrs: order::sorted(addrs), ttl: HOSTS_TTL, name: name.to_owned() });
            }
        }
        let lower = name.to_ascii_lowercase();
        (lower == "localhost" || lower.ends_with(".localhost")).then(|| Answer {
            addrs: order::sorted(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]),
            ttl: HOSTS_TTL,
            name: name.to_owned(),
        })
    }

    async fn walk(
        &self,
        conf: &ResolvConf,
        name: &str,
        kinds: &[Kind],
        trace: &Trace,
    ) -> Result<Hit, DnsError> {
        walk::walk(conf, name, kinds, self.options.budget, trace).await
    }
}

impl reqwest::dns::Resolve for Resolver {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let answer = resolver.ips(name.as_str()).await?;
            // Port 0 is replaced by the URL's port.
            let addrs: reqwest::dns::Addrs =
                Box::new(answer.addrs.into_iter().map(|ip| SocketAddr::new(ip, 0)));
            Ok(addrs)
        })
    }
}
