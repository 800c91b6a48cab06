//! Texts to a place in memory, escaped for JSON or not, in blocks: what a [`super::Pen`] does once it has made room.

#![expect(unsafe_code, reason = "see Pen")]

use super::block::{Around, BLOCK, Block, low, short};
#[cfg(target_arch = "x86_64")]
use super::{spread, wide};

/// Writes a block. There has to be room for it.
#[inline(always)]
pub(super) unsafe fn put<const N: usize>(at: *mut u8, block: &[u8; N]) -> *mut u8 {
    // SAFETY: the caller's; no other reference to the room is alive, because the vector is borrowed by the pen.
    unsafe { at.cast::<[u8; N]>().write(*block) };
    at
}

/// Up to `LONG` bytes as they are. There has to be room for them and a block.
#[inline(never)]
pub(super) unsafe fn copy(mut at: *mut u8, bytes: &[u8]) -> *mut u8 {
    // SAFETY: the caller's.
    unsafe {
        let Some(last) = bytes.last_chunk::<BLOCK>() else {
            return put(at, &short(bytes).to_le_bytes()).add(bytes.len());
        };
        let end = at.add(bytes.len());
        for block in bytes.as_chunks::<BLOCK>().0 {
            at = put(at, block).add(BLOCK);
        }
        put(end.sub(BLOCK), last);
        end
    }
}

/// The bytes where none of them needs an escape. There has to be room for them and a block.
#[inline(never)]
pub(super) unsafe fn copy_plain(mut at: *mut u8, text: &[u8], around: Around<'_>) -> Option<*mut u8> {
    let (blocks, rest) = text.as_chunks::<BLOCK>();
    // SAFETY: the caller's.
    unsafe {
        for block in blocks {
            if Block::of(block).specials() != 0 {
                return None;
            }
            at = put(at, block).add(BLOCK);
        }
        if !rest.is_empty() {
            let block = last(rest, around);
            if Block::of(&block).specials() & low(rest.len()) != 0 {
                return None;
            }
            at = put(at, &block).add(rest.len());
        }
    }
    Some(at)
}

/// Fewer bytes than a block's, and whatever behind them.
#[inline(always)]
fn last(rest: &[u8], around: Around<'_>) -> [u8; BLOCK] {
    around.read(rest, 0).copied().unwrap_or_else(|| short(rest).to_le_bytes())
}

/// Valid UTF-8 as the body of a JSON string. There has to be room for six bytes for each of its own and 64 more.
#[inline(never)]
pub(super) unsafe fn escape(at: *mut u8, text: &[u8], around: Around<'_>) -> *mut u8 {
    #[cfg(target_arch = "x86_64")]
    if text.len() >= BLOCK {
        // SAFETY: what is called is available; the rest is the caller's.
        unsafe {
            if wide::available() {
                return wide::escape(at, text);
            }
            if spread::available() {
                return escape_spread(at, text, around);
            }
        }
    }
    // SAFETY: the caller's.
    unsafe { escape_blocks(at, text, around) }
}

/// With what every processor has.
#[inline(always)]
unsafe fn escape_blocks(mut at: *mut u8, text: &[u8], around: Around<'_>) -> *mut u8 {
    let (blocks, rest) = text.as_chunks::<BLOCK>();
    // SAFETY: the caller's.
    unsafe {
        for block in blocks {
            let hits = Block::of(block).specials();
            at = match hits {
                0 => put(at, block).add(BLOCK),
                _ => escape_block(at, block, around.read(block, 0), BLOCK, hits),
            };
        }
        if !rest.is_empty() {
            let block = last(rest, around);
            let hits = Block::of(&block).specials() & low(rest.len());
            at = match hits {
                0 => put(at, &block).add(rest.len()),
                _ => escape_block(at, &block, around.read(rest, 0), rest.len(), hits),
            };
        }
    }
    at
}

/// The same where the processor can put several backslashes at once.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "ssse3,popcnt")]
unsafe fn escape_spread(mut at: *mut u8, text: &[u8], around: Around<'_>) -> *mut u8 {
    let (blocks, rest) = text.as_chunks::<BLOCK>();
    // SAFETY: the caller's.
    unsafe {
        for block in blocks {
            let lanes = Block::of(block);
            let hits = lanes.specials();
            if hits == 0 {
                at = put(at, block).add(BLOCK);
            } else if lanes.controls() == 0 {
                for (half, length) in spread::spread(block, hits) {
                    at = put(at, &half).add(length);
                }
            } else {
                at = escape_block(at, block, around.read(block, 0), BLOCK, hits);
            }
        }
        // Shorter than a block.
        if rest.is_empty() { at } else { escape_blocks(at, rest, around) }
    }
}

/// The first `length` bytes of a block, of which those of `hits` (a bit each, at least one) need an escape. `on`: the block with what stands behind it,
/// where that can be read.
#[inline(always)]
unsafe fn escape_block(
    mut at: *mut u8,
    block: &[u8; BLOCK],
    on: Option<&[u8; 2 * BLOCK]>,
    length: usize,
    mut hits: u32,
) -> *mut u8 {
    let mut own = [0; 2 * BLOCK];
    let bytes = on.unwrap_or_else(|| {
        own[..BLOCK].copy_from_slice(block);
        &own
    });
    let mut from = 0;
    // SAFETY: the caller's; `from` is 16 at most, and what is written so far is not more than six bytes for each in front of it.
    unsafe {
        while hits != 0 {
            let hit = hits.trailing_zeros() as usize;
            hits &= hits - 1;
            at = put(at, &*bytes.as_ptr().add(from).cast::<[u8; BLOCK]>()).add(hit - from);
            let byte = bytes[hit & (BLOCK - 1)];
            if byte >= 0x20 {
                // A quote or a backslash: the byte itself comes with the next block.
                at = put(at, b"\\").add(1);
                from = hit;
            } else {
                at = control(at, byte);
                from = hit + 1;
            }
        }
        put(at, &*bytes.as_ptr().add(from).cast::<[u8; BLOCK]>()).add(length - from)
    }
}

#[inline(never)]
pub(super) unsafe fn control(at: *mut u8, byte: u8) -> *mut u8 {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    // SAFETY: the caller's room of six bytes.
    unsafe {
        match byte {
            b'\n' => put(at, b"\\n").add(2),
            b'\r' => put(at, b"\\r").add(2),
            b'\t' => put(at, b"\\t").add(2),
            _ => {
                let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
                put(put(at, b"\\u00").add(4), &digits).add(2)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A way to escape a text.
    type Way = unsafe fn(*mut u8, &[u8], Around<'_>) -> *mut u8;

    fn by(way: Way, text: &[u8]) -> Vec<u8> {
        let mut out: Vec<u8> = Vec::with_capacity(6 * text.len() + 64);
        let start = out.as_mut_ptr();
        // SAFETY: there is the room that is asked for, and everything in front of the end is written.
        unsafe {
            let end = way(start, text, Around(text));
            out.set_len(end as usize - start as usize);
        }
        out
    }

    #[test]
    fn every_way_gives_the_same() {
        let mut ways: Vec<Way> = vec![escape, |at, text, around| unsafe { escape_blocks(at, text, around) }];
        #[cfg(target_arch = "x86_64")]
        {
            if spread::available() {
                ways.push(|at, text, around| unsafe { escape_spread(at, text, around) });
            }
            if wide::available() {
                ways.push(|at, text, _| unsafe { wide::escape(at, text) });
            }
        }
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for round in 0..20_000 {
            let mut text = vec![b'a'; round % 150];
            for byte in &mut text {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                *byte = match random % 32 {
                    0..=3 => b'"',
                    4 | 5 => b'\\',
                    6 if round % 3 == 0 => (random >> 8) as u8 % 0x20,
                    7 => 0x7f,
                    _ => b'a' + (random >> 8) as u8 % 26,
                };
            }
            let json = serde_json::to_string(&String::from_utf8_lossy(&text)).expect("a text");
            let back = |body: &[u8]| {
                let json = [b"\"", body, b"\""].concat();
                serde_json::from_slice::<String>(&json).expect("valid JSON")
            };
            let want = by(ways[0], &text);
            assert_eq!(back(&want), serde_json::from_str::<String>(&json).expect("its own"));
            for way in &ways[1..] {
                assert_eq!(by(*way, &text), want);
            }
        }
    }
}
