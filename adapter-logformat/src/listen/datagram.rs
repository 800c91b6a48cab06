//! Datagrams: UDP (RFC 5426: one syslog message each) and unix datagram sockets.

use std::io;

use tokio::net::{UdpSocket, UnixDatagram};

use super::{Address, Data, Peer, READ, Shared};

/// What is taken from the kernel at once, so that a burst costs one entry of the queue.
const MANY: usize = 512;

trait Datagrams {
    async fn readable(&self) -> io::Result<()>;
    fn try_recv(&self, buffer: &mut [u8]) -> io::Result<usize>;
}

impl Datagrams for UdpSocket {
    async fn readable(&self) -> io::Result<()> {
        UdpSocket::readable(self).await
    }
    fn try_recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        UdpSocket::try_recv(self, buffer)
    }
}

impl Datagrams for UnixDatagram {
    async fn readable(&self) -> io::Result<()> {
        UnixDatagram::readable(self).await
    }
    fn try_recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        UnixDatagram::try_recv(self, buffer)
    }
}

pub(super) async fn udp(socket: UdpSocket, index: usize, shared: Shared) {
    read(&socket, index, &shared).await;
}

pub(super) async fn unix(
    socket: UnixDatagram,
    index: usize,
    listener: std::sync::Arc<super::Listener>,
    shared: Shared,
) {
    read(&socket, index, &shared).await;
    if let Address::UnixDatagram(path) = &listener.address {
        let _ = std::fs::remove_file(path);
    }
}

async fn read(socket: &impl Datagrams, index: usize, shared: &Shared) {
    let peer = Peer { listener: index, connection: 0 };
    loop {
        let Some(Ok(())) = shared.patient(None, socket.readable()).await else { return };
        let (bytes, ends) = take(socket, shared);
        if !ends.is_empty() && !shared.send(peer, Data::Messages(bytes, ends)).await {
            return;
        }
    }
}

fn take(socket: &impl Datagrams, shared: &Shared) -> (Vec<u8>, Vec<usize>) {
    let mut buffer = shared.buffer.borrow_mut();
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    while ends.len() < MANY && bytes.len() < READ {
        match socket.try_recv(&mut buffer) {
            Ok(count) => {
                bytes.extend_from_slice(&buffer[..count]);
                ends.push(bytes.len());
            }
            // Nothing more; or an error of an earlier datagram, which says nothing about the next.
            Err(_) => break,
        }
    }
    (bytes, ends)
}
