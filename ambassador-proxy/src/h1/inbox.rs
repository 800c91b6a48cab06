//! Bytes that came and were not used yet.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncRead;
use tokio_util::io::poll_read_buf;

/// What is read into. One block serves every connection of a worker; what arrives is cut off it and given back with the last reference.
const BLOCK: usize = 128 << 10;
/// Room for a read: a head needs little, a body is worth much.
const ROOM: usize = 8 << 10;
const BODY_ROOM: usize = 72 << 10;
/// Less than this is copied, so that a slow reader of a small piece does not keep a whole block.
const SMALL: usize = 4 << 10;

thread_local! {
    static SHARED: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// Empty while nothing comes: a connection that waits holds no buffer.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    held: BytesMut,
    /// Whether `held` is a part of the block of all.
    shares: bool,
}

impl From<&[u8]> for Inbox {
    fn from(bytes: &[u8]) -> Self {
        Self { held: bytes.into(), shares: false }
    }
}

impl Inbox {
    /// What is there.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.held
    }

    /// Whether there is nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Reads what has come; 0 at the end. Before it waits, what is held gets a place of its own.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut (impl AsyncRead + Unpin),
        body: bool,
    ) -> Poll<io::Result<usize>> {
        let read = SHARED.with_borrow_mut(|block| {
            let room = if body { BODY_ROOM } else { ROOM };
            if block.capacity() < room {
                // Takes back the whole block when nobody has a part of it any more.
                block.reserve(BLOCK);
            }
            let n = ready!(poll_read_buf(Pin::new(io), cx, block))?;
            let came = block.split();
            if self.held.is_empty() {
                (self.held, self.shares) = (came, true);
            } else {
                self.own();
                self.held.extend_from_slice(&came);
            }
            Poll::Ready(Ok(n))
        });
        if read.is_pending() {
            self.own();
        }
        read
    }

    fn own(&mut self) {
        if self.held.is_empty() {
            self.clear();
        } else if self.shares {
            self.held = BytesMut::from(&self.held[..]);
            self.shares = false;
        }
    }

    fn clear(&mut self) {
        (self.held, self.shares) = (BytesMut::new(), false);
    }

    /// Takes the first `n` bytes. As long as they are kept, so is the block that they were read into.
    pub(crate) fn head(&mut self, n: usize) -> Bytes {
        let head = self.held.split_to(n).freeze();
        if self.held.is_empty() {
            self.clear();
        }
        head
    }

    fn copy(&mut self, n: usize) -> Bytes {
        let bytes = Bytes::copy_from_slice(&self.held[..n]);
        self.skip(n);
        bytes
    }

    /// Takes the first `n` bytes, or all there are: a piece of a body.
    pub(crate) fn data(&mut self, n: u64) -> Bytes {
        let n = usize::try_from(n).unwrap_or(usize::MAX).min(self.held.len());
        if n < SMALL { self.copy(n) } else { self.head(n) }
    }

    /// Drops the first `n` bytes.
    pub(crate) fn skip(&mut self, n: usize) {
        if n >= self.held.len() {
            self.clear();
        } else {
            bytes::Buf::advance(&mut self.held, n);
        }
    }

    /// All that is left.
    pub(crate) fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.held).freeze()
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn pieces_come_together_and_nothing_is_held_afterwards() {
        let mut cx = Context::from_waker(Waker::noop());
        let mut inbox = Inbox::default();
        for mut piece in [&b"abc"[..], b"def"] {
            assert!(matches!(inbox.poll_fill(&mut cx, &mut piece, false), Poll::Ready(Ok(3))));
        }
        assert_eq!(inbox.bytes(), b"abcdef");
        assert_eq!(inbox.head(2), "ab");
        assert_eq!(inbox.data(3), "cde");
        assert!(matches!(inbox.poll_fill(&mut cx, &mut &b""[..], false), Poll::Ready(Ok(0))));
        inbox.skip(1);
        assert!(inbox.is_empty() && inbox.held.capacity() == 0);
    }

    #[test]
    fn large_pieces_are_not_copied() {
        let mut cx = Context::from_waker(Waker::noop());
        let (mut inbox, bytes) = (Inbox::default(), vec![7; 50_000]);
        assert!(inbox.poll_fill(&mut cx, &mut &bytes[..], true).is_ready());
        let at = inbox.bytes().as_ptr();
        let data = inbox.data(u64::MAX);
        assert!(data == bytes && data.as_ptr() == at && inbox.is_empty());
    }
}
