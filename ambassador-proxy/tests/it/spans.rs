//! Spans over OTLP, as a collector sees them.

use std::collections::BTreeMap;

use crate::common::{self, nowhere, start_config};
use podkit::otlp::{field, next_field, read_varint};
use testkit::fake::{Answer, FakeHttp, Received};
use testkit::http::{self, Request};
use testkit::{PodDir, eventually};

/// A span, as far as the tests look.
#[derive(Debug, Default)]
struct Span {
    trace: String,
    span: String,
    parent: String,
    name: String,
    kind: u64,
    times: [u64; 2],
    error: bool,
    attributes: BTreeMap<String, String>,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// All occurrences of a field.
fn all(mut message: &[u8], wanted: u64) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let Some((number, _, value, rest)) = next_field(message) {
        if number == wanted {
            found.push(value);
        }
        message = rest;
    }
    assert!(message.is_empty(), "the message is whole");
    found
}

fn attributes(message: &[u8], number: u64) -> BTreeMap<String, String> {
    let pairs = all(message, number).into_iter().map(|pair| {
        let (kind, _, value, _) = next_field(field(pair, 2).unwrap()).unwrap();
        let value = if kind == 1 { text(value) } else { read_varint(value).unwrap().0.to_string() };
        (text(field(pair, 1).unwrap()), value)
    });
    pairs.collect()
}

fn span(message: &[u8]) -> Span {
    let time = |number| u64::from_le_bytes(all(message, number)[0].try_into().unwrap());
    let id = |number| all(message, number).first().map(|id| hex(id)).unwrap_or_default();
    Span {
        trace: id(1),
        span: id(2),
        parent: id(4),
        name: text(field(message, 5).unwrap()),
        kind: read_varint(all(message, 6)[0]).unwrap().0,
        times: [time(7), time(8)],
        error: field(message, 15).is_some_and(|status| all(status, 3) == [[2]]),
        attributes: attributes(message, 9),
    }
}

/// What a collector has been told, and about whom.
fn spans(requests: &[Received]) -> (Vec<Span>, BTreeMap<String, String>) {
    let (mut found, mut resource) = (Vec::new(), BTreeMap::new());
    for request in requests {
        assert_eq!((request.method.as_str(), request.path()), ("POST", "/v1/traces"));
        assert_eq!(request.header("content-type"), Some("application/x-protobuf"));
        let resource_spans = field(&request.body, 1).unwrap();
        resource = attributes(field(resource_spans, 1).unwrap(), 1);
        let scope_spans = field(resource_spans, 2).unwrap();
        assert_eq!(field(field(scope_spans, 1).unwrap(), 1), Some(&b"ambassador-proxy"[..]));
        found.extend(all(scope_spans, 2).into_iter().map(span));
    }
    (found, resource)
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn traced(flags: &str) -> Request {
    Request::new("GET", "/orders/7?secret=1")
        .header("traceparent", &format!("00-{TRACE}-b7ad6b7169203331-{flags}"))
        .header("tracestate", "vendor=1")
}

#[test]
fn a_request_is_a_span_and_each_try_one_below_it() {
    let (collector, upstream, pod) = (FakeHttp::start(), FakeHttp::start(), PodDir::new());
    upstream.next([Answer::Status(503)]);
    let config = format!(
        "listeners: [{{http: '127.0.0.1:0', to: orders}}]\naccess_log: off\ntraces: {{to: 'http://{}', service: shop, headers: {{x-key: {{env: COLLECTOR_KEY}}}}}}\nupstreams:\n  orders: {{url: 'http://{}', retry: {{statuses: [503]}}}}\n",
        collector.addr(),
        upstream.addr()
    );
    let config = pod.write("proxy.yaml", config);
    let proxy = common::start_with(&["--config", config.to_str().unwrap()], |proc| {
        proc.env("POD_NAME", "shop-1").env("POD_NAMESPACE", "prod").env("COLLECTOR_KEY", "k-1")
    });
    assert_eq!(http::send(proxy.http(), &traced("01")).status, 200);
    // At once: what is queued is sent at the drain.
    proxy.end();
    let (mut found, resource) = spans(&collector.requests());
    assert_eq!(collector.requests()[0].header("x-key"), Some("k-1"));
    for (name, value) in
        [("service.name", "shop"), ("k8s.pod.name", "shop-1"), ("k8s.namespace.name", "prod")]
    {
        assert_eq!(resource[name], value);
    }
    found.sort_by_key(|span| (span.kind, span.times[0]));
    let [server, first, second] = &found[..] else { panic!("{found:?}") };
    assert!(found.iter().all(|span| span.trace == TRACE && span.times[0] <= span.times[1]), "{found:?}");
    assert_eq!((&*server.name, server.kind, &*server.parent), ("GET orders", 2, "b7ad6b7169203331"));
    let said = |span: &Span, name: &str| span.attributes.get(name).cloned().unwrap_or_default();
    assert_eq!(said(server, "http.response.status_code"), "200");
    assert_eq!((said(server, "url.path"), server.error), ("/orders/7".to_owned(), false));
    assert!(!format!("{server:?}").contains("secret"), "queries stay out: {server:?}");
    for (n, (one, sent)) in [first, second].into_iter().zip(upstream.requests()).enumerate() {
        assert_eq!((&*one.name, one.kind, &one.parent), ("GET", 3, &server.span));
        assert_eq!(said(one, "server.port"), upstream.addr().port().to_string());
        assert_eq!(said(one, "http.request.resend_count"), if n == 0 { "" } else { "1" });
        // What the upstream does hangs below the try that reached it.
        assert_eq!(sent.header("traceparent"), Some(&*format!("00-{TRACE}-{}-01", one.span)));
        assert_eq!(sent.header("tracestate"), Some("vendor=1"));
        assert!(server.times[0] <= one.times[0] && one.times[1] <= server.times[1]);
    }
    assert_eq!((said(first, "http.response.status_code"), first.error), ("503".to_owned(), true));
    assert_eq!((said(second, "http.response.status_code"), second.error), ("200".to_owned(), false));
}

#[test]
fn what_fails_says_why() {
    let (collector, slow, fast, pod) =
        (FakeHttp::start(), FakeHttp::start(), FakeHttp::start(), PodDir::new());
    slow.always(Answer::Hang);
    let config = format!(
        "listeners: [{{http: '127.0.0.1:0', to: raced, routes: [{{path: /down, to: down}}]}}]\ntraces: {{to: 'http://{}'}}\nupstreams:\n  down: {{url: 'http://{}'}}\n  raced: {{endpoints: ['{}', '{} priority=1'], retry: {{hedge_after: 50ms}}}}\n",
        collector.addr(),
        nowhere(),
        slow.addr(),
        fast.addr()
    );
    let proxy = start_config(&pod.write("proxy.yaml", config));
    assert_eq!(http::get(proxy.http(), "/down").status, 503);
    assert_eq!(http::get(proxy.http(), "/raced").status, 200);
    let logged = proxy.wait_log("it is logged", |line| line["path"] == "/raced")["trace_id"].clone();
    proxy.end();
    let (found, _) = spans(&collector.requests());
    let kind = |span: &Span| span.attributes.get("error.type").cloned().unwrap_or_default();
    let of = |name: &str| found.iter().find(|span| span.name == name).unwrap();
    let below = |server: &Span| {
        let mut below: Vec<_> = found.iter().filter(|span| span.parent == server.span).collect();
        below.sort_by_key(|span| span.times[0]);
        below
    };
    let (down, raced) = (of("GET down"), of("GET raced"));
    assert!(down.error && down.parent.is_empty(), "{down:?}");
    assert_eq!(kind(down), "connection_refused");
    assert!(below(down).len() == 2 && below(down).iter().all(|span| kind(span) == "connection_refused"));
    let [loser, winner] = below(raced)[..] else { panic!("{found:?}") };
    assert_eq!((kind(loser), kind(winner), raced.error), ("cancelled".into(), String::new(), false));
    let reached = fast.requests()[0].header("traceparent").unwrap().to_owned();
    assert_eq!(reached, format!("00-{}-{}-01", raced.trace, winner.span));
    assert_eq!(logged, raced.trace.as_str(), "the log names the trace");
}

#[test]
fn the_flag_and_the_ratio_decide() {
    let (collector, upstream, pod) = (FakeHttp::start(), FakeHttp::start(), PodDir::new());
    let config = format!(
        "listeners: [{{http: '127.0.0.1:0', to: 'http://{}'}}]\ntraces: {{to: 'http://{}', ratio: 0}}\n",
        upstream.addr(),
        collector.addr()
    );
    let proxy = start_config(&pod.write("proxy.yaml", config));
    assert_eq!(http::send(proxy.http(), &traced("00")).status, 200);
    assert_eq!(http::get(proxy.http(), "/").status, 200);
    assert_eq!(http::send(proxy.http(), &traced("01")).status, 200);
    proxy.end();
    let (found, _) = spans(&collector.requests());
    assert_eq!(found.len(), 2, "one request, one try: {found:?}");
    let sent: Vec<_> =
        upstream.requests().iter().map(|one| one.header("traceparent").unwrap().to_owned()).collect();
    assert_eq!(sent[0], format!("00-{TRACE}-b7ad6b7169203331-00"), "untouched");
    assert!(sent[1].ends_with("-00") && !sent[1].contains(TRACE), "begun, unsampled: {}", sent[1]);
    assert!(sent[2].starts_with(&format!("00-{TRACE}-")) && sent[2].ends_with("-01"));
}

#[test]
fn a_collector_that_fails_costs_spans_and_no_requests() {
    let (collector, upstream) = (FakeHttp::start(), FakeHttp::start());
    // For later, then never.
    collector.next([Answer::RetryAfter(503, 0), Answer::Status(400)]);
    let to = format!("127.0.0.1:0=http://{}", upstream.addr());
    let proxy = common::start(&["--http", &to, "--otlp-traces", &format!("http://{}", collector.addr())]);
    assert_eq!(http::get(proxy.http(), "/").status, 200);
    eventually("they are counted as lost", || {
        let lost = proxy.metrics().sum_of("ambassador_proxy_lost_total", &[("kind", "spans")]);
        (lost == 2.0).then_some(())
    });
    assert_eq!(collector.count(), 2);
    assert_eq!(collector.requests()[0].body, collector.requests()[1].body, "the same batch again");
    assert_eq!(http::get(proxy.http(), "/").status, 200);
    eventually("the next ones arrive", || (proxy.status()["totals"]["spans_sent"] == 2).then_some(()));
    collector.down();
    assert_eq!(http::get(proxy.http(), "/").status, 200);
    // The drain does not wait for a collector that is gone.
    proxy.end();
}
