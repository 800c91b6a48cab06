//! The shop's own visitors: an open loop at a fixed rate over keep-alive connections, as a browser would come.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::ledger::Ledger;
use crate::server::loopback;
use crate::shop::PRODUCTS;

/// Visits under way at once; beyond that one is skipped and counted, so that a slow service cannot pile them up.
const MOST_VISITS: usize = 256;
/// Visits are made in batches this often, so that the timer costs little at any rate.
const TICK: Duration = Duration::from_millis(20);

type Idle = Rc<RefCell<Vec<SendRequest<Full<Bytes>>>>>;

/// Visits the shop at `rate` per second until `stopping`, then waits for the visits under way.
pub(crate) async fn run(
    listen: SocketAddr,
    rate: u32,
    ledger: Rc<Ledger>,
    mut stopping: watch::Receiver<bool>,
) {
    if rate == 0 {
        return;
    }
    let target = loopback(listen);
    let idle = Idle::default();
    let mut visits = JoinSet::new();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut owed = 0.0;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopping.wait_for(|stop| *stop) => break,
        }
        while visits.try_join_next().is_some() {}
        owed += f64::from(rate) * TICK.as_secs_f64();
        while owed >= 1.0 {
            owed -= 1.0;
            if visits.len() < MOST_VISITS {
                visits.spawn_local(visit(target, Rc::clone(&idle)));
            } else {
                ledger.skipped();
            }
        }
    }
    while visits.join_next().await.is_some() {}
}

/// One visit. Whether the page came is the shop's business to count; a visitor just goes away.
async fn visit(target: SocketAddr, idle: Idle) {
    let product = fastrand::usize(..PRODUCTS.len());
    let (method, path) = match fastrand::u8(..10) {
        0..4 => ("GET", "/".to_owned()),
        4..8 => ("GET", format!("/product/{product}")),
        _ => ("POST", format!("/checkout?product={product}")),
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "shop.example")
        .header("user-agent", "Mozilla/5.0 (demo visitor)")
        .body(Full::<Bytes>::default());
    let Ok(request) = request else { return };
    let known = idle.borrow_mut().pop();
    let connection = match known.filter(SendRequest::is_ready) {
        Some(connection) => Some(connection),
        None => connect(target).await,
    };
    let Some(mut connection) = connection else { return };
    if let Ok(answer) = connection.send_request(request).await
        && answer.into_body().collect().await.is_ok()
    {
        idle.borrow_mut().push(connection);
    }
}

async fn connect(target: SocketAddr) -> Option<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(target).await.ok()?;
    let _ = stream.set_nodelay(true);
    let (sender, connection) = handshake(TokioIo::new(stream)).await.ok()?;
    tokio::task::spawn_local(connection);
    Some(sender)
}
