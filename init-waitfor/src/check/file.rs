//! `file:///path[?stable=1s&match=RE&min-size=N]`

use std::cell::RefCell;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
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
        })
    }

    pub(super) async fn check(&self) -> Verdict {
        // A stat of a local file is quick; one of a hung NFS mount would hold up every target, so off the main thread.
        let path = self.path.clone();
        let meta = tokio::task::spawn_blocking(move || std::fs::metadata(path)).await;
        let meta = match meta {
            Ok(Ok(meta)) => meta,
            Ok(Err(error)) => {
                *self.seen.borrow_mut() = None;
                return match error.kind() {
                    ErrorKind::NotFound => Verdict::no("missing", "no such file"),
                    ErrorKind::NotADirectory => Verdict::no("missing", "a part of the path is no directory"),
                    _ => Verdict::unknown("stat", error.to_string()),
                };
            }
            Err(error) => return Verdict::unknown("stat", error.to_string()),
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
            let (path, matches) = (self.path.clone(), matches.clone());
            let found = tokio::task::spawn_blocking(move || -> std::io::Result<bool> {
                let mut content = Vec::new();
                std::fs::File::open(path)?.take(MATCH_LIMIT).read_to_end(&mut content)?;
                Ok(matches.is_match(&content))
            })
            .await;
            match found {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) if size > MATCH_LIMIT => {
                    return Verdict::no(
                        "content",
                        format!("no match in the first {MATCH_LIMIT} of {size} bytes"),
                    );
                }
                Ok(Ok(false)) => return Verdict::no("content", format!("no match in its {size} bytes")),
                Ok(Err(error)) => return Verdict::unknown("content", error.to_string()),
                Err(error) => return Verdict::unknown("content", error.to_string()),
            }
        }
        Verdict::ready(format!("{size} bytes"))
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
