//! Bytes sixteen at a time, and where among them a byte of interest is.

use lanes::Lanes;

/// Bytes per block.
pub const BLOCK: usize = 16;

/// Sixteen bytes that are looked at together.
#[derive(Clone, Copy)]
pub struct Block(Lanes);

impl Block {
    #[inline(always)]
    pub fn of(bytes: &[u8; BLOCK]) -> Self {
        Self(lanes::load(bytes))
    }

    /// A bit for each byte that a JSON string may not hold as it is: below 0x20, `"`, `\`.
    #[inline(always)]
    pub fn specials(self) -> u32 {
        lanes::specials(self.0)
    }

    /// A bit for each byte below 0x20.
    #[inline(always)]
    pub fn controls(self) -> u32 {
        lanes::controls(self.0)
    }

    /// A bit for each byte that is one of these.
    #[inline(always)]
    pub fn any<const N: usize>(self, wanted: [u8; N]) -> u32 {
        lanes::any(self.0, wanted)
    }

    /// A bit for each byte that is the same in both.
    #[inline(always)]
    pub fn same(self, other: Self) -> u32 {
        lanes::same(self.0, other.0)
    }

    /// A bit for each byte that is an ASCII digit.
    #[inline(always)]
    pub fn digits(self) -> u32 {
        lanes::digits(self.0)
    }
}

/// A bit for each of the first `length` bytes of a block, which has no more than sixteen.
#[inline(always)]
pub fn low(length: usize) -> u32 {
    debug_assert!(length <= BLOCK);
    (1 << length) - 1
}

/// The bytes among which a text lies: with what stands behind it, it can be read in whole blocks.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a>(pub &'a [u8]);

impl<'a> Around<'a> {
    /// N bytes from a place of `text` on. Those behind its end are whatever stands there.
    #[inline(always)]
    pub fn read<const N: usize>(self, text: &[u8], from: usize) -> Option<&'a [u8; N]> {
        let at = (text.as_ptr() as usize + from).wrapping_sub(self.0.as_ptr() as usize);
        self.0.get(at..)?.first_chunk()
    }
}

/// Index of the first byte that a JSON string may not hold as it is.
#[inline(always)]
pub fn first_special(bytes: &[u8]) -> Option<usize> {
    first(bytes, Block::specials)
}

/// Index of the first byte that is one of these.
#[inline(always)]
pub fn first_of<const N: usize>(bytes: &[u8], wanted: [u8; N]) -> Option<usize> {
    first(bytes, move |block| block.any(wanted))
}

/// Mostly it is in the first block.
#[inline(always)]
fn first(bytes: &[u8], hits: impl Fn(Block) -> u32) -> Option<usize> {
    if let Some(block) = bytes.first_chunk() {
        let found = hits(Block::of(block));
        if found != 0 {
            return Some(found.trailing_zeros() as usize);
        }
    }
    later(bytes, hits)
}

#[inline(never)]
fn later(bytes: &[u8], hits: impl Fn(Block) -> u32) -> Option<usize> {
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    for (i, block) in blocks.iter().enumerate().skip(1) {
        let hits = hits(Block::of(block));
        if hits != 0 {
            return Some(i * BLOCK + hits.trailing_zeros() as usize);
        }
    }
    if rest.is_empty() {
        return None;
    }
    // The last block again, up to its end: what it has in common with the one before is known to be nothing.
    let (hits, from) = match bytes.last_chunk() {
        Some(last) => (hits(Block::of(last)), bytes.len() - BLOCK),
        None => (hits(Block::of(&short(bytes).to_le_bytes())) & low(rest.len()), 0),
    };
    (hits != 0).then(|| from + hits.trailing_zeros() as usize)
}

/// Fewer than sixteen bytes, zeros behind them. Two loads that overlap where that covers them.
#[inline]
pub fn short(bytes: &[u8]) -> u128 {
    let length = bytes.len();
    if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        let (first, last) = (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
        return u128::from(first) | u128::from(last) << (8 * (length - 8));
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        return u128::from(u64::from(first) | u64::from(last) << (8 * (length - 4)));
    }
    match bytes {
        [] => 0,
        [a, rest @ ..] => {
            let (middle, last) = (bytes[length / 2], rest.last().unwrap_or(a));
            let (middle, last) =
                (u32::from(middle) << (8 * (length / 2)), u32::from(*last) << (8 * (length - 1)));
            u128::from(u32::from(*a) | middle | last)
        }
    }
}

/// With the instructions that every x86-64 has.
#[cfg(target_arch = "x86_64")]
#[expect(
    unsafe_code,
    reason = "SSE2 is part of x86-64, but the language wants it said; nothing here touches memory but its own"
)]
mod lanes {
    use std::arch::x86_64::{
        __m128i, _mm_add_epi8, _mm_cmpeq_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8,
        _mm_setzero_si128,
    };

    pub(super) type Lanes = __m128i;

    #[inline(always)]
    pub(super) fn load(bytes: &[u8; 16]) -> Lanes {
        // SAFETY: both are sixteen bytes, and any sixteen are one.
        unsafe { std::mem::transmute(*bytes) }
    }

    #[inline(always)]
    pub(super) fn specials(lanes: Lanes) -> u32 {
        // SAFETY: SSE2 is there.
        unsafe {
            let control = _mm_cmpeq_epi8(_mm_min_epu8(lanes, _mm_set1_epi8(0x1f)), lanes);
            let quote = _mm_cmpeq_epi8(lanes, _mm_set1_epi8(0x22));
            let slash = _mm_cmpeq_epi8(lanes, _mm_set1_epi8(0x5c));
            _mm_movemask_epi8(_mm_or_si128(control, _mm_or_si128(quote, slash))).cast_unsigned()
        }
    }

    #[inline(always)]
    pub(super) fn controls(lanes: Lanes) -> u32 {
        // SAFETY: SSE2 is there.
        unsafe {
            _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(lanes, _mm_set1_epi8(0x1f)), lanes)).cast_unsigned()
        }
    }

    #[inline(always)]
    pub(super) fn any<const N: usize>(lanes: Lanes, wanted: [u8; N]) -> u32 {
        // SAFETY: SSE2 is there.
        unsafe {
            let mut hits = _mm_setzero_si128();
            for byte in wanted {
                hits = _mm_or_si128(hits, _mm_cmpeq_epi8(lanes, _mm_set1_epi8(byte.cast_signed())));
            }
            _mm_movemask_epi8(hits).cast_unsigned()
        }
    }

    #[inline(always)]
    pub(super) fn same(lanes: Lanes, others: Lanes) -> u32 {
        // SAFETY: SSE2 is there.
        unsafe { _mm_movemask_epi8(_mm_cmpeq_epi8(lanes, others)).cast_unsigned() }
    }

    #[inline(always)]
    pub(super) fn digits(lanes: Lanes) -> u32 {
        // SAFETY: SSE2 is there.
        unsafe {
            // With '0' at 0 the digits are those up to 9.
            let from_zero = _mm_add_epi8(lanes, _mm_set1_epi8(-0x30));
            _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(from_zero, _mm_set1_epi8(9)), from_zero))
                .cast_unsigned()
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
use words as lanes;

/// With those that every processor has: eight bytes in a word, per byte and without carries.
#[cfg(any(test, not(target_arch = "x86_64")))]
mod words {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;

    pub(super) type Lanes = u128;

    pub(super) fn load(bytes: &[u8; 16]) -> Lanes {
        u128::from_le_bytes(*bytes)
    }

    pub(super) fn controls(lanes: Lanes) -> u32 {
        below(lanes, 0x20)
    }

    pub(super) fn specials(lanes: Lanes) -> u32 {
        controls(lanes) | any(lanes, *b"\"\\")
    }

    pub(super) fn same(lanes: Lanes, others: Lanes) -> u32 {
        any(lanes ^ others, [0])
    }

    pub(super) fn digits(lanes: Lanes) -> u32 {
        below(lanes, b'9' + 1) & !below(lanes, b'0')
    }

    /// Bytes below `limit`, which is 1 to 128.
    fn below(word: Lanes, limit: u8) -> u32 {
        // 128 - limit + b reaches 128 from the limit on.
        both(word, |word| ((word & !HIGHS) + ONES * u64::from(128 - limit)) | word)
    }

    pub(super) fn any<const N: usize>(word: Lanes, wanted: [u8; N]) -> u32 {
        wanted.into_iter().fold(0, |hits, byte| {
            // 127 + x reaches 128 from 1 on.
            let other = |word: u64| ((word ^ (ONES * u64::from(byte))) & !HIGHS) + ONES * 127;
            hits | both(word, |word| other(word) | (word ^ (ONES * u64::from(byte))))
        })
    }

    /// A bit for each byte of which the highest bit is not set in what `miss` makes of both halves.
    fn both(word: Lanes, miss: impl Fn(u64) -> u64) -> u32 {
        // The high bits of eight bytes, gathered in the highest byte.
        let gather = |word: u64| ((!word & HIGHS) >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        let (low, high) = (gather(miss(word as u64)), gather(miss((word >> 64) as u64)));
        (low | high << 8) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_at_every_place_is_judged_the_same_by_both_ways() {
        for byte in 0..=255u8 {
            for place in 0..BLOCK {
                let mut bytes = [b'a'; BLOCK];
                bytes[place] = byte;
                let (block, word) = (Block::of(&bytes), words::load(&bytes));
                let special = byte < 0x20 || byte == b'"' || byte == b'\\';
                assert_eq!(block.specials(), u32::from(special) << place, "{byte} at {place}");
                assert_eq!(words::specials(word), block.specials());
                assert_eq!(block.controls(), u32::from(byte < 0x20) << place);
                assert_eq!(words::controls(word), block.controls());
                assert_eq!(first_special(&bytes), special.then_some(place));
                assert_eq!(block.digits(), u32::from(byte.is_ascii_digit()) << place);
                assert_eq!(words::digits(word), block.digits());
                let other = Block::of(&[b'a'; BLOCK]);
                assert_eq!(block.same(other), 0xffff ^ u32::from(byte != b'a') << place);
                assert_eq!(words::same(word, words::load(&[b'a'; BLOCK])), block.same(other));
                assert_eq!(words::any(word, [byte, 0xff]) & 1 << place, 1 << place);
                assert_eq!(words::any(word, [b'=', b' ']), block.any([b'=', b' ']));
            }
        }
    }

    #[test]
    fn what_lies_around_a_text_is_read_with_it_and_nothing_else_is() {
        let bytes: Vec<u8> = (0..40).collect();
        let around = Around(&bytes);
        assert_eq!(around.read::<4>(&bytes[10..12], 1), Some(&[11, 12, 13, 14]));
        assert_eq!(around.read::<16>(&bytes[30..], 0), None);
        assert_eq!(around.read::<1>(&bytes[40..], 0), None);
        assert_eq!(around.read::<1>(b"elsewhere", 0), None);
        assert_eq!(Around(&bytes[10..20]).read::<4>(&bytes, 0), None);
    }

    #[test]
    fn the_first_is_found_at_every_length() {
        for length in 0..50 {
            let mut text = vec![b'a'; length];
            assert_eq!(first_of(&text, *b"= "), None);
            for at in (0..length).rev() {
                text[at] = b'=';
                assert_eq!(first_of(&text, *b"= "), Some(at));
            }
        }
    }
}
