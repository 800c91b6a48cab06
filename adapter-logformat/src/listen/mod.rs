//! Sockets and FIFOs in: `bind → accept → read → a bounded queue`; the converting thread takes from the queue.
//!
//! What arrives here has no file to fall back to. So the queue is short (4 MiB), and while it is full nothing is read: on a byte stream or a
//! local socket the sender waits, and on UDP the kernel drops what its own buffer cannot hold, and its count of that is exported.

pub mod address;
mod datagram;
mod drops;
mod fifo;
mod stream;
mod tls;

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use logtail::Wakeup;
use podkit::shutdown::Shutdown;
use tokio::sync::mpsc;

use crate::meter::Meter;
pub use address::{Address, Framing, Listener};

/// Bytes read at once, and the most that one entry of the queue holds.
const READ: usize = 64 << 10;
/// Entries of the queue.
const QUEUE: usize = 64;
/// During a drain a sender that says nothing for so long has said everything.
const SILENCE: Duration = Duration::from_millis(250);

/// What is left of the grace when senders that still talk are left, so that what they said can be written.
const LAST: Duration = Duration::from_millis(600);

/// Who said something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// Its listener's place in the configuration.
    pub listener: usize,
    /// Counts connections; 0 for datagrams.
    pub connection: u64,
}

#[derive(Debug)]
pub struct Chunk {
    pub peer: Peer,
    pub data: Data,
}

#[derive(Debug)]
pub enum Data {
    /// A piece of a byte stream.
    Bytes(Vec<u8>),
    /// Datagrams, one behind the other, and where each ends.
    Messages(Vec<u8>, Vec<usize>),
    /// The sender is gone.
    End,
}

/// Bound and not yet read from.
#[derive(Debug)]
pub struct Bound {
    listeners: Vec<Listening>,
}

#[derive(Debug)]
struct Listening {
    listener: Arc<Listener>,
    sockets: Vec<Socket>,
    /// Where TLS is spoken.
    credentials: Option<tls::Credentials>,
}

#[derive(Debug)]
enum Socket {
    Tcp(std::net::TcpListener),
    Udp(std::net::UdpSocket),
    Unix(std::os::unix::net::UnixListener),
    UnixDatagram(std::os::unix::net::UnixDatagram),
    Fifo,
}

/// What every reader needs.
#[derive(Clone)]
struct Shared {
    queue: mpsc::Sender<Chunk>,
    wakeup: Wakeup,
    meter: Meter,
    shutdown: Shutdown,
    /// One for all: readers are tasks of one thread, and none keeps bytes in it while it waits.
    buffer: Rc<RefCell<Vec<u8>>>,
}

impl Shared {
    /// False when nobody takes any more.
    async fn send(&self, peer: Peer, data: Data) -> bool {
        let sent = self.queue.send(Chunk { peer, data }).await.is_ok();
        self.wakeup.fire();
        sent
    }

    /// Waits for `ready`; `None` when a drain found the sender silent, or `idle` passed.
    async fn patient<T>(&self, idle: Option<Duration>, ready: impl Future<Output = T>) -> Option<T> {
        if self.shutdown.is_started() && self.shutdown.remaining() < LAST {
            return None;
        }
        let quiet = async {
            self.shutdown.started().await;
            tokio::time::sleep(SILENCE).await;
        };
        let idle = async {
            match idle {
                Some(idle) => tokio::time::sleep(idle).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            done = ready => Some(done),
            () = quiet => None,
            () = idle => None,
        }
    }
}

impl Bound {
    /// Binds everything, or says what cannot be bound.
    ///
    /// # Errors
    /// A sentence with the remedy.
    pub fn open(listeners: Vec<Arc<Listener>>) -> Result<Self, String> {
        let mut bound = Vec::new();
        for listener in listeners {
            let sockets = bind(&listener).map_err(|error| {
                let remedy = match error.kind() {
                    io::ErrorKind::AddrInUse => "another process has it: give each its own",
                    io::ErrorKind::PermissionDenied => {
                        "take a port from 1024 on, or a directory its user may write"
                    }
                    _ => "correct the address",
                };
                format!("{} cannot be listened on: {error}; {remedy}", listener.text)
            })?;
            let credentials = match &listener.address {
                Address::Tls(.., files) => {
                    let read = tls::Credentials::read(files);
                    Some(read.map_err(|error| format!("{} cannot be listened on: {error}", listener.text))?)
                }
                _ => None,
            };
            bound.push(Listening { listener, sockets, credentials });
        }
        Ok(Self { listeners: bound })
    }

    /// Where network listeners really listen (port 0 resolved).
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let of = |socket: &Socket| match socket {
            Socket::Tcp(listener) => listener.local_addr().ok(),
            Socket::Udp(socket) => socket.local_addr().ok(),
            _ => None,
        };
        self.listeners.iter().flat_map(|listening| listening.sockets.iter().filter_map(of)).collect()
    }

    /// Starts the readers as tasks of this thread. The queue ends when all of them have: after the shutdown has begun.
    ///
    /// # Errors
    /// The runtime does not take a socket.
    pub fn start(
        self,
        wakeup: &Wakeup,
        meter: &Meter,
        shutdown: &Shutdown,
    ) -> io::Result<mpsc::Receiver<Chunk>> {
        let (queue, inbox) = mpsc::channel(QUEUE);
        let shared = Shared {
            queue,
            wakeup: wakeup.clone(),
            meter: meter.clone(),
            shutdown: shutdown.clone(),
            buffer: Rc::new(RefCell::new(vec![0; READ + 1])),
        };
        for (index, listening) in self.listeners.into_iter().enumerate() {
            let Listening { listener, sockets, credentials } = listening;
            let secure = credentials.map(|credentials| tls::Secure::start(credentials, &listener, &shared));
            let limit = Arc::new(tokio::sync::Semaphore::new(listener.max_connections));
            for socket in sockets {
                let (shared, listener, limit) = (shared.clone(), listener.clone(), limit.clone());
                match socket {
                    Socket::Tcp(socket) => {
                        let socket = tokio::net::TcpListener::from_std(socket)?;
                        match secure.clone() {
                            None => {
                                tokio::task::spawn_local(stream::tcp(socket, index, listener, limit, shared))
                            }
                            Some(secure) => tokio::task::spawn_local(stream::tls(
                                socket, secure, index, listener, limit, shared,
                            )),
                        };
                    }
                    Socket::Unix(socket) => {
                        let socket = tokio::net::UnixListener::from_std(socket)?;
                        tokio::task::spawn_local(stream::unix(socket, index, listener, limit, shared));
                    }
                    Socket::Udp(socket) => {
                        let inode = drops::inode(&socket);
                        let socket = tokio::net::UdpSocket::from_std(socket)?;
                        tokio::task::spawn_local(drops::watch(inode, shared.clone()));
                        tokio::task::spawn_local(datagram::udp(socket, index, shared));
                    }
                    Socket::UnixDatagram(socket) => {
                        let socket = tokio::net::UnixDatagram::from_std(socket)?;
                        tokio::task::spawn_local(datagram::unix(socket, index, listener, shared));
                    }
                    Socket::Fifo => {
                        tokio::task::spawn_local(fifo::read(listener, index, shared));
                    }
                }
            }
        }
        Ok(inbox)
    }
}

fn bind(listener: &Listener) -> io::Result<Vec<Socket>> {
    match &listener.address {
        Address::Tcp(host, port) | Address::Tls(host, port, _) => both(host, *port, |address| {
            let socket = std::net::TcpListener::bind(address)?;
            socket.set_nonblocking(true)?;
            Ok((socket.local_addr()?, Socket::Tcp(socket)))
        }),
        Address::Udp(host, port) => {
            both(host, *port, |address| {
                let socket = std::net::UdpSocket::bind(address)?;
                socket.set_nonblocking(true)?;
                // What arrives while the converting thread is busy waits here; the kernel may grant less (net.core.rmem_max).
                let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 4 << 20);
                Ok((socket.local_addr()?, Socket::Udp(socket)))
            })
        }
        Address::Unix(path) => {
            make_room(path, |path| std::os::unix::net::UnixStream::connect(path).is_ok())?;
            let socket = std::os::unix::net::UnixListener::bind(path)?;
            socket.set_nonblocking(true)?;
            permit(path, listener.mode)?;
            Ok(vec![Socket::Unix(socket)])
        }
        Address::UnixDatagram(path) => {
            make_room(path, |path| {
                let probe = std::os::unix::net::UnixDatagram::unbound();
                probe.and_then(|probe| probe.connect(path)).is_ok()
            })?;
            let socket = std::os::unix::net::UnixDatagram::bind(path)?;
            socket.set_nonblocking(true)?;
            permit(path, listener.mode)?;
            Ok(vec![Socket::UnixDatagram(socket)])
        }
        Address::Fifo(path) => {
            if !path.exists() {
                parent(path)?;
                let mode = rustix::fs::Mode::from_raw_mode(listener.mode);
                rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0)?;
                permit(path, listener.mode)?;
            }
            Ok(vec![Socket::Fifo])
        }
    }
}

/// Loopback is two addresses: a sender that asks for `localhost` may mean either.
fn both(
    host: &str,
    port: u16,
    bind: impl Fn(SocketAddr) -> io::Result<(SocketAddr, Socket)>,
) -> io::Result<Vec<Socket>> {
    if !matches!(host, "" | "localhost") {
        let ip = host
            .parse()
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "the host is no IP address"))?;
        return Ok(vec![bind(SocketAddr::new(ip, port))?.1]);
    }
    let (address, first) = bind(SocketAddr::from(([127, 0, 0, 1], port)))?;
    let second = bind(SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, address.port())));
    let mut sockets = vec![first];
    match second {
        Ok((_, second)) => sockets.push(second),
        // Somebody else's port there would take half of what is meant for us.
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && port != 0 => return Err(error),
        Err(_) => {}
    }
    Ok(sockets)
}

/// A socket file left by a process that was killed is in the way; one that somebody listens on is not ours to remove.
fn make_room(path: &Path, alive: impl Fn(&Path) -> bool) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;

    parent(path)?;
    match std::fs::symlink_metadata(path) {
        Ok(about) if about.file_type().is_socket() => {
            if alive(path) {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            std::fs::remove_file(path)
        }
        _ => Ok(()),
    }
}

fn parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), std::fs::create_dir_all)
}

/// The file's permissions, whatever the umask says: the app's user is seldom ours.
fn permit(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;

    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}
