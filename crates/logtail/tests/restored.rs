//! What a restart finds: files are known again by what was saved of them, whatever happened to them while nobody read.

mod common;

use std::fs;
use std::time::Duration;

use common::{Reader, append, banner, copytruncate, every_log, exact, numbered, own_lines};
use logtail::{Options, Tail, Wakeup};

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

#[test]
fn read_from_its_end_and_written_anew_before_it_was_opened() {
    let banner = banner();
    let dir = tempfile::tempdir().expect("a directory");
    let path = |n: u32| dir.path().join(format!("{n}.log"));
    for n in 0..5 {
        append(&path(n), format!("{banner}old {n}\n"));
    }
    let options = Options { from_end: true, max_open: 0, ..every_log(dir.path()) };
    let mut reader = Reader::new(dir.path(), options.clone());
    reader.save();
    drop(reader);
    for n in 0..5 {
        fs::write(path(n), format!("{banner}1 {n}\n2 {n}\n3 {n}\n")).expect("writes");
    }
    let mut reader = Reader::new(dir.path(), options);
    reader.finish();
    assert_eq!(own_lines(&reader).len(), 15);
}

#[test]
fn a_volume_with_another_number() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("app.log");
    append(&numbered(&log, 1), "lay there before\n");
    append(&log, "one\ntwo\n");
    let mut reader = Reader::new(dir.path(), exact(dir.path()));
    reader.poll(1 << 20);
    // What was cut away waits for an acknowledgement when it is saved: two positions have one inode.
    fs::write(&log, "").expect("cuts");
    append(&log, "x\n");
    reader.until_read(3);
    let (file, range) = reader.unacknowledged.pop().expect("came");
    reader.tail.acknowledge(file, range);
    let mut positions = reader.tail.positions();
    drop(reader);
    assert_eq!(positions.files.iter().filter(|file| file.gone).count(), 1);
    positions.files.iter_mut().for_each(|file| file.dev += 1);
    // Whatever is looked at first.
    for _ in 0..8 {
        let mut tail =
            Tail::open(exact(dir.path()), Some(positions.clone()), Wakeup::default()).expect("opens");
        let mut lines = 0;
        tail.finish();
        while !tail.poll(1 << 20, |block| lines += block.lines().count()).finished {}
        assert_eq!(lines, 0);
    }
}
