//! Texts to a place in memory as they are, in blocks: what a [`super::Pen`] does once it has made room.

#![expect(unsafe_code, reason = "see Pen")]

use jsontext::{Around, BLOCK, Block, low, short};

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
