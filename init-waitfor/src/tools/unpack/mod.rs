//! `archive file → entries → a tree below one directory`
//!
//! tar (plain, gzip, zstd) and zip. Bounded in bytes, entries and memory: an archive is a stranger's program for our file system.

mod inside;
mod tar_file;
mod tree;
mod zip_file;

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::read::MultiGzDecoder;
use ruzstd::decoding::StreamingDecoder;

pub use tree::{Tree, Unpacked};

/// Memory for one zstd frame: what `zstd --ultra` up to level 21 writes, and not the 128 MiB of `--long`.
const ZSTD_WINDOW: u64 = 64 << 20;

/// How much an archive may become.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of all files.
    pub bytes: u64,
    /// Files, directories and links.
    pub entries: u64,
    /// Set when nobody waits for the result any more.
    pub cancelled: Arc<AtomicBool>,
}

impl Limits {
    fn check_cancelled(&self) -> Result<(), UnpackError> {
        if self.cancelled.load(Ordering::Relaxed) { Err(UnpackError::refused("stopped")) } else { Ok(()) }
    }

    /// Bytes of the unpacked stream: the files, and the headers between them.
    fn stream(&self) -> u64 {
        self.bytes.saturating_add(self.entries.saturating_mul(4096)).saturating_add(1 << 20)
    }
}

/// Why an archive was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// It is broken, or wants what it must not.
    #[error("{0}")]
    Refused(String),
    #[error("cannot write: {0}")]
    Disk(io::Error),
}

impl UnpackError {
    fn refused(text: impl Into<String>) -> Self {
        UnpackError::Refused(text.into())
    }

    fn broken(name: &[u8], error: &io::Error) -> Self {
        UnpackError::Refused(format!("{}: the archive is broken: {error}", tree::shown(name)))
    }
}

/// Unpacks `archive` into the empty directory `root`; `strip` leading directories are left out.
///
/// # Errors
/// What is wrong with the archive, or with the disk; `root` is then half full.
pub fn unpack(
    archive: &mut File,
    root: &Path,
    strip: usize,
    limits: &Limits,
) -> Result<Unpacked, UnpackError> {
    let mut head = [0; 512];
    archive.rewind().map_err(UnpackError::Disk)?;
    let length = fill(archive, &mut head).map_err(UnpackError::Disk)?;
    archive.rewind().map_err(UnpackError::Disk)?;
    let tree = Tree::new(root, strip, limits);
    let broken =
        |error: &dyn std::fmt::Display| UnpackError::refused(format!("the archive is broken: {error}"));
    match &head[..length] {
        [0x1f, 0x8b, ..] => {
            tar_file::unpack(bounded(MultiGzDecoder::new(BufReader::new(archive)), limits), tree)
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let frame = StreamingDecoder::new_with_max_window_size(BufReader::new(archive), ZSTD_WINDOW);
            tar_file::unpack(bounded(frame.map_err(|error| broken(&error))?, limits), tree)
        }
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => zip_file::unpack(archive, tree, limits),
        [0xfd, b'7', b'z', b'X', b'Z', ..] | [b'B', b'Z', b'h', ..] => {
            Err(UnpackError::refused("xz and bzip2 are not unpacked; offer it as tar.gz, tar.zst or zip"))
        }
        head if tar_file::is_tar(head) => tar_file::unpack(bounded(BufReader::new(archive), limits), tree),
        _ => Err(UnpackError::refused(
            "is no tar, tar.gz, tar.zst or zip; is the URL that of a page instead of a file?",
        )),
    }
}

fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..])? {
            0 => break,
            count => length += count,
        }
    }
    Ok(length)
}

/// A stream that errs beyond its limit: what a small archive unpacks to is not known before.
struct Bounded<R> {
    from: R,
    left: u64,
}

fn bounded<R: Read>(from: R, limits: &Limits) -> Bounded<R> {
    Bounded { from, left: limits.stream() }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.left = self
            .left
            .checked_sub(count as u64)
            .ok_or_else(|| io::Error::other("unpacks to more than --max-unpacked"))?;
        Ok(count)
    }
}
