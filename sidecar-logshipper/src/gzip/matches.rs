//! What was there before: a text as literals and matches (RFC 1951, 2 and 3.2.5). One place is remembered for each hash of six bytes.

/// The shortest match that is looked for. Shorter ones hardly pay for the bits of their distance.
const SHORTEST: usize = 6;
/// The longest that can be said.
const LONGEST: usize = 258;
/// The shortest that can be said.
const LEAST: usize = 3;
/// How far back a match can lie.
const WINDOW: usize = 32 << 10;
const HASH_BITS: u32 = 13;
/// After so many literals in a row, as a power of two, places are left out …
const PATIENCE: u32 = 5;
/// … but never more than this between two that are looked at.
const WIDEST: usize = 16;
/// Behind a place that is looked at there are so many bytes.
const MARGIN: usize = 8;

/// Some bytes as they are, and then so many from so far back. The last of a block may have no match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sequence {
    pub(super) literals: u32,
    pub(super) length: u16,
    pub(super) distance: u16,
}

/// Places by the hash of what stands there: their lowest 16 bits. What it says of a place is always compared.
#[derive(Debug)]
pub(super) struct Finder {
    places: Box<[u16; 1 << HASH_BITS]>,
}

impl Default for Finder {
    fn default() -> Self {
        Self { places: Box::new([0; 1 << HASH_BITS]) }
    }
}

impl Finder {
    pub(super) fn reset(&mut self) {
        self.places.fill(0);
    }

    /// Appends the sequences of `text` from `from` on until there are `most`, and says how far they reach.
    pub(super) fn find(&mut self, text: &[u8], from: usize, most: usize, out: &mut Vec<Sequence>) -> usize {
        let (mut at, mut done) = (from, from);
        while at + MARGIN <= text.len() && out.len() < most {
            let here = eight(text, at);
            let place = &mut self.places[hash(here)];
            let distance = usize::from((at as u16).wrapping_sub(*place));
            *place = at as u16;
            let reachable = distance.wrapping_sub(1) < (WINDOW - 1).min(at);
            if !reachable || (eight(text, at - distance) ^ here) << (64 - 8 * SHORTEST) != 0 {
                at += (1 + ((at - done) >> PATIENCE)).min(WIDEST);
                continue;
            }
            let end = at + SHORTEST + same(&text[at + SHORTEST..], &text[at - distance + SHORTEST..]);
            while at > done && at > distance && text[at - 1] == text[at - 1 - distance] {
                at -= 1;
            }
            self.note(text, at + 2);
            push(out, at - done, end - at, distance);
            self.note(text, end.saturating_sub(2));
            done = end;
            at = end;
        }
        if out.len() < most {
            push_rest(out, text.len() - done);
            done = text.len();
        }
        done
    }

    #[inline(always)]
    fn note(&mut self, text: &[u8], at: usize) {
        if at + MARGIN <= text.len() {
            self.places[hash(eight(text, at))] = at as u16;
        }
    }
}

fn push_rest(out: &mut Vec<Sequence>, literals: usize) {
    if literals > 0 {
        out.push(Sequence { literals: literals as u32, length: 0, distance: 0 });
    }
}

/// A match that is too long for one is several, none of them too short for one.
#[inline(always)]
fn push(out: &mut Vec<Sequence>, literals: usize, length: usize, distance: usize) {
    let (mut literals, mut left) = (literals as u32, length);
    while left > LONGEST {
        let length = LONGEST.min(left - LEAST);
        out.push(Sequence { literals, length: length as u16, distance: distance as u16 });
        (literals, left) = (0, left - length);
    }
    out.push(Sequence { literals, length: left as u16, distance: distance as u16 });
}

/// How many bytes at the beginning are the same.
#[inline(always)]
fn same(a: &[u8], b: &[u8]) -> usize {
    let (eights, _) = a.as_chunks::<8>();
    let (others, _) = b.as_chunks::<8>();
    let mut len = 0;
    for (one, other) in eights.iter().zip(others) {
        let differ = u64::from_le_bytes(*one) ^ u64::from_le_bytes(*other);
        if differ != 0 {
            return len + (differ.trailing_zeros() >> 3) as usize;
        }
        len += 8;
    }
    len + a[len..].iter().zip(&b[len..]).take_while(|(one, other)| one == other).count()
}

#[inline(always)]
fn eight(text: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*text[at..].first_chunk().unwrap_or(&[0; 8]))
}

#[inline(always)]
fn hash(bytes: u64) -> usize {
    ((bytes << (64 - 8 * SHORTEST)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - HASH_BITS)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &[u8]) -> Vec<Sequence> {
        let mut out = Vec::new();
        assert_eq!(Finder::default().find(text, 0, 100, &mut out), text.len());
        out
    }

    #[test]
    fn a_match_is_as_long_as_it_can_be() {
        let text = b"a first line\nb first line\n";
        let whole = Sequence { literals: 14, length: 12, distance: 13 };
        assert_eq!(found(text), [whole]);
        assert_eq!(found(b"nothing twice"), [Sequence { literals: 13, length: 0, distance: 0 }]);
    }

    #[test]
    fn a_long_match_is_several() {
        let lengths = |len| found(&vec![b'x'; len]).iter().map(|one| one.length).collect::<Vec<_>>();
        assert_eq!(lengths(1 + 258), [258]);
        assert_eq!(lengths(1 + 259), [256, 3]);
        assert_eq!(lengths(1 + 516), [258, 258]);
    }

    #[test]
    fn nothing_is_found_behind_the_window() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut text = b"once upon a time".to_vec();
        text.extend((0..WINDOW).map(|_| random.u8(128..)));
        text.extend_from_slice(b"once upon a time, and more");
        assert!(found(&text).iter().all(|one| one.length < 10 && usize::from(one.distance) < WINDOW));
    }

    #[test]
    fn the_search_goes_on_where_it_ended() {
        let text = b"12345678abc-12345678def-12345678abc-12345678def-".repeat(5);
        let (mut finder, mut at, mut out) = (Finder::default(), 0, Vec::new());
        while at < text.len() {
            let mut part = Vec::new();
            at = finder.find(&text, at, 1, &mut part);
            assert_eq!(part.len(), 1);
            out.extend(part);
        }
        let bytes = |one: &Sequence| one.literals as usize + usize::from(one.length);
        assert_eq!(out.iter().map(bytes).sum::<usize>(), text.len());
    }
}
