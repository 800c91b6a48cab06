//! What bytes are carried between.

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::upstream::io::{Plain, Stream};

/// One side of a tunnel.
pub trait Side: AsyncRead + AsyncWrite + Unpin {
    /// The socket, where nothing lies between it and the bytes.
    fn tcp(&self) -> Option<&TcpStream> {
        None
    }

    /// Once it is dropped, its peer hears of a broken connection, not of an end.
    fn reset(&self) {}
}

impl Side for Plain {
    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(stream) => Some(stream),
            Self::Unix(_) => None,
        }
    }

    fn reset(&self) {
        if let Self::Tcp(stream) = self {
            let _ = stream.set_zero_linger();
        }
    }
}

impl Side for Stream {
    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(plain) => plain.tcp(),
            Self::Tls(_) => None,
        }
    }

    fn reset(&self) {
        match self {
            Self::Plain(plain) => plain.reset(),
            Self::Tls(tls) => tls.get_ref().0.reset(),
        }
    }
}

impl<S: Side> Side for &mut S {
    fn tcp(&self) -> Option<&TcpStream> {
        (**self).tcp()
    }

    fn reset(&self) {
        (**self).reset();
    }
}

/// A stream of HTTP/2: dropped without a word, it is reset.
impl Side for TokioIo<Upgraded> {}
