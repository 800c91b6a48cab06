//! Bits into bytes, the lowest first (RFC 1951, 3.1.1).

/// Up to 56 bits are held back until [`flush`](Self::flush).
#[derive(Debug)]
pub(super) struct Bits<'a> {
    out: &'a mut [u8],
    at: usize,
    held: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    /// Into `out`, which has room for all that will be written and 8 bytes more.
    pub(super) fn new(out: &'a mut [u8], held: u64, count: u32) -> Self {
        Self { out, at: 0, held, count }
    }

    /// The lowest `count` bits of `value`, which has no others. At most 56 between two calls of [`flush`](Self::flush).
    #[inline(always)]
    pub(super) fn put(&mut self, value: u64, count: u32) {
        self.held |= value << self.count;
        self.count += count;
    }

    /// Makes room for 56 bits again.
    #[inline(always)]
    pub(super) fn flush(&mut self) {
        self.out[self.at..self.at + 8].copy_from_slice(&self.held.to_le_bytes());
        self.at += (self.count >> 3) as usize;
        self.held >>= self.count & 0x38;
        self.count &= 7;
    }

    /// How many whole bytes were written, and the bits that are left.
    pub(super) fn end(mut self) -> (usize, u64, u32) {
        self.flush();
        (self.at, self.held, self.count)
    }
}
