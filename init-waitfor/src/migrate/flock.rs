//! The lock of a database that has no sessions: `flock` on a file beside it. The kernel lets go of it when the process is gone.
//!
//! The file stays: who removes it could remove the one that another process has just locked.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::wire::Trouble;

/// Held until it is dropped.
#[derive(Debug)]
pub struct FileLock {
    file: File,
    path: PathBuf,
}

impl FileLock {
    /// `app.db.init-waitfor.lock`, with the lock's name in it unless that is the default one.
    pub(super) fn path(database: &Path, name: &str) -> PathBuf {
        let mut path = database.as_os_str().to_owned();
        path.push(".init-waitfor");
        if name != "default" {
            let plain = |c: char| if c.is_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
            path.push(format!("-{}", name.chars().map(plain).collect::<String>()));
        }
        path.push(".lock");
        PathBuf::from(path)
    }

    /// `None`: someone else has it.
    ///
    /// # Errors
    /// The file cannot be made or locked.
    pub(super) fn try_take(path: &Path) -> Result<Option<Self>, Trouble> {
        let trouble = |what: &str, error: std::io::Error| {
            let why = format!(
                "{}: the lock file cannot be {what}: {error}; its directory must be there and writable",
                path.display()
            );
            Trouble::unknown("lock", why)
        };
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o666)
            .open(path)
            // Another user's: to lock it is enough to read it.
            .or_else(|error| File::open(path).map_err(|_| error))
            .map_err(|error| trouble("opened", error))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(trouble("locked", error.into())),
        }
        let lock = FileLock { file, path: path.to_owned() };
        // Someone removed it between the two calls: then another process may hold the new one.
        Ok(lock.is_ours().then_some(lock))
    }

    /// The file that we have locked is still the one at its place, which others look at.
    pub(super) fn is_ours(&self) -> bool {
        match (self.file.metadata(), std::fs::metadata(&self.path)) {
            (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_a_removed_file_locks_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = FileLock::path(&dir.path().join("app.db"), "default");
        assert!(path.ends_with("app.db.init-waitfor.lock"));
        let first = FileLock::try_take(&path).unwrap().unwrap();
        assert!(FileLock::try_take(&path).unwrap().is_none());
        let other = FileLock::path(&dir.path().join("app.db"), "seed/data");
        assert!(other.ends_with("app.db.init-waitfor-seed_data.lock"));
        assert!(FileLock::try_take(&other).unwrap().is_some());
        assert!(first.is_ours());
        std::fs::remove_file(&path).unwrap();
        assert!(!first.is_ours());
        drop(first);
        assert!(FileLock::try_take(&path).unwrap().is_some());
        assert!(FileLock::try_take(&dir.path().join("none/app.lock")).is_err());
    }
}
