//! stdin in: a pipe, a terminal or a file, to its end.

use std::time::Duration;

use logtail::Piece;
use podkit::{exit::Exit, ready::Latch, shutdown::Shutdown};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    batch::Batch,
    sink::{Patience, Sink, Stop},
    streams::Streams,
};
use crate::{lane::Lane, meter::Meter, time::Time};

/// Bytes asked of the pipe at once.
const READ: usize = 256 << 10;
/// Longer lines become numbered parts.
const MAX_LINE: usize = 1 << 20;
/// How often a silent pipe is left to look for a shutdown.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

pub fn run(
    streams: &Streams,
    sink: Sink,
    meter: &Meter,
    shutdown: &Shutdown,
    ready: Latch,
) -> Result<(), Exit> {
    let mut lane = Lane::new(streams.first(), None);
    let mut patience = Patience::new(shutdown.clone(), meter.clone());
    let mut feed = Feed { sink, batch: Batch::default(), frame: Frame::default() };
    ready.release();
    let mut buffer = vec![0u8; READ];
    loop {
        let more = wait(shutdown).map_err(failed)?;
        let count = if more { read(&mut buffer).map_err(failed)? } else { 0 };
        let now = Time::now();
        lane.set_now(now);
        feed.batch.clear();
        feed.batch.now = now;
        feed.take(&buffer[..count], &mut lane, count == 0);
        match feed.deliver(&mut patience, meter) {
            Ok(()) => {}
            Err(Stop::Closed) => return Ok(()),
            Err(Stop::Overdue) => {
                return Err(Exit::failed(
                    "the output took nothing until the end of the drain; the lines read last from stdin are lost",
                ));
            }
        }
        if count == 0 {
            return Ok(());
        }
    }
}

fn failed(error: rustix::io::Errno) -> Exit {
    Exit::failed(format!("stdin cannot be read: {error}"))
}

/// True when there is something to read (or the end); false when a shutdown began and nothing is there.
fn wait(shutdown: &Shutdown) -> rustix::io::Result<bool> {
    let stdin = rustix::stdio::stdin();
    loop {
        let draining = shutdown.is_started();
        if draining && shutdown.remaining() < Duration::from_millis(300) {
            return Ok(false);
        }
        let timeout = if draining { Timespec { tv_sec: 0, tv_nsec: 0 } } else { LOOK };
        let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) if draining => return Ok(false),
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error),
        }
    }
}

fn read(buffer: &mut [u8]) -> rustix::io::Result<usize> {
    loop {
        match rustix::io::read(rustix::stdio::stdin(), &mut *buffer) {
            Err(rustix::io::Errno::INTR) => {}
            other => return other,
        }
    }
}

struct Feed {
    sink: Sink,
    batch: Batch,
    frame: Frame,
}

/// The line that is not complete yet.
#[derive(Default)]
struct Frame {
    open: Vec<u8>,
    /// Parts of it that are written already.
    parts: u32,
}

impl Feed {
    fn take(&mut self, bytes: &[u8], lane: &mut Lane, end: bool) {
        let Self { batch, frame, .. } = self;
        let lines = memchr::memrchr(b'\n', bytes).map_or(0, |at| at + 1);
        let mut rest = bytes;
        if lines > 0 && !frame.open.is_empty() {
            let first = memchr::memchr(b'\n', bytes).map_or(0, |at| at + 1);
            frame.open.extend_from_slice(&bytes[..first]);
            frame.cut(batch, lane);
            let piece = frame.last();
            batch.convert(lane, &frame.open, piece);
            frame.open.clear();
            frame.parts = 0;
            batch.convert(lane, &bytes[first..lines], Piece::Lines);
            rest = &bytes[lines..];
        } else if lines > 0 {
            batch.convert(lane, &bytes[..lines], Piece::Lines);
            rest = &bytes[lines..];
        }
        frame.open.extend_from_slice(rest);
        frame.cut(batch, lane);
        if end && (!frame.open.is_empty() || frame.parts > 0) {
            let piece = frame.last();
            batch.convert(lane, &frame.open, piece);
            frame.open.clear();
        }
    }

    fn deliver(&mut self, patience: &mut Patience, meter: &Meter) -> Result<(), Stop> {
        let Self { sink, batch, .. } = self;
        if batch.out.is_empty() {
            return Ok(());
        }
        loop {
            patience.until("opening the output", || sink.place(batch.out.len()), || ())?;
            let mut done = 0;
            patience.until("writing the output", || sink.write(&batch.out, &mut done), || ())?;
            if patience.until("looking at the output", || sink.kept(), || ())? {
                break;
            }
        }
        meter.delivered(&batch.counts, batch.bytes_read, batch.out.len() as u64);
        if let Sink::File(output) = sink {
            meter.rotations.inc_by(std::mem::take(&mut output.rotations));
        }
        Ok(())
    }
}

impl Frame {
    /// Passes on what is over the limit.
    fn cut(&mut self, batch: &mut Batch, lane: &mut Lane) {
        while self.open.len() > MAX_LINE + 1 {
            // Not in the middle of a character, where it is text.
            let at =
                (MAX_LINE - 3..=MAX_LINE).rev().find(|at| self.open[*at] & 0xc0 != 0x80).unwrap_or(MAX_LINE);
            self.parts += 1;
            batch.convert(lane, &self.open[..at], Piece::Part { number: self.parts, last: false });
            self.open.drain(..at);
        }
    }

    fn last(&self) -> Piece {
        match self.parts {
            0 => Piece::Unterminated { number: 1 },
            parts => Piece::Part { number: parts + 1, last: true },
        }
    }
}
