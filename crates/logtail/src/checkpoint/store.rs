use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::Positions;
use crate::Error;

/// First word of the file; the number changes when the meaning of what follows does.
const MAGIC: &str = "podmates-positions";
const VERSION: u32 = 1;

/// How files grow, in bytes: whole blocks of most file systems.
const BLOCK: usize = 4 << 10;

/// A file of positions: one header line (magic, version, CRC-32 and length of the rest), then JSON, then newlines up to a whole block. Replaced
/// whole: written beside, synced, renamed, the directory synced; so there is the old one or the new one, never half.
///
/// The one before stays as `….new` and is written over the next time: a disk that has become full meanwhile takes the positions all the same,
/// as long as they have not grown beyond what is there for them.
#[derive(Clone, Debug)]
pub struct Store {
    path: PathBuf,
    temp: PathBuf,
}

/// What was found.
#[derive(Debug)]
pub enum Loaded {
    /// A first start.
    Nothing,
    Found(Positions),
    /// Not usable. It lies at `aside` now; reading starts from the beginning, never from the end.
    Damaged {
        aside: PathBuf,
        reason: String,
    },
}

#[derive(Debug, thiserror::Error)]
#[error("positions were not saved at {}: {source}", path.display())]
pub struct SaveError {
    pub path: PathBuf,
    pub source: io::Error,
}

impl Store {
    /// Opens or prepares the file, creating its directory. Writes nothing yet.
    ///
    /// # Errors
    /// The directory cannot be created, or the file is there and cannot be read or set aside: going on would mean to
    /// repeat everything or to overwrite what another one needs.
    pub fn open(path: impl Into<PathBuf>) -> Result<(Self, Loaded), Error> {
        let path = path.into();
        let failed = |source, remedy| Error::State { path: path.clone(), source, remedy };
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            fs::create_dir_all(dir)
                .map_err(|e| failed(e, "mount a writable volume there or choose another directory"))?;
        }
        let loaded = match read_limited(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Loaded::Nothing,
            Err(e) => return Err(failed(e, "make it readable for this user")),
            Ok(bytes) => match decode(&bytes) {
                Ok(positions) => Loaded::Found(positions),
                Err(reason) => {
                    let aside = free_name(&path);
                    fs::rename(&path, &aside).map_err(|e| failed(e, "it is damaged; move it away"))?;
                    Loaded::Damaged { aside, reason }
                }
            },
        };
        let temp = with_suffix(&path, ".new");
        Ok((Self { path, temp }, loaded))
    }

    /// Reads what is saved at `path`, for people; changes nothing.
    ///
    /// # Errors
    /// It is not there, or damaged.
    pub fn peek(path: &Path) -> io::Result<Positions> {
        let mut tries = 0..3;
        loop {
            match decode(&read_limited(path)?) {
                Ok(positions) => return Ok(positions),
                // Exchanged and written over while it was read.
                Err(_) if tries.next().is_some() => {}
                Err(reason) => return Err(io::Error::new(io::ErrorKind::InvalidData, reason)),
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces what is saved. Blocks on the disk.
    ///
    /// # Errors
    /// The disk is full or failing. What was saved before is still there.
    pub fn save(&self, positions: &Positions) -> Result<(), SaveError> {
        self.write(positions).map_err(|source| SaveError { path: self.path.clone(), source })
    }

    fn write(&self, positions: &Positions) -> io::Result<()> {
        let bytes = encode(positions)?;
        self.fill(&bytes)?.sync_data()?;
        let dir = self.path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        match renameat_with(CWD, &self.temp, CWD, &self.path, RenameFlags::EXCHANGE) {
            Ok(()) => {}
            // The first one, or a file system that cannot exchange names: then each is made anew.
            Err(_) => {
                fs::rename(&self.temp, &self.path)?;
                // The room for the next one, if there is any yet.
                let _ = self.fill(&bytes);
            }
        }
        File::open(dir)?.sync_all().inspect_err(|_| {
            // Which of the two a restart finds is not certain: neither may be written over.
            let _ = fs::remove_file(&self.temp);
        })
    }

    /// Writes `bytes` into the one that is not in use, with room to grow where there is any.
    fn fill(&self, bytes: &[u8]) -> io::Result<File> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(&self.temp)?;
        let there = usize::try_from(file.metadata()?.len()).unwrap_or(0);
        let scarce = there < bytes.len() + bytes.len() / 4;
        let plenty = there / 4 > bytes.len() + BLOCK;
        let room =
            if scarce || plenty { (bytes.len() + bytes.len() / 2).next_multiple_of(BLOCK) } else { there };
        let mut padded = Vec::with_capacity(room);
        padded.extend_from_slice(bytes);
        padded.resize(room, b'\n');
        let (written, ended) = write_all(&mut file, &padded);
        if let Err(e) = ended.and_then(|()| file.set_len(room as u64)) {
            // What it took in vain would keep a full disk full.
            let _ = file.set_len(there as u64);
            if !is_enough(written, bytes.len(), there, &e) {
                return Err(e);
            }
        }
        Ok(file)
    }
}

/// As [`Write::write_all`], and says how far it came.
fn write_all(file: &mut impl Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(n) => written += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return (written, Err(e)),
        }
    }
    (written, Ok(()))
}

/// Only room to grow is missing. What is written over is not always there already: where it is copied first (Btrfs, ZFS, snapshots), a full disk
/// refuses that, too.
fn is_enough(written: usize, needed: usize, there: usize, error: &io::Error) -> bool {
    written >= needed && there >= needed && error.kind() == io::ErrorKind::StorageFull
}

fn encode(positions: &Positions) -> io::Result<Vec<u8>> {
    let body = serde_json::to_vec(positions)?;
    let mut bytes = format!("{MAGIC} {VERSION} {:08x} {}\n", crc32fast::hash(&body), body.len()).into_bytes();
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

fn decode(bytes: &[u8]) -> Result<Positions, String> {
    let newline = memchr::memchr(b'\n', bytes).ok_or("it has no header line")?;
    let header = std::str::from_utf8(&bytes[..newline]).map_err(|_| "its header is not text")?;
    let body = &bytes[newline + 1..];
    let mut words = header.split(' ');
    if words.next() != Some(MAGIC) {
        return Err(format!("it does not begin with {MAGIC:?}"));
    }
    let version: u32 = words.next().and_then(|word| word.parse().ok()).ok_or("its header has no version")?;
    if version != VERSION {
        return Err(format!("it has version {version}, this program writes {VERSION}"));
    }
    let crc = words
        .next()
        .and_then(|word| u32::from_str_radix(word, 16).ok())
        .ok_or("its header has no checksum")?;
    let length: usize = words.next().and_then(|word| word.parse().ok()).ok_or("its header has no length")?;
    let Some(body) = body.get(..length) else {
        return Err(format!("it holds {} of {length} bytes", body.len()));
    };
    if crc32fast::hash(body) != crc {
        return Err("its checksum does not match".into());
    }
    serde_json::from_slice(body).map_err(|e| e.to_string())
}

/// A file of positions has some hundred bytes per followed file; more than this is something else.
fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    const LIMIT: u64 = 256 << 20;
    let mut bytes = Vec::new();
    File::open(path)?.take(LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(suffix);
    name.into()
}

fn free_name(path: &Path) -> PathBuf {
    (1..1000)
        .map(|n| with_suffix(path, &format!(".damaged-{n}")))
        .find(|name| !name.exists())
        .unwrap_or_else(|| with_suffix(path, ".damaged"))
}

#[cfg(test)]
mod tests {
    use super::super::positions::tests::position;
    use super::*;

    fn sample() -> Positions {
        Positions {
            patterns: vec!["/var/log/*.log".into()],
            files: vec![position(b"/var/log/a.log", 10)],
            retired: vec![(1, 2, 3, 4)],
            note: serde_json::json!({"out": 5}),
        }
    }

    #[test]
    fn what_was_saved_is_found() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("deep/positions");
        let (store, loaded) = Store::open(&path).expect("opens");
        assert!(matches!(loaded, Loaded::Nothing));
        store.save(&sample()).expect("saves");
        let (_, loaded) = Store::open(&path).expect("opens");
        assert!(matches!(loaded, Loaded::Found(found) if found == sample()));
    }

    #[test]
    fn every_truncation_and_every_flipped_byte_is_noticed() {
        let whole = encode(&sample()).expect("encodes");
        for length in 0..whole.len() {
            assert!(decode(&whole[..length]).is_err(), "truncated at {length}");
        }
        for index in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[index] ^= 0x11;
            assert!(decode(&bytes).is_err(), "flipped at {index}");
        }
    }

    #[test]
    fn a_damaged_one_is_set_aside_and_kept() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("positions");
        fs::write(&path, b"garbage").expect("writes");
        let (store, loaded) = Store::open(&path).expect("opens");
        let Loaded::Damaged { aside, reason } = loaded else { panic!("{loaded:?}") };
        assert_eq!(fs::read(&aside).expect("is there"), b"garbage");
        assert!(reason.contains("header"), "{reason}");
        store.save(&sample()).expect("saves");
        assert!(matches!(Store::open(&path).expect("opens").1, Loaded::Found(_)));
    }

    #[test]
    fn a_left_over_temporary_file_does_no_harm() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("positions");
        let (store, _) = Store::open(&path).expect("opens");
        store.save(&sample()).expect("saves");
        fs::write(dir.path().join("positions.new"), b"half").expect("writes");
        let (store, loaded) = Store::open(&path).expect("opens");
        assert!(matches!(loaded, Loaded::Found(_)));
        store.save(&sample()).expect("saves");
        assert_eq!(Store::peek(&path).expect("is there"), sample());
    }

    #[test]
    fn what_was_written_halfway_is_not_put_in_place() {
        /// Takes so many bytes.
        struct Full(usize);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let n = bytes.len().min(self.0).min(3);
                self.0 -= n;
                if n == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(n) }
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for (room, enough) in [(0, false), (9, false), (10, true), (15, true)] {
            let (written, ended) = write_all(&mut Full(room), &[b'x'; 20]);
            assert_eq!(written, room);
            assert_eq!(is_enough(written, 10, 12, &ended.expect_err("full")), enough, "{room}");
        }
        assert!(write_all(&mut Full(20), &[b'x'; 20]).1.is_ok());
        let full = io::ErrorKind::StorageFull.into();
        assert!(!is_enough(15, 10, 9, &full), "it is cut back to what was there");
        assert!(!is_enough(15, 10, 12, &io::ErrorKind::Other.into()));
    }

    #[test]
    fn two_files_take_turns_and_keep_their_room() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("positions");
        let (store, _) = Store::open(&path).expect("opens");
        let mut seen = std::collections::BTreeSet::new();
        for files in [1, 30, 100, 3, 1, 300, 300] {
            let positions = Positions { files: vec![position(b"/a", 1); files], ..sample() };
            store.save(&positions).expect("saves");
            assert_eq!(Store::peek(&path).expect("is there"), positions);
            seen.insert(fs::metadata(&path).expect("is there").ino());
            let spare = fs::metadata(dir.path().join("positions.new")).expect("the room for the next one");
            assert!(spare.len() > 0 && spare.len().is_multiple_of(BLOCK as u64), "{}", spare.len());
        }
        assert_eq!(seen.len(), 2);
        let room = |name: &str| fs::metadata(dir.path().join(name)).expect("is there").len();
        for _ in 0..2 {
            store.save(&sample()).expect("saves");
        }
        assert_eq!((room("positions"), room("positions.new")), (BLOCK as u64, BLOCK as u64), "given back");
    }
}
