//! What became of the lines, for machines and for people.

use crate::decode::{FORMATS, Refusal};

/// What became of the lines. Lines = records + joined + filtered, always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    pub lines: u64,
    pub records: u64,
    /// Lines that became part of a record that another line began.
    pub joined: u64,
    /// Lines that a named rule of the configuration left out.
    pub filtered: u64,
    /// Records that hold a line no format could read.
    pub unparsed: u64,
    /// Records of which one field could not be read.
    pub partial: u64,
    /// Records that are a part of a line too long for one.
    pub parts: u64,
    pub formats: [u64; FORMATS.len()],
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            lines: 0,
            records: 0,
            joined: 0,
            filtered: 0,
            unparsed: 0,
            partial: 0,
            parts: 0,
            formats: [0; FORMATS.len()],
        }
    }
}

impl Counts {
    pub fn balanced(&self) -> bool {
        self.lines == self.records + self.joined + self.filtered
    }

    pub fn add(&mut self, other: &Self) {
        self.lines += other.lines;
        self.records += other.records;
        self.joined += other.joined;
        self.filtered += other.filtered;
        self.unparsed += other.unparsed;
        self.partial += other.partial;
        self.parts += other.parts;
        for (sum, more) in self.formats.iter_mut().zip(other.formats) {
            *sum += more;
        }
    }
}

/// How a line was read, for people.
#[derive(Clone, Copy, Debug)]
pub struct Verdict {
    pub format: &'static str,
    pub unparsed: Option<Refusal>,
    pub partial: Option<&'static str>,
    /// The filter that left it out, by its place in the configuration.
    pub left_out: Option<usize>,
}
