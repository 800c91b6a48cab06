//! What survives a kill: how far each input is, and what was about to be written where.
//!
//! Before a batch goes to the output, its intent is saved: the positions before it, the place in the output, and which bytes
//! of which files it was made of. After a kill the output's length says how much of it was written; the same bytes give the
//! same records, and the rest follows.
//!
//! The intent is replaced with every batch, without waiting for the disk: that survives the death of the process. Once a second
//! the same goes to a [`logtail::Store`], synced: that survives the death of the machine.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use logtail::{Loaded, Piece, Positions, Store};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::output::Place;
use crate::time::Time;

/// What was about to be written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// Counts intents: the newest wins.
    pub seq: u64,
    pub place: Option<Place>,
    /// When the batch was read: seconds and nanoseconds since 1970.
    pub now: (i64, u32),
    /// Bytes of its records.
    pub bytes: u64,
    pub runs: Vec<Run>,
}

/// A run of bytes of one file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub id: u64,
    pub start: u64,
    pub end: u64,
    pub path: String,
    /// Number and last-or-not of a part of a line; absent for whole lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<(u32, bool)>,
    /// A last line without its newline.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unterminated: bool,
    /// Nothing behind the run was waited for, so its last event ends with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub flush: bool,
    /// What detection knew before the run.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub detector: Value,
}

impl Run {
    pub fn piece(&self) -> Piece {
        match self.part {
            None => Piece::Lines,
            Some((number, _)) if self.unterminated => Piece::Unterminated { number },
            Some((number, last)) => Piece::Part { number, last },
        }
    }
}

impl Intent {
    pub fn time(&self) -> Time {
        Time { seconds: self.now.0, nanos: self.now.1 }
    }
}

/// The state directory.
#[derive(Debug)]
pub struct State {
    store: Store,
    quick: PathBuf,
    /// Held as long as the process lives: two adapters must not write the same positions.
    _lock: File,
    synced: Option<Instant>,
    dirty: bool,
}

/// What was found at start.
#[derive(Debug, Default)]
pub struct Found {
    pub positions: Option<Positions>,
    pub intent: Intent,
    /// Where a damaged file was put, and what is wrong with it.
    pub damaged: Option<(PathBuf, String)>,
}

const SYNC_EVERY: Duration = Duration::from_secs(1);

impl State {
    /// # Errors
    /// A sentence: the directory cannot be used, or another adapter uses it.
    pub fn open(dir: &Path) -> Result<(Self, Found), String> {
        let fail = |error: &dyn std::fmt::Display| {
            format!(
                "the state directory {} cannot be used: {error}; mount a writable volume there or name another with --state",
                dir.display()
            )
        };
        std::fs::create_dir_all(dir).map_err(|e| fail(&e))?;
        let lock = File::create(dir.join("lock")).map_err(|e| fail(&e))?;
        if rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(format!(
                "another adapter-logformat uses the state directory {}; give each its own --state",
                dir.display()
            ));
        }
        let (store, loaded) = Store::open(dir.join("positions")).map_err(|e| fail(&e))?;
        let quick = dir.join("intent");
        let mut found = Found::default();
        match loaded {
            Loaded::Nothing => {}
            Loaded::Found(positions) => found.positions = Some(positions),
            Loaded::Damaged { aside, reason } => found.damaged = Some((aside, reason)),
        }
        let newer = read_quick(&quick).filter(|quick| {
            found.positions.as_ref().is_none_or(|old| intent(&quick.note).seq >= intent(&old.note).seq)
        });
        found.positions = newer.or(found.positions);
        found.intent = found.positions.as_ref().map(|p| intent(&p.note)).unwrap_or_default();
        Ok((Self { store, quick, _lock: lock, synced: None, dirty: false }, found))
    }

    /// Saves positions with their intent so that the death of the process does not lose them.
    pub fn save(&mut self, positions: &Positions) -> io::Result<()> {
        let body = serde_json::to_vec(positions)?;
        let mut bytes = format!("{} {:016x}\n", body.len(), checksum(&body)).into_bytes();
        bytes.extend_from_slice(&body);
        let temp = self.quick.with_extension("new");
        let written = std::fs::write(&temp, &bytes).and_then(|()| std::fs::rename(&temp, &self.quick));
        if written.is_err() {
            let _ = std::fs::remove_file(&temp);
        }
        written?;
        self.dirty = true;
        if self.synced.is_none_or(|at| at.elapsed() >= SYNC_EVERY) {
            self.sync(positions)?;
        }
        Ok(())
    }

    /// Saves them so that the death of the machine does not lose them either.
    pub fn sync(&mut self, positions: &Positions) -> io::Result<()> {
        if self.dirty {
            self.store.save(positions).map_err(|error| error.source)?;
            self.synced = Some(Instant::now());
            self.dirty = false;
        }
        Ok(())
    }

    /// True when [`Self::sync`] is due.
    pub fn sync_due(&self) -> bool {
        self.dirty && self.synced.is_none_or(|at| at.elapsed() >= SYNC_EVERY)
    }
}

fn intent(note: &Value) -> Intent {
    serde_json::from_value(note.clone()).unwrap_or_default()
}

fn read_quick(path: &Path) -> Option<Positions> {
    let bytes = std::fs::read(path).ok()?;
    let newline = memchr::memchr(b'\n', &bytes)?;
    let (length, sum) = std::str::from_utf8(&bytes[..newline]).ok()?.split_once(' ')?;
    let body = &bytes[newline + 1..];
    let whole = length.parse() == Ok(body.len()) && u64::from_str_radix(sum, 16) == Ok(checksum(body));
    if whole { serde_json::from_slice(body).ok() } else { None }
}

/// FNV-1a; it has to notice accidents, not attacks.
fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn positions(seq: u64) -> Positions {
        let intent = Intent { seq, bytes: 7, ..Intent::default() };
        Positions { note: serde_json::to_value(intent).expect("JSON"), ..Positions::default() }
    }

    #[test]
    fn the_newest_intent_is_found_and_damage_is_survived() {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut state, found) = State::open(dir.path()).expect("opens");
        assert!(found.positions.is_none());
        state.save(&positions(1)).expect("saves");
        state.save(&positions(2)).expect("saves");
        assert!(State::open(dir.path()).is_err_and(|e| e.contains("another adapter-logformat")));
        drop(state);
        let (state, found) = State::open(dir.path()).expect("opens");
        assert_eq!(found.intent.seq, 2);
        drop(state);
        std::fs::write(dir.path().join("intent"), "12 half").expect("writes");
        let (state, found) = State::open(dir.path()).expect("opens");
        assert_eq!(found.intent.seq, 1, "the synced one is a second behind");
        drop(state);
        std::fs::write(dir.path().join("positions"), "").expect("writes");
        let (_, found) = State::open(dir.path()).expect("opens");
        assert!(found.positions.is_none());
        assert!(found.damaged.is_some());
    }
}
