//! `file:///path[?stable=1s&match=RE&min-size=N]`

use std::cell::RefCell;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use regex::bytes::Regex;

use super::{NotYet, Verdict, unix};
use crate::target::{Parts, Query, Wrong};

/// Content looked at for `match`. A log or a data file larger than this is not what `match` is for.
const MATCH_LIMIT: u64 = 8 << 20;

/// A file that exists, is not being written any more, is large enough, has the right content.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    stable: Duration,
    min_size: u64,
    matches: Option<Regex>,
    /// What the file looked like, and since when.
    seen: RefCell<Option<(Look, Instant)>>,
    /// A look is under way in another thread, perhaps at a file system that hangs.
    busy: Arc<AtomicBool>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Look {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl File {
    pub(super) fn parse(parts: &Parts<'_>) -> Result<Self, Wrong> {
        let (path, query) = parts.query();
        let query = Query::parse(query, &["stable", "match", "min-size"])?;
        let matches = match query.get("match") {
            Some(text) => Some(
                Regex::new(text)
                    .map_err(|error| Wrong::new(format!("match: {error}"), "correct the expression"))?,
            ),
            None => None,
        };
        Ok(File {
            path: unix::absolute(path, "file:///data/ready")?,
            stable: query.duration("stable")?.unwrap_or_default(),
            min_size: query.size("min-size")?.unwrap_or(0),
            matches,
            seen: RefCell::default(),
            busy: Arc::default(),
        })
    }

    pub(super) async fn check(&self) -> Verdict {
        let meta = match self.aside(std::fs::metadata).await {
            Ok(meta) => meta,
            Err(error) => {
                *self.seen.borrow_mut() = None;
                return match error.kind() {
                    ErrorKind::NotFound => Verdict::no("missing", "no such file"),
                    ErrorKind::NotADirectory => Verdict::no("missing", "a part of the path is no directory"),
                    _ => Verdict::unknown("stat", error.to_string()),
                };
            }
        };
        let size = meta.len();
        if let Some(wait) = self.unstable(&meta) {
            let again = Some(wait);
            let reason = format!("{size} bytes, changed less than {:?} ago", self.stable);
            return Verdict::NotYet(NotYet { class: "stable", reason, definite: true, code: None, again });
        }
        if size < self.min_size {
            return Verdict::no("size", format!("{size} of {} bytes", self.min_size));
        }
        if let Some(matches) = &self.matches {
            if !meta.is_file() {
                return Verdict::no("content", "no regular file, so it has no content to match");
            }
            let matches = matches.clone();
            let look = move |path: PathBuf| {
                let mut content = Vec::new();
                std::fs::File::open(path)?.take(MATCH_LIMIT).read_to_end(&mut content)?;
                Ok(matches.is_match(&content))
            };
            match self.aside(look).await {
                Ok(true) => {}
                Ok(false) if size > MATCH_LIMIT => {
                    return Verdict::no(
                        "content",
                        format!("no match in the first {MATCH_LIMIT} of {size} bytes"),
                    );
                }
                Ok(false) => return Verdict::no("content", format!("no match in its {size} bytes")),
                Err(error) => return Verdict::unknown("content", error.to_string()),
            }
        }
        Verdict::ready(format!("{size} bytes"))
    }

    /// In another thread: a look at a local file is quick, one at a hung NFS mount would hold up every target. One look at a time, so that
    /// the attempts at such a file do not use up the threads that others need.
    async fn aside<T: Send + 'static>(
        &self,
        look: impl FnOnce(PathBuf) -> std::io::Result<T> + Send + 'static,
    ) -> std::io::Result<T> {
        if self.busy.swap(true, Ordering::Acquire) {
            return Err(std::io::Error::other(
                "an earlier look at it has not come back; its file system hangs",
            ));
        }
        let (path, busy) = (self.path.clone(), Arc::clone(&self.busy));
        let done = tokio::task::spawn_blocking(move || {
            let seen = look(path);
            busy.store(false, Ordering::Release);
            seen
        });
        done.await.unwrap_or_else(|error| Err(std::io::Error::other(error)))
    }

    /// How long the file still has to stay as it is. Seen by ourselves: a copy keeps the time of its original, so
    /// the time of modification alone says nothing.
    fn unstable(&self, meta: &std::fs::Metadata) -> Option<Duration> {
        if self.stable.is_zero() {
            return None;
        }
        let look = Look { inode: meta.ino(), size: meta.len(), modified: (meta.mtime(), meta.mtime_nsec()) };
        let mut seen = self.seen.borrow_mut();
        match &*seen {
            Some((known, since)) if *known == look => {
                let left = self.stable.saturating_sub(since.elapsed());
                (!left.is_zero()).then_some(left)
            }
            _ => {
                *seen = Some((look, Instant::now()));
                Some(self.stable)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_system_that_hangs_takes_one_thread() {
        let parts = crate::target::split("file:///proc/self/status").unwrap();
        let file = File::parse(&parts).unwrap();
        assert!(matches!(file.check().await, Verdict::Ready(_)));
        file.busy.store(true, Ordering::Release);
        let Verdict::NotYet(hung) = file.check().await else { panic!("it is busy") };
        assert!(hung.reason.contains("has not come back") && !hung.definite, "{hung:?}");
        file.busy.store(false, Ordering::Release);
        assert!(matches!(file.check().await, Verdict::Ready(_)));
    }
}
