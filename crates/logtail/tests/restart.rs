//! What a restart finds: files are known again by what was saved of them, whatever happened to them while nobody read.

mod common;

use std::time::Duration;

use common::{Reader, append, banner, copytruncate, every_log, own_lines};

#[test]
fn a_position_in_the_middle_of_a_block() {
    let banner = banner();
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("app.log");
    append(&log, format!("{banner}one\ntwo\nthree\n"));
    let mut reader = Reader::new(dir.path(), every_log(dir.path()));
    // All of it is one block, of which only the first lines are acknowledged.
    reader.poll(1 << 20);
    let (file, range) = reader.unacknowledged[0].clone();
    reader.tail.acknowledge(file, range.start..banner.len() as u64 + 4);
    reader.save();
    drop(reader);
    copytruncate(&log, 3);
    append(&log, format!("{banner}uno\ndos\ntres\n"));
    let mut reader = Reader::new(dir.path(), every_log(dir.path()));
    reader.finish();
    assert_eq!(own_lines(&reader), ["dos", "three", "tres", "two", "uno"]);
    assert_eq!(reader.tail.totals().lost_bytes, 0);
}

#[test]
fn a_twin_that_went_its_own_way_while_nobody_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name);
    append(&path("worker.log"), "starting\n");
    let mut reader = Reader::new(dir.path(), every_log(dir.path()));
    reader.until(1);
    append(&path("worker-1.log"), "starting\n");
    reader.stalled_for(Duration::from_millis(150));
    reader.save();
    drop(reader);
    append(&path("worker-1.log"), "1 is different\n");
    let mut reader = Reader::new(dir.path(), every_log(dir.path()));
    reader.stalled_for(Duration::from_millis(150));
    reader.finish();
    assert_eq!(reader.lines, ["starting", "1 is different"]);
}
