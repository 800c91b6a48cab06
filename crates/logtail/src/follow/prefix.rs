use std::io;

use super::body::Body;

/// Bytes of a file's beginning that are hashed.
const PREFIX: usize = 1024;
/// Bytes before a position that are compared.
pub(super) const CONTEXT: usize = 64;

/// FNV-1a, finished as in MurmurHash3 so that near inputs lie apart. Stable: it is written to disk.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let mut h = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3));
    h ^= h >> 33;
    h = h.wrapping_mul(0xff51_afd7_ed55_8ccd);
    h ^= h >> 33;
    h = h.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

/// The beginning of a file, as far as it was there: grows with the file up to 1 KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Prefix {
    pub(super) len: u64,
    pub(super) hash: u64,
}

impl Prefix {
    /// Whether `file` still begins with it; takes up what was added since.
    pub(super) fn holds(&mut self, file: &Body) -> io::Result<bool> {
        let mut buffer = [0; PREFIX];
        let bytes = file.read_at(&mut buffer, 0)?;
        let known = usize::try_from(self.len).unwrap_or(PREFIX).min(PREFIX);
        if bytes.len() < known || (known > 0 && hash(&bytes[..known]) != self.hash) {
            return Ok(false);
        }
        if bytes.len() > known {
            *self = Self { len: bytes.len() as u64, hash: hash(bytes) };
        }
        Ok(true)
    }
}

/// The (up to 64) bytes before `offset`.
pub(super) fn context_at(file: &Body, offset: u64) -> io::Result<Vec<u8>> {
    let len = offset.min(CONTEXT as u64);
    let mut buffer = [0; CONTEXT];
    let want = usize::try_from(len).unwrap_or(CONTEXT);
    Ok(file.read_at(&mut buffer[..want], offset - len)?.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_grows_with_its_file_and_knows_another() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a");
        std::fs::write(&path, "one\n").expect("writes");
        let mut prefix = Prefix::default();
        assert!(prefix.holds(&Body::open(&path).expect("opens")).expect("reads"));
        assert_eq!(prefix.len, 4);
        std::fs::write(&path, "one\ntwo\n").expect("writes");
        assert!(prefix.holds(&Body::open(&path).expect("opens")).expect("reads"));
        assert_eq!(prefix.len, 8);
        for other in ["one\n", "one\ntwx\n", "", "two\none\n and more"] {
            std::fs::write(&path, other).expect("writes");
            assert!(!prefix.clone().holds(&Body::open(&path).expect("opens")).expect("reads"), "{other:?}");
        }
    }
}
