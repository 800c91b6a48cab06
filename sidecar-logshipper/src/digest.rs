//! What a line says, in 30 bits, for its document's `_id`. Stable: an id that was sent must come out again after a restart, also of a
//! newer version.

/// Odd, with half of their bits set: what is multiplied with them reaches all bits of the product.
const K: [u64; 3] = [0x9e37_79b9_7f4a_7c15, 0xd6e8_feb8_6659_fd93, 0xc2b2_ae3d_27d4_eb4f];

/// Sixteen bytes by one multiplication whose halves are folded together, as in wyhash (github.com/wangyi-fudan/wyhash); CRC-32 takes
/// several times as long for the length of a usual line.
pub fn of(bytes: &[u8]) -> u32 {
    let (pairs, rest) = bytes.as_chunks::<32>();
    // Two at a time, because the next multiplication needs the result of the last.
    let (mut one, mut two) = (K[0] ^ bytes.len() as u64, K[2]);
    for pair in pairs {
        one = fold(one, pair.first_chunk().unwrap_or(&[0; 16]));
        two = fold(two, pair.last_chunk().unwrap_or(&[0; 16]));
    }
    if !rest.is_empty() {
        // The last 32 bytes once more in part, or what there is with zeros behind it; the length tells these apart.
        let mut padded = [0; 32];
        let pair: &[u8; 32] = bytes.last_chunk().unwrap_or_else(|| {
            padded[..rest.len()].copy_from_slice(rest);
            &padded
        });
        one = fold(one, pair.first_chunk().unwrap_or(&[0; 16]));
        two = fold(two, pair.last_chunk().unwrap_or(&[0; 16]));
    }
    (multiply(one ^ K[2], two ^ K[0]) >> 34) as u32
}

#[inline(always)]
fn fold(state: u64, step: &[u8; 16]) -> u64 {
    let both = u128::from_le_bytes(*step);
    let (low, high) = (both as u64, (both >> 64) as u64);
    // The state is mixed in as well: a factor of 0 must not forget what came before.
    multiply(low ^ K[1], high ^ state) ^ state.rotate_left(23)
}

#[inline(always)]
fn multiply(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn it_is_the_same_for_ever() {
        let of_len = |len: usize| of(&(0..len).map(|at| at as u8).collect::<Vec<u8>>());
        assert_eq!(
            [0, 1, 15, 16, 17, 138].map(of_len),
            [1_034_007_807, 332_196_749, 739_266_342, 254_680_975, 130_012_075, 135_965_576]
        );
    }

    #[test]
    fn near_lines_lie_apart() {
        let mut seen = HashSet::new();
        let line = b"10.0.0.1 - - [21/Nov/2026:13:00:00 +0000] \"GET /api/v1/items/7 HTTP/1.1\" 200 612";
        for len in 0..=line.len() {
            assert!(seen.insert(of(&line[..len])), "a prefix of {len}");
            assert!(seen.insert(of(&[&line[..len], &[0]].concat())), "a zero behind {len}");
        }
        for at in 0..line.len() {
            for bit in 0..8 {
                let mut other = *line;
                other[at] ^= 1 << bit;
                assert!(seen.insert(of(&other)), "bit {bit} of byte {at}");
            }
        }
    }
}
