//! `--owner UID:GID`: giving files away, which only a process with CAP_CHOWN may.

use std::fs::File;
use std::io;
use std::path::Path;
use std::str::FromStr;

use rustix::fs::{AtFlags, CWD, Gid, Uid, chownat, fchown};

/// CAP_CHOWN's bit in `/proc/self/status`, capabilities(7).
const CAP_CHOWN: u64 = 1;

/// Whose files they become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
}

impl FromStr for Owner {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse::<u32>().ok().filter(|id| *id != u32::MAX);
        text.split_once(':')
            .and_then(|(uid, gid)| Some(Owner { uid: number(uid)?, gid: number(gid)? }))
            .ok_or_else(|| {
                format!(
                    "{text:?} is no owner; write numbers, such as 1000:1000 (there are no user names in an image)"
                )
            })
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.uid, self.gid)
    }
}

impl Owner {
    /// Who we are.
    fn own() -> Self {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        Owner { uid: uid.as_raw(), gid: gid.as_raw() }
    }

    /// Says before anything is fetched that giving away will not be possible.
    ///
    /// # Errors
    /// The sentence, with what to do.
    pub fn allowed(self) -> Result<(), String> {
        let own = Owner::own();
        let groups = || rustix::process::getgroups().unwrap_or_default();
        let own_group = self.gid == own.gid || groups().iter().any(|gid| gid.as_raw() == self.gid);
        if (self.uid == own.uid && own_group) || has_cap_chown() {
            return Ok(());
        }
        Err(format!(
            "--owner {self} needs CAP_CHOWN, which this container ({own}) lacks; add it (securityContext.capabilities.add: [CHOWN], as root), or run this container with runAsUser: {} and fsGroup: {}",
            self.uid, self.gid
        ))
    }

    /// After the mode, because whoever gives a file away may no longer change its mode.
    pub(super) fn give(self, file: &File) -> io::Result<()> {
        Ok(fchown(file, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))?)
    }

    /// A whole tree, links themselves and not what they point at.
    pub(super) fn give_tree(self, root: &Path) -> io::Result<()> {
        if root.symlink_metadata()?.is_dir() {
            for entry in std::fs::read_dir(root)? {
                self.give_tree(&entry?.path())?;
            }
        }
        let (uid, gid) = (Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)));
        Ok(chownat(CWD, root, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

/// Removes a tree, also one that was given away: with CAP_CHOWN it can be taken back.
pub(super) fn remove_tree(path: &Path) -> io::Result<()> {
    let Ok(about) = path.symlink_metadata() else { return Ok(()) };
    if !about.is_dir() {
        return std::fs::remove_file(path);
    }
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            take_back(path)?;
            std::fs::remove_dir_all(path)
        }
        other => other,
    }
}

/// Directories first, so that they can be read.
fn take_back(path: &Path) -> io::Result<()> {
    let (uid, own) = (Some(Uid::from_raw(Owner::own().uid)), path.symlink_metadata()?);
    chownat(CWD, path, uid, None, AtFlags::SYMLINK_NOFOLLOW)?;
    if own.is_dir() {
        for entry in std::fs::read_dir(path)? {
            take_back(&entry?.path())?;
        }
    }
    Ok(())
}

/// Yes where it cannot be known: the call itself will tell.
fn has_cap_chown() -> bool {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return true };
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).is_none_or(|caps| caps & CAP_CHOWN != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_two_numbers() {
        assert_eq!("1000:2000".parse(), Ok(Owner { uid: 1000, gid: 2000 }));
        for bad in ["1000", "app:app", "1000:", "-1:0", "4294967295:0"] {
            assert!(bad.parse::<Owner>().is_err(), "{bad}");
        }
        assert_eq!(Owner::own().allowed(), Ok(()));
    }
}
