//! What users of other shippers complain about, where no other test stands for it. Each test names the issues (project#number); the others
//! carry them in a comment above the test.

mod common;

use std::fs;

use common::{Pod, assert_exact, bulk_url, count, stop, wait_docs};
use serde_json::Value;
use testkit::fake::{Answer, FakeBulk};
use testkit::{Proc, Running, eventually};

// fluent-bit#11265: a line that was half written when the shipper died.
#[test]
fn a_partial_line_across_a_kill_is_completed_once() {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    pod.append("app.log", "line 0\nlin");
    let shipper = pod.shipper("app.log", &bulk_url(&sink)).spawn();
    wait_docs(&sink, 1);
    shipper.sigkill();
    pod.append("app.log", "e 1\nline 2\n");
    let shipper = pod.shipper("app.log", &bulk_url(&sink)).spawn();
    wait_docs(&sink, 3);
    stop(&shipper);
    assert_exact(&sink, 3);
}

fn proc_status(shipper: &Running, key: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", shipper.pid())).expect("reads");
    let line = status.lines().find(|line| line.starts_with(key)).expect("a line");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}

// fluent-bit#2247, #1768, #6806, #9536, #3148, otel-contrib#46002, #31129, #18476: memory that grows with the backlog of a dead sink.
#[test]
fn a_backlog_does_not_become_memory() {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    sink.always(Answer::Status(503));
    let line = "x".repeat(1000);
    for _ in 0..20 {
        pod.append("app.log", format!("{line}\n").repeat(5_000));
    }
    let shipper = pod.shipper("app.log", &bulk_url(&sink)).spawn();
    eventually("retries", || (count(&shipper, "retries_total") > 3.0).then_some(()));
    assert!(count(&shipper, "lag_bytes") > 99e6, "100 MB wait in the file");
    let kilobytes = proc_status(&shipper, "VmHWM");
    assert!(kilobytes < 80 << 10, "{kilobytes} KB for 8 MiB in flight");
    shipper.sigkill();
}

// vector#3567, #1466, fluent-bit#1777, #1018, #717, #1843, #669: a descriptor, a buffer and a watch for each of many files.
#[test]
fn thousands_of_files_have_few_descriptors_and_all_arrive() {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    for n in 0..2000 {
        pod.append(&format!("{n}.log"), format!("line {n}\n"));
    }
    let shipper = pod.shipper("*.log", &bulk_url(&sink)).spawn();
    wait_docs(&sink, 2000);
    let open = fs::read_dir(format!("/proc/{}/fd", shipper.pid())).expect("lists").count();
    assert!(open < 400, "{open} descriptors");
    pod.append("7.log", "line 2000\n");
    wait_docs(&sink, 2001);
    stop(&shipper);
    assert_exact(&sink, 2001);
}

// rsyslog#4186: state of files that are gone stays for ever.
#[test]
fn positions_of_files_that_are_gone_go_too() {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    let shipper = pod.shipper("*.log", &bulk_url(&sink)).spawn();
    for round in 0..3 {
        for n in 0..100 {
            pod.append(&format!("{round}-{n}.log"), format!("line {}\n", round * 100 + n));
        }
        wait_docs(&sink, (round + 1) * 100);
        for n in 0..100 {
            fs::remove_file(pod.log(&format!("{round}-{n}.log"))).expect("deletes");
        }
    }
    let saved = || {
        let listed = Proc::new(env!("CARGO_BIN_EXE_sidecar-logshipper"))
            .args(["positions", "--json", "--state"])
            .arg(pod.dir.join("state"))
            .run();
        serde_json::from_str::<Vec<Value>>(&listed.stdout()).expect("JSON").len()
    };
    eventually("all are forgotten", || (saved() == 0).then_some(()));
    stop(&shipper);
    assert_exact(&sink, 300);
}
