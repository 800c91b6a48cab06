//! What may happen to a file while it is read: each is told apart, nothing is lost, nothing comes twice.

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, Instant, SystemTime};

use common::{Reader, append, copytruncate, exact, glob, numbered, rename};
use logtail::{Options, Piece};

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

#[test]
fn lines_come_in_order_and_once() {
    let dir = dir();
    let log = dir.path().join("app.log");
    append(&log, "one\ntwo\n");
    let mut reader = Reader::new(dir.path(), exact(dir.path()));
    reader.until(2);
    append(&log, "three\n");
    reader.until(3);
    reader.finish();
    assert_eq!(reader.lines, ["one", "two", "three"]);
}

#[test]
fn a_line_is_passed_on_when_it_is_complete() {
    let dir = dir();
    let log = dir.path().join("app.log");
    append(&log, "hal");
    let mut reader = Reader::new(dir.path(), exact(dir.path()));
    reader.stalled_for(Duration::from_millis(20));
    reader.poll(1000);
    assert!(reader.lines.is_empty());
    append(&log, "f\nnext\n");
    reader.until(2);
    assert_eq!(reader.lines, ["half", "next"]);
}

#[test]
fn an_unfinished_last_line_comes_after_its_idle_time_and_goes_on_as_a_part() {
    let dir = dir();
    let log = dir.path().join("app.log");
    append(&log, "prompt: ");
    let mut reader =
        Reader::new(dir.path(), Options { idle_line: Some(Duration::ZERO), ..exact(dir.path()) });
    reader.until(1);
    append(&log, "yes\nnext\n");
    reader.until(3);
    assert_eq!(reader.lines, ["prompt: ", "yes", "next"]);
    let parts = [Piece::Unterminated { number: 1 }, Piece::Part { number: 2, last: true }, Piece::Lines];
    assert_eq!(reader.pieces, parts);
}

#[test]
fn only_the_newline_of_a_passed_on_line_is_no_line() {
    let dir = dir();
    let log = dir.path().join("app.log");
    append(&log, "last");
    let mut reader = Reader::new(dir.path(), exact(dir.path()));
    reader.finish();
    append(&log, "\nnext\n");
    let mut reader_again = Reader::new(dir.path(), exact(dir.path()));
    reader_again.finish();
    assert_eq!((reader.lines, reader_again.lines), (vec!["last".to_owned()], vec!["next".to_owned()]));
}

#[test]
fn a_long_line_comes_in_numbered_parts_and_whole() {
    let dir = dir();
    let log = dir.path().join("app.log");
    let long: String = (0..3_000_000).map(|n: u32| char::from(b'a' + (n % 26) as u8)).collect();
    append(&log, format!("before\n{long}\nafter\n"));
    let mut reader = Reader::new(dir.path(), Options { max_line: 1 << 20, ..exact(dir.path()) });
    reader.finish();
    assert_eq!(reader.lines[0], "before");
    assert_eq!(reader.lines[1..4].concat(), long);
    assert_eq!(reader.lines[4], "after");
    assert_eq!(reader.pieces[3], Piece::Part { number: 3, last: true });
}

#[test]
fn parts_are_numbered_on_after_a_restart() {
    let dir = dir();
    let log = dir.path().join("app.log");
    append(&log, "x".repeat(250) + "\n");
    let options = Options { max_line: 100, read_size: 100, ..exact(dir.path()) };
    let mut reader = Reader::new(dir.path(), options.clone());
    reader.poll(1);
    assert_eq!(reader.pieces, [Piece::Part { number: 1, last: false }]);
    reader.acknowledge_all();
    reader.save();
    let mut reader = Reader::new(dir.path(), options);
    reader.finish();
    assert_eq!(
        reader.pieces,
        [Piece::Part { number: 2, last: false }, Piece::Part { number: 3, last: true }]
    );
}

#[test]
fn rename_rotations_in_a_row_by_exact_path_and_by_glob() {
    for options in [exact, glob] {
        let dir = dir();
        let log = dir.path().join("app.log");
        let mut reader = Reader::new(dir.path(), options(dir.path()));
        for round in 0..20 {
            append(&log, format!("{round} a\n{round} b\n"));
            if round % 3 == 0 {
                reader.until(round * 2 + 1);
            }
            rename(&log, 30);
            // A writer may still have the old file open.
            append(&numbered(&log, 1), format!("{round} late\n"));
        }
        reader.finish();
        let mut expected: Vec<String> =
            (0..20).flat_map(|n| [format!("{n} a"), format!("{n} b"), format!("{n} late")]).collect();
        expected.sort();
        reader.lines.sort();
        assert_eq!(reader.lines, expected);
        assert_eq!(reader.tail.totals().lost_bytes, 0);
    }
}

#[test]
fn copytruncate_in_a_row_by_exact_path_and_by_glob() {
    for options in [exact, glob] {
        let dir = dir();
        let log = dir.path().join("app.log");
        append(&log, "first\n");
        let mut reader = Reader::new(dir.path(), options(dir.path()));
        for round in 0..20 {
            append(&log, format!("{round} a\n{round} b\n"));
            match round % 3 {
                0 => reader.until(round * 2 + 1),
                // Behind: the rest is in the copy only.
                1 => reader.stalled_for(Duration::from_millis(5)),
                _ => {}
            }
            copytruncate(&log, 30);
        }
        append(&log, "last\n");
        reader.finish();
        let mut expected: Vec<String> = (0..20).flat_map(|n| [format!("{n} a"), format!("{n} b")]).collect();
        expected.extend(["first".into(), "last".into()]);
        expected.sort();
        reader.lines.sort();
        assert_eq!(reader.lines, expected);
        assert_eq!(reader.tail.totals().lost_bytes, 0);
    }
}

#[test]
fn rotations_while_nobody_runs_are_found() {
    for rotate in [rename, copytruncate] {
        let dir = dir();
        let log = dir.path().join("app.log");
        append(&log, "read before\nnot acknowledged\n");
        let mut reader = Reader::new(dir.path(), exact(dir.path()));
        reader.poll(1 << 20);
        let (file, range) = reader.unacknowledged[0].clone();
        reader.tail.acknowledge(file, range.start..12);
        reader.save();
        drop(reader);
        append(&log, "written while down\n");
        rotate(&log, 5);
        append(&log, "in between, of which nobody ever knew\n");
        rotate(&log, 5);
        append(&log, "now\n");
        let mut reader = Reader::new(dir.path(), exact(dir.path()));
        reader.finish();
        reader.lines.sort();
        assert_eq!(
            reader.lines,
            ["in between, of which nobody ever knew", "not acknowledged", "now", "written while down"]
        );
    }
}

#[test]
fn what_was_rotated_before_the_first_start_is_not_read() {
    let dir = dir();
    let log = dir.path().join("app.log");
    append(&numbered(&log, 1), "old\n");
    append(&log, "now\n");
    for _ in 0..2 {
        let mut reader = Reader::new(dir.path(), exact(dir.path()));
        reader.finish();
        assert!(reader.lines.iter().all(|line| line == "now"));
    }
}

#[test]
fn a_deleted_file_is_read_to_its_end() {
    let dir = dir();
    let log = dir.path().join("app.log");
    append(&log, "one\n");
    let mut reader = Reader::new(dir.path(), exact(dir.path()));
    append(&log, "two\nlast without newline");
    reader.stalled_for(Duration::from_millis(20));
    fs::remove_file(&log).expect("deletes");
    append(&log, "another file\n");
    reader.until(4);
    reader.lines.sort();
    assert_eq!(reader.lines, ["another file", "last without newline", "one", "two"]);
}

// fluent-bit#4895, #1875, #8025, #11455, rsyslog#2659, #4648, beats#27278, #40197: an inode that is used again.
#[test]
fn deleted_and_made_again_with_the_same_beginning_is_another_file() {
    let dir = dir();
    let log = dir.path().join("app.log");
    let header = "# the same header\n".repeat(100);
    append(&log, format!("{header}one\n"));
    let mut reader = Reader::new(dir.path(), exact(dir.path()));
    reader.finish();
    drop(reader);
    // Nobody holds it open now, so the inode number is free to be used again.
    fs::remove_file(&log).expect("deletes");
    append(&log, format!("{header}two\nthree\n"));
    let mut reader = Reader::new(dir.path(), exact(dir.path()));
    reader.finish();
    assert_eq!(reader.lines.len(), 102);
    assert_eq!(reader.lines[100..], ["two", "three"]);
}

// vector#25079, #643, beats#44749, otel-contrib#43693: equal headers.
#[test]
fn files_with_equal_beginnings_are_not_taken_for_each_other() {
    let dir = dir();
    let header = "banner\n".repeat(300);
    for name in ["a.log", "b.log", "worker.log", "worker-1.log", "worker-2.log"] {
        append(&dir.path().join(name), format!("{header}{name}\n"));
    }
    let mut reader = Reader::new(dir.path(), Options::new([dir.path().join("*.log").display().to_string()]));
    reader.finish();
    assert_eq!(reader.lines.len(), 5 * 301);
}

#[test]
fn twins_that_only_have_a_banner_yet_are_read_too() {
    let dir = dir();
    let options = Options::new([dir.path().join("*.log").display().to_string()]);
    append(&dir.path().join("worker.log"), "starting\n");
    let mut reader = Reader::new(dir.path(), options);
    reader.until(1);
    append(&dir.path().join("worker-1.log"), "starting\n");
    reader.stalled_for(Duration::from_millis(150));
    append(&dir.path().join("worker-1.log"), "1 is different\n");
    reader.until(3);
    append(&dir.path().join("worker-2.log"), "starting\n");
    reader.stalled_for(Duration::from_millis(50));
    reader.finish();
    assert_eq!(reader.lines, ["starting", "starting", "1 is different", "starting"]);
}

// vector#643, beats#44749: files below the size of a fingerprint.
#[test]
fn tiny_files_are_read_at_once() {
    let dir = dir();
    append(&dir.path().join("app.log"), "x\n");
    let mut reader = Reader::new(dir.path(), exact(dir.path()));
    reader.until(1);
}

#[test]
fn overwritten_in_place_starts_anew() {
    let dir = dir();
    let log = dir.path().join("app.log");
    append(&log, "one\ntwo\n");
    let mut reader = Reader::new(dir.path(), exact(dir.path()));
    reader.until(2);
    fs::write(&log, "ONE\nTWO\nTHREE\n").expect("writes");
    reader.until(5);
    assert_eq!(reader.lines[2..], ["ONE", "TWO", "THREE"]);
    fs::write(&log, "SIX\nTEN\nELVEN\n").expect("writes the same number of bytes");
    reader.until(8);
    assert_eq!(reader.lines[5..], ["SIX", "TEN", "ELVEN"]);
}

#[test]
fn a_writer_that_goes_on_behind_the_cut_leaves_a_hole_that_is_no_line() {
    use std::os::unix::fs::FileExt;
    let dir = dir();
    let log = dir.path().join("app.log");
    let start = "line\n".repeat(4000);
    append(&log, &start);
    let mut reader = Reader::new(dir.path(), exact(dir.path()));
    reader.until(4000);
    let writer = fs::OpenOptions::new().write(true).open(&log).expect("opens");
    copytruncate(&log, 3);
    writer.write_all_at(b"behind the hole\n", start.len() as u64).expect("writes");
    reader.until(4001);
    assert_eq!(reader.lines[4000], "behind the hole");
}

#[test]
fn bytes_that_vanish_unread_are_counted() {
    let dir = dir();
    let log = dir.path().join("app.log");
    append(&log, "one\n");
    let mut reader = Reader::new(dir.path(), exact(dir.path()));
    reader.until(1);
    append(&log, "twelve bytes");
    reader.stalled_for(Duration::from_millis(200));
    fs::write(&log, "").expect("cuts");
    append(&log, "x\n");
    reader.until(2);
    assert_eq!((reader.tail.totals().lost_bytes, reader.tail.totals().lost_files), (12, 1));
}

// What copytruncate loses by its nature; logrotate(8) warns of it.
#[test]
fn what_was_written_between_the_copy_and_the_cut_is_counted() {
    for lines in [100, 1000] {
        let dir = dir();
        let log = dir.path().join("app.log");
        let write = |path, numbers: std::ops::Range<usize>| {
            append(path, numbers.map(|n| format!("line {n:04}\n")).collect::<String>());
        };
        write(&log, 0..lines);
        let mut reader = Reader::new(dir.path(), Options { read_size: 200, ..exact(dir.path()) });
        let read = lines / 2;
        while reader.lines.len() < read {
            reader.poll(1);
        }
        assert!(reader.lines.len() < lines - 10);
        write(&numbered(&log, 1), 0..lines - 10);
        fs::write(&log, "").expect("cuts");
        reader.finish();
        assert_eq!(reader.lines.len(), lines - 10);
        assert_eq!((reader.tail.totals().lost_bytes, reader.tail.totals().lost_files), (100, 1));
    }
}

#[test]
fn symbolic_links_that_are_switched_lead_to_the_new_file() {
    let dir = dir();
    let at = |name: &str| dir.path().join(name);
    append(&at("2026-01.txt"), "january\n");
    append(&at("2026-02.txt"), "february\n");
    symlink("2026-01.txt", at("app.log")).expect("links");
    let mut reader = Reader::new(dir.path(), exact(dir.path()));
    reader.until(1);
    append(&at("2026-01.txt"), "last of january\n");
    symlink("2026-02.txt", at("new")).expect("links");
    fs::rename(at("new"), at("app.log")).expect("switches");
    reader.until(3);
    reader.lines.sort();
    assert_eq!(reader.lines, ["february", "january", "last of january"]);
}

// As the kubelet exchanges the files of a ConfigMap or of a projected volume: `app.log → ..data/app.log`, `..data → ..1`, the old folder goes.
#[test]
fn a_volume_that_is_swapped_is_read_on_in_its_new_files() {
    let patterns: [fn(&std::path::Path) -> String; 2] =
        [|dir| format!("{}/*.log", dir.display()), |dir| format!("{}/**/*.log", dir.display())];
    for pattern in patterns {
        let dir = dir();
        let at = |name: String| dir.path().join(name);
        let swap = |n: u32| {
            fs::create_dir(at(format!("..{n}"))).expect("creates");
            append(&at(format!("..{n}/app.log")), format!("banner\nof {n}\n"));
            symlink(format!("..{n}"), at("..data_tmp".into())).expect("links");
            fs::rename(at("..data_tmp".into()), at("..data".into())).expect("switches");
        };
        swap(0);
        symlink("..data/app.log", at("app.log".into())).expect("links");
        let options = Options::new([pattern(dir.path())]);
        let mut reader = Reader::new(dir.path(), options.clone());
        reader.until(2);
        for n in 1..4 {
            swap(n);
            fs::remove_dir_all(at(format!("..{}", n - 1))).expect("removes");
            reader.until(2 * n as usize + 2);
        }
        reader.finish();
        let expected: Vec<String> = (0..4).flat_map(|n| ["banner".into(), format!("of {n}")]).collect();
        assert_eq!(reader.lines, expected);
        assert_eq!(reader.tail.totals().lost_bytes, 0);
        // And while nobody runs.
        drop(reader);
        swap(4);
        fs::remove_dir_all(at("..3".into())).expect("removes");
        let mut reader = Reader::new(dir.path(), options);
        reader.finish();
        assert_eq!(reader.lines, ["banner", "of 4"]);
    }
}

#[test]
fn an_empty_rotated_file_is_no_copy_for_ever() {
    let dir = dir();
    let log = dir.path().join("app.log");
    append(&log, "one\n");
    append(&numbered(&log, 1), "");
    let mut reader = Reader::new(dir.path(), Options { watch: false, ..glob(dir.path()) });
    reader.until(1);
    // While a copy may be on its way (10 s), it looks again after 50 ms.
    let end = Instant::now() + Duration::from_secs(60);
    while reader.poll(1 << 20).wait < Duration::from_millis(100) {
        assert!(Instant::now() < end, "never rests");
        std::thread::sleep(Duration::from_millis(1));
    }
}

// Its time stamp says nothing: the clock may have jumped, and a file server has its own.
#[test]
fn a_copy_on_its_way_has_whatever_time_it_has() {
    let dir = dir();
    let log = dir.path().join("app.log");
    append(&log, "one\n");
    let mut reader = Reader::new(dir.path(), Options { watch: false, ..exact(dir.path()) });
    reader.until(1);
    append(&numbered(&log, 1), "");
    let copy = fs::OpenOptions::new().append(true).open(numbered(&log, 1)).expect("opens");
    copy.set_modified(SystemTime::now() - Duration::from_secs(7200)).expect("sets its time");
    reader.stalled_for(Duration::from_millis(300));
    append(&numbered(&log, 1), "one\n");
    fs::write(&log, "").expect("cuts");
    reader.finish();
    assert_eq!(reader.lines, ["one"]);
}

#[test]
fn one_file_with_two_names_is_one_file() {
    let dir = dir();
    append(&dir.path().join("a.log"), "one\n");
    symlink("a.log", dir.path().join("link.log")).expect("links");
    fs::hard_link(dir.path().join("a.log"), dir.path().join("hard.log")).expect("links");
    let mut reader = Reader::new(dir.path(), Options::new([dir.path().join("*.log").display().to_string()]));
    reader.finish();
    assert_eq!(reader.lines, ["one"]);
}

#[test]
fn a_directory_may_come_later_and_be_replaced() {
    let dir = dir();
    let logs = dir.path().join("logs");
    let mut reader = Reader::new(dir.path(), Options::new([logs.join("*.log").display().to_string()]));
    assert_eq!(reader.tail.problems().len(), 1);
    fs::create_dir(&logs).expect("creates");
    append(&logs.join("a.log"), "one\n");
    reader.until(1);
    fs::rename(&logs, dir.path().join("before")).expect("moves away");
    append(&dir.path().join("before/a.log"), "two, late\n");
    fs::create_dir(&logs).expect("creates");
    append(&logs.join("a.log"), "three\n");
    reader.until(3);
    append(&logs.join("a.log"), "four\n");
    reader.until(4);
    assert!(reader.tail.problems().is_empty());
}

#[test]
fn more_files_than_may_be_open_all_get_their_turn() {
    let dir = dir();
    let options = Options { max_open: 4, ..Options::new([dir.path().join("*.log").display().to_string()]) };
    for n in 0..50 {
        append(&dir.path().join(format!("{n}.log")), format!("{n} a\n"));
    }
    let mut reader = Reader::new(dir.path(), options);
    reader.until(50);
    for n in 0..50 {
        append(&dir.path().join(format!("{n}.log")), format!("{n} b\n"));
    }
    reader.until(100);
    for n in 0..50 {
        fs::rename(dir.path().join(format!("{n}.log")), dir.path().join(format!("{n}.log.1")))
            .expect("renames");
        append(&dir.path().join(format!("{n}.log.1")), format!("{n} c\n"));
        append(&dir.path().join(format!("{n}.log")), format!("{n} d\n"));
    }
    reader.until(200);
    reader.finish();
    let distinct: std::collections::HashSet<_> = reader.lines.iter().collect();
    assert_eq!((distinct.len(), reader.lines.len()), (200, 200));
}

// vector#1466, fluent-bit#717: a file with a backlog keeps the others waiting.
#[test]
fn a_large_file_leaves_the_others_their_turns() {
    let dir = dir();
    append(&dir.path().join("large.log"), "of the large one\n".repeat(100_000));
    let options =
        Options { read_size: 4096, ..Options::new([dir.path().join("*.log").display().to_string()]) };
    let mut reader = Reader::new(dir.path(), options);
    reader.poll(64 << 10);
    for n in 0..20 {
        append(&dir.path().join(format!("{n}.log")), format!("of {n}\n"));
    }
    // So that they are found.
    reader.stalled_for(Duration::from_millis(100));
    reader.lines.clear();
    reader.poll(32 << 10);
    let small = reader.lines.iter().filter(|line| !line.ends_with("large one")).count();
    assert_eq!(small, 20, "within {} lines", reader.lines.len());
}

#[test]
fn without_the_kernels_help_it_is_the_same() {
    let dir = dir();
    let log = dir.path().join("app.log");
    append(&log, "one\n");
    let mut reader = Reader::new(dir.path(), Options { watch: false, ..exact(dir.path()) });
    reader.until(1);
    append(&log, "two\n");
    reader.until(2);
    rename(&log, 3);
    append(&log, "three\n");
    reader.until(3);
}

#[test]
fn from_the_end_counts_once_and_only_for_what_was_there() {
    let dir = dir();
    let options = || {
        let all = dir.path().join("*.log").display().to_string();
        Options { from_end: true, ..Options::new([all]) }
    };
    append(&dir.path().join("old.log"), "old\n");
    let mut reader = Reader::new(dir.path(), options());
    append(&dir.path().join("old.log"), "new\n");
    append(&dir.path().join("new.log"), "all of it\n");
    reader.until(2);
    reader.finish();
    drop(reader);
    append(&dir.path().join("old.log"), "while down\n");
    let mut reader = Reader::new(dir.path(), options());
    reader.finish();
    assert_eq!(reader.lines, ["while down"]);
}

// vector#10025, fluent-bit#5382: reading begins in the middle of a line.
#[test]
fn from_the_end_does_not_begin_within_a_line() {
    let begun = |units: Option<logtail::Units>, encode: fn(&str) -> Vec<u8>, name: &str| {
        let dir = dir();
        append(&dir.path().join(name), encode("\u{feff}old\nhalf a "));
        let pattern = [dir.path().join("*.log").display().to_string()];
        let mut reader = Reader::new(dir.path(), Options { from_end: true, units, ..Options::new(pattern) });
        append(&dir.path().join(name), encode("line\nnext\n"));
        reader.until(2);
        reader.lines
    };
    let utf8 = begun(Some(logtail::Units::Bytes), |text| text.as_bytes().to_vec(), "a.log");
    assert_eq!(utf8, ["half a line", "next"]);
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let lines = begun(None, utf16, "b.log");
    assert_eq!(lines, ["h\0a\0l\0f\0 \0a\0 \0l\0i\0n\0e\0", "n\0e\0x\0t\0"]);
}

#[test]
fn permissions_that_come_later_are_noticed() {
    if rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: root may read everything");
        return;
    }
    let dir = dir();
    let log = dir.path().join("app.log");
    append(&log, "one\n");
    fs::set_permissions(&log, fs::Permissions::from_mode(0o0)).expect("takes rights away");
    let mut reader = Reader::new(dir.path(), exact(dir.path()));
    reader.stalled_for(Duration::from_millis(50));
    fs::set_permissions(&log, fs::Permissions::from_mode(0o600)).expect("gives rights back");
    reader.until(1);
}

/// Compresses as logrotate does: a new file, then the old one goes.
fn compress(path: &std::path::Path, suffix: &str) {
    use std::io::Write;
    let text = fs::read(path).expect("reads");
    let packed = match suffix {
        "zst" => zstd::encode_all(&text[..], 1).expect("packs"),
        _ => {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(&text).expect("packs");
            gzip.finish().expect("packs")
        }
    };
    fs::write(format!("{}.{suffix}", path.display()), packed).expect("writes");
    fs::remove_file(path).expect("deletes");
}

fn numbered_lines(from: usize, count: usize) -> String {
    (from..from + count).map(|n| format!("line {n}\n")).collect()
}

// vector#7990, #13193, otel-contrib#40523: compressed by rotation, and shipped again.
#[test]
fn what_was_read_is_not_read_again_when_it_is_compressed() {
    for (options, suffix) in [(exact as fn(&std::path::Path) -> Options, "gz"), (glob, "zst")] {
        let dir = dir();
        let log = dir.path().join("app.log");
        append(&log, numbered_lines(0, 1000));
        let mut reader = Reader::new(dir.path(), options(dir.path()));
        reader.until(1000);
        for round in 1..6 {
            rename(&log, 1);
            append(&log, numbered_lines(round * 1000, 1000));
            reader.until((round + 1) * 1000);
            let last = numbered(&log, 1);
            fs::rename(&last, numbered(&log, 10 + round as u32)).expect("renames");
            compress(&numbered(&log, 10 + round as u32), suffix);
            reader.stalled_for(Duration::from_millis(150));
        }
        reader.finish();
        assert_eq!(reader.lines.len(), 6000);
        let mut again = Reader::new(dir.path(), options(dir.path()));
        again.finish();
        assert_eq!(again.lines, Vec::<String>::new());
        assert_eq!(again.tail.totals().lost_bytes, 0);
    }
}

#[test]
fn what_was_compressed_before_it_was_read_is_read() {
    compressed_before_it_was_read("gz");
    compressed_before_it_was_read("zst");
}

fn compressed_before_it_was_read(suffix: &str) {
    let dir = dir();
    let log = dir.path().join("app.log");
    append(&numbered(&log, 9), "lay there before\n");
    compress(&numbered(&log, 9), suffix);
    append(&log, numbered_lines(0, 1000));
    let mut reader = Reader::new(dir.path(), exact(dir.path()));
    reader.poll(100);
    let (file, range) = reader.unacknowledged[0].clone();
    let half = numbered_lines(0, 500).len() as u64;
    reader.tail.acknowledge(file, range.start..half);
    reader.save();
    drop(reader);
    append(&log, numbered_lines(1000, 1000));
    rename(&log, 5);
    compress(&numbered(&log, 1), suffix);
    fs::rename(format!("{}.1.{suffix}", log.display()), format!("{}.3.{suffix}", log.display()))
        .expect("renames");
    append(&log, numbered_lines(2000, 1000));
    rename(&log, 5);
    compress(&numbered(&log, 1), suffix);
    append(&log, numbered_lines(3000, 1000));
    let mut reader = Reader::new(dir.path(), exact(dir.path()));
    for _ in 0..5 {
        reader.stalled_for(Duration::from_millis(60));
    }
    reader.finish();
    let mut expected: Vec<String> = (500..4000).map(|n| format!("line {n}")).collect();
    expected.sort();
    reader.lines.sort();
    assert_eq!(reader.lines, expected);
    assert_eq!(reader.tail.totals().lost_bytes, 0);
}

// A compressor that pauses: what cannot be unpacked is looked at again when it has grown, also by the next process.
#[test]
fn a_compressed_file_that_comes_slowly_is_read_when_it_is_whole() {
    for restart in [false, true] {
        let dir = dir();
        let options =
            || Options { packed: true, ..Options::new([dir.path().join("*.gz").display().to_string()]) };
        append(&dir.path().join("a.log"), numbered_lines(0, 50_000));
        compress(&dir.path().join("a.log"), "gz");
        let whole = fs::read(dir.path().join("a.log.gz")).expect("reads");
        fs::remove_file(dir.path().join("a.log.gz")).expect("deletes");
        let mut reader = Reader::new(dir.path(), options());
        for piece in whole.chunks(whole.len() / 3) {
            append(&dir.path().join("a.log.gz"), piece);
            reader.stalled_for(Duration::from_millis(250));
            if restart {
                reader.save();
                reader = Reader::new(dir.path(), options());
            }
        }
        reader.until(50_000);
        reader.finish();
        assert_eq!(reader.lines.len(), 50_000);
    }
}

#[test]
fn compressed_files_are_read_on_request() {
    let dir = dir();
    for name in ["a.log", "b.log"] {
        append(&dir.path().join(name), numbered_lines(0, 100_000));
        compress(&dir.path().join(name), if name == "a.log" { "gz" } else { "zst" });
    }
    let pattern = || [dir.path().join("*.*[tz]").display().to_string()];
    let mut reader = Reader::new(dir.path(), Options::new(pattern()));
    reader.finish();
    assert_eq!(reader.lines.len(), 0);
    fs::remove_dir_all(dir.path().join(".state")).expect("forgets");
    let mut reader = Reader::new(dir.path(), Options { packed: true, ..Options::new(pattern()) });
    reader.finish();
    assert_eq!(reader.lines.len(), 200_000);
}

#[test]
fn utf_16_is_cut_at_its_own_newlines() {
    let dir = dir();
    let log = dir.path().join("app.log");
    let text: String = (0..500).map(|n| format!("line {n} \u{a0a}\u{d0a}\r\n")).collect();
    let bytes: Vec<u8> = format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    // In pieces that split units, as a buffered writer does; however long it pauses between them.
    let options = Options { units: None, read_size: 99, idle_line: None, ..exact(dir.path()) };
    let mut reader = Reader::new(dir.path(), options.clone());
    let mut got: Vec<u8> = Vec::new();
    for (round, piece) in bytes.chunks(37).enumerate() {
        append(&log, piece);
        got.extend(utf_16_so_far(&mut reader));
        if round % 2 == 0 {
            reader.save();
            if reader.tail.lag() < 200 && round % 50 == 0 {
                reader = Reader::new(dir.path(), options.clone());
            }
        }
    }
    // The kernel may tell of the last pieces only now.
    let end = Instant::now() + Duration::from_secs(20);
    while got.len() < bytes.len() && Instant::now() < end {
        reader.stalled_for(Duration::from_millis(1));
        got.extend(utf_16_so_far(&mut reader));
    }
    assert!(got == bytes, "{} of {} bytes", got.len(), bytes.len());
}

/// What is there of whole lines in UTF-16, acknowledged.
fn utf_16_so_far(reader: &mut Reader) -> Vec<u8> {
    let (mut got, mut done, mut more) = (Vec::new(), Vec::new(), true);
    while more {
        let turn = reader.tail.poll(1 << 20, |block| {
            got.extend_from_slice(block.bytes);
            done.push((block.file, block.range()));
            for line in block.lines() {
                assert_eq!(line.offset % 2, 0);
                assert!(line.bytes.ends_with(b"\r\0"), "{:?}", String::from_utf8_lossy(line.bytes));
            }
        });
        more = turn.more;
    }
    done.into_iter().for_each(|(file, range)| reader.tail.acknowledge(file, range));
    got
}
