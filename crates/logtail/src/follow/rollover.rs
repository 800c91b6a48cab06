use std::sync::Arc;

use rustix::fs::SeekFrom;
use tracing::info;

use super::body::Body;
use super::scan::now;
use super::tracked::Tracked;
use super::{FileId, FileKey, Place, Tail};
use crate::discover::Stat;

impl Tail {
    /// The inode holds other bytes than those the position stands in: it was cut or written over. What stood there
    /// keeps its key and looks for a copy; the inode begins anew under a new key.
    ///
    /// The directories are listed anew for that: the copy was made before the cut that was seen, but perhaps after the last
    /// listing, and a copy that is not recognized now would be read as a new file later.
    pub(super) fn roll_over(&mut self, key: FileKey) {
        let Some(old) = self.files.get_mut(&key) else { return };
        let (path, origin, place, seen) =
            (Arc::clone(&old.path), Arc::clone(&old.origin), old.place, old.seen);
        let file = old.file.take();
        old.place = Place::Lost;
        old.scanned = 0;
        let identity = old.identity;
        self.totals.truncations += 1;
        self.moved = true;
        if self.by_inode.get(&identity.inode()) == Some(&key) {
            self.by_inode.remove(&identity.inode());
        }
        self.open.retain(|open| *open != key);
        self.partial.remove(&key);
        info!(path = %path.display(), at = old.read, "truncated or overwritten");
        self.find_rest_anew(key);
        let stat = match &file {
            Some(file) => file.stat(),
            None => Stat::of_path(&path),
        };
        if let Ok(stat) = stat
            && stat.identity.inode() == identity.inode()
        {
            let new = self.new_key();
            let start = file.as_ref().map_or(0, |file| behind_hole(file, stat.size));
            let mut tracked =
                Tracked::new(FileId::new(&stat.identity, now()), Arc::clone(&path), &stat, place, start);
            tracked.seen = seen;
            tracked.origin = origin;
            tracked.file = file;
            if tracked.file.is_some() {
                self.open.push_back(new);
            }
            self.files.insert(new, tracked);
            self.by_inode.insert(identity.inode(), new);
            self.by_path.insert(path, new);
            self.enqueue(new);
        }
        self.let_go(key, "it was truncated before it was read to its end, and no copy of it was found");
    }
}

/// A writer without O_APPEND goes on where it was: the file is cut, and then has a hole up to there. The hole is
/// nobody's line.
fn behind_hole(body: &Body, size: u64) -> u64 {
    let Some(file) = body.plain() else { return 0 };
    let Ok(data) = rustix::fs::seek(file, SeekFrom::Data(0)) else { return 0 };
    if data == 0 || data >= size {
        return 0;
    }
    // Holes end at a block, not at a line: the rest of it is zeros.
    let mut buffer = [0; 4096];
    let zeros = body
        .read_at(&mut buffer, data)
        .map_or(0, |bytes| bytes.iter().position(|b| *b != 0).unwrap_or(bytes.len()));
    data + zeros as u64
}
