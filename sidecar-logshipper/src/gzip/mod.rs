//! `gzip` (RFC 1952) for bodies of log lines, at the lowest cost: a sidecar's processor time is the app's.
//!
//! What stands around a line is the same for thousands of them, and half of the line itself was in another one. One place remembered
//! for each hash finds that ([`matches`]); then come the symbols that this leaves, in codes made for them ([`code`], [`head`]).
//! Half the time of zlib's quickest level, and no larger.

mod bits;
mod code;
mod head;
mod matches;

use bits::Bits;
use code::{Code, LONGEST};
use head::Head;
use matches::{Finder, Sequence};

const LITERALS: usize = 288;
const DISTANCES: usize = 30;
const END: usize = 256;
/// Sequences of a block: enough that its codes cost little, and few enough to stay in the processor's cache.
const BLOCK: usize = 8 << 10;
/// Compresses one body after the other, in 80 KB of memory.
#[derive(Debug, Default)]
pub struct Gzip {
    finder: Finder,
    sequences: Vec<Sequence>,
}

/// How often each symbol occurs in a block, and bits that come behind symbols.
struct Counts {
    literals: [u32; LITERALS],
    distances: [u32; DISTANCES],
    extra: u64,
}

impl Gzip {
    /// A whole gzip file of `body`.
    pub fn pack(&mut self, body: &[u8]) -> Vec<u8> {
        self.finder.reset();
        let mut out = Vec::with_capacity(body.len() / 5 + 64);
        // Deflate, no name, no time, the quickest way, from Unix.
        out.extend_from_slice(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 3]);
        let (mut at, mut held) = (0, (0, 0));
        loop {
            self.sequences.clear();
            let end = self.finder.find(body, at, BLOCK, &mut self.sequences);
            held = block(&body[at..end], &self.sequences, end == body.len(), held, &mut out);
            at = end;
            if at == body.len() {
                break;
            }
        }
        if held.1 > 0 {
            out.push(held.0 as u8);
        }
        out.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
        out.extend_from_slice(&(body.len() as u32).to_le_bytes());
        out
    }
}

/// Appends one block; takes and gives the bits that fill no byte.
fn block(text: &[u8], sequences: &[Sequence], last: bool, held: (u64, u32), out: &mut Vec<u8>) -> (u64, u32) {
    let counts = Counts::of(text, sequences);
    let (literals, distances) = (Code::of(&counts.literals, LONGEST), Code::of(&counts.distances, LONGEST));
    let head = Head::of(&literals.lengths, &distances.lengths);
    let cost = |literals: &Code<LITERALS>, distances: &Code<DISTANCES>| {
        literals.cost(&counts.literals) + distances.cost(&counts.distances) + counts.extra
    };
    let fixed = (fixed_literals(), Code::of_lengths([5; DISTANCES]));
    let (own, known) = (head.cost() + cost(&literals, &distances), cost(&fixed.0, &fixed.1));
    let begin = out.len();
    out.resize(begin + (own.min(known) / 8) as usize + 16, 0);
    let mut bits = Bits::new(&mut out[begin..], held.0, held.1);
    let (bytes, held, count) = if own < known {
        bits.put(u64::from(last) | 2 << 1, 3);
        bits.flush();
        head.put(&mut bits);
        body(text, sequences, &literals, &distances, bits)
    } else {
        bits.put(u64::from(last) | 1 << 1, 3);
        bits.flush();
        body(text, sequences, &fixed.0, &fixed.1, bits)
    };
    out.truncate(begin + bytes);
    (held, count)
}

/// The code that every decoder knows (RFC 1951, 3.2.6).
fn fixed_literals() -> Code<LITERALS> {
    Code::of_lengths(std::array::from_fn(|symbol| match symbol {
        0..144 => 8,
        144..256 => 9,
        256..280 => 7,
        _ => 8,
    }))
}

fn body(
    mut text: &[u8],
    sequences: &[Sequence],
    literals: &Code<LITERALS>,
    distances: &Code<DISTANCES>,
    mut bits: Bits<'_>,
) -> (usize, u64, u32) {
    let lengths: [(u32, u32); 256] = std::array::from_fn(|at| {
        let (symbol, extra, width) = length_symbol(at + 3);
        let (code, len) = literals.get(symbol);
        (code as u32 | extra << len, len + width)
    });
    for sequence in sequences {
        let (run, rest) = text.split_at(sequence.literals as usize);
        let (fours, others) = run.as_chunks::<4>();
        for four in fours {
            for &literal in four {
                let (code, len) = literals.get(usize::from(literal));
                bits.put(code, len);
            }
            bits.flush();
        }
        for &literal in others {
            let (code, len) = literals.get(usize::from(literal));
            bits.put(code, len);
        }
        bits.flush();
        if sequence.length > 0 {
            let (code, len) = lengths[usize::from(sequence.length - 3) & 255];
            bits.put(u64::from(code), len);
            let (symbol, extra, width) = distance_symbol(sequence.distance);
            let (code, len) = distances.get(symbol);
            bits.put(code | u64::from(extra) << len, len + width);
            bits.flush();
        }
        text = &rest[usize::from(sequence.length)..];
    }
    let (code, len) = literals.get(END);
    bits.put(code, len);
    bits.end()
}

impl Counts {
    fn of(mut text: &[u8], sequences: &[Sequence]) -> Self {
        let mut counts = Self { literals: [0; LITERALS], distances: [0; DISTANCES], extra: 0 };
        let mut lengths = [0_u32; 256];
        for sequence in sequences {
            let (run, rest) = text.split_at(sequence.literals as usize);
            for &literal in run {
                counts.literals[usize::from(literal)] += 1;
            }
            if sequence.length > 0 {
                lengths[usize::from(sequence.length - 3) & 255] += 1;
                let (symbol, _, width) = distance_symbol(sequence.distance);
                counts.distances[symbol] += 1;
                counts.extra += u64::from(width);
            }
            text = &rest[usize::from(sequence.length)..];
        }
        for (at, count) in lengths.into_iter().enumerate() {
            let (symbol, _, width) = length_symbol(at + 3);
            counts.literals[symbol] += count;
            counts.extra += u64::from(count) * u64::from(width);
        }
        counts.literals[END] = 1;
        counts
    }
}

/// Symbol, extra bits and how many (RFC 1951, 3.2.5).
fn length_symbol(length: usize) -> (usize, u32, u32) {
    if length == 258 {
        return (285, 0, 0);
    }
    let steps = length as u32 - 3;
    if steps < 8 {
        return (257 + steps as usize, 0, 0);
    }
    let width = steps.ilog2() - 2;
    let symbol = 257 + 4 * width + (steps >> width);
    (symbol as usize, steps & ((1 << width) - 1), width)
}

#[inline(always)]
fn distance_symbol(distance: u16) -> (usize, u32, u32) {
    let steps = u32::from(distance).wrapping_sub(1);
    if steps < 4 {
        return (steps as usize, 0, 0);
    }
    let width = steps.ilog2() - 1;
    let symbol = 2 * width + (steps >> width);
    (symbol as usize % DISTANCES, steps & ((1 << width) - 1), width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    /// Packs with what was used before, and unpacks with another implementation.
    fn check(gzip: &mut Gzip, body: &[u8]) -> usize {
        let packed = gzip.pack(body);
        let mut unpacked = Vec::new();
        let mut decoder = flate2::bufread::GzDecoder::new(&packed[..]);
        decoder.read_to_end(&mut unpacked).expect("gzip");
        assert!(unpacked == body, "{} bytes came back as {}", body.len(), unpacked.len());
        assert!(decoder.into_inner().is_empty(), "nothing behind it");
        packed.len()
    }

    fn lines(count: usize, random: &mut fastrand::Rng) -> Vec<u8> {
        let line = |at| {
            let (a, size) = (random.u8(..), random.u16(..));
            format!(
                "{{\"log.file.path\":\"/var/log/app.log\",\"log.offset\":{at},\"message\":\"10.0.0.{a} GET /items/{at} 200 {size}\"}}\n"
            )
        };
        (0..count).map(line).collect::<String>().into_bytes()
    }

    #[test]
    fn every_length_comes_back() {
        let (mut gzip, mut random) = (Gzip::default(), fastrand::Rng::with_seed(1));
        let text = lines(20, &mut random);
        for len in 0..text.len().min(700) {
            check(&mut gzip, &text[..len]);
            check(&mut gzip, &vec![b'x'; len]);
        }
    }

    #[test]
    fn random_texts_of_every_kind_come_back() {
        let (mut gzip, mut random) = (Gzip::default(), fastrand::Rng::with_seed(2));
        for _ in 0..300 {
            // Letters of a small or large alphabet, and pieces of what was there before, near and far.
            let (letters, len) = (random.u8(1..=255), random.usize(0..200_000));
            let mut text = Vec::new();
            while text.len() < len {
                if random.bool() || text.is_empty() {
                    text.extend((0..random.usize(0..40)).map(|_| random.u8(..=letters)));
                } else {
                    let from =
                        random.usize(0..text.len()).max(text.len().saturating_sub(random.usize(1..80_000)));
                    let most = if random.u8(..) == 0 { 5_000 } else { 300 };
                    let piece = random.usize(1..most);
                    (0..piece).for_each(|at| text.push(text[from + at]));
                }
            }
            check(&mut gzip, &text);
        }
    }

    #[test]
    fn it_is_no_larger_than_by_the_quickest_level_of_zlib() {
        let mut random = fastrand::Rng::with_seed(3);
        for text in [lines(10_000, &mut random), lines(3, &mut random)] {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut encoder, &text).expect("writes");
            let (own, zlib) = (check(&mut Gzip::default(), &text), encoder.finish().expect("ends").len());
            assert!(own <= zlib, "{own} and {zlib} of {}", text.len());
        }
    }

    #[test]
    fn what_cannot_be_compressed_hardly_grows() {
        let mut random = fastrand::Rng::with_seed(4);
        let noise: Vec<u8> = (0..1_000_000).map(|_| random.u8(..)).collect();
        assert!(check(&mut Gzip::default(), &noise) < 1_005_000);
    }

    #[test]
    fn symbols_are_those_of_the_tables() {
        assert_eq!(
            [3, 10, 11, 12, 13, 257, 258].map(length_symbol),
            [(257, 0, 0), (264, 0, 0), (265, 0, 1), (265, 1, 1), (266, 0, 1), (284, 30, 5), (285, 0, 0)]
        );
        assert_eq!(
            [1, 4, 5, 6, 7, 24_577, 32_768].map(distance_symbol),
            [(0, 0, 0), (3, 0, 0), (4, 0, 1), (4, 1, 1), (5, 0, 1), (29, 0, 13), (29, 8191, 13)]
        );
    }
}
