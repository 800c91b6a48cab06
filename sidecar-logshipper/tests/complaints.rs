//! What users of other shippers complain about, where no other test stands for it. Each test names the issues (project#number); the others
//! carry them in a comment above the test.

mod common;

use std::fs;
use std::path::Path;

use common::{Pod, assert_exact, bulk_url, count, stop, wait_docs};
use serde_json::{Value, json};
use testkit::fake::{Answer, FakeBulk, FakeHttp, OnConnect};
use testkit::{Proc, Running, eventually};

/// What users complain about, and the tests that stand for it: (theme, issues, file below the workspace, tests).
const COMPLAINTS: [(&str, &str, &str, &[&str]); 32] = [
    (
        "the app's last lines",
        "vector#22211, fluent-bit#6400, beats#13647",
        RESTART,
        &["lines_written_just_before_sigterm_arrive"],
    ),
    (
        "an ordinary sidecar",
        "opentelemetry-operator#4065",
        RESTART,
        &["an_ordinary_sidecar_goes_on_until_it_is_quiet_or_a_file_says_so"],
    ),
    (
        "SIGTERM during back-off",
        "fluent-bit#5960, vector#5414, beats#49756",
        RESTART,
        &["a_sink_that_comes_back_within_the_grace_gets_everything"],
    ),
    (
        "SIGTERM while the sink hangs",
        "fluent-bit#2411, vector#5414",
        SILENCE,
        &[
            "a_request_that_hangs_at_sigterm_is_sent_again_in_time",
            "a_sink_that_hangs_for_ever_does_not_keep_the_pod",
        ],
    ),
    ("a backlog at SIGTERM", "beats#40447", RESTART, &["a_backlog_at_sigterm_is_read_to_its_end"]),
    (
        "saved before delivered",
        "fluent-bit#2051, otel-contrib#45120, vector#18820",
        RESTART,
        &[
            "kill_at_any_moment_loses_nothing_and_ids_make_no_duplicate",
            "a_sink_that_is_down_over_sigterm_gets_everything_after_the_restart",
        ],
    ),
    (
        "a later batch is delivered first",
        "vector#18820, otel-contrib#31074",
        ORDER,
        &["a_batch_that_overtakes_moves_no_position"],
    ),
    (
        "half a line over a restart",
        "fluent-bit#11265",
        HERE,
        &[
            "a_partial_line_across_a_kill_is_completed_once",
            "a_partial_line_across_a_restart_comes_in_two_parts",
        ],
    ),
    (
        "429 inside a 200",
        "vector#2968, fluent-bit#6342, beats#45707",
        DELIVERY,
        &["refused_items_are_tried_again_or_buried_one_by_one"],
    ),
    (
        "a poison record",
        "fluent-bit#4905, loki#1199",
        DELIVERY,
        &["a_poison_line_is_found_by_halving_and_the_rest_arrives"],
    ),
    ("a poison record, Loki", "loki#3425, loki#963", SINKS, &["a_line_that_loki_refuses_is_found"]),
    (
        "copytruncate",
        "fluent-bit#375, otel-contrib#43693, beats#39731, rsyslog#3918",
        ROTATION,
        &["copytruncate_by_exact_path", "copytruncate_by_glob", "copytruncate_while_the_sink_is_down"],
    ),
    (
        "the real logrotate",
        "fluent-bit#4839, rsyslog#1417, loki#394",
        LOGROTATE,
        &[
            "renamed_and_compressed_a_rotation_later",
            "renamed_and_compressed_by_date",
            "copied_and_cut",
            "copied_cut_and_compressed",
        ],
    ),
    (
        "inode reuse",
        "fluent-bit#4895, rsyslog#2659, beats#27278",
        FOLLOW,
        &["deleted_and_made_again_with_the_same_beginning_is_another_file"],
    ),
    (
        "any history of names",
        "fluent-bit#1875, beats#40197",
        NAMES,
        &["with_room_to_hold_files_open", "with_one_file_open_at_a_time"],
    ),
    (
        "equal headers",
        "vector#25079, vector#643",
        FOLLOW,
        &["files_with_equal_beginnings_are_not_taken_for_each_other"],
    ),
    ("small files unread", "beats#44749", FOLLOW, &["tiny_files_are_read_at_once"]),
    (
        "rotated twice while lagging",
        "loki#14462, otel-contrib#17846, fluent-bit#2110",
        ROTATION,
        &["rename_while_the_sink_is_down"],
    ),
    ("rotated while nobody ran", "loki#8039", FOLLOW, &["rotations_while_nobody_runs_are_found"]),
    (
        "shipped again when compressed",
        "vector#7990, otel-contrib#40523",
        FOLLOW,
        &["what_was_read_is_not_read_again_when_it_is_compressed"],
    ),
    (
        "memory with a dead sink",
        "fluent-bit#2247, otel-contrib#46002",
        HERE,
        &["a_backlog_does_not_become_memory", "full_speed_takes_no_more_memory"],
    ),
    (
        "many files",
        "vector#3567, fluent-bit#1777",
        HERE,
        &["thousands_of_files_have_few_descriptors_and_all_arrive"],
    ),
    (
        "more files than descriptors",
        "fluent-bit#1018, #1777",
        LIMITS,
        &["more_files_than_descriptors_all_arrive"],
    ),
    ("inotify used up", "fluent-bit#1843", LIMITS, &["without_inotify_everything_still_arrives"]),
    (
        "a large file before the others",
        "vector#1466",
        FOLLOW,
        &["a_large_file_leaves_the_others_their_turns"],
    ),
    (
        "stuck after a pause",
        "fluent-bit#1903, loki#8519, rsyslog#3618",
        HERE,
        &["a_sink_that_was_down_is_noticed_without_a_restart"],
    ),
    (
        "stuck on a dead connection",
        "fluent-bit#3581, loki#9699",
        SILENCE,
        &["a_connection_of_http_2_that_has_gone_silent_is_left"],
    ),
    (
        "begun in the middle of a line",
        "vector#10025, fluent-bit#5382",
        FOLLOW,
        &["from_the_end_does_not_begin_within_a_line"],
    ),
    (
        "one long line",
        "fluent-bit#370, #10435, tigera/operator#5054",
        DELIVERY,
        &["invalid_utf8_and_a_line_of_100_mb_arrive_whole"],
    ),
    (
        "wrong counters",
        "vector#19320, vector#26293",
        ROTATION,
        &["bytes_that_vanish_under_a_lagging_sink_are_counted_and_named"],
    ),
    ("state never cleaned", "rsyslog#4186", HERE, &["positions_of_files_that_are_gone_go_too"]),
    (
        "deleting only what is delivered",
        "otel-contrib#44845",
        HERE,
        &["what_is_delivered_is_told_so_that_it_may_be_deleted"],
    ),
];
const HERE: &str = "sidecar-logshipper/tests/complaints.rs";
const RESTART: &str = "sidecar-logshipper/tests/restart.rs";
const DELIVERY: &str = "sidecar-logshipper/tests/delivery.rs";
const SINKS: &str = "sidecar-logshipper/tests/sinks.rs";
const SILENCE: &str = "sidecar-logshipper/tests/silence.rs";
const ORDER: &str = "sidecar-logshipper/tests/order.rs";
const LIMITS: &str = "sidecar-logshipper/tests/limits.rs";
const LOGROTATE: &str = "sidecar-logshipper/tests/logrotate.rs";
const ROTATION: &str = "sidecar-logshipper/tests/rotation.rs";
const FOLLOW: &str = "crates/logtail/tests/follow.rs";
const NAMES: &str = "crates/logtail/tests/names.rs";

#[test]
fn every_complaint_has_its_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace");
    for (theme, issues, file, tests) in COMPLAINTS {
        let text = fs::read_to_string(root.join(file)).expect("reads");
        for test in tests {
            let there = text.contains(&format!("#[test]\nfn {test}()"))
                || text.contains(&format!("#[test]\n    fn {test}("));
            assert!(there, "{theme} ({issues}): no {test} in {file}");
        }
    }
}

// fluent-bit#1903, #1065, #3581, #3014, #5217, loki#8519, #9699, rsyslog#3618: nothing more comes until a restart.
#[test]
fn a_sink_that_was_down_is_noticed_without_a_restart() {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    pod.append("app.log", common::lines(0, 10));
    let shipper = pod.shipper("app.log", &bulk_url(&sink)).args(["--in-flight", "64KiB"]).spawn();
    wait_docs(&sink, 10);
    for (round, answer) in [Answer::Status(503), Answer::Reset, Answer::Status(401)].into_iter().enumerate() {
        let before = count(&shipper, "retries_total");
        sink.always(answer);
        // More than what may be in flight, so that reading pauses, too.
        let from = 10 + round * 4_000;
        pod.append("app.log", common::lines(from, 4_000));
        eventually("retries", || (count(&shipper, "retries_total") > before + 2.0).then_some(()));
        sink.always(Answer::Ok);
        eventually("all", || (sink.doc_count() == from + 4_000).then_some(()));
    }
    stop(&shipper);
    assert_exact(&sink, 12_010);
}

// otel-contrib#44845 (otel-collector#14272): when may a log be deleted? When `positions` says that all of it is delivered.
#[test]
fn what_is_delivered_is_told_so_that_it_may_be_deleted() {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    let all = common::lines(0, 100);
    pod.append("app.log", &all);
    sink.down();
    let shipper = pod.shipper("app.log", &bulk_url(&sink)).spawn();
    let delivered = || {
        let listed = Proc::new(env!("CARGO_BIN_EXE_sidecar-logshipper"))
            .args(["positions", "--json", "--state"])
            .arg(pod.dir.join("state"))
            .run();
        let files: Vec<Value> = serde_json::from_str(&listed.stdout()).expect("JSON");
        files.first().and_then(|file| file["offset"].as_u64()).unwrap_or(0)
    };
    eventually("tries", || (count(&shipper, "retries_total") > 0.0).then_some(()));
    assert_eq!(delivered(), 0, "read is not delivered");
    sink.up();
    eventually("all of it", || (delivered() == all.len() as u64).then_some(()));
    assert_exact(&sink, 100);
    stop(&shipper);
}

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

// The same with SIGTERM: what there is of the line goes, because the pod may end; the rest comes as its second part.
#[test]
fn a_partial_line_across_a_restart_comes_in_two_parts() {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    pod.append("app.log", "line 0\nlin");
    let run = || {
        let shipper = pod.shipper("app.log", &bulk_url(&sink)).spawn();
        shipper.wait_ready();
        stop(&shipper);
    };
    run();
    pod.append("app.log", "e 1\nline 2\n");
    run();
    let mut docs = sink.docs();
    // Requests overtake each other.
    docs.sort_by_key(|doc| doc.source["log.offset"].as_u64());
    let parts: Vec<_> = docs.iter().map(|doc| (&doc.source["message"], &doc.source["log.part"])).collect();
    let whole = &Value::Null;
    assert_eq!(
        parts,
        [
            (&json!("line 0"), whole),
            (&json!("lin"), &json!(1)),
            (&json!("e 1"), &json!(2)),
            (&json!("line 2"), whole)
        ]
    );
    assert_eq!((&docs[2].source["log.offset"], &docs[2].source["log.last_part"]), (&json!(10), &json!(true)));
}

fn proc_status(shipper: &Running, key: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", shipper.pid())).expect("reads");
    let line = status.lines().find(|line| line.starts_with(key)).expect("a line");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}

// fluent-bit#2247, #1768, #6806, #9536, #3148, otel-contrib#46002, #31129, #18476: memory that grows with the backlog of a dead sink.
#[test]
fn a_backlog_does_not_become_memory() {
    // Of the whole process, in KB, with 8 MiB in flight.
    let peak = |line: &str, megabytes: usize, stalls: bool, most: u64| {
        let (pod, sink) = (Pod::new(), FakeBulk::start());
        if stalls {
            sink.connections(OnConnect::Stall);
        } else {
            sink.always(Answer::Status(503));
        }
        let megabyte = line.repeat(1_000_000 / line.len());
        (0..megabytes).for_each(|_| pod.append("app.log", &megabyte));
        let shipper = pod.shipper("app.log", &bulk_url(&sink)).spawn();
        if stalls {
            eventually("it is connected", || (sink.accepted() > 0).then_some(()));
            eventually("much is in flight", || (count(&shipper, "in_flight_bytes") > 2e6).then_some(()));
        } else {
            eventually("retries", || (count(&shipper, "retries_total") > 3.0).then_some(()));
        }
        assert_eq!(
            count(&shipper, "lag_bytes"),
            megabytes as f64 * megabyte.len() as f64,
            "it waits in the file"
        );
        let kilobytes = proc_status(&shipper, "VmHWM");
        shipper.sigkill();
        assert!(kilobytes < most, "{kilobytes} KB with {megabytes} MB of lines of {} bytes", line.len());
        kilobytes
    };
    let long = "x".repeat(999) + "\n";
    let few = peak(&long, 10, false, 24 << 10);
    let many = peak(&long, 100, false, 24 << 10);
    assert!(many < few + (4 << 10), "{few} KB with 10 MB, {many} KB with 100 MB");
    peak(&long, 100, true, 24 << 10);
    // Each becomes some hundred bytes when it is wrapped, and has its own place in its batch.
    peak("x\n", 20, false, 32 << 10);
    peak("\n", 10, true, 32 << 10);
}

#[test]
fn full_speed_takes_no_more_memory() {
    let (pod, sink) = (Pod::new(), FakeHttp::start());
    let line = "x".repeat(99) + "\n";
    (0..50).for_each(|_| pod.append("app.log", line.repeat(10_000)));
    let shipper = pod.shipper("app.log", &sink.url("/")).args(["--format", "raw"]).spawn();
    eventually("all", || (count(&shipper, "lines_delivered_total") == 500_000.0).then_some(()));
    let kilobytes = proc_status(&shipper, "VmHWM");
    assert!(kilobytes < 24 << 10, "{kilobytes} KB");
    stop(&shipper);
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
