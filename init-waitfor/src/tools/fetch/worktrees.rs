//! `.NAME.trees/DIGEST` beside a link `NAME`: what `--refresh` keeps, and how it swaps.
//!
//! The link is replaced by a rename, so whoever follows it finds the old version or the new one, each whole. As git-sync does, with the
//! previous version kept for those that are still reading it.

use std::ffi::OsString;
use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::tools::owner::remove_tree;

/// The store of versions of one link. One process at a time has it.
#[derive(Debug)]
pub(super) struct Worktrees {
    /// The link.
    link: PathBuf,
    /// Where versions are.
    dir: PathBuf,
    /// As the link says it: relative, because another container mounts the volume elsewhere.
    relative: PathBuf,
    /// The version before the current one.
    previous: Option<OsString>,
    _lock: File,
}

impl Worktrees {
    /// Makes the store, or takes over what a process before us left; half-made versions are removed.
    pub(super) fn open(link: &Path) -> Result<Self, String> {
        let shown = link.display();
        let fail = |error: io::Error| format!("cannot write {shown}: {error}; mount a writable volume there");
        let name = link.file_name().ok_or_else(|| format!("{shown} names no link"))?;
        if link.symlink_metadata().is_ok_and(|about| !about.is_symlink()) {
            return Err(format!(
                "{shown} exists and is no link, but --refresh needs one there; remove it, or name another place"
            ));
        }
        let mut store = OsString::from(".");
        store.push(name);
        store.push(".trees");
        let relative = PathBuf::from(store);
        let parent = link.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let dir = parent.join(&relative);
        std::fs::create_dir_all(&dir).map_err(fail)?;
        // Of whoever made it, when it was not us; then it is readable already.
        let _ = std::fs::set_permissions(&dir, Permissions::from_mode(0o755));
        let lock = File::open(&dir).map_err(fail)?;
        // A file system without locks has nobody to tell us about.
        if flock(&lock, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
            return Err(format!("another init-waitfor keeps {shown} current; one is enough"));
        }
        let trees = Worktrees { link: link.to_owned(), dir, relative, previous: None, _lock: lock };
        trees.remove_all_but(&[trees.current()]);
        Ok(trees)
    }

    /// Where a version of this name belongs.
    pub(super) fn place(&self, version: &str) -> PathBuf {
        self.dir.join(version)
    }

    /// The version that the link points at, when it is there.
    pub(super) fn current(&self) -> Option<OsString> {
        let target = std::fs::read_link(&self.link).ok()?;
        let version = target.strip_prefix(&self.relative).ok()?.as_os_str().to_owned();
        self.dir.join(&version).symlink_metadata().is_ok().then_some(version)
    }

    /// Points the link at a version that is there; says whether it pointed elsewhere before.
    pub(super) fn swap(&mut self, version: &str) -> io::Result<bool> {
        let before = self.current();
        if before.as_deref() == Some(version.as_ref()) {
            return Ok(false);
        }
        let new = self.dir.join(".link");
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::os::unix::fs::symlink(self.relative.join(version), &new)?;
        std::fs::rename(&new, &self.link)?;
        if let Some(parent) = self.link.parent() {
            let _ = File::open(parent).and_then(|dir| dir.sync_all());
        }
        self.previous = before;
        self.remove_all_but(&[self.current(), self.previous.clone()]);
        Ok(true)
    }

    /// What cannot be removed now is tried again at the next change.
    fn remove_all_but(&self, keep: &[Option<OsString>]) {
        let Ok(entries) = std::fs::read_dir(&self.dir) else { return };
        for entry in entries.flatten().filter(|entry| !keep.contains(&Some(entry.file_name()))) {
            if let Err(error) = remove_tree(&entry.path()) {
                tracing::warn!(path = %entry.path().display(), %error, "an old version cannot be removed");
            }
        }
    }
}
