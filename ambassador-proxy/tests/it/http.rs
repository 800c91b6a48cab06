//! Requests and answers through the proxy.

use crate::common;
use std::time::Duration;

use crate::common::{nowhere, start};
use testkit::fake::{Answer, FakeHttp, Reply};
use testkit::http::{self, Connection, Request};
use testkit::{PodDir, eventually};

fn to(addr: std::net::SocketAddr) -> String {
    format!("127.0.0.1:0=http://{addr}")
}

#[test]
fn a_request_goes_out_and_its_answer_comes_back() {
    let orders = FakeHttp::echo();
    let proxy = start(&["--http", &format!("127.0.0.1:0=http://{}/base", orders.addr())]);
    let request = Request::new("POST", "/x?q=1")
        .header("X-CamelCase", "yes")
        .header("Connection", "close, X-Hop")
        .header("X-Hop", "1")
        .header("Keep-Alive", "timeout=9")
        .body("hello");
    let response = http::send(proxy.http(), &request);
    assert_eq!(response.status, 200);
    let echo = response.json();
    assert_eq!(
        (&echo["method"], &echo["target"], &echo["body"]),
        (&"POST".into(), &"/base/x?q=1".into(), &"hello".into())
    );
    let got = orders.requests().remove(0);
    assert_eq!(
        got.header("host"),
        Some(orders.addr().to_string().as_str()),
        "the upstream's name, not localhost"
    );
    assert!(got.headers.iter().any(|(name, _)| name == "X-CamelCase"), "spelling is kept: {:?}", got.headers);
    for hop in ["x-hop", "keep-alive", "connection"] {
        assert_eq!(got.header(hop), None, "{hop} is hop by hop");
    }
    let id = got.header("x-request-id").unwrap().to_owned();
    assert_eq!(id.len(), 36);
    let line = proxy.wait_log("the request is logged", |line| line["request_id"] == id.as_str());
    assert_eq!(
        (&line["status"], &line["method"], &line["bytes_to_upstream"]),
        (&200.into(), &"POST".into(), &5.into())
    );
    assert_eq!(line["endpoint"], orders.addr().to_string());
    proxy.end();
}

#[test]
fn an_id_is_kept_and_connections_are_reused() {
    let orders = FakeHttp::echo();
    let proxy = start(&["--http", &to(orders.addr()), "--workers", "1"]);
    let mut client = Connection::open(proxy.http()).unwrap();
    for n in 0..20 {
        let request = Request::new("GET", "/").header("x-request-id", &format!("id-{n}"));
        client.send(&request).unwrap();
        assert_eq!(
            client.receive(&request).unwrap().header("x-request-id"),
            Some(format!("id-{n}").as_str())
        );
    }
    assert_eq!(orders.accepted(), 1, "one connection for all");
    // A request is counted when all of its answer is out; the client may have it a moment earlier.
    let metrics = eventually("all are counted", || {
        let metrics = proxy.metrics();
        (metrics.sum_of("ambassador_proxy_requests_total", &[("class", "2xx")]) == 20.0).then_some(metrics)
    });
    assert_eq!(metrics.sum_of("ambassador_proxy_upstream_connections_total", &[("kind", "reused")]), 19.0);
    let status = proxy.status();
    assert_eq!(status["totals"]["requests"], 20);
    assert_eq!(status["endpoints"][0]["idle"], 1);
    // Four seconds unused is the limit.
    eventually("the idle connection is closed", || (orders.open_connections() == 0).then_some(()));
}

#[test]
fn an_upstream_that_is_down_gives_503_that_says_so() {
    let addr = nowhere();
    let proxy = start(&["--http", &to(addr)]);
    let response = http::get(proxy.http(), "/");
    assert_eq!(response.status, 503);
    let status = response.header("proxy-status").unwrap();
    assert!(status.starts_with("ambassador-proxy; error=connection_refused"), "{status}");
    let body = response.json();
    assert_eq!((&body["fault"], &body["error"]), (&"upstream".into(), &"connection_refused".into()));
    assert!(body["message"].as_str().unwrap().contains(&addr.to_string()));
    assert_eq!(http::get(proxy.admin(), "/readyz").status, 200, "an upstream never makes the pod unready");
    let line = proxy.wait_log("it is logged", |line| line["status"] == 503);
    assert_eq!(line["attempts"], 2, "a failed connect is tried once more");
    assert!(line["flags"].as_str().unwrap().contains("connect_retry"));
}

#[test]
fn a_failed_connect_goes_to_another_endpoint() {
    let pod = PodDir::new();
    let orders = FakeHttp::start();
    let text = format!(
        "listeners: [{{http: '127.0.0.1:0', to: orders}}]\nupstreams:\n  orders:\n    balance: round_robin\n    endpoints: ['{}', '{}']\n",
        nowhere(),
        orders.addr()
    );
    let proxy = common::start_config(&pod.write("proxy.yaml", text));
    for _ in 0..40 {
        assert_eq!(http::post(proxy.http(), "/", "x").status, 200);
    }
    assert_eq!(orders.count(), 40, "each POST arrived once");
    eventually("the dead one is out", || {
        let endpoints = proxy.status()["endpoints"].clone();
        let out = endpoints.as_array().unwrap().iter().filter(|e| e["state"] == "out").count();
        (out == 1).then_some(())
    });
}

#[test]
fn a_slow_upstream_gives_504_and_a_slow_body_does_not() {
    let pod = PodDir::new();
    let slow = FakeHttp::start();
    let text = format!(
        "listeners: [{{http: '127.0.0.1:0', to: slow}}]\nupstreams:\n  slow:\n    url: http://{}\n    timeouts: {{first_byte: 300ms}}\n",
        slow.addr()
    );
    let proxy = common::start_config(&pod.write("proxy.yaml", text));
    slow.next([Answer::Hang]);
    let response = http::get(proxy.http(), "/");
    assert_eq!(response.status, 504);
    assert!(response.header("proxy-status").unwrap().contains("error=http_response_timeout"));
    assert!(response.json()["message"].as_str().unwrap().contains("first_byte 300ms"));
    slow.next([Answer::Stream(vec![b"a".to_vec(); 5], Duration::from_millis(150))]);
    let response = http::get(proxy.http(), "/");
    assert_eq!((response.status, response.text().as_str()), (200, "aaaaa"), "the first byte came in time");
}

#[test]
fn an_answer_that_breaks_is_no_whole_answer() {
    let upstream = FakeHttp::start();
    let proxy = start(&["--http", &to(upstream.addr())]);
    upstream.always(Answer::HalfBody);
    assert!(
        http::try_send(proxy.http(), &Request::new("GET", "/")).is_err(),
        "half a body is an error for the client"
    );
    upstream.always(Answer::Raw(b"garbage\r\n\r\n".to_vec()));
    let response = http::get(proxy.http(), "/");
    assert_eq!(response.status, 502);
    assert!(response.header("proxy-status").unwrap().contains("http_protocol_error"));
    upstream.always(Answer::Close);
    let response = http::post(proxy.http(), "/", "x");
    assert_eq!(response.status, 502);
    assert!(response.json()["message"].as_str().unwrap().contains("closed the connection without an answer"));
}

#[test]
fn answers_without_a_body_are_answers() {
    let upstream = FakeHttp::start();
    let proxy = start(&["--http", &to(upstream.addr()), "--workers", "1"]);
    let mut client = Connection::open(proxy.http()).unwrap();
    for status in [204, 304, 200, 404] {
        upstream.next([Answer::Reply(Reply::new(status, ""))]);
        let request = Request::new("GET", "/");
        client.send(&request).unwrap();
        assert_eq!(client.receive(&request).unwrap().status, status);
    }
    upstream.next([Answer::Reply(Reply::new(200, "").header("content-length", "0"))]);
    let request = Request::new("HEAD", "/");
    client.send(&request).unwrap();
    assert_eq!(client.receive(&request).unwrap().status, 200);
    assert_eq!(upstream.accepted(), 1);
}

#[test]
fn routes_rewrites_and_header_rules() {
    let (orders, billing, rest) = (FakeHttp::echo(), FakeHttp::echo(), FakeHttp::echo());
    let pod = PodDir::new();
    let text = format!(
        "listeners:
  - http: 127.0.0.1:0
    routes:
      - {{path: /orders, to: orders, replace_prefix: /v2}}
      - {{path: /, methods: [POST], headers: {{x-team: billing}}, to: billing}}
      - {{exact_path: /limited, to: 'http://{rest}', rate_limit: {{per_second: 1}}}}
      - {{path: /rest, to: 'http://{rest}'}}
upstreams:
  orders:
    url: http://{orders}
    host: orders.internal
    request_headers: {{set: {{x-from: pod}}, remove: [x-secret]}}
  billing: {{url: 'http://{billing}', host: keep}}
",
        orders = orders.addr(),
        billing = billing.addr(),
        rest = rest.addr()
    );
    let proxy = common::start_config(&pod.write("proxy.yaml", text));
    let echo = http::send(proxy.http(), &Request::new("GET", "/orders/7").header("x-secret", "1")).json();
    assert_eq!(echo["target"], "/v2/7");
    let got = orders.requests().remove(0);
    assert_eq!(
        (got.header("host"), got.header("x-from"), got.header("x-secret")),
        (Some("orders.internal"), Some("pod"), None)
    );
    let request = Request::new("POST", "/any").header("x-team", "billing").header("host", "app.local");
    assert_eq!(http::send(proxy.http(), &request).status, 200);
    assert_eq!(billing.requests()[0].header("host"), Some("app.local"));
    assert_eq!(http::get(proxy.http(), "/rest/x").status, 200);
    let missed = http::get(proxy.http(), "/restaurant");
    assert_eq!((missed.status, missed.json()["fault"].clone()), (404, "proxy".into()));
    let statuses: Vec<_> = (0..5).map(|_| http::get(proxy.http(), "/limited").status).collect();
    assert!(statuses.contains(&200) && statuses.contains(&429), "{statuses:?}");
}

#[test]
fn a_web_socket_is_carried_both_ways() {
    let upstream = FakeHttp::start();
    upstream.always(Answer::Upgrade);
    let proxy = start(&["--http", &to(upstream.addr())]);
    let mut client = Connection::open(proxy.http()).unwrap();
    let request = Request::new("GET", "/chat")
        .header("Connection", "keep-alive, Upgrade")
        .header("Upgrade", "websocket");
    client.send(&request).unwrap();
    let response = client.receive(&request).unwrap();
    assert_eq!((response.status, response.header("upgrade")), (101, Some("websocket")));
    for round in 0..50u32 {
        let message = round.to_be_bytes().repeat(1000);
        client.write(&message).unwrap();
        assert_eq!(client.read(4000).unwrap(), message);
    }
    assert_eq!(proxy.status()["gauges"]["open_client_connections"], 1);
    drop(client);
    let line = proxy.wait_log("the upgrade is logged at its end", |line| line["status"] == 101);
    assert_eq!((&line["bytes_to_upstream"], &line["bytes_to_client"]), (&200_000.into(), &200_000.into()));
}

#[test]
fn large_bodies_stream_with_bounded_memory() {
    let upstream = FakeHttp::with(|request| Reply::new(200, &request.body));
    let proxy = start(&["--http", &to(upstream.addr())]);
    let before = proxy.metrics().sum("ambassador_proxy_process_resident_memory_bytes");
    let body: Vec<u8> = (0..64 << 20).map(|i: u32| i.to_le_bytes()[i as usize % 3]).collect();
    let response = http::post(proxy.http(), "/", &body);
    assert!(response.body == body, "64 MiB there and back");
    let after = proxy.metrics().sum("ambassador_proxy_process_resident_memory_bytes");
    assert!(after - before < 8e6, "{before} → {after}");
}

#[test]
fn too_much_at_once_waits_and_then_is_refused() {
    let pod = PodDir::new();
    let upstream = FakeHttp::start();
    upstream.always(Answer::after(Duration::from_millis(1500), Answer::Ok));
    let text = format!(
        "listeners: [{{http: '127.0.0.1:0', to: one}}]\nupstreams:\n  one:\n    url: http://{}\n    limits: {{in_flight: 1, pending: 1, pending_wait: 300ms}}\n",
        upstream.addr()
    );
    let proxy = common::start_config(&pod.write("proxy.yaml", text));
    let addr = proxy.http();
    let first = std::thread::spawn(move || http::get(addr, "/").status);
    eventually("the first is in flight", || (upstream.count() == 1).then_some(()));
    let response = http::get(addr, "/");
    assert_eq!(response.status, 503);
    assert!(response.header("proxy-status").unwrap().contains("connection_limit_reached"));
    assert_eq!(response.json()["fault"], "proxy");
    assert_eq!(first.join().unwrap(), 200);
}

#[test]
fn asked_for_retries_respect_methods_and_budget() {
    let pod = PodDir::new();
    let upstream = FakeHttp::start();
    let text = format!(
        "listeners: [{{http: '127.0.0.1:0', to: flaky}}]\nupstreams:\n  flaky:\n    url: http://{}\n    breaker: {{failures: 0}}\n    retry: {{attempts: 3, statuses: [503], budget_percent: 0, backoff: 1ms}}\n",
        upstream.addr()
    );
    let proxy = common::start_config(&pod.write("proxy.yaml", text));
    upstream.next([Answer::Status(503), Answer::Status(503)]);
    assert_eq!(http::get(proxy.http(), "/").status, 200, "the third try");
    assert_eq!(upstream.count(), 3);
    upstream.next([Answer::Status(503)]);
    assert_eq!(http::post(proxy.http(), "/", "x").status, 503, "a POST is not repeated");
    assert_eq!(upstream.count(), 4);
    let request = Request::new("PUT", "/").body("again");
    upstream.next([Answer::Status(503)]);
    assert_eq!(http::send(proxy.http(), &request).status, 200);
    assert_eq!(upstream.requests()[5].text(), "again", "the body is sent again");
    upstream.always(Answer::Status(503));
    for _ in 0..60 {
        assert_eq!(http::get(proxy.http(), "/").status, 503);
    }
    let retries = proxy.metrics().sum_of("ambassador_proxy_retries_total", &[("cause", "status")]);
    let refused = proxy.metrics().sum_of("ambassador_proxy_retries_total", &[("cause", "over_budget")]);
    assert!(
        retries <= 90.0 && refused > 0.0,
        "3 per second and worker over 10 s: {retries}, refused {refused}"
    );
}

#[test]
fn the_client_going_away_ends_the_upstream_request() {
    let upstream = FakeHttp::start();
    upstream.always(Answer::Hang);
    let proxy = start(&["--http", &to(upstream.addr())]);
    let mut client = Connection::open(proxy.http()).unwrap();
    client.send(&Request::new("GET", "/")).unwrap();
    eventually("it has arrived", || (upstream.open_connections() == 1).then_some(()));
    drop(client);
    let line = proxy.wait_log("it is logged", |line| line["flags"] == "client_gone");
    assert_eq!(line["status"], 0);
    eventually("the upstream connection is closed", || (upstream.open_connections() == 0).then_some(()));
}

/// An upstream of one connection: reads a head, answers `first`, and gives back what came after within half a second.
fn one_shot(
    first: &'static [u8],
    then: &'static [u8],
) -> (std::net::SocketAddr, std::thread::JoinHandle<Vec<u8>>) {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut bytes, mut buffer) = (Vec::new(), [0; 1024]);
        while !bytes.ends_with(b"\r\n\r\n") {
            let n = stream.read(&mut buffer).unwrap();
            bytes.extend_from_slice(&buffer[..n]);
        }
        stream.write_all(first).unwrap();
        bytes.clear();
        // What has to come may take its time; what must not come is waited for only a little.
        let wait = if then.is_empty() { Duration::from_millis(500) } else { testkit::timeout() };
        stream.set_read_timeout(Some(wait)).unwrap();
        while let Ok(n @ 1..) = stream.read(&mut buffer) {
            bytes.extend_from_slice(&buffer[..n]);
            if bytes.len() >= 5 && !then.is_empty() {
                stream.write_all(then).unwrap();
                break;
            }
        }
        bytes
    });
    (addr, thread)
}

#[test]
fn an_upload_waits_for_the_upstreams_word() {
    let request = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let (upstream, got) =
        one_shot(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let proxy = start(&["--http", &to(upstream)]);
    let mut client = Connection::open(proxy.http()).unwrap();
    client.write(request).unwrap();
    assert_eq!(client.read(25).unwrap(), b"HTTP/1.1 100 Continue\r\n\r\n");
    client.write(b"hello").unwrap();
    assert_eq!(client.read(15).unwrap(), b"HTTP/1.1 200 OK");
    assert_eq!(got.join().unwrap(), b"hello");

    let (upstream, got) = one_shot(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n", b"");
    let proxy = start(&["--http", &to(upstream)]);
    let mut client = Connection::open(proxy.http()).unwrap();
    client.write(request).unwrap();
    assert_eq!(client.read(12).unwrap(), b"HTTP/1.1 413", "refused before a byte of the body was sent");
    assert_eq!(got.join().unwrap(), b"");
}
