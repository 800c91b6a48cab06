//! A bad network: a TCP proxy between two ends that can cut, stall, delay and refuse.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use crate::listener::{Listener, reset};

/// Stands between a client and a server: the client connects to [`Shim::addr`]. A fault hits open connections and
/// those to come, until it is taken back.
///
/// What is in flight stays in flight: up to 16 KiB and the kernel's buffers per direction.
#[derive(Debug)]
pub struct Shim {
    listener: Listener,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    upstream: Mutex<SocketAddr>,
    weather: Mutex<Weather>,
    changed: Condvar,
    upstreams: Mutex<Vec<Weak<TcpStream>>>,
}

#[derive(Debug, Default)]
struct Weather {
    stalled: bool,
    over: bool,
    delay: Duration,
    /// Bytes that still pass before both sides are reset: to the server, from the server.
    cut: [Option<u64>; 2],
    passed: [u64; 2],
}

const TO_SERVER: usize = 0;
const FROM_SERVER: usize = 1;

impl Shim {
    /// A shim in front of `upstream`.
    #[must_use]
    pub fn to(upstream: SocketAddr) -> Self {
        let shared = Arc::new(Shared {
            upstream: Mutex::new(upstream),
            weather: Mutex::default(),
            changed: Condvar::new(),
            upstreams: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        Self { listener: Listener::start(move |client| serving.connect(client)), shared }
    }

    /// Where the client connects to.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.listener.addr()
    }

    /// Sends further connections somewhere else.
    pub fn redirect(&self, upstream: SocketAddr) {
        *self.shared.upstream.lock().unwrap_or_else(PoisonError::into_inner) = upstream;
    }

    /// Resets all open connections, on both sides; new ones pass.
    pub fn cut(&self) {
        self.listener.reset_all();
        self.shared.reset_upstreams();
    }

    /// Resets the connection that passes this many further bytes to the server (all connections count together).
    pub fn cut_after_to_server(&self, bytes: u64) {
        self.shared.weather().cut[TO_SERVER] = Some(bytes);
    }

    /// Resets the connection that passes this many further bytes from the server (all connections count together).
    pub fn cut_after_from_server(&self, bytes: u64) {
        self.shared.weather().cut[FROM_SERVER] = Some(bytes);
    }

    /// Passes nothing, in either direction, and resets nothing: a dead network.
    pub fn stall(&self) {
        self.shared.weather().stalled = true;
    }

    /// Passes again what was held back.
    pub fn resume(&self) {
        self.shared.weather().stalled = false;
        self.shared.changed.notify_all();
    }

    /// Waits this long before it passes a piece on, in each direction.
    pub fn delay(&self, delay: Duration) {
        self.shared.weather().delay = delay;
    }

    /// Refuses connections, and resets those that are open.
    pub fn down(&self) {
        self.listener.down();
        self.shared.reset_upstreams();
    }

    /// Takes connections again, on the same port.
    pub fn up(&self) {
        self.listener.up();
    }

    /// How many connections are open now.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.listener.open()
    }

    /// How many bytes were passed: to the server, and from it.
    #[must_use]
    pub fn passed(&self) -> (u64, u64) {
        let passed = self.shared.weather().passed;
        (passed[TO_SERVER], passed[FROM_SERVER])
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        self.shared.weather().over = true;
        self.shared.changed.notify_all();
        self.shared.reset_upstreams();
    }
}

impl Shared {
    fn weather(&self) -> MutexGuard<'_, Weather> {
        self.weather.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reset_upstreams(&self) {
        let mut upstreams = self.upstreams.lock().unwrap_or_else(PoisonError::into_inner);
        upstreams.drain(..).filter_map(|stream| stream.upgrade()).for_each(|stream| reset(&stream));
    }

    fn connect(self: &Arc<Self>, client: Arc<TcpStream>) {
        let to = *self.upstream.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(server) = TcpStream::connect_timeout(&to, crate::timeout()) else { return reset(&client) };
        let _ = server.set_nodelay(true);
        let server = Arc::new(server);
        {
            let mut upstreams = self.upstreams.lock().unwrap_or_else(PoisonError::into_inner);
            upstreams.retain(|stream| stream.strong_count() > 0);
            upstreams.push(Arc::downgrade(&server));
        }
        let back = {
            let (shared, server, client) = (Arc::clone(self), Arc::clone(&server), Arc::clone(&client));
            std::thread::spawn(move || shared.pump(FROM_SERVER, &server, &client))
        };
        self.pump(TO_SERVER, &client, &server);
        let _ = back.join();
    }

    /// Copies one direction to its end; an end is passed on as an end, an error as a reset.
    fn pump(&self, direction: usize, mut from: &TcpStream, mut to: &TcpStream) {
        let mut buffer = [0; 16 << 10];
        loop {
            let read = from.read(&mut buffer);
            let Some(allowed) = self.pass(direction, *read.as_ref().unwrap_or(&0)) else { return };
            let written = match read {
                Ok(0) => {
                    let _ = to.shutdown(Shutdown::Write);
                    return;
                }
                Ok(count) => to.write_all(&buffer[..count.min(allowed)]).map(|()| count <= allowed),
                Err(error) => Err(error),
            };
            if !matches!(written, Ok(true)) {
                if allowed > 0 {
                    // The last bytes before a cut get a moment to arrive: a reset may overtake them.
                    std::thread::sleep(Duration::from_millis(50));
                }
                reset(from);
                reset(to);
                return;
            }
        }
    }

    /// Waits as the weather demands, and says how many of `count` bytes may pass; `None` when it is over.
    fn pass(&self, direction: usize, count: usize) -> Option<usize> {
        let mut weather = self.weather();
        if !weather.delay.is_zero() {
            let delay = weather.delay;
            drop(weather);
            std::thread::sleep(delay);
            weather = self.weather();
        }
        while weather.stalled && !weather.over {
            weather = self.changed.wait(weather).unwrap_or_else(PoisonError::into_inner);
        }
        if weather.over {
            return None;
        }
        let mut allowed = count;
        if let Some(left) = weather.cut[direction] {
            allowed = count.min(usize::try_from(left).unwrap_or(usize::MAX));
            // One cut, then the sky is clear again. Exactly `left` bytes: the next one triggers it.
            weather.cut[direction] = (allowed == count).then(|| left - allowed as u64);
        }
        weather.passed[direction] += allowed as u64;
        Some(allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{FakeTcp, TcpAnswer};

    fn connect(shim: &Shim) -> TcpStream {
        let stream = TcpStream::connect(shim.addr()).expect("connect");
        stream.set_read_timeout(Some(crate::timeout())).expect("a timeout");
        stream
    }

    fn ask(mut stream: &TcpStream, text: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut answer = vec![0; text.len()];
        stream.write_all(text)?;
        stream.read_exact(&mut answer)?;
        Ok(answer)
    }

    #[test]
    fn passes_both_ways_and_half_closes() {
        let server = FakeTcp::start(TcpAnswer::EchoAtEnd);
        let shim = Shim::to(server.addr());
        let mut stream = connect(&shim);
        stream.write_all(b"abc").expect("write");
        stream.shutdown(Shutdown::Write).expect("half-close");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("the echo");
        assert_eq!(answer, b"abc");
        assert_eq!(shim.passed(), (3, 3));
        crate::eventually("all closed", || (shim.open_connections() == 0).then_some(()));
    }

    #[test]
    fn cuts_now_and_after_bytes() {
        let server = FakeTcp::start(TcpAnswer::Echo);
        let shim = Shim::to(server.addr());
        let stream = connect(&shim);
        assert_eq!(ask(&stream, b"abc").expect("an echo"), b"abc");
        shim.cut();
        assert!(ask(&stream, b"abc").is_err());
        crate::eventually("the server sees it", || (server.open_connections() == 0).then_some(()));

        shim.cut_after_to_server(4);
        let mut stream = connect(&shim);
        stream.write_all(b"abcdef").expect("write");
        assert!(stream.read_to_end(&mut Vec::new()).is_err());
        assert_eq!(server.received(), b"abcabcd");
        assert_eq!(ask(&connect(&shim), b"x").expect("clear again"), b"x");
    }

    #[test]
    fn stalls_and_resumes() {
        let server = FakeTcp::start(TcpAnswer::Echo);
        let shim = Shim::to(server.addr());
        shim.delay(Duration::from_millis(1));
        shim.stall();
        let mut stream = connect(&shim);
        stream.write_all(b"abc").expect("write");
        assert!(server.received().is_empty());
        shim.resume();
        let mut answer = [0; 3];
        stream.read_exact(&mut answer).expect("the echo");
        assert_eq!(&answer, b"abc");
    }

    #[test]
    fn down_refuses_redirect_leads_elsewhere() {
        let (one, two) = (FakeTcp::start(TcpAnswer::Echo), FakeTcp::start(TcpAnswer::Send(b"2".to_vec())));
        let shim = Shim::to(one.addr());
        let first = connect(&shim);
        assert_eq!(ask(&first, b"x").expect("an echo"), b"x");
        shim.down();
        assert!(TcpStream::connect(shim.addr()).is_err());
        assert!(ask(&first, b"x").is_err());
        shim.redirect(two.addr());
        shim.up();
        let mut answer = Vec::new();
        connect(&shim).read_to_end(&mut answer).expect("two answers");
        assert_eq!(answer, b"2");
    }
}
