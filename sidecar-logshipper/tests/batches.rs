//! When a batch goes, how large it is, and how soon its position is on disk.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::{Pod, count, lines, stop};
use serde_json::Value;
use testkit::fake::{Answer, FakeHttp};
use testkit::{Proc, eventually};

/// A sink that keeps the first request until it is let go.
fn sink_that_keeps_the_first() -> (FakeHttp, Arc<AtomicUsize>, Arc<AtomicBool>) {
    let sink = FakeHttp::start();
    let (asked, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (asks, end) = (Arc::clone(&asked), Arc::clone(&over));
    sink.decide(move |_| {
        if asks.fetch_add(1, Ordering::SeqCst) == 0 {
            while !end.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        None
    });
    (sink, asked, over)
}

#[test]
fn a_batch_goes_by_its_age_while_another_is_under_way() {
    let (pod, (sink, asked, over)) = (Pod::new(), sink_that_keeps_the_first());
    let args = ["--format", "raw", "--batch-age", "100ms"];
    let shipper = pod.shipper("app.log", &sink.url("/")).args(args).spawn();
    pod.append("app.log", lines(0, 1));
    eventually("the first is under way", || (asked.load(Ordering::SeqCst) == 1).then_some(()));
    // Far from its most bytes and its most lines.
    pod.append("app.log", lines(1, 1));
    eventually("the second goes", || (sink.lines() == ["line 1"]).then_some(()));
    over.store(true, Ordering::SeqCst);
    eventually("both", || (count(&shipper, "lines_delivered_total") == 2.0).then_some(()));
    stop(&shipper);
    assert_eq!(sink.lines(), ["line 1", "line 0"]);
}

#[test]
fn a_batch_that_is_neither_old_nor_full_waits_for_more() {
    let (pod, (sink, asked, over)) = (Pod::new(), sink_that_keeps_the_first());
    let args = ["--format", "raw", "--batch-age", "1h"];
    let shipper = pod.shipper("app.log", &sink.url("/")).args(args).spawn();
    for n in 0..5 {
        pod.append("app.log", lines(n, 1));
        eventually("read", || (count(&shipper, "lines_read_total") == (n + 1) as f64).then_some(()));
        eventually("the first is under way", || (asked.load(Ordering::SeqCst) >= 1).then_some(()));
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    over.store(true, Ordering::SeqCst);
    eventually("the first", || (count(&shipper, "lines_delivered_total") == 1.0).then_some(()));
    // Nobody waits for an hour when the pod ends.
    stop(&shipper);
    let bodies: Vec<String> = sink.requests().iter().map(testkit::fake::Received::text).collect();
    assert_eq!(bodies, [lines(0, 1), lines(1, 4)]);
}

#[test]
fn a_batch_is_full_by_its_bytes_or_its_lines() {
    for (limit, value, most) in [("--batch-bytes", "1000", 1000 + 9), ("--batch-lines", "100", 100 * 10)] {
        let (pod, sink) = (Pod::new(), FakeHttp::start());
        pod.append("app.log", lines(1000, 1000));
        let args = ["--format", "raw", "--requests", "1", limit, value];
        let shipper = pod.shipper("app.log", &sink.url("/")).args(args).spawn();
        eventually("all", || (count(&shipper, "lines_delivered_total") == 1000.0).then_some(()));
        stop(&shipper);
        let sizes: Vec<usize> = sink.requests().iter().map(|request| request.body.len()).collect();
        assert!(sizes.len() >= 10 && sizes.iter().all(|size| *size <= most), "{limit} {value}: {sizes:?}");
        assert_eq!(sink.lines().join("\n") + "\n", lines(1000, 1000), "in their order");
    }
}

/// How far the only file is on disk.
fn saved(pod: &Pod) -> u64 {
    let listed = Proc::new(env!("CARGO_BIN_EXE_sidecar-logshipper"))
        .args(["positions", "--json", "--state"])
        .arg(pod.dir.join("state"))
        .run();
    let files: Vec<Value> = serde_json::from_str(&listed.stdout()).expect("JSON");
    files.first().and_then(|file| file["offset"].as_u64()).unwrap_or(0)
}

// The last line of a busy hour, and then silence: nothing comes that could take its position along.
#[test]
fn positions_are_saved_when_nothing_more_happens() {
    let (pod, sink) = (Pod::new(), FakeHttp::start());
    let start = || pod.shipper("app.log", &sink.url("/")).args(["--format", "raw"]).spawn();
    let mut shipper = start();
    for round in 1..4_usize {
        pod.append("app.log", lines(round * 10, 10));
        eventually("delivered", || (sink.lines().len() == round * 10).then_some(()));
        // Nobody asks its admin port, nothing is written, nothing ends.
        eventually("saved", || (saved(&pod) == round as u64 * 80).then_some(()));
        shipper.sigkill();
        shipper = start();
        shipper.wait_ready();
    }
    stop(&shipper);
    assert_eq!(sink.lines().len(), 30, "nothing came again");
}

// "Within 250 ms", by the clock of a sink that takes a line at a time and 25 ms for each: on a slow machine they are fewer in that time, not more.
#[test]
fn a_kill_repeats_what_a_moment_has_delivered() {
    const SAVED_WITHIN: usize = 250 / 25;
    /// For a disk that takes its time, and for what is under way.
    const SLACK: usize = 5 * SAVED_WITHIN;
    let (pod, sink) = (Pod::new(), FakeHttp::start());
    sink.decide(|_| {
        std::thread::sleep(Duration::from_millis(25));
        None
    });
    pod.append("app.log", lines(1000, 1000));
    let args = ["--format", "raw", "--requests", "1", "--batch-lines", "1"];
    let start = || pod.shipper("app.log", &sink.url("/")).args(args).spawn();
    for kill in 1..4 {
        let shipper = start();
        eventually("delivered", || (sink.count() >= kill * 150).then_some(()));
        shipper.sigkill();
    }
    let shipper = start();
    shipper.wait_ready();
    let delivered = sink.lines();
    sink.decide(|_| None);
    eventually("all", || (count(&shipper, "lag_bytes") == 0.0).then_some(()));
    stop(&shipper);
    let came = sink.lines();
    let distinct: std::collections::BTreeSet<_> = came.iter().collect();
    assert_eq!(distinct.len(), 1000, "none is missing");
    let again = came.len() - 1000;
    assert!(
        again <= 3 * (SAVED_WITHIN + SLACK),
        "{again} lines of {} came again after three kills",
        delivered.len()
    );
}

// Retry-After may be longer than any pause of the shipper's own; the pod's end is what ends it.
#[test]
fn a_pause_that_the_sink_asks_for_ends_with_the_pod() {
    let (pod, sink) = (Pod::new(), FakeHttp::start());
    sink.next([Answer::RetryAfter(429, 3600)]);
    pod.append("app.log", lines(0, 10));
    let shipper = pod.shipper("app.log", &sink.url("/")).args(["--format", "raw"]).spawn();
    eventually("refused", || (count(&shipper, "retries_total") == 1.0).then_some(()));
    stop(&shipper);
    assert_eq!((sink.lines().len(), sink.count()), (10, 2));
}

// `timeout` and many wrappers send a signal to the process and to its group.
#[test]
fn a_signal_that_comes_twice_at_once_is_one() {
    let (pod, sink) = (Pod::new(), FakeHttp::start());
    sink.always(Answer::Status(503));
    pod.append("app.log", lines(0, 10));
    let shipper =
        pod.shipper("app.log", &sink.url("/")).args(["--format", "raw", "--shutdown-grace", "60s"]).spawn();
    eventually("refused", || (count(&shipper, "retries_total") > 0.0).then_some(()));
    shipper.sigterm();
    shipper.sigterm();
    let asked = sink.count();
    eventually("it goes on asking", || (sink.count() > asked + 2).then_some(()));
    sink.always(Answer::Ok);
    shipper.wait_exit().expect_code(0);
    assert_eq!(sink.lines().len(), 10);
}

#[test]
fn a_second_signal_leaves_at_once() {
    let (pod, sink) = (Pod::new(), FakeHttp::start());
    sink.always(Answer::Status(503));
    pod.append("app.log", lines(0, 10));
    let args = ["--format", "raw", "--shutdown-grace", "1h"];
    let shipper = pod.shipper("app.log", &sink.url("/")).args(args).spawn();
    eventually("refused", || (count(&shipper, "retries_total") > 0.0).then_some(()));
    shipper.sigterm();
    eventually("it drains", || (common::status(&shipper)["sinks"][0]["state"] != "following").then_some(()));
    shipper.sigterm();
    assert_ne!(shipper.wait_exit().code(), Some(0), "something was left");
}

#[test]
fn a_line_that_is_too_large_by_itself_is_buried_and_the_rest_arrives() {
    let (pod, sink) = (Pod::new(), FakeHttp::start());
    sink.decide(|request| (request.body.len() > 5_000).then_some(Answer::Status(413)));
    let large = "x".repeat(6_000);
    pod.append("app.log", format!("{}{large}\n{}", lines(0, 1000), lines(1000, 1000)));
    let letters = pod.dir.join("letters/dead.ndjson");
    let args = ["--format", "raw", "--dead-letter", &letters.display().to_string()].map(str::to_owned);
    let shipper = pod.shipper("app.log", &sink.url("/")).args(args).spawn();
    eventually("2000 lines", || (count(&shipper, "lines_delivered_total") == 2000.0).then_some(()));
    eventually("one is dead", || (count(&shipper, "dead_letters_total") == 1.0).then_some(()));
    assert!(count(&shipper, "batch_splits_total") > 1.0);
    stop(&shipper);
    let letters: Vec<Value> = pod
        .dir
        .lines("letters/dead.ndjson")
        .iter()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!((letters.len(), &letters[0]["line"]), (1, &large.into()));
    assert_eq!(letters[0]["offset"], lines(0, 1000).len());
    assert!(
        letters[0]["reason"].as_str().is_some_and(|why| why.starts_with("413")),
        "{}",
        letters[0]["reason"]
    );
}

#[test]
fn without_a_place_for_dead_letters_they_are_in_the_own_log() {
    let (pod, sink) = (Pod::new(), FakeHttp::start());
    sink.decide(|request| request.text().contains("poison").then_some(Answer::Status(400)));
    pod.append("app.log", "one\npoison\ntwo\n");
    let shipper = Proc::new(env!("CARGO_BIN_EXE_sidecar-logshipper"))
        .json_logs()
        .args(["--admin", "127.0.0.1:0", "--format", "raw", "--to", &sink.url("/"), "--read"])
        .arg(pod.log("app.log"))
        .spawn();
    let said = shipper.wait_log("it is said", |log| log["line"] == "poison");
    assert_eq!((&said["level"], &said["offset"]), (&"ERROR".into(), &4.into()));
    eventually("the others", || (count(&shipper, "lines_delivered_total") == 2.0).then_some(()));
    stop(&shipper);
}
