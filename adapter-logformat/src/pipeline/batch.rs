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
    /// Records left out, by the filter's place in the configuration.
    pub filtered: Vec<u64>,
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
        self.filtered.clear();
        self.bytes_read = 0;
        self.runs.clear();
        self.done.clear();
    }

    /// Turns a run of bytes into records and gives the bytes taken; all of them with `flush`. The same bytes after the same detector
    /// state give the same records.
    pub fn convert(&mut self, lane: &mut Lane, bytes: &[u8], piece: Piece, flush: bool) -> usize {
        lane.begin();
        let part = match piece {
            Piece::Lines => {
                let used = lane.lines(bytes, flush, &mut self.counts, &mut self.out);
                lane.take_filtered(&mut self.filtered);
                self.bytes_read += used as u64;
                return used;
            }
            Piece::Unterminated { number: 1 } => None,
            Piece::Part { number, last } => Some(Part { number, last }),
            Piece::Unterminated { number } => Some(Part { number, last: true }),
        };
        let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        lane.line(line, part, &mut self.counts, &mut self.out);
        lane.take_filtered(&mut self.filtered);
        self.bytes_read += bytes.len() as u64;
        bytes.len()
    }
}
