//! Lines that belong together: stack traces, partial lines, start patterns, over reads and kills.

mod common;

use std::time::Duration;

use common::{adapter, following, metric, records};
use testkit::{PodDir, eventually};

const TRACE: &str = "java.lang.IllegalStateException: no stock\n\tat com.example.Shop.buy(Shop.java:3)\n\tat com.example.Main.main(Main.java:9)\nCaused by: java.io.IOException: gone\n\t... 2 more\n";

#[test]
fn a_trace_is_one_record_with_its_exception() {
    let running = adapter().with_stdin().args(["--schema", "ecs"]).spawn();
    running.write_stdin(format!(
        "2026-11-21 12:24:10,123 ERROR failed\n{TRACE}2026-11-21 12:24:11,000 INFO next\n"
    ));
    running.close_stdin();
    let exited = running.wait_exit();
    exited.expect_code(0);
    let records: Vec<serde_json::Value> =
        exited.stdout_lines().iter().map(|line| serde_json::from_str(line).expect("a record")).collect();
    assert_eq!(records.len(), 2);
    assert_eq!(records[0]["log.level"], "error");
    assert_eq!(records[0]["@timestamp"], "2026-11-21T12:24:10.123Z");
    assert_eq!(records[0]["error.type"], "java.lang.IllegalStateException");
    assert_eq!(records[0]["error.message"], "no stock");
    assert_eq!(records[0]["error.stack_trace"], TRACE.trim_end());
    assert_eq!(
        records[0]["event.original"],
        format!("2026-11-21 12:24:10,123 ERROR failed\n{}", TRACE.trim_end())
    );
}

#[test]
fn a_line_that_nothing_follows_comes_out_soon() {
    let running = adapter().with_stdin().spawn();
    running.write_stdin("just text\n");
    running.wait_line(testkit::Stream::Stdout, "the record", |line| line.contains("just text"));
    let pod = PodDir::new();
    pod.write("app.log", "ERROR failed\n");
    let follower = following(&pod, &["--from", "auto"]).spawn();
    eventually("the record", || (records(&pod.join("out")).len() == 1).then_some(()));
    drop(follower);
}

#[test]
fn partial_lines_of_a_runtime_are_joined_over_reads() {
    let pod = PodDir::new();
    let head = "2026-11-21T12:24:10.123456789Z";
    pod.write("app.log", format!("{head} stdout P {{\"msg\":\"he\n{head} stderr F beside\n"));
    let running = following(&pod, &["--from", "cri"]).spawn();
    running.wait_ready();
    std::thread::sleep(Duration::from_millis(50));
    pod.append("app.log", format!("{head} stdout F llo\",\"n\":1}}\n"));
    let found = eventually("both records", || {
        let records = records(&pod.join("out"));
        (records.len() >= 2).then_some(records)
    });
    let lines = metric(&running, "lines_read_total");
    assert_eq!(lines, metric(&running, "records_written_total") + metric(&running, "lines_joined_total"));
    if let Some(joined) = found.iter().find(|r| r["message"] == "hello") {
        assert_eq!(joined["n"], 1);
        assert_eq!(joined["stream"], "stdout");
        assert_eq!(found.len(), 2);
    } else {
        // A slow machine: the rest came after the patience for it. Nothing is lost then either.
        assert_eq!(found.len(), 3, "{found:?}");
    }
}

#[test]
fn a_trace_inside_of_envelopes_is_one_record_per_stream() {
    let head = "2026-11-21T12:24:10.123456789Z";
    let traced = format!("2026-11-21 12:24:10,100 ERROR failed\n{TRACE}");
    let cri: String = traced
        .lines()
        .map(|line| format!("{head} stderr F {line}\n{head} stdout F {{\"msg\":\"beside\"}}\n"))
        .collect();
    let docker: String = traced
        .lines()
        .map(|line| {
            let log = serde_json::json!(format!("{line}\n"));
            format!("{{\"log\":{log},\"stream\":\"stderr\",\"time\":\"{head}\"}}\n")
        })
        .collect();
    for (from, text, beside) in
        [("auto", &cri, 6), ("cri", &cri, 6), ("auto", &docker, 0), ("docker", &docker, 0)]
    {
        let running = adapter().with_stdin().args(["--schema", "ecs", "--from", from]).spawn();
        running.write_stdin(text);
        running.close_stdin();
        let exited = running.wait_exit();
        exited.expect_code(0);
        let records: Vec<serde_json::Value> =
            exited.stdout_lines().iter().map(|line| serde_json::from_str(line).expect("a record")).collect();
        let found = records.iter().filter(|r| r["message"] == "beside").count();
        assert_eq!((found, records.len()), (beside, beside + 1), "{from}: {records:?}");
        let trace = records.iter().find(|r| r["message"] != "beside").expect("the trace");
        assert_eq!(trace["log.level"], "error");
        assert_eq!(trace["@timestamp"], "2026-11-21T12:24:10.100Z");
        assert_eq!(trace["message"], "2026-11-21 12:24:10,100 ERROR failed");
        assert_eq!(trace["error.type"], "java.lang.IllegalStateException");
        assert_eq!(trace["error.message"], "no stock");
        assert_eq!(trace["error.stack_trace"], TRACE.trim_end());
        assert_eq!(trace["log.iostream"], "stderr");
        // The raw lines of that stream, envelopes and all.
        let own: Vec<_> = text.lines().filter(|line| line.contains("stderr")).collect();
        assert_eq!(trace["event.original"], own.join("\n"));
    }
    // A bare trace, and a start pattern: both see what is inside.
    for (rule, lines) in [("auto", TRACE), ("^#", "#1 one\ntwo\n")] {
        let text: String = lines.lines().map(|line| format!("{head} stdout F {line}\n")).collect();
        let running = adapter().with_stdin().args(["--schema", "flat", "--multiline", rule]).spawn();
        running.write_stdin(text);
        running.close_stdin();
        let exited = running.wait_exit();
        let records = exited.stdout_lines();
        assert_eq!(records.len(), 1, "{records:?}");
        let record: serde_json::Value = serde_json::from_str(&records[0]).expect("a record");
        assert_eq!(record["message"].as_str().and_then(|m| m.lines().next()), lines.lines().next());
    }
}

#[test]
fn a_start_pattern_of_the_users_own() {
    let running =
        adapter().with_stdin().args(["--multiline", "^#", "--schema", "flat", "--from", "plain"]).spawn();
    running.write_stdin("#1 first\nmore\n\nand more\n#2 second\n");
    running.close_stdin();
    let exited = running.wait_exit();
    let records: Vec<serde_json::Value> =
        exited.stdout_lines().iter().map(|line| serde_json::from_str(line).expect("a record")).collect();
    assert_eq!(records.len(), 2);
    // The message is the whole event, so nothing else has to hold it.
    assert_eq!(records[0]["message"], "#1 first\nmore\n\nand more");
    adapter().args(["--multiline", "("]).run().expect_code(78).expect_stderr("first line");
}

#[test]
fn killed_again_and_again_every_event_is_there_once() {
    let pod = PodDir::new();
    let mut written = 0;
    let mut seed = 7_u64;
    for _ in 0..8 {
        let events: String =
            (written..written + 4000).map(|id| format!("ERROR event {id} failed\n{TRACE}")).collect();
        pod.append("app.log", events);
        written += 4000;
        let running =
            following(&pod, &["--from", "auto", "--out-max-size", "3MiB", "--out-keep", "100"]).spawn();
        running.wait_ready();
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::sleep(Duration::from_millis(seed >> 40 & 63));
        running.sigkill();
    }
    let running = following(&pod, &["--from", "auto", "--out-max-size", "3MiB", "--out-keep", "100"]).spawn();
    running.wait_ready();
    running.sigterm();
    running.wait_exit().expect_code(0);
    let mut ids: Vec<u64> = records(&pod.join("out"))
        .iter()
        .map(|record| {
            assert_eq!(record["error_type"], "java.lang.IllegalStateException", "{record}");
            let message = record["message"].as_str().expect("text");
            message.split(' ').nth(2).and_then(|id| id.parse().ok()).expect("an id")
        })
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..written).collect::<Vec<_>>());
}
