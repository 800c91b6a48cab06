//! What users of other proxies complain about, where it concerns a proxy on the way out, and the test that shows it does not happen here.
//!
//! | complaint | test |
//! |---|---|
//! | stale kept connections: envoyproxy/envoy#1979 #14981 #6190, istio/istio#13205 #55138, hyperium/hyper#2136 | `stale.rs` |
//! | retries that execute twice: istio/istio#13851 #50506, dapr/dapr#4568; storms: envoyproxy/envoy#10869 #24937 | `stale.rs`, `http.rs` (methods, budget) |
//! | old addresses: kubernetes/ingress-nginx#9546 #1613, nginx/docker-nginx#295; start without DNS: nginx/kubernetes-ingress#12 | `dns.rs`, `clients.rs` (dnsmasq) |
//! | a failed lookup empties the set: envoyproxy/envoy#2691 #31992 #30653, haproxy/haproxy#345 #841 | `dns.rs` |
//! | the app starts first: istio/istio#11130, linkerd/linkerd2#485 | `life.rs` (`wait`) |
//! | no new connections while the app drains: linkerd/linkerd2#10379, kumahq/kuma#4134, istio/istio#51855 | `life.rs` |
//! | Jobs never finish: istio/istio#6324, linkerd/linkerd2#8912 | `life.rs` (`quit`); #8033 (half-closed connections): here |
//! | memory: istio/istio#26605, cloudflare/pingora#372 #563 | `http.rs` (large bodies); `listen::tests` (room for a connection) |
//! | threads by the host's cores: envoyproxy/envoy#40914 #36988 | `cpus.rs` |
//! | half-closed TCP cut or leaked: envoyproxy/envoy#2067 #17160, istio/istio#43297, haproxy/haproxy#1362 | `tcp.rs`; reaped: here |
//! | pools without idle limit: linkerd/linkerd2#5334 #9724, linkerd/linkerd2-proxy#4004 | here |
//! | hidden limits: envoyproxy/envoy#14606 #17697 (15 s), linkerd/linkerd2#14046 #15199 (heads, trailers) | `http.rs`, `h2.rs`, `clients.rs`; heads: here |
//! | nobody can tell what applies: envoyproxy/envoy#29974 #17526 | `explain` in `life.rs` |
//! | files swapped unnoticed: istio/istio#61162, cloudflare/certinel#20, envoyproxy/gateway#6988; tokens: envoyproxy/gateway#8780 | `tls.rs`, `security.rs` |
//! | the only endpoint is ejected: envoyproxy/envoy#17504 #3263 #26877 | `balance.rs` |
//! | GET on the admin port changes things: envoyproxy/envoy#2769 #2763 | here |
//! | header names in lower case: envoyproxy/envoy#8463 #14363; 100-continue answered here: envoyproxy/envoy#2325 | here; `http.rs` |
//! | gRPC stays with old pods: grpc/grpc#12295, linkerd/linkerd2#4262, connectrpc/connect-go#782 | here |
//! | a metric for every path: istio/istio#36051, linkerd/linkerd2#604 | here |
//! | a reload cuts long connections: nginx/nginx-gateway-fabric#5524, kubernetes/ingress-nginx#2461 | `life.rs` |
//! | names without dots: hickory-dns/hickory-dns#415, kubernetes/kubernetes#14051 | podkit's `dns` tests |
//! | no hedging: istio/istio#21338, envoyproxy/envoy#5841 | `policy.rs` |
//! | a socket removed that it did not make: ghostunnel/ghostunnel#333 | `listen::bind`, `tcp.rs` |

use std::time::Duration;

use crate::common::{start, start_config};
use testkit::fake::{FakeH2, FakeHttp};
use testkit::http::{self, Connection, Request};
use testkit::{PodDir, eventually};

/// A service that takes connections and never closes one, whatever its client does.
fn stubborn() -> (std::net::SocketAddr, std::sync::Arc<std::sync::Mutex<Vec<std::net::TcpStream>>>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (addr, held) =
        (listener.local_addr().unwrap(), std::sync::Arc::<std::sync::Mutex<Vec<_>>>::default());
    let all = held.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            all.lock().unwrap().push(stream);
        }
    });
    (addr, held)
}

/// linkerd/linkerd2#8033
#[test]
fn a_half_closed_connection_does_not_hold_the_end_beyond_the_grace() {
    let (addr, held) = stubborn();
    let proxy = start(&["--tcp", &format!("127.0.0.1:0={addr}"), "--shutdown-grace", "1s"]);
    let mut client = Connection::open(proxy.tcp()).unwrap();
    client.write(b"last words").unwrap();
    client.finish().unwrap();
    eventually("it has arrived", || (held.lock().unwrap().len() == 1).then_some(()));
    proxy.running.sigterm();
    proxy.running.wait_exit_within(Duration::from_secs(20)).expect_code(0);
}

/// envoyproxy/envoy#2067, haproxy/haproxy#1362
#[test]
fn a_connection_that_only_one_side_has_closed_is_reaped() {
    let ((addr, held), pod) = (stubborn(), PodDir::new());
    let text = format!(
        "listeners: [{{tcp: '127.0.0.1:0', to: up}}]\nupstreams:\n  up: {{url: 'tcp://{}', timeouts: {{idle: 300ms}}}}\n",
        addr
    );
    let proxy = start_config(&pod.write("proxy.yaml", text));
    let mut client = Connection::open(proxy.tcp()).unwrap();
    client.write(b"x").unwrap();
    client.finish().unwrap();
    eventually("it has arrived", || (held.lock().unwrap().len() == 1).then_some(()));
    eventually("it is closed", || (proxy.status()["gauges"]["open_client_connections"] == 0).then_some(()));
    drop(client);
}

/// linkerd/linkerd2#5334 #9724, linkerd/linkerd2-proxy#4004
#[test]
fn unused_connections_are_closed() {
    let (h1, h2, pod) = (FakeHttp::start(), FakeH2::echo(), PodDir::new());
    let text = format!(
        "listeners: [{{http: '127.0.0.1:0', to: one, routes: [{{path: /two, to: two}}]}}]\nupstreams:\n  one: {{url: 'http://{}', pool: {{idle: 300ms}}}}\n  two: {{url: 'http://{}', protocol: http2, pool: {{idle: 100ms}}}}\n",
        h1.addr(),
        h2.addr()
    );
    let proxy = start_config(&pod.write("proxy.yaml", text));
    for path in ["/", "/two"] {
        assert_eq!(http::get(proxy.http(), path).status, 200);
    }
    eventually("they are closed", || {
        (h1.open_connections() == 0 && h2.open_connections() == 0).then_some(())
    });
}

/// linkerd/linkerd2#14046 #14232 #6164
#[test]
fn heads_may_have_60_kb_and_more_is_said_so() {
    let upstream = FakeHttp::start();
    let proxy = start(&["--http", &format!("127.0.0.1:0=http://{}", upstream.addr())]);
    let large = Request::new("GET", "/").header("x-large", &"x".repeat(50_000));
    assert_eq!(http::send(proxy.http(), &large).status, 200);
    assert_eq!(upstream.requests()[0].header("x-large").map(str::len), Some(50_000));
    let larger = Request::new("GET", "/").header("x-large", &"x".repeat(70_000));
    let response = http::send(proxy.http(), &larger);
    assert_eq!(response.status, 431);
    assert!(response.header("proxy-status").unwrap().contains("64 KB"));
}

/// envoyproxy/envoy#2769 #2763
#[test]
fn nothing_changes_on_get() {
    let upstream = FakeHttp::start();
    let proxy = start(&["--http", &format!("127.0.0.1:0=http://{}", upstream.addr())]);
    for path in ["/quit", "/tap?n=10"] {
        assert!(http::get(proxy.admin(), path).status >= 400, "{path}");
    }
    assert_eq!(http::get(proxy.admin(), "/readyz").status, 200);
    assert_eq!(http::get(proxy.http(), "/").status, 200);
}

/// envoyproxy/envoy#8463 #14363
#[test]
fn names_of_headers_keep_their_case() {
    let upstream = FakeHttp::start();
    let proxy = start(&["--http", &format!("127.0.0.1:0=http://{}", upstream.addr())]);
    http::send(proxy.http(), &Request::new("GET", "/").header("X-CamelCase", "1").header("SOAPAction", "x"));
    let request = upstream.requests().remove(0);
    let names: Vec<_> = request.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.contains(&"X-CamelCase") && names.contains(&"SOAPAction"), "{names:?}");
}

/// grpc/grpc#12295, linkerd/linkerd2#4262
#[test]
fn shared_connections_age_so_that_new_pods_get_calls() {
    let (upstream, pod) = (FakeH2::echo(), PodDir::new());
    let text = format!(
        "listeners: [{{http: '127.0.0.1:0', to: up}}]\nworkers: 1\nupstreams:\n  up: {{url: 'http://{}', protocol: http2, pool: {{max_age: 200ms}}}}\n",
        upstream.addr()
    );
    let proxy = start_config(&pod.write("proxy.yaml", text));
    eventually("several connections, one after the other", || {
        assert_eq!(http::post(proxy.http(), "/", "call").status, 200);
        (upstream.accepted() >= 3).then_some(())
    });
}

/// istio/istio#36051, linkerd/linkerd2#604
#[test]
fn what_clients_ask_for_makes_no_metrics() {
    let upstream = FakeHttp::start();
    let proxy = start(&["--http", &format!("127.0.0.1:0=http://{}", upstream.addr()), "--access-log", "off"]);
    let ask = |n: u32| {
        let request = Request::new(&format!("M{n}"), &format!("/{n}")).header("Host", &format!("h{n}"));
        assert_eq!(http::send(proxy.http(), &request).status, 200);
    };
    let series =
        || http::get(proxy.admin(), "/metrics").text().lines().filter(|line| !line.starts_with('#')).count();
    ask(0);
    let before = series();
    (1..50).for_each(ask);
    // A family may show itself with its first sample; 49 methods, paths and hosts would add 49 each.
    assert!(series() < before + 10, "{before} series became {}", series());
    let text = http::get(proxy.admin(), "/metrics").text();
    let families = text.lines().filter(|line| line.starts_with("# TYPE ambassador_proxy_")).count();
    assert!(families <= 12, "{families} families");
}
