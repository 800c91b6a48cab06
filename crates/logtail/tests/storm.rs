//! Rotation without a pause while files are read: what can happen between two system calls of the reader happens here some day.

mod common;

use std::fs;
use std::path::Path;
use std::time::Duration;

use common::{Reader, append, copytruncate, exact, glob, numbered, rename};
use logtail::Options;

const ROUNDS: u64 = 50;

/// Numbers from a seed (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn pause(&mut self) {
        std::thread::sleep(Duration::from_micros(self.below(3_000)));
    }
}

fn storm(seed: u64, options: fn(&Path) -> Options, rotate: impl Fn(&Path, u32) + Send + 'static) {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("app.log");
    let mut reader = Reader::new(dir.path(), options(dir.path()));
    let writer = std::thread::spawn(move || {
        let (mut random, mut next) = (Random(seed), 0);
        for _ in 0..ROUNDS {
            let lines = 1 + random.below(60);
            append(&log, (next..next + lines).map(|n| format!("line {n}\n")).collect::<String>());
            next += lines;
            random.pause();
            rotate(&log, 100);
            random.pause();
        }
        next
    });
    while !writer.is_finished() {
        reader.poll(1 << 20);
        reader.acknowledge_all();
        std::thread::sleep(Duration::from_micros(500));
    }
    let written = writer.join().expect("the writer ends");
    reader.finish();
    let mut got: Vec<u64> = reader.lines.iter().map(|line| line[5..].parse().expect("a number")).collect();
    got.sort_unstable();
    let twice: Vec<u64> = got.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
    assert!(twice.is_empty(), "seed {seed}: twice {twice:?}");
    let missing: Vec<u64> = (0..written).filter(|n| got.binary_search(n).is_err()).collect();
    assert!(missing.is_empty(), "seed {seed}: missing {missing:?} of {written}; {:?}", reader.tail.totals());
    assert_eq!(reader.tail.totals().lost_bytes, 0);
}

/// As logrotate's `compress` does: names with `.gz` move on, too; then the newest is packed beside itself and goes.
fn and_compress(rotate: fn(&Path, u32)) -> impl Fn(&Path, u32) {
    move |log, keep| {
        let packed = |n: u32| format!("{}.gz", numbered(log, n).display());
        for n in (1..keep).rev() {
            let _ = fs::rename(packed(n), packed(n + 1));
        }
        rotate(log, keep);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let text = fs::read(numbered(log, 1)).expect("reads");
        std::io::Write::write_all(&mut gzip, &text).expect("packs");
        fs::write(packed(1), gzip.finish().expect("packs")).expect("writes");
        fs::remove_file(numbered(log, 1)).expect("deletes");
    }
}

// vector#7990, #13193, otel-contrib#40523: compressed at once, and shipped again, or not at all.
#[test]
fn copytruncate_and_compression_by_exact_path() {
    (1..9).for_each(|seed| storm(seed, exact, and_compress(copytruncate)));
}

#[test]
fn copytruncate_and_compression_by_glob() {
    (1..9).for_each(|seed| storm(seed, glob, and_compress(copytruncate)));
}

#[test]
fn rename_and_compression() {
    (1..9).for_each(|seed| storm(seed, exact, and_compress(rename)));
}

#[test]
fn copytruncate_by_glob() {
    (1..5).for_each(|seed| storm(seed, glob, copytruncate));
}

#[test]
fn copytruncate_by_exact_path() {
    (1..5).for_each(|seed| storm(seed, exact, copytruncate));
}

#[test]
fn rename_by_glob() {
    (1..3).for_each(|seed| storm(seed, glob, rename));
}

#[test]
fn rename_by_exact_path() {
    (1..3).for_each(|seed| storm(seed, exact, rename));
}
