//! What this shop did, counted so that kill -9 loses no count.
//!
//! The counts live in one small file beside the logs, rewritten in place by a single `pwrite` at each event;
//! what the kernel was given survives the process. A request that was sent and never concluded when the
//! process died is, at the next start, counted as failed.

use std::cell::{Cell, RefCell};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde_json::{Value, json};

/// Both start with a dot and end on something else than `.log`: whoever follows the logs passes them by.
const COUNTS: &str = ".ledger";
const FAILURES: &str = ".failures";
/// Failures kept one by one, with their time; beyond that they are only counted.
const MOST_FAILURES: u64 = 10_000;

#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub(crate) struct Counts {
    pub(crate) starts: u64,
    pub(crate) sent: u64,
    pub(crate) answered: u64,
    pub(crate) failed: u64,
    /// Lines in rotated files that were deleted since; the others are still there to be counted.
    pub(crate) lines_deleted: u64,
}

pub(crate) struct Ledger {
    counts: Cell<Counts>,
    lines_written: Cell<u64>,
    rotations: Cell<u64>,
    skipped: Cell<u64>,
    file: File,
    failures: RefCell<File>,
    started: Instant,
    pub(crate) run: String,
}

impl Ledger {
    /// Takes up the counts of earlier runs in the same directory.
    ///
    /// `lines_found` are the lines now in the directory's logs.
    pub(crate) fn open(dir: &Path, lines_found: u64) -> anyhow::Result<Self> {
        let open = |name: &str, append: bool| {
            let path = dir.join(name);
            let mut options = OpenOptions::new();
            options.read(true).create(true);
            if append {
                options.append(true)
            } else {
                options.write(true).truncate(false)
            };
            options.open(&path).with_context(|| format!("cannot open {}", path.display()))
        };
        let mut file = open(COUNTS, false)?;
        let mut text = String::new();
        file.read_to_string(&mut text).context("cannot read the ledger")?;
        let mut counts = parse(&text);
        counts.starts += 1;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let ledger = Ledger {
            counts: Cell::new(counts),
            lines_written: Cell::new(lines_found + counts.lines_deleted),
            rotations: Cell::default(),
            skipped: Cell::default(),
            file,
            failures: RefCell::new(open(FAILURES, true)?),
            started: Instant::now(),
            run: format!("{:x}", now.as_millis()),
        };
        // What was under way when the last run was killed got its end then.
        for _ in 0..counts.sent.saturating_sub(counts.answered + counts.failed) {
            ledger.failed("the shop itself was killed");
        }
        ledger.save();
        Ok(ledger)
    }

    pub(crate) fn sent(&self) {
        self.change(|counts| counts.sent += 1);
    }

    pub(crate) fn answered(&self) {
        self.change(|counts| counts.answered += 1);
    }

    pub(crate) fn failed(&self, why: &str) {
        if self.counts.get().failed < MOST_FAILURES {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let line = json!({"unix_ms": u64::try_from(now.as_millis()).unwrap_or(u64::MAX), "why": why});
            // A full disk costs the detail; the count below still stands.
            let _ = self.failures.borrow_mut().write_all(format!("{line}\n").as_bytes());
        }
        self.change(|counts| counts.failed += 1);
    }

    pub(crate) fn line_written(&self) {
        self.lines_written.set(self.lines_written.get() + 1);
    }

    pub(crate) fn lines_deleted(&self, lines: u64) {
        self.change(|counts| counts.lines_deleted += lines);
    }

    pub(crate) fn rotated(&self) {
        self.rotations.set(self.rotations.get() + 1);
    }

    /// A visit that was not made because too many were under way.
    pub(crate) fn skipped(&self) {
        self.skipped.set(self.skipped.get() + 1);
    }

    pub(crate) fn report(&self) -> Value {
        let counts = self.counts.get();
        json!({
            "run": self.run,
            "starts": counts.starts,
            "uptime_seconds": self.started.elapsed().as_secs(),
            "lines_written": self.lines_written.get(),
            "requests_sent": counts.sent,
            "requests_answered": counts.answered,
            "requests_failed": counts.failed,
            "visits_skipped": self.skipped.get(),
            "rotations": self.rotations.get(),
        })
    }

    /// The failures kept, of this run and of those before it in the same directory.
    pub(crate) fn failures(&self) -> Vec<Value> {
        let mut file = self.failures.borrow_mut();
        let mut text = String::new();
        // A report without the details is better than no report.
        let _ = file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_string(&mut text));
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn change(&self, change: impl FnOnce(&mut Counts)) {
        let mut counts = self.counts.get();
        change(&mut counts);
        self.counts.set(counts);
        self.save();
    }

    fn save(&self) {
        let c = self.counts.get();
        let line = format!(
            "starts {:020} sent {:020} answered {:020} failed {:020} lines_deleted {:020}\n",
            c.starts, c.sent, c.answered, c.failed, c.lines_deleted
        );
        // The length never changes, so writing in place needs no truncation and no room on a full disk.
        let _ = self.file.write_all_at(line.as_bytes(), 0);
    }
}

fn parse(text: &str) -> Counts {
    let mut counts = Counts::default();
    let mut words = text.split_whitespace();
    while let (Some(name), Some(value)) = (words.next(), words.next()) {
        let value = value.parse().unwrap_or_default();
        match name {
            "starts" => counts.starts = value,
            "sent" => counts.sent = value,
            "answered" => counts.answered = value,
            "failed" => counts.failed = value,
            "lines_deleted" => counts.lines_deleted = value,
            _ => {}
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_survive_and_what_was_under_way_failed() {
        let dir = std::env::temp_dir().join(format!("demo-app-ledger-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let first = Ledger::open(&dir, 0).unwrap();
        first.sent();
        first.sent();
        first.answered();
        drop(first); // as a kill would: nothing is written at the end
        let second = Ledger::open(&dir, 5).unwrap();
        let report = second.report();
        let failures = second.failures();
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(report["starts"], 2);
        assert_eq!(report["requests_sent"], 2);
        assert_eq!(report["requests_answered"], 1);
        assert_eq!(report["requests_failed"], 1);
        assert_eq!(report["lines_written"], 5);
        assert_eq!(failures.len(), 1);
        assert_eq!(failures[0]["why"], "the shop itself was killed");
    }
}
