//! Config → plan: parses every string, fills in every default, reports every problem.

mod target;
mod traces;
mod upstream;

pub use target::endpoints;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderName, Method};
use podkit::units::Dur;

use super::plan::{
    Bind, FaultPlan, ListenerKind, ListenerPlan, Plan, Policy, Problem, RetryPlan, TimeoutPlan, UpstreamPlan,
};
use super::{AccessLog, Config, Listener, Retry, Route, Timeouts};
use crate::policy::limit::Bucket;
use crate::route::{HostRule, PathRule, Routes, Rule};

/// Collects problems.
#[derive(Default)]
pub(crate) struct Problems(Vec<Problem>);

impl Problems {
    pub(crate) fn add(
        &mut self,
        path: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.0.push(Problem { path: path.into(), what: what.into(), remedy: remedy.into() });
    }

    /// How many so far.
    fn count(&self) -> usize {
        self.0.len()
    }
}

pub(super) fn plan(config: &Config) -> Result<Plan, Vec<Problem>> {
    let mut problems = Problems::default();
    let mut known = upstream::all(config, &mut problems);
    if config.listeners.is_empty() {
        problems.add(
            "listeners",
            "there is nothing to listen on",
            "write one entry, or give --http LISTEN=URL or --tcp LISTEN=HOST:PORT",
        );
    }
    let mut listeners: Vec<Arc<ListenerPlan>> = Vec::new();
    for (i, listener) in config.listeners.iter().enumerate() {
        let path = format!("listeners[{i}]");
        if let Some(mut plan) = listener_plan(listener, &path, config, &mut known, &mut problems) {
            let same = listeners.iter().filter(|other| other.name == plan.name).count();
            plan.key = format!("{}#{same}", plan.name);
            if listeners.iter().any(|other| other.bind == plan.bind && !is_port_zero(&plan.bind)) {
                problems.add(path, format!("{} is listened on twice", plan.name), "write each address once");
            }
            listeners.push(Arc::new(plan));
        }
    }
    if let Some(workers) = config.workers.filter(|workers| !(1..=16).contains(workers)) {
        problems.add("workers", format!("{workers} is not between 1 and 16"), "write a number from 1 to 16");
    }
    let traces = config.traces.as_ref().and_then(|written| traces::plan(written, &mut problems));
    for name in config.upstreams.keys() {
        let used = known.get(name).is_none_or(|(_, used)| *used);
        if !used {
            tracing::debug!(upstream = %name, "no listener or route refers to this upstream");
        }
    }
    if problems.0.is_empty() {
        let upstreams = known.into_iter().map(|(name, (plan, _))| (name, plan)).collect();
        let access_log = config.access_log.clone().unwrap_or(AccessLog::Json);
        let (trace, workers) = (config.trace, config.workers);
        Ok(Plan { listeners, upstreams, access_log, trace, traces, workers })
    } else {
        Err(problems.0)
    }
}

/// Upstreams by name, and whether something refers to them.
pub(crate) type Known = BTreeMap<String, (Arc<UpstreamPlan>, bool)>;

fn is_port_zero(bind: &Bind) -> bool {
    matches!(bind, Bind::Tcp(text) if text.ends_with(":0"))
}

fn listener_plan(
    listener: &Listener,
    path: &str,
    config: &Config,
    known: &mut Known,
    problems: &mut Problems,
) -> Option<ListenerPlan> {
    let (key, written) = match (&listener.http, &listener.tcp) {
        (Some(written), None) => ("http", written),
        (None, Some(written)) => ("tcp", written),
        (Some(_), Some(_)) => {
            problems.add(
                path,
                "it has both `http` and `tcp`",
                "keep one; write two listeners for two protocols",
            );
            return None;
        }
        (None, None) => {
            problems.add(
                path,
                "it says neither `http` nor `tcp`",
                "write `http: 127.0.0.1:8080` or `tcp: 127.0.0.1:5432`",
            );
            return None;
        }
    };
    let bind = bind(written, listener.expose, &format!("{path}.{key}"), problems);
    let kind = if key == "http" {
        ListenerKind::Http(routes(listener, path, config, known, problems))
    } else {
        if !listener.routes.is_empty() {
            problems.add(
                format!("{path}.routes"),
                "a tcp listener has no routes",
                "remove it and write `to`",
            );
        }
        let Some(to) = &listener.to else {
            problems.add(
                path,
                "it does not say where to",
                "write `to: HOST:PORT` or the name of an upstream",
            );
            return None;
        };
        ListenerKind::Tcp(target::resolve(to, true, &format!("{path}.to"), config, known, problems)?)
    };
    let connect = connect(listener, key, path, config, known, problems);
    Some(ListenerPlan {
        half_close: listener.half_close,
        connect,
        name: written.clone(),
        key: String::new(),
        bind: bind?,
        proxy_protocol: listener.proxy_protocol,
        kind,
    })
}

/// What CONNECT may reach: each becomes an upstream for bytes, with everything that belongs to one.
fn connect(
    listener: &Listener,
    key: &str,
    path: &str,
    config: &Config,
    known: &mut Known,
    problems: &mut Problems,
) -> BTreeMap<String, String> {
    if key == "tcp" && !listener.connect.is_empty() {
        problems.add(
            format!("{path}.connect"),
            "a tcp listener knows no CONNECT",
            "remove it, or listen with `http`",
        );
        return BTreeMap::new();
    }
    let mut out = BTreeMap::new();
    for (i, target) in listener.connect.iter().enumerate() {
        let path = format!("{path}.connect[{i}]");
        if target::endpoint(target).is_none() {
            problems.add(
                path,
                format!("{target:?} is no HOST:PORT"),
                "write HOST:PORT, such as api.example.com:443",
            );
        } else if let Some(name) = target::resolve(target, true, &path, config, known, problems) {
            out.insert(target.to_ascii_lowercase(), name);
        }
    }
    out
}

fn bind(written: &str, expose: bool, path: &str, problems: &mut Problems) -> Option<Bind> {
    if let Some(file) = written.strip_prefix("unix://") {
        if !file.starts_with('/') || file.len() > 100 {
            problems.add(
                path,
                format!("{written} is no socket path"),
                "write unix:///absolute/path of at most 100 bytes",
            );
            return None;
        }
        return Some(Bind::Unix(file.into()));
    }
    let split =
        written.rsplit_once(':').filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    let Some((host, _)) = split else {
        problems.add(
            path,
            format!("{written:?} is no address to listen on"),
            "write IP:PORT, such as 127.0.0.1:8080",
        );
        return None;
    };
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    let parses = written.parse::<SocketAddr>().is_ok() || host.eq_ignore_ascii_case("localhost");
    if !parses {
        problems.add(
            path,
            format!("{host:?} is neither an IP address nor localhost"),
            "write IP:PORT, such as 127.0.0.1:8080",
        );
        return None;
    }
    if ip.is_some_and(|ip| !ip.is_loopback()) && !expose {
        problems.add(
            path,
            format!("{written} is reachable from outside the pod"),
            "write 127.0.0.1, or `expose: true` (--expose) when that is meant",
        );
        return None;
    }
    Some(Bind::Tcp(written.to_owned()))
}

fn routes(
    listener: &Listener,
    path: &str,
    config: &Config,
    known: &mut Known,
    problems: &mut Problems,
) -> Routes {
    let mut out = Routes::default();
    if listener.to.is_none() && listener.routes.is_empty() && listener.connect.is_empty() {
        problems.add(path, "it does not say where to", "write `to: URL`, or routes");
    }
    for (i, route) in listener.routes.iter().enumerate() {
        let path = format!("{path}.routes[{i}]");
        let name = target::resolve(&route.to, false, &format!("{path}.to"), config, known, problems);
        let shadow = route.shadow.as_ref().and_then(|shadow| {
            let name =
                target::resolve(&shadow.to, false, &format!("{path}.shadow.to"), config, known, problems)?;
            Some((name, percent(shadow.percent, &format!("{path}.shadow.percent"), problems)))
        });
        if let Some(rule) = name.and_then(|name| rule(route, name, shadow, &path, known, problems)) {
            out.rules.push(rule);
        }
    }
    if let Some(to) = &listener.to {
        let name = target::resolve(to, false, &format!("{path}.to"), config, known, problems);
        out.fallback = name.and_then(|name| {
            let upstream = &known.get(&name)?.0;
            Some(Arc::new(Policy {
                upstream: name.clone(),
                timeouts: upstream.timeouts,
                retry: upstream.retry.clone(),
                replace_prefix: None,
                rate_limit: None,
                fault: None,
                shadow: None,
            }))
        });
    }
    out
}

fn percent(written: Option<u32>, path: &str, problems: &mut Problems) -> u32 {
    let percent = written.unwrap_or(100);
    if percent > 100 {
        problems.add(path, format!("{percent} is more than all"), "write 0 to 100");
    }
    percent
}

fn fault(route: &Route, path: &str, problems: &mut Problems) -> Option<FaultPlan> {
    let written = route.fault.as_ref()?;
    let status = written.status.and_then(|status| match http::StatusCode::from_u16(status) {
        Ok(parsed) if (200..600).contains(&status) => Some(parsed),
        _ => {
            problems.add(
                format!("{path}.fault.status"),
                format!("{status} is no status"),
                "write 200 to 599",
            );
            None
        }
    });
    if written.delay.is_none() && written.status.is_none() {
        problems.add(format!("{path}.fault"), "it does nothing", "write `delay` or `status`");
    }
    let percent = percent(written.percent, &format!("{path}.fault.percent"), problems);
    Some(FaultPlan { delay: written.delay.and_then(off), status, percent })
}

fn rule(
    route: &Route,
    upstream: String,
    shadow: Option<(String, u32)>,
    path: &str,
    known: &Known,
    problems: &mut Problems,
) -> Option<Rule> {
    let condition = match (&route.path, &route.exact_path) {
        (Some(_), Some(_)) => {
            problems.add(path, "it has both `path` and `exact_path`", "keep one");
            PathRule::Any
        }
        (Some(prefix), None) => PathRule::Prefix(prefix.clone()),
        (None, Some(exact)) => PathRule::Exact(exact.clone()),
        (None, None) => PathRule::Any,
    };
    for (key, value) in
        [("path", &route.path), ("exact_path", &route.exact_path), ("replace_prefix", &route.replace_prefix)]
    {
        if let Some(value) = value.as_ref().filter(|value| !value.starts_with('/')) {
            problems.add(
                format!("{path}.{key}"),
                format!("{value:?} does not begin with a slash"),
                format!("write /{value}"),
            );
        }
    }
    let replace_prefix = match (&route.path, &route.replace_prefix) {
        (Some(from), Some(to)) => Some((from.clone(), to.clone())),
        (None, Some(_)) => {
            problems.add(
                format!("{path}.replace_prefix"),
                "there is no `path` whose prefix it replaces",
                "write `path` too",
            );
            None
        }
        _ => None,
    };
    let mut headers = Vec::new();
    for (name, value) in &route.headers {
        match HeaderName::try_from(name.as_str()) {
            Ok(name) => headers.push((name, (value != "*").then(|| value.clone()))),
            Err(_) => problems.add(
                format!("{path}.headers.{name}"),
                "it is no header name",
                "write a name such as x-tenant",
            ),
        }
    }
    let base = &known.get(&upstream)?.0;
    let timeouts = timeouts(route.timeouts.as_ref(), base.timeouts, &format!("{path}.timeouts"), problems);
    let retry = retry(route.retry.as_ref(), base.retry.clone(), &format!("{path}.retry"), problems);
    if route.rate_limit.is_some_and(|limit| limit.per_second == 0) {
        problems.add(
            format!("{path}.rate_limit.per_second"),
            "0 would let nothing through",
            "write 1 or more",
        );
    }
    let rate_limit = route.rate_limit.map(|limit| Bucket::new(limit, Instant::now()));
    let fault = fault(route, path, problems);
    let policy = Policy { upstream, timeouts, retry, replace_prefix, rate_limit, fault, shadow };
    Some(Rule {
        path: condition,
        host: route.host.as_deref().map(HostRule::parse),
        methods: methods(&route.methods, &format!("{path}.methods"), problems),
        headers,
        policy: Arc::new(policy),
    })
}

fn methods(written: &[String], path: &str, problems: &mut Problems) -> Vec<Method> {
    let mut out = Vec::new();
    for (i, name) in written.iter().enumerate() {
        match name.parse::<Method>() {
            Ok(method) if name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-') => {
                out.push(method)
            }
            _ => problems.add(
                format!("{path}[{i}]"),
                format!("{name:?} is no method"),
                "write it in capitals, such as GET",
            ),
        }
    }
    out
}

/// 0 means never.
pub(crate) fn off(dur: Dur) -> Option<Duration> {
    Some(dur.get()).filter(|dur| !dur.is_zero())
}

pub(crate) fn timeouts(
    written: Option<&Timeouts>,
    base: TimeoutPlan,
    path: &str,
    problems: &mut Problems,
) -> TimeoutPlan {
    let Some(written) = written else { return base };
    if written.connect.is_some_and(|connect| connect.get().is_zero()) {
        problems.add(format!("{path}.connect"), "0 leaves no time to connect", "write a duration such as 1s");
    }
    TimeoutPlan {
        connect: written.connect.map_or(base.connect, Dur::get),
        first_byte: written.first_byte.map_or(base.first_byte, off),
        idle: written.idle.map_or(base.idle, off),
        total: written.total.map_or(base.total, off),
    }
}

pub(crate) fn retry(
    written: Option<&Retry>,
    base: RetryPlan,
    path: &str,
    problems: &mut Problems,
) -> RetryPlan {
    let Some(written) = written else { return base };
    if let Some(attempts) = written.attempts.filter(|attempts| !(1..=10).contains(attempts)) {
        problems.add(
            format!("{path}.attempts"),
            format!("{attempts} is not between 1 and 10"),
            "write 1 for no retry at all",
        );
    }
    for (i, status) in written.statuses.iter().enumerate() {
        if !(400..=599).contains(status) {
            problems.add(
                format!("{path}.statuses[{i}]"),
                format!("{status} is no error status"),
                "write one from 400 to 599",
            );
        }
    }
    let mut grpc_codes = Vec::new();
    for (i, name) in written.grpc_codes.iter().enumerate() {
        match crate::forward::grpc::code(name) {
            Some(code) => grpc_codes.push(code),
            None => problems.add(
                format!("{path}.grpc_codes[{i}]"),
                format!("{name:?} is no gRPC code"),
                "write a name such as UNAVAILABLE",
            ),
        }
    }
    RetryPlan {
        attempts: written.attempts.unwrap_or(base.attempts),
        statuses: if written.statuses.is_empty() { base.statuses } else { written.statuses.clone() },
        grpc_codes: if grpc_codes.is_empty() { base.grpc_codes } else { grpc_codes },
        on_reset: written.on_reset.unwrap_or(base.on_reset),
        methods: match &written.methods {
            Some(names) => Some(methods(names, &format!("{path}.methods"), problems)),
            None => base.methods,
        },
        per_try: written.per_try.map_or(base.per_try, off),
        backoff: written.backoff.map_or(base.backoff, Dur::get),
        max_backoff: written.max_backoff.map_or(base.max_backoff, Dur::get),
        budget_percent: written.budget_percent.unwrap_or(base.budget_percent),
        hedge_after: written.hedge_after.map_or(base.hedge_after, off),
    }
}
