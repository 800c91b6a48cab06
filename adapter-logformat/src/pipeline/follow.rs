//! One followed file: its lane, and the lines that may go on with what comes behind them.

use std::time::Instant;

use logtail::{Block, FileId, FileKey, Piece};

use super::{batch::Batch, state::Run};
use crate::lane::Lane;

/// See the module.
#[derive(Debug)]
pub struct Follow {
    pub path: String,
    pub lane: Lane,
    id: FileId,
    /// Lines that are read and belong to no record yet; they begin at `from` in the file.
    pub carry: Vec<u8>,
    from: u64,
    /// Since when they wait.
    pub since: Option<Instant>,
}

impl Follow {
    pub fn new(path: String, id: FileId, lane: Lane) -> Self {
        Self { path, lane, id, carry: Vec::new(), from: 0, since: None }
    }

    /// Takes a block of the file into the batch.
    pub fn take(&mut self, block: &Block<'_>, batch: &mut Batch) {
        let whole = block.piece == Piece::Lines;
        if !self.carry.is_empty() && (!whole || block.offset != self.from + self.carry.len() as u64) {
            self.flush(block.file, batch);
        }
        if !whole {
            self.run(block.file, block.offset, block.bytes, block.piece, true, batch);
        } else if self.carry.is_empty() {
            let used = self.run(block.file, block.offset, block.bytes, Piece::Lines, false, batch);
            self.keep(&block.bytes[used..], block.offset + used as u64);
        } else {
            let mut carry = std::mem::take(&mut self.carry);
            carry.extend_from_slice(block.bytes);
            let used = self.run(block.file, self.from, &carry, Piece::Lines, false, batch);
            self.keep(&carry[used..], self.from + used as u64);
        }
    }

    /// Nothing comes behind the waiting lines: they are an event.
    pub fn flush(&mut self, file: FileKey, batch: &mut Batch) {
        let carry = std::mem::take(&mut self.carry);
        self.since = None;
        if !carry.is_empty() {
            self.run(file, self.from, &carry, Piece::Lines, true, batch);
        }
    }

    fn keep(&mut self, rest: &[u8], from: u64) {
        self.carry.clear();
        self.carry.extend_from_slice(rest);
        self.carry.shrink_to(256 << 10);
        self.from = from;
        self.since = (!rest.is_empty()).then(Instant::now);
    }

    fn run(
        &mut self,
        file: FileKey,
        start: u64,
        bytes: &[u8],
        piece: Piece,
        flush: bool,
        batch: &mut Batch,
    ) -> usize {
        let detector = self.lane.detector();
        let used = batch.convert(&mut self.lane, bytes, piece, flush);
        if used == 0 {
            return 0;
        }
        let end = start + used as u64;
        let part = match piece {
            Piece::Lines => None,
            Piece::Part { number, last } => Some((number, last)),
            Piece::Unterminated { number } => Some((number, true)),
        };
        // Nothing behind the last event of a run was needed to end it: said of it again, it ends at the same place.
        batch.runs.push(Run {
            id: self.id.0,
            start,
            end,
            path: self.path.clone(),
            part,
            unterminated: matches!(piece, Piece::Unterminated { .. }),
            flush: true,
            detector,
        });
        batch.done.push((file, start..end));
        used
    }
}
