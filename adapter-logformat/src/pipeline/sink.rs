//! Delivery: a batch is written whole, however long that takes; while it cannot be, nothing more is read.

use std::io;
use std::time::Duration;

use podkit::{limit::Every, shutdown::Shutdown};
use tracing::{info, warn};

use super::{
    output::{FileOutput, Place, write_stdout},
    remote::Remote,
};
use crate::meter::Meter;

/// Where records go.
#[derive(Debug)]
pub enum Sink {
    Stdout,
    File(FileOutput),
    Remote(Remote),
}

/// Why nothing more can be delivered.
#[derive(Debug)]
pub enum Stop {
    /// The reader of stdout is gone, as in `… | head`: a success.
    Closed,
    /// The drain's time is over while the output takes nothing.
    Overdue,
}

/// Between attempts while the output takes nothing.
const AGAIN: Duration = Duration::from_millis(100);

/// Keeps trying.
#[derive(Debug)]
pub struct Patience {
    shutdown: Shutdown,
    meter: Meter,
    every: Every,
    blocked: bool,
}

impl Patience {
    pub fn new(shutdown: Shutdown, meter: Meter) -> Self {
        Self { shutdown, meter, every: Every::new(Duration::from_secs(10)), blocked: false }
    }

    /// Calls `step` until it succeeds. In between it waits, and calls `meanwhile`, so that files that come and go are not missed.
    pub fn until<T>(
        &mut self,
        what: &str,
        mut step: impl FnMut() -> io::Result<T>,
        mut meanwhile: impl FnMut(),
    ) -> Result<T, Stop> {
        loop {
            let error = match step() {
                Ok(value) => {
                    if std::mem::take(&mut self.blocked) {
                        info!("the output takes records again");
                        self.meter.output_blocked.set(0);
                        self.meter.update(|s| s.blocked = None);
                    }
                    return Ok(value);
                }
                Err(error) => error,
            };
            if error.kind() == io::ErrorKind::BrokenPipe {
                return Err(Stop::Closed);
            }
            self.meter.output_errors.inc();
            self.meter.output_blocked.set(1);
            self.meter.update(|s| s.blocked = Some(format!("{what}: {error}")));
            self.blocked = true;
            if let Some(suppressed) = self.every.allow() {
                warn!(%error, suppressed, "{what} failed; reading waits until it works again, nothing is lost");
            }
            if self.shutdown.is_started() && self.shutdown.remaining() < 3 * AGAIN {
                return Err(Stop::Overdue);
            }
            meanwhile();
            std::thread::sleep(AGAIN);
        }
    }
}

impl Sink {
    /// Room for a batch; `None` where nothing is to be remembered about it.
    pub fn place(&mut self, incoming: usize) -> io::Result<Option<Place>> {
        match self {
            Sink::Stdout => Ok(None),
            Sink::File(file) => file.place(incoming as u64).map(Some),
            Sink::Remote(remote) => remote.ready().map(|()| None),
        }
    }

    pub fn write(&mut self, bytes: &[u8], done: &mut usize) -> io::Result<()> {
        match self {
            Sink::Stdout => write_stdout(bytes, done),
            Sink::File(file) => file.write(bytes, done),
            Sink::Remote(remote) => remote.write(bytes, done),
        }
    }

    /// False when what was written is gone already and has to be written again.
    pub fn kept(&mut self) -> io::Result<bool> {
        match self {
            Sink::Stdout | Sink::Remote(_) => Ok(true),
            Sink::File(file) => file.kept(),
        }
    }

    pub fn describe(&self) -> String {
        match self {
            Sink::Stdout => "stdout".to_owned(),
            Sink::File(file) => file.path().display().to_string(),
            Sink::Remote(remote) => remote.describe(),
        }
    }

    /// Files renamed since the last time.
    pub fn take_rotations(&mut self) -> u64 {
        match self {
            Sink::File(file) => std::mem::take(&mut file.rotations),
            _ => 0,
        }
    }

    /// Connections made since the last time.
    pub fn take_connections(&mut self) -> u64 {
        match self {
            Sink::Remote(remote) => std::mem::take(&mut remote.connected),
            _ => 0,
        }
    }
}
