//! Bytes on their way out: a head and a small body in one piece, large pieces as they came.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::AsyncWrite;

/// What is copied behind a head rather than written as a piece of its own: a longer list costs the kernel more than the copy costs us.
const SMALL: usize = 4 << 10;
/// More than this is written before more is added.
const FULL: usize = 32 << 10;
/// A larger buffer is not kept for the next message.
const KEPT: usize = 64 << 10;

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Empty while nothing goes: then it holds no buffer.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    front: Vec<u8>,
    at: usize,
    data: Bytes,
    back: &'static [u8],
    unflushed: bool,
    /// Bytes that went out, ever.
    pub(crate) sent: u64,
}

impl Outbox {
    /// Whether everything has gone out.
    pub(crate) fn is_empty(&self) -> bool {
        !self.unflushed && self.front.is_empty() && self.data.is_empty() && self.back.is_empty()
    }

    /// Whether it has to be emptied before more is added.
    pub(crate) fn is_full(&self) -> bool {
        !self.data.is_empty() || self.front.len() >= FULL
    }

    /// Where heads are written to. Not while it is full.
    pub(crate) fn front(&mut self) -> &mut Vec<u8> {
        if self.front.capacity() == 0 {
            self.front = SPARE.take();
        }
        &mut self.front
    }

    /// Adds a piece of a body, and what has to follow it. Not while it is full.
    pub(crate) fn data(&mut self, data: Bytes, back: &'static [u8]) {
        if data.len() <= SMALL {
            let front = self.front();
            front.extend_from_slice(&data);
            front.extend_from_slice(back);
        } else {
            (self.data, self.back) = (data, back);
        }
    }

    /// Writes until nothing is left.
    pub(crate) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        loop {
            let front = self.front.get(self.at..).unwrap_or_default();
            let n = if self.data.is_empty() && self.back.is_empty() {
                if front.is_empty() {
                    break;
                }
                ready!(Pin::new(&mut *io).poll_write(cx, front))?
            } else {
                let pieces = [IoSlice::new(front), IoSlice::new(&self.data), IoSlice::new(self.back)];
                let from = usize::from(front.is_empty());
                ready!(Pin::new(&mut *io).poll_write_vectored(cx, &pieces[from..]))?
            };
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.wrote(n);
        }
        if self.unflushed {
            ready!(Pin::new(io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn wrote(&mut self, mut n: usize) {
        self.unflushed = true;
        self.sent += n as u64;
        let front = n.min(self.front.len() - self.at);
        (self.at, n) = (self.at + front, n - front);
        if self.at == self.front.len() {
            self.give_back();
        }
        let data = n.min(self.data.len());
        self.data.advance(data);
        self.back = &self.back[n - data..];
        if self.data.is_empty() {
            self.data = Bytes::new();
        }
    }

    fn give_back(&mut self) {
        let mut front = std::mem::take(&mut self.front);
        self.at = 0;
        if front.capacity() <= KEPT {
            front.clear();
            SPARE.set(front);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Takes so many bytes at a time.
    struct Slow(usize, Vec<u8>, usize);

    impl AsyncWrite for Slow {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            let n = buf.len().min(self.0);
            self.1.extend_from_slice(&buf[..n]);
            self.2 += 1;
            Poll::Ready(Ok(n))
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all = bufs.iter().flat_map(|buf| buf.iter().copied()).collect::<Vec<_>>();
            self.poll_write(cx, &all)
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn sent(piece: usize, data: &[u8]) -> (Vec<u8>, usize) {
        let mut cx = Context::from_waker(Waker::noop());
        let (mut out, mut io) = (Outbox::default(), Slow(piece, Vec::new(), 0));
        for _ in 0..2 {
            out.front().extend_from_slice(b"head ");
            out.data(Bytes::copy_from_slice(data), b"\r\n");
            assert!(matches!(out.poll_flush(&mut cx, &mut io), Poll::Ready(Ok(()))));
            assert!(out.is_empty() && out.front.capacity() == 0);
        }
        (io.1, io.2)
    }

    #[test]
    fn nothing_is_lost_or_doubled_however_it_goes_out() {
        for data in [vec![b'x'; 10], vec![b'y'; SMALL + 1]] {
            let one = [b"head ", &data[..], b"\r\n"].concat();
            for piece in [1, 3, 7, 5000, 10_000] {
                assert_eq!(sent(piece, &data).0, [&one[..], &one].concat(), "{piece} at a time");
            }
            assert_eq!(sent(10_000, &data).1, 2, "a message is one write");
        }
    }
}
