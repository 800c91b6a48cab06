//! A consumer for tests: collects every line by name of its content, acknowledges when told to.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use logtail::{FileKey, Loaded, Options, Piece, Store, Tail, Wakeup};

pub struct Reader {
    pub tail: Tail,
    pub lines: Vec<String>,
    pub pieces: Vec<Piece>,
    pub unacknowledged: Vec<(FileKey, Range<u64>)>,
    store: Store,
    wakeup: Wakeup,
}

impl Reader {
    pub fn new(dir: &Path, options: Options) -> Self {
        let (store, loaded) = Store::open(dir.join(".state/positions")).expect("state opens");
        let saved = if let Loaded::Found(positions) = loaded { Some(positions) } else { None };
        let wakeup = Wakeup::default();
        let tail = Tail::open(options, saved, wakeup.clone()).expect("options are valid");
        Self { tail, lines: Vec::new(), pieces: Vec::new(), unacknowledged: Vec::new(), store, wakeup }
    }

    /// One poll. Lines are kept, nothing is acknowledged.
    pub fn poll(&mut self, budget: usize) -> logtail::Turn {
        let (lines, pieces, open) = (&mut self.lines, &mut self.pieces, &mut self.unacknowledged);
        self.tail.poll(budget, |block| {
            for line in block.lines() {
                lines.push(String::from_utf8_lossy(line.bytes).into_owned());
                pieces.push(line.piece);
            }
            open.push((block.file, block.range()));
        })
    }

    pub fn acknowledge_all(&mut self) {
        for (file, range) in std::mem::take(&mut self.unacknowledged) {
            self.tail.acknowledge(file, range);
        }
    }

    pub fn save(&mut self) {
        let positions = self.tail.positions();
        self.store.save(&positions).expect("saves");
    }

    /// Polls and acknowledges until `lines` holds `count` lines, for at most 20 s.
    pub fn until(&mut self, count: usize) {
        let end = Instant::now() + Duration::from_secs(20);
        while self.lines.len() < count {
            let turn = self.poll(1 << 20);
            self.acknowledge_all();
            if !turn.more {
                self.wakeup.wait(turn.wait.min(Duration::from_millis(200)));
            }
            assert!(
                Instant::now() < end,
                "only {} of {count} lines: {:?}",
                self.lines.len(),
                self.tail.files()
            );
        }
    }

    /// Polls until `lines` holds `count` lines, for at most 20 s; acknowledges nothing.
    pub fn until_read(&mut self, count: usize) {
        let end = Instant::now() + Duration::from_secs(20);
        while self.lines.len() < count {
            let turn = self.poll(1 << 20);
            self.wakeup.wait(turn.wait.min(Duration::from_millis(200)));
            assert!(Instant::now() < end, "only {} of {count} lines", self.lines.len());
        }
    }

    /// Polls with no room, as a consumer does whose sink is down.
    pub fn stalled_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            let turn = self.poll(0);
            self.wakeup.wait(turn.wait.min(Duration::from_millis(20)));
        }
    }

    /// Reads everything to its end, last lines too, and acknowledges it.
    pub fn finish(&mut self) {
        self.tail.finish();
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let turn = self.poll(1 << 20);
            self.acknowledge_all();
            if turn.finished {
                break;
            }
            assert!(Instant::now() < end, "does not finish: {:?}", self.tail.files());
        }
        self.save();
    }
}

/// How many random histories: a few in every run, or as `PROPTEST_CASES` says.
pub fn cases(usual: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(usual)
}

pub fn append(path: &Path, text: impl AsRef<[u8]>) {
    let mut file = OpenOptions::new().append(true).create(true).open(path).expect("opens");
    file.write_all(text.as_ref()).expect("writes");
}

/// logrotate's copytruncate: shift the copies, copy, cut.
pub fn copytruncate(path: &Path, keep: u32) {
    shift(path, keep);
    fs::copy(path, numbered(path, 1)).expect("copies");
    OpenOptions::new().write(true).open(path).expect("opens").set_len(0).expect("cuts");
}

/// logrotate's default: shift, rename; the writer opens anew.
pub fn rename(path: &Path, keep: u32) {
    shift(path, keep);
    fs::rename(path, numbered(path, 1)).expect("renames");
}

fn shift(path: &Path, keep: u32) {
    for n in (1..keep).rev() {
        let _ = fs::rename(numbered(path, n), numbered(path, n + 1));
        let _ = fs::rename(packed(path, n), packed(path, n + 1));
    }
}

/// Compresses a rotated file as logrotate does: a new file, then the old one goes.
pub fn compress(path: &Path, n: u32) {
    gzip(&numbered(path, n), &packed(path, n));
    fs::remove_file(numbered(path, n)).expect("deletes");
}

pub fn gzip(from: &Path, to: &Path) {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&fs::read(from).expect("reads")).expect("packs");
    fs::write(to, gzip.finish().expect("packs")).expect("writes");
}

pub fn packed(path: &Path, n: u32) -> PathBuf {
    format!("{}.{n}.gz", path.display()).into()
}

pub fn numbered(path: &Path, n: u32) -> PathBuf {
    format!("{}.{n}", path.display()).into()
}

pub fn exact(dir: &Path) -> Options {
    Options::new([dir.join("app.log").display().to_string()])
}

pub fn glob(dir: &Path) -> Options {
    Options::new([dir.join("app.log*").display().to_string()])
}

/// What many files begin with; longer than what is remembered of a beginning.
pub fn banner() -> String {
    "# a banner that all files have\n".repeat(40)
}

/// The lines that are no banner's, sorted.
pub fn own_lines(reader: &Reader) -> Vec<&str> {
    let mut lines: Vec<&str> =
        reader.lines.iter().map(String::as_str).filter(|line| !line.starts_with('#')).collect();
    lines.sort_unstable();
    lines
}

/// Every log of a directory, without the kernel's word: what is seen when is the test's to say.
pub fn every_log(dir: &Path) -> Options {
    Options { watch: false, ..Options::new([dir.join("*.log").display().to_string()]) }
}
