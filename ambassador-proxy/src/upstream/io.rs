//! The byte streams to an upstream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

/// A plain stream.
#[derive(Debug)]
pub enum Plain {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a socket file.
    Unix(UnixStream),
}

/// A stream to an upstream.
#[derive(Debug)]
pub enum Stream {
    /// As it is.
    Plain(Plain),
    /// With TLS.
    Tls(Box<TlsStream<Plain>>),
}

macro_rules! each {
    ($self:expr, $enum:ident { $($variant:ident),+ }, $inner:ident => $call:expr) => {
        match $self { $($enum::$variant($inner) => $call),+ }
    };
}

/// What is copied rather than written in pieces.
const SMALL: usize = 2048;

/// All pieces in one, when there is but one or they are small.
fn join<'a>(bufs: &'a [io::IoSlice<'_>], joined: &'a mut [u8; SMALL]) -> Option<&'a [u8]> {
    if let [one] = bufs {
        return Some(one);
    }
    let mut length = 0;
    for buf in bufs {
        joined.get_mut(length..length + buf.len())?.copy_from_slice(buf);
        length += buf.len();
    }
    Some(&joined[..length])
}

impl AsyncRead for Plain {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), Self { Tcp, Unix }, inner => Pin::new(inner).poll_read(cx, buf))
    }
}

impl AsyncWrite for Plain {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), Self { Tcp, Unix }, inner => Pin::new(inner).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // A head and a small body in one plain write: writev costs more than copying so little.
        let mut joined = [0; SMALL];
        if let Some(bytes) = join(bufs, &mut joined) {
            return self.poll_write(cx, bytes);
        }
        each!(self.get_mut(), Self { Tcp, Unix }, inner => Pin::new(inner).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), Self { Tcp, Unix }, inner => Pin::new(inner).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), Self { Tcp, Unix }, inner => Pin::new(inner).poll_shutdown(cx))
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), Self { Plain, Tls }, inner => Pin::new(inner).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), Self { Plain, Tls }, inner => Pin::new(inner).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), Self { Plain, Tls }, inner => Pin::new(inner).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), Self { Plain, Tls }, inner => Pin::new(inner).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), Self { Plain, Tls }, inner => Pin::new(inner).poll_shutdown(cx))
    }
}
