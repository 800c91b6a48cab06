//! Looking at the first bytes of a connection without losing them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use crate::upstream::io::Plain;

/// What an HTTP/2 client says first (RFC 9113, 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream whose first bytes have been looked at.
pub struct Rewind {
    inner: Plain,
    head: Vec<u8>,
    at: usize,
    /// Bytes read in all.
    pub read: Arc<AtomicU64>,
}

impl Rewind {
    /// With bytes that were read before.
    pub fn new(inner: Plain, head: Vec<u8>) -> Self {
        let read = Arc::new(AtomicU64::new(head.len() as u64));
        Self { inner, head, at: 0, read }
    }

    /// The stream and what is left of its first bytes.
    pub fn into_parts(mut self) -> (Plain, Vec<u8>) {
        self.head.drain(..self.at);
        (self.inner, self.head)
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
        if this.at < this.head.len() {
            let n = buf.remaining().min(this.head.len() - this.at);
            buf.put_slice(&this.head[this.at..this.at + n]);
            this.at += n;
            if this.at == this.head.len() {
                (this.head, this.at) = (Vec::new(), 0);
            }
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let result = Pin::new(&mut this.inner).poll_read(cx, buf);
        let n = buf.filled().len() - before;
        this.read.store(this.read.load(Relaxed) + n as u64, Relaxed);
        result
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
