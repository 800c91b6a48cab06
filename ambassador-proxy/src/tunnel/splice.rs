//! splice(2): bytes from socket to socket through a pipe, without a copy into this process. Worth it only for long streams: for
//! small messages a copy is cheaper (two system calls instead of three, and no pipe).

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// What a pipe holds by default.
const USUAL: usize = 64 << 10;
/// What a stream in bulk gets: what is moved at once wakes both peers once, and that is what costs most. The most that the kernel gives to
/// everybody (`fs.pipe-max-size`).
const LARGE: usize = 1 << 20;
/// A stream is in bulk after so many bytes, if they come in large pieces.
const BULK: u64 = 1 << 20;
/// Large pipes of a worker. A user may have 64 MB of pipes (`fs.pipe-user-pages-soft`), and beyond that gets only small ones.
const MOST: u32 = 8;

thread_local! {
    static ARE_LARGE: Cell<u32> = const { Cell::new(0) };
}

/// A pipe between two sockets, one way.
#[derive(Debug)]
pub(super) struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    filled: usize,
    room: usize,
    moved: u64,
}

/// What one step came to.
pub(super) enum Moved {
    /// Bytes went on to the other socket.
    Bytes(u64),
    /// The reader has ended, and the pipe is empty.
    End,
}

impl Pipe {
    /// A new one; `None` when there are no descriptors left for it.
    pub(super) fn new() -> Option<Self> {
        let (reader, writer) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).ok()?;
        Some(Self { reader, writer, filled: 0, room: USUAL, moved: 0 })
    }

    /// Gives a stream in bulk a large pipe, if there is one left.
    fn enlarge(&mut self) {
        if self.room == USUAL && ARE_LARGE.get() < MOST && fcntl_setpipe_size(&self.writer, LARGE).is_ok() {
            self.room = LARGE;
            ARE_LARGE.set(ARE_LARGE.get() + 1);
        }
    }

    /// Fills the pipe and empties it.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &TcpStream,
        to: &TcpStream,
    ) -> Poll<io::Result<Moved>> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        while self.filled == 0 {
            ready!(from.poll_read_ready(cx))?;
            // The pipe is empty: `WouldBlock` can only be the socket's word.
            let fill = || Ok(splice(from, None, &self.writer, None, self.room, flags)?);
            match from.try_io(Interest::READABLE, fill) {
                Ok(0) => return Poll::Ready(Ok(Moved::End)),
                Ok(n) => {
                    self.filled = n;
                    self.moved += n as u64;
                    if n * 4 >= self.room && self.moved >= BULK {
                        self.enlarge();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        loop {
            ready!(to.poll_write_ready(cx))?;
            let empty = || Ok(splice(&self.reader, None, to, None, self.filled, flags)?);
            match to.try_io(Interest::WRITABLE, empty) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(n) => {
                    self.filled -= n;
                    return Poll::Ready(Ok(Moved::Bytes(n as u64)));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        if self.room == LARGE {
            ARE_LARGE.set(ARE_LARGE.get() - 1);
        }
    }
}
