//! stdin in: a pipe, a terminal or a file, to its end.

use std::time::Duration;

use podkit::{exit::Exit, ready::Latch, shutdown::Shutdown};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    batch::Batch,
    frame::Frame,
    sink::{Patience, Sink, Stop},
    streams::Streams,
};
use crate::{meter::Meter, time::Time};

/// Bytes asked of the pipe at once.
const READ: usize = 256 << 10;
/// How often a silent pipe is left to look for a shutdown.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

pub fn run(
    streams: &Streams,
    sink: Sink,
    meter: &Meter,
    shutdown: &Shutdown,
    ready: Latch,
) -> Result<(), Exit> {
    let mut lane = streams.lane_of(0);
    let mut patience = Patience::new(shutdown.clone(), meter.clone());
    let mut feed = Feed { sink, batch: Batch::default(), frame: Frame::default() };
    ready.release();
    let mut buffer = vec![0u8; READ];
    loop {
        let count = match wait(shutdown, feed.frame.waits()).map_err(failed)? {
            Waited::Readable => Some(read(&mut buffer).map_err(failed)?),
            Waited::Silence => None,
            Waited::Drained => Some(0),
        };
        let now = Time::now();
        lane.set_now(now);
        feed.batch.clear();
        feed.batch.now = now;
        match count {
            Some(count) => feed.frame.take(&buffer[..count], &mut lane, &mut feed.batch, count == 0),
            None => feed.frame.flush(&mut lane, &mut feed.batch),
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

impl Feed {
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
        meter.output(sink);
        Ok(())
    }
}
