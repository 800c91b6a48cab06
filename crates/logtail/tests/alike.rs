//! Files that look like others: by their inode's number, or by what they begin with.

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{Reader, append, banner, copytruncate, every_log, exact, numbered, own_lines};
use logtail::FileId;

/// More files than this are not made for one to get a number that another had.
const MOST: u32 = 2000;

fn number(path: &Path) -> u64 {
    fs::metadata(path).expect("is there").ino()
}

/// Makes a file that has this number; false where the file system does not use numbers again so soon.
fn with_number(number_wanted: u64, path: &Path, text: &str) -> bool {
    // In the same directory: file systems keep numbers of neighbours together.
    let found = (0..MOST).map(|n| path.with_extension(n.to_string())).find(|other| {
        append(other, "");
        number(other) == number_wanted
    });
    if let Some(found) = &found {
        append(found, text);
        fs::rename(found, path).expect("renames");
    }
    found.is_some()
}

#[test]
fn the_number_of_a_file_that_went_on_in_a_copy() {
    // All begin alike, for longer than what is remembered of a beginning.
    let banner = banner();
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name);
    let options = every_log(dir.path());
    let look = |reader: &mut Reader| {
        reader.stalled_for(Duration::from_millis(60));
        reader.save();
    };
    append(&path("a.log"), format!("{banner}one\n"));
    look(&mut Reader::new(dir.path(), options.clone()));
    fs::rename(path("a.log"), path("a.log.1")).expect("renames");
    append(&path("a.log"), format!("{banner}gone unread\n"));
    look(&mut Reader::new(dir.path(), options.clone()));
    // Gone while nobody read: what is left of a file that began like this is a.log.1.
    let free = number(&path("a.log"));
    fs::remove_file(path("a.log")).expect("deletes");
    let mut reader = Reader::new(dir.path(), options);
    look(&mut reader);
    if !with_number(free, &path("b.log"), &format!("{banner}two\n")) {
        eprintln!("this file system does not use inode numbers again");
    }
    reader.finish();
    let expected: &[&str] = if path("b.log").exists() { &["one", "two"] } else { &["one"] };
    assert_eq!(own_lines(&reader), expected);
}

#[test]
fn a_file_that_begins_like_one_that_is_gone() {
    let banner = banner();
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name);
    let options = every_log(dir.path());
    append(&path("a.log"), &banner);
    let mut reader = Reader::new(dir.path(), options.clone());
    reader.until(40);
    append(&path("a.log"), "one\n");
    reader.until(41);
    reader.save();
    drop(reader);
    // Another generation was written and rotated away while nobody read.
    fs::remove_file(path("a.log")).expect("deletes");
    append(&path("a.log.1"), format!("{banner}two\nthree\n"));
    let mut reader = Reader::new(dir.path(), options);
    reader.stalled_for(Duration::from_millis(60));
    reader.finish();
    assert_eq!(own_lines(&reader), ["three", "two"]);
}

/// Where files are and which they are.
fn ids(reader: &Reader) -> Vec<(PathBuf, FileId)> {
    reader.tail.files().into_iter().map(|file| (file.path.to_path_buf(), file.id)).collect()
}

#[test]
fn two_files_of_which_nothing_was_acknowledged() {
    let banner = banner();
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name);
    append(&path("a.log"), format!("{banner}one\n"));
    let mut reader = Reader::new(dir.path(), every_log(dir.path()));
    fs::rename(path("a.log"), path("a.log.1")).expect("renames");
    append(&path("a.log"), format!("{banner}gone unacknowledged\n"));
    reader.until_read(82);
    reader.save();
    let before = ids(&reader);
    drop(reader);
    fs::remove_file(path("a.log")).expect("deletes");
    let mut reader = Reader::new(dir.path(), every_log(dir.path()));
    reader.stalled_for(Duration::from_millis(150));
    // The one that is left is who it was.
    let after = ids(&reader);
    assert!(after.len() == 1 && before.contains(&after[0]), "{before:?} {after:?}");
    reader.finish();
    assert_eq!(own_lines(&reader), ["one"]);
    assert_ne!(reader.tail.totals().lost_bytes, 0);
}

#[test]
fn what_lay_there_before_the_first_start_is_no_copy() {
    let banner = banner();
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name);
    append(&path("a.log.1"), format!("{banner}old\n"));
    // File systems count in ticks.
    std::thread::sleep(Duration::from_millis(20));
    append(&path("a.log"), format!("{banner}new\n"));
    Reader::new(dir.path(), every_log(dir.path())).save();
    fs::remove_file(path("a.log")).expect("deletes");
    let mut reader = Reader::new(dir.path(), every_log(dir.path()));
    reader.stalled_for(Duration::from_millis(150));
    reader.finish();
    assert_eq!(reader.lines, Vec::<String>::new());
}

#[test]
fn cut_and_written_again_while_there_was_no_room() {
    let banner = banner();
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("app.log");
    append(&log, format!("{banner}one\n"));
    let mut reader = Reader::new(dir.path(), exact(dir.path()));
    reader.until(41);
    append(&log, "two\n");
    reader.stalled_for(Duration::from_millis(50));
    copytruncate(&log, 3);
    append(&log, format!("{banner}three\nfour\n"));
    reader.stalled_for(Duration::from_millis(150));
    // Rotated away before there is room again.
    fs::remove_file(numbered(&log, 1)).expect("deletes");
    reader.stalled_for(Duration::from_millis(50));
    reader.finish();
    assert_eq!(own_lines(&reader), ["four", "one", "three", "two"]);
    assert_eq!(reader.tail.totals().lost_bytes, 0);
}

#[test]
fn written_over_with_as_many_bytes_at_the_same_time() {
    let banner = banner();
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("a.log");
    append(&log, format!("{banner}one\n"));
    let mut reader = Reader::new(dir.path(), every_log(dir.path()));
    reader.until(41);
    let modified = fs::metadata(&log).and_then(|log| log.modified()).expect("has a time");
    fs::write(&log, format!("{banner}two\n")).expect("writes");
    // Within one tick of the clock, as it may be.
    let file = fs::OpenOptions::new().append(true).open(&log).expect("opens");
    file.set_modified(modified).expect("sets its time");
    reader.stalled_for(Duration::from_millis(60));
    reader.finish();
    assert_eq!(own_lines(&reader), ["one", "two"]);
}
