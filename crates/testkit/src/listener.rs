//! A listening socket that can go down and come back on its own port, and connections that can be cut.

use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rustix::net;

/// Ends a connection with a reset, seen by both sides at once, whoever else holds the socket.
pub(crate) fn reset(stream: &TcpStream) {
    // On Linux this is an abortive disconnect (`tcp_disconnect`): the peer gets RST, blocked readers here wake up.
    let _ = net::connect_unspec(stream);
}

/// Keeps a connection open and silent until the peer gives up.
pub(crate) fn hang(mut stream: &TcpStream) {
    let mut sink = [0; 4096];
    while matches!(stream.read(&mut sink), Ok(1..)) {}
}

/// Runs `serve` on a runtime of this thread, with the connection as tokio wants it. Cutting the original cuts it too.
pub(crate) fn block_on<F: Future<Output = io::Result<()>>>(
    stream: &TcpStream,
    serve: impl FnOnce(tokio::net::TcpStream) -> F,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stream = stream.try_clone()?;
    stream.set_nonblocking(true)?;
    runtime.block_on(async { serve(tokio::net::TcpStream::from_std(stream)?).await })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Up,
    Down,
    Over,
}

/// Accepts on `127.0.0.1`, one thread per connection, until dropped.
#[derive(Debug)]
pub(crate) struct Listener {
    shared: Arc<Shared>,
    addr: SocketAddr,
}

#[derive(Debug)]
struct Shared {
    socket: TcpListener,
    state: Mutex<State>,
    changed: Condvar,
    connections: Mutex<Vec<Weak<TcpStream>>>,
}

impl Listener {
    /// `serve` gets each connection on a thread of its own.
    pub(crate) fn start(serve: impl Fn(Arc<TcpStream>) + Send + Sync + 'static) -> Self {
        let socket = bind().expect("bind 127.0.0.1");
        let addr = socket.local_addr().expect("a bound address");
        let shared = Arc::new(Shared {
            socket,
            state: Mutex::new(State::Up),
            changed: Condvar::new(),
            connections: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        let serve = Arc::new(serve);
        std::thread::spawn(move || {
            while let Some(stream) = accepting.accept() {
                let serve = Arc::clone(&serve);
                std::thread::spawn(move || serve(stream));
            }
        });
        Self { shared, addr }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Stops listening and resets every connection. The port stays ours: connecting to it is refused.
    pub(crate) fn down(&self) {
        *self.shared.state() = State::Down;
        let _ = net::shutdown(&self.shared.socket, net::Shutdown::Both);
        // A bound socket keeps its port from others only without this option, which listening again needs.
        let _ = net::sockopt::set_socket_reuseaddr(&self.shared.socket, false);
        self.reset_all();
    }

    /// Listens again, on the same port.
    pub(crate) fn up(&self) {
        net::sockopt::set_socket_reuseaddr(&self.shared.socket, true).expect("set SO_REUSEADDR");
        net::listen(&self.shared.socket, 1024).expect("listen again");
        *self.shared.state() = State::Up;
        self.shared.changed.notify_all();
    }

    pub(crate) fn reset_all(&self) {
        self.shared.open().iter().for_each(|stream| reset(stream));
    }

    pub(crate) fn open(&self) -> usize {
        self.shared.open().len()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        *self.shared.state() = State::Over;
        self.shared.changed.notify_all();
        let _ = net::shutdown(&self.shared.socket, net::Shutdown::Both);
        self.reset_all();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> Vec<Arc<TcpStream>> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|stream| stream.strong_count() > 0);
        connections.iter().filter_map(Weak::upgrade).collect()
    }

    /// The next connection, `None` when it is over.
    fn accept(&self) -> Option<Arc<TcpStream>> {
        loop {
            let accepted = self.socket.accept();
            let mut state = self.state();
            while *state == State::Down {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if *state == State::Over {
                return None;
            }
            drop(state);
            match accepted {
                Ok((stream, _)) => {
                    let stream = Arc::new(stream);
                    let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
                    connections.retain(|stream| stream.strong_count() > 0);
                    connections.push(Arc::downgrade(&stream));
                    let _ = stream.set_nodelay(true);
                    return Some(stream);
                }
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }
}

/// Binds a port by its number: only then does Linux keep it reserved while the socket does not listen.
fn bind() -> io::Result<TcpListener> {
    let mut last = None;
    for _ in 0..100 {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        match TcpListener::bind(free) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Write as _};

    use super::*;

    fn echo() -> Listener {
        Listener::start(|stream| {
            let mut byte = [0];
            while matches!((&*stream).read(&mut byte), Ok(1)) && (&*stream).write_all(&byte).is_ok() {}
        })
    }

    fn ask(stream: &mut TcpStream) -> io::Result<[u8; 1]> {
        let mut answer = [0];
        stream.write_all(b"x")?;
        stream.read_exact(&mut answer)?;
        Ok(answer)
    }

    #[test]
    fn down_resets_and_refuses_and_up_has_the_same_port() {
        let listener = echo();
        for _ in 0..3 {
            let mut stream = TcpStream::connect(listener.addr()).expect("connect");
            assert_eq!(&ask(&mut stream).expect("echo"), b"x");
            listener.down();
            assert!(ask(&mut stream).is_err());
            let error = TcpStream::connect(listener.addr()).expect_err("down");
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            let taken = TcpListener::bind(listener.addr()).expect_err("the port stays reserved");
            assert_eq!(taken.kind(), ErrorKind::AddrInUse);
            listener.up();
        }
        let mut stream = TcpStream::connect(listener.addr()).expect("connect");
        assert_eq!(&ask(&mut stream).expect("echo"), b"x");
    }

    #[test]
    fn a_reset_is_a_reset() {
        let listener = Listener::start(|stream| {
            let mut byte = [0];
            let _ = (&*stream).read(&mut byte);
            reset(&stream);
        });
        let mut stream = TcpStream::connect(listener.addr()).expect("connect");
        assert_eq!(ask(&mut stream).expect_err("reset").kind(), ErrorKind::ConnectionReset);
    }

    #[test]
    fn drop_frees_everything() {
        let listener = echo();
        let addr = listener.addr();
        let mut stream = TcpStream::connect(addr).expect("connect");
        assert_eq!(&ask(&mut stream).expect("echo"), b"x");
        drop(listener);
        assert!(ask(&mut stream).is_err());
        crate::eventually("the port is free", || TcpListener::bind(addr).ok());
    }
}
