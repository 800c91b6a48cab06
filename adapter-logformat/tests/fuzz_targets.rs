//! The fuzz targets on their seeds and on seeds that were damaged: they compile, and what they ask for holds, also where cargo-fuzz is not installed.
//! `FUZZ_CASES` makes it longer; `cargo xtask fuzz` is the real thing.

#![allow(
    clippy::duplicate_mod,
    clippy::disallowed_methods,
    clippy::type_complexity,
    reason = "each target is a program of its own under cargo-fuzz, with the common part in it"
)]

use std::cell::Cell;

/// What libfuzzer-sys makes a program of becomes two functions.
macro_rules! fuzz_target {
    (init: common::save($seeds:ident), |$bytes:ident: &[u8]| $body:expr) => {
        pub(super) fn all_seeds() -> Vec<Vec<u8>> {
            $seeds()
        }
        pub(super) fn run($bytes: &[u8]) {
            $body
        }
    };
}

macro_rules! targets {
    ($($name:ident $path:literal,)*) => {$(
        #[allow(unused_attributes, unexpected_cfgs, unreachable_pub, dead_code, reason = "a program of its own under cargo-fuzz")]
        #[path = $path]
        mod $name;

        #[test]
        fn $name() {
            damaged(&$name::all_seeds(), $name::run);
        }
    )*};
}

targets! {
    access "../fuzz/fuzz_targets/access.rs",
    json "../fuzz/fuzz_targets/json.rs",
    servers "../fuzz/fuzz_targets/servers.rs",
    text "../fuzz/fuzz_targets/text.rs",
    patterns "../fuzz/fuzz_targets/patterns.rs",
    join "../fuzz/fuzz_targets/join.rs",
    frames "../fuzz/fuzz_targets/frames.rs",
    rules "../fuzz/fuzz_targets/rules.rs",
}

/// Damaged seeds of a run of the tests.
const CASES: usize = 400;
/// What breaks parsers.
const WORDS: [&[u8]; 28] = [
    b"\"",
    b"\\",
    b"\\x22",
    b"\\u0022",
    b"\\ud800",
    b"{",
    b"}",
    b"[",
    b"]",
    b"  ",
    b"\t",
    b"\n",
    b"\r\n",
    b"=",
    b"|",
    b"-",
    b"\0",
    b"\xff",
    b"\x1b[31m",
    b"1e999",
    b"99999999999999999999",
    b"2026-02-30T25:61:61Z",
    b"Feb 29 12:00:00",
    b"null",
    b"<191>1 ",
    b"\tat a.b(c)",
    b"%",
    b"\xed\xa0\x80",
];

fn damaged(seeds: &[Vec<u8>], run: fn(&[u8])) {
    // Seeds are read on a thread that says which input it was, should one break.
    let cases = std::env::var("FUZZ_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(CASES);
    let start = std::env::var("FUZZ_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let state = Cell::new(start);
    let random = |below: usize| {
        // xorshift64*, which needs no more than to be the same each time.
        let mut x: u64 = state.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        state.set(x);
        (x.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below.max(1)
    };
    for seed in seeds {
        told(seed, run);
    }
    for _ in 0..cases {
        let mut bytes = seeds[random(seeds.len())].clone();
        for _ in 0..=random(5) {
            let at = random(bytes.len());
            match random(6) {
                0 => bytes[at] = random(256) as u8,
                1 => bytes.truncate(at.max(1)),
                2 => drop(bytes.drain(at..(at + 1 + random(12)).min(bytes.len()))),
                3 => drop(bytes.splice(at..at, WORDS[random(WORDS.len())].iter().copied())),
                4 => {
                    let again = bytes[at..(at + 1 + random(30)).min(bytes.len())].to_vec();
                    drop(bytes.splice(at..at, again));
                }
                _ => {
                    let other = &seeds[random(seeds.len())];
                    bytes.truncate(at);
                    bytes.extend_from_slice(&other[random(other.len())..]);
                }
            }
            if bytes.is_empty() {
                bytes.push(0);
            }
        }
        told(&bytes, run);
    }
}

fn told(bytes: &[u8], run: fn(&[u8])) {
    let outcome = std::panic::catch_unwind(|| run(bytes));
    assert!(outcome.is_ok(), "the input was b\"{}\"", bytes.escape_ascii());
}
