//! What stands around many lines and is the same for all of them, copied in whole blocks: for a text of a hundred bytes, calling `memcpy` takes as
//! long as copying it.

const BLOCK: usize = 64;

/// A text with unused bytes behind it, so that it can be read in whole blocks.
#[derive(Clone, Debug, Default)]
pub struct Stencil {
    /// A whole number of blocks.
    padded: Vec<u8>,
    len: usize,
}

impl Stencil {
    pub fn new(text: &[u8]) -> Self {
        let mut stencil = Self::default();
        stencil.set(0, text);
        stencil
    }

    /// Keeps the first `from` bytes, as far as there are any, and goes on with `text`.
    pub fn set(&mut self, from: usize, text: &[u8]) {
        self.padded.truncate(self.len.min(from));
        self.padded.extend_from_slice(text);
        self.len = self.padded.len();
        self.padded.resize(self.len.next_multiple_of(BLOCK), 0);
    }

    /// Appends it.
    #[inline(always)]
    pub fn append(&self, out: &mut Vec<u8>) {
        match self.padded.as_chunks::<BLOCK>().0 {
            [one] => append([one], self.len, out),
            [one, two] => append([one, two], self.len, out),
            [one, two, three] => append([one, two, three], self.len, out),
            [one, two, three, four] => append([one, two, three, four], self.len, out),
            _ => out.extend_from_slice(&self.padded[..self.len]),
        }
    }
}

/// Appends blocks, of whose bytes `len` count.
#[inline(always)]
pub fn append<const N: usize, const BLOCK: usize>(blocks: [&[u8; BLOCK]; N], len: usize, out: &mut Vec<u8>) {
    out.reserve(N * BLOCK);
    let room = out.as_mut_ptr().wrapping_add(out.len()).cast::<[u8; BLOCK]>();
    for (at, block) in blocks.into_iter().enumerate() {
        #[allow(
            unsafe_code,
            reason = "the rest of a block does not count, and the vector must not be told that it does"
        )]
        // SAFETY: there is room for all blocks.
        unsafe {
            room.add(at).write_unaligned(*block);
        }
    }
    #[allow(unsafe_code, reason = "see above")]
    // SAFETY: so many bytes of the spare capacity are written, and they are within it.
    unsafe {
        out.set_len(out.len() + len.min(N * BLOCK));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_any_length_is_appended_whole() {
        let text: Vec<u8> = (0..=255).cycle().take(400).collect();
        for len in 0..text.len() {
            let mut out = b"x".to_vec();
            Stencil::new(&text[..len]).append(&mut out);
            Stencil::new(&text[..len]).append(&mut out);
            assert_eq!(out, [b"x", &text[..len], &text[..len]].concat());
        }
    }

    #[test]
    fn its_end_can_be_another() {
        let mut stencil = Stencil::new(b"same, old");
        stencil.set(6, b"and longer than before");
        stencil.set(6, b"new");
        let mut out = Vec::new();
        stencil.append(&mut out);
        assert_eq!(out, b"same, new");
        stencil.set(100, b"er");
        stencil.append(&mut out);
        assert_eq!(out, b"same, newsame, newer");
    }
}
