//! Several requests under way: what overtakes, and how many there are.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::{Pod, count, lines, stop};
use serde_json::Value;
use testkit::fake::{Answer, FakeHttp};
use testkit::{Proc, eventually};

// vector#18820, otel-contrib#45120: the position follows what is delivered without a gap, also when a later batch is delivered first.
#[test]
fn a_batch_that_overtakes_moves_no_position() {
    let (pod, sink) = (Pod::new(), FakeHttp::start());
    let hang = Arc::new(AtomicBool::new(true));
    let hangs = Arc::clone(&hang);
    let first = |text: &str| text.starts_with("line 0\n");
    sink.decide(move |request| {
        (hangs.load(Ordering::Relaxed) && first(&request.text())).then_some(Answer::Hang)
    });
    pod.append("app.log", lines(0, 200));
    let args = ["--format", "raw", "--batch-lines", "100"];
    let shipper = pod.shipper("app.log", &sink.url("/")).args(args).spawn();
    eventually("the second hundred", || (count(&shipper, "lines_delivered_total") == 100.0).then_some(()));
    eventually("nothing is to be saved", || {
        (common::status(&shipper)["gauges"]["unsaved"] == 0).then_some(())
    });
    let listed = Proc::new(env!("CARGO_BIN_EXE_sidecar-logshipper"))
        .args(["positions", "--json", "--state"])
        .arg(pod.dir.join("state"))
        .run();
    let files: Vec<Value> = serde_json::from_str(&listed.stdout()).expect("JSON");
    assert_eq!(files[0]["offset"], 0, "the first hundred are not delivered");
    shipper.sigkill();
    hang.store(false, Ordering::Relaxed);
    let shipper = pod.shipper("app.log", &sink.url("/")).args(args).spawn();
    eventually("all", || (count(&shipper, "lines_delivered_total") == 200.0).then_some(()));
    stop(&shipper);
    let came = sink.lines().join("\n");
    let tally = common::tally(&came);
    assert_eq!(tally.len(), 200);
    assert!((0..100).all(|n| tally[format!("line {n}").as_str()] == 1), "the gap comes once");
}

/// How many requests are with a sink now, and the most there were.
#[derive(Default)]
struct Busy {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Busy {
    /// A sink takes its time.
    fn work(&self) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(30));
        self.now.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn a_sink_that_refuses_gets_one_request_at_a_time() {
    let (pod, sink) = (Pod::new(), FakeHttp::start());
    let (busy, refuse) = (Arc::new(Busy::default()), Arc::new(AtomicBool::new(false)));
    let (working, refuses) = (Arc::clone(&busy), Arc::clone(&refuse));
    sink.decide(move |_| {
        working.work();
        refuses.load(Ordering::SeqCst).then_some(Answer::Status(503))
    });
    let args = ["--format", "raw", "--batch-lines", "10", "--requests", "4"];
    let shipper = pod.shipper("app.log", &sink.url("/")).args(args).spawn();
    shipper.wait_ready();
    let all_at_once = || (busy.most.load(Ordering::SeqCst) == 4).then_some(());
    pod.append("app.log", lines(0, 2000));
    eventually("four at once", all_at_once);
    eventually("delivered", || (sink.lines().len() == 2000).then_some(()));
    refuse.store(true, Ordering::SeqCst);
    pod.append("app.log", lines(2000, 2000));
    // Each that was under way finds it out for itself.
    eventually("all are refused", || (count(&shipper, "retries_total") >= 8.0).then_some(()));
    let asked = sink.count();
    busy.most.store(0, Ordering::SeqCst);
    eventually("asked again", || (sink.count() >= asked + 6).then_some(()));
    assert_eq!(busy.most.load(Ordering::SeqCst), 1);
    refuse.store(false, Ordering::SeqCst);
    busy.most.store(0, Ordering::SeqCst);
    eventually("four at once again", all_at_once);
    eventually("delivered", || (sink.lines().len() == 4000).then_some(()));
    stop(&shipper);
}
