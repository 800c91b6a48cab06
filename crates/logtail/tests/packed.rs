//! Files that rotation compresses.

mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::{Reader, append, banner, compress, every_log, exact, gzip, numbered, own_lines, packed, rename};
use logtail::Options;

#[test]
fn rotated_and_compressed_while_nobody_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("app.log");
    append(&log, "one\n");
    let options = Options { watch: false, ..exact(dir.path()) };
    let mut reader = Reader::new(dir.path(), options.clone());
    reader.finish();
    drop(reader);
    append(&log, "two\n");
    rename(&log, 3);
    compress(&log, 1);
    append(&log, "three\n");
    let mut reader = Reader::new(dir.path(), options);
    // Without a pause in which it could look again.
    reader.until(2);
    reader.finish();
    reader.lines.sort();
    assert_eq!(reader.lines, ["three", "two"]);
    assert_eq!(reader.tail.totals().lost_bytes, 0);
}

#[test]
fn compressed_between_the_last_look_and_the_end() {
    let dir = tempfile::tempdir().expect("a directory");
    let logs: Vec<_> = (0..3).map(|n| dir.path().join(format!("{n}.log"))).collect();
    for log in &logs {
        append(log, "one\n");
    }
    let options = Options { max_open: 0, ..every_log(dir.path()) };
    let mut reader = Reader::new(dir.path(), options);
    reader.until(3);
    for log in &logs {
        append(log, "two\n");
        rename(log, 3);
        compress(log, 1);
    }
    reader.finish();
    assert_eq!(reader.lines.len(), 6, "{:?}", reader.lines);
    assert_eq!(reader.tail.totals().lost_bytes, 0);
}

#[test]
fn two_generations_of_one_size() {
    let banner = banner();
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("app.log");
    append(&log, format!("{banner}one\n"));
    let options = Options { watch: false, ..exact(dir.path()) };
    let mut reader = Reader::new(dir.path(), options.clone());
    reader.finish();
    drop(reader);
    rename(&log, 3);
    append(&log, format!("{banner}two\n"));
    compress(&log, 1);
    fs::rename(packed(&log, 1), packed(&log, 2)).expect("renames");
    rename(&log, 3);
    compress(&log, 1);
    let mut reader = Reader::new(dir.path(), options);
    reader.stalled_for(Duration::from_millis(300));
    reader.finish();
    assert_eq!(own_lines(&reader), ["two"]);
}

/// Waits, for at most 20 s, until so many are remembered that are gone.
fn until_retired(reader: &mut Reader, count: usize) {
    let end = Instant::now() + Duration::from_secs(20);
    while reader.tail.positions().retired.len() != count {
        assert!(Instant::now() < end, "{:?}", reader.tail.files());
        reader.stalled_for(Duration::from_millis(50));
        reader.poll(1);
    }
}

#[test]
fn two_generations_of_one_size_one_after_the_other() {
    let banner = banner();
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("app.log");
    append(&log, format!("{banner}one\n"));
    let options = Options { watch: false, ..exact(dir.path()) };
    let mut reader = Reader::new(dir.path(), options.clone());
    reader.until(41);
    rename(&log, 3);
    let aside = dir.path().join("aside");
    gzip(&numbered(&log, 1), &aside);
    fs::remove_file(numbered(&log, 1)).expect("deletes");
    // Read and let go: only this is remembered of it …
    until_retired(&mut reader, 1);
    fs::rename(aside, packed(&log, 1)).expect("renames");
    // … and explains one compressed file.
    until_retired(&mut reader, 0);
    reader.save();
    drop(reader);
    fs::rename(packed(&log, 1), packed(&log, 2)).expect("renames");
    append(&log, format!("{banner}two\n"));
    rename(&log, 3);
    compress(&log, 1);
    let mut reader = Reader::new(dir.path(), options);
    reader.stalled_for(Duration::from_millis(300));
    reader.finish();
    assert_eq!(own_lines(&reader), ["two"]);
}

#[test]
fn one_that_is_written_with_pauses() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("app.log");
    append(&log, "one\n");
    let options = Options { watch: false, ..exact(dir.path()) };
    let mut reader = Reader::new(dir.path(), options.clone());
    reader.until(1);
    // From where it is not looked at.
    let elsewhere = dir.path().join("elsewhere");
    append(&elsewhere, "two\n".repeat(100));
    let whole = dir.path().join("whole");
    gzip(&elsewhere, &whole);
    let bytes = fs::read(whole).expect("reads");
    let (first, second) = bytes.split_at(bytes.len() / 2);
    append(&packed(&log, 1), first);
    reader.stalled_for(Duration::from_millis(300));
    append(&packed(&log, 1), second);
    reader.stalled_for(Duration::from_millis(300));
    reader.finish();
    assert_eq!(reader.lines.len(), 101);
}

#[test]
fn a_late_line_just_before_it_is_compressed() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("app.log");
    append(&log, "one\n");
    // Others have their turns first.
    for n in 0..400 {
        append(&dir.path().join(format!("{n}.log")), format!("{n}\n"));
    }
    let mut reader = Reader::new(dir.path(), Options { max_open: 4, ..every_log(dir.path()) });
    reader.until(401);
    (0..400).for_each(|n| append(&dir.path().join(format!("{n}.log")), "more\n"));
    rename(&log, 3);
    append(&numbered(&log, 1), "late\n");
    gzip(&numbered(&log, 1), &packed(&log, 1));
    for _ in 0..4 {
        reader.stalled_for(Duration::from_millis(60));
        reader.poll(1);
    }
    fs::remove_file(numbered(&log, 1)).expect("deletes");
    reader.finish();
    assert_eq!(reader.lines.iter().filter(|line| *line == "late").count(), 1);
    assert_eq!(reader.lines.len(), 802);
}

#[test]
fn one_that_lay_there_before_the_first_start_stays_unread_when_it_is_compressed() {
    let banner = banner();
    for restarted in [false, true] {
        let dir = tempfile::tempdir().expect("a directory");
        let log = dir.path().join("app.log");
        append(&numbered(&log, 1), format!("{banner}old\n"));
        append(&log, format!("{banner}new\n"));
        let options = Options { watch: false, ..exact(dir.path()) };
        let mut reader = Reader::new(dir.path(), options.clone());
        reader.until(41);
        reader.save();
        // Nobody has read this one, and it begins alike and is as long.
        let third = format!("{banner}3rd\n");
        let change = || {
            rename(&log, 4);
            append(&log, &third);
            compress(&log, 2);
            rename(&log, 4);
            compress(&log, 1);
        };
        if restarted {
            drop(reader);
            change();
            reader = Reader::new(dir.path(), options);
            reader.finish();
            assert_eq!(own_lines(&reader), ["3rd"]);
        } else {
            change();
            reader.finish();
            assert_eq!(own_lines(&reader), ["3rd", "new"]);
        }
        assert_eq!(reader.tail.totals().lost_bytes, 0);
    }
}
