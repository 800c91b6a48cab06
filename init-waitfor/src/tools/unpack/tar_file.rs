//! tar: ustar, GNU and pax.
//!
//! The entries are read raw, because the `tar` crate would read a long name into memory however long an archive says it is.

use std::io::{self, Read};

use tar::{Archive, EntryType, Header, PaxExtensions};

use super::{Tree, UnpackError, Unpacked};

/// Long names and pax records are far shorter.
const LONGEST_RECORD: u64 = 64 << 10;

/// By its magic, or, for the oldest form, by the checksum of its first header.
pub(super) fn is_tar(head: &[u8]) -> bool {
    let Some(block) = head.get(..512) else { return false };
    if &block[257..262] == b"ustar" {
        return true;
    }
    let sum: u32 = block
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
        .sum();
    let mut header = Header::new_old();
    header.as_mut_bytes().copy_from_slice(block);
    block[0] != 0 && header.cksum().is_ok_and(|says| says == sum)
}

pub(super) fn unpack(stream: impl Read, mut tree: Tree<'_>) -> Result<Unpacked, UnpackError> {
    let mut archive = Archive::new(stream);
    let broken = |error: &io::Error| UnpackError::refused(format!("the archive is broken: {error}"));
    let (mut long_name, mut long_link) = (None, None);
    for entry in archive.entries().map_err(|error| broken(&error))?.raw(true) {
        let mut entry = entry.map_err(|error| broken(&error))?;
        tree.count()?;
        let kind = entry.header().entry_type();
        let size = entry.size();
        match kind {
            EntryType::GNULongName => long_name = Some(until_nul(record(&mut entry, size)?)),
            EntryType::GNULongLink => long_link = Some(until_nul(record(&mut entry, size)?)),
            EntryType::XHeader => {
                let text = record(&mut entry, size)?;
                pax(&text, &mut long_name, &mut long_link)?;
            }
            // Comments, such as the commit that `git archive` writes.
            EntryType::XGlobalHeader => {}
            _ => {
                let name = long_name.take().unwrap_or_else(|| entry.header().path_bytes().into_owned());
                let link = long_link.take();
                let header = entry.header();
                let link = link.unwrap_or_else(|| header.link_name_bytes().unwrap_or_default().into_owned());
                let mode = header.mode().unwrap_or(0o644);
                let modified = header.mtime().ok();
                match kind {
                    // In the oldest form a directory is a file with a slash at its end.
                    EntryType::Regular if name.ends_with(b"/") => tree.directory(&name, mode | 0o111)?,
                    EntryType::Regular | EntryType::Continuous => {
                        tree.file(&name, mode, modified, size, &mut entry)?;
                    }
                    EntryType::Directory => tree.directory(&name, mode)?,
                    EntryType::Symlink => tree.symlink(&name, &link)?,
                    EntryType::Link => tree.hard_link(&name, &link)?,
                    other => return Err(unwanted(&name, other)),
                }
            }
        }
    }
    // To the end of the stream: that is where the checksum is.
    let mut rest = archive.into_inner();
    io::copy(&mut rest, &mut io::sink()).map_err(|error| broken(&error))?;
    tree.finish()
}

fn unwanted(name: &[u8], kind: EntryType) -> UnpackError {
    let what = match kind {
        EntryType::Char | EntryType::Block => "a device node",
        EntryType::Fifo => "a named pipe",
        EntryType::GNUSparse => "a sparse file; make the archive without --sparse",
        _ => "of a kind that is not unpacked",
    };
    UnpackError::refused(format!("{}: is {what}", super::tree::shown(name)))
}

fn record(entry: &mut impl Read, size: u64) -> Result<Vec<u8>, UnpackError> {
    if size > LONGEST_RECORD {
        return Err(UnpackError::refused("holds a name or header record of more than 64 KiB"));
    }
    let mut bytes = Vec::new();
    entry
        .take(size)
        .read_to_end(&mut bytes)
        .map_err(|error| UnpackError::refused(format!("the archive is broken: {error}")))?;
    Ok(bytes)
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    bytes
}

fn pax(text: &[u8], name: &mut Option<Vec<u8>>, link: &mut Option<Vec<u8>>) -> Result<(), UnpackError> {
    for extension in PaxExtensions::new(text) {
        let extension = extension
            .map_err(|error| UnpackError::refused(format!("the archive is broken: pax header: {error}")))?;
        match extension.key_bytes() {
            b"path" => *name = Some(extension.value_bytes().to_owned()),
            b"linkpath" => *link = Some(extension.value_bytes().to_owned()),
            b"size" => {
                return Err(UnpackError::refused(
                    "holds a file whose size is in its pax header (8 GiB or more); make the archive with --format=gnu",
                ));
            }
            key if key.starts_with(b"GNU.sparse.") => {
                return Err(UnpackError::refused("holds a sparse file; make the archive without --sparse"));
            }
            _ => {}
        }
    }
    Ok(())
}
