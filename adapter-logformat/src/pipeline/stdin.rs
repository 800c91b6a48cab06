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
        let count = match wait(shutdown, feed.frame.lines > 0).map_err(failed)? {
            Waited::Readable => Some(read(&mut buffer).map_err(failed)?),
            Waited::Silence => None,
            Waited::Drained => Some(0),
        };
        let now = Time::now();
        lane.set_now(now);
        feed.batch.clear();
        feed.batch.now = now;
        match count {
            Some(count) => feed.take(&buffer[..count], &mut lane, count == 0),
            None => feed.flush(&mut lane),
        }
        match feed.deliver(&mut patience, meter, &streams.filters) {
            Ok(()) => {}
            Err(Stop::Closed) => return Ok(()),
            Err(Stop::Overdue) => {
                return Err(Exit::failed(
                    "the output took nothing until the end of the drain; the lines read last from stdin are lost",
                ));
            }
        }
        if count == Some(0) {
            return Ok(());
        }
    }
}

enum Waited {
    /// Something to read, or the end.
    Readable,
    /// Nothing came for a while, and lines wait for what may belong to them.
    Silence,
    /// A shutdown began, and nothing is there.
    Drained,
}

fn failed(error: rustix::io::Errno) -> Exit {
    Exit::failed(format!("stdin cannot be read: {error}"))
}

fn wait(shutdown: &Shutdown, waiting: bool) -> rustix::io::Result<Waited> {
    let stdin = rustix::stdio::stdin();
    let mut silent = 0;
    loop {
        let draining = shutdown.is_started();
        if draining && shutdown.remaining() < Duration::from_millis(300) {
            return Ok(Waited::Drained);
        }
        let timeout = if draining { Timespec { tv_sec: 0, tv_nsec: 0 } } else { LOOK };
        let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) if draining => return Ok(Waited::Drained),
            Ok(0) => {
                silent += 1;
                if waiting && silent >= 4 {
                    return Ok(Waited::Silence);
                }
            }
            Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(Waited::Readable),
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

/// What is read and belongs to no record yet.
#[derive(Default)]
struct Frame {
    open: Vec<u8>,
    /// Bytes of whole lines at its start: an event that may go on.
    lines: usize,
    /// Parts of the line behind them that are written already.
    parts: u32,
}

impl Feed {
    fn take(&mut self, bytes: &[u8], lane: &mut Lane, end: bool) {
        let Self { batch, frame, .. } = self;
        if frame.parts > 0 {
            // The rest of a long line, up to its newline.
            let rest = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
            frame.open.extend_from_slice(&bytes[..rest]);
            frame.cut(batch, lane);
            if frame.open.last() == Some(&b'\n') || end {
                let piece = Piece::Part { number: frame.parts + 1, last: true };
                batch.convert(lane, &frame.open, piece, true);
                frame.open.clear();
                frame.parts = 0;
            }
            if rest < bytes.len() {
                self.take(&bytes[rest..], lane, end);
            }
            return;
        }
        frame.open.extend_from_slice(bytes);
        let whole = match memchr::memrchr(b'\n', bytes) {
            Some(at) => frame.open.len() - bytes.len() + at + 1,
            None => frame.lines,
        };
        let used = batch.convert(lane, &frame.open[..whole], Piece::Lines, end);
        frame.open.drain(..used);
        frame.lines = whole - used;
        if end && !frame.open.is_empty() {
            batch.convert(lane, &frame.open, Piece::Unterminated { number: 1 }, true);
            frame.open.clear();
        } else if frame.open.len() - frame.lines > MAX_LINE + 1 {
            let event: Vec<u8> = frame.open.drain(..frame.lines).collect();
            batch.convert(lane, &event, Piece::Lines, true);
            frame.lines = 0;
            frame.cut(batch, lane);
        }
    }

    /// The waiting lines are an event: nothing came behind them.
    fn flush(&mut self, lane: &mut Lane) {
        let lines: Vec<u8> = self.frame.open.drain(..self.frame.lines).collect();
        self.frame.lines = 0;
        self.batch.convert(lane, &lines, Piece::Lines, true);
    }

    fn deliver(&mut self, patience: &mut Patience, meter: &Meter, filters: &[String]) -> Result<(), Stop> {
        let Self { sink, batch, .. } = self;
        if batch.counts.lines == 0 {
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
        meter.filtered(filters, &batch.filtered);
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
            batch.convert(lane, &self.open[..at], Piece::Part { number: self.parts, last: false }, true);
            self.open.drain(..at);
        }
    }
}
