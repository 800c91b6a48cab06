//! Bytes into lines. No I/O: a [`Block`] borrows the reader's buffer.

use std::ops::Range;
use std::path::Path;

use crate::follow::{FileId, FileKey};

/// A run of bytes of one file, passed to the consumer once; [`crate::Tail::acknowledge`] its [`range`](Self::range) when
/// it is safe.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// Names the file until its last byte is acknowledged.
    pub file: FileKey,
    /// The same over restarts and renames.
    pub id: FileId,
    /// Where the file is now.
    pub path: &'a Path,
    /// Byte offset of `bytes` in the file.
    pub offset: u64,
    /// For [`Piece::Lines`], whole lines with their newlines.
    pub bytes: &'a [u8],
    pub piece: Piece,
}

/// What a block's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Whole lines.
    Lines,
    /// One part of a line that was too long, or of one passed on unfinished; numbered from 1.
    Part { number: u32, last: bool },
    /// The last line of a file that has no newline (yet). Should the writer go on with it, the rest comes as a part
    /// with the next number.
    Unterminated { number: u32 },
}

/// One line, or one part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Without the newline. A carriage return before it is part of the bytes.
    pub bytes: &'a [u8],
    /// Byte offset of its first byte.
    pub offset: u64,
    /// Byte offset behind it and its newline.
    pub end: u64,
    pub piece: Piece,
}

impl<'a> Block<'a> {
    /// What to acknowledge.
    pub fn range(&self) -> Range<u64> {
        self.offset..self.offset + self.bytes.len() as u64
    }

    /// Line by line.
    pub fn lines(&self) -> Lines<'a> {
        Lines { rest: self.bytes, offset: self.offset, piece: self.piece }
    }
}

/// See [`Block::lines`].
#[derive(Clone, Debug)]
pub struct Lines<'a> {
    rest: &'a [u8],
    offset: u64,
    piece: Piece,
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    #[inline]
    fn next(&mut self) -> Option<Line<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let (bytes, used) = match self.piece {
            // A part may hold anything but a newline before its last byte.
            Piece::Part { .. } | Piece::Unterminated { .. } => {
                (self.rest.strip_suffix(b"\n").unwrap_or(self.rest), self.rest.len())
            }
            Piece::Lines => match memchr::memchr(b'\n', self.rest) {
                Some(newline) => (&self.rest[..newline], newline + 1),
                None => (self.rest, self.rest.len()),
            },
        };
        let line = Line { bytes, offset: self.offset, end: self.offset + used as u64, piece: self.piece };
        self.rest = &self.rest[used..];
        self.offset = line.end;
        Some(line)
    }
}

/// What the bytes at a position hold, as far as they are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Whole lines: this many bytes, the last one a newline.
    Lines(usize),
    /// A part of a longer line: this many bytes.
    Part(usize),
    /// The end of a line begun earlier: this many bytes with the newline.
    End(usize),
    /// No newline yet.
    Open,
}

/// Decides what `data` begins with. `begun`: parts of its line were passed on before.
pub(crate) fn cut(data: &[u8], max_line: usize, begun: bool) -> Cut {
    if begun {
        return match memchr::memchr(b'\n', data) {
            Some(newline) if newline <= max_line => Cut::End(newline + 1),
            _ if data.len() > max_line => Cut::Part(at_char(data, max_line)),
            _ => Cut::Open,
        };
    }
    match memchr::memrchr(b'\n', data) {
        Some(newline) => Cut::Lines(newline + 1),
        None if data.len() > max_line => Cut::Part(at_char(data, max_line)),
        None => Cut::Open,
    }
}

/// The largest cut up to `limit` that splits no UTF-8 sequence, or `limit` where it is not UTF-8 anyway.
fn at_char(data: &[u8], limit: usize) -> usize {
    (limit.saturating_sub(3).max(1)..=limit).rev().find(|&at| data[at] & 0xC0 != 0x80).unwrap_or(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_lines_come_as_one_block() {
        assert_eq!(cut(b"a\nbb\nc", 100, false), Cut::Lines(5));
        assert_eq!(cut(b"abc", 100, false), Cut::Open);
        assert_eq!(cut(b"", 100, false), Cut::Open);
    }

    #[test]
    fn a_long_line_is_cut_at_the_limit_and_between_characters() {
        assert_eq!(cut(&[b'x'; 101], 100, false), Cut::Part(100));
        assert_eq!(cut(&[b'x'; 100], 100, false), Cut::Open, "its newline may be the next byte");
        let mut text = "x".repeat(98);
        text.push_str("éé");
        assert_eq!(cut(text.as_bytes(), 99, false), Cut::Part(98));
        assert_eq!(cut(&[0x80; 101], 100, false), Cut::Part(100), "not UTF-8: the limit counts");
    }

    #[test]
    fn a_begun_line_ends_alone() {
        assert_eq!(cut(b"rest\nnext\n", 100, true), Cut::End(5));
        assert_eq!(cut(b"rest", 100, true), Cut::Open);
    }

    #[test]
    fn lines_carry_their_offsets() {
        let block = Block {
            file: FileKey::default(),
            id: FileId::default(),
            path: Path::new("x"),
            offset: 10,
            bytes: b"a\n\nbb\r\n",
            piece: Piece::Lines,
        };
        let lines: Vec<_> = block.lines().map(|line| (line.bytes, line.offset, line.end)).collect();
        assert_eq!(lines, [(&b"a"[..], 10, 12), (b"", 12, 13), (b"bb\r", 13, 17)]);
    }
}
