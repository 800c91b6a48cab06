//! `explain`: what a request would meet, from the configuration alone.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use podkit::{Exit, units::Dur};

use crate::config::Config;
use crate::config::plan::{Bind, HostRule, ListenerKind, ListenerPlan, Plan, Policy, Source, UpstreamPlan};
use crate::fields::Ask;
use crate::policy::retry;
use crate::route;

/// Prints the explanation.
///
/// # Errors
/// Code 2 for a request that makes no sense, 1 when nothing listens there or no route takes it.
pub fn run(config: &Config, method: &str, url: &str, headers: &[String]) -> Result<(), Exit> {
    let plan = crate::config::plan::Plan::new(config).map_err(|problems| {
        Exit::config(problems.iter().map(|p| format!("{}: {}", p.path, p.what)).collect::<String>())
    })?;
    let text = explain(&plan, method, url, headers)?;
    podkit::cli::print(&text)
}

fn explain(plan: &Plan, method: &str, url: &str, headers: &[String]) -> Result<String, Exit> {
    let method: Method =
        method.parse().map_err(|_| Exit::usage(format!("{method:?} is no method; write GET")))?;
    let uri: Uri = url.parse().map_err(|error| Exit::usage(format!("{url:?} is no URL: {error}")))?;
    let Some(authority) = uri.authority() else {
        return Err(Exit::usage(format!("{url:?} has no host; write http://127.0.0.1:8080/path")));
    };
    let mut map = HeaderMap::new();
    for header in headers {
        let parsed = header.split_once(':').and_then(|(name, value)| {
            Some((name.trim().parse::<HeaderName>().ok()?, HeaderValue::try_from(value.trim()).ok()?))
        });
        let (name, value) =
            parsed.ok_or_else(|| Exit::usage(format!("{header:?} is no header; write 'Name: value'")))?;
        map.append(name, value);
    }
    let port = authority.port_u16().unwrap_or(80);
    let found = plan.listeners.iter().find(|listener| listens(listener, authority.host(), port));
    let listener = found.ok_or_else(|| {
        let all: Vec<_> = plan.listeners.iter().map(|listener| listener.name.as_str()).collect();
        Exit::failed(format!("nothing listens at {authority}; the listeners are: {}", all.join(", ")))
    })?;
    let mut out = String::new();
    let mut row = |key: &str, value: String| out.push_str(&format!("{key:<12} {value}\n"));
    row("listener", listener.name.clone());
    let ListenerKind::Http(routes) = &listener.kind else {
        let ListenerKind::Tcp(name) = &listener.kind else { return Ok(out) };
        row("protocol", "tcp: bytes, no routes".to_owned());
        if let Some(upstream) = plan.upstreams.get(name) {
            upstream_rows(upstream, &mut row);
            row(
                "timeouts",
                format!("connect {}, idle {}", dur(upstream.timeouts.connect), limit(upstream.tcp_idle)),
            );
        }
        return Ok(out);
    };
    if let Ok(host) = HeaderValue::try_from(authority.as_str()) {
        map.entry(http::header::HOST).or_insert(host);
    }
    // As an app writes it that knows of no proxy.
    let target = uri.path_and_query().and_then(|target| target.as_str().parse().ok()).unwrap_or_default();
    let ask = Ask { method, uri: target, version: Version::HTTP_11, headers: map.into() };
    let method = &ask.method;
    let Some((policy, number)) = routes.find(&ask) else {
        return Err(Exit::failed(format!("no route takes {method} {}: the answer would be 404", uri.path())));
    };
    row(
        "route",
        number.map_or_else(|| "to (no route matched before)".to_owned(), |n| format!("routes[{n}]")),
    );
    if let Some(upstream) = plan.upstreams.get(&policy.upstream) {
        upstream_rows(upstream, &mut row);
        http_rows(method, &uri, policy, upstream, &mut row);
    }
    Ok(out)
}

fn listens(listener: &ListenerPlan, host: &str, port: u16) -> bool {
    let Bind::Tcp(text) = &listener.bind else { return false };
    let Some((bound, bound_port)) = text.rsplit_once(':') else { return false };
    let local = |host: &str| matches!(host, "localhost" | "127.0.0.1" | "[::1]" | "0.0.0.0" | "[::]");
    bound_port.parse() == Ok(port) && (bound == host || (local(bound) && local(host)))
}

fn upstream_rows(upstream: &UpstreamPlan, row: &mut impl FnMut(&str, String)) {
    row("upstream", upstream.name.clone());
    row(
        "endpoints",
        match &upstream.source {
            Source::Hosts(hosts) => {
                let list: Vec<_> = hosts.iter().map(|host| format!("{}:{}", host.name, host.port)).collect();
                format!(
                    "{} (A and AAAA, again every {} to {})",
                    list.join(", "),
                    dur(upstream.ttl.0),
                    dur(upstream.ttl.1)
                )
            }
            Source::Srv(name) => {
                format!("SRV {name} (again every {} to {})", dur(upstream.ttl.0), dur(upstream.ttl.1))
            }
            Source::File(path) => format!("those in {} (looked at every 2s)", path.display()),
            Source::Unix(path) => format!("unix://{}", path.display()),
        },
    );
    row("balance", format!("{:?}", upstream.balance));
    row(
        "tls",
        match &upstream.tls {
            None => "no".to_owned(),
            Some(tls) => {
                let own = if tls.identity.is_some() { ", with a client certificate" } else { "" };
                let any = if tls.insecure { ", ANY certificate is accepted" } else { "" };
                format!("as {}{own}{any}", tls.server_name)
            }
        },
    );
}

fn http_rows(
    method: &Method,
    uri: &Uri,
    policy: &Policy,
    upstream: &UpstreamPlan,
    row: &mut impl FnMut(&str, String),
) {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let sent = route::rewrite(path, &upstream.prefix, policy.replace_prefix.as_ref());
    row("sends", format!("{method} {}", sent.as_deref().unwrap_or(path)));
    row(
        "host",
        match &upstream.host {
            HostRule::Upstream => upstream.authority.clone(),
            HostRule::Keep => "as the app wrote it".to_owned(),
            HostRule::Literal(value) => value.to_str().unwrap_or_default().to_owned(),
        },
    );
    let t = &policy.timeouts;
    row(
        "timeouts",
        format!(
            "connect {}, first byte {}, idle {}, total {}",
            dur(t.connect),
            limit(t.first_byte),
            limit(t.idle),
            limit(t.total)
        ),
    );
    let r = &policy.retry;
    let mut causes = vec!["failed connects".to_owned()];
    if retry::repeatable(r, method) {
        causes.push("a kept connection that died unanswered (once, not counted)".to_owned());
        if r.on_reset {
            causes.push("broken connections".to_owned());
        }
        causes.extend((!r.statuses.is_empty()).then(|| format!("statuses {:?}", r.statuses)));
        causes.extend((!r.grpc_codes.is_empty()).then(|| format!("gRPC codes {:?}", r.grpc_codes)));
    }
    row("retries", format!("{} tries in all on {}", r.attempts, causes.join(", ")));
    row(
        "limits",
        format!(
            "{} in flight, {} waiting for {}",
            upstream.limits.in_flight,
            upstream.limits.pending,
            dur(upstream.limits.pending_wait)
        ),
    );
}

fn dur(dur: Duration) -> String {
    Dur(dur).to_string()
}

fn limit(dur: Option<Duration>) -> String {
    dur.map_or_else(|| "none".to_owned(), self::dur)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Listener, Route};

    fn plan() -> Plan {
        let route =
            Route { path: Some("/orders".into()), to: "http://orders:80/v1".into(), ..Route::default() };
        let listener = Listener {
            http: Some("127.0.0.1:8080".into()),
            to: Some("https://api.example.com".into()),
            routes: vec![route],
            ..Listener::default()
        };
        Plan::new(&Config { listeners: vec![listener], ..Config::default() }).unwrap()
    }

    #[test]
    fn a_route_is_explained() {
        let text = explain(&plan(), "GET", "http://localhost:8080/orders/7?x", &[]).unwrap();
        for part in ["routes[0]", "orders:80", "GET /v1/orders/7?x", "first byte 15s", "died unanswered"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let text = explain(&plan(), "POST", "http://127.0.0.1:8080/x", &[]).unwrap();
        assert!(text.contains("as api.example.com") && !text.contains("died unanswered"), "{text}");
    }

    #[test]
    fn what_leads_nowhere_says_so() {
        assert_eq!(explain(&plan(), "GET", "http://127.0.0.1:1/", &[]).unwrap_err().code, 1);
        assert_eq!(explain(&plan(), "GET", "/x", &[]).unwrap_err().code, 2);
    }
}
