use std::io;

use super::body::Body;

/// Bytes of a file's beginning that are hashed.
pub(super) const PREFIX: usize = 1024;
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
    /// Whether what begins with `start` begins with it. True when nothing is known.
    pub(super) fn begins(&self, start: &[u8]) -> bool {
        let known = usize::try_from(self.len).unwrap_or(PREFIX).min(PREFIX);
        start.len() >= known && (known == 0 || hash(&start[..known]) == self.hash)
    }

    /// Whether `file` still begins with it; takes up what was added since.
    pub(super) fn holds(&mut self, file: &Body) -> io::Result<bool> {
        let mut buffer = [0; PREFIX];
        let bytes = file.read_at(&mut buffer, 0)?;
        if !self.begins(bytes) {
            return Ok(false);
        }
        if bytes.len() as u64 > self.len {
            *self = Self { len: bytes.len() as u64, hash: hash(bytes) };
        }
        Ok(true)
    }
}

/// The (up to 64) bytes before a position. Within its file's record, and not in the heap: what stays of a thousand files there, each between
/// things that are soon freed, keeps all those pages.
#[derive(Clone, Debug)]
pub(super) struct Context {
    bytes: [u8; CONTEXT],
    len: usize,
}

impl Default for Context {
    fn default() -> Self {
        Self { bytes: [0; CONTEXT], len: 0 }
    }
}

impl Context {
    /// Those before `offset`.
    pub(super) fn at(file: &Body, offset: u64) -> io::Result<Self> {
        let want = usize::try_from(offset).unwrap_or(CONTEXT).min(CONTEXT);
        let mut context = Self::default();
        context.len = file.read_at(&mut context.bytes[..want], offset - want as u64)?.len();
        Ok(context)
    }

    /// They are still there before `offset`, where they were.
    pub(super) fn is_before(&self, offset: u64, file: &Body) -> io::Result<bool> {
        let mut buffer = [0; CONTEXT];
        Ok(file.read_at(&mut buffer[..self.len], offset - self.len as u64)? == &**self)
    }

    /// The position has moved over these.
    pub(super) fn pass(&mut self, passed: &[u8]) {
        let new = &passed[passed.len().saturating_sub(CONTEXT)..];
        let keep = self.len.min(CONTEXT - new.len());
        self.bytes.copy_within(self.len - keep..self.len, 0);
        self.bytes[keep..keep + new.len()].copy_from_slice(new);
        self.len = keep + new.len();
    }
}

impl std::ops::Deref for Context {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_what_was_passed_last() {
        let text: Vec<u8> = (0..=255).collect();
        let mut context = Context::default();
        let mut at = 0;
        for len in [0, 10, 50, 3, 60, 1, 64, 0, 66] {
            context.pass(&text[at..at + len]);
            at += len;
            assert_eq!(*context, text[at.saturating_sub(CONTEXT)..at], "after {at}");
        }
    }

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
