//! What every target checks: any line becomes exactly one record that is strict JSON, bounded in size, and from which the line can be had back.

#![allow(dead_code, reason = "each target uses its part of it")]

#[path = "../../src/lane/tests/proof.rs"]
mod proof;

use std::{cell::RefCell, collections::HashMap, path::Path, sync::Arc};

use adapter_logformat::{
    config::{Config, Stream as Written},
    decode::FORMATS,
    encode::{Original, Schema},
    lane::{Counts, Lane, Stream},
};

/// How the records are to look, by a byte of the input.
#[derive(Clone, Copy, Debug)]
pub struct How {
    pub schema: Schema,
    pub original: Original,
    /// Whole runs of lines, with those that belong together, instead of one line after the other.
    pub run: bool,
}

impl How {
    pub fn of(byte: u8) -> Self {
        let byte = usize::from(byte);
        Self {
            schema: Schema::ALL[byte % Schema::ALL.len()],
            original: if byte / 64 % 2 == 0 { Original::Always } else { Original::Failed },
            run: byte / 128 == 1,
        }
    }

    pub fn config(self) -> Config {
        Config { schema: self.schema, original: self.original, ..Config::default() }
    }
}

/// The first byte chooses the format, the second how its records look; the rest are lines.
pub fn check(formats: &[&'static str], bytes: &[u8]) {
    let [which, how, lines @ ..] = bytes else { return };
    let from = formats[usize::from(*which) % formats.len()];
    // A stream is compiled once: with its patterns that takes longer than reading a few lines.
    thread_local!(static STREAMS: RefCell<HashMap<(&'static str, u8), Arc<Stream>>> = RefCell::default());
    let stream = STREAMS.with_borrow_mut(|streams| {
        let compile = || {
            let written = Written { from: Some(from.to_owned()), ..Written::default() };
            Arc::new(Stream::compile(&written, &How::of(*how).config()).expect("a format compiles"))
        };
        streams.entry((from, *how)).or_insert_with(compile).clone()
    });
    read(stream, How::of(*how), lines);
}

/// Reads lines, and checks what became of them.
pub fn read(stream: Arc<Stream>, how: How, lines: &[u8]) {
    let mut lane = Lane::new(stream, Some("/var/log/x"));
    if how.run {
        return run(&mut lane, how, lines);
    }
    for line in lines.split(|b| *b == b'\n') {
        let (mut counts, mut out) = (Counts::default(), Vec::new());
        lane.begin();
        lane.line(line, None, &mut counts, &mut out);
        assert_eq!((counts.lines, counts.records, counts.joined, counts.filtered), (1, 1, 0, 0));
        let record = only(&out);
        assert!(out.len() <= 64 * line.len() + (16 << 10), "{} bytes of {}", out.len(), line.len());
        valid(record, how.schema);
        if how.original == Original::Always {
            let bare = line.strip_suffix(b"\r").unwrap_or(line);
            if how.schema == Schema::Gelf && bare == b"-" {
                // What stands there for an empty message, which GELF does not allow.
                continue;
            }
            assert_eq!(proof::recover(record, how.schema).as_deref(), Some(bare), "{record}");
        }
    }
}

/// The same for a run of lines: none is lost, whatever belongs together.
fn run(lane: &mut Lane, how: How, lines: &[u8]) {
    let (mut counts, mut out) = (Counts::default(), Vec::new());
    let used = lane.lines(lines, false, &mut counts, &mut out);
    assert!(used <= lines.len());
    lane.lines(&lines[used..], true, &mut counts, &mut out);
    assert!(counts.balanced());
    assert_eq!(counts.filtered, 0);
    assert_eq!(counts.lines, lines_of(lines).count() as u64);
    let text = std::str::from_utf8(&out).expect("records are UTF-8");
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().for_each(|record| valid(record, how.schema));
    if how.schema == Schema::Otlp {
        return;
    }
    assert_eq!(text.lines().count() as u64, counts.records);
    if how.original == Original::Always {
        let records = text.lines().map(|r| proof::recover(r, how.schema).expect("the raw lines"));
        let mut have: Vec<Vec<u8>> = records.flat_map(|raw| parts(&raw)).collect();
        // Two streams of a container runtime interleave.
        let mut want: Vec<_> = lines_of(lines).map(bare).collect();
        have.sort();
        want.sort();
        assert_eq!(have, want);
    }
}

/// The lines of a record. The last is bare already; of those before it, the raw text has everything.
fn parts(raw: &[u8]) -> Vec<Vec<u8>> {
    let mut lines: Vec<&[u8]> = raw.split(|b| *b == b'\n').collect();
    let last = lines.pop().unwrap_or_default().to_vec();
    lines.into_iter().map(bare).chain([last]).collect()
}

fn bare(line: &[u8]) -> Vec<u8> {
    line.strip_suffix(b"\r").unwrap_or(line).to_vec()
}

/// The lines of a run; its end needs no newline.
pub fn lines_of(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let whole = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    whole.split(|b| *b == b'\n').filter(move |_| !bytes.is_empty())
}

/// The one record in the output.
pub fn only(out: &[u8]) -> &str {
    let text = std::str::from_utf8(out).expect("records are UTF-8");
    let record = text.strip_suffix('\n').expect("a record ends its line");
    assert!(!record.contains('\n'), "{record}");
    record
}

/// Strict JSON, or pairs.
pub fn valid(record: &str, schema: Schema) {
    match schema {
        Schema::Logfmt => proof::pairs(record),
        _ => proof::strict(record),
    };
}

/// Each format's example, and the lines of its golden test, in three schemas, line by line and as a run.
pub fn seeds(formats: &[&str]) -> Vec<Vec<u8>> {
    // The package is the fuzz folder's, or the adapter's where its tests run these targets.
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let golden = here.ancestors().map(|dir| dir.join("tests/golden")).find(|dir| dir.is_dir());
    let golden = golden.expect("the golden files are there");
    let mut seeds = Vec::new();
    for (place, name) in formats.iter().enumerate() {
        let example = FORMATS.iter().find(|entry| entry.name == *name).map(|e| e.example.as_bytes().to_vec());
        let logs = ["", "more/"].map(|dir| std::fs::read(golden.join(format!("{dir}{name}.log"))).ok());
        for text in example.into_iter().chain(logs.into_iter().flatten()) {
            let text = &text[..text.len().min(2000)];
            seeds.extend([0, 2, 4, 128].map(|how| [&[place as u8, how], text].concat()));
        }
    }
    seeds
}

/// Saves seeds and ends, where `FUZZ_SEEDS` asks for it.
pub fn save(seeds: impl FnOnce() -> Vec<Vec<u8>>) {
    let Some(dir) = std::env::var_os("FUZZ_SEEDS") else { return };
    for (place, seed) in seeds().iter().enumerate() {
        std::fs::write(Path::new(&dir).join(format!("seed-{place}")), seed).expect("the folder takes files");
    }
    std::process::exit(0);
}
