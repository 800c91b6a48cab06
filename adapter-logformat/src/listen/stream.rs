//! Connections: TCP, bare and below TLS, and unix stream sockets.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use podkit::limit::Every;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::Semaphore;
use tracing::warn;

use super::{Data, Listener, Peer, READ, SILENCE, Shared, tls::Secure};

/// After a failed accept (no file descriptors left): not at once again.
const AGAIN: Duration = Duration::from_millis(100);

pub(super) async fn tcp(
    socket: TcpListener,
    index: usize,
    listener: Arc<Listener>,
    limit: Arc<Semaphore>,
    shared: Shared,
) {
    let accept = async || Ok(std::future::ready(Some(accept(&socket).await?)));
    serve(accept, index, &listener, limit, shared).await;
}

pub(super) async fn tls(
    socket: TcpListener,
    secure: Rc<Secure>,
    index: usize,
    listener: Arc<Listener>,
    limit: Arc<Semaphore>,
    shared: Shared,
) {
    let accept = async || Ok(secure.clone().handshake(accept(&socket).await?));
    serve(accept, index, &listener, limit, shared).await;
}

pub(super) async fn unix(
    socket: UnixListener,
    index: usize,
    listener: Arc<Listener>,
    limit: Arc<Semaphore>,
    shared: Shared,
) {
    let accept = async || Ok(std::future::ready(Some(socket.accept().await?.0)));
    serve(accept, index, &listener, limit, shared).await;
    if let super::Address::Unix(path) = &listener.address {
        let _ = std::fs::remove_file(path);
    }
}

async fn accept(socket: &TcpListener) -> io::Result<TcpStream> {
    let (stream, _) = socket.accept().await?;
    // A peer whose machine died says nothing for ever; the kernel asks after it.
    let _ = rustix::net::sockopt::set_socket_keepalive(&stream, true);
    let _ = rustix::net::sockopt::set_tcp_keepidle(&stream, Duration::from_secs(60));
    Ok(stream)
}

/// `accept` gives what is still to be done before the first byte, which has its place among the connections already.
async fn serve<F, S>(
    accept: impl AsyncFn() -> io::Result<F>,
    index: usize,
    listener: &Listener,
    limit: Arc<Semaphore>,
    shared: Shared,
) where
    F: Future<Output = Option<S>> + 'static,
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let every = Every::new(Duration::from_secs(10));
    loop {
        if limit.available_permits() == 0 {
            shared.meter.connections_held.inc();
            if let Some(suppressed) = every.allow() {
                warn!(
                    listener = listener.text,
                    limit = listener.max_connections,
                    suppressed,
                    "as many connections as allowed: further ones wait; raise max-connections, or set idle"
                );
            }
        }
        let Some(Ok(permit)) = shared.patient(None, limit.clone().acquire_owned()).await else { return };
        let opening = match shared.patient(None, accept()).await {
            Some(Ok(opening)) => opening,
            Some(Err(error)) => {
                if let Some(suppressed) = every.allow() {
                    warn!(listener = listener.text, %error, suppressed, "a connection could not be accepted");
                }
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            None => return,
        };
        let peer = Peer { listener: index, connection: shared.meter.next_connection() };
        let (shared, idle) = (shared.clone(), listener.idle);
        tokio::task::spawn_local(async move {
            if let Some(mut stream) = opening.await {
                shared.meter.connections.inc();
                read(&mut stream, peer, idle, &shared).await;
                shared.meter.connections.dec();
            }
            drop(permit);
        });
    }
}

async fn read<S>(stream: &mut S, peer: Peer, idle: Option<Duration>, shared: &Shared)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // Only an end ends it. After a reset, or an end of TLS that nobody announced: what came before has been read.
    while let Some(Ok(bytes)) = shared.patient(idle, take(stream, shared)).await {
        if bytes.is_empty() {
            break;
        }
        if !shared.send(peer, Data::Bytes(bytes)).await {
            return;
        }
    }
    shared.send(peer, Data::End).await;
    // TLS says goodbye, so that its peer need not take the end for an attack.
    let _ = tokio::time::timeout(SILENCE, stream.shutdown()).await;
}

/// The next bytes; none at the end. Nothing is lost when it is dropped.
async fn take<S: AsyncRead + Unpin>(stream: &mut S, shared: &Shared) -> io::Result<Vec<u8>> {
    std::future::poll_fn(|context| {
        let mut buffer = shared.buffer.borrow_mut();
        let mut read = ReadBuf::new(&mut buffer[..READ]);
        ready!(Pin::new(&mut *stream).poll_read(context, &mut read))?;
        Poll::Ready(Ok(read.filled().to_vec()))
    })
    .await
}
