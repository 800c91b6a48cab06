//! The state directory: one file of positions per sink, one lock for the process.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use logtail::{Loaded, Positions, Store};
use rustix::fs::{FlockOperation, flock};
use tracing::error;

/// Why the state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("--state {}: {source}; mount a writable volume there", dir.display())]
    Directory { dir: PathBuf, source: std::io::Error },
    #[error("--state {}: another shipper keeps its positions there; give each its own directory", dir.display())]
    Taken { dir: PathBuf },
    #[error(transparent)]
    Positions(#[from] logtail::Error),
}

/// Held as long as the process runs.
#[derive(Debug)]
pub struct State {
    dir: PathBuf,
    _lock: File,
}

const PREFIX: &str = "positions-";

impl State {
    /// Makes the directory and takes it for this process.
    ///
    /// # Errors
    /// It cannot be written, or another process has it.
    pub fn open(dir: &Path) -> Result<Self, StateError> {
        let failed = |source| StateError::Directory { dir: dir.to_owned(), source };
        std::fs::create_dir_all(dir).map_err(failed)?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(dir.join("lock"))
            .map_err(failed)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { dir: dir.to_owned(), _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StateError::Taken { dir: dir.to_owned() }),
            // A file system without locks: then nobody can be warned.
            Err(_) => Ok(Self { dir: dir.to_owned(), _lock: lock }),
        }
    }

    /// The positions of a sink; `true` when they were damaged and are set aside.
    ///
    /// # Errors
    /// They are there and cannot be read.
    pub fn positions(&self, sink: &str) -> Result<(Store, Option<Positions>, bool), StateError> {
        let (store, loaded) = Store::open(self.dir.join(format!("{PREFIX}{sink}")))?;
        Ok(match loaded {
            Loaded::Nothing => (store, None, false),
            Loaded::Found(positions) => (store, Some(positions), false),
            Loaded::Damaged { aside, reason } => {
                error!(sink, aside = %aside.display(), reason, "saved positions are damaged and were set aside; reading from the beginning");
                (store, None, true)
            }
        })
    }
}

/// The sinks that have positions in `dir`, with the path of each.
///
/// # Errors
/// The directory cannot be read.
pub fn saved(dir: &Path) -> std::io::Result<Vec<(String, PathBuf)>> {
    let mut saved = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix(PREFIX));
        if let Some(name) = name
            && !name.ends_with(".new")
            && !name.contains(".damaged")
        {
            saved.push((name.to_owned(), path.clone()));
        }
    }
    saved.sort();
    Ok(saved)
}
