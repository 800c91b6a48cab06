//! `discover → follow → frame → checkpoint`: log files, from the first byte to the last, without losing or repeating a line.
//!
//! - [`discover`] finds the files of the globs, hears of changes through inotify and looks again by itself, and
//!   recognizes which name is a rotated form of which file.
//! - [`follow`] holds a file by what it *is* (device, inode, birth time, prefix hash, the bytes before the position),
//!   not by its name, and so reads through rename, copytruncate, deletion and inode reuse.
//! - [`frame`] cuts bytes into lines, and lines over a limit into numbered parts.
//! - [`traces`] tells consumers that join lines which of them belong to one stack trace.
//! - [`checkpoint`] moves a position only over the contiguous acknowledged prefix and saves it atomically.
//!
//! The core is one synchronous state machine, [`Tail`]: [`poll`](Tail::poll) it when its [`Wakeup`] fires or its
//! [`Turn::wait`] is over. It never waits for anything but the disk, so a plain thread and a current-thread runtime can
//! both drive it. One `Tail` serves one consumer: a program with several sinks opens one per sink, each with its own
//! positions, so that a stalled sink delays only itself. The log file is the buffer.
//!
//! ```no_run
//! use logtail::{Loaded, Options, Store, Tail, Wakeup};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (store, loaded) = Store::open("/var/lib/x/positions")?;
//! let saved = match loaded {
//!     Loaded::Found(positions) => Some(positions),
//!     Loaded::Nothing | Loaded::Damaged { .. } => None, // damaged: set aside, reported, read from the beginning
//! };
//! let wakeup = Wakeup::default();
//! let mut tail = Tail::open(Options::new(["/var/log/app/*.log"]), saved, wakeup.clone())?;
//! store.save(&tail.positions())?; // at once: from here on, a rotated file is one that was missed
//! loop {
//!     let mut done = Vec::new();
//!     let turn = tail.poll(1 << 20, |block| {
//!         for line in block.lines() {
//!             println!("{}:{} {:?}", block.path.display(), line.offset, line.bytes);
//!         }
//!         done.push((block.file, block.range()));
//!     });
//!     for (file, range) in done {
//!         tail.acknowledge(file, range); // when the sink has it, in any order
//!     }
//!     if tail.moved() {
//!         store.save(&tail.positions())?; // `positions().note` carries what must be saved together with them
//!     }
//!     if !turn.more {
//!         wakeup.wait(turn.wait); // or `tokio::time::timeout(turn.wait, wakeup.changed()).await`
//!     }
//! }
//! # }
//! ```
//!
//! To end: [`Tail::finish`], then poll until [`Turn::finished`]; the last, unterminated line comes too.

pub mod checkpoint;
pub mod discover;
pub mod follow;
pub mod frame;
pub mod traces;

mod error;
mod options;
mod wakeup;

pub use checkpoint::{Loaded, Position, Positions, SaveError, Store};
pub use error::Error;
pub use follow::{FileId, FileKey, FileStatus, Tail, Totals, Turn};
pub use frame::{Block, Line, Lines, Piece, Units};
pub use options::{Options, check_globs, would_read};
pub use wakeup::Wakeup;
