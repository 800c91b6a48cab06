//! Rotation without a pause while files are read: what can happen between two system calls of the reader happens here some day.

mod common;

use std::path::Path;
use std::time::Duration;

use common::{Reader, append, copytruncate, exact, glob, rename};
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

fn storm(seed: u64, options: fn(&Path) -> Options, rotate: fn(&Path, u32)) {
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
    assert!(got.iter().copied().eq(0..written), "seed {seed}: {} of {written} lines", got.len());
    assert_eq!(reader.tail.totals().lost_bytes, 0);
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
