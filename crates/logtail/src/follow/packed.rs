//! What rotation has compressed: mostly read already, and then recognized; otherwise the only place where the rest is.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use tracing::{info, warn};

use super::body::{Body, is_unreadable};
use super::prefix::{Context, Prefix, hash};
use super::tracked::Tracked;
use super::{Place, Tail};
use crate::discover::Found;

/// Files remembered after they are gone.
const RETIRED: usize = 256;

/// How a file that is gone began and ended, and how long it was: enough to know it again in its compressed form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Retired {
    /// Hash of the path where it was found first.
    pub(super) origin: u64,
    /// Bytes of its prefix.
    pub(super) len: u64,
    /// Hash of the prefix, or of the prefix and the last bytes: those are not known of all.
    pub(super) hash: u64,
    pub(super) size: u64,
}

/// See [`Tail::claim`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    /// Read already, or being read.
    Known,
    /// They are the rest of a file, which goes on in them.
    Goes,
    /// They may be.
    Waits,
    New,
}

impl Tail {
    /// Remembers a file that leaves.
    pub(super) fn retire(&mut self, file: &Tracked) {
        let retired = Retired::new(file);
        if file.prefix.len == 0 || self.retired.contains(&retired) {
            return;
        }
        if self.retired.len() >= RETIRED {
            self.retired.pop_front();
        }
        self.retired.push_back(retired);
    }

    /// An unknown compressed file. True when something changed.
    pub(super) fn judge_packed(&mut self, found: &Found, first_start: bool) -> bool {
        let inode = found.stat.identity.inode();
        let name = found.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if is_unreadable(name) || self.by_inode.contains_key(&inode) {
            return false;
        }
        let wanted = self.options.packed && found.matched;
        if first_start && !wanted {
            self.track(found, Place::Ignored, 0, None);
            return true;
        }
        // While it grows it is not complete, and unpacking it again and again would be all that is done.
        if self.half.insert(inode, found.stat.size) != Some(found.stat.size) {
            self.undecided = true;
            return false;
        }
        match self.open_found(found).and_then(|body| self.claim(found, body)) {
            Ok(Claim::Goes) => {
                self.half.remove(&inode);
                true
            }
            Ok(Claim::Waits) => {
                self.undecided = true;
                false
            }
            Ok(claim) => {
                let known = claim == Claim::Known;
                self.half.remove(&inode);
                if !known {
                    info!(path = %found.path.display(), "compressed before it was read");
                }
                let place = match (known, found.matched) {
                    (true, _) => Place::Ignored,
                    (false, true) => Place::Matched,
                    (false, false) => Place::Rotated,
                };
                self.track(found, place, 0, None);
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

    /// Whose bytes these are. One that is not to be seen any more, and stood in them, goes on there at once: as a new file they would be read from
    /// their beginning.
    fn claim(&mut self, found: &Found, body: Body) -> io::Result<Claim> {
        /// Looks that did not see it; one may be wrong about a file that is just being renamed.
        const GONE: u32 = 2;
        if self.is_known(found, &body)? {
            return Ok(Claim::Known);
        }
        for (&key, file) in &mut self.files {
            let is_away = file.missed > 0 && file.file.is_none() && file.place != Place::Ignored;
            let named = || found.live.iter().any(|live| **live == *file.origin);
            if is_away && file.prefix.len > 0 && named() && file.is_in(&body)? {
                if file.missed < GONE {
                    return Ok(Claim::Waits);
                }
                self.adopt(key, found, body);
                return Ok(Claim::Goes);
            }
        }
        Ok(Claim::New)
    }

    /// Whether these bytes were read under another name, or are being read.
    fn is_known(&self, found: &Found, body: &Body) -> io::Result<bool> {
        let origins: Vec<u64> = found.live.iter().map(|path| origin(path)).collect();
        let may_be = |known: &Retired| known.len > 0 && origins.contains(&known.origin);
        for file in self.files.values() {
            let known = Retired::new(file);
            if may_be(&known) && known.is_in(body)? && (!file.unverified || file.anchor_is_in(body)?) {
                return Ok(true);
            }
        }
        for known in self.retired.iter().filter(|known| may_be(known)) {
            if known.is_in(body)? {
                return Ok(true);
            }
        }
        // An empty one holds nothing that was not read.
        Ok(body.stat()?.size == 0)
    }
}

impl Retired {
    fn new(file: &Tracked) -> Self {
        let Prefix { len, hash } = file.prefix;
        let hash = file.end().map_or(hash, |end| both(hash, end));
        Self { origin: origin(&file.origin), len, hash, size: file.size }
    }

    /// Generations may begin alike and be of one size: then the last bytes tell them apart.
    fn is_in(&self, body: &Body) -> io::Result<bool> {
        let beginning = Prefix::of(body, self.len)?;
        if beginning.len < self.len || body.stat()?.size != self.size {
            return Ok(false);
        }
        Ok(self.hash == beginning.hash || self.hash == both(beginning.hash, &Context::at(body, self.size)?))
    }
}

/// A prefix and the last bytes as a number.
fn both(prefix: u64, end: &[u8]) -> u64 {
    hash(&[prefix.to_le_bytes(), hash(end).to_le_bytes()].concat())
}

/// A path as a number.
fn origin(path: &Path) -> u64 {
    hash(path.as_os_str().as_bytes())
}
