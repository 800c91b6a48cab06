//! Files from an archive, put below one directory and nowhere else.
//!
//! While files are written there is no link in the tree, so no path can lead out of it. Links are made at the end, and only those that
//! stay inside whichever way they are followed.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Limits, UnpackError, inside};

/// Longer than any path that Linux takes.
const LONGEST_PATH: usize = 4096;
/// Kept until the end: where links point.
const LINK_BYTES: usize = 16 << 20;

/// The tree as it grows.
#[derive(Debug)]
pub struct Tree<'a> {
    root: &'a Path,
    strip: usize,
    limits: &'a Limits,
    entries: u64,
    bytes: u64,
    link_bytes: usize,
    links: BTreeMap<PathBuf, PathBuf>,
    directories: BTreeMap<PathBuf, u32>,
    buffer: Vec<u8>,
}

impl<'a> Tree<'a> {
    /// `strip` leading directories are taken off every path.
    pub fn new(root: &'a Path, strip: usize, limits: &'a Limits) -> Self {
        Tree {
            root,
            strip,
            limits,
            entries: 0,
            bytes: 0,
            link_bytes: 0,
            links: BTreeMap::new(),
            directories: BTreeMap::new(),
            buffer: vec![0; 64 << 10],
        }
    }

    /// Counts one entry of the archive, whatever it is.
    pub fn count(&mut self) -> Result<(), UnpackError> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(UnpackError::refused(format!(
                "has more than --max-entries {} entries",
                self.limits.entries
            )));
        }
        self.limits.check_cancelled()
    }

    pub fn directory(&mut self, name: &[u8], mode: u32) -> Result<(), UnpackError> {
        let Some(path) = self.path(name)? else { return Ok(()) };
        self.make_directory(&path, name)?;
        self.directories.insert(path, mode);
        Ok(())
    }

    /// A regular file of exactly `size` bytes; a later one of the same name takes the place of an earlier one.
    pub fn file(
        &mut self,
        name: &[u8],
        mode: u32,
        modified: Option<u64>,
        size: u64,
        content: &mut dyn Read,
    ) -> Result<(), UnpackError> {
        let Some(path) = self.path(name)? else { return Ok(()) };
        // Known before a byte is written.
        self.room_for(size)?;
        let mut file = self.create(&path, name)?;
        let mut copied = 0;
        loop {
            let count = match content.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(UnpackError::broken(name, &error)),
            };
            copied += count as u64;
            if copied > size {
                return Err(UnpackError::refused(format!("{}: is longer than it says", shown(name))));
            }
            file.write_all(&self.buffer[..count]).map_err(UnpackError::Disk)?;
            self.limits.check_cancelled()?;
        }
        if copied != size {
            return Err(UnpackError::refused(format!("{}: ends early; the archive is cut off", shown(name))));
        }
        self.bytes += size;
        file.set_permissions(Permissions::from_mode(mode & 0o777)).map_err(UnpackError::Disk)?;
        if let Some(seconds) = modified {
            // A file system that keeps no such time loses nothing.
            let _ = file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        }
        Ok(())
    }

    pub fn symlink(&mut self, name: &[u8], target: &[u8]) -> Result<(), UnpackError> {
        let Some(path) = self.path(name)? else { return Ok(()) };
        self.link_bytes += name.len() + target.len();
        if target.is_empty() || target.len() > LONGEST_PATH || self.link_bytes > LINK_BYTES {
            return Err(UnpackError::refused(format!("{}: a link of such a length", shown(name))));
        }
        match std::fs::remove_file(self.root.join(&path)) {
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                return Err(UnpackError::refused(format!("{}: is a directory and a link", shown(name))));
            }
            _ => {}
        }
        self.links.insert(path, PathBuf::from(OsStr::from_bytes(target)));
        Ok(())
    }

    /// Another name for a file that came before.
    pub fn hard_link(&mut self, name: &[u8], target: &[u8]) -> Result<(), UnpackError> {
        let Some(path) = self.path(name)? else { return Ok(()) };
        let Some(original) = self.path(target)? else {
            return Err(UnpackError::refused(format!("{}: a hard link to a directory", shown(name))));
        };
        if let Some(link) = self.links.get(&original).cloned() {
            self.links.insert(path, link);
            return Ok(());
        }
        let from = self.root.join(&original);
        if !from.symlink_metadata().is_ok_and(|about| about.is_file()) {
            return Err(UnpackError::refused(format!(
                "{}: a hard link to {}, which is no file of the archive before it",
                shown(name),
                shown(target)
            )));
        }
        if original == path {
            return Ok(());
        }
        drop(self.create(&path, name)?);
        std::fs::remove_file(self.root.join(&path)).map_err(UnpackError::Disk)?;
        std::fs::hard_link(from, self.root.join(&path)).map_err(UnpackError::Disk)
    }

    /// Makes the links and sets the directories' modes: in them files had to be made.
    pub fn finish(mut self) -> Result<Unpacked, UnpackError> {
        for (path, target) in &self.links {
            if let Err(why) = inside::stays_inside(&self.links, path) {
                return Err(UnpackError::refused(format!(
                    "{}: is a link to {}, {why}",
                    path.display(),
                    target.display()
                )));
            }
        }
        for (path, target) in std::mem::take(&mut self.links) {
            self.make_directory(path.parent().unwrap_or(Path::new("")), path.as_os_str().as_bytes())?;
            std::os::unix::fs::symlink(target, self.root.join(&path)).map_err(|error| {
                match error.kind() {
                    io::ErrorKind::AlreadyExists => {
                        UnpackError::refused(format!("{}: is a directory and a link", path.display()))
                    }
                    _ => UnpackError::Disk(error),
                }
            })?;
        }
        let permit = |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode));
        for (path, mode) in self.directories.iter().rev() {
            // Whoever owns it must be able to remove it again.
            permit(&self.root.join(path), (mode & 0o777) | 0o700).map_err(UnpackError::Disk)?;
        }
        permit(self.root, 0o755).map_err(UnpackError::Disk)?;
        Ok(Unpacked { entries: self.entries, bytes: self.bytes })
    }

    fn room_for(&self, size: u64) -> Result<(), UnpackError> {
        if self.bytes.saturating_add(size) <= self.limits.bytes {
            return Ok(());
        }
        Err(UnpackError::refused(format!(
            "unpacks to more than --max-unpacked {}",
            podkit::units::Size(self.limits.bytes)
        )))
    }

    /// Relative and plain, stripped; `None` when nothing is left of it.
    fn path(&self, name: &[u8]) -> Result<Option<PathBuf>, UnpackError> {
        let refused = |why: &str| Err(UnpackError::refused(format!("{}: {why}", shown(name))));
        if name.len() > LONGEST_PATH {
            return refused("a path of more than 4096 bytes");
        }
        if name.starts_with(b"/") || name.contains(&0) {
            return refused("a path that is not relative leads out of the directory");
        }
        let mut path = PathBuf::new();
        let parts = name.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
        for (index, part) in parts.enumerate() {
            if part == b".." {
                return refused("a path with .. leads out of the directory");
            }
            if index >= self.strip {
                path.push(OsStr::from_bytes(part));
            }
        }
        Ok(if path.as_os_str().is_empty() { None } else { Some(path) })
    }

    fn make_directory(&self, path: &Path, name: &[u8]) -> Result<(), UnpackError> {
        std::fs::create_dir_all(self.root.join(path)).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
                UnpackError::refused(format!("{}: is below a file, or a file itself", shown(name)))
            }
            _ => UnpackError::Disk(error),
        })
    }

    fn create(&mut self, path: &Path, name: &[u8]) -> Result<File, UnpackError> {
        self.links.remove(path);
        self.make_directory(path.parent().unwrap_or(Path::new("")), name)?;
        let full = self.root.join(path);
        match std::fs::remove_file(&full) {
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                return Err(UnpackError::refused(format!("{}: is a directory and a file", shown(name))));
            }
            _ => {}
        }
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(full);
        made.map_err(UnpackError::Disk)
    }
}

/// What came out of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unpacked {
    pub entries: u64,
    pub bytes: u64,
}

/// A name in a message; control characters are made visible by the redactor.
pub(super) fn shown(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    match text.char_indices().nth(200) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.into_owned(),
    }
}
