use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use notify::event::ModifyKind;
use notify::{ErrorKind, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tracing::{info, warn};

use super::Stat;
use crate::Wakeup;

/// Paths remembered between two polls; beyond that everything is looked at.
const REMEMBERED: usize = 1024;

/// Hears from the kernel what changes in the directories. One watch per directory, none per file.
#[derive(Debug)]
pub(crate) struct Watch {
    watcher: Option<RecommendedWatcher>,
    /// With its inode: a directory that was replaced by another of its name needs a new watch.
    dirs: HashMap<PathBuf, u64>,
    /// Where changes happen that the kernel does not tell about.
    deaf: HashSet<PathBuf>,
    inbox: Arc<Mutex<News>>,
}

/// What was heard since the last time.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// Names came, went or moved, or messages were dropped: look through the directories.
    pub(crate) rescan: bool,
    /// These files were written to.
    pub(crate) written: Vec<PathBuf>,
}

impl Watch {
    pub(crate) fn new(wanted: bool, wakeup: Wakeup) -> Self {
        let inbox = Arc::new(Mutex::new(News::default()));
        let to = Arc::clone(&inbox);
        let heard = move |event: notify::Result<notify::Event>| {
            if to.lock().unwrap_or_else(PoisonError::into_inner).hear(event) {
                wakeup.fire();
            }
        };
        let watcher = if wanted {
            notify::recommended_watcher(heard)
                .inspect_err(
                    |e| warn!(error = %e, "the kernel will not tell of changes; directories are polled"),
                )
                .ok()
        } else {
            None
        };
        Self { watcher, dirs: HashMap::new(), deaf: HashSet::new(), inbox }
    }

    /// Watches these directories, and no others.
    pub(crate) fn follow(&mut self, dirs: &HashSet<PathBuf>) {
        let Some(watcher) = &mut self.watcher else { return };
        let inode = |dir: &Path| Stat::of_path(dir).map_or(0, |stat| stat.identity.ino);
        let left: Vec<PathBuf> = self
            .dirs
            .iter()
            .filter(|(dir, ino)| !dirs.contains(*dir) || inode(dir) != **ino)
            .map(|(dir, _)| dir.clone())
            .collect();
        for dir in left {
            // Fails when the directory is gone, and then there is nothing to stop.
            let _ = watcher.unwatch(&dir);
            self.dirs.remove(&dir);
        }
        self.deaf.retain(|dir| dirs.contains(dir));
        for dir in dirs {
            if self.dirs.contains_key(dir) || self.deaf.contains(dir) {
                continue;
            }
            if is_remote(dir) {
                info!(dir = %dir.display(), "on a network file system; polled");
                self.deaf.insert(dir.clone());
                continue;
            }
            match watcher.watch(dir, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.dirs.insert(dir.clone(), inode(dir));
                }
                Err(e) => {
                    let remedy = match e.kind {
                        ErrorKind::MaxFilesWatch => {
                            "; raise fs.inotify.max_user_watches or max_user_instances"
                        }
                        _ => "",
                    };
                    warn!(dir = %dir.display(), error = %e, "not watched but polled{remedy}");
                    self.deaf.insert(dir.clone());
                }
            }
        }
    }

    /// Everything is told by the kernel, so looking oneself is a safety net only.
    pub(crate) fn hears_all(&self) -> bool {
        self.watcher.is_some() && self.deaf.is_empty() && !self.dirs.is_empty()
    }

    pub(crate) fn take(&self) -> News {
        std::mem::take(&mut *self.inbox.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl News {
    /// True when it matters.
    fn hear(&mut self, event: notify::Result<notify::Event>) -> bool {
        let Ok(event) = event else {
            self.rescan = true;
            return true;
        };
        match event.kind {
            // Reading causes these; they would wake the reader for ever.
            EventKind::Access(_) => return false,
            EventKind::Modify(ModifyKind::Data(_)) => {
                for path in event.paths {
                    if self.written.last() != Some(&path) {
                        self.written.push(path);
                    }
                }
                if self.written.len() > REMEMBERED {
                    self.written.clear();
                    self.rescan = true;
                }
            }
            // Create, remove, rename, new permissions, and the queue's overflow.
            _ => self.rescan = true,
        }
        true
    }
}

/// Changes made by another machine, or behind the file system's back, are not told.
fn is_remote(dir: &Path) -> bool {
    // linux/magic.h and the file systems' own headers: NFS, SMB1, SMB2, CIFS, 9P, FUSE, AFS, Ceph.
    const REMOTE: [u32; 8] =
        [0x6969, 0x517B, 0xFE53_4D42, 0xFF53_4D42, 0x0102_1997, 0x6573_5546, 0x5346_414F, 0x00C3_6400];
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "magic numbers have 32 bits")]
    rustix::fs::statfs(dir).is_ok_and(|fs| REMOTE.contains(&(fs.f_type as u32)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::Event;
    use notify::event::{AccessKind, CreateKind, DataChange, Flag};

    #[test]
    fn reading_wakes_nobody() {
        let mut news = News::default();
        assert!(!news.hear(Ok(Event::new(EventKind::Access(AccessKind::Any)))));
        assert!(!news.rescan);
    }

    #[test]
    fn writes_name_the_file_and_other_changes_the_directory() {
        let mut news = News::default();
        let written = |path: &str| {
            Event::new(EventKind::Modify(ModifyKind::Data(DataChange::Any))).add_path(path.into())
        };
        assert!(news.hear(Ok(written("/a"))));
        assert!(news.hear(Ok(written("/a"))));
        assert_eq!(news.written, [PathBuf::from("/a")]);
        assert!(!news.rescan);
        assert!(news.hear(Ok(Event::new(EventKind::Create(CreateKind::File)))));
        assert!(news.rescan);
    }

    #[test]
    fn an_overflow_of_either_queue_looks_everywhere() {
        let mut news = News::default();
        news.hear(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)));
        assert!(news.rescan);
        let mut news = News::default();
        for n in 0..=REMEMBERED {
            let event = Event::new(EventKind::Modify(ModifyKind::Data(DataChange::Any)));
            news.hear(Ok(event.add_path(format!("/{n}").into())));
        }
        assert!(news.rescan && news.written.is_empty());
    }
}
