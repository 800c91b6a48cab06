//! kill -9, SIGTERM, sinks that are down over both: positions never run ahead of what was acknowledged.

mod common;

use std::time::Duration;

use common::{Pod, assert_exact, bulk_url, count, lines, stop, wait_docs};
use testkit::fake::{Answer, FakeBulk, FakeHttp};
use testkit::{Proc, Running, eventually, skip_or_fail};

// fluent-bit#2051, #1797, #2274, #6995, otel-contrib#45120, #31074, vector#18820: positions saved before delivery.
#[test]
fn kill_at_any_moment_loses_nothing_and_ids_make_no_duplicate() {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    let mut written = 0;
    for round in 0..8 {
        let shipper = pod.shipper("app.log", &bulk_url(&sink)).args(["--batch-lines", "50"]).spawn();
        shipper.wait_ready();
        for _ in 0..20 {
            pod.append("app.log", lines(written, 100));
            written += 100;
        }
        std::thread::sleep(Duration::from_millis(30 * round));
        shipper.sigkill();
        if round % 3 == 1 {
            pod.dir.rename("logs/app.log", format!("logs/app.log.{round}"));
        }
    }
    let shipper = pod.shipper("app.log", &bulk_url(&sink)).spawn();
    shipper.wait_ready();
    wait_docs(&sink, written);
    stop(&shipper);
    assert_exact(&sink, written);
}

// What was delivered and not saved is copied and cut before the next start: in its copy it has the ids it had.
#[test]
fn ids_stay_when_a_file_is_copied_and_cut_while_nobody_runs() {
    for glob in ["app.log", "app.log*"] {
        let (pod, sink) = (Pod::new(), FakeBulk::start());
        let mut written = 0;
        let mut write = |count| {
            pod.append("app.log", lines(written, count));
            written += count;
            written
        };
        for generation in 1..5 {
            let shipper = pod.shipper(glob, &bulk_url(&sink)).spawn();
            shipper.wait_ready();
            wait_docs(&sink, write(100));
            // The second file of this run, whose id is no longer that of the inode.
            copytruncate(&pod, generation * 2);
            wait_docs(&sink, write(100));
            shipper.sigkill();
            copytruncate(&pod, generation * 2 + 1);
        }
        let shipper = pod.shipper(glob, &bulk_url(&sink)).spawn();
        shipper.wait_ready();
        wait_docs(&sink, write(100));
        stop(&shipper);
        assert_exact(&sink, written);
    }
}

fn copytruncate(pod: &Pod, most: usize) {
    let log = pod.log("app.log");
    let name = |n: usize| format!("{}.{n}", log.display());
    for n in (1..most).rev() {
        let _ = std::fs::rename(name(n), name(n + 1));
    }
    std::fs::copy(&log, name(1)).expect("copies");
    std::fs::OpenOptions::new().write(true).open(&log).expect("opens").set_len(0).expect("cuts");
}

#[test]
fn a_clean_restart_repeats_nothing() {
    let (pod, sink) = (Pod::new(), FakeHttp::start());
    for round in 0..3 {
        pod.append("app.log", lines(round * 100, 100));
        let shipper = pod.shipper("app.log", &sink.url("/")).args(["--format", "raw"]).spawn();
        shipper.wait_ready();
        stop(&shipper);
    }
    let expected: Vec<String> = (0..300).map(|n| format!("line {n}")).collect();
    assert_eq!(sink.lines(), expected);
}

// vector#22211, #11405, fluent-bit#6400, #1496, #9952, aws-for-fluent-bit#201, beats#13647, #40447, #50324, opentelemetry-operator#4065: the app's last lines.
#[test]
fn lines_written_just_before_sigterm_arrive() {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    let shipper = pod.shipper("*.log", &bulk_url(&sink)).spawn();
    shipper.wait_ready();
    for n in 0..10 {
        pod.append(&format!("{n}.log"), lines(n * 100, 100));
    }
    pod.append("last.log", "line 1000");
    stop(&shipper);
    assert_exact(&sink, 1001);
}

// fluent-bit#5960, #2135, #2411, vector#5414, beats#49756: SIGTERM during back-off.
#[test]
fn a_sink_that_is_down_over_sigterm_gets_everything_after_the_restart() {
    for kill in [false, true] {
        let (pod, sink) = (Pod::new(), FakeBulk::start());
        sink.always(Answer::Status(503));
        pod.append("app.log", lines(0, 10_000));
        let shipper = pod.shipper("app.log", &bulk_url(&sink)).args(["--shutdown-grace", "1500ms"]).spawn();
        eventually("retries", || (count(&shipper, "retries_total") > 0.0).then_some(()));
        if kill {
            shipper.sigkill();
        } else {
            shipper.sigterm();
            shipper.wait_exit().expect_code(1).expect_stderr("not delivered within --shutdown-grace");
        }
        sink.always(Answer::Ok);
        let shipper = pod.shipper("app.log", &bulk_url(&sink)).spawn();
        shipper.wait_ready();
        wait_docs(&sink, 10_000);
        stop(&shipper);
        assert_exact(&sink, 10_000);
    }
}

// fluent-bit#1903, #1065, #3581, #3014, #5217, loki#8519, #9699, rsyslog#3618: stuck after a pause until it is restarted.
#[test]
fn a_sink_that_comes_back_within_the_grace_gets_everything() {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    sink.down();
    pod.append("app.log", lines(0, 5_000));
    let shipper = pod.shipper("app.log", &bulk_url(&sink)).args(["--shutdown-grace", "60s"]).spawn();
    eventually("retries", || (count(&shipper, "retries_total") > 2.0).then_some(()));
    shipper.sigterm();
    std::thread::sleep(Duration::from_millis(500));
    sink.up();
    shipper.wait_exit().expect_code(0);
    assert_exact(&sink, 5_000);
}

// fluent-bit#1496, beats#13647: a backlog at the end.
#[test]
fn a_backlog_at_sigterm_is_read_to_its_end() {
    let (pod, sink) = (Pod::new(), FakeHttp::start());
    let shipper =
        pod.shipper("app.log", &sink.url("/")).args(["--format", "raw", "--shutdown-grace", "60s"]).spawn();
    shipper.wait_ready();
    pod.append("app.log", lines(0, 500_000));
    shipper.sigterm();
    shipper.wait_exit().expect_code(0);
    assert_eq!(sink.lines().len(), 500_000);
}

#[test]
fn a_damaged_checkpoint_is_set_aside_and_reading_starts_from_the_beginning() {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    pod.append("app.log", lines(0, 10));
    let shipper = pod.shipper("app.log", &bulk_url(&sink)).spawn();
    wait_docs(&sink, 10);
    stop(&shipper);
    let name = std::fs::read_dir(pod.dir.join("state"))
        .expect("state is there")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .find(|name| name.starts_with("positions-") && !name.ends_with(".new"))
        .expect("positions are saved");
    let whole = pod.dir.read(format!("state/{name}")).expect("reads");
    // Of a version to come, cut off, one bit changed, and nothing.
    let newer = String::from_utf8_lossy(&whole).replacen("podmates-positions 1", "podmates-positions 2", 1);
    let mut flipped = whole.clone();
    flipped[100] ^= 1;
    for damage in [newer.as_bytes(), &whole[..100], &flipped[..], b"\0\0\0\0", b""] {
        assert_ne!(damage, whole);
        pod.dir.write(format!("state/{name}"), damage);
        let shipper = pod.shipper("app.log", &bulk_url(&sink)).arg("--from-end").spawn();
        eventually("read again", || (count(&shipper, "lines_known_total") == 10.0).then_some(()));
        assert_eq!(count(&shipper, "checkpoint_damaged_total"), 1.0);
        let said = shipper.wait_log("it is said", |log| log["aside"].is_string());
        let aside = said["aside"].as_str().unwrap_or_default();
        assert_eq!(std::fs::read(aside).expect("kept"), damage);
        stop(&shipper);
    }
    assert_exact(&sink, 10);
}

/// The offset of the only file, once it is on disk.
fn saved(shipper: &Running, offset: u64) -> Option<()> {
    let status = common::status(shipper);
    (status["files"][0]["offset"] == offset && status["gauges"]["unsaved"] == 0).then_some(())
}

/// Fails when it is full, which is what it is for.
fn fill(disk: &testkit::Tmpfs) -> std::path::PathBuf {
    let ballast = disk.join("ballast");
    let _ = std::fs::write(&ballast, vec![0; 128 * 1024]);
    ballast
}

#[test]
fn a_disk_that_has_become_full_still_takes_the_positions() {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    let Some(disk) = pod.dir.small_tmpfs("state", 64 * 1024) else {
        return skip_or_fail("a full disk: mounting a tmpfs needs root");
    };
    let shipper = pod.shipper("app.log", &bulk_url(&sink)).spawn();
    shipper.wait_ready();
    pod.append("app.log", lines(0, 100));
    wait_docs(&sink, 100);
    eventually("the first hundred are saved", || saved(&shipper, 790));
    fill(&disk);
    for hundred in 1..4 {
        pod.append("app.log", lines(hundred * 100, 100));
        wait_docs(&sink, (hundred + 1) * 100);
        eventually("all are saved", || saved(&shipper, 790 + 900 * hundred as u64));
    }
    assert_eq!(count(&shipper, "checkpoint_failures_total"), 0.0);
    shipper.sigkill();
    let shipper = pod.shipper("app.log", &bulk_url(&sink)).spawn();
    shipper.wait_ready();
    stop(&shipper);
    assert_exact(&sink, 400);
    assert_eq!(sink.duplicates(), 0, "nothing was read again");
}

#[test]
fn a_disk_that_takes_nothing_stops_no_line() {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    let Some(disk) = pod.dir.small_tmpfs("state", 64 * 1024) else {
        return skip_or_fail("a full disk: mounting a tmpfs needs root");
    };
    let ballast = fill(&disk);
    let shipper = pod.shipper("app.log", &bulk_url(&sink)).spawn();
    shipper.wait_ready();
    pod.append("app.log", lines(0, 200));
    wait_docs(&sink, 200);
    assert!(count(&shipper, "checkpoint_failures_total") > 0.0, "it is counted");
    std::fs::remove_file(&ballast).expect("makes room");
    eventually("all are saved", || saved(&shipper, 1690));
    shipper.sigkill();
    let shipper = pod.shipper("app.log", &bulk_url(&sink)).spawn();
    shipper.wait_ready();
    stop(&shipper);
    assert_exact(&sink, 200);
    assert_eq!(sink.duplicates(), 0, "the position was saved when there was room again");
}

#[test]
fn two_shippers_do_not_share_a_state() {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    let shipper = pod.shipper("app.log", &bulk_url(&sink)).spawn();
    shipper.wait_ready();
    pod.shipper("app.log", &bulk_url(&sink)).run().expect_code(1).expect_stderr("another shipper");
    stop(&shipper);
}

#[test]
fn drain_waits_until_all_is_delivered_and_says_when_it_is_not() {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    let shipper = pod.shipper("app.log", &bulk_url(&sink)).spawn();
    let admin = shipper.wait_ready().addr("admin").to_string();
    let drain = |within: &str| {
        Proc::new(env!("CARGO_BIN_EXE_sidecar-logshipper"))
            .args(["drain", "--admin", &admin, "--quiet", "300ms", "--within", within])
            .run()
    };
    pod.append("app.log", lines(0, 1000));
    drain("30s").expect_code(0);
    assert_exact(&sink, 1000);
    sink.down();
    pod.append("app.log", lines(1000, 10));
    drain("1s").expect_code(1).expect_stderr("not delivered yet");
    sink.up();
    drain("30s").expect_code(0);
    stop(&shipper);
    assert_exact(&sink, 1010);
}

// What is delivered is known at once, and not when the directories are looked through again, which may be 20 s later.
#[test]
fn drain_does_not_wait_for_anything_else_to_happen() {
    let (pod, sink) = (Pod::new(), FakeHttp::start());
    let shipper = pod.shipper("app.log", &sink.url("/")).spawn();
    let admin = shipper.wait_ready().addr("admin").to_string();
    let drained = |round: usize| {
        pod.append("app.log", lines(round, 1));
        let args = ["drain", "--admin", &admin, "--quiet", "0s", "--within", "4s"];
        Proc::new(env!("CARGO_BIN_EXE_sidecar-logshipper")).args(args).run().code() == Some(0)
    };
    // On a machine that is busy, one may take longer.
    assert!((0..5).any(drained));
    stop(&shipper);
}

#[test]
fn drain_keeps_pauses_short() {
    let (pod, sink) = (Pod::new(), FakeHttp::start());
    // By its own pauses, a shipper would take a minute for that.
    sink.next(vec![Answer::Status(503); 14]);
    let shipper = pod.shipper("app.log", &sink.url("/")).spawn();
    let admin = shipper.wait_ready().addr("admin").to_string();
    pod.append("app.log", lines(0, 10));
    eventually("it is refused", || (count(&shipper, "retries_total") > 0.0).then_some(()));
    Proc::new(env!("CARGO_BIN_EXE_sidecar-logshipper"))
        .args(["drain", "--admin", &admin, "--quiet", "0s", "--within", "25s"])
        .run()
        .expect_code(0);
    assert_eq!(sink.lines().len(), 10);
    stop(&shipper);
}

#[test]
fn an_ordinary_sidecar_goes_on_until_it_is_quiet_or_a_file_says_so() {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    let shipper = pod.shipper("app.log", &bulk_url(&sink)).args(["--drain-quiet", "1s"]).spawn();
    shipper.wait_ready();
    shipper.sigterm();
    for n in 0..4 {
        std::thread::sleep(Duration::from_millis(200));
        pod.append("app.log", lines(n * 10, 10));
    }
    shipper.wait_exit().expect_code(0);
    assert_exact(&sink, 40);
    let done = pod.dir.join("done");
    let shipper = pod.shipper("app.log", &bulk_url(&sink)).arg("--until-file").arg(&done).spawn();
    shipper.wait_ready();
    pod.append("app.log", lines(40, 10));
    std::fs::write(&done, "").expect("writes");
    shipper.wait_exit().expect_code(0);
    assert_exact(&sink, 50);
}

#[test]
fn positions_are_listed_and_reset() {
    let (pod, sink) = (Pod::new(), FakeHttp::start());
    pod.append("app.log", lines(0, 10));
    let once = || {
        pod.shipper("app.log", &sink.url("/"))
            .args(["--once", "--format", "raw"])
            .run()
            .expect_code(0)
            .clone()
    };
    once();
    once();
    assert_eq!(sink.lines().len(), 10);
    let positions = |args: &[&str]| {
        let state = pod.dir.join("state");
        Proc::new(env!("CARGO_BIN_EXE_sidecar-logshipper"))
            .arg("positions")
            .arg("--state")
            .arg(state)
            .args(args)
            .run()
    };
    positions(&[]).expect_code(0).expect_stdout("app.log");
    for other in [["--sink", "another"], ["--file", "other.log"]] {
        positions(&[&other[..], &["--reset"]].concat()).expect_code(0).expect_stdout("forgotten: 0");
    }
    once();
    assert_eq!(sink.lines().len(), 10, "nothing of it was chosen");
    positions(&["--file", "app.log", "--reset"]).expect_code(0).expect_stdout("forgotten: 1");
    once();
    assert_eq!(sink.lines().len(), 20);
    let shipper = pod.shipper("app.log", &sink.url("/")).args(["--format", "raw"]).spawn();
    shipper.wait_ready();
    positions(&["--reset"]).expect_code(1).expect_stderr("another shipper");
    stop(&shipper);
}
