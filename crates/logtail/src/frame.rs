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
    /// How its newlines are written.
    pub units: Units,
}

/// How a file writes a newline. Every character set but UTF-16 has it as one byte that is part of no other character.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Units {
    /// One byte.
    #[default]
    Bytes,
    /// UTF-16, the low byte first.
    Utf16Le,
    /// UTF-16, the high byte first.
    Utf16Be,
}

impl Units {
    /// What a byte order mark at the beginning of a file says (Unicode, 23.8); nothing means bytes.
    pub fn of_mark(beginning: &[u8]) -> Self {
        match beginning {
            [0xff, 0xfe, ..] => Self::Utf16Le,
            [0xfe, 0xff, ..] => Self::Utf16Be,
            _ => Self::Bytes,
        }
    }

    /// Bytes of a newline.
    pub fn width(self) -> usize {
        if self == Self::Bytes { 1 } else { 2 }
    }

    /// A newline as this file writes it.
    pub fn newline(self) -> &'static [u8] {
        match self {
            Self::Bytes => b"\n",
            Self::Utf16Le => b"\n\0",
            Self::Utf16Be => b"\0\n",
        }
    }

    /// Where the first newline begins. `offset`: where `data` lies in its file, because units lie at even places.
    #[inline]
    pub(crate) fn find(self, data: &[u8], offset: u64) -> Option<usize> {
        match self {
            Self::Bytes => memchr::memchr(b'\n', data),
            _ => memchr::memchr_iter(b'\n', data).find_map(|at| self.begins(data, at, offset)),
        }
    }

    /// Where the last newline begins.
    pub(crate) fn find_last(self, data: &[u8], offset: u64) -> Option<usize> {
        match self {
            Self::Bytes => memchr::memrchr(b'\n', data),
            _ => memchr::memrchr_iter(b'\n', data).find_map(|at| self.begins(data, at, offset)),
        }
    }

    /// Where the newline begins whose telling byte stands at `at`, if it is one.
    fn begins(self, data: &[u8], at: usize, offset: u64) -> Option<usize> {
        let start = if self == Self::Utf16Le { at } else { at.checked_sub(1)? };
        let aligned = (offset + start as u64).is_multiple_of(2);
        (aligned && data.get(start..start + 2) == Some(self.newline())).then_some(start)
    }

    /// `bytes` without the newline at its end.
    fn trim(self, bytes: &[u8]) -> &[u8] {
        bytes.strip_suffix(self.newline()).unwrap_or(bytes)
    }
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
        Lines { rest: self.bytes, offset: self.offset, piece: self.piece, units: self.units }
    }
}

/// See [`Block::lines`].
#[derive(Clone, Debug)]
pub struct Lines<'a> {
    rest: &'a [u8],
    offset: u64,
    piece: Piece,
    units: Units,
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
            Piece::Part { .. } | Piece::Unterminated { .. } => (self.units.trim(self.rest), self.rest.len()),
            Piece::Lines => match self.units.find(self.rest, self.offset) {
                Some(newline) => (&self.rest[..newline], newline + self.units.width()),
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

/// Decides what `data`, which lies at `offset` of its file, begins with. `begun`: parts of its line were passed on before.
pub(crate) fn cut(data: &[u8], offset: u64, max_line: usize, begun: bool, units: Units) -> Cut {
    let found = if begun { units.find(data, offset) } else { units.find_last(data, offset) };
    let width = units.width();
    match found {
        Some(newline) if !begun => Cut::Lines(newline + width),
        Some(newline) if newline <= max_line => Cut::End(newline + width),
        _ if data.len() > max_line => Cut::Part(at_char(data, offset, max_line, units)),
        _ => Cut::Open,
    }
}

/// The largest cut up to `limit` that splits no character, or `limit` where there is none anyway.
fn at_char(data: &[u8], offset: u64, limit: usize, units: Units) -> usize {
    let mut places = (limit.saturating_sub(3).max(1)..=limit).rev();
    let high = match units {
        Units::Bytes => return places.find(|&at| data[at] & 0xC0 != 0x80).unwrap_or(limit),
        Units::Utf16Le => 1,
        Units::Utf16Be => 0,
    };
    let is_second = |at: usize| data.get(at + high).is_some_and(|byte| byte & 0xFC == 0xDC);
    places.find(|&at| (offset + at as u64).is_multiple_of(2) && !is_second(at)).unwrap_or(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_lines_come_as_one_block() {
        assert_eq!(cut(b"a\nbb\nc", 0, 100, false, Units::Bytes), Cut::Lines(5));
        assert_eq!(cut(b"abc", 0, 100, false, Units::Bytes), Cut::Open);
        assert_eq!(cut(b"", 0, 100, false, Units::Bytes), Cut::Open);
    }

    #[test]
    fn a_long_line_is_cut_at_the_limit_and_between_characters() {
        assert_eq!(cut(&[b'x'; 101], 0, 100, false, Units::Bytes), Cut::Part(100));
        assert_eq!(
            cut(&[b'x'; 100], 0, 100, false, Units::Bytes),
            Cut::Open,
            "its newline may be the next byte"
        );
        let mut text = "x".repeat(98);
        text.push_str("éé");
        assert_eq!(cut(text.as_bytes(), 0, 99, false, Units::Bytes), Cut::Part(98));
        assert_eq!(
            cut(&[0x80; 101], 0, 100, false, Units::Bytes),
            Cut::Part(100),
            "not UTF-8: the limit counts"
        );
    }

    #[test]
    fn a_begun_line_ends_alone() {
        assert_eq!(cut(b"rest\nnext\n", 0, 100, true, Units::Bytes), Cut::End(5));
        assert_eq!(cut(b"rest", 0, 100, true, Units::Bytes), Cut::Open);
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
            units: Units::Bytes,
        };
        let lines: Vec<_> = block.lines().map(|line| (line.bytes, line.offset, line.end)).collect();
        assert_eq!(lines, [(&b"a"[..], 10, 12), (b"", 12, 13), (b"bb\r", 13, 17)]);
    }

    #[test]
    fn utf_16_has_its_newlines_at_even_places() {
        // U+0A0A and U+0A00 hold the byte of a newline, and so does what stands across two characters.
        let text = "a\n\u{0a0a}\u{0a00}b\nc";
        for (units, bytes) in [
            (Units::Utf16Le, text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>()),
            (Units::Utf16Be, text.encode_utf16().flat_map(u16::to_be_bytes).collect()),
        ] {
            assert_eq!(cut(&bytes, 0, 100, false, units), Cut::Lines(12));
            assert_eq!(cut(&bytes[2..], 2, 100, true, units), Cut::End(2));
            assert_eq!(cut(&bytes[12..], 12, 100, true, units), Cut::Open);
            let block = Block {
                file: FileKey::default(),
                id: FileId::default(),
                path: Path::new("x"),
                offset: 0,
                bytes: &bytes[..12],
                piece: Piece::Lines,
                units,
            };
            let lines: Vec<_> = block.lines().map(|line| (line.offset, line.bytes.len(), line.end)).collect();
            assert_eq!(lines, [(0, 2, 4), (4, 6, 12)], "{units:?}");
        }
        let pair: Vec<u8> = "xx😀".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(cut(&pair, 0, 7, false, Units::Utf16Le), Cut::Part(4), "a pair stays together");
        assert_eq!(cut(&pair, 0, 6, false, Units::Utf16Le), Cut::Part(4));
    }

    #[test]
    fn a_mark_tells_the_units() {
        assert_eq!(Units::of_mark(b"\xff\xfea\0"), Units::Utf16Le);
        assert_eq!(Units::of_mark(b"\xfe\xff"), Units::Utf16Be);
        assert_eq!(Units::of_mark(b"\xef\xbb\xbf"), Units::Bytes, "UTF-8 with a mark");
        assert_eq!(Units::of_mark(b""), Units::Bytes);
    }
}
