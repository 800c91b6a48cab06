//! What a process prints, kept line by line within a bound.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Which of the two streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// The lines of one stream; a reader thread fills it, tests look at it.
#[derive(Clone, Debug)]
pub(super) struct Output {
    shared: Arc<(Mutex<Lines>, Condvar)>,
}

#[derive(Debug, Default)]
pub(super) struct Lines {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// How many lines had to go to stay within the bound.
    pub(super) dropped: usize,
    pub(super) ended: bool,
}

impl Lines {
    pub(super) fn text(&self) -> impl Iterator<Item = String> {
        self.lines.iter().map(|line| String::from_utf8_lossy(line).into_owned())
    }

    /// From the line number `from` on, counted from the first one ever.
    pub(super) fn text_from(&self, from: usize) -> Vec<String> {
        let at = from.saturating_sub(self.dropped).min(self.lines.len());
        self.lines.range(at..).map(|line| String::from_utf8_lossy(line).into_owned()).collect()
    }

    pub(super) fn raw(&self) -> impl Iterator<Item = &[u8]> {
        self.lines.iter().map(Vec::as_slice)
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    fn push(&mut self, line: Vec<u8>, keep: usize) {
        self.bytes += line.len() + 1;
        self.lines.push_back(line);
        while self.bytes > keep && self.lines.len() > 1 {
            self.bytes -= self.lines.pop_front().map_or(0, |line| line.len() + 1);
            self.dropped += 1;
        }
    }
}

impl Output {
    /// Reads `from` to its end on a thread. A line longer than `keep` arrives in pieces.
    pub(super) fn read(from: Option<impl Read + Send + 'static>, keep: usize) -> Self {
        let output = Self { shared: Arc::default() };
        let writer = output.clone();
        std::thread::spawn(move || {
            if let Some(from) = from {
                let mut reader = BufReader::with_capacity(64 << 10, from);
                let mut line = Vec::new();
                let limit = u64::try_from(keep).unwrap_or(u64::MAX).max(1);
                while matches!(reader.by_ref().take(limit).read_until(b'\n', &mut line), Ok(1..)) {
                    if line.last() == Some(&b'\n') {
                        line.pop();
                    }
                    writer.lock().push(std::mem::take(&mut line), keep);
                    writer.shared.1.notify_all();
                }
            }
            writer.lock().ended = true;
            writer.shared.1.notify_all();
        });
        output
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Lines> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the lines whenever some arrive, and every 20 ms, until `look` finds something, `deadline` passes, or
    /// the stream has ended.
    pub(super) fn wait<T>(&self, deadline: Instant, mut look: impl FnMut(&Lines) -> Option<T>) -> Option<T> {
        let mut lines = self.lock();
        loop {
            if let Some(found) = look(&lines) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || lines.ended {
                return None;
            }
            let step = left.min(Duration::from_millis(20));
            lines = self.shared.1.wait_timeout(lines, step).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(output: &Output) {
        crate::eventually("the reader ends", || output.lock().ended.then_some(()));
    }

    #[test]
    fn keeps_the_newest_within_the_bound() {
        let output = Output::read(Some(&b"one\ntwo\nthree\nfo"[..]), 9);
        ended(&output);
        assert_eq!(output.lock().text().collect::<Vec<_>>(), ["three", "fo"]);
        assert_eq!(output.lock().dropped, 2);
    }

    #[test]
    fn invalid_utf8_is_kept_as_it_came() {
        let output = Output::read(Some(&b"\xff\xfe\n"[..]), 100);
        ended(&output);
        assert_eq!(output.lock().raw().collect::<Vec<_>>(), [b"\xff\xfe"]);
    }
}
