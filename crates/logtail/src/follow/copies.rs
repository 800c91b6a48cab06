//! copytruncate: the file is copied beside itself, then cut. The copy is no new file, unless it is one.

use std::io;
use std::time::Duration;

use tracing::debug;

use super::body::Body;
use super::prefix::CONTEXT;
use super::tracked::Tracked;
use super::{FileKey, Place, Tail};
use crate::discover::Found;

/// A copy that has stopped growing and whose original was not cut for so long is a file of its own.
const UNCUT: Duration = Duration::from_secs(10);

/// What a new file is to the one it may be rotated from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Likeness {
    CopyOf(FileKey),
    Other,
    /// Too little is there to tell.
    Undecided,
}

impl Tail {
    /// Compares a new file with the one whose rotated form its name says it may be.
    pub(super) fn likeness(&mut self, found: &Found) -> Likeness {
        /// A file that is cut while it is looked at begins anew, and the new one may be a copy of that.
        const MOST_CUTS: usize = 3;
        for _ in 0..MOST_CUTS {
            let at_name = found.live.iter().find_map(|path| self.by_path.get(path.as_path())).copied();
            let Some(key) = at_name.or_else(|| self.moved_original(found)) else { return Likeness::Other };
            if !self.ensure_open(key).unwrap_or(false) {
                return Likeness::Other;
            }
            // Cut already? Then this look claims its copy.
            if !self.roll_over_cut(key) {
                return self.likeness_to(key, found);
            }
            if self.by_inode.contains_key(&found.stat.identity.inode()) {
                return Likeness::Other;
            }
        }
        Likeness::Undecided
    }

    fn likeness_to(&mut self, key: FileKey, found: &Found) -> Likeness {
        let copy = match self.open_found(found) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Likeness::Undecided,
            copy => copy,
        };
        // Whatever was closed for it.
        if !self.ensure_open(key).unwrap_or(false) {
            return Likeness::Other;
        }
        let Some(original) = self.files.get(&key) else { return Likeness::Other };
        let Some(file) = &original.file else { return Likeness::Other };
        if original.place == Place::Ignored {
            return Likeness::Other;
        }
        match copy.and_then(|copy| same_bytes(file, &copy)) {
            Ok(Some(true)) => Likeness::CopyOf(key),
            Ok(None) => Likeness::Undecided,
            Ok(Some(false)) | Err(_) => {
                // It may have been cut just while the two were compared.
                self.roll_over_cut(key);
                Likeness::Other
            }
        }
    }

    /// Begins an open file anew when it was cut, which claims its copy. True when that was so. Otherwise its beginning is known from now on: one that is
    /// not read yet could be cut and written again unnoticed, and what is taken for its copy would hold what nobody reads.
    pub(super) fn roll_over_cut(&mut self, key: FileKey) -> bool {
        let cut = self.files.get_mut(&key).is_some_and(|Tracked { file, prefix, context, read, .. }| {
            file.as_ref().is_some_and(|file| {
                file.stat().is_ok_and(|stat| stat.size < *read)
                    || !prefix.holds(file).unwrap_or(true)
                    || !context.is_before(*read, file).unwrap_or(true)
            })
        });
        if cut {
            self.roll_over(key);
        }
        cut
    }

    /// The original may have been renamed itself since it was copied and cut.
    fn moved_original(&self, found: &Found) -> Option<FileKey> {
        let named = |file: &Tracked| found.live.iter().any(|live| **live == *file.origin);
        let is_cut = |file: &Tracked| file.place == Place::Rotated && file.size < file.read;
        self.files.iter().find(|(_, file)| is_cut(file) && named(file)).map(|(key, _)| *key)
    }

    /// The rest of a generation that was cut away: from the copy that is known, or from one that proves to be it.
    /// `files` are those of a look through the directories. True when one that might be it had another name by then.
    pub(super) fn find_rest(&mut self, key: FileKey, files: &[Found]) -> bool {
        let mut moved = false;
        let Some(lost) = self.files.get(&key) else { return moved };
        let born = lost.identity.birth;
        let mut candidates: Vec<&Found> = files
            .iter()
            .filter(|found| found.live.iter().any(|live| **live == *lost.origin))
            .filter(|found| found.compressed || found.stat.size >= lost.read)
            .collect();
        candidates.sort_by_key(|found| {
            (found.compressed, std::cmp::Reverse((found.stat.identity.birth, found.stat.modified)))
        });
        for found in candidates {
            let inode = found.stat.identity.inode();
            let other = self.by_inode.get(&inode).copied();
            if other
                .and_then(|other| self.files.get(&other))
                .is_some_and(|other| other.is_nobodys_rest(found, born))
            {
                continue;
            }
            let known =
                other.and_then(|other| self.files.get(&other)).is_some_and(|file| file.copy_of == Some(key));
            let copy = match self.open_found(found) {
                Ok(copy) => copy,
                Err(e) => {
                    moved |= e.kind() == io::ErrorKind::NotFound;
                    continue;
                }
            };
            let Some(lost) = self.files.get_mut(&key) else { return moved };
            // Before it is compared, which takes up more of a beginning: nothing known of one proves nothing.
            let can_tell = known || lost.prefix.len > 0;
            if !can_tell || !lost.is_in(&copy).unwrap_or(false) {
                continue;
            }
            if let Some(other) = other {
                self.remove(other);
            }
            self.adopt(key, found, copy);
            return false;
        }
        moved
    }

    /// A file that is gone goes on in `copy`.
    pub(super) fn adopt(&mut self, key: FileKey, found: &Found, copy: Body) {
        let Some(lost) = self.files.get_mut(&key) else { return };
        if lost.unverified {
            lost.unverified = false;
            lost.context = super::prefix::Context::at(&copy, lost.read).unwrap_or_default();
        }
        debug!(from = %lost.path.display(), to = %found.path.display(), at = lost.read, "goes on in its copy");
        // Another file may get the number that it had.
        let before = lost.identity.inode();
        if self.by_inode.get(&before) == Some(&key) {
            self.by_inode.remove(&before);
        }
        lost.identity = found.stat.identity;
        lost.path = found.path.as_path().into();
        lost.in_copy = true;
        lost.place = if found.matched { Place::Matched } else { Place::Rotated };
        lost.size = copy.stat().map_or(found.stat.size, |stat| stat.size);
        lost.modified = 0;
        lost.seen = self.round;
        lost.file = Some(copy);
        let path = std::sync::Arc::clone(&lost.path);
        self.open.push_back(key);
        self.by_inode.insert(found.stat.identity.inode(), key);
        self.by_path.insert(path, key);
        self.totals.copies_continued += 1;
        self.moved = true;
        self.enqueue(key);
    }

    /// A file taken for a copy whose original goes on uncut is read after all, when a pattern names it.
    pub(super) fn reconsider_copies(&mut self) {
        let finishing = self.ending != super::Ending::No;
        let is_due = |file: &Tracked| {
            // One that is gone cannot be read after all.
            let seen = file.seen == self.round;
            seen && file.place == Place::Ignored
                && file.copy_of.is_some()
                && self.patterns.matches(&file.path)
        };
        let copies: Vec<FileKey> =
            self.files.iter().filter(|(_, file)| is_due(file)).map(|(key, _)| *key).collect();
        for key in copies {
            let Some(copy) = self.files.get(&key) else { continue };
            let original = copy.copy_of.and_then(|original| self.files.get(&original));
            let bytes = Body::open(&copy.path).ok();
            // Not those of another one that has its name by now.
            let bytes = bytes.filter(|body| body.identity().is_ok_and(|identity| identity == copy.identity));
            let differs = match (original.and_then(|original| original.file.as_ref()), bytes) {
                (Some(file), Some(copy)) => same_bytes(file, &copy).is_ok_and(|same| same == Some(false)),
                _ => false,
            };
            // Its original was cut, and goes on in another copy of the same bytes: here, too, nothing is that is not read there.
            if !differs && original.is_some_and(|original| original.in_copy) {
                continue;
            }
            let waited = copy.grown.elapsed() > UNCUT || finishing;
            // What is cut by now differs from its copy, and goes on there.
            if let Some(original) = copy.copy_of.filter(|_| differs)
                && self.roll_over_cut(original)
            {
                continue;
            }
            if (waited || differs)
                && let Some(copy) = self.files.get_mut(&key)
            {
                copy.place = Place::Matched;
                copy.copy_of = None;
                self.totals.files_found += 1;
                self.moved = true;
                self.enqueue(key);
            } else {
                self.undecided = true;
            }
        }
    }
}

/// Whether `copy` holds the beginning of `file`: compared where it begins and where it ends. `None`: it is empty.
fn same_bytes(file: &Body, copy: &Body) -> io::Result<Option<bool>> {
    const START: usize = 1024;
    let size = copy.stat()?.size;
    if size == 0 {
        return Ok(None);
    }
    if file.stat()?.size < size {
        return Ok(Some(false));
    }
    let (mut a, mut b) = ([0; START], [0; START]);
    let begins = copy.read_at(&mut b, 0)?;
    if file.read_at(&mut a[..begins.len()], 0)? != begins {
        return Ok(Some(false));
    }
    let (mut a, mut b) = ([0; CONTEXT], [0; CONTEXT]);
    let at = size.saturating_sub(CONTEXT as u64);
    let ends = copy.read_at(&mut b, at)?;
    Ok(Some(file.read_at(&mut a[..ends.len()], at)? == ends))
}
