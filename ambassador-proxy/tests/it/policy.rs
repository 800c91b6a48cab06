//! Policies beyond the defaults: hedging, adaptive limits, faults on purpose, shadows, deadlines, endpoint files, format strings.

use crate::common;
use std::time::{Duration, Instant};

use crate::common::{nowhere, start_config};
use testkit::fake::{Answer, FakeH2, FakeHttp, H2Reply, Reply};
use testkit::http::{self, Connection, Request};
use testkit::{PodDir, eventually};

/// istio/istio#21338, envoyproxy/envoy#5841: hedging, from the retry budget.
#[test]
fn a_slow_answer_is_raced_by_a_second_try() {
    let (slow, fast, pod) = (FakeHttp::start(), FakeHttp::start(), PodDir::new());
    slow.always(Answer::after(Duration::from_secs(20), Answer::Ok));
    let text = format!(
        "listeners: [{{http: '127.0.0.1:0', to: up}}]\nupstreams:\n  up: {{endpoints: ['{}', '{} priority=1'], retry: {{hedge_after: 100ms}}}}\n",
        slow.addr(),
        fast.addr()
    );
    let proxy = start_config(&pod.write("proxy.yaml", text));
    let began = Instant::now();
    assert_eq!(http::get(proxy.http(), "/").status, 200);
    assert!(began.elapsed() < Duration::from_secs(15), "the slow one was not waited for");
    assert_eq!((slow.count(), fast.count()), (1, 1));
    eventually("the loser is cut", || (slow.open_connections() == 0).then_some(()));
    let line = proxy.wait_log("it is logged", |line| line["flags"] == "hedged");
    assert_eq!((&line["attempts"], &line["endpoint"]), (&2.into(), &fast.addr().to_string().into()));
    assert!(proxy.metrics().sum_of("ambassador_proxy_retries_total", &[("cause", "hedge")]) > 0.0);
    // A body goes along, when it is here and short enough to be kept.
    for (size, hits) in [(30_000, 2), (200_000, 1)] {
        let put = Request::new("PUT", "/").body(vec![b'x'; size]);
        if hits == 2 {
            assert_eq!(http::send(proxy.http(), &put).status, 200);
        } else {
            let mut client = Connection::open(proxy.http()).unwrap();
            client.send(&put).unwrap();
            std::thread::sleep(Duration::from_millis(400));
        }
        let bodies = |fake: &FakeHttp| fake.requests().iter().filter(|one| one.body.len() == size).count();
        eventually("both have all of it", || (bodies(&slow) + bodies(&fast) == hits).then_some(()));
    }
    // A POST is never sent twice.
    let addr = proxy.http();
    let post = std::thread::spawn(move || {
        let mut client = Connection::open(addr).unwrap();
        client.send(&Request::new("POST", "/").body("pay")).unwrap();
        std::thread::sleep(Duration::from_millis(400));
    });
    post.join().unwrap();
    assert_eq!((slow.count(), fast.count()), (4, 2));
}

#[test]
fn an_endpoint_file_is_followed() {
    let (a, b, pod) = (FakeHttp::start(), FakeHttp::start(), PodDir::new());
    let file = pod.write("endpoints", format!("# the first\n{}\n", a.addr()));
    let text = format!(
        "listeners: [{{http: '127.0.0.1:0', to: up}}]\nupstreams:\n  up: {{endpoints_file: {}}}\n",
        file.display()
    );
    let proxy = start_config(&pod.write("proxy.yaml", text));
    assert_eq!(http::get(proxy.http(), "/").status, 200);
    pod.write("endpoints", format!("{} weight=2\n", b.addr()));
    eventually("the new one is used", || {
        http::get(proxy.http(), "/");
        (b.count() > 0).then_some(())
    });
    for bad in ["no endpoint here\n", "# none\n"] {
        pod.write("endpoints", bad);
        eventually("the mistake is told", || {
            proxy.status()["upstreams"][0]["problem"]
                .as_str()
                .is_some_and(|why| why.contains("endpoints_file"))
                .then_some(())
        });
        assert_eq!(http::get(proxy.http(), "/").status, 200, "and the last good set stays");
    }
}

#[test]
fn priorities_fail_over_and_back() {
    let (main, spare, pod) = (FakeHttp::start(), FakeHttp::start(), PodDir::new());
    let text = format!(
        "listeners: [{{http: '127.0.0.1:0', to: up}}]\nupstreams:\n  up: {{endpoints: ['{}', '{} priority=1'], health: {{path: /, interval: 50ms, fall: 1, rise: 1}}}}\n",
        main.addr(),
        spare.addr()
    );
    let proxy = start_config(&pod.write("proxy.yaml", text));
    let mine = |fake: &FakeHttp| fake.requests().iter().filter(|request| request.target == "/mine").count();
    for _ in 0..10 {
        assert_eq!(http::get(proxy.http(), "/mine").status, 200);
    }
    assert_eq!((mine(&main), mine(&spare)), (10, 0));
    main.down();
    eventually("the spare one serves", || {
        (http::get(proxy.http(), "/mine").status == 200 && mine(&spare) > 0).then_some(())
    });
    main.up();
    let before = mine(&main);
    eventually("and the first one again", || {
        http::get(proxy.http(), "/mine");
        (mine(&main) > before).then_some(())
    });
}

#[test]
fn grpc_health_checks_ask_for_the_service() {
    let pod = PodDir::new();
    let ill = FakeH2::with(|request| match request.target.as_str() {
        "/grpc.health.v1.Health/Check" => {
            assert!(request.body.ends_with(b"shop.Orders"));
            H2Reply::grpc(0, Some(b"\x08\x02"))
        }
        _ => H2Reply::grpc(0, Some(b"")),
    });
    let well = FakeH2::with(|request| match request.target.as_str() {
        "/grpc.health.v1.Health/Check" => H2Reply::grpc(0, Some(b"\x08\x01")),
        _ => H2Reply::grpc(0, Some(b"")),
    });
    let text = format!(
        "listeners: [{{http: '127.0.0.1:0', to: up}}]\nupstreams:\n  up: {{endpoints: ['{}', '{}'], protocol: http2, health: {{grpc: shop.Orders, interval: 50ms, fall: 1, rise: 1}}}}\n",
        ill.addr(),
        well.addr()
    );
    let proxy = start_config(&pod.write("proxy.yaml", text));
    eventually("the one that is not serving is found", || {
        let status = proxy.status();
        let rows = status["endpoints"].as_array().unwrap().clone();
        rows.iter()
            .any(|row| row["endpoint"] == ill.addr().to_string() && row["state"] == "ill")
            .then_some(())
    });
    let state = |addr: String| {
        let status = proxy.status();
        let rows = status["endpoints"].as_array().unwrap();
        rows.iter().find(|row| row["endpoint"] == addr).map(|row| row["state"].clone())
    };
    assert_eq!(state(well.addr().to_string()).unwrap(), "ok");
}

#[test]
fn faults_on_purpose_and_shadows() {
    let (real, copy, pod) = (FakeHttp::echo(), FakeHttp::start(), PodDir::new());
    copy.always(Answer::after(Duration::from_millis(300), Answer::Status(500)));
    let text = format!(
        "listeners:
  - http: 127.0.0.1:0
    to: real
    routes:
      - {{path: /broken, to: real, fault: {{status: 503}}}}
      - {{path: /late, to: real, fault: {{delay: 300ms}}}}
      - {{path: /never, to: real, fault: {{status: 500, percent: 0}}}}
      - {{path: /both, to: real, shadow: {{to: 'http://{}'}}}}
      - {{path: /dead, to: real, shadow: {{to: 'http://{}'}}}}
upstreams:
  real: {{url: 'http://{}', request_headers: {{set: {{x-real: '1'}}}}}}
",
        copy.addr(),
        nowhere(),
        real.addr()
    );
    let proxy = start_config(&pod.write("proxy.yaml", text));
    let response = http::get(proxy.http(), "/broken");
    assert_eq!((response.status, response.json()["fault"].clone()), (503, "proxy".into()));
    assert!(response.header("proxy-status").unwrap().contains("proxy_internal_response"));
    assert_eq!(real.count(), 0);
    let began = Instant::now();
    assert_eq!(http::get(proxy.http(), "/late").status, 200);
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert_eq!(http::get(proxy.http(), "/never").status, 200);
    for n in 0..3 {
        let response = http::post(proxy.http(), "/both?n", format!("body {n}"));
        assert_eq!((response.status, response.json()["headers"]["x-real"].clone()), (200, "1".into()));
    }
    eventually("the copies arrive", || (copy.count() == 3).then_some(()));
    let mut bodies: Vec<_> = copy.requests().iter().map(|request| request.text()).collect();
    bodies.sort();
    assert_eq!(bodies, ["body 0", "body 1", "body 2"]);
    assert!(
        copy.requests().iter().all(|request| request.header("x-real").is_none()),
        "rules are the other upstream's"
    );
    assert_eq!(http::get(proxy.http(), "/dead").status, 200, "a dead shadow is nobody's business");
}

/// What is left of a deadline goes on to the service.
#[test]
fn a_grpc_deadline_is_passed_on_shortened() {
    let upstream = FakeH2::echo();
    let proxy = common::start(&["--http", &format!("127.0.0.1:0=http://{}", upstream.addr())]);
    // A gRPC request over HTTP/1.1 goes to an HTTP/1.1 upstream; over h2c to h2, as here.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(proxy.http()).await.unwrap();
        let io = hyper_util::rt::TokioIo::new(stream);
        let executor = hyper_util::rt::TokioExecutor::new();
        let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
        tokio::spawn(connection);
        let request = hyper::Request::post("http://localhost/svc/M")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("grpc-timeout", "30S")
            .body(http_body_util::Full::new(bytes::Bytes::from_static(b"\0\0\0\0\0")))
            .unwrap();
        let _ = tokio::time::timeout(testkit::timeout(), sender.send_request(request)).await.unwrap();
    });
    let said = upstream.requests()[0].header("grpc-timeout").unwrap().to_owned();
    let millis: u64 = said.strip_suffix('m').unwrap().parse().unwrap();
    assert!((1..=30_000).contains(&millis), "{said}");
}

#[test]
fn an_adaptive_limit_refuses_what_would_only_queue() {
    let (upstream, pod) = (FakeHttp::start(), PodDir::new());
    upstream.always(Answer::after(Duration::from_secs(3), Answer::Ok));
    let text = format!(
        "listeners: [{{http: '127.0.0.1:0', to: up}}]\nupstreams:\n  up: {{url: 'http://{}', limits: {{adaptive: true}}}}\n",
        upstream.addr()
    );
    let proxy = start_config(&pod.write("proxy.yaml", text));
    let addr = proxy.http();
    let work: Vec<_> = (0..60).map(|_| std::thread::spawn(move || http::get(addr, "/").status)).collect();
    let statuses: Vec<_> = work.into_iter().map(|thread| thread.join().unwrap()).collect();
    let refused = statuses.iter().filter(|status| **status == 503).count();
    assert!(statuses.contains(&200) && refused > 0, "{statuses:?}");
    assert!(proxy.status()["upstreams"][0]["limit"].as_u64().unwrap() < 1024);
}

#[test]
fn the_log_speaks_the_formats_operators_have() {
    let upstream = FakeHttp::with(|_| Reply::new(201, "hello").header("x-cache", "miss"));
    let format = r#"$remote_addr "$request" $status $body_bytes_sent "$http_user_agent" %RESP(X-CACHE)% $upstream_addr rt=$request_time"#;
    let flag = format!("127.0.0.1:0=http://{}", upstream.addr());
    let proxy = common::start(&["--http", &flag, "--access-log", format]);
    let request = Request::new("GET", "/a?b").header("User-Agent", "te\"st");
    http::send(proxy.http(), &request);
    let line = proxy.running.wait_line(testkit::Stream::Stdout, "the line", |line| line.contains("/a?b"));
    let want = format!("127.0.0.1 \"GET /a?b HTTP/1.1\" 201 5 \"te\\x22st\" miss {} rt=", upstream.addr());
    assert!(line.starts_with(&want), "{line}");
    let exited = common::command().args(["--check", "--http", &flag, "--access-log", "$statsu"]).run();
    exited.expect_code(2).expect_stderr("did you mean status?");
}

#[test]
fn traces_are_passed_on_and_begun_when_asked() {
    let (upstream, pod) = (FakeHttp::echo(), PodDir::new());
    let text =
        format!("listeners: [{{http: '127.0.0.1:0', to: 'http://{}'}}]\ntrace: true\n", upstream.addr());
    let proxy = start_config(&pod.write("proxy.yaml", text));
    let sent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = Request::new("GET", "/").header("traceparent", sent).header("tracestate", "a=b");
    let echo = http::send(proxy.http(), &request).json();
    assert_eq!(
        (&echo["headers"]["traceparent"], &echo["headers"]["tracestate"]),
        (&sent.into(), &"a=b".into())
    );
    let line =
        proxy.wait_log("its id is logged", |line| line["trace_id"] == "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(line["status"], 200);
    let echo = http::get(proxy.http(), "/").json();
    assert_eq!(echo["headers"]["traceparent"].as_str().unwrap().len(), sent.len());
}

/// A client that has said everything and shuts down its side still waits, where the listener is told so.
#[test]
fn a_half_closed_client_gets_its_answer() {
    let (upstream, pod) = (FakeHttp::start(), PodDir::new());
    upstream.always(Answer::after(Duration::from_millis(300), Reply::new(200, "still here")));
    let text =
        format!("listeners: [{{http: '127.0.0.1:0', half_close: true, to: 'http://{}'}}]\n", upstream.addr());
    let proxy = start_config(&pod.write("proxy.yaml", text));
    let mut client = Connection::open(proxy.http()).unwrap();
    client.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    client.finish().unwrap();
    let text = String::from_utf8(client.read_to_end().unwrap()).unwrap();
    assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("still here"), "{text}");
}

/// `limits.body`: by the length that is announced, and by the bytes that come where none is.
#[test]
fn a_request_body_has_its_limit() {
    let (echo, pod) = (FakeHttp::echo(), PodDir::new());
    let text = format!(
        "listeners: [{{http: '127.0.0.1:0', to: up}}]\nupstreams:\n  up: {{url: 'http://{}', limits: {{body: 1KB}}}}\n",
        echo.addr()
    );
    let proxy = start_config(&pod.write("proxy.yaml", text));
    let post = |size| http::send(proxy.http(), &Request::new("POST", "/").body(vec![b'x'; size]));
    assert_eq!(post(1000).status, 200);
    let refused = post(1001);
    assert_eq!((refused.status, refused.header("connection")), (413, Some("close")));
    let said = refused.header("proxy-status").unwrap();
    assert!(said.contains("error=http_request_denied") && said.contains("limits.body"), "{said}");
    assert_eq!(refused.json()["fault"], "client");
    assert_eq!(echo.count(), 1, "nothing of it was sent");
    // An upload that waits for a word is refused before it begins.
    let mut client = Connection::open(proxy.http()).unwrap();
    client
        .write(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2000\r\n\r\n")
        .unwrap();
    assert_eq!(client.read(12).unwrap(), b"HTTP/1.1 413");
    // In chunks nobody knows before: it is cut, and the upstream never takes it for the whole.
    let chunked = |size: usize| {
        let mut client = Connection::open(proxy.http()).unwrap();
        client.write(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        client.write(format!("{size:x}\r\n{}\r\n0\r\n\r\n", "y".repeat(size)).as_bytes()).unwrap();
        String::from_utf8(client.read(12).unwrap()).unwrap()
    };
    assert_eq!(chunked(1000), "HTTP/1.1 200");
    assert_eq!(chunked(1001), "HTTP/1.1 413");
    assert_eq!(chunked(300_000), "HTTP/1.1 413");
    assert_eq!(echo.count(), 2, "what was cut was no request");
    let line = proxy.wait_log("it is logged", |line| line["status"] == 413);
    assert_eq!(line["flags"], "http_request_denied");
    proxy.end();
}
