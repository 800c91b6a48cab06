//! A raw TCP service.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::listener::{Listener, hang, reset};

/// What it does with a connection.
#[derive(Clone, Debug)]
pub enum TcpAnswer {
    /// Sends back what comes; passes a half-close on.
    Echo,
    /// Sends these bytes first (a banner), then echoes.
    Greet(Vec<u8>),
    /// Sends these bytes, then closes.
    Send(Vec<u8>),
    /// Reads everything up to the peer's half-close, and only then sends it all back.
    EchoAtEnd,
    /// Closes after the pause, without reading.
    CloseAfter(Duration),
    /// Echoes this many bytes, then resets.
    ResetAfter(usize),
    /// Reads, and never answers.
    Hang,
}

/// A scripted TCP service; it remembers what it was sent.
#[derive(Debug)]
pub struct FakeTcp {
    listener: Listener,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    answer: Mutex<TcpAnswer>,
    received: Mutex<Vec<u8>>,
    accepted: AtomicU64,
}

impl FakeTcp {
    #[must_use]
    pub fn start(answer: TcpAnswer) -> Self {
        let shared = Arc::new(Shared {
            answer: Mutex::new(answer),
            received: Mutex::default(),
            accepted: AtomicU64::new(0),
        });
        let serving = Arc::clone(&shared);
        let listener = Listener::start(move |stream| {
            serving.accepted.fetch_add(1, Ordering::Relaxed);
            let _ = serving.serve(&stream);
        });
        Self { listener, shared }
    }

    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.listener.addr()
    }

    /// Treats all further connections like this.
    pub fn always(&self, answer: TcpAnswer) {
        *self.shared.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }

    /// Everything it was sent, over all connections (up to 64 MiB).
    #[must_use]
    pub fn received(&self) -> Vec<u8> {
        self.shared.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many connections were accepted so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// How many connections are open now.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.listener.open()
    }

    /// Stops listening and resets all connections: connecting is refused.
    pub fn down(&self) {
        self.listener.down();
    }

    /// Listens again, on the same port.
    pub fn up(&self) {
        self.listener.up();
    }

    /// Resets all open connections, and goes on listening.
    pub fn reset_all(&self) {
        self.listener.reset_all();
    }
}

impl Shared {
    fn serve(&self, mut stream: &TcpStream) -> std::io::Result<()> {
        let answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match answer {
            TcpAnswer::Echo => self.echo(stream, usize::MAX),
            TcpAnswer::Greet(banner) => {
                stream.write_all(&banner)?;
                self.echo(stream, usize::MAX)
            }
            TcpAnswer::Send(bytes) => stream.write_all(&bytes),
            TcpAnswer::EchoAtEnd => {
                let mut all = Vec::new();
                let mut buffer = [0; 16 << 10];
                loop {
                    match stream.read(&mut buffer)? {
                        0 => break,
                        count => {
                            self.record(&buffer[..count]);
                            all.extend_from_slice(&buffer[..count]);
                        }
                    }
                }
                stream.write_all(&all)
            }
            TcpAnswer::CloseAfter(pause) => {
                std::thread::sleep(pause);
                Ok(())
            }
            TcpAnswer::ResetAfter(bytes) => {
                self.echo(stream, bytes)?;
                std::thread::sleep(Duration::from_millis(50));
                reset(stream);
                Ok(())
            }
            TcpAnswer::Hang => {
                hang(stream);
                Ok(())
            }
        }
    }

    fn echo(&self, mut stream: &TcpStream, mut left: usize) -> std::io::Result<()> {
        let mut buffer = [0; 16 << 10];
        while left > 0 {
            let count = stream.read(&mut buffer)?;
            if count == 0 {
                let _ = stream.shutdown(Shutdown::Write);
                break;
            }
            let count = count.min(left);
            self.record(&buffer[..count]);
            stream.write_all(&buffer[..count])?;
            left -= count;
        }
        Ok(())
    }

    fn record(&self, bytes: &[u8]) {
        let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        let room = (64usize << 20).saturating_sub(received.len()).min(bytes.len());
        received.extend_from_slice(&bytes[..room]);
    }
}
