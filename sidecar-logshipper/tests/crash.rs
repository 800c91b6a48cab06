//! Crash points. The shipper is killed as it enters its first, second, third … call of each kind that moves state: writes to sinks and files,
//! sync, rename, the answers it reads. Whatever was the last call that took place, the next start delivers every line, no
//! document twice, no line in pieces, and finds positions that are whole.
//!
//! strace sends the signal (`inject=CALL:signal=KILL:when=N`), so the product has no test hook in it.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Pod, bulk_url, lines};
use testkit::fake::FakeBulk;
use testkit::{Proc, skip_or_fail};

const POISON: &str = "line 17";

/// Kills at the first `most` calls of this kind.
fn at_every(call: &str, most: usize) {
    if !Path::new("/usr/bin/strace").exists() {
        return skip_or_fail("crash points need strace");
    }
    let mut killed = 0;
    for nth in 1..=most {
        if !kill_at(call, nth) {
            break;
        }
        killed += 1;
    }
    assert!(killed > 0, "{call} is never called: nothing was tested");
}

/// False: it ended before.
fn kill_at(call: &str, nth: usize) -> bool {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    sink.refuse(400, "document_parsing_exception", |doc| doc.source["message"] == POISON);
    let out = pod.dir.join("out.log");
    // What is rotated before the first start is complete (ready) is not read, by design.
    pod.append("app.log", "");
    assert!(!run(&pod, &sink, &out, None));
    pod.append("app.log", lines(0, 35));
    let killed = run(&pod, &sink, &out, Some((call, nth)));
    // Life goes on: the log is rotated, in one way or the other, and written to.
    let log = pod.log("app.log");
    if nth.is_multiple_of(2) {
        std::fs::rename(&log, pod.log("app.log.1")).expect("renames");
    }
    pod.append("app.log", lines(35, 5));
    assert!(!run(&pod, &sink, &out, None));
    let at = format!("{call} {nth}");
    let mut got = common::messages(&sink);
    got.sort();
    let mut expected: Vec<String> =
        (0..40).map(|n| format!("line {n}")).filter(|line| line != POISON).collect();
    expected.sort();
    assert_eq!(got, expected, "{at}: every line once");
    let text = std::fs::read_to_string(&out).expect("reads");
    let whole = |line: &str| {
        line.is_empty() || line.strip_prefix("line ").is_some_and(|n| n.parse::<usize>().is_ok())
    };
    for n in 0..40 {
        assert!(text.lines().any(|line| line == format!("line {n}")), "{at}: line {n} is not in\n{text}");
    }
    // What a kill left unfinished in the file is ended by a newline, and comes again whole.
    let broken: Vec<_> = text.lines().filter(|line| !whole(line) && !"line ".starts_with(line)).collect();
    assert!(broken.is_empty(), "{at}: {broken:?}");
    let letters = pod.dir.read("state/dead-letter.ndjson").unwrap_or_default();
    let letters = String::from_utf8_lossy(&letters);
    assert!(letters.contains(POISON), "{at}: the refused line is kept: {letters:?}");
    let damaged: Vec<PathBuf> = std::fs::read_dir(pod.dir.join("state"))
        .expect("lists")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().contains("damaged"))
        .collect();
    assert!(damaged.is_empty(), "{at}: {damaged:?}");
    let before = sink.count();
    assert!(!run(&pod, &sink, &out, None));
    assert_eq!(sink.count(), before, "{at}: what was delivered and saved is not sent again");
    killed
}

/// True when it was killed.
fn run(pod: &Pod, sink: &FakeBulk, out: &Path, kill: Option<(&str, usize)>) -> bool {
    let strace = kill.map(|(call, nth)| {
        Proc::new("strace").args(["-f", "-qq", "-o", "/dev/null"]).args([
            "-e",
            &format!("trace={call}"),
            "-e",
            &format!("inject={call}:signal=SIGKILL:when={nth}"),
        ])
    });
    run_with(strace, pod, sink, out)
}

/// In front of it: strace, or nothing.
fn run_with(before: Option<Proc>, pod: &Pod, sink: &FakeBulk, out: &Path) -> bool {
    let binary = env!("CARGO_BIN_EXE_sidecar-logshipper");
    let proc = before.map_or_else(|| Proc::new(binary), |strace| strace.arg(binary));
    let exited = proc
        .env("POD_UID", "7f1e")
        .args(["--once", "--batch-lines", "10", "--requests", "1", "--read"])
        .arg(pod.log("app.log"))
        .args(["--to", &bulk_url(sink), &format!("file://{}", out.display()), "--state"])
        .arg(pod.dir.join("state"))
        .run();
    if exited.signal() == Some(9) || exited.code() == Some(137) {
        return true;
    }
    exited.expect_code(0);
    false
}

#[test]
fn while_positions_are_synced() {
    at_every("fdatasync", 6);
}

#[test]
fn while_positions_are_renamed() {
    at_every("renameat2", 6);
}

#[test]
fn while_the_directory_is_synced() {
    at_every("fsync", 4);
}

#[test]
fn while_requests_are_sent() {
    at_every("writev", 5);
}

/// Calls that move something: bytes to a sink, to the positions, to the dead letters; names; answers; bytes of a log.
const MOVING: [&str; 15] = [
    "openat",
    "read",
    "pread64",
    "write",
    "writev",
    "pwrite64",
    "sendto",
    "recvfrom",
    "fdatasync",
    "fsync",
    "rename",
    "renameat2",
    "unlink",
    "ftruncate",
    "connect",
];

/// How often each of them is called in a life that nobody ends; a few more, because no two lives are the same.
fn points() -> Vec<(&'static str, usize)> {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    let trace = pod.dir.join("trace");
    pod.append("app.log", "");
    assert!(!run(&pod, &sink, &pod.dir.join("out.log"), None));
    pod.append("app.log", lines(0, 35));
    let strace =
        Proc::new("strace").args(["-f", "-qq", "-e", &format!("trace={}", MOVING.join(","))]).arg("-o");
    run_with(Some(strace.arg(&trace)), &pod, &sink, &pod.dir.join("out.log"));
    let trace = std::fs::read_to_string(trace).expect("reads");
    let times = |call: &str| trace.lines().filter(|line| line.contains(&format!(" {call}("))).count();
    MOVING.into_iter().flat_map(|call| (1..times(call) + 4).map(move |nth| (call, nth))).collect()
}

#[test]
#[ignore = "every call, some minutes"]
#[allow(clippy::print_stdout, reason = "progress for people")]
fn at_every_call() {
    let jobs = std::env::var("SOAK_JOBS").ok().and_then(|jobs| jobs.parse().ok()).unwrap_or(4);
    let (points, next) = (points(), AtomicUsize::new(0));
    let (killed, failed) = (Mutex::new(BTreeMap::<&str, usize>::new()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(&(call, nth)) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match std::panic::catch_unwind(|| kill_at(call, nth)) {
                        Ok(yes) => {
                            *killed.lock().expect("locks").entry(call).or_default() += usize::from(yes)
                        }
                        Err(_) => failed.lock().expect("locks").push((call, nth)),
                    }
                }
            });
        }
    });
    println!("killed at: {:#?}", killed.into_inner().expect("locks"));
    let failed = failed.into_inner().expect("locks");
    assert!(failed.is_empty(), "crash points that failed: {failed:?}");
}
