//! The codes of a block, in front of it (RFC 1951, 3.2.7).

use super::bits::Bits;
use super::code::Code;
use super::{DISTANCES, LITERALS};

/// In which order the lengths of the code of lengths are said.
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
/// Literals and lengths that there are; the fixed code has two more that are never used.
const USED: usize = 286;

/// The lengths of both codes, said in a code of their own.
pub(super) struct Head {
    literals: usize,
    distances: usize,
    /// Symbol of the code of lengths, extra bits and how many.
    symbols: Vec<(u8, u8, u8)>,
    code: Code<19>,
    /// How many of its lengths are said, in their own order.
    said: usize,
}

impl Head {
    pub(super) fn of(literals: &[u8; LITERALS], distances: &[u8; DISTANCES]) -> Self {
        let used = |lengths: &[u8], least: usize| {
            lengths.iter().rposition(|length| *length > 0).map_or(least, |last| least.max(last + 1))
        };
        let (literals_used, distances_used) = (used(&literals[..USED], 257), used(distances, 1));
        let all = [&literals[..literals_used], &distances[..distances_used]].concat();
        let mut symbols = Vec::with_capacity(all.len());
        for run in all.chunk_by(|one, other| one == other) {
            repeat(run[0], run.len(), &mut symbols);
        }
        let mut counts = [0; 19];
        symbols.iter().for_each(|(symbol, ..)| counts[usize::from(*symbol)] += 1);
        let code = Code::of(&counts, 7);
        let said =
            ORDER.iter().rposition(|&symbol| code.lengths[symbol] > 0).map_or(4, |last| (last + 1).max(4));
        Self { literals: literals_used, distances: distances_used, symbols, code, said }
    }

    pub(super) fn cost(&self) -> u64 {
        let symbols = self
            .symbols
            .iter()
            .map(|(symbol, _, width)| u64::from(self.code.lengths[usize::from(*symbol)] + width));
        14 + 3 * self.said as u64 + symbols.sum::<u64>()
    }

    pub(super) fn put(&self, bits: &mut Bits<'_>) {
        bits.put(self.literals as u64 - 257, 5);
        bits.put(self.distances as u64 - 1, 5);
        bits.put(self.said as u64 - 4, 4);
        bits.flush();
        for &symbol in &ORDER[..self.said] {
            bits.put(u64::from(self.code.lengths[symbol]), 3);
            bits.flush();
        }
        for &(symbol, extra, width) in &self.symbols {
            let (code, len) = self.code.get(usize::from(symbol));
            bits.put(code, len);
            bits.put(u64::from(extra), u32::from(width));
            bits.flush();
        }
    }
}

/// A length so many times in a row.
fn repeat(length: u8, mut times: usize, symbols: &mut Vec<(u8, u8, u8)>) {
    if length == 0 {
        while times >= 3 {
            let now = times.min(138);
            symbols.push(if now < 11 { (17, now as u8 - 3, 3) } else { (18, now as u8 - 11, 7) });
            times -= now;
        }
    } else {
        symbols.push((length, 0, 0));
        times -= 1;
        while times >= 3 {
            let now = times.min(6);
            symbols.push((16, now as u8 - 3, 2));
            times -= now;
        }
    }
    symbols.extend(std::iter::repeat_n((length, 0, 0), times));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_said_as_such() {
        let said = |length, times| {
            let mut symbols = Vec::new();
            repeat(length, times, &mut symbols);
            symbols
        };
        assert_eq!(said(0, 2), [(0, 0, 0); 2]);
        assert_eq!(said(0, 10), [(17, 7, 3)]);
        assert_eq!(said(0, 141), [(18, 127, 7), (17, 0, 3)]);
        assert_eq!(said(5, 3), [(5, 0, 0); 3]);
        assert_eq!(said(5, 11), [(5, 0, 0), (16, 3, 2), (16, 1, 2)]);
    }
}
