//! One client's HTTP connection: HTTP/1.1 or h2c by its first bytes, until it ends, idles out, or the drain closes it.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};

use super::Client;
use super::attend::Verdict;
use super::rewind::{Rewind, sniff};
use crate::clock;
use crate::forward;
use crate::h1::server::{self, Line};
use crate::proxy_header;
use crate::shelf::Placed;
use crate::upstream::connect::{BUFFER, Local};
use crate::upstream::io::Plain;
use crate::worker::Worker;

/// A connection that has said nothing yet is closed after this.
const IDLE: Duration = Duration::from_secs(300);
/// The same while draining.
const DRAIN_IDLE: Duration = Duration::from_secs(1);

/// Serves a connection to its end.
pub async fn http(worker: Rc<Worker>, client: Rc<Client>, mut stream: Plain, proxy_protocol: bool) {
    worker.attend(&client);
    let mut head = Vec::new();
    let first = async {
        if proxy_protocol {
            proxy_header::read(&mut stream, &mut head).await?;
        }
        sniff(&mut stream, &mut head).await
    };
    let drained = async {
        worker.drain.cancelled().await;
        tokio::time::sleep(DRAIN_IDLE).await;
    };
    let h2 = tokio::select! {
        first = first => match first {
            Ok(h2) => h2,
            Err(_) => return,
        },
        () = drained => return,
        () = tokio::time::sleep(IDLE) => return,
    };
    let io = Rewind::new(stream, head, !h2, client.watch.clone());
    if h2 {
        let service = {
            let (worker, client) = (worker.clone(), client.clone());
            service_fn(move |request: Request<Incoming>| {
                // In a box, because hyper and the runtime move it about.
                Placed::new(&worker, forward::handle(worker.clone(), client.clone(), request))
            })
        };
        let mut builder = http2::Builder::new(Local);
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(256 << 10)
            .initial_connection_window_size(1 << 20)
            .max_send_buf_size(BUFFER)
            .max_header_list_size(64 << 10)
            .max_concurrent_streams(256)
            .auto_date_header(false)
            // WebSockets over HTTP/2 (RFC 8441).
            .enable_connect_protocol()
            .keep_alive_interval(Duration::from_secs(60))
            .keep_alive_timeout(Duration::from_secs(20));
        let connection = Box::pin(builder.serve_connection(TokioIo::new(io), service));
        client.attended.h2.set(true);
        drive(connection, http2::Connection::graceful_shutdown, &client).await;
    } else {
        let connection = Box::pin(server::serve(worker.clone(), client.clone(), Line::new(io)));
        drive(connection, |_| client.closing.set(true), &client).await;
    }
}

/// Until the connection has ended, or its worker says that it has to.
async fn drive<C, E>(mut connection: Pin<Box<C>>, close: impl Fn(Pin<&mut C>), client: &Client)
where
    C: Future<Output = Result<(), E>>,
    E: std::fmt::Display,
{
    let mut closing = false;
    let ended = poll_fn(|cx| {
        clock::turn();
        client.attended.listen(cx.waker());
        match client.attended.verdict() {
            Verdict::Cut => return Poll::Ready(None),
            Verdict::Close if !closing => {
                closing = true;
                close(connection.as_mut());
            }
            _ => {}
        }
        connection.as_mut().poll(cx).map(Some)
    });
    match ended.await {
        Some(Ok(())) => {}
        Some(Err(error)) => {
            tracing::debug!(listener = %client.door.name, client = %client.address, %error, "connection ended");
        }
        None => {
            tracing::debug!(listener = %client.door.name, client = %client.address, "no whole head in time");
        }
    }
}
