//! gRPC as tonic speaks it on both sides of the proxy: every kind of call, its errors, its metadata, its time-outs.

mod orders;

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use http::uri::PathAndQuery;
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::metadata::BinaryMetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tower_service::Service;

use self::orders::{Order, Orders, Seen, order};
use crate::common::{Proxy, start, start_config};
use testkit::PodDir;

fn run(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(testkit::timeout(), work).await.expect("in time") });
}

/// The service, a proxy in front of it, and a client of that.
async fn shop() -> (Proxy, Seen, Grpc<Channel>) {
    let (address, seen) = orders::serve();
    let proxy = start(&["--http", &format!("127.0.0.1:0=http://{address}"), "--workers", "1"]);
    let client = client(proxy.http()).await;
    (proxy, seen, client)
}

async fn client(address: SocketAddr) -> Grpc<Channel> {
    // More than tonic's 16 KB, so that long trailers are the proxy's to bear.
    let endpoint =
        Channel::from_shared(format!("http://{address}")).unwrap().http2_max_header_list_size(128 << 10);
    let channel = endpoint.connect().await.unwrap();
    let mut client = Grpc::new(channel).max_decoding_message_size(64 << 20);
    client.ready().await.unwrap();
    client
}

fn path(method: &str) -> PathAndQuery {
    format!("/shop.Orders/{method}").parse().unwrap()
}

async fn unary(client: &mut Grpc<Channel>, method: &str, order: Order) -> Result<Order, Status> {
    client.ready().await.unwrap();
    Ok(client.unary(Request::new(order), path(method), Orders).await?.into_inner())
}

#[test]
fn a_call_and_its_metadata_come_through() {
    run(async {
        let (_proxy, seen, mut client) = shop().await;
        let mut request = Request::new(order(7, "goods"));
        let raw = BinaryMetadataValue::from_bytes(&[0, 1, 254, 255]);
        request.metadata_mut().insert("x-text", "text".parse().unwrap());
        request.metadata_mut().append("x-many", "one".parse().unwrap());
        request.metadata_mut().append("x-many", "two".parse().unwrap());
        request.metadata_mut().insert_bin("x-raw-bin", raw.clone());
        let response = client.unary(request, path("Echo"), Orders).await.unwrap();
        let metadata = response.metadata();
        assert_eq!(metadata.get("x-text").unwrap(), "text");
        assert_eq!(metadata.get_all("x-many").iter().collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(metadata.get_bin("x-raw-bin").unwrap(), &raw);
        assert_eq!(response.into_inner(), order(7, "goods"));
        let call = seen.calls("Echo").remove(0);
        assert_eq!(call.headers["te"], "trailers");
        assert!(call.headers["user-agent"].to_str().unwrap().contains("tonic"));
    });
}

#[test]
fn every_code_comes_with_its_message_details_and_metadata() {
    run(async {
        let (_proxy, _seen, mut client) = shop().await;
        for number in 1..=16 {
            // The last ones with as much as one header may carry.
            let details = vec![0xd5; if number < 15 { 10 } else { 24 << 10 }];
            let status = unary(&mut client, "Fail", order(number, details.clone())).await.unwrap_err();
            assert_eq!(status.code(), Code::from_i32(i32::try_from(number).unwrap()));
            assert_eq!(status.message(), "ümlaut, 100 % and\na line");
            assert_eq!(status.details(), details);
            assert_eq!(status.metadata().get("x-why").unwrap(), "because");
            let raw = status.metadata().get_bin("x-raw-bin").unwrap();
            assert_eq!(&raw.to_bytes().unwrap()[..], [0, 255, 10, 13]);
        }
        let status = unary(&mut client, "Nothing", order(0, "")).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::Unimplemented, "no such method"));
    });
}

#[test]
fn a_server_streams_and_its_last_word_is_heard() {
    run(async {
        let (_proxy, _seen, mut client) = shop().await;
        for (count, goods) in [(0, ""), (1, ""), (2000, ""), (0, "lost"), (300, "lost")] {
            client.ready().await.unwrap();
            let request = Request::new(order(count, goods));
            let mut answers =
                client.server_streaming(request, path("Count"), Orders).await.unwrap().into_inner();
            let mut came = 0;
            let end = loop {
                match answers.message().await {
                    Ok(Some(order)) => {
                        assert_eq!((order.number, order.goods.len()), (came, 1000));
                        came += 1;
                    }
                    Ok(None) => break None,
                    Err(status) => break Some(status),
                }
            };
            assert_eq!(came, count);
            assert_eq!(end.is_some(), goods == "lost");
            if let Some(status) = end {
                assert_eq!((status.code(), status.details()), (Code::DataLoss, &b"lost"[..]));
                assert_eq!(status.metadata().get("x-why").unwrap(), "because");
            }
        }
    });
}

#[test]
fn a_client_streams() {
    run(async {
        let (_proxy, _seen, mut client) = shop().await;
        for (count, size) in [(0, 0), (1, 10), (1000, 1000), (20, 200_000)] {
            client.ready().await.unwrap();
            let orders = stream::iter(0..count).map(move |number| order(number, vec![b'g'; size]));
            let sum = client.client_streaming(Request::new(orders), path("Sum"), Orders).await.unwrap();
            let bytes = usize::try_from(count).unwrap() * size;
            assert_eq!(sum.into_inner(), order(count, bytes.to_string()));
        }
    });
}

/// Each order is sent only when the one before has come back: nothing may wait for more bytes, in either direction.
#[test]
fn both_sides_stream_in_turn_on_one_connection() {
    run(async {
        let (proxy, _seen, client) = shop().await;
        let chats = (0..20).map(|_| {
            let mut client = client.clone();
            async move {
                let (sender, receiver) = futures_channel();
                client.ready().await.unwrap();
                let chat = client.streaming(Request::new(receiver), path("Chat"), Orders).await.unwrap();
                let mut answers = chat.into_inner();
                for number in 0..50 {
                    sender.send(order(number, "hello")).unwrap();
                    assert_eq!(answers.message().await.unwrap(), Some(order(number, "hello")));
                }
                drop(sender);
                assert_eq!(answers.message().await.unwrap(), None);
            }
        });
        futures_util::future::join_all(chats).await;
        let lines = proxy.log();
        assert!(lines.iter().all(|line| line["status"] == 200 && line["protocol"] == "HTTP/2"), "{lines:?}");
    });
}

/// A stream that is fed while it runs.
fn futures_channel()
-> (tokio::sync::mpsc::UnboundedSender<Order>, impl futures_util::Stream<Item = Order> + Send + 'static) {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let stream = stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|order| (order, receiver))
    });
    (sender, stream)
}

#[test]
fn messages_of_many_megabytes_come_through() {
    run(async {
        let (_proxy, _seen, mut client) = shop().await;
        for size in [(16 << 10) - 5, 1 << 20, 20 << 20] {
            let goods: Vec<u8> = (0..size).map(|n: usize| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
            assert!(unary(&mut client, "Echo", order(1, goods.clone())).await.unwrap().goods == goods);
        }
    });
}

/// A client that has no clock of its own, so that it is the proxy which gives up.
#[derive(Clone)]
struct Patient(SendRequest<Body>);

impl Service<http::Request<Body>> for Patient {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

#[test]
fn a_deadline_is_the_clients_at_the_proxy_and_at_the_service() {
    run(async {
        let (proxy, seen, mut client) = shop().await;
        let stream = TokioIo::new(tokio::net::TcpStream::connect(proxy.http()).await.unwrap());
        let (sender, connection) = handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(connection);
        let origin = format!("http://{}", proxy.http()).parse().unwrap();
        let mut patient = Grpc::with_origin(Patient(sender), origin);
        let mut request = Request::new(order(1, ""));
        request.set_timeout(Duration::from_millis(300));
        patient.ready().await.unwrap();
        let status = patient.unary(request, path("Slow"), Orders).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
        assert!(status.metadata().get("proxy-status").unwrap().to_str().unwrap().contains("timeout"));
        // The service was told what was left, and that nobody waits any more.
        let told = seen.calls("Slow").remove(0).headers["grpc-timeout"].to_str().unwrap().to_owned();
        let left: u64 = told.strip_suffix('m').unwrap().parse().unwrap();
        assert!((1..=300).contains(&left), "{told}");
        while seen.given_up() < 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // tonic gives up by itself, too: the service hears of that through the proxy.
        let mut request = Request::new(order(1, ""));
        request.set_timeout(Duration::from_millis(100));
        client.ready().await.unwrap();
        let status = client.unary(request, path("Slow"), Orders).await.unwrap_err();
        assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status:?}");
        while seen.given_up() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}

#[test]
fn what_is_unavailable_is_asked_again_only_when_that_was_asked_for() {
    run(async {
        let (_proxy, seen, mut client_of_default) = shop().await;
        let status = unary(&mut client_of_default, "Third", order(1, "")).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::Unavailable, "not yet"));
        assert_eq!(seen.calls("Third").len(), 1);
        let ((address, seen), pod) = (orders::serve(), PodDir::new());
        let text = format!(
            "listeners: [{{http: '127.0.0.1:0', to: orders}}]\nupstreams:\n  orders:\n    url: http://{address}\n    retry: {{attempts: 3, grpc_codes: [UNAVAILABLE], methods: [POST], backoff: 1ms}}\n"
        );
        let proxy = start_config(&pod.write("proxy.yaml", text));
        let mut client = client(proxy.http()).await;
        let answer = unary(&mut client, "Third", order(3, "kept for the third try")).await.unwrap();
        assert_eq!(answer, order(3, "kept for the third try"));
        assert_eq!(seen.calls("Third").len(), 3);
        let line = proxy.wait_log("it is logged", |line| line["attempts"] == 3);
        assert!(line["flags"].as_str().unwrap().contains("status_retry"), "{line}");
        // Other codes are answers.
        let status = unary(&mut client, "Fail", order(5, "")).await.unwrap_err();
        assert_eq!((status.code(), seen.calls("Fail").len()), (Code::NotFound, 1));
    });
}
