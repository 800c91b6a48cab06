//! A file or a tree appears whole or not at all: made beside its place, synced, renamed.
//!
//! While it is made it has a name that starts with a dot, and is locked. A lock ends with its process, so what a killed one left behind
//! is known by not being locked, and is removed by whoever next writes to the same place.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, OFlags, RenameFlags, flock, renameat_with};
use rustix::io::Errno;

use super::owner::{Owner, remove_tree};

/// A file on its way to its place; removed when it does not get there.
#[derive(Debug)]
pub struct Placing {
    pub file: File,
    temporary: PathBuf,
    dest: PathBuf,
    mode: u32,
    owner: Option<Owner>,
    placed: bool,
}

/// The same for a directory with all that is in it.
#[derive(Debug)]
pub struct PlacingTree {
    temporary: PathBuf,
    dest: PathBuf,
    /// Holds the lock.
    _lock: File,
    placed: bool,
}

impl Placing {
    /// Makes missing directories. The temporary file is in the same directory, so that the rename is atomic. Nobody else can read
    /// it before it is at its place.
    ///
    /// # Errors
    /// The file system's.
    pub fn new(dest: &Path, mode: u32) -> io::Result<Self> {
        let (dir, name) = prepare(dest)?;
        loop {
            let temporary = dir.join(temporary_name(name));
            let made =
                OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&temporary);
            let file = match made {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                made => made?,
            };
            if is_locked_and_there(&file, &temporary)? {
                let dest = dest.to_owned();
                return Ok(Placing { file, temporary, dest, mode, owner: None, placed: false });
            }
        }
    }

    #[must_use]
    pub fn owner(mut self, owner: Option<Owner>) -> Self {
        self.owner = owner;
        self
    }

    /// # Errors
    /// The file system's; the file is then not at its place, and what was there before still is.
    pub fn place(self) -> io::Result<()> {
        let dest = self.dest.clone();
        self.place_at(&dest)
    }

    /// At another name than was planned, in the same file system.
    pub(super) fn place_at(mut self, dest: &Path) -> io::Result<()> {
        self.file.flush()?;
        // Set, not asked for at creation: the umask would take bits away. Then the owner, because after that the mode is his.
        self.file.set_permissions(Permissions::from_mode(self.mode))?;
        if let Some(owner) = self.owner {
            owner.give(&self.file)?;
        }
        self.file.sync_all()?;
        std::fs::rename(&self.temporary, dest)?;
        self.placed = true;
        sync_directory(dest);
        Ok(())
    }
}

impl Drop for Placing {
    fn drop(&mut self) {
        if !self.placed {
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

impl PlacingTree {
    /// # Errors
    /// The file system's.
    pub fn new(dest: &Path) -> io::Result<Self> {
        let (dir, name) = prepare(dest)?;
        loop {
            let temporary = dir.join(temporary_name(name));
            match std::fs::create_dir(&temporary) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                made => made?,
            }
            let lock = File::open(&temporary)?;
            if is_locked_and_there(&lock, &temporary)? {
                return Ok(PlacingTree { temporary, dest: dest.to_owned(), _lock: lock, placed: false });
            }
        }
    }

    /// Where to build it.
    pub fn path(&self) -> &Path {
        &self.temporary
    }

    /// In the place of whatever is there: swapped in one step where the file system can, so that nobody finds neither.
    ///
    /// # Errors
    /// The file system's.
    pub fn place(self) -> io::Result<()> {
        let dest = self.dest.clone();
        self.place_at(&dest)
    }

    pub(super) fn place_at(mut self, dest: &Path) -> io::Result<()> {
        rustix::fs::syncfs(&self._lock)?;
        if dest.symlink_metadata().is_err() {
            std::fs::rename(&self.temporary, dest)?;
        } else {
            match renameat_with(CWD, &self.temporary, CWD, dest, RenameFlags::EXCHANGE) {
                // A file system without the swap (NFS): two steps, the second right after the first.
                Err(Errno::INVAL | Errno::NOSYS) => {
                    let aside = self.temporary.with_extension("old");
                    std::fs::rename(dest, &aside)?;
                    std::fs::rename(&self.temporary, dest)?;
                    std::fs::rename(&aside, &self.temporary)?;
                }
                swapped => swapped?,
            }
            // What was there before has the temporary name now.
            let _ = remove_tree(&self.temporary);
        }
        self.placed = true;
        sync_directory(dest);
        Ok(())
    }
}

impl Drop for PlacingTree {
    fn drop(&mut self) {
        if !self.placed {
            let _ = remove_tree(&self.temporary);
        }
    }
}

/// The directory, made if need be and rid of what killed processes left of this name; and the name.
fn prepare(dest: &Path) -> io::Result<(&Path, &OsStr)> {
    let name = dest.file_name().ok_or_else(|| io::Error::other("names no file"))?;
    let dir = dest.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir)?;
    sweep(dir, name);
    Ok((dir, name))
}

/// `.NAME.12345.89abcdef`
fn temporary_name(name: &OsStr) -> PathBuf {
    let mut text = OsStr::new(".").to_owned();
    text.push(name);
    text.push(format!(".{}.{:08x}", std::process::id(), fastrand::u32(..)));
    PathBuf::from(text)
}

fn is_temporary_of(name: &OsStr, candidate: &OsStr) -> bool {
    let rest = candidate.as_bytes().strip_prefix(b".").and_then(|rest| rest.strip_prefix(name.as_bytes()));
    let Some(rest) = rest.and_then(|rest| std::str::from_utf8(rest).ok()) else { return false };
    let rest = rest.strip_suffix(".old").unwrap_or(rest);
    rest.strip_prefix('.').and_then(|rest| rest.split_once('.')).is_some_and(|(pid, random)| {
        let hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        !pid.is_empty()
            && pid.bytes().all(|c| c.is_ascii_digit())
            && random.len() == 8
            && random.bytes().all(hex)
    })
}

/// Whoever sweeps between creation and lock has taken it away: then it is made again.
fn is_locked_and_there(file: &File, path: &Path) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(path.symlink_metadata().is_ok()),
        Err(Errno::WOULDBLOCK) => Ok(false),
        // A file system without locks: then nothing is swept there either.
        Err(Errno::NOSYS | Errno::NOTSUP | Errno::NOLCK | Errno::INVAL) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// What cannot be opened or removed stays: it is in nobody's way.
fn sweep(dir: &Path, name: &OsStr) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten().filter(|entry| is_temporary_of(name, &entry.file_name())) {
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let Ok(file) = OpenOptions::new().read(true).custom_flags(flags).open(entry.path()) else { continue };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = remove_tree(&entry.path());
        }
    }
}

/// So that the rename survives a power cut; where a directory cannot be synced there is nothing more to do.
fn sync_directory(dest: &Path) {
    let dir = dest.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let _ = File::open(dir).and_then(|dir| dir.sync_all());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_ours_are_swept() {
        let ours = |name: &str| is_temporary_of(OsStr::new("a.b"), OsStr::new(name));
        assert!(ours(".a.b.17.0123abcd") && ours(".a.b.17.0123abcd.old"));
        for other in
            [".a.b", ".a.b.17", ".a.b.17.0123abc", ".a.b.x.0123abcd", "a.b.17.0123abcd", ".a.b.c.1.0123abcd"]
        {
            assert!(!ours(other), "{other}");
        }
    }
}
