//! Files by what they are. [`Tail`] is the whole of logtail for its user.

mod body;
mod copies;
mod descriptors;
mod packed;
mod poll;
mod prefix;
mod proof;
mod read;
mod report;
mod rest;
mod restore;
mod rollover;
mod scan;
mod start;
mod tracked;

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::checkpoint::Positions;
use crate::discover::{Identity, Patterns, Watch};
use crate::{Error, Options, Wakeup};
use poll::Ending;
use prefix::hash;
pub use report::{FileStatus, Totals};
use tracked::{Place, Recorded, Tracked};

/// A file, or one generation of a file that was truncated, within this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileKey(u64);

/// The same, stable over restarts and renames: made from inode and birth time, and from the moment of discovery for
/// later generations of a truncated file. Unique on one node; combine it with the pod's identity beyond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FileId(pub u64);

/// What one [`Tail::poll`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Bytes passed on.
    pub bytes: usize,
    /// The budget ended before the bytes did.
    pub more: bool,
    /// When to poll again even if the [`Wakeup`] does not fire.
    pub wait: Duration,
    /// After [`Tail::finish`]: every file was read to its end.
    pub finished: bool,
}

/// Follows the files of some globs for one consumer. See the [crate] for how to drive it.
pub struct Tail {
    options: Options,
    patterns: Patterns,
    watch: Watch,
    wakeup: Wakeup,
    files: HashMap<FileKey, Tracked>,
    by_inode: HashMap<(u64, u64), FileKey>,
    by_path: HashMap<Arc<Path>, FileKey>,
    /// What symbolic links lead to.
    targets: HashMap<PathBuf, FileKey>,
    /// Files of an earlier run by inode number and birth time, where there is one.
    restored: HashMap<(u64, u64), FileKey>,
    /// Files that may hold unread bytes, in the order of their turns.
    ready: VecDeque<FileKey>,
    /// Open files, the one opened first in front.
    open: VecDeque<FileKey>,
    /// Files whose last line has no newline yet.
    partial: HashSet<FileKey>,
    buffer: Vec<u8>,
    next_key: u64,
    /// Counts looks through the directories.
    round: u64,
    looked_at: Option<Instant>,
    look_took: Duration,
    look_every: Duration,
    /// A copy in progress cannot be told from a new file yet.
    undecided: bool,
    /// Globs that an earlier run followed already.
    known_globs: HashSet<String>,
    /// Files that are gone, the oldest first.
    retired: VecDeque<packed::Retired>,
    /// Files that may not be complete, compressed ones and empty ones, with their size at the last look and since when they have it.
    half: HashMap<(u64, u64), (u64, Instant)>,
    problems: HashMap<PathBuf, io::ErrorKind>,
    ending: Ending,
    moved: bool,
    totals: Totals,
    note: serde_json::Value,
}

impl Tail {
    /// Finds the files and goes on where `saved` stands. Reads no line yet. Missing and unreadable directories are
    /// logged and looked for again, they are no errors here.
    ///
    /// # Errors
    /// A pattern is not a glob, or there is none.
    pub fn open(options: Options, saved: Option<Positions>, wakeup: Wakeup) -> Result<Self, Error> {
        let patterns = Patterns::new(&options.read, &options.exclude)?;
        let mut tail = Self {
            watch: Watch::new(options.watch, wakeup.clone()),
            options: Options {
                max_line: options.max_line.max(64),
                read_size: options.read_size.max(64),
                ..options
            },
            patterns,
            wakeup,
            files: HashMap::new(),
            by_inode: HashMap::new(),
            by_path: HashMap::new(),
            targets: HashMap::new(),
            restored: HashMap::new(),
            ready: VecDeque::new(),
            open: VecDeque::new(),
            partial: HashSet::new(),
            buffer: Vec::new(),
            next_key: 1,
            round: 0,
            looked_at: None,
            look_took: Duration::ZERO,
            look_every: poll::BRISK,
            undecided: false,
            known_globs: HashSet::new(),
            retired: VecDeque::new(),
            half: HashMap::new(),
            problems: HashMap::new(),
            ending: Ending::No,
            moved: false,
            totals: Totals::default(),
            note: serde_json::Value::Null,
        };
        if let Some(saved) = saved {
            tail.restore(saved);
        }
        // Watched first, then looked at: nothing can change unheard in between.
        tail.look_around();
        tail.look_around();
        Ok(tail)
    }

    /// The consumer has these bytes of this file for good. In any order; the position moves over the contiguous prefix.
    pub fn acknowledge(&mut self, file: FileKey, range: Range<u64>) {
        let Some(tracked) = self.files.get_mut(&file) else { return };
        if tracked.ledger.acknowledge(range) {
            self.moved = true;
            if tracked.is_over() {
                self.remove(file);
            }
        }
    }

    /// No more will be written: read everything to its end, look through the directories once more, and pass on
    /// unterminated last lines. May be called again.
    pub fn finish(&mut self) {
        self.ending = Ending::Reading;
        self.wakeup.fire();
    }

    /// Gives back the memory that reading takes: nothing will come soon.
    pub fn rest(&mut self) {
        self.buffer = Vec::new();
    }

    /// Positions moved since [`Self::positions`] was last asked.
    pub fn moved(&self) -> bool {
        self.moved
    }

    /// What [`Self::positions`] gave last was not saved: they count as moved.
    pub fn keep_moved(&mut self) {
        self.moved = true;
    }

    /// What [`Self::positions`] gave last is saved.
    pub fn saved(&mut self) {
        for file in self.files.values_mut().filter(|file| file.recorded == Recorded::Asked) {
            file.recorded = Recorded::Saved;
        }
    }

    /// The next process will know this file again and give it the same [`FileId`], even if it is copied and cut or its inode is used again
    /// before. False for a new one whose positions were not saved since it was read first.
    pub fn is_recorded(&self, file: FileKey) -> bool {
        self.files.get(&file).is_none_or(|file| file.recorded == Recorded::Saved)
    }

    /// What is saved together with the positions, `Null` unless [`Self::set_note`] or a saved one said otherwise.
    pub fn note(&self) -> &serde_json::Value {
        &self.note
    }

    /// Saved together with the positions or not at all.
    pub fn set_note(&mut self, note: serde_json::Value) {
        self.moved |= self.note != note;
        self.note = note;
    }

    /// The core's own wake-up, to wait on.
    pub fn wakeup(&self) -> &Wakeup {
        &self.wakeup
    }

    fn new_key(&mut self) -> FileKey {
        let key = FileKey(self.next_key);
        self.next_key += 1;
        key
    }

    /// Who has this inode: its number may have been another's before.
    fn owner(&self, identity: &Identity) -> Option<FileKey> {
        let key = *self.by_inode.get(&identity.inode())?;
        self.files.get(&key).filter(|file| !file.identity.contradicts(identity)).map(|_| key)
    }

    fn enqueue(&mut self, key: FileKey) {
        if let Some(tracked) = self.files.get_mut(&key)
            && !tracked.queued
            && tracked.place != Place::Ignored
        {
            tracked.queued = true;
            self.ready.push_back(key);
        }
    }

    fn remove(&mut self, key: FileKey) {
        if let Some(tracked) = self.files.remove(&key) {
            if self.by_inode.get(&tracked.identity.inode()) == Some(&key) {
                self.by_inode.remove(&tracked.identity.inode());
            }
            if self.by_path.get(&tracked.path) == Some(&key) {
                self.by_path.remove(&tracked.path);
            }
            let born = (tracked.identity.ino, tracked.identity.birth);
            if self.restored.get(&born) == Some(&key) {
                self.restored.remove(&born);
            }
            self.open.retain(|open| *open != key);
            self.partial.remove(&key);
            self.retire(&tracked);
            self.moved = true;
        }
    }
}

impl FileId {
    /// `salt` tells generations apart that live in one inode.
    fn new(identity: &Identity, salt: u64) -> Self {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&identity.ino.to_le_bytes());
        bytes[8..16].copy_from_slice(&identity.birth.to_le_bytes());
        bytes[16..].copy_from_slice(&salt.to_le_bytes());
        Self(hash(&bytes))
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tail").field("globs", &self.patterns.globs).field("files", &self.files.len()).finish()
    }
}
