//! What goes wrong gets a clear error or a counted, logged condition, and loses nothing.

mod common;

use common::{adapter, assert_exactly_once, following, lines, metric, records, wait_for_ids};
use testkit::{PodDir, Stream, eventually, skip_or_fail};

#[test]
fn wrong_usage_and_wrong_configuration_say_what_to_write() {
    adapter().arg("--fron").run().expect_code(2).expect_stderr("--from");
    adapter().args(["--from", "ngnix"]).run().expect_code(78).expect_stderr("did you mean \"nginx\"?");
    adapter().args(["--timezone", "Mars/Olympus"]).run().expect_code(78).expect_stderr("Europe/Berlin");
    let pod = PodDir::new();
    let config = pod
        .write("bad.yaml", "schema: esc\nstreams:\n  - inn: [/x]\n    from: nginx\nfields: {message: x}\n");
    let refused = adapter().args(["--check", "--config", config.to_str().expect("text")]).run();
    refused.expect_code(78);
    refused
        .expect_stderr("bad.yaml:1:")
        .expect_stderr("bad.yaml:3:")
        .expect_stderr("did you mean")
        .expect_stderr("fields.message");
    let config =
        pod.write("loop.yaml", format!("in: ['{0}/*.log']\nout: {0}/out.log\n", pod.path().display()));
    let refused = adapter().args(["--check", "--config", config.to_str().expect("text")]).run();
    refused.expect_code(78).expect_stderr("is itself one of the inputs");
}

#[test]
fn a_closed_pipe_is_a_success() {
    let script = format!("yes '{{\"msg\":\"x\"}}' | {} | head -n 3", env!("CARGO_BIN_EXE_adapter-logformat"));
    let shell = testkit::Proc::new("/bin/bash")
        .args(["-o", "pipefail", "-c", &format!("({script}); echo ${{PIPESTATUS[0]}}")])
        .run();
    // `yes` dies of its own closed pipe (141); the adapter must not add an error of its own.
    assert_eq!(shell.stdout_lines().len(), 4);
    assert_eq!(shell.stderr(), "");
}

#[test]
fn a_line_of_100_mb_becomes_numbered_parts() {
    let pod = PodDir::new();
    let mut text = vec![b'x'; 100 << 20];
    text.extend_from_slice(b"\n{\"msg\":\"after\"}\n");
    pod.write("huge", &text);
    let out = pod.join("out");
    let running = adapter().with_stdin().args(["--from", "json", "--schema", "flat"]).stdout_to(&out).spawn();
    for chunk in text.chunks(1 << 20) {
        running.write_stdin(chunk);
    }
    running.close_stdin();
    running.wait_exit().expect_code(0);
    let mut length = 0;
    let mut parts = 0;
    let mut last = String::new();
    for line in std::fs::read_to_string(&out).expect("the output").lines() {
        let record: serde_json::Value = serde_json::from_str(line).expect("a record");
        if let Some(part) = record["part"].as_u64() {
            parts += 1;
            assert_eq!(part, parts);
            length += record["message"].as_str().expect("text").len();
        }
        last = record["message"].as_str().expect("text").to_owned();
    }
    assert_eq!(length, 100 << 20);
    assert_eq!(parts, 101.min(parts).max(100));
    assert_eq!(last, "after");
}

#[test]
fn a_long_line_in_a_file_too() {
    let pod = PodDir::new();
    pod.write("app.log", format!("{}\n{}", "y".repeat(5 << 20), lines(0, 1)));
    let running = following(&pod, &[]).spawn();
    wait_for_ids(&pod, 6);
    assert!(metric(&running, "line_parts_total") >= 5.0);
    running.sigterm();
    running.wait_exit().expect_code(0);
    let records = records(&pod.join("out"));
    let text: String =
        records.iter().filter(|r| r["part"].is_u64()).filter_map(|r| r["message"].as_str()).collect();
    assert_eq!(text.len(), 5 << 20);
    let ends: Vec<_> = records.iter().filter_map(|r| r["part_last"].as_bool()).collect();
    assert_eq!(ends.iter().filter(|last| **last).count(), 1);
}

#[test]
fn a_full_disk_stops_reading_and_loses_nothing() {
    let pod = PodDir::new();
    let Some(disk) = pod.small_tmpfs("out", 256 << 10) else {
        return skip_or_fail("a full disk: mounting a tmpfs needs root");
    };
    std::fs::write(disk.join("ballast"), vec![0; 128 << 10]).expect("writes");
    pod.write("app.log", lines(0, 600));
    let running = following(&pod, &[]).spawn();
    eventually("the output is blocked", || (metric(&running, "output_blocked") == 1.0).then_some(()));
    assert!(metric(&running, "output_errors_total") >= 1.0);
    running.wait_log("a warning", |line| {
        line["message"].as_str().is_some_and(|m| m.contains("nothing is lost"))
    });
    // Killed while half a batch is written: the rest follows.
    running.sigkill();
    let running = following(&pod, &[]).spawn();
    std::fs::remove_file(disk.join("ballast")).expect("removes");
    wait_for_ids(&pod, 600);
    eventually("the output takes records", || (metric(&running, "output_blocked") == 0.0).then_some(()));
    running.sigterm();
    running.wait_exit().expect_code(0);
    assert_exactly_once(&pod, 600);
}

#[test]
fn an_output_directory_that_disappears_is_waited_for() {
    let pod = PodDir::new();
    pod.write("app.log", lines(0, 10));
    let running = following(&pod, &[]).spawn();
    wait_for_ids(&pod, 10);
    pod.rename("out", "gone");
    pod.append("app.log", lines(10, 20));
    eventually("the output is blocked", || (metric(&running, "output_blocked") == 1.0).then_some(()));
    pod.rename("gone", "out");
    wait_for_ids(&pod, 20);
    running.sigterm();
    running.wait_exit().expect_code(0);
    assert_exactly_once(&pod, 20);
}

#[test]
fn a_directory_that_cannot_be_made_ends_the_start() {
    let pod = PodDir::new();
    pod.write("file", "");
    let out = pod.join("file/out.log");
    let refused = adapter()
        .args(["--in", "/nowhere/*.log", "--out", out.to_str().expect("text"), "--admin", "off"])
        .run();
    refused.expect_code(1).expect_stderr("mount a volume there");
}

#[test]
fn missing_inputs_are_waited_for() {
    let pod = PodDir::new();
    let running = following(&pod, &["--in", pod.join("later/app*.log").to_str().expect("text")]).spawn();
    running.wait_ready();
    pod.mkdir("later");
    pod.write("later/app.log", lines(0, 5));
    wait_for_ids(&pod, 5);
}

#[test]
fn a_truncated_checkpoint_is_set_aside_and_its_copy_used() {
    let pod = PodDir::new();
    pod.write("app.log", lines(0, 100));
    let running = following(&pod, &[]).spawn();
    wait_for_ids(&pod, 100);
    running.sigterm();
    running.wait_exit().expect_code(0);
    pod.truncate("state/positions", 20);
    pod.append("app.log", lines(100, 200));
    let running = following(&pod, &[]).spawn();
    running.wait_log("the damage", |line| {
        line["message"].as_str().is_some_and(|m| m.contains("damaged position file"))
    });
    wait_for_ids(&pod, 200);
    assert_eq!(metric(&running, "checkpoints_damaged_total"), 1.0);
    running.sigterm();
    running.wait_exit().expect_code(0);
    assert_exactly_once(&pod, 200);
    // Without its copy everything is read again: doubled, counted, not lost.
    pod.truncate("state/positions", 20);
    std::fs::remove_file(pod.join("state/intent")).expect("removes");
    let running = following(&pod, &[]).spawn();
    wait_for_ids(&pod, 400);
    assert_eq!(metric(&running, "checkpoints_damaged_total"), 1.0);
}

#[test]
fn a_second_adapter_on_the_same_state_is_refused() {
    let pod = PodDir::new();
    let running = following(&pod, &[]).spawn();
    running.wait_ready();
    following(&pod, &[]).run().expect_code(1).expect_stderr("give each its own --state");
}

#[test]
fn invalid_utf8_and_control_bytes_come_through_a_file() {
    let pod = PodDir::new();
    pod.write("app.log", b"caf\xe9 \xff\n\x00\x1b[31mred\x1b[0m\r\n");
    let running = following(&pod, &["--from", "plain"]).spawn();
    wait_for_ids(&pod, 2);
    running.sigterm();
    let exited = running.wait_exit();
    exited.expect_code(0);
    let records = records(&pod.join("out"));
    assert_eq!(records[0]["message"], "caf\\xE9 \\xFF");
    assert_eq!(records[0]["original_base64"], "Y2Fm6SD/");
    assert_eq!(records[1]["message"], "\u{0}red");
    assert_eq!(records[1]["original"], "\u{0}\u{1b}[31mred\u{1b}[0m");
}

#[test]
fn a_taken_admin_port_is_one_sentence() {
    let pod = PodDir::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let taken = listener.local_addr().expect("an address").to_string();
    let refused = adapter().args(["--in", pod.join("x").to_str().expect("text"), "--admin", &taken]).run();
    refused.expect_code(1).expect_stderr(&taken);
    let _ = Stream::Stderr;
}
