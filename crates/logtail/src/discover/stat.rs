use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Statx, StatxFlags, statx};

/// What makes a file this file, as far as the kernel says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    /// Nanoseconds since 1970; 0 where the file system keeps no birth time.
    pub(crate) birth: u64,
}

impl Identity {
    /// What the kernel looks it up by. Reused after deletion, which [`Self::contradicts`] notices.
    pub(crate) fn inode(&self) -> (u64, u64) {
        (self.dev, self.ino)
    }

    /// Same inode number, born at another time.
    pub(crate) fn contradicts(&self, other: &Self) -> bool {
        self.birth != other.birth && self.birth != 0 && other.birth != 0
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Stat {
    pub(crate) identity: Identity,
    pub(crate) size: u64,
    /// Nanoseconds since 1970.
    pub(crate) modified: u64,
    /// Names it has; 0 once it is deleted.
    pub(crate) links: u32,
    pub(crate) is_file: bool,
}

impl Stat {
    /// Follows symbolic links.
    pub(crate) fn of_path(path: &Path) -> io::Result<Self> {
        Ok(statx(CWD, path, AtFlags::empty(), wanted())?.into())
    }

    pub(crate) fn of_fd(fd: impl AsFd) -> io::Result<Self> {
        Ok(statx(fd, c"", AtFlags::EMPTY_PATH, wanted())?.into())
    }
}

fn wanted() -> StatxFlags {
    StatxFlags::BASIC_STATS | StatxFlags::BTIME
}

impl From<Statx> for Stat {
    fn from(stat: Statx) -> Self {
        let nanos = |t: rustix::fs::StatxTimestamp| {
            u64::try_from(t.tv_sec).unwrap_or(0).saturating_mul(1_000_000_000) + u64::from(t.tv_nsec)
        };
        let has_birth = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
        Self {
            identity: Identity {
                dev: u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor),
                ino: stat.stx_ino,
                birth: if has_birth { nanos(stat.stx_btime) } else { 0 },
            },
            size: stat.stx_size,
            modified: nanos(stat.stx_mtime),
            links: stat.stx_nlink,
            is_file: FileType::from_raw_mode(stat.stx_mode.into()) == FileType::RegularFile,
        }
    }
}
