//! Connections: TCP and unix stream sockets.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use podkit::limit::Every;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tracing::warn;

use super::{Data, Listener, Peer, READ, Shared};

/// After a failed accept (no file descriptors left): not at once again.
const AGAIN: Duration = Duration::from_millis(100);

/// What both kinds of connections can do.
trait Connection {
    async fn readable(&self) -> io::Result<()>;
    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize>;
}

impl Connection for TcpStream {
    async fn readable(&self) -> io::Result<()> {
        TcpStream::readable(self).await
    }
    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        TcpStream::try_read(self, buffer)
    }
}

impl Connection for UnixStream {
    async fn readable(&self) -> io::Result<()> {
        UnixStream::readable(self).await
    }
    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        UnixStream::try_read(self, buffer)
    }
}

pub(super) async fn tcp(
    socket: TcpListener,
    index: usize,
    listener: Arc<Listener>,
    limit: Arc<Semaphore>,
    shared: Shared,
) {
    let accept = async || {
        let (stream, _) = socket.accept().await?;
        // A peer whose machine died says nothing for ever; the kernel asks after it.
        let _ = rustix::net::sockopt::set_socket_keepalive(&stream, true);
        let _ = rustix::net::sockopt::set_tcp_keepidle(&stream, Duration::from_secs(60));
        Ok(stream)
    };
    serve(accept, index, &listener, limit, shared).await;
}

pub(super) async fn unix(
    socket: UnixListener,
    index: usize,
    listener: Arc<Listener>,
    limit: Arc<Semaphore>,
    shared: Shared,
) {
    serve(async || Ok(socket.accept().await?.0), index, &listener, limit, shared).await;
    if let super::Address::Unix(path) = &listener.address {
        let _ = std::fs::remove_file(path);
    }
}

async fn serve<C: Connection + 'static>(
    accept: impl AsyncFn() -> io::Result<C>,
    index: usize,
    listener: &Listener,
    limit: Arc<Semaphore>,
    shared: Shared,
) {
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
        let stream = match shared.patient(None, accept()).await {
            Some(Ok(stream)) => stream,
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
            shared.meter.connections.inc();
            read(&stream, peer, idle, &shared).await;
            shared.meter.connections.dec();
            drop(permit);
        });
    }
}

async fn read(stream: &impl Connection, peer: Peer, idle: Option<Duration>, shared: &Shared) {
    loop {
        let Some(Ok(())) = shared.patient(idle, stream.readable()).await else { break };
        let read = {
            let mut buffer = shared.buffer.borrow_mut();
            stream.try_read(&mut buffer[..READ]).map(|count| buffer[..count].to_vec())
        };
        match read {
            Ok(bytes) if bytes.is_empty() => break,
            Ok(bytes) => {
                if !shared.send(peer, Data::Bytes(bytes)).await {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // A reset: what came before it has been read.
            Err(_) => break,
        }
    }
    shared.send(peer, Data::End).await;
}
