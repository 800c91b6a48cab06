//! A gRPC service as tonic serves it, written by hand where a build would have generated it: every kind of call, and what it has seen.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures_util::stream::{self, Stream, StreamExt as _};
use prost::Message;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::{BinaryMetadataValue, MetadataMap};
use tonic::server::{
    ClientStreamingService, Grpc, ServerStreamingService, StreamingService as BothWays, UnaryService,
};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status, Streaming};
use tower_service::Service;

/// The one message of this service.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Order {
    #[prost(uint64, tag = "1")]
    pub(super) number: u64,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) goods: Vec<u8>,
}

pub(super) fn order(number: u64, goods: impl Into<Vec<u8>>) -> Order {
    Order { number, goods: goods.into() }
}

/// Orders on the wire.
#[derive(Clone, Copy, Default)]
pub(super) struct Orders;

impl Codec for Orders {
    type Encode = Order;
    type Decode = Order;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Orders {
    type Item = Order;
    type Error = Status;

    fn encode(&mut self, order: Order, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        order.encode(buf).map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for Orders {
    type Item = Order;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<Order>, Status> {
        Order::decode(buf).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}

/// A call as the service saw it.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) method: String,
    pub(super) headers: http::HeaderMap,
}

/// What the service has seen so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    calls: Arc<Mutex<Vec<Call>>>,
    given_up: Arc<Mutex<usize>>,
}

impl Seen {
    /// Calls of that method.
    pub(super) fn calls(&self, method: &str) -> Vec<Call> {
        self.calls.lock().unwrap().iter().filter(|call| call.method == method).cloned().collect()
    }

    /// Calls that were cancelled while the service was at them.
    pub(super) fn given_up(&self) -> usize {
        *self.given_up.lock().unwrap()
    }
}

/// Serves on a free port, as long as the runtime runs.
pub(super) fn serve() -> (SocketAddr, Seen) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = TcpIncoming::from(tokio::net::TcpListener::from_std(listener).unwrap());
    let seen = Seen::default();
    let shop = Shop(seen.clone());
    tokio::spawn(async move { Server::builder().serve_with_incoming(shop, incoming).await.unwrap() });
    (address, seen)
}

#[derive(Clone)]
struct Shop(Seen);

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Answers = Pin<Box<dyn Stream<Item = Result<Order, Status>> + Send>>;

impl Service<http::Request<Body>> for Shop {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Boxed<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let method = request.uri().path().trim_start_matches("/shop.Orders/").to_owned();
        let call = Call { method: method.clone(), headers: request.headers().clone() };
        let nth = {
            let mut calls = self.0.calls.lock().unwrap();
            calls.push(call);
            calls.iter().filter(|call| call.method == method).count()
        };
        let seen = self.0.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(Orders).max_decoding_message_size(64 << 20);
            Ok(match method.as_str() {
                "Echo" => grpc.unary(Echo, request).await,
                "Fail" => grpc.unary(Fail, request).await,
                "Third" => grpc.unary(Third(nth), request).await,
                "Slow" => grpc.unary(Slow(seen), request).await,
                "Count" => grpc.server_streaming(Count, request).await,
                "Sum" => grpc.client_streaming(Sum, request).await,
                "Chat" => grpc.streaming(Chat, request).await,
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

/// The order comes back, and so does what its metadata says.
struct Echo;

impl UnaryService<Order> for Echo {
    type Response = Order;
    type Future = Ready<Result<Response<Order>, Status>>;

    fn call(&mut self, request: Request<Order>) -> Self::Future {
        let (metadata, _, order) = request.into_parts();
        let mut response = Response::new(order);
        for key in ["x-text", "x-many"] {
            for value in metadata.get_all(key) {
                response.metadata_mut().append(key, value.clone());
            }
        }
        if let Some(value) = metadata.get_bin("x-raw-bin") {
            response.metadata_mut().insert_bin("x-raw-bin", value.clone());
        }
        ready(Ok(response))
    }
}

/// The number of the order is the code, its goods are the details.
struct Fail;

impl UnaryService<Order> for Fail {
    type Response = Order;
    type Future = Ready<Result<Response<Order>, Status>>;

    fn call(&mut self, request: Request<Order>) -> Self::Future {
        let order = request.into_inner();
        let code = Code::from_i32(i32::try_from(order.number).unwrap());
        ready(Err(status(code, order.goods)))
    }
}

fn status(code: Code, details: Vec<u8>) -> Status {
    let mut metadata = MetadataMap::new();
    metadata.insert("x-why", "because".parse().unwrap());
    metadata.insert_bin("x-raw-bin", BinaryMetadataValue::from_bytes(&[0, 255, 10, 13]));
    Status::with_details_and_metadata(code, "ümlaut, 100 % and\na line", details.into(), metadata)
}

/// Unavailable, until it is asked for the third time.
struct Third(usize);

impl UnaryService<Order> for Third {
    type Response = Order;
    type Future = Ready<Result<Response<Order>, Status>>;

    fn call(&mut self, request: Request<Order>) -> Self::Future {
        ready(if self.0 < 3 {
            Err(Status::unavailable("not yet"))
        } else {
            Ok(Response::new(request.into_inner()))
        })
    }
}

/// Never answers.
struct Slow(Seen);

impl UnaryService<Order> for Slow {
    type Response = Order;
    type Future = Boxed<Result<Response<Order>, Status>>;

    fn call(&mut self, _: Request<Order>) -> Self::Future {
        struct Gone(Seen);
        impl Drop for Gone {
            fn drop(&mut self) {
                *self.0.given_up.lock().unwrap() += 1;
            }
        }
        let gone = Gone(self.0.clone());
        Box::pin(async move {
            let _gone = gone;
            std::future::pending().await
        })
    }
}

/// As many orders as the number says; then, if goods were named, a failure.
struct Count;

impl ServerStreamingService<Order> for Count {
    type Response = Order;
    type ResponseStream = Answers;
    type Future = Ready<Result<Response<Answers>, Status>>;

    fn call(&mut self, request: Request<Order>) -> Self::Future {
        let asked = request.into_inner();
        let failure = (!asked.goods.is_empty()).then(|| Err(status(Code::DataLoss, asked.goods)));
        let orders = stream::iter(0..asked.number).map(|number| Ok(order(number, vec![b'g'; 1000])));
        let answers: Answers = Box::pin(orders.chain(stream::iter(failure)));
        ready(Ok(Response::new(answers)))
    }
}

/// How many orders there were, and how many bytes of goods.
struct Sum;

impl ClientStreamingService<Order> for Sum {
    type Response = Order;
    type Future = Boxed<Result<Response<Order>, Status>>;

    fn call(&mut self, request: Request<Streaming<Order>>) -> Self::Future {
        Box::pin(async move {
            let mut orders = request.into_inner();
            let (mut count, mut bytes) = (0, 0);
            while let Some(order) = orders.message().await? {
                count += 1;
                bytes += order.goods.len();
            }
            Ok(Response::new(order(count, bytes.to_string())))
        })
    }
}

/// Each order comes back at once.
struct Chat;

impl BothWays<Order> for Chat {
    type Response = Order;
    type ResponseStream = Streaming<Order>;
    type Future = Ready<Result<Response<Streaming<Order>>, Status>>;

    fn call(&mut self, request: Request<Streaming<Order>>) -> Self::Future {
        ready(Ok(Response::new(request.into_inner())))
    }
}
