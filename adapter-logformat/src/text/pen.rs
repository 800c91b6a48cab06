//! Writing behind what a vector holds, in blocks of a fixed size.
//!
//! Log fields are short: a call of `memcpy` costs more than the few bytes it moves, and so does telling a vector its new length after each of them.
//! A block is moved by an instruction or two, whatever of it counts; the vector learns its length once, when the pen is put down.

use super::{
    Str,
    block::{BLOCK, short, specials, tail},
};

/// Longer texts are worth a `memcpy`.
const LONG: usize = 8 * BLOCK;

/// See the module. Everything in front of `at` is written; `at` is never beyond `room`.
pub(crate) struct Pen<'o> {
    out: &'o mut Vec<u8>,
    start: *mut u8,
    room: usize,
    at: usize,
}

#[expect(
    unsafe_code,
    reason = "room that is asked for once and a length that is said once: a third of the instructions per line; the one place where it is done"
)]
impl<'o> Pen<'o> {
    #[inline]
    pub(crate) fn new(out: &'o mut Vec<u8>) -> Self {
        let (start, room, at) = (out.as_mut_ptr(), out.capacity(), out.len());
        Self { out, start, room, at }
    }

    /// Writes the block; its first `length` bytes count.
    #[inline(always)]
    pub(crate) fn block<const N: usize>(&mut self, block: &[u8; N], length: usize) {
        if self.room - self.at < N {
            self.grow(N);
        }
        // SAFETY: behind `at` is room for N bytes, and no other reference to it: the vector is ours as long as the pen is.
        unsafe { self.start.add(self.at).cast::<[u8; N]>().write(*block) };
        self.at += length.min(N);
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, more: usize) {
        self.say_length();
        self.out.reserve(more.max(1 << 10));
        (self.start, self.room) = (self.out.as_mut_ptr(), self.out.capacity());
    }

    #[inline]
    fn say_length(&mut self) {
        // SAFETY: `at` is within the room, and everything in front of it is written.
        unsafe { self.out.set_len(self.at) };
    }
}

impl Drop for Pen<'_> {
    #[inline]
    fn drop(&mut self) {
        self.say_length();
    }
}

impl Pen<'_> {
    #[inline]
    pub(crate) fn byte(&mut self, byte: u8) {
        self.block(&[byte], 1);
    }

    /// The bytes as they are.
    #[inline]
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        let length = bytes.len();
        match (bytes.first_chunk::<BLOCK>(), bytes.last_chunk::<BLOCK>()) {
            (Some(first), Some(last)) if length <= 2 * BLOCK => {
                self.block(first, length - BLOCK);
                self.block(last, BLOCK);
            }
            (Some(_), Some(last)) if length <= LONG => {
                let (blocks, rest) = bytes.as_chunks::<BLOCK>();
                blocks.iter().for_each(|block| self.block(block, BLOCK));
                if !rest.is_empty() {
                    self.at -= BLOCK - rest.len();
                    self.block(last, BLOCK);
                }
            }
            (Some(_), Some(_)) => self.long(bytes),
            _ => self.block(&short(bytes).to_le_bytes(), length),
        }
    }

    #[inline(never)]
    fn long(&mut self, bytes: &[u8]) {
        self.say_length();
        self.out.extend_from_slice(bytes);
        (self.start, self.room, self.at) = (self.out.as_mut_ptr(), self.out.capacity(), self.out.len());
    }

    /// The bytes where none of them needs an escape in JSON; nothing, and false, otherwise.
    #[inline]
    pub(crate) fn plain(&mut self, bytes: &[u8]) -> bool {
        let at = self.at;
        let (blocks, rest) = bytes.as_chunks::<BLOCK>();
        for block in blocks {
            if specials(u128::from_le_bytes(*block)) != 0 {
                self.at = at;
                return false;
            }
            self.block(block, BLOCK);
        }
        if !rest.is_empty() {
            let word = tail(bytes, rest.len());
            if specials(word) & ((1 << rest.len()) - 1) != 0 {
                self.at = at;
                return false;
            }
            self.block(&word.to_le_bytes(), rest.len());
        }
        true
    }

    /// Valid UTF-8 as the body of a JSON string.
    pub(crate) fn escaped(&mut self, bytes: &[u8]) {
        let (blocks, rest) = bytes.as_chunks::<BLOCK>();
        for block in blocks {
            let word = u128::from_le_bytes(*block);
            match specials(word) {
                0 => self.block(block, BLOCK),
                hits => self.escape(word, BLOCK, hits),
            }
        }
        if !rest.is_empty() {
            let word = tail(bytes, rest.len());
            match specials(word) & ((1 << rest.len()) - 1) {
                0 => self.block(&word.to_le_bytes(), rest.len()),
                hits => self.escape(word, rest.len(), hits),
            }
        }
    }

    /// The first `length` bytes of a block, of which those of `hits` (a bit each, at least one) need an escape.
    #[inline]
    fn escape(&mut self, mut word: u128, mut length: usize, mut hits: u32) {
        while hits != 0 {
            let plain = hits.trailing_zeros() as usize;
            self.block(&word.to_le_bytes(), plain);
            word >>= 8 * plain;
            hits >>= plain;
            length -= plain;
            let byte = (word & 0xff) as u8;
            hits &= !1;
            if byte >= 0x20 {
                // A quote or a backslash: the byte itself comes with the next block.
                self.byte(b'\\');
            } else {
                self.control(byte);
                word >>= 8;
                hits >>= 1;
                length -= 1;
            }
        }
        self.block(&word.to_le_bytes(), length);
    }

    #[inline(never)]
    fn control(&mut self, byte: u8) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        match byte {
            b'\n' => self.block(b"\\n", 2),
            b'\r' => self.block(b"\\r", 2),
            b'\t' => self.block(b"\\t", 2),
            _ => {
                self.block(b"\\u00", 4);
                self.byte(HEX[usize::from(byte >> 4)]);
                self.byte(HEX[usize::from(byte & 15)]);
            }
        }
    }

    /// A text of a line that is valid UTF-8 as the body of a JSON string, where nothing in it has to be resolved; nothing, and false, otherwise.
    #[inline]
    pub(crate) fn text(&mut self, text: &Str<'_>) -> bool {
        match text {
            Str::Json(body) => self.bytes(body),
            Str::Raw(bytes) => self.escaped(bytes),
            Str::Escaped(bytes) => return self.plain(bytes),
            Str::Doubled(_) => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_comes_out_whole() {
        let text: Vec<u8> = (0..200u8).map(|n| b'a' + n % 26).collect();
        for length in 0..text.len() {
            let text = &text[..length];
            for write in [
                (|pen: &mut Pen<'_>, text: &[u8]| pen.bytes(text)) as fn(&mut Pen<'_>, &[u8]),
                |pen, text| assert!(pen.plain(text)),
                |pen, text| pen.escaped(text),
            ] {
                let mut out = b"x".to_vec();
                let mut pen = Pen::new(&mut out);
                write(&mut pen, text);
                pen.byte(b'y');
                drop(pen);
                assert_eq!(out, [b"x", text, b"y"].concat());
            }
        }
    }

    #[test]
    fn every_byte_is_escaped_at_every_place() {
        for byte in (0..0x20).chain(*b"\"\\") {
            for length in 1..40 {
                for at in 0..length {
                    let mut text = vec![b'a'; length];
                    text[at] = byte;
                    text[length - 1 - at / 2] = byte;
                    let mut out = vec![b'"'];
                    let mut pen = Pen::new(&mut out);
                    assert!(!pen.plain(&text));
                    pen.escaped(&text);
                    pen.byte(b'"');
                    drop(pen);
                    let back: String = serde_json::from_slice(&out).expect("valid JSON");
                    assert_eq!(back.as_bytes(), text);
                }
            }
        }
    }
}
