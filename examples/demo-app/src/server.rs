//! Listening, stopping, and the health check.

use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

pub(crate) type Answer = Response<Full<Bytes>>;

/// Resolves at SIGTERM or SIGINT. Handlers are in place when this function returns, also as PID 1.
pub(crate) fn stop_signal() -> anyhow::Result<impl Future<Output = anyhow::Result<()>>> {
    let mut term = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    Ok(async move {
        tokio::select! { _ = term.recv() => {}, _ = interrupt.recv() => {} }
        Ok(())
    })
}

/// Serves until `stopping` turns true, then lets open connections finish their request within `grace`.
pub(crate) async fn serve<F, A>(
    listener: TcpListener,
    mut stopping: watch::Receiver<bool>,
    grace: Duration,
    handler: F,
) where
    F: Fn(SocketAddr, Request<Incoming>) -> A + 'static,
    A: Future<Output = Answer> + 'static,
{
    let handler = Rc::new(handler);
    let mut open = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.wait_for(|stop| *stop) => break,
            Some(_) = open.join_next(), if !open.is_empty() => continue,
        };
        let Ok((stream, client)) = accepted else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (handler, mut stopping) = (Rc::clone(&handler), stopping.clone());
        open.spawn_local(async move {
            let service = service_fn(move |request| {
                let answer = handler(client, request);
                async move { Ok::<_, std::convert::Infallible>(answer.await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service);
            tokio::pin!(connection);
            tokio::select! {
                _ = connection.as_mut() => return,
                _ = stopping.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
            }
            let _ = connection.await;
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(grace, async { while open.join_next().await.is_some() {} }).await;
}

/// One `GET /healthz` to the running shop, by loopback when it listens on every address.
pub(crate) async fn probe(listen: SocketAddr) -> anyhow::Result<()> {
    let target = loopback(listen);
    let ask = async {
        let stream = tokio::net::TcpStream::connect(target).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::task::spawn_local(connection);
        let request = Request::get("/healthz").header("host", "localhost").body(Full::<Bytes>::default())?;
        anyhow::Ok(sender.send_request(request).await?.status())
    };
    let status =
        tokio::time::timeout(Duration::from_secs(3), ask).await.context("no answer within 3 s")??;
    anyhow::ensure!(status.is_success(), "answered {status}");
    Ok(())
}

/// Where a process in the same pod reaches this listener.
pub(crate) fn loopback(listen: SocketAddr) -> SocketAddr {
    match listen {
        SocketAddr::V4(addr) if addr.ip().is_unspecified() => SocketAddr::from(([127, 0, 0, 1], addr.port())),
        SocketAddr::V6(addr) if addr.ip().is_unspecified() => {
            SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, addr.port()))
        }
        other => other,
    }
}
