//! Backslashes put in front of quotes and backslashes, eight bytes at a time: a table says for each pattern of eight bytes where they go. JSON in a JSON
//! string has one in every few bytes; one after the other they cost three times as much.

#![expect(
    unsafe_code,
    reason = "an instruction that not every x86-64 has, asked for once; nothing here touches memory"
)]

use std::arch::x86_64::{
    __m128i, _mm_and_si128, _mm_cmpeq_epi8, _mm_or_si128, _mm_set1_epi8, _mm_setzero_si128, _mm_shuffle_epi8,
    _mm_srli_si128,
};

/// By the bits of eight bytes that need one: which byte goes where; 0x80 is none, which becomes a backslash.
static PLACES: [[u8; 16]; 256] = {
    let mut all = [[0x80; 16]; 256];
    let mut hits = 0;
    while hits < 256 {
        let (mut from, mut to) = (0u8, 0);
        while from < 8 {
            if hits >> from & 1 == 1 {
                to += 1;
            }
            all[hits][to] = from;
            (from, to) = (from + 1, to + 1);
        }
        hits += 1;
    }
    all
};

/// Whether this processor can.
#[inline(always)]
pub(super) fn available() -> bool {
    std::is_x86_feature_detected!("ssse3") && std::is_x86_feature_detected!("popcnt")
}

/// Both halves of a block with a backslash in front of each byte of `hits`, and how many bytes of each count. No byte may be 0.
#[inline]
#[target_feature(enable = "ssse3,popcnt")]
pub(super) fn spread(block: &[u8; 16], hits: u32) -> [([u8; 16], usize); 2] {
    // SAFETY: sixteen bytes are sixteen bytes.
    let block: __m128i = unsafe { std::mem::transmute(*block) };
    let half = |bytes: __m128i, hits: u32| {
        // SAFETY: as above.
        let places: __m128i = unsafe { std::mem::transmute(PLACES[(hits & 0xff) as usize]) };
        let spread = _mm_shuffle_epi8(bytes, places);
        let gaps = _mm_and_si128(_mm_cmpeq_epi8(spread, _mm_setzero_si128()), _mm_set1_epi8(0x5c));
        // SAFETY: as above.
        let spread = unsafe { std::mem::transmute::<__m128i, [u8; 16]>(_mm_or_si128(spread, gaps)) };
        (spread, 8 + (hits & 0xff).count_ones() as usize)
    };
    [half(block, hits), half(_mm_srli_si128::<8>(block), hits >> 8)]
}
