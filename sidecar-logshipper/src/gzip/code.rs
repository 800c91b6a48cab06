//! Prefix codes (RFC 1951, 3.2.2): from how often a symbol occurs to the bits that stand for it.

/// The longest code that is used, of the 15 bits that there may be: four literals or one whole match fit between two flushes, and
/// symbols so rare that they had a longer one do not matter.
pub(super) const LONGEST: u32 = 12;

/// A code for each of `N` symbols: its bits in the order in which they are written, and how many.
#[derive(Debug)]
pub(super) struct Code<const N: usize> {
    pub(super) lengths: [u8; N],
    codes: [u16; N],
}

impl<const N: usize> Code<N> {
    /// The shortest one for these counts, with no code longer than `longest` bits.
    pub(super) fn of(counts: &[u32; N], longest: u32) -> Self {
        Self::of_lengths(lengths(counts, longest))
    }

    /// The canonical one.
    pub(super) fn of_lengths(lengths: [u8; N]) -> Self {
        let mut per_length = [0_u16; 16];
        for &length in &lengths {
            per_length[usize::from(length & 15)] += u16::from(length > 0);
        }
        let mut next = [0_u16; 16];
        for length in 1..16 {
            next[length] = (next[length - 1] + per_length[length - 1]) << 1;
        }
        let mut codes = [0; N];
        for (code, &length) in codes.iter_mut().zip(&lengths).filter(|(_, length)| **length > 0) {
            let next = &mut next[usize::from(length & 15)];
            *code = next.reverse_bits() >> (16 - length);
            *next += 1;
        }
        Self { lengths, codes }
    }

    /// The bits of a symbol and their number.
    #[inline(always)]
    pub(super) fn get(&self, symbol: usize) -> (u64, u32) {
        (u64::from(self.codes[symbol]), u32::from(self.lengths[symbol]))
    }

    /// Bits that these counts of symbols take.
    pub(super) fn cost(&self, counts: &[u32; N]) -> u64 {
        counts.iter().zip(&self.lengths).map(|(&count, &length)| u64::from(count) * u64::from(length)).sum()
    }
}

/// Huffman's lengths, then none longer than `longest`. At least two symbols get one: a code of a single symbol is read in two ways.
fn lengths<const N: usize>(counts: &[u32; N], longest: u32) -> [u8; N] {
    // Count and symbol in one number, the rarest first.
    let mut leaves: Vec<u64> =
        (0..N).filter(|&at| counts[at] > 0).map(|at| u64::from(counts[at]) << 16 | at as u64).collect();
    let missing = (0..N).filter(|&at| counts[at] == 0).take(2_usize.saturating_sub(leaves.len()));
    leaves.extend(missing.map(|at| 1 << 16 | at as u64));
    leaves.sort_unstable();
    let depths = depths(&leaves);
    // How many codes there are of each length, those that are too long cut.
    let mut per_length = [0_u32; 16];
    for depth in depths {
        per_length[depth.min(longest) as usize] += 1;
    }
    // The share of all codes that are taken, in units of the longest: the cut ones took more than was theirs.
    let mut taken: u32 = (1..=longest).map(|length| per_length[length as usize] << (longest - length)).sum();
    while taken > 1 << longest {
        let Some(length) = (1..longest).rev().find(|&length| per_length[length as usize] > 0) else { break };
        per_length[length as usize] -= 1;
        per_length[length as usize + 1] += 1;
        taken -= 1 << (longest - length - 1);
    }
    while taken < 1 << longest && per_length[longest as usize] > 0 {
        per_length[longest as usize] -= 1;
        per_length[longest as usize - 1] += 1;
        taken += 1;
    }
    let mut lengths = [0; N];
    let mut leaves = leaves.iter();
    for length in (1..=longest).rev() {
        for leaf in leaves.by_ref().take(per_length[length as usize] as usize) {
            lengths[(leaf & 0xffff) as usize] = length as u8;
        }
    }
    lengths
}

/// How deep each of these sorted leaves lies in Huffman's tree: joined are always the two rarest, and those that were joined are rarest
/// in the order in which they were.
fn depths(leaves: &[u64]) -> Vec<u32> {
    let count = leaves.len();
    let mut weights: Vec<u64> = leaves.iter().map(|leaf| leaf >> 16).collect();
    let mut parents = vec![0; 2 * count - 1];
    let (mut leaf, mut inner) = (0, count);
    for parent in count..2 * count - 1 {
        let mut weight = 0;
        for _ in 0..2 {
            let rarest = if leaf < count && (inner >= parent || weights[leaf] <= weights[inner]) {
                leaf += 1;
                leaf - 1
            } else {
                inner += 1;
                inner - 1
            };
            parents[rarest] = parent;
            weight += weights[rarest];
        }
        weights.push(weight);
    }
    let mut depths = vec![0; 2 * count - 1];
    for node in (0..2 * count - 2).rev() {
        depths[node] = depths[parents[node]] + 1;
    }
    depths.truncate(count);
    depths
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shares of all codes together, of 1.
    fn taken<const N: usize>(lengths: &[u8; N]) -> f64 {
        lengths.iter().filter(|length| **length > 0).map(|length| f64::from(*length).exp2().recip()).sum()
    }

    #[test]
    fn what_is_frequent_is_short() {
        assert_eq!(Code::of(&[8, 0, 1, 2, 4], 12).lengths, [1, 0, 3, 3, 2]);
    }

    #[test]
    fn a_code_is_complete_and_not_too_long() {
        let mut random = fastrand::Rng::with_seed(5);
        for _ in 0..2_000 {
            let (used, skew) = (random.usize(0..=288), random.u32(0..31));
            let mut count = || {
                let width = random.u32(0..=skew);
                random.u32(..1 << width)
            };
            let counts: [u32; 288] = std::array::from_fn(|at| if at < used { count() } else { 0 });
            for longest in [9, LONGEST, 15] {
                let lengths = lengths(&counts, longest);
                assert!((taken(&lengths) - 1.0).abs() < 1e-9, "{counts:?}");
                assert!(lengths.iter().all(|length| u32::from(*length) <= longest));
                assert!(counts.iter().zip(&lengths).all(|(count, length)| *count == 0 || *length > 0));
            }
        }
    }

    #[test]
    fn codes_are_written_from_their_first_bit_on() {
        // The example of RFC 1951, 3.2.2: F is 00, A 010 … H 1111.
        let code = Code::of_lengths([3, 3, 3, 3, 3, 2, 4, 4]);
        assert_eq!(
            (code.get(5), code.get(0), code.get(1), code.get(7)),
            ((0b00, 2), (0b010, 3), (0b110, 3), (0b1111, 4))
        );
    }
}
