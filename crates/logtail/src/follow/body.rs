//! The bytes of a file, also of one that rotation has compressed: then they are unpacked as they are read, forward, with
//! no copy on disk and a window in memory no larger than what is asked for.

use std::cell::{OnceCell, RefCell};
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use crate::discover::{Identity, Packing, Stat, is_compressed, packing};

pub(super) enum Body {
    Plain(File),
    Packed(Box<Packed>),
}

pub(super) struct Packed {
    file: File,
    packing: Packing,
    /// Bytes when unpacked, once someone asked.
    size: OnceCell<u64>,
    state: RefCell<Window>,
}

/// What is unpacked now.
struct Window {
    decoder: Decoder,
    bytes: Vec<u8>,
    /// Offset of the first of `bytes`.
    start: u64,
}

/// One after the other all members of a gzip file, or all frames of a Zstandard file (whose window is at most 8 MiB at
/// the usual levels, and that is what it takes of memory).
enum Decoder {
    Gzip(Box<MultiGzDecoder<BufReader<File>>>),
    Zstd(zstd::stream::read::Decoder<'static, BufReader<File>>),
}

impl Read for Decoder {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
        }
    }
}

impl Body {
    /// Opens for reading; neither waits for the other end of a FIFO nor takes a terminal.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        #[allow(clippy::cast_possible_wrap, reason = "flags have few bits")]
        let flags = (rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY).bits() as i32;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(packing) = packing(name) else { return Ok(Self::Plain(file)) };
        let state = RefCell::new(Window { decoder: decoder(&file, packing)?, bytes: Vec::new(), start: 0 });
        Ok(Self::Packed(Box::new(Packed { file, packing, size: OnceCell::new(), state })))
    }

    /// As the kernel has it, with the size of what is inside: a packed one is unpacked once to its end for that, which
    /// fails when it is not complete.
    pub(super) fn stat(&self) -> io::Result<Stat> {
        match self {
            Self::Plain(file) => Stat::of_fd(file),
            Self::Packed(packed) => Ok(Stat { size: packed.size()?, ..Stat::of_fd(&packed.file)? }),
        }
    }

    /// What it is, however its names have moved since it was opened.
    pub(super) fn identity(&self) -> io::Result<Identity> {
        let file = match self {
            Self::Plain(file) => file,
            Self::Packed(packed) => &packed.file,
        };
        Ok(Stat::of_fd(file)?.identity)
    }

    /// The file itself, unless it is packed.
    pub(super) fn plain(&self) -> Option<&File> {
        match self {
            Self::Plain(file) => Some(file),
            Self::Packed(_) => None,
        }
    }

    /// Reads until the buffer is full or the file ends.
    pub(super) fn read_at<'b>(&self, buffer: &'b mut [u8], offset: u64) -> io::Result<&'b [u8]> {
        let mut filled = 0;
        while filled < buffer.len() {
            let at = offset + filled as u64;
            let read = match self {
                Self::Plain(file) => file.read_at(&mut buffer[filled..], at),
                Self::Packed(packed) => packed.read_at(&mut buffer[filled..], at),
            };
            match read {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(&buffer[..filled])
    }
}

/// By its name, it holds compressed bytes that cannot be read here.
pub(super) fn is_unreadable(name: &str) -> bool {
    is_compressed(name) && packing(name).is_none()
}

/// Reads from the start, whatever was read before: positions of descriptors are shared by their duplicates.
fn decoder(file: &File, packing: Packing) -> io::Result<Decoder> {
    let mut file = file.try_clone()?;
    io::Seek::rewind(&mut file)?;
    let file = BufReader::with_capacity(32 << 10, file);
    Ok(match packing {
        Packing::Gzip => Decoder::Gzip(Box::new(MultiGzDecoder::new(file))),
        Packing::Zstd => Decoder::Zstd(zstd::stream::read::Decoder::with_buffer(file)?),
    })
}

impl Packed {
    fn size(&self) -> io::Result<u64> {
        if let Some(size) = self.size.get() {
            return Ok(*size);
        }
        // On its own descriptor: the window stays where it is.
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let size = io::copy(&mut decoder(&File::open(path)?, self.packing)?, &mut io::sink())?;
        Ok(*self.size.get_or_init(|| size))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = &mut *self.state.borrow_mut();
        if offset < state.start {
            *state = Window { decoder: decoder(&self.file, self.packing)?, bytes: Vec::new(), start: 0 };
        }
        let mut chunk = [0; 32 << 10];
        let wanted = offset + buffer.len() as u64;
        while state.start + (state.bytes.len() as u64) < wanted {
            let n = state.decoder.read(&mut chunk)?;
            if n == 0 {
                break;
            }
            state.bytes.extend_from_slice(&chunk[..n]);
            state.forget_before(offset);
        }
        state.forget_before(offset);
        let n = state.bytes.len().min(buffer.len());
        buffer[..n].copy_from_slice(&state.bytes[..n]);
        Ok(n)
    }
}

impl Window {
    /// Only what comes from `offset` on is asked for next, apart from what a new window will bring.
    fn forget_before(&mut self, offset: u64) {
        let behind =
            usize::try_from(offset.saturating_sub(self.start)).unwrap_or(usize::MAX).min(self.bytes.len());
        self.bytes.drain(..behind);
        self.start += behind as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn packed_bytes_are_read_anywhere() {
        let text: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text).expect("packs");
        anywhere("a.log.1.gz", &text, &gzip.finish().expect("packs"));
        {
            // Two frames, as `cat a.zst b.zst` makes them.
            let (first, second) = text.split_at(text.len() / 3);
            let frames = [first, second].map(|part| zstd::encode_all(part, 1).expect("packs"));
            anywhere("a.log.1.zst", &text, &frames.concat());
        }
    }

    fn anywhere(name: &str, text: &[u8], packed: &[u8]) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(name);
        std::fs::write(&path, packed).expect("writes");
        let body = Body::open(&path).expect("opens");
        assert_eq!(body.stat().expect("stat").size, text.len() as u64);
        let mut buffer = vec![0; 70_000];
        for offset in [0, 64, 500_000, 499_936, 0, text.len() - 10, text.len(), 1] {
            let end = (offset + buffer.len()).min(text.len());
            assert!(
                body.read_at(&mut buffer, offset as u64).expect("reads") == &text[offset..end],
                "{name} {offset}"
            );
        }
        std::fs::write(&path, &packed[..packed.len() / 2]).expect("writes");
        assert!(Body::open(&path).and_then(|half| half.stat()).is_err(), "half of one is not one: {name}");
    }
}
