//! After a kill: finish the batch that was being written.
//!
//! The intent says which bytes of which files it was made of and how long the output was before it. What the output has more
//! than that was written; the rest is made again from the same bytes and written. Nothing is truncated, nothing is repeated.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};

use logtail::{FileKey, Options, Positions, Tail, Wakeup};
use tracing::{info, warn};

use super::{
    batch::Batch,
    output::FileOutput,
    state::{Intent, Run},
    streams::Streams,
};
use crate::meter::Meter;

/// Completes the batch of `intent` in the output and gives the positions behind it.
///
/// # Errors
/// A sentence: the output cannot be read or written.
pub fn finish(
    options: Options,
    positions: Positions,
    intent: &Intent,
    output: &FileOutput,
    streams: &Streams,
    meter: &Meter,
) -> Result<Positions, String> {
    let Some(place) = intent.place else { return Ok(positions) };
    let Some((path, len)) = output.find(place) else { return Ok(positions) };
    let written = len.saturating_sub(place.len);
    if written == 0 || intent.runs.is_empty() {
        return Ok(positions);
    }
    let passed = |run: &Run| positions.files.iter().any(|file| file.id == run.id && file.offset >= run.end);
    if intent.runs.iter().all(passed) {
        return Ok(positions);
    }
    let mut tail = Tail::open(options, Some(positions), Wakeup::default()).map_err(|e| e.to_string())?;
    let found = read_again(&mut tail, intent);
    if written < intent.bytes {
        let bytes: Option<Vec<&[u8]>> = found.iter().map(|run| run.whole()).collect();
        match bytes {
            Some(bytes) => {
                let batch = again(intent, streams, &bytes);
                let fail =
                    |e: std::io::Error| format!("the output {} cannot be completed: {e}", path.display());
                complete(&path, place.len, &batch.out, meter).map_err(fail)?;
                info!(output = %path.display(), written, completed = batch.out.len() as u64 - written.min(batch.out.len() as u64),
                    "completed what a kill had interrupted");
            }
            None => {
                meter.torn_records.inc();
                warn!(output = %path.display(), "the lines of an interrupted batch are gone from the inputs; what was written of it stays");
            }
        }
    }
    for (run, found) in intent.runs.iter().zip(&found) {
        if let Some(key) = found.key {
            tail.acknowledge(key, run.start..run.end);
        }
    }
    Ok(tail.positions())
}

#[derive(Default)]
struct Again {
    key: Option<FileKey>,
    bytes: Vec<u8>,
    length: u64,
}

impl Again {
    fn whole(&self) -> Option<&[u8]> {
        (self.bytes.len() as u64 == self.length).then_some(&self.bytes)
    }
}

/// Reads the runs of the intent from the files, in whatever pieces they come now.
fn read_again(tail: &mut Tail, intent: &Intent) -> Vec<Again> {
    let mut found: Vec<Again> =
        intent.runs.iter().map(|run| Again { length: run.end - run.start, ..Again::default() }).collect();
    let mut ended = false;
    loop {
        let turn = tail.poll(1 << 20, |block| {
            let range = block.range();
            for (run, found) in intent.runs.iter().zip(&mut found) {
                let (from, to) = (range.start.max(run.start), range.end.min(run.end));
                let expected = run.start + found.bytes.len() as u64;
                if run.id == block.id.0 && from < to && from == expected {
                    let cut = |at: u64| usize::try_from(at - range.start).unwrap_or(usize::MAX);
                    found.key = Some(block.file);
                    found.bytes.extend_from_slice(block.bytes.get(cut(from)..cut(to)).unwrap_or_default());
                }
            }
        });
        if found.iter().all(|f| f.whole().is_some()) {
            return found;
        }
        if !turn.more {
            if std::mem::replace(&mut ended, true) {
                return found;
            }
            // A last line without its newline comes only when nothing more is waited for.
            tail.finish();
        }
    }
}

/// The records of the intent, byte for byte as they were.
fn again(intent: &Intent, streams: &Streams, bytes: &[&[u8]]) -> Batch {
    let mut batch = Batch::default();
    let mut lanes = HashMap::new();
    for (run, bytes) in intent.runs.iter().zip(bytes) {
        let lane = lanes.entry(run.id).or_insert_with(|| streams.lane_again(&run.path));
        lane.remember(&run.detector);
        lane.set_now(intent.time());
        batch.convert(lane, bytes, run.piece(), run.flush);
    }
    batch
}

/// Appends what is missing of `records`, which begin at `start` in the file.
fn complete(path: &std::path::Path, start: u64, records: &[u8], meter: &Meter) -> std::io::Result<()> {
    let mut file = OpenOptions::new().read(true).append(true).open(path)?;
    file.seek(SeekFrom::Start(start))?;
    let mut there = Vec::new();
    file.read_to_end(&mut there)?;
    if let Some(rest) = records.strip_prefix(there.as_slice()) {
        return file.write_all(rest);
    }
    // Other records than before: the configuration was changed in between. Records are lines, so count those that are whole.
    meter.torn_records.inc();
    let whole = memchr::memchr_iter(b'\n', &there).count();
    let rest = memchr::memchr_iter(b'\n', records).nth(whole.wrapping_sub(1)).map_or(0, |at| at + 1);
    if there.last() != Some(&b'\n') {
        warn!(output = %path.display(), "the configuration changed while a record was half written; the fragment is ended and its line written anew");
        file.write_all(b"\n")?;
    }
    file.write_all(records.get(rest..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_appended_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("out");
        let records = b"{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n";
        for cut in 0..records.len() {
            std::fs::write(&path, [b"before\n", &records[..cut]].concat()).expect("writes");
            complete(&path, 7, records, &Meter::default()).expect("completes");
            assert_eq!(std::fs::read(&path).expect("there"), [&b"before\n"[..], records].concat());
        }
        std::fs::write(&path, "{\"b\":1}\n{\"b\"").expect("writes");
        complete(&path, 0, records, &Meter::default()).expect("completes");
        assert_eq!(
            std::fs::read_to_string(&path).expect("there"),
            "{\"b\":1}\n{\"b\"\n{\"a\":2}\n{\"a\":3}\n"
        );
    }
}
