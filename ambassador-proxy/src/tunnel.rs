//! Bytes both ways: TCP listeners and what follows an Upgrade. Half-closes and resets are passed on.

mod side;
mod splice;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

pub use self::side::Side;
use self::splice::{Moved, Pipe};

use crate::access::Record;
use crate::config::StartTls;
use crate::config::plan::HashKey;
use crate::forward::finish::Finish;
use crate::listen::Client;
use crate::policy::retry;
use crate::stats::{Again, Reason};
use crate::upstream::balance;
use crate::upstream::connect::{self as connect, ConnectError, Connected, Want};
use crate::upstream::endpoint::Carried;
use crate::upstream::io::{Plain, Stream};
use crate::upstream::local::LocalUpstream;
use crate::worker::Worker;
use crate::{proxy_header, starttls};

/// A connection of which one side has ended may be silent for this long.
const HALF_OPEN: Duration = Duration::from_secs(60);
/// A MySQL login: the app, the server and TLS between them.
const LOGIN: Duration = Duration::from_secs(10);
/// What is read at once. One buffer serves every connection of a worker: only what could not be written is kept.
const CHUNK: usize = 64 << 10;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into_boxed_slice());
}

/// One way is spliced after so many bytes.
const LONG: u64 = 128 << 10;

/// How a tunnel ended.
#[derive(Debug)]
pub struct Ended {
    /// Bytes from the client.
    pub to_upstream: u64,
    /// Bytes to the client.
    pub to_client: u64,
    /// Why, when it was not by both sides closing.
    pub error: Option<io::Error>,
}

#[derive(Default)]
struct Way {
    rest: Vec<u8>,
    at: usize,
    ended: bool,
    shut: bool,
    unflushed: bool,
    total: u64,
    pipe: Through,
}

/// How bytes go.
#[derive(Default)]
enum Through {
    /// Copied; nothing has been decided yet.
    #[default]
    Copy,
    /// Spliced.
    Pipe(Pipe),
    /// Copied for good: one side is no plain socket, or there was no pipe.
    Never,
}

impl Way {
    /// Moves bytes until there is nothing to move; ready when the reader has ended and the writer knows.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl Side,
        to: &mut impl Side,
        active: &Cell<Instant>,
    ) -> Poll<io::Result<()>> {
        loop {
            while self.at < self.rest.len() {
                let n = ready!(Pin::new(&mut *to).poll_write(cx, &self.rest[self.at..]))?;
                if n == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.at += n;
                self.unflushed = true;
                active.set(Instant::now());
            }
            if self.at > 0 {
                (self.rest, self.at) = (Vec::new(), 0);
            }
            if self.ended {
                if !self.shut {
                    // The other side may have gone already: then there is nobody to tell.
                    let _ = ready!(Pin::new(&mut *to).poll_shutdown(cx));
                    self.shut = true;
                }
                return Poll::Ready(Ok(()));
            }
            if self.total >= LONG && matches!(self.pipe, Through::Copy) {
                let plain = from.tcp().is_some() && to.tcp().is_some();
                self.pipe = plain.then(Pipe::new).flatten().map_or(Through::Never, Through::Pipe);
            }
            if let (Through::Pipe(pipe), Some(from), Some(to)) = (&mut self.pipe, from.tcp(), to.tcp()) {
                match ready!(pipe.poll(cx, from, to))? {
                    Moved::Bytes(n) => self.total += n,
                    Moved::End => self.ended = true,
                }
                active.set(Instant::now());
                continue;
            }
            let progress = SCRATCH.with_borrow_mut(|scratch| self.step(cx, from, to, active, scratch))?;
            if progress.is_pending() {
                if self.unflushed {
                    ready!(Pin::new(&mut *to).poll_flush(cx))?;
                    self.unflushed = false;
                }
                return Poll::Pending;
            }
        }
    }

    fn step(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        active: &Cell<Instant>,
        scratch: &mut [u8],
    ) -> io::Result<Poll<()>> {
        let mut buf = ReadBuf::new(scratch);
        if Pin::new(from).poll_read(cx, &mut buf)?.is_pending() {
            return Ok(Poll::Pending);
        }
        let bytes = buf.filled();
        active.set(Instant::now());
        if bytes.is_empty() {
            self.ended = true;
            return Ok(Poll::Ready(()));
        }
        self.total += bytes.len() as u64;
        let written = match Pin::new(to).poll_write(cx, bytes)? {
            Poll::Ready(n) => n,
            Poll::Pending => 0,
        };
        self.unflushed |= written > 0;
        self.rest.extend_from_slice(&bytes[written..]);
        Ok(Poll::Ready(()))
    }
}

/// Carries bytes until both sides have ended, one broke, or nothing passed for `idle`.
pub async fn carry(mut near: impl Side, mut far: impl Side, idle: Option<Duration>) -> Ended {
    let active = Cell::new(Instant::now());
    let half = Cell::new(false);
    let (mut up, mut down) = (Way::default(), Way::default());
    let error = {
        let work = poll_fn(|cx| {
            let a = up.poll(cx, &mut near, &mut far, &active)?;
            let b = down.poll(cx, &mut far, &mut near, &active)?;
            half.set(up.ended || down.ended);
            if a.is_ready() && b.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
        });
        let mut work = std::pin::pin!(work);
        loop {
            let limit =
                if half.get() { Some(idle.map_or(HALF_OPEN, |idle| idle.min(HALF_OPEN))) } else { idle };
            // Looked at again when the limit may have changed.
            let next =
                limit.map_or(HALF_OPEN, |limit| limit.saturating_sub(active.get().elapsed()).min(HALF_OPEN));
            tokio::select! {
                biased;
                result = &mut work => break result.err(),
                () = tokio::time::sleep(next.max(Duration::from_millis(1))) => {
                    if limit.is_some_and(|limit| active.get().elapsed() >= limit) {
                        break Some(io::Error::new(io::ErrorKind::TimedOut, "no byte passed for too long"));
                    }
                }
            }
        }
    };
    Ended { to_upstream: up.total, to_client: down.total, error }
}

/// The same for whole connections, of which some bytes were read before. What broke on one side is a reset on the other: a clean
/// end would look like a whole answer.
pub async fn carry_from(
    mut near: impl Side,
    mut far: Stream,
    from_near: &[u8],
    from_far: &[u8],
    idle: Option<Duration>,
) -> Ended {
    let first = async {
        far.write_all(from_near).await?;
        far.flush().await?;
        near.write_all(from_far).await
    };
    let mut ended = match first.await {
        Ok(()) => carry(&mut near, &mut far, idle).await,
        Err(error) => Ended { to_upstream: 0, to_client: 0, error: Some(error) },
    };
    ended.to_upstream += from_near.len() as u64;
    ended.to_client += from_far.len() as u64;
    if ended.error.is_some() {
        near.reset();
        far.reset();
    }
    ended
}

/// Serves one connection of a TCP listener.
pub async fn serve(
    worker: Rc<Worker>,
    client: Rc<Client>,
    mut stream: Plain,
    upstream: &str,
    proxy_protocol: bool,
) {
    let record = Record::new(jiff::Timestamp::now(), client.listener(), client.address.clone(), "TCP");
    let mut finish = Finish::new(record, worker.log.clone(), client, Instant::now());
    finish.complete = true;
    match open(&worker, &mut finish, &mut stream, upstream, proxy_protocol).await {
        Ok((far, carried, idle)) => {
            let ended = carry_from(stream, far, &[], &[], idle).await;
            finish.record.bytes = (ended.to_upstream, ended.to_client);
            if let Some(error) = ended.error {
                finish.flag(if error.kind() == io::ErrorKind::TimedOut { "timeout" } else { "reset" });
                finish.record.error = Some(error.to_string());
            }
            drop(carried);
        }
        Err(fault) => {
            if let Some(upstream) = &finish.upstream {
                upstream.stats.failures[fault.reason as usize].add(1);
            }
            finish.flag(fault.proxy_status);
            finish.record.error = Some(fault.detail);
            stream.reset();
        }
    }
}

/// Everything until bytes can flow.
async fn open(
    worker: &Worker,
    finish: &mut Finish,
    stream: &mut Plain,
    upstream: &str,
    proxy_protocol: bool,
) -> Result<(Stream, Carried, Option<Duration>), ConnectError> {
    let refuse = |reason, proxy_status, detail: String| ConnectError { reason, proxy_status, detail };
    let gone = |error: io::Error| refuse(Reason::ClientGone, "connection_terminated", error.to_string());
    let mut head = Vec::new();
    let mut source = client_address(stream);
    if proxy_protocol {
        let read = tokio::time::timeout(Duration::from_secs(10), proxy_header::read(stream, &mut head));
        let read = read.await.map_err(|_| gone(io::ErrorKind::TimedOut.into()))?;
        if let Some(said) = read.map_err(gone)? {
            source = Some(said);
        }
    }
    let Some(upstream) = worker.upstream(upstream) else {
        let detail = format!("upstream {upstream} is gone from the configuration");
        return Err(refuse(Reason::Dns, "proxy_configuration_error", detail));
    };
    finish.upstream(&upstream);
    let plan = upstream.shared.plan.clone();
    let how = plan.tls.as_ref().and_then(|tls| tls.starttls);
    if how == Some(StartTls::Postgres) {
        starttls::decline(stream, &mut head).await.map_err(gone)?;
    }
    let permit = upstream.shared.in_flight.acquire().await;
    finish.permit = Some(permit.map_err(|detail| refuse(Reason::Limit, "connection_limit_reached", detail))?);
    let hello =
        plan.proxy_protocol.map(|version| proxy_header::write(version, source, local_address(stream)));
    let key = (balance::hashes(plan.balance) && plan.hash_on == HashKey::Source)
        .then(|| balance::hash(&source.map(|source| source.ip())));
    let (carried, connected) = dial(&upstream, finish, key, hello.as_deref()).await?;
    let mut far = connected.stream;
    if how == Some(StartTls::Mysql) {
        let limit = LOGIN.max(plan.timeouts.connect);
        let work = mysql(&upstream, &carried, stream, &head, far);
        let done = tokio::time::timeout(limit, Box::pin(work)).await;
        far = done.map_err(|_| {
            refuse(Reason::Timeout, "connection_timeout", "the MySQL login took too long".to_owned())
        })??;
        return Ok((far, carried, plan.tcp_idle));
    }
    let broken = |error: io::Error| refuse(Reason::Reset, "connection_terminated", error.to_string());
    stream.write_all(&connected.greeting).await.map_err(gone)?;
    far.write_all(&head).await.map_err(broken)?;
    if how == Some(StartTls::Postgres) {
        starttls::postgres::first_answer(stream, &mut far).await.map_err(broken)?;
    }
    Ok((far, carried, plan.tcp_idle))
}

/// The greeting, TLS and the login: what follows is the same on both sides.
async fn mysql(
    upstream: &LocalUpstream,
    carried: &Carried,
    app: &mut Plain,
    said: &[u8],
    far: Stream,
) -> Result<Stream, ConnectError> {
    let shared = &upstream.shared;
    let peer = &carried.0.peer;
    let refuse = |error: io::Error| connect::refused(peer, &format!("or the app: {error}"));
    let (Stream::Plain(mut plain), Some(tls)) = (far, &shared.plan.tls) else {
        return Err(connect::refused(peer, "speaks TLS already"));
    };
    if !said.is_empty() {
        return Err(connect::refused(peer, "was spoken to before its greeting"));
    }
    let mut greeting = starttls::mysql::read(&mut plain).await.map_err(refuse)?;
    if let Err(why) = starttls::mysql::shown(&mut greeting) {
        // The app may show the server's own words; otherwise it sees the connection end.
        let _ = starttls::mysql::write(app, &greeting).await;
        return Err(connect::refused(peer, &why));
    }
    starttls::mysql::write(app, &greeting).await.map_err(refuse)?;
    let login = starttls::mysql::read(app).await.map_err(refuse)?;
    let (ask, login) = starttls::mysql::request(login).map_err(refuse)?;
    starttls::mysql::write(&mut plain, &ask).await.map_err(refuse)?;
    let mut far = match connect::tls(shared, tls, peer, Want::Http1, plain).await {
        Ok(far) => far,
        Err(error) => {
            let _ = starttls::mysql::write(app, &starttls::mysql::error(&error.detail)).await;
            return Err(error);
        }
    };
    starttls::mysql::write(&mut far, &login).await.map_err(refuse)?;
    starttls::mysql::log_in(app, &mut far).await.map_err(refuse)?;
    Ok(Stream::Tls(Box::new(far)))
}

/// Connects, and once more after a pause: nothing has been sent yet.
pub async fn dial(
    upstream: &LocalUpstream,
    finish: &mut Finish,
    key: Option<u64>,
    hello: Option<&[u8]>,
) -> Result<(Carried, Connected), ConnectError> {
    let plan = &upstream.shared.plan;
    loop {
        finish.record.attempts += 1;
        match upstream.stream(key, plan.timeouts.connect, hello).await {
            Ok((carried, connected)) => {
                let timings = connected.timings;
                finish.record.endpoint = Some(carried.0.name.clone());
                (finish.record.connect, finish.record.tls) = (timings.connect, timings.tls);
                carried.0.succeeded(plan.slow_start);
                carried.0.observe(timings.connect, Instant::now());
                return Ok((carried, connected));
            }
            Err(error) => {
                let attempt = finish.record.attempts;
                let more = attempt < plan.retry.attempts && error.reason != Reason::Dns;
                if !more || !upstream.budget.retry(Instant::now(), plan.retry.budget_percent) {
                    return Err(error);
                }
                upstream.stats.again[Again::Connect as usize].add(1);
                finish.flag("connect_retry");
                tokio::time::sleep(retry::pause(&plan.retry, attempt + 1)).await;
            }
        }
    }
}

fn client_address(stream: &Plain) -> Option<SocketAddr> {
    match stream {
        Plain::Tcp(stream) => stream.peer_addr().ok(),
        Plain::Unix(_) => None,
    }
}

fn local_address(stream: &Plain) -> Option<SocketAddr> {
    match stream {
        Plain::Tcp(stream) => stream.local_addr().ok(),
        Plain::Unix(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, DuplexStream, duplex};

    use super::*;

    impl Side for DuplexStream {}

    #[tokio::test]
    async fn a_half_close_is_passed_on_and_the_answer_still_comes() {
        let (mut app, near) = duplex(64);
        let (far, mut service) = duplex(64);
        let talk = async {
            app.write_all(b"question").await.unwrap();
            app.shutdown().await.unwrap();
            let mut got = Vec::new();
            service.read_to_end(&mut got).await.unwrap();
            assert_eq!(got, b"question");
            let answer = async {
                service.write_all(&[7; 5000]).await.unwrap();
                service.shutdown().await.unwrap();
            };
            let mut got = Vec::new();
            let (_, read) = tokio::join!(answer, app.read_to_end(&mut got));
            assert_eq!((read.unwrap(), got), (5000, vec![7; 5000]));
        };
        let (ended, ()) = tokio::join!(carry(near, far, None), talk);
        assert_eq!((ended.to_upstream, ended.to_client), (8, 5000));
        assert!(ended.error.is_none());
    }

    #[tokio::test]
    async fn silence_ends_it() {
        let (_app, near) = duplex(64);
        let (far, _service) = duplex(64);
        let ended = carry(near, far, Some(Duration::from_millis(20))).await;
        assert_eq!(ended.error.unwrap().kind(), io::ErrorKind::TimedOut);
    }
}
