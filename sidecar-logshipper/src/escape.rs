//! Text as the inside of a JSON string, sixteen or thirty-two bytes at a time: the one copy that every line takes, and what decides the
//! shipper's speed. Where lines come as a block, the end of each is found by the way.

#[cfg(target_arch = "x86_64")]
mod wide;

use std::mem::MaybeUninit;

/// Bytes of text that room is made for at once: six times as much for a line of 1 MiB would be memory for nothing.
const PIECE: usize = 2 << 10;
/// Of the longest escape, `\u001f`.
const LONGEST: usize = 6;
/// Bytes that are written at once at most, and that may lie behind those that count.
const WIDEST: usize = 32;
/// What has to be free in a body so that a line of usual length does not move it.
pub const ROOM: usize = PIECE * LONGEST + 2 * WIDEST;

/// Appends `text` as the inside of a JSON string. Bytes that are not UTF-8 have to be dealt with before.
pub fn escape(text: &[u8], out: &mut Vec<u8>) {
    for piece in text.chunks(PIECE) {
        append(piece, out, write::<false>);
    }
}

/// The same up to the first newline, or all of it. Says how many bytes that were.
#[inline]
pub fn escape_line(text: &[u8], out: &mut Vec<u8>) -> usize {
    let mut read = 0;
    for piece in text.chunks(PIECE) {
        let here = append(piece, out, write::<true>);
        read += here;
        if here < piece.len() {
            break;
        }
    }
    read
}

#[inline(always)]
fn append(
    piece: &[u8],
    out: &mut Vec<u8>,
    write: impl Fn(&[u8], &mut [MaybeUninit<u8>]) -> (usize, usize),
) -> usize {
    out.reserve(piece.len() * LONGEST + 2 * WIDEST);
    let (read, written) = write(piece, out.spare_capacity_mut());
    #[allow(unsafe_code, reason = "a body that is zeroed before it is written would be written twice")]
    // SAFETY: that many bytes of the spare capacity are written, from its start and without a gap.
    unsafe {
        out.set_len(out.len() + written);
    }
    read
}

/// Writes from the start of `room`, which is large enough. Says how much was read and how much written.
#[inline(always)]
fn write<const LINE: bool>(text: &[u8], room: &mut [MaybeUninit<u8>]) -> (usize, usize) {
    #[cfg(target_arch = "x86_64")]
    if let Some(done) = wide::write::<LINE>(text, room) {
        return done;
    }
    write_by::<Narrow, LINE>(text, room)
}

/// Checks of where that is would be a third of all instructions: one at the beginning holds for all.
#[inline(always)]
#[allow(unsafe_code, reason = "see above")]
fn write_by<S: Step, const LINE: bool>(text: &[u8], room: &mut [MaybeUninit<u8>]) -> (usize, usize) {
    assert!(room.len() >= text.len() * LONGEST + 2 * WIDEST, "room for the longest that it can become");
    let (source, room) = (text.as_ptr(), room.as_mut_ptr().cast::<u8>());
    let (mut from, mut to) = (0, 0);
    while from + S::BYTES <= text.len() {
        // SAFETY: a step can be read, as was just asked. For each byte read at most LONGEST are written, and so two steps or an escape (of 8 bytes,
        // of which some count) can be written behind them: `to` is at most LONGEST times `from`, which is less than the length of the text.
        unsafe {
            let (read, written) = S::copy(source.add(from), room.add(to));
            to += written;
            // Where nothing stops it, the next step does not have to wait for this one.
            if read == S::BYTES {
                from += S::BYTES;
                continue;
            }
            from += read;
            let byte = *source.add(from);
            if LINE && byte == b'\n' {
                return (from, to);
            }
            to += put_escape(byte, room.add(to));
        }
        // What was copied behind it lies too far in front: again from here.
        from += 1;
    }
    // Less than a step is left: the same where more lies behind it, none of which needs an escape.
    let mut last = [b' '; 2 * WIDEST];
    let left = text.len() - from;
    last[..left].copy_from_slice(&text[from..]);
    let mut at = 0;
    while at < left {
        // SAFETY: a step can be read behind any of the first bytes of `last`, which are less than one, and written as before.
        unsafe {
            let (read, written) = S::copy(last.as_ptr().add(at), room.add(to));
            let behind = read.saturating_sub(left - at);
            at += read - behind;
            to += written - behind;
            if at == left || (LINE && last[at] == b'\n') {
                break;
            }
            to += put_escape(last[at], room.add(to));
        }
        at += 1;
    }
    (from + at, to)
}

/// Says how long it is.
///
/// # Safety
/// 8 bytes can be written there.
#[inline(always)]
#[allow(unsafe_code, reason = "its callers have asked for all that they write at once")]
unsafe fn put_escape(byte: u8, room: *mut u8) -> usize {
    let escape = ESCAPES[usize::from(byte)];
    // SAFETY: as its callers say.
    unsafe { room.cast::<[u8; 8]>().write_unaligned(escape.to_le_bytes()) };
    (escape >> 56) as usize
}

/// Some bytes at once.
trait Step {
    const BYTES: usize;
    /// Copies so many, or those in front of the first that it leaves to [`put_escape`]. Says how many that were and how many they became.
    ///
    /// # Safety
    /// So many can be read there and twice as many written here, and the processor can do it.
    #[allow(unsafe_code, reason = "its caller has asked for all that it reads and writes at once")]
    unsafe fn copy(text: *const u8, room: *mut u8) -> (usize, usize);
}

/// What every processor has: up to the first byte that needs an escape.
struct Narrow;

impl Step for Narrow {
    const BYTES: usize = 16;

    #[inline(always)]
    #[allow(unsafe_code, reason = "as in the trait")]
    unsafe fn copy(text: *const u8, room: *mut u8) -> (usize, usize) {
        // SAFETY: as its callers say.
        let bytes = unsafe {
            let bytes = text.cast::<[u8; 16]>().read_unaligned();
            room.cast::<[u8; 16]>().write_unaligned(bytes);
            bytes
        };
        let clean = (special(u128::from_le_bytes(bytes)).trailing_zeros() as usize).min(Self::BYTES);
        (clean, clean)
    }
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

/// What stands for a byte, and in the highest byte how long that is. Those that need no escape are never asked for.
const ESCAPES: [u64; 256] = {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 0x20 {
        let text = [b'\\', b'u', b'0', b'0', HEX[byte >> 4], HEX[byte & 15], 0, 6];
        table[byte] = u64::from_le_bytes(text);
        byte += 1;
    }
    let short = *b"\"\"\\\\\nn\rr\tt";
    let mut at = 0;
    while at < short.len() {
        table[short[at] as usize] = u64::from_le_bytes([b'\\', short[at + 1], 0, 0, 0, 0, 0, 2]);
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
        let mut narrow = b"\"".to_vec();
        text.as_bytes().chunks(PIECE).for_each(|piece| {
            append(piece, &mut narrow, write_by::<Narrow, false>);
        });
        assert_eq!(out[..out.len() - 1], narrow, "both ways say the same");
        check_line(text);
    }

    /// Up to the first newline.
    fn check_line(text: &str) {
        let (mut line, mut narrow, mut whole) = (Vec::new(), Vec::new(), Vec::new());
        let end = text.find('\n').unwrap_or(text.len());
        assert_eq!(escape_line(text.as_bytes(), &mut line), end);
        escape(&text.as_bytes()[..end], &mut whole);
        assert_eq!(line, whole);
        let piece = &text.as_bytes()[..text.len().min(PIECE)];
        assert_eq!(append(piece, &mut narrow, write_by::<Narrow, true>), end.min(PIECE));
        assert!(whole.starts_with(&narrow));
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
