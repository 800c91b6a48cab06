//! Backslashes put in front of quotes and backslashes, 32 bytes at a time, by the processors that can leave bytes out of a register: each byte gets a
//! backslash, and those that are not wanted go.

#![expect(
    unsafe_code,
    reason = "instructions that not every x86-64 has, asked for once; a raw line in JSON is a fifth of the work without them"
)]

use std::arch::x86_64::{
    __m256i, __m512i, _mm256_cmpeq_epi8_mask, _mm256_cmplt_epu8_mask, _mm256_loadu_si256,
    _mm256_maskz_loadu_epi8, _mm256_set1_epi8, _mm256_storeu_si256, _mm512_cvtepu8_epi16,
    _mm512_maskz_compress_epi8, _mm512_or_si512, _mm512_set1_epi16, _mm512_slli_epi16, _mm512_storeu_si512,
    _pdep_u64,
};

use super::escape::control;

/// Bytes per step.
const STEP: usize = 32;

/// Whether this processor can.
#[inline(always)]
pub(super) fn available() -> bool {
    std::is_x86_feature_detected!("avx512vbmi2")
        && std::is_x86_feature_detected!("avx512bw")
        && std::is_x86_feature_detected!("avx512vl")
        && std::is_x86_feature_detected!("bmi2")
        && std::is_x86_feature_detected!("popcnt")
}

/// Valid UTF-8 as the body of a JSON string.
///
/// # Safety
/// It is [`available`], and there is room for six bytes for each of the text's and 64 more.
#[target_feature(enable = "avx512f,avx512vbmi2,avx512bw,avx512vl,avx2,bmi2,popcnt")]
pub(super) unsafe fn escape(mut at: *mut u8, text: &[u8]) -> *mut u8 {
    let (steps, rest) = text.as_chunks::<STEP>();
    // SAFETY: the caller's; a step writes 64 bytes at most, of which no more count than the room that it was given.
    unsafe {
        for step in steps {
            let bytes = _mm256_loadu_si256(step.as_ptr().cast());
            at = put(at, bytes, u32::MAX, STEP, step);
        }
        if !rest.is_empty() {
            let mask = u32::MAX >> (STEP - rest.len());
            let bytes = _mm256_maskz_loadu_epi8(mask, rest.as_ptr().cast());
            at = put(at, bytes, mask, rest.len(), rest);
        }
    }
    at
}

/// The first `length` bytes, those of the mask. `text` has them once more.
#[inline]
#[target_feature(enable = "avx512f,avx512vbmi2,avx512bw,avx512vl,avx2,bmi2,popcnt")]
unsafe fn put(at: *mut u8, bytes: __m256i, mask: u32, length: usize, text: &[u8]) -> *mut u8 {
    let quotes = _mm256_cmpeq_epi8_mask(bytes, _mm256_set1_epi8(0x22));
    let slashes = _mm256_cmpeq_epi8_mask(bytes, _mm256_set1_epi8(0x5c));
    let controls = _mm256_cmplt_epu8_mask(bytes, _mm256_set1_epi8(0x20)) & mask;
    let hits = quotes | slashes;
    // SAFETY: the caller's.
    unsafe {
        if hits | controls == 0 {
            _mm256_storeu_si256(at.cast(), bytes);
            return at.add(length);
        }
        if controls != 0 {
            return one_by_one(at, text);
        }
        // Words of a backslash and the byte, and which bytes of them stay.
        let pairs = _mm512_slli_epi16::<8>(_mm512_cvtepu8_epi16(bytes));
        let pairs = _mm512_or_si512(pairs, _mm512_set1_epi16(0x5c));
        let stay = _pdep_u64(u64::from(hits), 0x5555_5555_5555_5555) | 0xaaaa_aaaa_aaaa_aaaa;
        let out: __m512i = _mm512_maskz_compress_epi8(stay, pairs);
        _mm512_storeu_si512(at.cast(), out);
        at.add(length + hits.count_ones() as usize)
    }
}

/// Some of which are control bytes.
#[cold]
#[inline(never)]
unsafe fn one_by_one(mut at: *mut u8, text: &[u8]) -> *mut u8 {
    // SAFETY: the caller's room of six bytes for each.
    unsafe {
        for byte in text {
            match byte {
                0..0x20 => at = control(at, *byte),
                b'"' | b'\\' => {
                    at.write(b'\\');
                    at.add(1).write(*byte);
                    at = at.add(2);
                }
                _ => {
                    at.write(*byte);
                    at = at.add(1);
                }
            }
        }
    }
    at
}
