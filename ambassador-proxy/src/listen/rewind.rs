//! A client's connection as HTTP sees it: first bytes put back, HTTP/1 framing watched before any parser reads it.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::framing::{Found, Framing, LARGEST, Refusal};
use crate::upstream::io::Plain;

/// What an HTTP/2 client says first (RFC 9113, 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Stands for a refused request: no client can send it, because `PRI` is refused itself. In this form the refusal waits its turn
/// behind the answers to requests before it, is logged, and is counted like every other request.
pub(crate) const REFUSED: &[u8] = b"PRI * HTTP/1.1\r\nHost: refused\r\nConnection: close\r\n\r\n";

/// Read at once where bytes are held back.
const PIECE: usize = 8 << 10;

/// What a connection and the requests on it tell each other.
#[derive(Debug, Default)]
pub struct Watch {
    /// Something is held back that is no whole unit yet: the beginning of a head, where no request is under way.
    pub partial: AtomicBool,
    /// Why a request was refused; the connection ends with it.
    pub refusal: OnceLock<Refusal>,
    /// Requests that were answered without a switch of protocols.
    answered: AtomicU64,
    /// The protocol was switched: no more HTTP.
    raw: AtomicBool,
    waker: AtomicWaker,
}

impl Watch {
    /// A request was answered; `switched` when bytes of another protocol follow.
    pub fn answered(&self, switched: bool) {
        if switched {
            self.raw.store(true, Relaxed);
        } else {
            self.answered.fetch_add(1, Relaxed);
        }
        self.waker.wake();
    }
}

/// A stream whose first bytes have been looked at.
pub struct Rewind {
    inner: Plain,
    /// Bytes that were read and not passed on yet.
    held: BytesMut,
    /// How many of them may be.
    ready: usize,
    /// `None` when the bytes are no HTTP/1.
    framing: Option<Framing>,
    /// Nothing more is passed on, because of a refusal or a broken body.
    dead: Option<Found>,
    watch: Arc<Watch>,
}

impl Rewind {
    /// With bytes that were read before. `strict` says that HTTP/1 follows.
    pub fn new(inner: Plain, head: Vec<u8>, strict: bool, watch: Arc<Watch>) -> Self {
        let held = BytesMut::from(&head[..]);
        let framing = strict.then(Framing::default);
        let mut this =
            Self { inner, ready: if strict { 0 } else { held.len() }, held, framing, dead: None, watch };
        if strict {
            this.look();
        }
        this
    }

    /// The stream and what is left of its first bytes.
    pub fn into_parts(self) -> (Plain, Vec<u8>) {
        (self.inner, self.held.to_vec())
    }

    /// Whether what the client says is not listened to any more.
    pub fn is_dead(&self) -> bool {
        self.dead.is_some()
    }

    /// The stream below.
    pub fn plain(&mut self) -> &mut Plain {
        &mut self.inner
    }

    /// Looks at what is held behind what is ready.
    fn look(&mut self) {
        let Some(framing) = &mut self.framing else {
            self.ready = self.held.len();
            return;
        };
        let (good, found) = framing.scan(&self.held[self.ready..]);
        self.ready += good;
        self.found(found);
    }

    fn found(&mut self, found: Found) {
        match found {
            Found::Good | Found::Wait => {}
            Found::Refused(refusal) => {
                let _ = self.watch.refusal.set(refusal);
                self.held.truncate(self.ready);
                self.held.extend_from_slice(REFUSED);
                self.ready = self.held.len();
                self.dead = Some(found);
            }
            Found::Broken(refusal) => {
                let _ = self.watch.refusal.set(refusal);
                self.held.truncate(self.ready);
                self.dead = Some(found);
            }
        }
    }

    /// Passes on what is ready.
    fn give(&mut self, buf: &mut ReadBuf<'_>) {
        let n = buf.remaining().min(self.ready);
        buf.put_slice(&self.held[..n]);
        self.held.advance(n);
        self.ready -= n;
        if self.held.is_empty() {
            // Most connections never need it again.
            self.held = BytesMut::new();
        }
    }

    /// After a request that asked for another protocol: whether it is clear by now what follows.
    fn decided(&mut self, cx: &mut Context<'_>) -> bool {
        self.watch.waker.register(cx.waker());
        if self.watch.raw.load(Relaxed) {
            self.framing = None;
        } else if let Some(framing) = &mut self.framing {
            if self.watch.answered.load(Relaxed) < framing.heads() {
                return false;
            }
            framing.resume();
        }
        self.look();
        true
    }
}

/// Reads until it is clear whether HTTP/2 is spoken.
///
/// # Errors
/// What reading said; end of file before the first byte is `UnexpectedEof`.
pub async fn sniff(stream: &mut Plain, head: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0; PREFACE.len()];
    loop {
        let seen = head.len().min(PREFACE.len());
        if head[..seen] != PREFACE[..seen] {
            return Ok(false);
        }
        if seen == PREFACE.len() {
            return Ok(true);
        }
        let n = stream.read(&mut buffer[..PREFACE.len() - seen]).await?;
        if n == 0 {
            return if head.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(false) };
        }
        head.extend_from_slice(&buffer[..n]);
    }
}

impl AsyncRead for Rewind {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let read = this.read(cx, buf);
        this.watch.partial.store(this.held.len() > this.ready, Relaxed);
        read
    }
}

impl Rewind {
    fn read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self;
        loop {
            if this.ready > 0 {
                this.give(buf);
                return Poll::Ready(Ok(()));
            }
            if let Some(Found::Broken(refusal)) = this.dead {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, refusal.why)));
            }
            if this.dead.is_some() {
                // What is still on its way is thrown away: unread, it would make the kernel reset the answer.
                let mut waste = [0; PIECE];
                let mut waste = ReadBuf::new(&mut waste);
                ready!(Pin::new(&mut this.inner).poll_read(cx, &mut waste))?;
                if waste.filled().is_empty() {
                    return Poll::Pending;
                }
                continue;
            }
            let waits = this.framing.as_ref().is_some_and(Framing::waits);
            if waits && this.decided(cx) {
                continue;
            }
            if waits && this.held.len() >= LARGEST {
                return Poll::Pending;
            }
            if this.held.is_empty() && !waits {
                let before = buf.filled().len();
                ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
                let n = buf.filled().len() - before;
                let Some(framing) = &mut this.framing else { return Poll::Ready(Ok(())) };
                if n == 0 {
                    return Poll::Ready(Ok(()));
                }
                let (good, found) = framing.scan(&buf.filled()[before..]);
                if good < n {
                    this.held.extend_from_slice(&buf.filled()[before + good..]);
                    buf.set_filled(before + good);
                }
                this.found(found);
                if good > 0 {
                    return Poll::Ready(Ok(()));
                }
            } else {
                this.held.reserve(PIECE);
                let n = ready!(poll_read_buf(Pin::new(&mut this.inner), cx, &mut this.held))?;
                if n == 0 {
                    return Poll::Ready(Ok(()));
                }
                if !waits {
                    this.look();
                }
            }
        }
    }
}

impl AsyncWrite for Rewind {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}
