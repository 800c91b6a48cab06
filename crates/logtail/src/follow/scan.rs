use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tracing::{debug, info};

use super::body::Body;
use super::copies::Likeness;
use super::descriptors::is_exhausted;
use super::tracked::Tracked;
use super::{FileId, FileKey, Place, Tail};
use crate::discover::{Found, Scan};

impl Tail {
    /// Looks through the directories: who is new, who was renamed, who is gone, who has grown.
    pub(super) fn look_around(&mut self) {
        let started = Instant::now();
        self.round += 1;
        self.undecided = false;
        let Scan { files, dirs, problems } = self.scan();
        let mut changed = false;
        let (mut cut, mut gone) = (Vec::new(), Vec::new());
        let (mut unknown, mut packed) = (Vec::new(), Vec::new());
        self.by_path.clear();
        for found in &files {
            match self.known(found) {
                Some(key) => changed |= self.meet(key, found, &mut cut),
                None if found.compressed => packed.push(found),
                None => unknown.push(found),
            }
        }
        let hidden = hidden(&problems);
        let unseen: Vec<FileKey> =
            self.files.iter().filter(|(_, file)| file.seen != self.round).map(|(key, _)| *key).collect();
        for key in unseen {
            match self.files.get(&key) {
                // Whether it still has its name is not known; what is open goes on.
                Some(file) if is_hidden(&file.path, &hidden) => {
                    if file.file.is_some() {
                        self.enqueue(key);
                    }
                }
                _ => gone.extend(self.miss(key)),
            }
        }
        for key in cut {
            self.roll_over(key);
        }
        // The oldest first: that is the order in which rotation made them.
        // Of the same moment, the one with the shorter name: a copy is compared with what it is one of.
        unknown.sort_by_key(|found| {
            (found.stat.identity.birth, found.stat.modified, found.path.as_os_str().len())
        });
        self.compare_originals(&unknown);
        self.compare_originals(&packed);
        self.find_rests(gone, &files);
        let missed = self.missed();
        for found in unknown {
            changed |= self.judge(found, &missed);
        }
        self.forget_half(&files);
        packed.sort_by_key(|found| (found.stat.identity.birth, found.stat.modified));
        for found in packed {
            changed |= self.judge_packed(found, self.is_first_start(found));
        }
        self.reconsider_copies();
        self.report(&problems);
        let dirs = self.watched(dirs, &files);
        self.watch.follow(&dirs);
        if self.round == 1 {
            self.known_globs.extend(self.patterns.globs.iter().cloned());
            self.moved = true;
        }
        self.pace(changed);
        self.looked_at = Some(Instant::now());
        self.look_took = started.elapsed();
    }

    /// Lists the directories; where that takes more descriptors than there are, some are let go for it.
    pub(super) fn scan(&mut self) -> Scan {
        let scan = self.patterns.scan();
        if scan.problems.iter().any(|(_, e)| is_exhausted(e)) && self.hold_fewer() {
            return self.patterns.scan();
        }
        scan
    }

    /// The directories, and those that symbolic links lead to: the kernel tells of changes where they happen, and by the names there.
    fn watched(&mut self, dirs: Vec<PathBuf>, files: &[Found]) -> HashSet<PathBuf> {
        let mut watched: HashSet<PathBuf> = dirs.into_iter().collect();
        self.targets.clear();
        for found in files.iter().filter(|found| found.path.is_symlink()) {
            let Ok(target) = found.path.canonicalize() else { continue };
            watched.extend(target.parent().map(Into::into));
            if let Some(key) = self.owner(&found.stat.identity) {
                self.targets.insert(target, key);
            }
        }
        watched
    }

    /// Whom this inode belongs to.
    fn known(&mut self, found: &Found) -> Option<FileKey> {
        let identity = &found.stat.identity;
        if let Some(&key) = self.by_inode.get(&identity.inode()) {
            let tracked = self.files.get(&key)?;
            if tracked.file.is_some() || !tracked.identity.contradicts(identity) {
                return Some(key);
            }
            // The number was used again for another file.
            self.by_inode.remove(&identity.inode());
            return None;
        }
        // A volume that was mounted anew has another device number, but its inodes keep number and birth time.
        let key = self.restored.remove(&(identity.ino, identity.birth))?;
        let unchecked = |file: &&mut Tracked| file.unverified || file.place == Place::Ignored;
        let tracked = self.files.get_mut(&key).filter(unchecked)?;
        self.by_inode.remove(&tracked.identity.inode());
        tracked.identity = *identity;
        self.by_inode.insert(identity.inode(), key);
        Some(key)
    }

    /// A known file was seen. True when it changed.
    fn meet(&mut self, key: FileKey, found: &Found, cut: &mut Vec<FileKey>) -> bool {
        let Some(tracked) = self.files.get_mut(&key) else { return false };
        let again = tracked.seen == self.round;
        if again && !(found.matched && tracked.place == Place::Rotated) {
            // A second name of the same file: a symbolic or hard link.
            self.by_path.insert(found.path.as_path().into(), key);
            return false;
        }
        tracked.seen = self.round;
        tracked.missed = 0;
        if *tracked.path != *found.path {
            if !again && tracked.place != Place::Ignored {
                debug!(from = %tracked.path.display(), to = %found.path.display(), "renamed");
                self.totals.renames += 1;
                self.moved = true;
            }
            tracked.path = found.path.as_path().into();
        }
        self.by_path.insert(Arc::clone(&tracked.path), key);
        if found.compressed {
            // Nobody writes to it; its size on disk is not that of what is inside.
            if tracked.place != Place::Ignored {
                tracked.place = if found.matched { Place::Matched } else { Place::Rotated };
                if tracked.unverified || tracked.troubled || tracked.has_more() {
                    self.enqueue(key);
                }
            } else if tracked.troubled && tracked.size != found.stat.size {
                // What could not be unpacked was not complete: judged anew at the next look.
                self.remove(key);
                self.undecided = true;
                return true;
            }
            return false;
        }
        let changed = tracked.size != found.stat.size
            || (tracked.modified != found.stat.modified && tracked.modified != 0);
        if tracked.place == Place::Ignored {
            if changed {
                tracked.size = found.stat.size;
                tracked.modified = found.stat.modified;
                tracked.grown = Instant::now();
                self.learn(key, found);
            }
            return changed;
        }
        tracked.place = if found.matched { Place::Matched } else { Place::Rotated };
        if found.stat.size < tracked.read {
            cut.push(key);
            return true;
        }
        // Written over within one tick of the file system's clock, it looks the same. (One that is closed is compared when it is opened again.)
        let is_fresh = tracked.modified == 0 && tracked.read > 0 && tracked.file.is_some();
        // What was renamed before its turn has had none.
        if changed || is_fresh || tracked.troubled || tracked.unverified || tracked.has_more() {
            self.enqueue(key);
        }
        changed
    }

    /// A known file was not seen: deleted, moved out of sight, or its inode was taken over while nobody looked. Given back when its rest is to be looked
    /// for.
    fn miss(&mut self, key: FileKey) -> Option<FileKey> {
        /// Looks that did not see a file before it counts as gone: a listing may miss one that is being renamed.
        const BLINKS: u32 = 3;
        let tracked = self.files.get_mut(&key)?;
        tracked.missed = tracked.missed.saturating_add(1);
        match (&tracked.file, tracked.place) {
            (None, place) if tracked.missed < BLINKS && (place != Place::Lost || tracked.unverified) => {
                self.undecided = true;
            }
            (_, Place::Ignored) => self.remove(key),
            (_, Place::Lost) => return tracked.unverified.then_some(key),
            (Some(file), place) => {
                let deleted = file.stat().is_ok_and(|stat| stat.links == 0);
                tracked.place = if deleted { Place::Deleted } else { Place::Away };
                if place != tracked.place {
                    self.moved = true;
                    tracked.grown = Instant::now();
                }
                self.enqueue(key);
            }
            (None, _) => return Some(key),
        }
        None
    }

    /// For each that is gone, its rest, or nothing: who can prove most is asked first, and meanwhile the others are still sought.
    fn find_rests(&mut self, mut gone: Vec<FileKey>, files: &[Found]) {
        let proved = |key: &FileKey| self.files.get(key).map(|file| (file.proved(), file.size));
        gone.sort_by_key(|key| std::cmp::Reverse(proved(key)));
        for key in gone {
            let Some(file) = self.files.get_mut(&key) else { continue };
            let why = match file.place {
                Place::Lost => "it was truncated while nobody read it, and no copy of it is left",
                _ => "it was deleted before it was read to its end",
            };
            file.place = Place::Lost;
            self.find_rest(key, files);
            self.let_go(key, why);
        }
    }

    /// An unknown file: new, a copy of what is read already, or a generation that was rotated away unseen.
    fn judge(&mut self, found: &Found, missed: &[FileKey]) -> bool {
        if self.owner(&found.stat.identity).is_some() {
            return false;
        }
        let first_start = self.is_first_start(found);
        if self.is_waited_for(found, missed) {
            self.undecided = true;
            return true;
        }
        let mut copy_of = None;
        if !first_start || found.matched {
            match self.likeness(found) {
                Likeness::Undecided => {
                    self.undecided = true;
                    return true;
                }
                Likeness::CopyOf(key) => copy_of = Some(key),
                Likeness::Other => {}
            }
            // Looking at the original may have claimed this one.
            if self.owner(&found.stat.identity).is_some() {
                return true;
            }
        }
        let (place, start) = match (copy_of, first_start, found.matched) {
            (Some(_), ..) | (None, true, false) => (Place::Ignored, 0),
            (None, true, true) if self.options.from_end => (Place::Matched, self.end_of_lines(found)),
            (None, _, true) => (Place::Matched, 0),
            (None, false, false) => (Place::Rotated, 0),
        };
        self.track(found, place, start, copy_of);
        true
    }

    /// What lies there when a pattern is followed for the very first time is no missed rotation.
    fn is_first_start(&self, found: &Found) -> bool {
        self.round == 1 && found.patterns.iter().all(|&p| !self.known_globs.contains(&self.patterns.globs[p]))
    }

    pub(super) fn track(&mut self, found: &Found, place: Place, start: u64, copy_of: Option<FileKey>) {
        let file = match place {
            Place::Ignored => None,
            _ => match self.open_new(found) {
                Some(file) => file,
                // Renamed, deleted or compressed since it was listed: the next look tells.
                None => return self.undecided = true,
            },
        };
        let key = self.new_key();
        // Without a birth time, a number may name two files: then the moment of discovery tells them apart.
        let salt = if found.stat.identity.birth == 0 { now() } else { 0 };
        let id = FileId::new(&found.stat.identity, salt);
        let mut tracked = Tracked::new(id, found.path.as_path().into(), &found.stat, place, start);
        tracked.seen = self.round;
        tracked.copy_of = copy_of;
        if let Some(origin) = &found.origin {
            tracked.origin = origin.as_path().into();
        }
        self.by_path.insert(Arc::clone(&tracked.path), key);
        self.by_inode.insert(found.stat.identity.inode(), key);
        self.half.remove(&found.stat.identity.inode());
        self.files.insert(key, tracked);
        self.moved = true;
        if place == Place::Ignored {
            debug!(path = %found.path.display(), copy = copy_of.is_some(), "not read");
            self.learn(key, found);
            return;
        }
        self.totals.files_found += 1;
        info!(path = %found.path.display(), id = %id, from = start, "following");
        if let Some(file) = file {
            self.hold(key, file);
        }
        self.enqueue(key);
    }

    /// How a file begins and ends that is not read: to know it again when it is compressed.
    fn learn(&mut self, key: FileKey, found: &Found) {
        if !found.compressed
            && let Ok(file) = self.open_found(found)
            && let Some(tracked) = self.files.get_mut(&key)
        {
            // Unreadable ones stay unknown.
            let _ = tracked.pass_over(&file);
        }
    }

    /// Opens a new file at once, so that no rotation can take it away while there is room, and it is known again when there is none. `None`: it is
    /// not there any more.
    fn open_new(&mut self, found: &Found) -> Option<Option<Body>> {
        self.close_some();
        match self.open_found(found) {
            Ok(file) => Some(Some(file)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            // Said when it has its turn.
            Err(_) => Some(None),
        }
    }

    fn is_full(&self) -> bool {
        self.open.len() > self.options.max_open
    }

    /// Keeps a new file open while there is room, and learns how it begins.
    fn hold(&mut self, key: FileKey, file: Body) {
        let full = self.is_full();
        let Some(tracked) = self.files.get_mut(&key) else { return };
        let Ok(stat) = file.stat() else { return };
        tracked.size = stat.size;
        if tracked.prefix.holds(&file).is_ok() {
            if tracked.read > 0 {
                tracked.context = super::prefix::Context::at(&file, tracked.read).unwrap_or_default();
            }
            if full {
                return;
            }
            tracked.file = Some(file);
            self.open.push_back(key);
        }
    }
}

/// What cannot be looked at although it is there: what lies in it cannot be seen.
fn hidden(problems: &[(PathBuf, io::Error)]) -> HashSet<&Path> {
    let there = problems.iter().filter(|(_, e)| e.kind() != io::ErrorKind::NotFound);
    there.map(|(path, _)| path.as_path()).collect()
}

fn is_hidden(path: &Path, hidden: &HashSet<&Path>) -> bool {
    !hidden.is_empty() && path.ancestors().any(|above| hidden.contains(above))
}

/// Nanoseconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(1, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
}
