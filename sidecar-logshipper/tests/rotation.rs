//! Rotation under load: every line once, by rename and by copytruncate, by exact path and by glob.

mod common;

use std::fs;
use std::time::Duration;

use common::{Mode, Pod, assert_exact, bulk_url, count, wait_docs, write_and_rotate};
use serde_json::json;
use testkit::fake::FakeBulk;

fn rotate(mode: Mode, glob: &str, outage: bool) {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    let shipper = pod.shipper(glob, &bulk_url(&sink)).spawn();
    shipper.wait_ready();
    let log = pod.log("app.log");
    let writer =
        std::thread::spawn(move || write_and_rotate(&log, mode, 15, 4_000, Duration::from_millis(200)));
    if outage {
        std::thread::sleep(Duration::from_millis(700));
        sink.down();
        std::thread::sleep(Duration::from_millis(1200));
        sink.up();
    }
    let written = writer.join().expect("the writer ends");
    wait_docs(&sink, written);
    assert_eq!(count(&shipper, "lost_bytes_total"), 0.0);
    common::stop(&shipper);
    assert_exact(&sink, written);
}

#[test]
fn rename_by_exact_path() {
    rotate(Mode::Rename, "app.log", false);
}

#[test]
fn rename_by_glob() {
    rotate(Mode::Rename, "app.log*", false);
}

// fluent-bit#375, #4839, fluent-bit/docs#1770, otel-contrib#43693, #43758, beats#39731, rsyslog#3918, #1417, loki#394: copytruncate. fluent-bit#5382,
// vector#10025: after a rotation, reading begins in the middle of a line (every line that comes is one that was written).
#[test]
fn copytruncate_by_exact_path() {
    rotate(Mode::CopyTruncate, "app.log", false);
}

#[test]
fn copytruncate_by_glob() {
    rotate(Mode::CopyTruncate, "app.log*", false);
}

// loki#14462, #8039, otel-contrib#17846, fluent-bit#2110: rotated twice while lagging.
#[test]
fn rename_while_the_sink_is_down() {
    rotate(Mode::Rename, "app.log", true);
}

#[test]
fn copytruncate_while_the_sink_is_down() {
    rotate(Mode::CopyTruncate, "app.log*", true);
}

// vector#19320, #26293: counters that say something else than what happened.
#[test]
fn bytes_that_vanish_under_a_lagging_sink_are_counted_and_named() {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    sink.down();
    pod.append("app.log", common::lines(0, 10));
    let shipper = pod.shipper("app.log", &bulk_url(&sink)).args(["--in-flight", "1"]).spawn();
    shipper.wait_ready();
    // Nothing more is read while these wait, and then they are gone.
    testkit::eventually("lag", || (count(&shipper, "lag_bytes") == 70.0).then_some(()));
    pod.append("app.log", "x".repeat(930));
    testkit::eventually("lag", || (count(&shipper, "lag_bytes") == 1000.0).then_some(()));
    fs::write(pod.log("app.log"), "").expect("cuts");
    testkit::eventually("loss is counted", || (count(&shipper, "lost_files_total") == 1.0).then_some(()));
    assert_eq!(count(&shipper, "lost_bytes_total"), 930.0, "what was in memory is not lost");
    let said = shipper
        .wait_log("the loss is named", |log| log["message"].as_str().is_some_and(|m| m.starts_with("lost:")));
    assert_eq!(said["path"], pod.log("app.log").display().to_string());
    assert_eq!((&said["from"], &said["bytes"]), (&json!(70), &json!(930)));
    sink.up();
    common::stop(&shipper);
    assert_exact(&sink, 10);
}
