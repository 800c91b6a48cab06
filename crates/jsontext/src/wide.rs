//! Thirty-two bytes at a time, with the backslashes of all quotes among them at once. One after the other, each of these would have to wait for the one
//! before it: in lines with quoted fields that took most of the time.

#![allow(
    unsafe_code,
    reason = "instructions that not every processor has, asked for once; memory as in the trait"
)]

use std::arch::x86_64::{
    __m128i, __m256i, _mm_loadu_si128, _mm_set1_epi8, _mm_shuffle_epi8, _mm_storeu_si128, _mm_unpackhi_epi64,
    _mm_unpacklo_epi64, _mm256_castsi256_si128, _mm256_cmpeq_epi8, _mm256_cmpeq_epi8_mask,
    _mm256_extracti128_si256, _mm256_loadu_si256, _mm256_mask_cmplt_epu8_mask, _mm256_maskz_loadu_epi8,
    _mm256_min_epu8, _mm256_movemask_epi8, _mm256_or_si256, _mm256_set1_epi8, _mm256_storeu_si256,
    _mm512_cvtepu8_epi16, _mm512_maskz_compress_epi8, _mm512_or_si512, _mm512_set1_epi16, _mm512_slli_epi16,
    _mm512_storeu_si512, _pdep_u64,
};
use std::sync::LazyLock;

use crate::block::{Around, BLOCK, short};
use crate::escape::{Step, by};

const BYTES: usize = 32;

/// What this processor can.
static WAY: LazyLock<Way> = LazyLock::new(|| {
    if is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vbmi2")
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("popcnt")
    {
        Way::Expand
    } else if is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("popcnt")
    {
        Way::Shuffle
    } else {
        Way::Neither
    }
});

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Expand,
    Shuffle,
    Neither,
}

/// Nothing where the processor cannot.
///
/// # Safety
/// As in [`crate::escape::write`].
#[inline(always)]
pub(crate) unsafe fn write<const LINE: bool>(
    text: &[u8],
    around: Around<'_>,
    at: *mut u8,
) -> Option<(usize, *mut u8)> {
    // SAFETY: the processor has it, as was asked; the rest is the caller's.
    unsafe {
        match *WAY {
            Way::Expand => Some(expand::<LINE>(text, around, at)),
            Way::Shuffle => Some(shuffle::<LINE>(text, around, at)),
            Way::Neither => None,
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi2,avx2,bmi1,bmi2,popcnt")]
unsafe fn expand<const LINE: bool>(text: &[u8], around: Around<'_>, at: *mut u8) -> (usize, *mut u8) {
    // SAFETY: the caller's.
    unsafe { by::<Expand, LINE>(text, around, at) }
}

#[target_feature(enable = "avx2,bmi1,popcnt")]
unsafe fn shuffle<const LINE: bool>(text: &[u8], around: Around<'_>, at: *mut u8) -> (usize, *mut u8) {
    // SAFETY: the caller's.
    unsafe { by::<Shuffle, LINE>(text, around, at) }
}

/// AVX-512 with VBMI2: one instruction pulls bytes apart.
struct Expand;

impl Step for Expand {
    const BYTES: usize = BYTES;
    type Bytes = __m256i;

    #[inline(always)]
    unsafe fn look(text: &[u8], length: usize, _: Around<'_>) -> (__m256i, u32, u32) {
        // SAFETY: the text is read as far as it goes; only `expand` comes here, which was called because the processor can.
        unsafe {
            let mask = u32::MAX >> (BYTES - length);
            let bytes = match length {
                BYTES => _mm256_loadu_si256(text.as_ptr().cast()),
                _ => _mm256_maskz_loadu_epi8(mask, text.as_ptr().cast()),
            };
            let quotes = _mm256_cmpeq_epi8_mask(bytes, _mm256_set1_epi8(b'"'.cast_signed()));
            let slashes = _mm256_cmpeq_epi8_mask(bytes, _mm256_set1_epi8(b'\\'.cast_signed()));
            let controls = _mm256_mask_cmplt_epu8_mask(mask, bytes, _mm256_set1_epi8(0x20));
            (bytes, quotes | slashes, controls)
        }
    }

    #[inline(always)]
    unsafe fn put(bytes: __m256i, at: *mut u8) {
        // SAFETY: the caller's; the processor as above.
        unsafe { _mm256_storeu_si256(at.cast(), bytes) };
    }

    #[inline(always)]
    unsafe fn spread(bytes: __m256i, _: usize, hits: u32, at: *mut u8) -> *mut u8 {
        // SAFETY: as above.
        unsafe {
            // Words of a backslash and the byte, and which bytes of them stay.
            let pairs = _mm512_slli_epi16::<8>(_mm512_cvtepu8_epi16(bytes));
            let pairs = _mm512_or_si512(pairs, _mm512_set1_epi16(b'\\'.into()));
            let stay = _pdep_u64(hits.into(), 0x5555_5555_5555_5555) | 0xaaaa_aaaa_aaaa_aaaa;
            _mm512_storeu_si512(at.cast(), _mm512_maskz_compress_epi8(stay, pairs));
            at.add(hits.count_ones() as usize)
        }
    }
}

/// AVX2: a table says for each pattern of eight bytes where they go.
struct Shuffle;

impl Step for Shuffle {
    const BYTES: usize = BYTES;
    type Bytes = __m256i;

    #[inline(always)]
    unsafe fn look(text: &[u8], length: usize, around: Around<'_>) -> (__m256i, u32, u32) {
        // SAFETY: only `shuffle` comes here, which was called because the processor can.
        unsafe {
            let mask = u32::MAX >> (BYTES - length);
            let bytes = match text.first_chunk::<BYTES>().or_else(|| around.read(text, 0)) {
                Some(bytes) => _mm256_loadu_si256(bytes.as_ptr().cast()),
                None => _mm256_loadu_si256(padded(text).as_ptr().cast()),
            };
            let control = _mm256_cmpeq_epi8(_mm256_min_epu8(bytes, _mm256_set1_epi8(0x1f)), bytes);
            let quote = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(b'"'.cast_signed()));
            let slash = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(b'\\'.cast_signed()));
            let special = _mm256_or_si256(control, _mm256_or_si256(quote, slash));
            let specials = _mm256_movemask_epi8(special).cast_unsigned() & mask;
            (bytes, specials, specials & _mm256_movemask_epi8(control).cast_unsigned())
        }
    }

    #[inline(always)]
    unsafe fn put(bytes: __m256i, at: *mut u8) {
        // SAFETY: the caller's; the processor as above.
        unsafe { _mm256_storeu_si256(at.cast(), bytes) };
    }

    #[inline(always)]
    unsafe fn spread(bytes: __m256i, length: usize, hits: u32, at: *mut u8) -> *mut u8 {
        // SAFETY: as above. A quarter writes sixteen bytes, of which it counts no more than the next one begins behind.
        unsafe {
            let slashes = _mm_set1_epi8(b'\\'.cast_signed());
            let mut to = at;
            let mut put = |eight: __m128i, hits: u8| {
                let places = _mm_loadu_si128(PLACES[usize::from(hits)].as_ptr().cast());
                _mm_storeu_si128(to.cast(), _mm_shuffle_epi8(eight, places));
                to = to.add(8 + hits.count_ones() as usize);
            };
            let [first, second, third, fourth] = hits.to_le_bytes();
            let half = _mm256_castsi256_si128(bytes);
            put(_mm_unpacklo_epi64(half, slashes), first);
            put(_mm_unpackhi_epi64(half, slashes), second);
            if length > BYTES / 2 {
                let half = _mm256_extracti128_si256::<1>(bytes);
                put(_mm_unpacklo_epi64(half, slashes), third);
                put(_mm_unpackhi_epi64(half, slashes), fourth);
            }
            at.add(hits.count_ones() as usize)
        }
    }
}

/// Fewer bytes than a step's, zeros behind them.
#[inline(always)]
fn padded(text: &[u8]) -> [u8; BYTES] {
    let mut all = [0; BYTES];
    match (text.first_chunk::<BLOCK>(), text.last_chunk::<BLOCK>()) {
        (Some(first), Some(last)) => {
            all[..BLOCK].copy_from_slice(first);
            all[text.len() - BLOCK..text.len()].copy_from_slice(last);
        }
        _ => all[..BLOCK].copy_from_slice(&short(text).to_le_bytes()),
    }
    all
}

/// By the bits of eight bytes that need a backslash: which byte goes where; the ninth is a backslash.
static PLACES: [[u8; 16]; 256] = {
    let mut all = [[8; 16]; 256];
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

/// All that this processor can.
#[cfg(test)]
pub(crate) fn ways<const LINE: bool>() -> Vec<crate::escape::Way> {
    let mut ways: Vec<crate::escape::Way> = Vec::new();
    // SAFETY: the processor has it, as was asked; the rest is the caller's.
    if *WAY == Way::Expand {
        ways.push(|text, around, at| unsafe { expand::<LINE>(text, around, at) });
    }
    // SAFETY: as above; what expands can shuffle, too.
    if *WAY != Way::Neither {
        ways.push(|text, around, at| unsafe { shuffle::<LINE>(text, around, at) });
    }
    ways
}
