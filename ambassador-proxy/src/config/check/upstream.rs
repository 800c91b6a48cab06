//! Upstreams: defaults filled in, strings parsed.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use podkit::units::{Dur, Size};

use super::{Known, Problems, off, target};
use crate::config::plan::{
    BreakerPlan, HashKey, HealthKind, HealthPlan, HostRule, LimitPlan, PoolPlan, RetryPlan, Rules, Source,
    TimeoutPlan, TlsPlan, UpstreamPlan,
};
use crate::config::{Balance, Config, HashOn, HeaderRules, Protocol, StartTls, Upstream};

pub(crate) const TIMEOUTS: TimeoutPlan = TimeoutPlan {
    connect: Duration::from_secs(1),
    first_byte: Some(Duration::from_secs(15)),
    idle: Some(Duration::from_secs(300)),
    total: None,
};

pub(crate) fn retries() -> RetryPlan {
    RetryPlan {
        attempts: 2,
        statuses: Vec::new(),
        grpc_codes: Vec::new(),
        on_reset: false,
        methods: None,
        per_try: None,
        backoff: Duration::from_millis(25),
        max_backoff: Duration::from_millis(250),
        budget_percent: 20,
        hedge_after: None,
    }
}

/// Every upstream of the file, by name.
pub(super) fn all(config: &Config, problems: &mut Problems) -> Known {
    let mut known = Known::new();
    for (name, written) in &config.upstreams {
        let path = format!("upstreams.{name}");
        if let Some(plan) = one(name, written, &path, false, problems) {
            known.insert(name.clone(), (Arc::new(plan), false));
        }
    }
    known
}

/// One upstream. `inline` means that it was written as a URL in `to`, at `path`.
pub(super) fn one(
    name: &str,
    written: &Upstream,
    path: &str,
    inline: bool,
    problems: &mut Problems,
) -> Option<UpstreamPlan> {
    let key = |key: &str| if inline { path.to_owned() } else { format!("{path}.{key}") };
    let first = written.endpoints.first().map(|first| first.split(' ').next().unwrap_or_default());
    let first = first.or(written.endpoints_file.as_ref().map(|_| "localhost"));
    let fallback = first.map(|first| format!("http://{first}"));
    let Some(url) = written.url.clone().or(fallback) else {
        problems.add(
            path,
            "it has neither `url` nor `endpoints` nor `endpoints_file`",
            "write `url: http://host:port`",
        );
        return None;
    };
    let target = match target::parse(&url) {
        Ok(target) => target,
        Err((what, remedy)) => {
            problems.add(key("url"), what, remedy);
            if inline {
                return None;
            }
            // The rest is looked at all the same, so that one run reports everything.
            target::parse("http://localhost").ok()?
        }
    };
    let source = source(written, &target, &key, problems)?;
    let tls = tls(written, &target, &key, problems);
    let timeouts = super::timeouts(written.timeouts.as_ref(), TIMEOUTS, &key("timeouts"), problems);
    let tcp_idle = match written.timeouts.as_ref().and_then(|timeouts| timeouts.idle) {
        Some(idle) => off(idle),
        None => Some(Duration::from_secs(3600)),
    };
    let host = match written.host.as_deref() {
        None | Some("upstream") => HostRule::Upstream,
        Some("keep") => HostRule::Keep,
        Some(other) => match HeaderValue::try_from(other) {
            Ok(value) if !other.is_empty() => HostRule::Literal(value),
            _ => {
                problems.add(key("host"), "it is no host", "write upstream, keep, or a host name");
                HostRule::Upstream
            }
        },
    };
    let request_headers = headers(written.request_headers.as_ref(), &key("request_headers"), problems);
    let response_headers = headers(written.response_headers.as_ref(), &key("response_headers"), problems);
    credentials(written, &key, problems);
    Some(UpstreamPlan {
        name: name.to_owned(),
        source,
        authority: target.authority,
        prefix: target.prefix,
        bytes: target.tcp,
        tls,
        protocol: written.protocol.unwrap_or(Protocol::Auto),
        host,
        balance: written.balance.unwrap_or(Balance::PeakEwma),
        hash_on: hash_on(written, &key, problems),
        timeouts,
        tcp_idle,
        retry: super::retry(written.retry.as_ref(), retries(), &key("retry"), problems),
        pool: pool(written),
        limits: limits(written, &key, problems),
        breaker: breaker(written),
        health: health(written, &key, problems),
        ttl: ttl(written, &key, problems),
        credentials: written.credentials.clone(),
        request_headers,
        response_headers,
        slow_start: written.slow_start.map_or(Duration::ZERO, Dur::get),
        proxy_protocol: written.proxy_protocol,
    })
}

fn source(
    written: &Upstream,
    target: &target::Target,
    key: &dyn Fn(&str) -> String,
    problems: &mut Problems,
) -> Option<Source> {
    if written.srv {
        if !written.endpoints.is_empty() || written.endpoints_file.is_some() {
            problems.add(key("srv"), "endpoints are given too", "keep one");
        }
        return match &target.source {
            Source::Hosts(hosts) => hosts.first().map(|host| Source::Srv(host.name.clone())),
            _ => {
                problems.add(key("srv"), "a unix socket has no SRV record", "remove it");
                None
            }
        };
    }
    if let Some(file) = &written.endpoints_file {
        if !written.endpoints.is_empty() {
            problems.add(key("endpoints_file"), "`endpoints` are given too", "keep one");
        }
        return Some(Source::File(file.into()));
    }
    if written.endpoints.is_empty() {
        return Some(target.source.clone());
    }
    let mut hosts = Vec::new();
    for (i, text) in written.endpoints.iter().enumerate() {
        match target::endpoint(text) {
            Some(host) => hosts.push(host),
            None => problems.add(
                key(&format!("endpoints[{i}]")),
                format!("{text:?} is no HOST:PORT"),
                "write HOST:PORT, and maybe weight=2 or priority=1 behind it",
            ),
        }
    }
    Some(Source::Hosts(hosts))
}

fn tls(
    written: &Upstream,
    target: &target::Target,
    key: &dyn Fn(&str) -> String,
    problems: &mut Problems,
) -> Option<TlsPlan> {
    let starttls = written.tls.as_ref().and_then(|tls| tls.starttls);
    if !target.tls && starttls.is_none() {
        if written.tls.is_some() {
            problems.add(key("tls"), "the URL does not speak TLS", "write https:// or tls:// in `url`");
        }
        return None;
    }
    if starttls.is_some() && !target.tcp {
        problems.add(key("tls.starttls"), "it belongs to a tcp upstream", "write `url: tls://host:port`");
    }
    let tls = written.tls.clone().unwrap_or_default();
    let identity = match (&tls.cert, &tls.key) {
        (Some(cert), Some(key)) => Some((cert.into(), key.into())),
        (None, None) => None,
        (Some(_), None) => {
            problems.add(key("tls"), "`cert` is given without `key`", "write both");
            None
        }
        (None, Some(_)) => {
            problems.add(key("tls"), "`key` is given without `cert`", "write both");
            None
        }
    };
    let server_name = tls.server_name.clone().unwrap_or_else(|| target.host.clone());
    if rustls::pki_types::ServerName::try_from(server_name.clone()).is_err() {
        problems.add(
            key("tls.server_name"),
            format!("{server_name:?} is no DNS name or IP address"),
            "write the server's name",
        );
    }
    if tls.insecure && !tls.san.is_empty() {
        problems.add(key("tls.san"), "`insecure` accepts any certificate", "keep one");
    }
    if starttls == Some(StartTls::Mysql) && written.proxy_protocol.is_some() {
        problems.add(key("proxy_protocol"), "it cannot be combined with `starttls: mysql`", "remove one");
    }
    let ca = tls.ca.map(Into::into);
    Some(TlsPlan { ca, identity, server_name, san: tls.san, insecure: tls.insecure, starttls })
}

fn headers(written: Option<&HeaderRules>, path: &str, problems: &mut Problems) -> Rules {
    let mut out = Rules::default();
    let Some(rules) = written else { return out };
    for (name, value) in &rules.set {
        match (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str())) {
            (Ok(name), Ok(value)) => out.set.push((name, value)),
            _ => problems.add(format!("{path}.set.{name}"), "it is no header", "write `name: value`"),
        }
    }
    for (i, name) in rules.remove.iter().enumerate() {
        match HeaderName::try_from(name.as_str()) {
            Ok(name) => out.remove.push(name),
            Err(_) => problems.add(
                format!("{path}.remove[{i}]"),
                format!("{name:?} is no header name"),
                "write a name",
            ),
        }
    }
    // These belong to a connection, or say where a body ends: a rule on them would break messages.
    const FRAMING: [&str; 4] = ["content-length", "transfer-encoding", "connection", "upgrade"];
    for name in out.set.iter().map(|(name, _)| name).chain(&out.remove) {
        if FRAMING.contains(&name.as_str()) {
            problems.add(path, format!("{name} is the proxy's own business"), "remove the rule");
        }
    }
    out
}

fn credentials(written: &Upstream, key: &dyn Fn(&str) -> String, problems: &mut Problems) {
    let Some(given) = &written.credentials else { return };
    let kinds = [
        given.bearer.is_some(),
        given.basic.is_some(),
        given.api_key.is_some(),
        given.oauth2.is_some(),
        given.aws.is_some(),
        given.hmac.is_some(),
    ];
    let count = kinds.iter().filter(|given| **given).count();
    if count != 1 {
        problems.add(
            key("credentials"),
            format!("{count} kinds are given"),
            "write one of bearer, basic, api_key, oauth2, aws, hmac",
        );
    }
    if let Some(api_key) = &given.api_key
        && HeaderName::try_from(api_key.header.as_str()).is_err()
    {
        problems.add(
            key("credentials.api_key.header"),
            "it is no header name",
            "write a name such as x-api-key",
        );
    }
    if let Some(oauth2) = &given.oauth2 {
        match target::parse(&oauth2.token_url) {
            Ok(target) if !target.tcp => {}
            Ok(_) => problems.add(
                key("credentials.oauth2.token_url"),
                "it is no https URL",
                "write https://host/path",
            ),
            Err((what, remedy)) => problems.add(key("credentials.oauth2.token_url"), what, remedy),
        }
    }
    let quoted = |text: &str| {
        text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
    };
    if given.hmac.as_ref().is_some_and(|hmac| quoted(&hmac.key_id)) {
        problems.add(
            key("credentials.hmac.key_id"),
            "it is no plain name",
            "write printable ASCII without quotes",
        );
    }
}

fn hash_on(written: &Upstream, key: &dyn Fn(&str) -> String, problems: &mut Problems) -> HashKey {
    let hashing = matches!(written.balance, Some(Balance::Hash | Balance::RingHash | Balance::Maglev));
    let found = match written.hash_on.as_ref() {
        Some(HashOn { header: Some(name), cookie: None, source: false }) => {
            HeaderName::try_from(name.as_str()).ok().map(HashKey::Header)
        }
        Some(HashOn { header: None, cookie: Some(name), source: false }) => {
            Some(HashKey::Cookie(name.clone()))
        }
        Some(HashOn { header: None, cookie: None, source: true }) => Some(HashKey::Source),
        Some(_) => None,
        None if hashing => None,
        None => Some(HashKey::Source),
    };
    if found.is_none() {
        problems.add(
            key("hash_on"),
            "it does not say what to hash",
            "write one of `header: NAME`, `cookie: NAME`, `source: true`",
        );
    } else if written.hash_on.is_some() && !hashing {
        problems.add(
            key("hash_on"),
            "nothing is hashed",
            "write `balance: hash`, `ring_hash` or `maglev` too",
        );
    }
    found.unwrap_or(HashKey::Source)
}

fn pool(written: &Upstream) -> PoolPlan {
    let pool = written.pool.clone().unwrap_or_default();
    PoolPlan {
        idle: pool.idle.map_or(Duration::from_secs(4), Dur::get),
        max_idle: pool.max_idle.unwrap_or(512),
        max_age: pool.max_age.map_or(Duration::from_secs(300), Dur::get),
        max_requests: pool.max_requests.unwrap_or(0),
    }
}

fn limits(written: &Upstream, key: &dyn Fn(&str) -> String, problems: &mut Problems) -> LimitPlan {
    let limits = written.limits.clone().unwrap_or_default();
    if limits.in_flight == Some(0) {
        problems.add(key("limits.in_flight"), "0 would let nothing through", "write 1 or more");
    }
    LimitPlan {
        in_flight: limits.in_flight.unwrap_or(1024).min(1 << 20),
        pending: limits.pending.unwrap_or(1024),
        pending_wait: limits.pending_wait.map_or(Duration::from_secs(1), Dur::get),
        body: limits.body.map(Size::bytes).filter(|most| *most > 0),
        adaptive: limits.adaptive,
    }
}

fn breaker(written: &Upstream) -> BreakerPlan {
    let breaker = written.breaker.clone().unwrap_or_default();
    BreakerPlan {
        failures: breaker.failures.unwrap_or(5),
        base: breaker.base.map_or(Duration::from_secs(1), Dur::get),
        max: breaker.max.map_or(Duration::from_secs(60), Dur::get),
    }
}

fn health(written: &Upstream, key: &dyn Fn(&str) -> String, problems: &mut Problems) -> Option<HealthPlan> {
    let health = written.health.clone()?;
    let path = health.path.as_deref().and_then(|path| match path.parse() {
        Ok(parsed) if path.starts_with('/') => Some(parsed),
        _ => {
            problems.add(key("health.path"), format!("{path:?} is no path"), "write one such as /healthz");
            None
        }
    });
    let kind = match (path, health.grpc) {
        (Some(_), Some(_)) => {
            problems.add(key("health"), "it has both `path` and `grpc`", "keep one");
            HealthKind::Connect
        }
        (Some(path), None) => HealthKind::Get(path),
        (None, Some(service)) => HealthKind::Grpc(service),
        (None, None) => HealthKind::Connect,
    };
    Some(HealthPlan {
        kind,
        interval: health.interval.map_or(Duration::from_secs(5), Dur::get).max(Duration::from_millis(10)),
        timeout: health.timeout.map_or(Duration::from_secs(1), Dur::get),
        fall: health.fall.unwrap_or(3).max(1),
        rise: health.rise.unwrap_or(2).max(1),
    })
}

fn ttl(written: &Upstream, key: &dyn Fn(&str) -> String, problems: &mut Problems) -> (Duration, Duration) {
    let dns = written.dns.clone().unwrap_or_default();
    let min = dns.min_ttl.map_or(Duration::from_secs(5), Dur::get).max(Duration::from_millis(50));
    let max = dns.max_ttl.map_or(Duration::from_secs(60).max(min), Dur::get);
    if max < min {
        problems.add(key("dns"), "`max_ttl` is shorter than `min_ttl`", "write a longer `max_ttl`");
    }
    (min, max)
}
