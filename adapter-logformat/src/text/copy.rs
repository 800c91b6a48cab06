//! Bytes to the end of a vector, escaped for JSON or not.

use super::pen::Pen;

/// Appends `bytes` as they are.
#[inline]
pub fn copy(out: &mut Vec<u8>, bytes: &[u8]) {
    Pen::new(out).bytes(bytes);
}

/// Appends `bytes` where none of them needs an escape; appends nothing and says false otherwise.
#[inline]
pub fn copy_plain(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    Pen::new(out).plain(bytes)
}

/// Appends valid UTF-8 as a JSON string body.
pub fn escape_valid(out: &mut Vec<u8>, bytes: &[u8]) {
    // Room for a quote in every fourth byte, as JSON inside of JSON has.
    out.reserve(bytes.len() + bytes.len() / 4 + 16);
    Pen::new(out).escaped(bytes);
}
