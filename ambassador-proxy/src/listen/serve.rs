//! One client's HTTP connection: HTTP/1.1 or h2c by its first bytes, until it ends, idles out, or the drain closes it.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};

use super::Client;
use super::rewind::{Rewind, sniff};
use crate::forward::{self, body::Inbound};
use crate::h1::server::{self, Line};
use crate::proxy_header;
use crate::upstream::connect::{BUFFER, Local};
use crate::upstream::io::Plain;
use crate::worker::Worker;

/// An unused connection of the app is closed after this: above the 90 s after which Go and the 75 s after which others close theirs, so that
/// it is they who close.
const IDLE: Duration = Duration::from_secs(300);
/// A head has to be there this long after its first byte.
const HEAD: Duration = Duration::from_secs(10);
/// How often that is looked at.
const TICK: Duration = Duration::from_secs(5);
/// While draining, a connection unused for this long is closed.
const DRAIN_IDLE: Duration = Duration::from_secs(1);

/// Serves a connection to its end.
pub async fn http(worker: Rc<Worker>, client: Rc<Client>, mut stream: Plain, proxy_protocol: bool) {
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
                let request = request.map(Inbound::H2);
                forward::handle(worker.clone(), client.clone(), request, Bytes::new())
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
            .keep_alive_interval(Duration::from_secs(60))
            .keep_alive_timeout(Duration::from_secs(20));
        let connection = Box::pin(builder.serve_connection(TokioIo::new(io), service));
        drive(connection, http2::Connection::graceful_shutdown, true, &worker, &client).await;
    } else {
        let connection = Box::pin(server::serve(worker.clone(), client.clone(), Line::new(io)));
        drive(connection, |_| client.closing.set(true), false, &worker, &client).await;
    }
}

async fn drive<C, E>(
    mut connection: Pin<Box<C>>,
    close: impl Fn(Pin<&mut C>),
    h2: bool,
    worker: &Worker,
    client: &Client,
) where
    C: Future<Output = Result<(), E>>,
    E: std::fmt::Display,
{
    let mut closing = false;
    // Bytes seen while no request was being served, and since when.
    let mut partial: Option<(u64, Instant)> = None;
    loop {
        let draining = worker.drain.is_cancelled();
        let tick = if draining { Duration::from_millis(100) } else { TICK };
        tokio::select! {
            biased;
            result = &mut connection => {
                if let Err(error) = result {
                    tracing::debug!(listener = %client.door.name, client = %client.address, %error, "connection ended");
                }
                return;
            }
            () = worker.drain.cancelled(), if !draining => {
                if h2 {
                    closing = true;
                    close(connection.as_mut());
                }
            }
            () = tokio::time::sleep(tick) => {
                let idle = client.idle();
                let limit = if draining { DRAIN_IDLE } else { IDLE };
                if !closing && idle.is_some_and(|idle| idle >= limit) {
                    closing = true;
                    close(connection.as_mut());
                }
                let now = client.watch.read.load(Relaxed);
                partial = match (idle, partial) {
                    (None, _) => None,
                    (Some(_), Some((seen, since))) if seen != now || since.elapsed() < HEAD => Some((seen, since)),
                    (Some(_), Some(_)) => None,
                    (Some(idle), None) if idle < TICK => None,
                    (Some(_), None) => Some((now, Instant::now())),
                };
                // Something came since the connection became idle, and it is no whole head yet.
                if !h2 && partial.is_some_and(|(seen, since)| seen != now && since.elapsed() >= HEAD) {
                    tracing::debug!(listener = %client.door.name, client = %client.address, "no whole head in time");
                    return;
                }
            }
        }
    }
}
