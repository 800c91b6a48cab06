//! copytruncate: the file is copied beside itself, then cut. The copy is no new file, unless it is one.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::io;
use std::time::{Duration, Instant};

use super::body::Body;
use super::proof::Sample;
use super::restore::is_packed;
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
            let original = found.live.iter().find_map(|path| self.by_path.get(path.as_path()));
            let Some(&key) = original else { return Likeness::Other };
            if !self.ensure_open(key).unwrap_or(false) {
                return Likeness::Other;
            }
            // Cut already? Then this look claims its copy.
            if !self.roll_over_cut(key) {
                return self.likeness_to(key, found);
            }
            if self.owner(&found.stat.identity).is_some() {
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
        // One that stays empty is no copy in progress. By its own time stamp that cannot be known: clocks jump, and servers have their own.
        let settled = copy.is_ok()
            && found.stat.size == 0
            && self.half.entry(found.stat.identity.inode()).or_insert((0, Instant::now())).1.elapsed()
                > UNCUT;
        match copy.and_then(Sample::of).and_then(|copy| copy.is_beginning_of(file)) {
            Ok(Some(true)) => Likeness::CopyOf(key),
            Ok(None) if !settled => Likeness::Undecided,
            Ok(_) | Err(_) => {
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

    /// Whoever one of `unknown` may be a copy or the packed form of is compared with what stands in its own file now: one that was cut is looked for,
    /// and may go on in it.
    pub(super) fn compare_originals(&mut self, unknown: &[&Found]) {
        let followed =
            |file: &Tracked| matches!(file.place, Place::Matched | Place::Rotated) && file.seen == self.round;
        let restored = self.files.iter().filter(|(_, file)| file.unverified && followed(file));
        let restored: Vec<(&FileKey, &Tracked)> = restored.collect();
        let mut due = BTreeSet::new();
        for found in unknown.iter().filter(|found| !found.live.is_empty()) {
            let named = found.live.iter().filter_map(|path| self.by_path.get(path.as_path()));
            let named = named.filter(|key| self.files.get(key).is_some_and(followed));
            let restored = restored.iter().filter(|(_, file)| file.is_alike(found)).map(|(key, _)| *key);
            due.extend(named.chain(restored).copied());
        }
        let mut due: Vec<FileKey> = due.into_iter().collect();
        // Who can prove most finds its own first.
        due.sort_by_key(|key| Reverse(self.files.get(key).map(Tracked::proved)));
        for key in due {
            if self.ensure_open(key).unwrap_or(false) {
                self.roll_over_cut(key);
            }
            self.close_some();
        }
    }

    /// What was taken for a copy and differs from its original is read after all, and so is one whose original goes on uncut, when a pattern names it.
    pub(super) fn reconsider_copies(&mut self) {
        let finishing = self.ending != super::Ending::No;
        let is_due = |file: &Tracked| {
            // One that is gone cannot be read after all.
            let there = file.seen == self.round && file.place == Place::Ignored;
            // One that no pattern names is looked at as long as its original may be cut for it.
            let is_copy = file.copy_of.is_some() && !is_packed(&file.path);
            there && is_copy && (self.patterns.matches(&file.path) || file.grown.elapsed() <= UNCUT)
        };
        let copies: Vec<FileKey> =
            self.files.iter().filter(|(_, file)| is_due(file)).map(|(key, _)| *key).collect();
        for key in copies {
            let Some(copy) = self.files.get(&key) else { continue };
            let matched = self.patterns.matches(&copy.path);
            let original = copy.copy_of.and_then(|original| self.files.get(&original));
            let bytes = Body::open(&copy.path).ok();
            // Not those of another one that has its name by now.
            let bytes = bytes.filter(|body| body.identity().is_ok_and(|identity| identity == copy.identity));
            let bytes = bytes.and_then(|body| Sample::of(body).ok());
            let differs = match (original.and_then(|original| original.file.as_ref()), bytes) {
                (Some(file), Some(copy)) => copy.is_beginning_of(file).is_ok_and(|same| same == Some(false)),
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
            if differs || (waited && matched) {
                self.read_after_all(key, matched);
            } else if matched {
                self.undecided = true;
            }
        }
    }

    fn read_after_all(&mut self, key: FileKey, matched: bool) {
        if let Some(copy) = self.files.get_mut(&key) {
            copy.place = if matched { Place::Matched } else { Place::Rotated };
            copy.copy_of = None;
            self.totals.files_found += 1;
            self.moved = true;
            self.enqueue(key);
        }
    }
}
