//! What was cut or is gone goes on in its copy, or in what rotation has compressed.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::io;

use tracing::debug;

use super::body::Body;
use super::prefix::{Context, PREFIX, Prefix};
use super::proof::{Proof, Sample};
use super::tracked::Tracked;
use super::{FileKey, Place, Tail};
use crate::discover::Found;

/// How often directories are listed for one copy while names move in them.
const MOST_LISTS: usize = 5;

/// Of several files that prove to hold a rest, the greatest is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Fit {
    /// It was taken for its copy already.
    known: bool,
    proof: Proof,
    /// It holds no more than was there at the last look.
    is_exact: bool,
    is_plain: bool,
    /// Birth and change: the newest.
    born: (u64, u64),
}

impl Tail {
    /// The rest of a generation that was cut away or is gone: from the copy that is known, or from one that proves to be it and is not surer to be
    /// that of another. `files` are those of a look through the directories. True when one that might be it had another name by then.
    pub(super) fn find_rest(&mut self, key: FileKey, files: &[Found]) -> bool {
        let Some(lost) = self.files.get(&key) else { return false };
        let mut candidates: Vec<&Found> = files
            .iter()
            .filter(|found| lost.is_alike(found) && (found.compressed || found.stat.size >= lost.read))
            .collect();
        candidates.sort_by_key(|found| {
            (found.compressed, Reverse((found.stat.identity.birth, found.stat.modified)))
        });
        let mut moved = false;
        let mut best: Option<(Fit, &Found, Body)> = None;
        for found in candidates {
            // Unpacking takes time, and mostly the rest is not there.
            let is_known = self.copied(found) == Some(key);
            if found.compressed
                && !is_known
                && best.as_ref().is_some_and(|(fit, ..)| fit.proof >= Proof::Bytes(0))
            {
                continue;
            }
            match self.fit(key, found) {
                Ok(Some((fit, body))) => {
                    if best.as_ref().is_none_or(|(best, ..)| fit > *best) {
                        best = Some((fit, found, body));
                    }
                }
                Ok(None) => {}
                Err(e) => moved |= e.kind() == io::ErrorKind::NotFound,
            }
        }
        let Some((_, found, body)) = best else { return moved };
        if let Some(copy) = self.owner(&found.stat.identity) {
            self.remove(copy);
        }
        self.adopt(key, found, body);
        false
    }

    /// Whose copy it was found to be.
    fn copied(&self, found: &Found) -> Option<FileKey> {
        self.owner(&found.stat.identity).and_then(|copy| self.files.get(&copy)?.copy_of)
    }

    /// Whether this one goes on in `found`, and how well.
    fn fit(&mut self, key: FileKey, found: &Found) -> io::Result<Option<(Fit, Body)>> {
        let Some(lost) = self.files.get(&key) else { return Ok(None) };
        let other = self.owner(&found.stat.identity).and_then(|other| self.files.get(&other));
        if other.is_some_and(|other| other.is_nobodys_rest(found, lost.identity.birth)) {
            return Ok(None);
        }
        let known = self.copied(found) == Some(key);
        let sample = Sample::of(self.open_found(found)?)?;
        let Some(lost) = self.files.get(&key) else { return Ok(None) };
        let proof = match lost.is_remembered_in(&sample)? {
            Some(proof) => proof,
            None if known && lost.prefix.len == 0 => Proof::Bytes(0),
            None => return Ok(None),
        };
        let (size, seen) = (sample.body.stat()?.size, lost.size);
        if !known && self.owned(found, &sample, Some(key))?.is_some_and(|(others, _)| others > proof) {
            return Ok(None);
        }
        let fit = Fit {
            known,
            proof,
            is_exact: size == seen,
            is_plain: !found.compressed,
            born: (found.stat.identity.birth, found.stat.modified),
        };
        Ok(Some((fit, sample.body)))
    }

    /// Those that were not seen at this look, and are looked for.
    pub(super) fn missed(&self) -> Vec<FileKey> {
        let missed = |file: &Tracked| file.seen != self.round && file.is_sought();
        self.files.iter().filter(|(_, file)| missed(file)).map(|(key, _)| *key).collect()
    }

    /// Whether one of those that were missed may stand in `found`.
    pub(super) fn is_waited_for(&mut self, found: &Found, missed: &[FileKey]) -> bool {
        let alike = |key: &&FileKey| self.files.get(key).is_some_and(|file| file.is_alike(found));
        let missed: Vec<&FileKey> = missed.iter().filter(alike).collect();
        if missed.is_empty() {
            return false;
        }
        let Ok(sample) = self.open_found(found).and_then(Sample::of) else { return false };
        let stands = |file: &Tracked| matches!(file.is_remembered_in(&sample), Ok(Some(_)));
        missed.iter().any(|key| self.files.get(key).is_some_and(stands))
    }

    /// Lists the directories for a copy until there is one, or the list stays the same: a name that moves while its directory is listed may be
    /// in no list.
    pub(super) fn find_rest_anew(&mut self, key: FileKey) {
        let mut before: Option<BTreeSet<(u64, u64)>> = None;
        for _ in 0..MOST_LISTS {
            let scan = self.scan();
            let moved = self.find_rest(key, &scan.files);
            let found = self.files.get(&key).is_none_or(|file| file.place != Place::Lost);
            let inodes = scan.files.iter().map(|found| found.stat.identity.inode()).collect();
            if found || (!moved && before.as_ref() == Some(&inodes)) {
                return;
            }
            before = Some(inodes);
        }
    }

    /// A file that is gone goes on in `copy`.
    pub(super) fn adopt(&mut self, key: FileKey, found: &Found, copy: Body) {
        let Some(lost) = self.files.get_mut(&key) else { return };
        // What was seen of a beginning may be less than there was, or more than was copied.
        lost.prefix = Prefix::default();
        let _ = lost.prefix.holds(&copy);
        // What an earlier process saw, and what was not read beyond a beginning that others may have, can be that of another generation.
        let is_certain =
            !lost.unverified && lost.read > 0 && (lost.read > PREFIX as u64 || lost.size < PREFIX as u64);
        let seen = if is_certain { lost.size } else { 0 };
        if lost.unverified {
            lost.unverified = false;
            lost.context = Context::at(&copy, lost.read).unwrap_or_default();
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
        let missing = seen.saturating_sub(lost.size);
        lost.modified = 0;
        lost.seen = self.round;
        lost.file = Some(copy);
        let path = std::sync::Arc::clone(&lost.path);
        self.open.push_back(key);
        self.by_inode.insert(found.stat.identity.inode(), key);
        self.by_path.insert(path, key);
        self.totals.copies_continued += 1;
        self.count_loss(key, missing, "it was written between the copy and the cut");
        self.moved = true;
        self.enqueue(key);
    }

    /// Ends a generation whose bytes cannot be read any more; says so if some were not.
    pub(super) fn let_go(&mut self, key: FileKey, why: &'static str) {
        if self.files.get(&key).is_none_or(|file| file.place != Place::Lost) {
            return;
        }
        self.report_loss(key, why);
        if self.files.get(&key).is_some_and(Tracked::is_over) {
            self.remove(key);
        }
    }
}
