//! Thirty-two bytes at a time, with backslashes put in front of all quotes and backslashes among them at once. One after the other, each of these
//! would have to wait for the one before it: in lines with quoted fields that took most of the time.

#![allow(
    unsafe_code,
    reason = "instructions that not every processor has, asked for once; memory as in the trait"
)]

use std::arch::x86_64::{
    __m128i, __m256i, _mm_and_si128, _mm_bsrli_si128, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_or_si128,
    _mm_set1_epi8, _mm_setzero_si128, _mm_shuffle_epi8, _mm_storeu_si128, _mm256_castsi256_si128,
    _mm256_cmpeq_epi8, _mm256_extracti128_si256, _mm256_loadu_si256, _mm256_min_epu8, _mm256_movemask_epi8,
    _mm256_or_si256, _mm256_set1_epi8, _mm256_storeu_si256, _mm512_mask_expand_epi8, _mm512_set1_epi8,
    _mm512_storeu_si512, _mm512_zextsi256_si512, _pdep_u64, _pext_u64,
};
use std::mem::MaybeUninit;
use std::sync::LazyLock;

use super::{Step, write_by};

/// What this processor can.
static WAY: LazyLock<Way> = LazyLock::new(|| {
    if is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vbmi2")
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("popcnt")
    {
        Way::Expand
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt") {
        Way::Shuffle
    } else {
        Way::Neither
    }
});

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Expand,
    Shuffle,
    Neither,
}

/// Nothing where the processor cannot.
#[inline(always)]
pub(super) fn write<const LINE: bool>(text: &[u8], room: &mut [MaybeUninit<u8>]) -> Option<(usize, usize)> {
    match *WAY {
        // SAFETY: the processor has it, as was asked.
        Way::Expand => Some(unsafe { expand::<LINE>(text, room) }),
        // SAFETY: as above.
        Way::Shuffle => Some(unsafe { shuffle::<LINE>(text, room) }),
        Way::Neither => None,
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi2,avx2,bmi2,popcnt")]
fn expand<const LINE: bool>(text: &[u8], room: &mut [MaybeUninit<u8>]) -> (usize, usize) {
    write_by::<Expand, LINE>(text, room)
}

#[target_feature(enable = "avx2,popcnt")]
fn shuffle<const LINE: bool>(text: &[u8], room: &mut [MaybeUninit<u8>]) -> (usize, usize) {
    write_by::<Shuffle, LINE>(text, room)
}

/// AVX-512 with VBMI2: one instruction pulls bytes apart.
struct Expand;

impl Step for Expand {
    const BYTES: usize = 32;

    #[inline(always)]
    unsafe fn copy(text: *const u8, room: *mut u8) -> (usize, usize) {
        /// Of each byte two places: one for a backslash, and its own.
        const OWN: u64 = 0xaaaa_aaaa_aaaa_aaaa;
        // SAFETY: as its callers say; only `expand` comes here, which was called because the processor can.
        unsafe {
            let bytes = _mm256_loadu_si256(text.cast());
            let (clean, hits) = look(bytes);
            let taken = _pdep_u64(hits.into(), !OWN) | OWN;
            let spread = _mm512_mask_expand_epi8(
                _mm512_set1_epi8(b'\\'.cast_signed()),
                _pext_u64(OWN, taken),
                _mm512_zextsi256_si512(bytes),
            );
            _mm512_storeu_si512(room.cast(), spread);
            (clean, clean + hits.count_ones() as usize)
        }
    }
}

/// AVX2: a table says for each pattern of eight bytes where they go.
struct Shuffle;

impl Step for Shuffle {
    const BYTES: usize = 32;

    #[inline(always)]
    unsafe fn copy(text: *const u8, room: *mut u8) -> (usize, usize) {
        // SAFETY: as its callers say; only `shuffle` comes here, which was called because the processor can.
        unsafe {
            let bytes = _mm256_loadu_si256(text.cast());
            let (clean, hits) = look(bytes);
            if hits == 0 {
                _mm256_storeu_si256(room.cast(), bytes);
                return (clean, clean);
            }
            let (low, high) = (_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes));
            let eights = [low, _mm_bsrli_si128::<8>(low), high, _mm_bsrli_si128::<8>(high)];
            let mut to = 0;
            for (eight, hits) in eights.into_iter().zip(hits.to_le_bytes()) {
                let spread =
                    _mm_shuffle_epi8(eight, _mm_loadu_si128(PLACES[usize::from(hits)].as_ptr().cast()));
                let gaps = _mm_and_si128(
                    _mm_cmpeq_epi8(spread, _mm_setzero_si128()),
                    _mm_set1_epi8(b'\\'.cast_signed()),
                );
                _mm_storeu_si128(room.add(to).cast::<__m128i>(), _mm_or_si128(spread, gaps));
                to += 8 + hits.count_ones() as usize;
            }
            (clean, clean + hits.count_ones() as usize)
        }
    }
}

/// Bytes in front of the first control character, and which of these are quotes and backslashes.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn look(bytes: __m256i) -> (usize, u32) {
    // SAFETY: as said.
    unsafe {
        let control = _mm256_cmpeq_epi8(_mm256_min_epu8(bytes, _mm256_set1_epi8(0x1f)), bytes);
        let quote = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(b'"'.cast_signed()));
        let slash = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(b'\\'.cast_signed()));
        let controls = _mm256_movemask_epi8(control).cast_unsigned();
        let hits = _mm256_movemask_epi8(_mm256_or_si256(quote, slash)).cast_unsigned();
        (controls.trailing_zeros() as usize, hits & controls.wrapping_sub(1) & !controls)
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::escape::Narrow;

    type Write = dyn Fn(&[u8], &mut [MaybeUninit<u8>]) -> (usize, usize);

    /// As far as this processor knows them.
    #[test]
    fn all_ways_say_the_same() {
        let mut random = fastrand::Rng::with_seed(11);
        for _ in 0..20_000 {
            let common = random.u32(1..40);
            let text: Vec<u8> = (0..random.usize(0..150))
                .map(|_| match random.u32(0..common) {
                    0 => *b"\"\\\n\t\x01\x1f"[..].get(random.usize(0..6)).unwrap_or(&0),
                    _ => random.u8(0x20..),
                })
                .collect();
            same::<false>(&text);
            same::<true>(&text);
        }
    }

    fn same<const LINE: bool>(text: &[u8]) {
        let by = |write: &Write| {
            let mut out = Vec::with_capacity(2_000);
            let (read, written) = write(text, out.spare_capacity_mut());
            // SAFETY: so many were written.
            unsafe { out.set_len(written) };
            (read, out)
        };
        let narrow = by(&write_by::<Narrow, LINE>);
        if *WAY != Way::Neither {
            // SAFETY: the processor has it, as was asked.
            assert_eq!(by(&|text, room| unsafe { shuffle::<LINE>(text, room) }), narrow);
        }
        if *WAY == Way::Expand {
            // SAFETY: as above.
            assert_eq!(by(&|text, room| unsafe { expand::<LINE>(text, room) }), narrow);
        }
    }
}
