//! A directory as a pod sees it: an emptyDir to write to, ConfigMaps mounted the way the kubelet does.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;

/// A temporary directory, removed on drop. Helpers panic on errors: a test has no use for a broken disk.
#[derive(Debug)]
pub struct PodDir {
    root: TempDir,
}

impl Default for PodDir {
    fn default() -> Self {
        Self::new()
    }
}

impl PodDir {
    #[must_use]
    #[track_caller]
    pub fn new() -> Self {
        Self {
            root: tempfile::Builder::new().prefix("pod-").tempdir().expect("create a temporary directory"),
        }
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// A path below the directory; `name` may have folders, or be a glob.
    #[must_use]
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.path().join(name)
    }

    /// Writes a whole file, with its folders, and returns its path.
    #[track_caller]
    pub fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.with_parents(name.as_ref());
        fs::write(&path, content).unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
        path
    }

    /// Appends with one `write()`, as a logging app does, and returns the path.
    #[track_caller]
    pub fn append(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.with_parents(name.as_ref());
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .unwrap_or_else(|error| panic!("open {}: {error}", path.display()));
        file.write_all(content.as_ref()).unwrap_or_else(|error| panic!("append {}: {error}", path.display()));
        path
    }

    /// Creates a folder and returns its path.
    #[track_caller]
    pub fn mkdir(&self, name: impl AsRef<Path>) -> PathBuf {
        let path = self.join(name);
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("create {}: {error}", path.display()));
        path
    }

    /// Renames within the directory, as logrotate does.
    #[track_caller]
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) {
        let (from, to) = (self.join(from), self.join(to));
        fs::rename(&from, &to).unwrap_or_else(|error| panic!("rename {}: {error}", from.display()));
    }

    /// Cuts a file to `size` bytes, as `copytruncate` does.
    #[track_caller]
    pub fn truncate(&self, name: impl AsRef<Path>, size: u64) {
        let path = self.join(name);
        let cut = OpenOptions::new().write(true).open(&path).and_then(|file: File| file.set_len(size));
        cut.unwrap_or_else(|error| panic!("truncate {}: {error}", path.display()));
    }

    /// The content of a file, `None` while it does not exist.
    #[must_use]
    #[track_caller]
    pub fn read(&self, name: impl AsRef<Path>) -> Option<Vec<u8>> {
        let path = self.join(name);
        match fs::read(&path) {
            Ok(content) => Some(content),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => panic!("read {}: {error}", path.display()),
        }
    }

    /// The complete lines of a file (invalid UTF-8 replaced), none while it does not exist.
    #[must_use]
    #[track_caller]
    pub fn lines(&self, name: impl AsRef<Path>) -> Vec<String> {
        let content = self.read(name).unwrap_or_default();
        let complete = content.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        String::from_utf8_lossy(&content[..complete]).lines().map(str::to_owned).collect()
    }

    /// A ConfigMap (or Secret) volume in the folder `name`, laid out as the kubelet's atomic writer does:
    /// `..2026_01_02_…/FILE`, `..data → ..2026_01_02_…`, `FILE → ..data/FILE`.
    #[track_caller]
    pub fn config_map(&self, name: impl AsRef<Path>, files: &[(&str, &str)]) -> ConfigMap {
        let map = ConfigMap { root: self.mkdir(name) };
        map.swap(files);
        map
    }

    fn with_parents(&self, name: &Path) -> PathBuf {
        let path = self.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).unwrap_or_else(|error| panic!("create {}: {error}", parent.display()));
        }
        path
    }
}

/// A mounted ConfigMap or Secret; see `pkg/volume/util/atomic_writer.go` of Kubernetes.
#[derive(Debug)]
pub struct ConfigMap {
    root: PathBuf,
}

impl ConfigMap {
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.root
    }

    #[must_use]
    pub fn join(&self, file: &str) -> PathBuf {
        self.root.join(file)
    }

    /// Replaces the whole content at once: a new timestamped folder, then an atomic rename over `..data`, then the
    /// links of new files appear and those of removed ones go, last the old folder is removed.
    #[track_caller]
    pub fn swap(&self, files: &[(&str, &str)]) {
        self.try_swap(files).unwrap_or_else(|error| panic!("swap {}: {error}", self.root.display()));
    }

    fn try_swap(&self, files: &[(&str, &str)]) -> std::io::Result<()> {
        static SWAPS: AtomicU64 = AtomicU64::new(0);
        let stamp = format!("..2026_01_02_03_04_05.{:09}", SWAPS.fetch_add(1, Ordering::Relaxed));
        let old = fs::read_link(self.root.join("..data")).ok();

        fs::create_dir(self.root.join(&stamp))?;
        for (file, content) in files {
            fs::write(self.root.join(&stamp).join(file), content)?;
        }
        symlink(&stamp, self.root.join("..data_tmp"))?;
        fs::rename(self.root.join("..data_tmp"), self.root.join("..data"))?;

        for (file, _) in files {
            let link = self.root.join(file);
            if link.symlink_metadata().is_err() {
                symlink(Path::new("..data").join(file), link)?;
            }
        }
        for entry in fs::read_dir(&self.root)? {
            let name = entry?.file_name();
            let ours = name.as_encoded_bytes().starts_with(b"..");
            if !ours && !files.iter().any(|(file, _)| OsStr::new(file) == name) {
                fs::remove_file(self.root.join(name))?;
            }
        }
        if let Some(old) = old {
            fs::remove_dir_all(self.root.join(old))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_map_swaps_atomically() {
        let pod = PodDir::new();
        let map = pod.config_map("etc", &[("a.yaml", "one"), ("gone.yaml", "x")]);
        assert_eq!(fs::read_to_string(map.join("a.yaml")).expect("read"), "one");
        assert_eq!(fs::read_link(map.join("a.yaml")).expect("link"), Path::new("..data/a.yaml"));
        let first = fs::read_link(map.join("..data")).expect("link");
        map.swap(&[("a.yaml", "two"), ("b.yaml", "new")]);
        assert_eq!(fs::read_to_string(map.join("a.yaml")).expect("read"), "two");
        assert_eq!(fs::read_to_string(map.join("b.yaml")).expect("read"), "new");
        assert!(map.join("gone.yaml").symlink_metadata().is_err());
        assert!(!map.path().join(first).exists());
    }

    #[test]
    fn files_come_with_their_folders() {
        let pod = PodDir::new();
        pod.append("var/log/app.log", "one\n");
        pod.append("var/log/app.log", "two\nthr");
        assert_eq!(pod.lines("var/log/app.log"), ["one", "two"]);
        pod.truncate("var/log/app.log", 4);
        pod.rename("var/log/app.log", "var/log/app.log.1");
        assert_eq!(pod.read("var/log/app.log.1").expect("renamed"), b"one\n");
        assert_eq!(pod.read("var/log/app.log"), None);
        assert!(pod.lines("nowhere").is_empty());
    }
}
