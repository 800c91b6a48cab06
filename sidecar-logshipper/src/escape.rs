//! Text as the inside of a JSON string, sixteen bytes at a time: the one copy that every line takes, and what decides the
//! shipper's speed.

use std::mem::MaybeUninit;

/// Bytes judged at once.
const STEP: usize = 16;
/// Of the longest escape, `\u001f`, as many as are written at once.
const LONGEST: usize = 6;
/// Bytes of text that room is made for at once: six times as much for a line of 1 MiB would be memory for nothing.
const PIECE: usize = 4 << 10;

/// Appends `text` as the inside of a JSON string. Bytes that are not UTF-8 have to be dealt with before.
pub fn escape(text: &[u8], out: &mut Vec<u8>) {
    for piece in text.chunks(PIECE) {
        // Behind the last byte that counts a step may reach further.
        out.reserve(piece.len() * LONGEST + 2 * STEP);
        let written = escape_into(piece, out.spare_capacity_mut());
        #[allow(unsafe_code, reason = "a body that is zeroed before it is written would be written twice")]
        // SAFETY: `escape_into` has written that many bytes of the spare capacity, from its start and without a gap.
        unsafe {
            out.set_len(out.len() + written);
        }
    }
}

/// Writes from the start of `room`, which is large enough, and says how far.
fn escape_into(text: &[u8], room: &mut [MaybeUninit<u8>]) -> usize {
    let (mut from, mut to) = (0, 0);
    // What comes behind a special byte is copied as a whole step: there has to be that much.
    while let Some(window) = text[from..].first_chunk::<{ 2 * STEP }>() {
        put(&window[..STEP], room, to);
        let (mut mask, mut done) = (special(load(window)), 0);
        while mask != 0 {
            let at = mask.trailing_zeros() as usize;
            mask &= mask - 1;
            to += at - done;
            done = at + 1;
            to += put_escape(window[at], room, to);
            put(&window[done..done + STEP], room, to);
        }
        to += STEP - done;
        from += STEP;
    }
    while from < text.len() {
        let rest = &text[from..];
        let len = rest.len().min(STEP);
        let bytes = match (rest.first_chunk::<STEP>(), text.last_chunk::<STEP>()) {
            (Some(step), _) => load(step),
            // The end of the text, moved to the front: quicker than a copy of a few bytes.
            (None, Some(step)) => load(step) >> (8 * (STEP - len)),
            (None, None) => {
                let mut step = [0; STEP];
                step[..len].copy_from_slice(rest);
                load(&step)
            }
        };
        to = last(bytes, len, room, to);
        from += len;
    }
    to
}

/// The lowest `left` of these bytes.
fn last(mut bytes: u128, mut left: usize, room: &mut [MaybeUninit<u8>], mut to: usize) -> usize {
    let mut mask = special(bytes) & ((1 << left) - 1);
    loop {
        put(&bytes.to_le_bytes(), room, to);
        if mask == 0 {
            return to + left;
        }
        let at = mask.trailing_zeros() as usize;
        bytes >>= 8 * at;
        to += at;
        to += put_escape(bytes as u8, room, to);
        // In two steps, because all may be moved out.
        bytes >>= 8;
        mask = mask >> at >> 1;
        left -= at + 1;
    }
}

#[inline(always)]
fn load<const N: usize>(bytes: &[u8; N]) -> u128 {
    u128::from_le_bytes(*bytes.first_chunk().unwrap_or(&[0; STEP]))
}

#[inline(always)]
fn put(bytes: &[u8], room: &mut [MaybeUninit<u8>], at: usize) {
    room[at..at + bytes.len()].write_copy_of_slice(bytes);
}

#[inline(always)]
fn put_escape(byte: u8, room: &mut [MaybeUninit<u8>], at: usize) -> usize {
    let (escape, length) = ESCAPES[usize::from(byte)];
    put(&escape, room, at);
    usize::from(length)
}

/// A bit for each byte that needs an escape.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn special(bytes: u128) -> u32 {
    use std::arch::x86_64::{
        _mm_cmpeq_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8,
    };
    #[allow(unsafe_code, reason = "SSE2 is part of every x86_64, and nothing here touches memory")]
    // SAFETY: as said.
    unsafe {
        let bytes = _mm_set_epi64x(((bytes >> 64) as u64).cast_signed(), (bytes as u64).cast_signed());
        let control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
        let quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"'.cast_signed()));
        let slash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\'.cast_signed()));
        _mm_movemask_epi8(_mm_or_si128(control, _mm_or_si128(quote, slash))).cast_unsigned()
    }
}

#[cfg(not(target_arch = "x86_64"))]
use special_anywhere as special;

/// The same in whole registers, byte by byte without a carry from one to the next.
#[cfg(any(test, not(target_arch = "x86_64")))]
#[inline(always)]
fn special_anywhere(bytes: u128) -> u32 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * ONES;
    let half = |bytes: u64| {
        let low = bytes & !HIGH;
        let is = |byte: u8| !((low ^ (ONES * u64::from(byte))) + (HIGH - ONES));
        let control = !(low + ONES * (0x80 - 0x20));
        let found = (is(b'"') | is(b'\\') | control) & !bytes & HIGH;
        // The high bit of each byte, side by side in the highest byte.
        ((found >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32
    };
    half(bytes as u64) | half((bytes >> 64) as u64) << 8
}

/// What stands for a byte, and how long that is. Those that need no escape are never asked for.
const ESCAPES: [([u8; 8], u8); 256] = {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut table = [([0; 8], 0); 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = ([b'\\', b'u', b'0', b'0', HEX[byte >> 4], HEX[byte & 15], 0, 0], 6);
        byte += 1;
    }
    let short = *b"\"\"\\\\\nn\rr\tt";
    let mut at = 0;
    while at < short.len() {
        table[short[at] as usize] = ([b'\\', short[at + 1], 0, 0, 0, 0, 0, 0], 2);
        at += 2;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) {
        let mut out = b"\"".to_vec();
        escape(text.as_bytes(), &mut out);
        out.push(b'"');
        assert_eq!(serde_json::from_slice::<String>(&out).expect("valid"), text);
    }

    #[test]
    fn every_byte_survives_at_every_place() {
        let text: String = (0u32..0x2_000).filter_map(char::from_u32).collect();
        for start in 0..40 {
            check(&text.chars().skip(start).collect::<String>());
        }
        for len in 0..70 {
            for at in 0..len {
                for special in ["\"", "\\", "\u{1f}", "\n"] {
                    let text = format!("{}{special}{}", "x".repeat(at), "y".repeat(len - at - 1));
                    check(&text);
                    check(&format!("{text}{special}"));
                }
            }
            check(&"\"".repeat(len));
            check(&"\u{1}".repeat(len));
        }
    }

    #[test]
    fn a_long_text_is_escaped_piece_by_piece() {
        check(&"\\\u{0}plain é".repeat(PIECE / 3));
    }

    #[test]
    fn both_ways_to_look_agree() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..10_000 {
            let mut bytes = random.u128(..);
            for byte in [b'"', b'\\', 0x1f, 0x20, 0x7f, 0x80, 0xa2, 0xdc] {
                bytes = bytes << (8 * random.u32(0..4)) ^ u128::from(byte) << (8 * random.u32(0..16));
            }
            assert_eq!(special(bytes), special_anywhere(bytes), "{bytes:x}");
        }
    }
}
