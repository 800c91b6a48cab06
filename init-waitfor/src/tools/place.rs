//! A file appears whole or not at all: written beside its place, synced, renamed.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// A file on its way to its place; removed when it does not get there.
#[derive(Debug)]
pub struct Placing {
    pub file: File,
    temporary: PathBuf,
    dest: PathBuf,
    placed: bool,
}

impl Placing {
    /// Makes missing directories. The temporary name starts with a dot and is in the same directory, so that the rename is
    /// atomic.
    ///
    /// # Errors
    /// The file system's.
    pub fn new(dest: &Path, mode: u32) -> io::Result<Self> {
        let name = dest.file_name().ok_or_else(|| io::Error::other("names no file"))?.to_string_lossy();
        let dir = dest.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(dir)?;
        let temporary = dir.join(format!(".{name}.{}.{:08x}", std::process::id(), fastrand::u32(..)));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        // Set, not asked for at creation: the umask would take bits away.
        file.set_permissions(Permissions::from_mode(mode))?;
        Ok(Placing { file, temporary, dest: dest.to_owned(), placed: false })
    }

    /// # Errors
    /// The file system's; the file is then not at its place.
    pub fn place(mut self) -> io::Result<()> {
        self.file.flush()?;
        self.file.sync_all()?;
        std::fs::rename(&self.temporary, &self.dest)?;
        self.placed = true;
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
