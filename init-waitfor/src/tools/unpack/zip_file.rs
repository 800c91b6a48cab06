//! zip, with deflate or without compression.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

use zip::ZipArchive;

use super::{Limits, Tree, UnpackError, Unpacked};

/// End of central directory, its zip64 twin and that one's locator: APPNOTE.TXT 4.3.14 to 4.3.16.
const END: &[u8] = b"PK\x05\x06";
const END64: &[u8] = b"PK\x06\x06";
/// An end record with the longest comment, and the zip64 records before it.
const TAIL: u64 = (22 + 65_535) + 20 + 56;

/// The file type in a Unix mode, inode(7).
const TYPE: u32 = 0o170_000;

pub(super) fn unpack(
    archive: &mut File,
    mut tree: Tree<'_>,
    limits: &Limits,
) -> Result<Unpacked, UnpackError> {
    let broken =
        |error: &dyn std::fmt::Display| UnpackError::refused(format!("the archive is broken: {error}"));
    // The crate reads the whole directory into memory: not more of it than is allowed.
    if declared(archive).map_err(UnpackError::Disk)? > limits.entries {
        return Err(UnpackError::refused(format!("has more than --max-entries {} entries", limits.entries)));
    }
    let mut zip = ZipArchive::new(archive).map_err(|error| broken(&error))?;
    for index in 0..zip.len() {
        tree.count()?;
        let mut file = zip.by_index(index).map_err(|error| broken(&error))?;
        let name = file.name().map_err(|error| broken(&error))?.into_owned().into_bytes();
        let mode = file.unix_mode();
        let size = file.size();
        match mode.map_or(0, |mode| mode & TYPE) {
            0o120_000 => {
                let mut target = Vec::new();
                let read = file.by_ref().take(8192).read_to_end(&mut target);
                read.map_err(|error| UnpackError::broken(&name, &error))?;
                tree.symlink(&name, &target)?;
            }
            0o040_000 => tree.directory(&name, mode.unwrap_or(0o755))?,
            _ if file.is_dir() => tree.directory(&name, 0o755)?,
            0 | 0o100_000 => {
                let mode = mode.filter(|mode| mode & 0o777 != 0).unwrap_or(0o644);
                tree.file(&name, mode, None, size, &mut file)?;
            }
            _ => {
                let name = super::tree::shown(&name);
                return Err(UnpackError::refused(format!("{name}: is a device node, pipe or socket")));
            }
        }
    }
    tree.finish()
}

/// The largest number of entries that any end record in the tail speaks of.
fn declared(archive: &mut File) -> io::Result<u64> {
    let length = archive.seek(SeekFrom::End(0))?;
    archive.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut tail = Vec::new();
    archive.take(TAIL).read_to_end(&mut tail)?;
    archive.rewind()?;
    let number = |at: usize, width: usize| -> Option<u64> {
        let bytes = tail.get(at..at + width)?;
        Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    };
    let positions = |magic: &'static [u8]| {
        tail.windows(4).enumerate().filter(move |(_, window)| *window == magic).map(|(at, _)| at)
    };
    // 0xFFFF stands for "see zip64", whose record then tells.
    let small = positions(END).filter_map(|at| number(at + 10, 2)).filter(|count| *count != 0xffff);
    let large = positions(END64).filter_map(|at| number(at + 32, 8));
    Ok(small.chain(large).max().unwrap_or(0))
}
