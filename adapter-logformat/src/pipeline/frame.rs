//! A byte stream → lines: what is no line yet waits, events that may go on wait, lines over 1 MiB become parts.

use logtail::Piece;

use super::batch::Batch;
use crate::lane::Lane;

/// Longer lines become numbered parts.
pub const MAX_LINE: usize = 1 << 20;

/// What is read and belongs to no record yet.
#[derive(Debug, Default)]
pub struct Frame {
    open: Vec<u8>,
    /// Bytes of whole lines at its start: an event that may go on.
    lines: usize,
    /// Parts of the line behind them that are written already.
    parts: u32,
}

impl Frame {
    /// Bytes held.
    pub fn held(&self) -> usize {
        self.open.len()
    }

    /// True when whole lines wait for what may belong to them.
    pub fn waits(&self) -> bool {
        self.lines > 0
    }

    /// Takes the next bytes into the batch; `end`: there are no more.
    pub fn take(&mut self, bytes: &[u8], lane: &mut Lane, batch: &mut Batch, end: bool) {
        if self.parts > 0 {
            // The rest of a long line, up to its newline.
            let rest = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
            self.open.extend_from_slice(&bytes[..rest]);
            self.cut(MAX_LINE, batch, lane);
            if self.open.last() == Some(&b'\n') || end {
                let piece = Piece::Part { number: self.parts + 1, last: true };
                batch.convert(lane, &self.open, piece, true);
                self.open.clear();
                self.parts = 0;
            }
            if rest < bytes.len() {
                self.take(&bytes[rest..], lane, batch, end);
            }
            return;
        }
        if self.lines == 0
            && !self.open.is_empty()
            && let Some(newline) = memchr::memchr(b'\n', bytes)
        {
            // The rest of a line that has begun: only that is put together.
            let (rest, behind) = bytes.split_at(newline + 1);
            self.open.extend_from_slice(rest);
            let used = batch.convert(lane, &self.open, Piece::Lines, end && behind.is_empty());
            self.open.drain(..used);
            self.lines = self.open.len();
            if end || !behind.is_empty() {
                self.take(behind, lane, batch, end);
            }
            return;
        }
        if self.open.is_empty() {
            // Nothing waits: whole lines are read where they are.
            let whole = memchr::memrchr(b'\n', bytes).map_or(0, |at| at + 1);
            let used = batch.convert(lane, &bytes[..whole], Piece::Lines, end);
            self.open.extend_from_slice(&bytes[used..]);
            self.lines = whole - used;
        } else {
            self.open.extend_from_slice(bytes);
            let whole = match memchr::memrchr(b'\n', bytes) {
                Some(at) => self.open.len() - bytes.len() + at + 1,
                None => self.lines,
            };
            let used = batch.convert(lane, &self.open[..whole], Piece::Lines, end);
            self.open.drain(..used);
            self.lines = whole - used;
        }
        if end && !self.open.is_empty() {
            batch.convert(lane, &self.open, Piece::Unterminated { number: 1 }, true);
            self.open = Vec::new();
        } else if self.open.len() - self.lines > MAX_LINE + 1 {
            self.flush(lane, batch);
            self.cut(MAX_LINE, batch, lane);
        }
    }

    /// The waiting lines are an event: nothing came behind them.
    pub fn flush(&mut self, lane: &mut Lane, batch: &mut Batch) {
        let lines: Vec<u8> = self.open.drain(..self.lines).collect();
        self.lines = 0;
        batch.convert(lane, &lines, Piece::Lines, true);
    }

    /// Passes on all that is held, an unfinished line as a part, because memory is short.
    pub fn relieve(&mut self, lane: &mut Lane, batch: &mut Batch) {
        self.flush(lane, batch);
        self.cut(4 << 10, batch, lane);
        self.open.shrink_to(8 << 10);
    }

    /// Passes on what is over the limit.
    fn cut(&mut self, limit: usize, batch: &mut Batch, lane: &mut Lane) {
        let mut from = 0;
        while self.open.len() - from > limit + 1 {
            let at = from + character(&self.open[from..], limit);
            self.parts += 1;
            let piece = Piece::Part { number: self.parts, last: false };
            batch.convert(lane, &self.open[from..at], piece, true);
            from = at;
        }
        self.open.drain(..from);
    }
}

/// Where to cut at `limit` at the latest: not in the middle of a character, where it is text.
pub fn character(bytes: &[u8], limit: usize) -> usize {
    (limit - 3..=limit).rev().find(|at| bytes[*at] & 0xc0 != 0x80).unwrap_or(limit)
}
