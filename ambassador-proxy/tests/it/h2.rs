//! HTTP/2: h2c from the app, h2 to upstreams, gRPC with its trailers.

use std::net::SocketAddr;

use crate::common::{nowhere, start, start_config};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use testkit::fake::{Answer, FakeH2, FakeHttp, H2Reply, Reply};
use testkit::{PodDir, TestCa, TlsShim, eventually, http};

type Sender = SendRequest<Full<Bytes>>;

async fn connect(addr: SocketAddr) -> Sender {
    let stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    builder.max_header_list_size(256 << 10);
    let _ = handshake::<TokioExecutor, TokioIo<tokio::net::TcpStream>, Full<Bytes>>;
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn request(method: &str, path: &str, content_type: &str, body: &'static [u8]) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(format!("http://localhost{path}"))
        .header("content-type", content_type)
        .header("te", "trailers")
        .body(Full::new(Bytes::from_static(body)))
        .unwrap()
}

struct Got {
    head: Response<()>,
    body: Bytes,
    trailers: hyper::HeaderMap,
}

async fn ask(sender: &mut Sender, request: Request<Full<Bytes>>) -> Got {
    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
    let collected = body.collect().await.unwrap();
    let trailers = collected.trailers().cloned().unwrap_or_default();
    Got { head: Response::from_parts(head, ()), body: collected.to_bytes(), trailers }
}

fn run(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(testkit::timeout(), work).await.expect("in time") });
}

#[test]
fn h2c_from_the_app_reaches_a_server_of_http_1() {
    let upstream = FakeHttp::echo();
    let proxy = start(&["--http", &format!("127.0.0.1:0=http://{}", upstream.addr())]);
    run(async {
        let mut sender = connect(proxy.http()).await;
        let mut split = request("POST", "/x?q", "text/plain", b"hello");
        split.headers_mut().append("cookie", "a=1".parse().unwrap());
        split.headers_mut().append("cookie", "b=2".parse().unwrap());
        let got = ask(&mut sender, split).await;
        assert_eq!(got.head.status(), 200);
        let requests: Vec<_> =
            (0..50).map(|_| ask_clone(&sender, request("GET", "/", "text/plain", b""))).collect();
        for got in futures_util::future::join_all(requests).await {
            assert_eq!(got.head.status(), 200);
        }
    });
    let first = upstream.requests().remove(0);
    assert_eq!(
        (first.method.as_str(), first.target.as_str(), first.text().as_str()),
        ("POST", "/x?q", "hello")
    );
    assert_eq!(first.header("cookie"), Some("a=1; b=2"));
    assert_eq!(first.header("host"), Some(upstream.addr().to_string().as_str()));
    proxy.end();
}

async fn ask_clone(sender: &Sender, request: Request<Full<Bytes>>) -> Got {
    ask(&mut sender.clone(), request).await
}

#[test]
fn grpc_goes_through_with_its_trailers_on_one_connection() {
    let big = "x".repeat(40_000);
    let message = big.clone();
    let upstream = FakeH2::with(move |request| match request.target.as_str() {
        "/svc/Fails" => H2Reply::grpc(9, None),
        "/svc/Verbose" => H2Reply::grpc(13, Some(b"part")).trailer("grpc-message", &message),
        _ => H2Reply::grpc(0, Some(&request.body[5..])),
    });
    let proxy = start(&["--http", &format!("127.0.0.1:0=http://{}", upstream.addr()), "--workers", "1"]);
    run(async {
        let mut sender = connect(proxy.http()).await;
        for _ in 0..20 {
            let got =
                ask(&mut sender, request("POST", "/svc/Echo", "application/grpc", b"\0\0\0\0\x02hi")).await;
            assert_eq!(
                (&got.body[..], got.trailers["grpc-status"].as_bytes()),
                (&b"\0\0\0\0\x02hi"[..], &b"0"[..])
            );
        }
        let got = ask(&mut sender, request("POST", "/svc/Fails", "application/grpc", b"\0\0\0\0\0")).await;
        let status =
            got.trailers.get("grpc-status").or_else(|| got.head.headers().get("grpc-status")).unwrap();
        assert_eq!(status, "9");
        let got = ask(&mut sender, request("POST", "/svc/Verbose", "application/grpc", b"\0\0\0\0\0")).await;
        assert_eq!(got.trailers["grpc-message"].len(), big.len(), "trailers of 40 KB");
        let together = (0..60)
            .map(|_| ask_clone(&sender, request("POST", "/svc/Echo", "application/grpc", b"\0\0\0\0\0")));
        for got in futures_util::future::join_all(together).await {
            assert_eq!(got.trailers["grpc-status"], "0");
        }
    });
    assert_eq!(upstream.accepted(), 1, "one connection carries them all");
    assert_eq!(upstream.requests()[0].header("te"), Some("trailers"));
}

#[test]
fn a_grpc_client_gets_grpc_errors_from_the_proxy() {
    let proxy = start(&["--http", &format!("127.0.0.1:0=http://{}", nowhere())]);
    run(async {
        let mut sender = connect(proxy.http()).await;
        let got = ask(&mut sender, request("POST", "/svc/M", "application/grpc", b"\0\0\0\0\0")).await;
        assert_eq!(
            (got.head.status().as_u16(), &got.head.headers()["grpc-status"]),
            (200, &"14".parse().unwrap())
        );
        assert!(got.head.headers()["grpc-message"].to_str().unwrap().contains("refused"));
        assert!(got.head.headers()["proxy-status"].to_str().unwrap().contains("connection_refused"));
        let hanging = FakeHttp::start();
        hanging.always(Answer::Hang);
        let proxy = start(&["--http", &format!("127.0.0.1:0=http://{}", hanging.addr())]);
        let mut sender = connect(proxy.http()).await;
        let mut late = request("POST", "/svc/M", "application/grpc", b"\0\0\0\0\0");
        late.headers_mut().insert("grpc-timeout", "300m".parse().unwrap());
        late.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        let _ = tokio::time::timeout(testkit::timeout(), ask(&mut sender, late)).await.unwrap();
    });
}

#[test]
fn a_goaway_costs_no_request_not_even_a_post() {
    let upstream = FakeH2::echo();
    upstream.goaway_after(7);
    let pod = PodDir::new();
    let text = format!(
        "listeners: [{{http: '127.0.0.1:0', to: up}}]\nupstreams:\n  up: {{url: 'http://{}', protocol: http2}}\n",
        upstream.addr()
    );
    let proxy = start_config(&pod.write("proxy.yaml", text));
    let addr = proxy.http();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(move || {
                (0..50).filter(|_| http::post(addr, "/", "once").status != 200).count()
            })
        })
        .collect();
    let failed: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert_eq!((failed, upstream.count()), (0, 200));
    assert!(upstream.accepted() > 10);
}

#[test]
fn alpn_chooses_the_protocol() {
    let (ca, pod) = (TestCa::new(), PodDir::new());
    let (h2, h1) = (FakeH2::echo(), FakeHttp::echo());
    let identity = ca.server(&["localhost"]);
    let modern = TlsShim::alpn(h2.addr(), &identity, &["h2", "http/1.1"]);
    let old = TlsShim::alpn(h1.addr(), &identity, &["http/1.1"]);
    pod.write("ca.pem", ca.pem());
    let upstream = |addr: SocketAddr| {
        format!("{{url: 'https://localhost:{}', tls: {{ca: {}}}}}", addr.port(), pod.join("ca.pem").display())
    };
    let text = format!(
        "listeners:\n  - http: 127.0.0.1:0\n    to: modern\n    routes: [{{path: /old, to: old}}]\nupstreams:\n  modern: {}\n  old: {}\n",
        upstream(modern.addr()),
        upstream(old.addr())
    );
    let proxy = start_config(&pod.write("proxy.yaml", text));
    for _ in 0..10 {
        assert_eq!(http::get(proxy.http(), "/").status, 200);
        assert_eq!(http::get(proxy.http(), "/old").status, 200);
    }
    assert_eq!((h2.count(), h1.count()), (10, 10));
    assert!(modern.handshakes() <= 2 && old.handshakes() <= 2, "one connection for each worker");
}

#[test]
fn a_drain_says_goaway_and_lets_streams_end() {
    let upstream = FakeHttp::start();
    upstream.always(Answer::after(std::time::Duration::from_millis(800), Reply::new(200, "late")));
    let proxy =
        start(&["--http", &format!("127.0.0.1:0=http://{}", upstream.addr()), "--shutdown-grace", "30s"]);
    run(async {
        let mut sender = connect(proxy.http()).await;
        let response = sender.send_request(request("GET", "/", "text/plain", b""));
        let response = tokio::spawn(response);
        let addr = upstream.addr();
        tokio::task::spawn_blocking(move || addr).await.unwrap();
        while upstream.open_connections() == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        proxy.running.sigterm();
        assert_eq!(response.await.unwrap().unwrap().status(), 200);
    });
    proxy.running.wait_exit().expect_code(0).expect_stderr("no connection is open");
    eventually("nothing is left upstream", || (upstream.open_connections() == 0).then_some(()));
}

/// A body that comes slowly is not idle, however long it takes in all.
#[test]
fn a_slow_body_is_not_cut_while_it_flows() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (addr, pod) = (listener.local_addr().unwrap(), PodDir::new());
    let upstream = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        for _ in 0..12 {
            stream.write_all(b"1\r\nx\r\n").unwrap();
            std::thread::sleep(std::time::Duration::from_millis(300));
        }
        stream.write_all(b"0\r\n\r\n").unwrap();
    });
    let text = format!(
        "listeners: [{{http: '127.0.0.1:0', to: up}}]\nupstreams:\n  up: {{url: 'http://{addr}', timeouts: {{idle: 2s}}}}\n"
    );
    let proxy = start_config(&pod.write("proxy.yaml", text));
    run(async {
        let mut sender = connect(proxy.http()).await;
        let got = ask(&mut sender, request("GET", "/", "text/plain", b"")).await;
        assert_eq!((got.head.status().as_u16(), &got.body[..]), (200, &b"xxxxxxxxxxxx"[..]));
    });
    upstream.join().unwrap();
    proxy.end();
}
