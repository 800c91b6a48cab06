//! Records of one turn, and what they were made of.

use std::ops::Range;

use logtail::{FileKey, Piece};

use super::state::Run;
use crate::{
    lane::{Counts, Lane},
    record::Part,
    time::Time,
};

#[derive(Debug, Default)]
pub struct Batch {
    /// Encoded records.
    pub out: Vec<u8>,
    pub counts: Counts,
    pub bytes_read: u64,
    /// When they were read.
    pub now: Time,
    /// What they were made of, in this order.
    pub runs: Vec<Run>,
    /// What to acknowledge once they are written.
    pub done: Vec<(FileKey, Range<u64>)>,
}

impl Batch {
    pub fn clear(&mut self) {
        self.out.clear();
        // A burst of long records must not be paid for in memory for ever.
        self.out.shrink_to(8 << 20);
        self.counts = Counts::default();
        self.bytes_read = 0;
        self.runs.clear();
        self.done.clear();
    }

    /// Turns a run of bytes into records. The same bytes after the same detector state give the same records.
    pub fn convert(&mut self, lane: &mut Lane, bytes: &[u8], piece: Piece) {
        self.bytes_read += bytes.len() as u64;
        let part = match piece {
            Piece::Lines | Piece::Unterminated { number: 1 } => None,
            Piece::Part { number, last } => Some(Part { number, last }),
            Piece::Unterminated { number } => Some(Part { number, last: true }),
        };
        if piece != Piece::Lines {
            let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
            lane.line(line, part, &mut self.counts, &mut self.out);
            return;
        }
        let mut from = 0;
        for end in memchr::memchr_iter(b'\n', bytes) {
            lane.line(&bytes[from..end], None, &mut self.counts, &mut self.out);
            from = end + 1;
        }
        if from < bytes.len() {
            lane.line(&bytes[from..], None, &mut self.counts, &mut self.out);
        }
    }
}
