//! Bytes sixteen at a time, and where among them a byte of interest is.

/// Bytes per block.
pub(super) const BLOCK: usize = 16;

/// Index of the first byte that a JSON string may not hold as it is.
#[inline]
pub fn first_special(bytes: &[u8]) -> Option<usize> {
    first(bytes, specials)
}

/// Index of the first byte that is one of these.
#[inline]
pub fn first_of<const N: usize>(bytes: &[u8], wanted: [u8; N]) -> Option<usize> {
    first(bytes, |word| lanes::any(word, wanted))
}

#[inline]
fn first(bytes: &[u8], hits: impl Fn(u128) -> u32) -> Option<usize> {
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    for (i, block) in blocks.iter().enumerate() {
        let hits = hits(u128::from_le_bytes(*block));
        if hits != 0 {
            return Some(i * BLOCK + hits.trailing_zeros() as usize);
        }
    }
    if rest.is_empty() {
        return None;
    }
    let hits = hits(tail(bytes, rest.len())) & ((1 << rest.len()) - 1);
    (hits != 0).then(|| bytes.len() - rest.len() + hits.trailing_zeros() as usize)
}

/// The last `length` bytes (1 to 15), zeros behind them.
#[inline]
pub(super) fn tail(bytes: &[u8], length: usize) -> u128 {
    match bytes.last_chunk::<BLOCK>() {
        Some(last) => u128::from_le_bytes(*last) >> (8 * (BLOCK - length)),
        None => short(bytes),
    }
}

/// Fewer than sixteen bytes, zeros behind them. Two loads that overlap where that covers them.
#[inline]
pub(crate) fn short(bytes: &[u8]) -> u128 {
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

/// A bit for each byte that a JSON string may not hold as it is: below 0x20, `"`, `\`.
#[inline]
pub(super) fn specials(word: u128) -> u32 {
    lanes::below(word, 0x20) | lanes::any(word, *b"\"\\")
}

/// With the instructions that every x86-64 has.
#[cfg(target_arch = "x86_64")]
#[expect(
    unsafe_code,
    reason = "SSE2 is part of x86-64, but the language wants it said; nothing here touches memory"
)]
mod lanes {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x,
        _mm_set1_epi8, _mm_setzero_si128,
    };

    /// Bytes below `limit`, which is not 0.
    #[inline]
    pub(super) fn below(word: u128, limit: u8) -> u32 {
        // SAFETY: SSE2 is there.
        unsafe { below_sse2(word, limit) }
    }

    #[inline]
    pub(super) fn any<const N: usize>(word: u128, wanted: [u8; N]) -> u32 {
        // SAFETY: SSE2 is there.
        unsafe { any_sse2(word, wanted) }
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn load(word: u128) -> __m128i {
        _mm_set_epi64x(((word >> 64) as u64).cast_signed(), (word as u64).cast_signed())
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn below_sse2(word: u128, limit: u8) -> u32 {
        let (bytes, most) = (load(word), _mm_set1_epi8((limit - 1).cast_signed()));
        _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(bytes, most), bytes)).cast_unsigned()
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn any_sse2<const N: usize>(word: u128, wanted: [u8; N]) -> u32 {
        let (bytes, mut hits) = (load(word), _mm_setzero_si128());
        for byte in wanted {
            hits = _mm_or_si128(hits, _mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte.cast_signed())));
        }
        _mm_movemask_epi8(hits).cast_unsigned()
    }
}

#[cfg(not(target_arch = "x86_64"))]
use words as lanes;

/// With those that every processor has: eight bytes in a word, per byte and without carries.
#[cfg(any(test, not(target_arch = "x86_64")))]
mod words {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;

    /// Bytes below `limit`, which is 1 to 128.
    pub(super) fn below(word: u128, limit: u8) -> u32 {
        // 128 - limit + b reaches 128 from the limit on.
        both(word, |word| ((word & !HIGHS) + ONES * u64::from(128 - limit)) | word)
    }

    pub(super) fn any<const N: usize>(word: u128, wanted: [u8; N]) -> u32 {
        wanted.into_iter().fold(0, |hits, byte| {
            // 127 + x reaches 128 from 1 on.
            let other = |word: u64| ((word ^ (ONES * u64::from(byte))) & !HIGHS) + ONES * 127;
            hits | both(word, |word| other(word) | (word ^ (ONES * u64::from(byte))))
        })
    }

    /// A bit for each byte of which the highest bit is not set in what `miss` makes of both halves.
    fn both(word: u128, miss: impl Fn(u64) -> u64) -> u32 {
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
                let mut block = [b'a'; BLOCK];
                block[place] = byte;
                let word = u128::from_le_bytes(block);
                let special = byte < 0x20 || byte == b'"' || byte == b'\\';
                assert_eq!(specials(word), u32::from(special) << place, "{byte} at {place}");
                assert_eq!(words::below(word, 0x20) | words::any(word, *b"\"\\"), specials(word));
                assert_eq!(first_special(&block), special.then_some(place));
                assert_eq!(words::any(word, [byte, 0xff]) & 1 << place, 1 << place);
                assert_eq!(words::any(word, [b'=', b' ']), lanes::any(word, [b'=', b' ']));
            }
        }
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
