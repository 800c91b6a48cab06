use std::time::{Duration, Instant};

use super::{FileKey, Place, Tail, Turn};
use crate::frame::Block;

/// Between looks where the kernel tells nothing, just after something changed …
pub(super) const BRISK: Duration = Duration::from_millis(50);
/// … and when nothing does.
const CALM: Duration = Duration::from_secs(1);
/// Between looks where the kernel tells everything …
const SAFETY: Duration = Duration::from_secs(5);
/// … and where there is much to look at: looking for nothing may take one part in so many of the time, …
const IDLE_SHARE: u32 = 2000;
/// … but one look within this time there is.
const RARELY: Duration = Duration::from_secs(20);
/// Looking may take this share of the time: one part in so many.
const LOOK_SHARE: u32 = 4;

/// Looks at the end.
const LAST_LOOKS: usize = 4;

/// How far [`Tail::finish`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    No,
    /// Read what is known; then look through the directories once more.
    Reading,
    /// Read what that brought; then pass on last lines.
    LastLines,
    Over,
}

impl Tail {
    /// Passes on up to about `budget` bytes (at least one block when there is one and the budget is not 0), one file
    /// after the other in turns. With a budget of 0 it only looks: poll also while the consumer has no room, or files
    /// that come and go meanwhile are missed.
    pub fn poll(&mut self, budget: usize, mut emit: impl FnMut(Block<'_>)) -> Turn {
        self.hear();
        let mut used = 0;
        self.read_ready(budget, &mut used, &mut emit);
        while used < budget && self.ready.is_empty() {
            match self.ending {
                Ending::No | Ending::Over => break,
                Ending::Reading => {
                    // What one look cannot tell (a compressed file that may still grow, a name that was not listed), the next ones can.
                    for _ in 0..LAST_LOOKS {
                        self.look_around();
                        if !self.undecided {
                            break;
                        }
                    }
                    let all: Vec<FileKey> = self.files.keys().copied().collect();
                    all.into_iter().for_each(|key| self.enqueue(key));
                    self.ending = Ending::LastLines;
                }
                Ending::LastLines => {
                    let partial: Vec<FileKey> = self.partial.iter().copied().collect();
                    partial.into_iter().for_each(|key| used += self.turn(key, true, &mut emit));
                    self.ending = Ending::Over;
                }
            }
            self.read_ready(budget, &mut used, &mut emit);
        }
        if budget == 0 {
            // A file may be cut while its consumer has no room, and its copy be gone when it has.
            let waiting: Vec<FileKey> = self.ready.iter().copied().collect();
            for key in waiting {
                let changed = self.files.get(&key).is_some_and(|file| {
                    let body = file.file.as_ref();
                    body.is_some_and(|body| body.stat().is_ok_and(|stat| stat.modified != file.modified))
                });
                // One that begins as before and is as long may be another all the same.
                if !changed || !self.roll_over_cut(key) {
                    let _ = self.look_at(key);
                }
            }
        }
        if used < budget {
            self.idle_lines(&mut used, &mut emit);
        }
        let more = !self.ready.is_empty() || !matches!(self.ending, Ending::No | Ending::Over);
        Turn { bytes: used, more, wait: self.wait(), finished: self.ending == Ending::Over && !more }
    }

    fn read_ready(&mut self, budget: usize, used: &mut usize, emit: &mut impl FnMut(Block<'_>)) {
        while *used < budget {
            let Some(key) = self.ready.pop_front() else { break };
            if let Some(file) = self.files.get_mut(&key) {
                file.queued = false;
                *used += self.turn(key, false, emit);
            }
        }
    }

    /// Takes in what the kernel told, and looks oneself when it is time.
    fn hear(&mut self) {
        let news = self.watch.take();
        let since = self.looked_at.map_or(Duration::MAX, |at| at.elapsed());
        let mut look = news.rescan || since >= self.look_every;
        for path in news.written {
            match self.by_path.get(path.as_path()).or_else(|| self.targets.get(&path)) {
                Some(&key) => self.enqueue(key),
                None => look |= self.patterns.matches(&path),
            }
        }
        if look {
            if since >= self.look_took * LOOK_SHARE {
                self.look_around();
            } else {
                // Remembered by time: a storm of names may not eat the processor.
                self.look_every = self.look_took * LOOK_SHARE;
            }
        }
    }

    /// Sets when to look next, after a look that did or did not find a change.
    pub(super) fn pace(&mut self, changed: bool) {
        self.look_every = if self.undecided {
            BRISK
        } else if self.watch.hears_all() && self.problems.is_empty() {
            (self.look_took * IDLE_SHARE).clamp(SAFETY, RARELY)
        } else if changed {
            BRISK
        } else {
            (self.look_every * 2).clamp(BRISK, CALM)
        };
    }

    /// Passes on last lines that nobody finished for long enough.
    fn idle_lines(&mut self, used: &mut usize, emit: &mut impl FnMut(Block<'_>)) {
        let now = Instant::now();
        let is_due = |key: &&FileKey| self.idle_at(**key).is_some_and(|at| at <= now);
        let due: Vec<FileKey> = self.partial.iter().filter(is_due).copied().collect();
        for key in due {
            *used += self.turn(key, true, emit);
        }
    }

    /// When a last line without its newline is passed on.
    fn idle_at(&self, key: FileKey) -> Option<Instant> {
        let file = self.files.get(&key)?;
        let idle = match file.place {
            // Its writer can hardly come back.
            Place::Deleted => Some(self.options.idle_line.map_or(CALM, |idle| idle.min(CALM))),
            _ => self.options.idle_line,
        };
        Some(file.grown + idle?)
    }

    fn wait(&self) -> Duration {
        if !self.ready.is_empty() {
            return Duration::ZERO;
        }
        let since = self.looked_at.map_or(Duration::ZERO, |at| at.elapsed());
        let look = self.look_every.saturating_sub(since);
        let idle = self.partial.iter().filter_map(|key| self.idle_at(*key)).min();
        let idle = idle.map(|at| at.saturating_duration_since(Instant::now()));
        // Never spins, whatever the clock says.
        idle.map_or(look, |idle| idle.min(look)).max(Duration::from_millis(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, Wakeup};
    use std::fs;
    use std::os::unix::fs::symlink;

    // As the kubelet lays logs out: `containers/app.log → ../pods/0.log`.
    #[test]
    fn what_is_written_behind_a_link_is_heard() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        for name in ["pods", "containers"] {
            fs::create_dir(at(name)).expect("creates");
        }
        fs::write(at("pods/0.log"), "one\n").expect("writes");
        symlink("../pods/0.log", at("containers/app.log")).expect("links");
        let wakeup = Wakeup::default();
        let options = Options::new([at("containers/*.log").display().to_string()]);
        let mut tail = Tail::open(options, None, wakeup.clone()).expect("opens");
        let end = Instant::now() + Duration::from_secs(20);
        let mut read = 0;
        for lines in 1..4 {
            while read < 4 * lines {
                assert!(Instant::now() < end, "line {lines} was not heard of");
                // No look of its own.
                tail.look_every = Duration::MAX;
                read += tail.poll(1 << 20, |_| ()).bytes;
                wakeup.wait(Duration::from_millis(50));
            }
            let mut log = fs::OpenOptions::new().append(true).open(at("pods/0.log")).expect("opens");
            std::io::Write::write_all(&mut log, b"one\n").expect("writes");
        }
    }
}
