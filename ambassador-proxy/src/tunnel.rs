//! Bytes both ways: TCP listeners and what follows an Upgrade. Half-closes and resets are passed on.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::access::Record;
use crate::config::plan::HashKey;
use crate::config::{Balance, StartTls};
use crate::forward::finish::Finish;
use crate::listen::Client;
use crate::policy::retry;
use crate::stats::{Again, Reason};
use crate::upstream::balance;
use crate::upstream::connect::ConnectError;
use crate::upstream::endpoint::Carried;
use crate::upstream::io::{Plain, Stream};
use crate::upstream::local::LocalUpstream;
use crate::worker::Worker;
use crate::{proxy_header, starttls};

/// A connection of which one side has ended may be silent for this long.
const HALF_OPEN: Duration = Duration::from_secs(60);
/// What is read at once. One buffer serves every connection of a worker: only what could not be written is kept.
const CHUNK: usize = 64 << 10;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into_boxed_slice());
}

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
}

impl Way {
    /// Moves bytes until there is nothing to move; ready when the reader has ended and the writer knows.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
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
pub async fn carry(
    mut near: impl AsyncRead + AsyncWrite + Unpin,
    mut far: impl AsyncRead + AsyncWrite + Unpin,
    idle: Option<Duration>,
) -> Ended {
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

/// Serves one connection of a TCP listener.
pub async fn serve(
    worker: Rc<Worker>,
    client: Rc<Client>,
    mut stream: Plain,
    upstream: &str,
    proxy_protocol: bool,
) {
    let record = record(&client);
    let mut finish = Finish::new(record, worker.log.clone(), client, Instant::now());
    finish.complete = true;
    match connect(&worker, &mut finish, &mut stream, upstream, proxy_protocol).await {
        Ok((mut far, carried, idle)) => {
            let ended = carry(&mut stream, &mut far, idle).await;
            finish.record.bytes = (ended.to_upstream, ended.to_client);
            if let Some(error) = ended.error {
                finish.flag(if error.kind() == io::ErrorKind::TimedOut { "timeout" } else { "reset" });
                finish.record.error = Some(error.to_string());
                // What broke on one side is told to the other: a clean end would look like a whole answer.
                reset(&stream);
                match &far {
                    Stream::Plain(plain) => reset(plain),
                    Stream::Tls(tls) => reset(tls.get_ref().0),
                }
            }
            drop(carried);
        }
        Err(fault) => {
            if let Some(upstream) = &finish.upstream {
                upstream.stats.failures[fault.reason as usize].add(1);
            }
            finish.flag(fault.proxy_status);
            finish.record.error = Some(fault.detail);
            reset(&stream);
        }
    }
}

fn reset(stream: &Plain) {
    if let Plain::Tcp(stream) = stream {
        let _ = stream.set_zero_linger();
    }
}

fn record(client: &Client) -> Record {
    Record {
        at: jiff::Timestamp::now(),
        listener: client.listener(),
        client: client.address.clone(),
        protocol: "TCP",
        request: None,
        host: None,
        status: 0,
        flags: Vec::new(),
        error: None,
        upstream: None,
        endpoint: None,
        attempts: 0,
        reused: false,
        bytes: (0, 0),
        id: None,
        dns: Duration::ZERO,
        connect: Duration::ZERO,
        tls: Duration::ZERO,
        first_byte: None,
        took: Duration::ZERO,
    }
}

/// Everything until bytes can flow.
async fn connect(
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
    if plan.tls.as_ref().and_then(|tls| tls.starttls) == Some(StartTls::Postgres) {
        starttls::decline(stream, &mut head).await.map_err(gone)?;
    }
    let permit = upstream.shared.in_flight.acquire().await;
    finish.permit = Some(permit.map_err(|detail| refuse(Reason::Limit, "connection_limit_reached", detail))?);
    let hello =
        plan.proxy_protocol.map(|version| proxy_header::write(version, source, local_address(stream)));
    let key = (plan.balance == Balance::Hash && plan.hash_on == HashKey::Source)
        .then(|| balance::hash(&source.map(|source| source.ip())));
    let (carried, mut far) = dial(&upstream, finish, key, hello.as_deref()).await?;
    far.write_all(&head)
        .await
        .map_err(|error| refuse(Reason::Reset, "connection_terminated", error.to_string()))?;
    Ok((far, carried, plan.tcp_idle))
}

/// Connects, and once more after a pause: nothing has been sent yet.
async fn dial(
    upstream: &LocalUpstream,
    finish: &mut Finish,
    key: Option<u64>,
    hello: Option<&[u8]>,
) -> Result<(Carried, Stream), ConnectError> {
    let plan = &upstream.shared.plan;
    loop {
        finish.record.attempts += 1;
        match upstream.stream(key, plan.timeouts.connect, hello).await {
            Ok((carried, far, timings)) => {
                finish.record.endpoint = Some(carried.0.name.clone());
                (finish.record.connect, finish.record.tls) = (timings.connect, timings.tls);
                carried.0.succeeded();
                carried.0.observe(timings.connect, Instant::now());
                return Ok((carried, far));
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
    use tokio::io::{AsyncReadExt, duplex};

    use super::*;

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
