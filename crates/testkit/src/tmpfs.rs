//! A disk that is small enough to fill.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::PodDir;

/// A mounted tmpfs, unmounted on drop.
#[derive(Debug)]
pub struct Tmpfs {
    path: PathBuf,
}

impl Tmpfs {
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    #[must_use]
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        run(Command::new("umount").arg("--lazy").arg(&self.path));
    }
}

impl PodDir {
    /// Mounts a tmpfs of `bytes` (rounded up to pages) at the folder `name`. `None` when the process may not mount:
    ///
    /// ```no_run
    /// # use testkit::{PodDir, skip_or_fail};
    /// # let pod = PodDir::new();
    /// let Some(disk) = pod.small_tmpfs("disk", 64 * 1024) else {
    ///     return skip_or_fail("a full disk: mounting a tmpfs needs root");
    /// };
    /// # let _ = disk;
    /// ```
    #[must_use]
    #[track_caller]
    pub fn small_tmpfs(&self, name: impl AsRef<Path>, bytes: u64) -> Option<Tmpfs> {
        let path = self.mkdir(name);
        let options = format!("size={bytes},mode=0777,nodev,nosuid");
        let mounted = run(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&path));
        mounted.then_some(Tmpfs { path })
    }
}

/// The commands, not the system calls: they are on every Debian, and one test needs them.
fn run(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Write as _};

    use super::*;
    use crate::skip_or_fail;

    #[test]
    fn a_small_disk_fills_and_goes() {
        let pod = PodDir::new();
        let Some(disk) = pod.small_tmpfs("disk", 16 * 1024) else {
            return skip_or_fail("small_tmpfs: mounting a tmpfs needs root");
        };
        let mut file = std::fs::File::create(disk.join("full")).expect("create");
        let error = file.write_all(&[0; 64 * 1024]).expect_err("does not fit");
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        drop((file, disk));
        assert!(!pod.join("disk/full").exists());
    }
}
