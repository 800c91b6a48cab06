use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::body::Body;
use super::prefix::{CONTEXT, Context, Prefix, hash};
use super::{FileId, FileKey};
use crate::checkpoint::Ledger;
use crate::discover::{Found, Identity, Stat};
use crate::frame::Units;

/// Where a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A pattern names it.
    Matched,
    /// Rotated to a name that no pattern matches, in a directory that is looked at.
    Rotated,
    /// Moved out of sight, but not deleted.
    Away,
    /// It has no name any more; its bytes stay as long as it is open.
    Deleted,
    /// Its inode holds other bytes, and no copy was found.
    Lost,
    /// Not to be read.
    Ignored,
}

/// One file, or one generation of a truncated file.
pub(super) struct Tracked {
    pub(super) id: FileId,
    pub(super) path: Arc<Path>,
    /// Where it was found first, or what it was a rotated form of then: its copies are named after this.
    pub(super) origin: Arc<Path>,
    pub(super) identity: Identity,
    pub(super) place: Place,
    pub(super) file: Option<Body>,
    /// The next byte to pass on.
    pub(super) read: u64,
    /// Bytes after `read` that are known to hold no newline.
    pub(super) scanned: usize,
    /// Parts passed on of the line that `read` stands in.
    pub(super) part: u32,
    pub(super) size: u64,
    /// When the file last changed, as it says, and was proved to be the same; 0 if that was just now, and does not prove that it is.
    pub(super) modified: u64,
    pub(super) prefix: Prefix,
    /// How it writes newlines, once that is known.
    pub(super) units: Option<Units>,
    /// The bytes before `read`.
    pub(super) context: Context,
    pub(super) ledger: Ledger,
    pub(super) grown: Instant,
    pub(super) queued: bool,
    /// The look through the directories that last saw it.
    pub(super) seen: u64,
    /// Looks in a row that did not see it.
    pub(super) missed: u32,
    /// Restored from a saved position and not yet compared with the file.
    pub(super) unverified: bool,
    /// It could not be opened or read; said once.
    pub(super) troubled: bool,
    /// For an ignored file: of which it is a copy.
    pub(super) copy_of: Option<FileKey>,
    /// It was cut, or is gone, and goes on in a copy.
    pub(super) in_copy: bool,
    /// Its compressed form was found.
    pub(super) compressed: bool,
    pub(super) recorded: Recorded,
}

/// Whether the next process will know this file again, by saved positions that say how it begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Recorded {
    #[default]
    No,
    /// In the positions that were asked for last.
    Asked,
    Saved,
}

impl Tracked {
    pub(super) fn new(id: FileId, path: Arc<Path>, stat: &Stat, place: Place, start: u64) -> Self {
        Self {
            id,
            origin: Arc::clone(&path),
            path,
            identity: stat.identity,
            place,
            file: None,
            read: start,
            scanned: 0,
            part: 0,
            size: stat.size,
            modified: 0,
            prefix: Prefix::default(),
            units: None,
            context: Context::default(),
            ledger: Ledger::new(start, 0, None),
            grown: Instant::now(),
            queued: false,
            seen: 0,
            missed: 0,
            unverified: false,
            troubled: false,
            copy_of: None,
            in_copy: false,
            compressed: false,
            recorded: Recorded::No,
        }
    }

    /// Everything was read and acknowledged, and no more can come.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.place, Place::Deleted | Place::Lost | Place::Away)
            && self.file.is_none()
            && self.ledger.acked() >= self.read
    }

    /// Cannot be the copy of a file that was born then: it is followed for itself, because some of it was read or it is of an earlier run; or it lay
    /// there before the first start, and nobody has written to it since that file began.
    pub(super) fn is_nobodys_rest(&self, found: &Found, born: u64) -> bool {
        if self.place == Place::Ignored {
            return self.copy_of.is_none() && !found.compressed && found.stat.modified < born;
        }
        self.read > 0 || self.unverified || self.recorded == Recorded::Saved
    }

    /// All there is by now is not to be read; but it can be known again.
    pub(super) fn pass_over(&mut self, file: &Body) -> io::Result<()> {
        self.prefix = Prefix::default();
        self.prefix.holds(file)?;
        if self.copy_of.is_none() {
            self.size = file.stat()?.size;
            self.read = self.size;
            self.context = Context::at(file, self.read)?;
            self.ledger = Ledger::new(self.read, 0, Some((self.read, hash(&self.context))));
        }
        Ok(())
    }

    /// All bytes before the position that are ever compared are known, and there are some.
    pub(super) fn is_context_whole(&self) -> bool {
        self.read > 0 && self.context.len() as u64 == self.read.min(CONTEXT as u64)
    }

    /// More was there, when it was looked at last, than was read or is known to be half a line.
    pub(super) fn has_more(&self) -> bool {
        self.size > self.read + self.scanned as u64
    }

    /// Nothing is left to read for now.
    pub(super) fn is_caught_up(&self) -> bool {
        !self.queued && self.size <= self.read
    }

    /// It can be opened again by its name, and nothing waits longer by that. What was written, renamed, deleted or switched since the last
    /// look counts.
    pub(super) fn may_close(&self, crowded: bool) -> bool {
        if !matches!(self.place, Place::Matched | Place::Rotated | Place::Ignored) {
            return false;
        }
        let Ok(now) = Stat::of_path(&self.path) else { return false };
        let plain = self.file.as_ref().is_some_and(|file| file.plain().is_some());
        let unread = plain && self.place != Place::Ignored && now.size > self.read;
        now.identity.inode() == self.identity.inode() && (crowded || (self.is_caught_up() && !unread))
    }

    pub(super) fn lag(&self) -> u64 {
        if self.place == Place::Ignored { 0 } else { self.size.saturating_sub(self.ledger.acked()) }
    }

    /// Whether `file`, which has its inode, holds the bytes that a saved position stands in: its beginning, and what comes before the position.
    pub(super) fn is_in(&mut self, file: &Body) -> io::Result<bool> {
        // In this order: the size of a packed file costs more than its beginning.
        Ok(self.prefix.holds(file)? && file.stat()?.size >= self.read && self.anchor_is_in(file)?)
    }

    /// The bytes that prove the saved position are in `file`, as far as there are any.
    pub(super) fn anchor_is_in(&self, file: &Body) -> io::Result<bool> {
        match self.ledger.anchor() {
            Some((at, expected)) => Ok(hash(&Context::at(file, at)?) == expected),
            None => Ok(true),
        }
    }

    /// Takes the hash that proves a position behind which not all is acknowledged: a consumer acknowledges lines, and blocks have many. Of a packed
    /// file that would mean to unpack it again.
    pub(super) fn prove(&mut self) -> io::Result<()> {
        let at = self.ledger.acked();
        // Where all is acknowledged, the context proves it.
        if at == 0 || at == self.read || self.ledger.anchor().is_some_and(|(proved, _)| proved == at) {
            return Ok(());
        }
        let closed;
        let file = match &self.file {
            Some(file) => file,
            None if matches!(self.place, Place::Matched | Place::Rotated) => {
                closed = Body::open(&self.path)?;
                &closed
            }
            None => return Ok(()),
        };
        if file.plain().is_none() || file.stat()?.identity != self.identity {
            return Ok(());
        }
        let before = Context::at(file, at)?;
        // Asked afterwards: it had not been cut yet when these bytes were read.
        if self.context_holds(file)? {
            self.ledger.prove(hash(&before));
        }
        Ok(())
    }

    /// What proves the saved position: an offset, and the hash of the bytes before it. The offset is the position, or, where the file could not be
    /// read for that, the end of a block before it.
    pub(super) fn anchor(&self) -> Option<(u64, u64)> {
        if self.is_context_whole() && self.ledger.acked() == self.read {
            return Some((self.read, hash(&self.context)));
        }
        self.ledger.anchor()
    }

    /// The bytes before the position are still there.
    pub(super) fn context_holds(&self, file: &Body) -> io::Result<bool> {
        self.context.is_before(self.read, file)
    }

    /// Notes that `passed` bytes were passed on.
    pub(super) fn advance(&mut self, passed: &[u8], part: u32) {
        self.read += passed.len() as u64;
        self.scanned = 0;
        self.part = part;
        self.context.pass(passed);
        let context = &self.context;
        self.ledger.passed_on(self.read, part, || hash(context));
    }
}
