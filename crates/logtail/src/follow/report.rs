use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::{info, warn};

use super::{FileId, FileKey, Place, Tail};

/// Counts since the start. Lines are the consumer's to count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Bytes passed on.
    pub bytes_read: u64,
    /// Files found that were new.
    pub files_found: u64,
    /// Files seen under another name than before.
    pub renames: u64,
    /// Files that were cut or overwritten in place.
    pub truncations: u64,
    /// Truncated files whose rest was read from their copy.
    pub copies_continued: u64,
    /// Parts of long or unfinished lines passed on.
    pub parts: u64,
    /// Bytes that were there, were not read, and are gone.
    pub lost_bytes: u64,
    /// Files these belonged to.
    pub lost_files: u64,
}

/// One followed file, for people.
#[derive(Clone, Debug)]
pub struct FileStatus {
    pub path: Arc<Path>,
    pub id: FileId,
    /// Everything before it is acknowledged.
    pub offset: u64,
    /// Everything before it was passed on.
    pub read: u64,
    pub size: u64,
    /// Bytes not acknowledged yet.
    pub lag: u64,
    /// `following`, `rotated`, `moved away`, `deleted`, `truncated` or `unreadable`.
    pub state: &'static str,
}

impl Tail {
    /// Counts since the start.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Bytes that are there and not acknowledged, over all files.
    pub fn lag(&self) -> u64 {
        self.files.values().map(|file| file.lag()).sum()
    }

    /// The followed files, those furthest behind first, then by name.
    pub fn files(&self) -> Vec<FileStatus> {
        let mut files: Vec<FileStatus> = self
            .files
            .values()
            .filter(|file| file.place != Place::Ignored)
            .map(|file| FileStatus {
                path: Arc::clone(&file.path),
                id: file.id,
                offset: file.ledger.acked(),
                read: file.read,
                size: file.size,
                lag: file.lag(),
                state: match file.place {
                    _ if file.troubled => "unreadable",
                    Place::Matched | Place::Ignored => "following",
                    Place::Rotated => "rotated",
                    Place::Away => "moved away",
                    Place::Deleted => "deleted",
                    Place::Lost => "truncated",
                },
            })
            .collect();
        files.sort_by(|a, b| b.lag.cmp(&a.lag).then_with(|| a.path.cmp(&b.path)));
        files
    }

    /// Directories and files that cannot be read now, with the reason.
    pub fn problems(&self) -> Vec<(PathBuf, String)> {
        let mut problems: Vec<_> =
            self.problems.iter().map(|(path, kind)| (path.clone(), kind.to_string())).collect();
        problems.sort();
        problems
    }

    /// Says once what cannot be looked at, and once that it can be again.
    pub(super) fn report(&mut self, found: &[(PathBuf, std::io::Error)]) {
        for (path, e) in found {
            if self.problems.insert(path.clone(), e.kind()) != Some(e.kind()) {
                warn!(path = %path.display(), error = %e, "cannot be read; tried again until it can");
            }
        }
        let found: HashSet<&Path> = found.iter().map(|(path, _)| path.as_path()).collect();
        self.problems.retain(|path, _| {
            let still = found.contains(path.as_path());
            if !still {
                info!(path = %path.display(), "can be read now");
            }
            still
        });
    }

    /// Counts, names and logs what nobody can read any more.
    pub(super) fn report_loss(&mut self, key: FileKey, why: &'static str) {
        let Some(file) = self.files.get_mut(&key) else { return };
        let lost = file.size.saturating_sub(file.read);
        file.size = file.size.min(file.read);
        self.count_loss(key, lost, why);
    }

    /// The same with so many bytes.
    pub(super) fn count_loss(&mut self, key: FileKey, lost: u64, why: &'static str) {
        let Some(file) = self.files.get(&key).filter(|_| lost > 0) else { return };
        self.totals.lost_bytes += lost;
        self.totals.lost_files += 1;
        warn!(path = %file.path.display(), id = %file.id, from = file.read, bytes = lost, "lost: {why}");
    }
}
