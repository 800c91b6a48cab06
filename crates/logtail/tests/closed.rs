//! More files than may be open: what happens to one that is found again by its name only.

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use common::{Reader, append, numbered};
use logtail::Options;

/// One file is open at a time, and the kernel tells nothing.
fn one_open(glob: &Path) -> Options {
    Options { max_open: 0, watch: false, ..Options::new([glob.display().to_string()]) }
}

#[test]
fn renamed_between_a_look_and_its_turn() {
    let dir = tempfile::tempdir().expect("a directory");
    let logs: Vec<_> = (0..5).map(|n| dir.path().join(format!("{n}.log"))).collect();
    for log in &logs {
        append(log, "one\n");
    }
    let mut reader = Reader::new(dir.path(), one_open(&dir.path().join("*.log")));
    // Their turn comes before the next look.
    for log in &logs {
        fs::rename(log, numbered(log, 1)).expect("renames");
        append(log, "two\n");
    }
    reader.until(10);
    reader.finish();
    assert_eq!(reader.lines.len(), 10);
}

#[test]
fn a_directory_that_cannot_be_read_for_a_while() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("real")).expect("creates");
    symlink("real", at("logs")).expect("links");
    for n in 0..5 {
        append(&at("real").join(format!("{n}.log")), format!("{n} one\n"));
    }
    let mut reader = Reader::new(dir.path(), one_open(&at("logs").join("*.log")));
    reader.until(5);
    // A link to itself: an error, and not the one of what is not there.
    fs::remove_file(at("logs")).expect("removes");
    symlink("logs", at("logs")).expect("links");
    reader.stalled_for(Duration::from_millis(800));
    assert_eq!(reader.tail.problems().len(), 1);
    fs::remove_file(at("logs")).expect("removes");
    symlink("real", at("logs")).expect("links");
    for n in 0..5 {
        append(&at("real").join(format!("{n}.log")), format!("{n} two\n"));
    }
    reader.until(10);
    reader.finish();
    assert_eq!(reader.lines.len(), 10, "{:?}", reader.lines);
    assert_eq!(reader.tail.totals().lost_bytes, 0);
}
