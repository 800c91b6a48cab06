//! Where a file is begun that is not read from its beginning.

use std::io;

use super::Tail;
use super::body::Body;
use crate::Units;
use crate::discover::Found;

/// A last line that is longer is begun in its middle.
const LONGEST: u64 = 16 << 10;

impl Tail {
    /// The end, or the beginning of the line there that is not complete yet: nobody understands the second half of a line.
    pub(super) fn end_of_lines(&mut self, found: &Found) -> u64 {
        let size = found.stat.size;
        let units = self.options.units;
        self.open_body(&found.path).and_then(|file| last_line(&file, size, units)).unwrap_or(size)
    }
}

fn last_line(file: &Body, size: u64, units: Option<Units>) -> io::Result<u64> {
    let units = match units {
        Some(units) => units,
        None => Units::of_mark(file.read_at(&mut [0; 2], 0)?),
    };
    let at = size - size.min(LONGEST);
    let mut buffer = vec![0; usize::try_from(size - at).unwrap_or(0)];
    let bytes = file.read_at(&mut buffer, at)?;
    Ok(match units.find_last(bytes, at) {
        Some(newline) => at + (newline + units.width()) as u64,
        None if at == 0 => 0,
        None => size,
    })
}
