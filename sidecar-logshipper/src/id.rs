//! The `_id` of a document: twelve letters for the file, some for where its line begins there, five for what it says. The same line again is
//! a conflict, which means that it has arrived; another line is never taken for it. Stable: an id that was sent must come out again after
//! a restart, also of a newer version.

use logtail::FileId;

use crate::digest;
use crate::stencil::append;

/// The alphabet that is safe in URLs (RFC 4648, 5), which Elasticsearch keeps in three quarters of its length.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// Bytes of what follows an id in its action.
const BEHIND: usize = 4;
/// Letters of a digest (30 bits).
const DIGEST: usize = 5;

/// Tells files of a pod apart, and with 72 bits those of different pods on different nodes. `seed` is the pod's.
pub fn of_file(seed: u32, file: FileId) -> [u8; 12] {
    // What is odd loses nothing: under one seed, different files stay different.
    let mixed = file.0 ^ u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let bits = u128::from(mixed) | u128::from(seed & 0xff) << 64;
    std::array::from_fn(|at| letter((bits >> (66 - 6 * at)) as u64))
}

/// Appends the place of a line at `offset`, room for what it says, and what ends an action. Says where that room is: see [`say`].
#[inline]
pub fn end(offset: u64, out: &mut Vec<u8>) -> usize {
    // The first letter is to stand in the lowest byte, so the last one comes first.
    let (mut left, mut place, mut letters) = (offset >> 6, u128::from(letter(offset)), 1);
    while left > 0 {
        place = place << 8 | u128::from(letter(left));
        left >>= 6;
        letters += 1;
    }
    append([&place.to_le_bytes()], letters, out);
    append([b"AAAAA\"}}\n\0\0\0\0\0\0\0"], DIGEST + BEHIND, out);
    out.len() - DIGEST - BEHIND
}

/// What the line says, at the beginning of `room`.
#[inline]
pub fn say(line: &[u8], room: &mut [u8]) {
    let digest = digest::of(line);
    if let Some(room) = room.first_chunk_mut::<DIGEST>() {
        *room = std::array::from_fn(|at| letter(u64::from(digest >> (24 - 6 * at))));
    }
}

#[inline(always)]
fn letter(bits: u64) -> u8 {
    ALPHABET[(bits & 63) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn rest(offset: u64, line: &[u8]) -> String {
        let mut out = Vec::new();
        let digest = end(offset, &mut out);
        say(line, &mut out[digest..]);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn an_id_is_the_same_for_ever() {
        assert_eq!(&of_file(0, FileId(0)), b"AAAAAAAAAAAA");
        assert_eq!(&of_file(0xdead_beef, FileId(0x0123_4567_89ab_cdef)), b"7wH8qPCneaB0");
        assert_eq!(rest(0, b""), "A9obT_\"}}\n");
        assert_eq!(rest(1_234_567_890, b"a line"), "BJlgLSyMuaw\"}}\n");
        assert_eq!(rest(u64::MAX, b""), "P__________9obT_\"}}\n");
    }

    #[test]
    fn files_and_pods_lie_apart() {
        let mut seen = HashSet::new();
        for seed in [0, 1, 256, 0x0100_0001, u32::MAX] {
            for file in (0..64).map(|bit| 1 << bit).chain([0]) {
                assert!(seen.insert(of_file(seed, FileId(file))), "{seed} {file}");
            }
        }
    }

    #[test]
    fn places_have_ids_of_their_own() {
        let mut seen = HashSet::new();
        for offset in (0..10_000).chain((14..64).map(|bit| 1 << bit)) {
            let id = rest(offset, b"the same");
            assert!(id.ends_with("\"}}\n") && seen.insert(id), "{offset}");
        }
    }
}
