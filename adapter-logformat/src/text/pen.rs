//! Writing behind what a vector holds, in blocks of a fixed size.
//!
//! Log fields are short: a call of `memcpy` costs more than the few bytes it moves, and so does asking for room and telling a vector its new length
//! for each of them. A block is moved by an instruction or two, whatever of it counts; room is asked for once per text, for the worst that its escapes
//! can make of it; the vector learns its length once, when the pen is put down.

use jsontext::{Around, BLOCK, Block, PIECE, escape_at, low, room};

use super::{
    Str,
    place::{copy, copy_plain, put},
};

/// Longer texts are worth a `memcpy`.
const LONG: usize = 8 * BLOCK;

/// See the module. Everything in front of `at` is written; `at` is never beyond `end`.
pub(crate) struct Pen<'o, 'a> {
    out: &'o mut Vec<u8>,
    at: *mut u8,
    /// Of the vector's room.
    end: *mut u8,
    around: Around<'a>,
}

#[expect(
    unsafe_code,
    reason = "room that is asked for once per text and a length that is said once per record: a third of the instructions; the one place where it is done"
)]
impl<'o, 'a> Pen<'o, 'a> {
    /// Texts that lie in `around` are read in whole blocks; others are written as well, only slower.
    #[inline(always)]
    pub(crate) fn new(out: &'o mut Vec<u8>, around: Around<'a>) -> Self {
        let (at, end) = ends(out);
        Self { out, at, end, around }
    }

    /// Room for so many bytes more.
    #[inline(always)]
    fn room(&mut self, more: usize) {
        if (self.end as usize) - (self.at as usize) < more {
            (self.at, self.end) = grow(self.out, self.at, more);
        }
    }

    /// Writes the block; its first `length` bytes count.
    #[inline(always)]
    pub(crate) fn block<const N: usize>(&mut self, block: &[u8; N], length: usize) {
        self.room(N);
        // SAFETY: there is room.
        self.at = unsafe { put(self.at, block).add(length.min(N)) };
    }

    /// Sixteen bytes in the order of memory, of which so many count.
    #[inline(always)]
    pub(crate) fn words(&mut self, (first, second): (u64, u64), length: usize) {
        self.room(BLOCK);
        // SAFETY: there is room.
        self.at = unsafe {
            put(put(self.at, &first.to_le_bytes()).add(8), &second.to_le_bytes());
            self.at.add(length.min(BLOCK))
        };
    }

    /// The bytes as they are.
    #[inline(always)]
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        let length = bytes.len();
        if length > LONG {
            (self.at, self.end) = long(self.out, self.at, bytes);
            return;
        }
        self.room(length + BLOCK);
        // SAFETY: there is room for the bytes and the rest of a block.
        self.at = unsafe {
            match self.around.read::<BLOCK>(bytes, 0) {
                Some(block) if length <= BLOCK => put(self.at, block).add(length),
                _ => copy(self.at, bytes),
            }
        };
    }

    /// Valid UTF-8 as the body of a JSON string.
    #[inline(always)]
    pub(crate) fn escaped(&mut self, text: &[u8]) {
        let length = text.len();
        if length > PIECE {
            (self.at, self.end) = in_pieces(self.out, self.at, text);
            return;
        }
        self.room(room(length));
        // SAFETY: there is room, whatever has to be escaped.
        unsafe {
            if let Some(block) = self.around.read(text, 0)
                && length <= BLOCK
                && Block::of(block).specials() & low(length) == 0
            {
                self.at = put(self.at, block).add(length);
            } else {
                self.at = escape_at(text, self.around, self.at);
            }
        }
    }

    /// The bytes where none of them needs an escape in JSON; nothing, and false, otherwise.
    #[inline(always)]
    pub(crate) fn plain(&mut self, text: &[u8]) -> bool {
        let length = text.len();
        self.room(length + BLOCK);
        // SAFETY: there is room for the bytes and the rest of a block.
        let at = unsafe {
            match self.around.read(text, 0) {
                Some(block) if length <= BLOCK => {
                    let plain = Block::of(block).specials() & low(length) == 0;
                    plain.then(|| put(self.at, block).add(length))
                }
                _ => copy_plain(self.at, text, self.around),
            }
        };
        self.at = at.unwrap_or(self.at);
        at.is_some()
    }

    /// The first `length` bytes of `head`, a text of a line that is valid UTF-8 as the body of a JSON string, and with `CLOSE` its last quote. Nothing,
    /// and false, where something in the text has to be resolved first.
    #[inline(always)]
    pub(crate) fn text<const N: usize, const CLOSE: bool>(
        &mut self,
        head: &[u8; N],
        length: usize,
        text: &Str<'_>,
    ) -> bool {
        let bytes = text.bytes();
        let size = bytes.len();
        if size > PIECE {
            let done;
            (self.at, self.end, done) = long_text(self.out, self.at, &head[..length.min(N)], text, CLOSE);
            return done;
        }
        self.room(N + room(size) + 1);
        // SAFETY: there is room for the head, the text whatever has to be escaped, and the quote.
        let at = unsafe {
            let at = put(self.at, head).add(length.min(N));
            let end = match self.around.read(bytes, 0) {
                // Without a byte to be escaped it is what it is, however it was written.
                Some(block)
                    if size <= BLOCK
                        && (Block::of(block).specials() & low(size) == 0 || matches!(text, Str::Json(_))) =>
                {
                    Some(put(at, block).add(size))
                }
                _ => match text {
                    Str::Json(body) => Some(copy(at, body)),
                    Str::Raw(bytes) => Some(escape_at(bytes, self.around, at)),
                    Str::Escaped(bytes) | Str::Doubled(bytes) => copy_plain(at, bytes, self.around),
                },
            };
            match end {
                Some(end) if CLOSE => put(end, b"\"").add(1),
                Some(end) => end,
                None => return false,
            }
        };
        self.at = at;
        true
    }

    #[inline(always)]
    pub(crate) fn byte(&mut self, byte: u8) {
        self.block(&[byte], 1);
    }

    /// The number in decimal.
    #[inline(always)]
    pub(crate) fn int(&mut self, number: i64) {
        if let Ok(small @ 0..1000) = u32::try_from(number) {
            let [hundreds, tens, ones] = [small / 100, small / 10 % 10, small % 10];
            let digits = 0x30_30_30 | hundreds | (tens << 8) | (ones << 16);
            let zeros = usize::from(small < 100) + usize::from(small < 10);
            return self.block(&(digits >> (8 * zeros)).to_le_bytes(), 3 - zeros);
        }
        let (block, length) = decimal(number);
        self.block(&block, length);
    }
}

impl Drop for Pen<'_, '_> {
    #[inline(always)]
    fn drop(&mut self) {
        say_length(self.out, self.at);
    }
}

/// A number's text, in front.
#[inline]
fn decimal(number: i64) -> ([u8; 2 * BLOCK], usize) {
    // Digits from the end of the first 20 bytes on; what is behind them only fills the block.
    let mut text = [0u8; 20 + 2 * BLOCK];
    let (mut rest, mut at) = (number.unsigned_abs(), 20);
    loop {
        at -= 1;
        text[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        at -= 1;
        text[at] = b'-';
    }
    (*text[at..].first_chunk().unwrap_or(&[0; 2 * BLOCK]), 20 - at)
}

#[expect(unsafe_code, reason = "see Pen")]
#[inline(always)]
fn say_length(out: &mut Vec<u8>, at: *mut u8) {
    // SAFETY: a pen's `at` is within the vector's memory, and everything in front of it is written.
    unsafe { out.set_len(at as usize - out.as_ptr() as usize) };
}

/// Makes room for so many bytes behind `at`; gives the place of both anew.
#[cold]
#[inline(never)]
fn grow(out: &mut Vec<u8>, at: *mut u8, more: usize) -> (*mut u8, *mut u8) {
    say_length(out, at);
    out.reserve(more.max(1 << 10));
    ends(out)
}

#[inline(never)]
fn long(out: &mut Vec<u8>, at: *mut u8, bytes: &[u8]) -> (*mut u8, *mut u8) {
    say_length(out, at);
    out.extend_from_slice(bytes);
    ends(out)
}

#[inline(never)]
fn in_pieces(out: &mut Vec<u8>, at: *mut u8, text: &[u8]) -> (*mut u8, *mut u8) {
    say_length(out, at);
    jsontext::escape(text, out);
    ends(out)
}

/// [`Pen::text`] for a long one: the ends, and whether it is written.
#[inline(never)]
fn long_text(
    out: &mut Vec<u8>,
    at: *mut u8,
    head: &[u8],
    text: &Str<'_>,
    close: bool,
) -> (*mut u8, *mut u8, bool) {
    say_length(out, at);
    let before = out.len();
    let mut pen = Pen::new(out, Around(text.bytes()));
    pen.bytes(head);
    let mut done = true;
    match text {
        Str::Json(body) => pen.bytes(body),
        Str::Raw(bytes) => pen.escaped(bytes),
        Str::Escaped(bytes) | Str::Doubled(bytes) => done = pen.plain(bytes),
    }
    if close {
        pen.byte(b'"');
    }
    drop(pen);
    if !done {
        out.truncate(before);
    }
    let (at, end) = ends(out);
    (at, end, done)
}

#[expect(unsafe_code, reason = "see Pen")]
#[inline(always)]
fn ends(out: &mut Vec<u8>) -> (*mut u8, *mut u8) {
    let start = out.as_mut_ptr();
    // SAFETY: both are within the vector's memory, or right behind it.
    unsafe { (start.add(out.len()), start.add(out.capacity())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts that begin and end anywhere among others.
    fn places(text: &[u8], check: impl Fn(&[u8], Around<'_>)) {
        for behind in [0, 1, 15, 16, 40] {
            let all = [b"\"before\n", text, &vec![b'"'; behind]].concat();
            let inside = &all[8..8 + text.len()];
            check(inside, Around(&all));
            check(inside, Around(inside));
            check(inside, Around(&[]));
        }
    }

    #[test]
    fn every_length_comes_out_whole() {
        let text: Vec<u8> = (0..200u8).map(|n| b'a' + n % 26).collect();
        for length in (0..text.len()).chain([PIECE - 1, PIECE, PIECE + 1, 3 * PIECE]) {
            let text: Vec<u8> = text.iter().copied().cycle().take(length).collect();
            places(&text, |text, around| {
                for write in [
                    (|pen: &mut Pen<'_, '_>, text: &[u8]| pen.bytes(text)) as fn(&mut Pen<'_, '_>, &[u8]),
                    |pen, text| assert!(pen.plain(text)),
                    |pen, text| pen.escaped(text),
                ] {
                    let mut out = b"x".to_vec();
                    let mut pen = Pen::new(&mut out, around);
                    write(&mut pen, text);
                    pen.byte(b'y');
                    drop(pen);
                    assert_eq!(out, [b"x", text, b"y"].concat());
                }
            });
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
                    places(&text, |text, around| {
                        let mut out = vec![b'"'];
                        let mut pen = Pen::new(&mut out, around);
                        assert!(!pen.plain(text));
                        pen.escaped(text);
                        pen.byte(b'"');
                        drop(pen);
                        let back: String = serde_json::from_slice(&out).expect("valid JSON");
                        assert_eq!(back.as_bytes(), text);
                    });
                }
            }
        }
    }

    #[test]
    fn texts_are_written_between_what_belongs_around_them_or_not_at_all() {
        for length in (0..50).chain([PIECE, PIECE + 1]) {
            for special in [None, Some(0), length.checked_sub(1)] {
                let mut text = vec![b'a'; length];
                if let Some(byte) = special.and_then(|at| text.get_mut(at)) {
                    *byte = b'"';
                }
                let plain = !text.contains(&b'"');
                places(&text, |text, around| {
                    for (kind, resolves) in [
                        (Str::Raw(text), false),
                        (Str::Json(text), false),
                        (Str::Escaped(text), !plain),
                        (Str::Doubled(text), !plain),
                    ] {
                        let mut out = b"x".to_vec();
                        let mut pen = Pen::new(&mut out, around);
                        assert_eq!(pen.text::<4, true>(b"head", 3, &kind), !resolves);
                        assert_eq!(pen.text::<4, false>(b"head", 4, &kind), !resolves);
                        drop(pen);
                        let mut body = Vec::new();
                        match kind {
                            Str::Raw(text) => Pen::new(&mut body, Around(&[])).escaped(text),
                            other => body.extend_from_slice(other.bytes()),
                        }
                        let whole = [b"xhea", &body[..], b"\"head", &body].concat();
                        assert_eq!(out, if resolves { b"x".to_vec() } else { whole });
                    }
                });
            }
        }
    }

    #[test]
    fn a_text_of_control_bytes_has_room() {
        for length in [1, 16, 100, PIECE, 2 * PIECE + 7] {
            let text = vec![1; length];
            let mut out = Vec::new();
            Pen::new(&mut out, Around(&text)).escaped(&text);
            assert_eq!(out, b"\\u0001".repeat(length));
        }
    }

    #[test]
    fn numbers_are_as_the_library_writes_them() {
        for number in (-1100..1100).chain([51_966, 1 << 32, i64::MAX, i64::MIN]) {
            let mut out = Vec::new();
            Pen::new(&mut out, Around(&[])).int(number);
            assert_eq!(out, number.to_string().as_bytes());
        }
    }
}
