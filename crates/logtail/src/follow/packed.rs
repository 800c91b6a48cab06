//! What rotation has compressed: mostly read already, and then recognized; otherwise the only place where the rest is.

use std::collections::HashSet;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Instant;

use tracing::{info, warn};

use super::body::is_unreadable;
use super::prefix::{Prefix, hash};
use super::proof::{Proof, Sample, end_of};
use super::tracked::Tracked;
use super::{FileKey, Place, Tail};
use crate::discover::Found;

/// Files remembered after they are gone.
const RETIRED: usize = 256;

/// How a file that is gone began and ended, and how long it was: enough to know it again in its compressed form, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Retired {
    /// Hash of the path where it was found first.
    pub(super) origin: u64,
    /// Bytes of its prefix.
    pub(super) len: u64,
    /// Hash of the prefix and the last bytes.
    pub(super) hash: u64,
    pub(super) size: u64,
}

/// See [`Tail::claim`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    /// Read already, or being read: those of this one, if it is still followed.
    Known(Option<FileKey>),
    /// They may be the rest of a file that is gone, which will look for it.
    Waits,
    New,
}

impl Tail {
    /// Remembers a file that leaves. A copy is not one: what stands in it is that of another.
    pub(super) fn retire(&mut self, file: &Tracked) {
        let Some(retired) = Retired::new(file) else { return };
        if file.copy_of.is_some() || file.compressed || self.retired.contains(&retired) {
            return;
        }
        if self.retired.len() >= RETIRED {
            self.retired.pop_front();
        }
        self.retired.push_back(retired);
    }

    /// Files that were not there at this look are not on their way any more.
    pub(super) fn forget_half(&mut self, files: &[Found]) {
        if !self.half.is_empty() {
            let there: HashSet<_> = files.iter().map(|found| found.stat.identity.inode()).collect();
            self.half.retain(|inode, _| there.contains(inode));
        }
    }

    /// An unknown compressed file. True when something changed.
    pub(super) fn judge_packed(&mut self, found: &Found, first_start: bool) -> bool {
        let inode = found.stat.identity.inode();
        let name = found.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if is_unreadable(name) || self.owner(&found.stat.identity).is_some() {
            return false;
        }
        let wanted = self.options.packed && found.matched;
        if first_start && !wanted {
            self.track(found, Place::Ignored, 0, None);
            return true;
        }
        // While it grows it is not complete, and unpacking it again and again would be all that is done.
        let before = self.half.insert(inode, (found.stat.size, Instant::now()));
        if before.is_none_or(|(size, _)| size != found.stat.size) {
            self.undecided = true;
            return false;
        }
        match self.claim(found) {
            Ok(Claim::Waits) => {
                self.undecided = true;
                false
            }
            Ok(claim) => {
                let (place, copy_of) = match (claim, found.matched) {
                    (Claim::Known(of), _) => (Place::Ignored, of),
                    (_, true) => (Place::Matched, None),
                    (_, false) => (Place::Rotated, None),
                };
                if place != Place::Ignored {
                    info!(path = %found.path.display(), "compressed before it was read");
                }
                self.track(found, place, 0, copy_of);
                true
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                self.undecided = true;
                false
            }
            Err(e) => {
                warn!(path = %found.path.display(), error = %e, "cannot be unpacked; looked at again when it changes");
                self.track(found, Place::Ignored, 0, None);
                if let Some(file) = self.by_inode.get(&inode).and_then(|key| self.files.get_mut(key)) {
                    file.troubled = true;
                }
                true
            }
        }
    }

    /// Whose bytes these are. Those of one that is being looked for are no new file's, which would be read from its beginning.
    fn claim(&mut self, found: &Found) -> io::Result<Claim> {
        let sample = Sample::of(self.open_found(found)?)?;
        match self.owned(found, &sample, None)? {
            // Each is compressed once: what holds the same bytes later is another's.
            Some((Proof::Whole, Some(key))) => {
                if let Some(file) = self.files.get_mut(&key) {
                    file.compressed = true;
                }
                Ok(Claim::Known(Some(key)))
            }
            Some((Proof::Whole, None)) => {
                if let Some(at) = self.find_retired(found, &sample)? {
                    self.retired.remove(at);
                    self.moved = true;
                }
                Ok(Claim::Known(None))
            }
            Some((Proof::Bytes(_) | Proof::Part(_), _)) => Ok(Claim::Waits),
            // An empty one holds nothing that was not read.
            None if sample.body.stat()?.size == 0 => Ok(Claim::Known(None)),
            None => Ok(Claim::New),
        }
    }

    /// The one of those that are gone that these bytes were.
    pub(super) fn find_retired(&self, found: &Found, sample: &Sample) -> io::Result<Option<usize>> {
        let origins: Vec<u64> = found.live.iter().map(|path| origin(path)).collect();
        for (at, gone) in self.retired.iter().enumerate() {
            if origins.contains(&gone.origin) && gone.is_in(sample)? {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }
}

impl Retired {
    /// `None`: too little is known of it to know it again.
    fn new(file: &Tracked) -> Option<Self> {
        let Prefix { len, hash } = file.prefix;
        let end = file.end().filter(|_| len > 0)?;
        Some(Self { origin: origin(&file.origin), len, hash: both(hash, end), size: file.size })
    }

    /// Generations may begin alike and be of one size: then the last bytes tell them apart.
    fn is_in(&self, sample: &Sample) -> io::Result<bool> {
        let len = usize::try_from(self.len).unwrap_or(usize::MAX);
        let Some(start) = sample.start().get(..len).filter(|start| !start.is_empty()) else {
            return Ok(false);
        };
        // In this order: of most there is only the beginning to be read.
        let size = sample.body.stat()?.size;
        Ok(size == self.size && self.hash == both(hash(start), end_of(&sample.body, size)?))
    }
}

/// A prefix and the last bytes as a number.
fn both(prefix: u64, end: u64) -> u64 {
    hash(&[prefix.to_le_bytes(), end.to_le_bytes()].concat())
}

/// A path as a number.
fn origin(path: &Path) -> u64 {
    hash(path.as_os_str().as_bytes())
}
