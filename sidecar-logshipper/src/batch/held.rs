//! What was read and has no room once it is rendered: a line of one byte becomes some hundred.

use std::path::PathBuf;

use logtail::{Block, FileId, FileKey, Piece, Units};

/// Bytes that are rendered between two looks at how many they have become.
const PORTION: usize = 8 << 10;

/// A block with bytes of its own.
#[derive(Debug)]
pub(super) struct Held {
    file: FileKey,
    id: FileId,
    path: PathBuf,
    offset: u64,
    bytes: Vec<u8>,
    piece: Piece,
    units: Units,
    /// So many of `bytes` are rendered.
    done: usize,
}

impl Held {
    pub(super) fn new(block: &Block<'_>) -> Self {
        let Block { file, id, path, offset, bytes, piece, units } = *block;
        Self { file, id, path: path.to_owned(), offset, bytes: bytes.to_owned(), piece, units, done: 0 }
    }

    /// What is left of it.
    pub(super) fn block(&self) -> Block<'_> {
        let &Self { file, id, offset, piece, units, done, .. } = self;
        let (path, bytes) = (self.path.as_path(), &self.bytes[done..]);
        Block { file, id, path, offset: offset + done as u64, bytes, piece, units }
    }

    pub(super) fn leave(&mut self, left: usize) {
        self.done = self.bytes.len() - left;
    }
}

/// The first lines of a block, and the others.
pub(super) fn portion<'a>(block: &Block<'a>) -> (Block<'a>, Option<Block<'a>>) {
    let end = match block.units {
        _ if block.piece != Piece::Lines || block.bytes.len() <= PORTION => None,
        Units::Bytes => memchr::memchr(b'\n', &block.bytes[PORTION..]).map(|at| PORTION + at + 1),
        Units::Utf16Le | Units::Utf16Be => {
            let behind = block.offset + PORTION as u64;
            let line = block.lines().find(|line| line.end >= behind);
            line.and_then(|line| usize::try_from(line.end - block.offset).ok())
        }
    };
    let Some(end) = end.filter(|end| *end < block.bytes.len()) else { return (*block, None) };
    let (first, rest) = block.bytes.split_at(end);
    let offset = block.offset + end as u64;
    (Block { bytes: first, ..*block }, Some(Block { bytes: rest, offset, ..*block }))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn portions(bytes: &[u8], piece: Piece, units: Units) -> Vec<(u64, Vec<u8>)> {
        let (file, id, path) = (FileKey::default(), FileId(1), Path::new("/a"));
        let mut rest = Some(Block { file, id, path, offset: 4, bytes, piece, units });
        let mut all = Vec::new();
        while let Some(block) = rest {
            let (first, others) = portion(&block);
            all.push((first.offset, first.bytes.to_vec()));
            rest = others;
        }
        all
    }

    #[test]
    fn portions_are_whole_lines_and_together_the_block() {
        let mut text = "x\n".repeat(30_000).into_bytes();
        text.extend([vec![b'y'; 40_000], vec![b'\n']].concat());
        let wide: Vec<u8> = text.iter().flat_map(|byte| [*byte, 0]).collect();
        for (bytes, units, newline) in [(text, Units::Bytes, 1), (wide, Units::Utf16Le, 2)] {
            let all = portions(&bytes, Piece::Lines, units);
            assert!(all.len() > 2, "{}", all.len());
            let mut offset = 4;
            for (at, part) in &all {
                assert_eq!(*at, offset);
                assert_eq!(&part[part.len() - newline..], units.newline());
                offset += part.len() as u64;
            }
            assert_eq!(all.into_iter().flat_map(|(_, part)| part).collect::<Vec<_>>(), bytes);
        }
    }

    #[test]
    fn what_is_one_line_stays_one() {
        let long = vec![b'x'; 3 * PORTION];
        for piece in [Piece::Part { number: 1, last: false }, Piece::Unterminated { number: 1 }] {
            assert_eq!(portions(&long, piece, Units::Bytes).len(), 1);
        }
        assert_eq!(portions(&[&long[..], b"\n"].concat(), Piece::Lines, Units::Bytes).len(), 1);
    }
}
