//! CONNECT over HTTP/2: bytes to a listed place, and WebSockets (RFC 8441).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::ext::Protocol;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use testkit::PodDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::common::{Proxy, start, start_config};

type Sender = SendRequest<Empty<Bytes>>;

async fn connect(addr: SocketAddr) -> Sender {
    let stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    sender
}

fn run(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(testkit::timeout(), work).await.expect("in time") });
}

/// One connection: what is read up to an empty line is given back with what `answer` says, and from then on every byte is.
fn echo(head: bool, answer: &'static [u8]) -> (SocketAddr, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(testkit::timeout())).unwrap();
        let mut asked = Vec::new();
        while head && !asked.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            asked.push(byte[0]);
        }
        stream.write_all(answer).unwrap();
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = stream.read(&mut buffer) {
            stream.write_all(&buffer[..n]).unwrap();
        }
        String::from_utf8(asked).unwrap()
    });
    (addr, thread)
}

/// Bytes there and back, until the app ends its side.
async fn there_and_back(response: Response<hyper::body::Incoming>) {
    let mut tunnel = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    for round in 0..3 {
        let text = format!("round {round} {}", "x".repeat(20_000));
        tunnel.write_all(text.as_bytes()).await.unwrap();
        let mut back = vec![0; text.len()];
        tunnel.read_exact(&mut back).await.unwrap();
        assert!(back == text.as_bytes(), "round {round}");
    }
    tunnel.shutdown().await.unwrap();
    assert_eq!(tunnel.read(&mut [0]).await.unwrap(), 0, "the end is passed on, both ways");
}

fn websocket(protocol: &'static str) -> Request<Empty<Bytes>> {
    let mut request = Request::builder()
        .method("CONNECT")
        .uri("http://chat.local/room?id=1")
        .header("sec-websocket-version", "13")
        .header("origin", "http://app")
        .body(Empty::new())
        .unwrap();
    request.extensions_mut().insert(Protocol::from_static(protocol));
    request
}

#[test]
fn connect_over_http_2_reaches_listed_places_only() {
    let (place, thread) = echo(false, b"");
    let pod = PodDir::new();
    let text = format!(
        "listeners: [{{http: '127.0.0.1:0', to: 'http://127.0.0.1:1', connect: ['{place}']}}]\naccess_log: json\n"
    );
    let proxy = start_config(&pod.write("proxy.yaml", text));
    run(async {
        let mut sender = connect(proxy.http()).await;
        let ask = |place: String| Request::connect(place).body(Empty::new()).unwrap();
        let refused = sender.send_request(ask("127.0.0.1:2".into())).await.unwrap();
        assert_eq!(refused.status(), StatusCode::FORBIDDEN);
        let granted = sender.send_request(ask(place.to_string())).await.unwrap();
        assert_eq!(granted.status(), StatusCode::OK);
        there_and_back(granted).await;
    });
    thread.join().unwrap();
    let line = proxy.wait_log("the tunnel is logged", |line| line["status"] == 200);
    assert_eq!((&line["method"], &line["path"]), (&"CONNECT".into(), &place.to_string().into()));
    assert_eq!(line["bytes_to_client"], line["bytes_to_upstream"]);
    proxy.end();
}

/// What a server allows is known with its settings, and they come before its first answer.
async fn settled(sender: &mut Sender) {
    let refused = sender.send_request(Request::connect("nowhere:1").body(Empty::new()).unwrap()).await;
    assert_eq!(refused.unwrap().status(), StatusCode::METHOD_NOT_ALLOWED);
}

fn proxied(to: SocketAddr) -> Proxy {
    start(&["--http", &format!("127.0.0.1:0=http://{to}"), "--access-log", "json"])
}

#[test]
fn a_websocket_over_http_2_becomes_an_upgrade() {
    let head = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat\r\n\r\n";
    let (place, thread) = echo(true, head);
    let proxy = proxied(place);
    run(async {
        let mut sender = connect(proxy.http()).await;
        settled(&mut sender).await;
        let other = sender.send_request(websocket("connect-udp")).await;
        assert_eq!(other.unwrap().status(), StatusCode::NOT_IMPLEMENTED);
        let granted = sender.send_request(websocket("websocket")).await.unwrap();
        assert_eq!(granted.status(), StatusCode::OK);
        assert_eq!(granted.headers()["sec-websocket-protocol"], "chat");
        for hop in ["connection", "upgrade", "sec-websocket-accept"] {
            assert!(!granted.headers().contains_key(hop), "{hop}");
        }
        there_and_back(granted).await;
    });
    let asked = thread.join().unwrap().to_ascii_lowercase();
    assert!(asked.starts_with("get /room?id=1 http/1.1\r\n"), "{asked}");
    for line in
        ["connection: upgrade", "upgrade: websocket", "sec-websocket-version: 13", "origin: http://app"]
    {
        assert!(asked.contains(line), "{line}: {asked}");
    }
    assert!(asked.contains("sec-websocket-key: ") && asked.contains(&format!("host: {place}")), "{asked}");
    proxy.wait_log("it is logged", |line| line["flags"] == "upgraded");
    proxy.end();
}

#[test]
fn a_websocket_that_is_refused_has_an_answer() {
    let (place, _thread) = echo(true, b"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nnot!");
    let proxy = proxied(place);
    run(async {
        let mut sender = connect(proxy.http()).await;
        settled(&mut sender).await;
        let refused = sender.send_request(websocket("websocket")).await.unwrap();
        assert_eq!(refused.status(), StatusCode::FORBIDDEN);
        assert_eq!(refused.into_body().collect().await.unwrap().to_bytes(), "not!");
    });
    proxy.end();
}
