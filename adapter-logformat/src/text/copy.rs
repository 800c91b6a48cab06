//! Bytes as they are to the end of a vector.

use super::{Around, Pen};

/// Appends `bytes` as they are.
#[inline]
pub fn copy(out: &mut Vec<u8>, bytes: &[u8]) {
    Pen::new(out, Around(bytes)).bytes(bytes);
}

/// Appends `bytes` where none of them needs an escape; appends nothing and says false otherwise.
#[inline]
pub fn copy_plain(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    Pen::new(out, Around(bytes)).plain(bytes)
}
