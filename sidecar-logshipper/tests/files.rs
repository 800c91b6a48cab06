//! stdout and files as sinks: the bytes as they are, or each line wrapped.

mod common;

use std::fs;
use std::io::Read as _;

use common::{Pod, count, lines, stop};
use serde_json::Value;
use testkit::{Proc, Stream, eventually, skip_or_fail};

#[test]
fn a_file_gets_every_line_through_its_own_rotation() {
    let pod = Pod::new();
    let out = pod.dir.join("archive/shop.ndjson");
    let to = format!("file://{}", out.display());
    let shipper = pod.shipper("*.log", &to).args(["--format", "ecs"]).spawn();
    for round in 0..3 {
        pod.append("app.log", lines(round * 100, 100));
        let all = (round + 1) as f64 * 100.0;
        eventually("written", || (count(&shipper, "lines_delivered_total") == all).then_some(()));
        // Someone rotates the archive as well.
        fs::rename(&out, pod.dir.join(format!("archive/{round}"))).expect("renames");
    }
    stop(&shipper);
    for round in 0..3 {
        let text = fs::read_to_string(pod.dir.join(format!("archive/{round}"))).expect("reads");
        let wrapped: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let messages: Vec<&str> = wrapped.iter().filter_map(|line| line["message"].as_str()).collect();
        assert_eq!(messages.join("\n") + "\n", lines(round * 100, 100));
        assert_eq!(wrapped[0]["kubernetes.pod.name"], "shop-1");
        assert_eq!(wrapped[0]["log.file.path"], pod.log("app.log").display().to_string());
    }
}

#[test]
fn a_file_on_a_full_disk_goes_on_where_it_stopped() {
    let pod = Pod::new();
    let Some(disk) = pod.dir.small_tmpfs("small", 64 * 1024) else {
        return skip_or_fail("a full disk: mounting a tmpfs needs root");
    };
    let ballast = disk.join("ballast");
    fs::write(&ballast, [0; 40 * 1024]).expect("writes");
    let (out, all) = (disk.join("out.log"), lines(0, 5000));
    pod.append("app.log", &all);
    let shipper = pod.shipper("*.log", &format!("file://{}", out.display())).spawn();
    eventually("it is full", || (count(&shipper, "retries_total") > 1.0).then_some(()));
    let begun = fs::read_to_string(&out).expect("reads");
    assert!(!begun.is_empty() && begun.len() < all.len(), "{} bytes", begun.len());
    fs::remove_file(ballast).expect("makes room");
    eventually("delivered", || (count(&shipper, "lines_delivered_total") == 5000.0).then_some(()));
    stop(&shipper);
    assert!(fs::read_to_string(&out).expect("reads") == all, "each byte once");
}

#[test]
fn stdout_may_be_wrapped_and_its_reader_may_stop_for_a_while() {
    let pod = Pod::new();
    pod.append("app.log", lines(0, 3));
    let shipper = pod.shipper("*.log", "stdout").args(["--format", "ecs"]).spawn();
    let line = shipper.wait_line(Stream::Stdout, "the last", |line| line.contains("\"line 2\""));
    let line: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!((&line["message"], &line["log.offset"]), (&"line 2".into(), &14.into()));
    shipper.sigterm();
    assert_eq!(shipper.wait_exit().expect_code(0).stdout_lines().len(), 3);
}

#[test]
fn a_pipe_that_is_full_holds_back_nobody_else() {
    let pod = Pod::new();
    pod.append("app.log", format!("{}\n", "x".repeat(99)).repeat(10_000));
    let out = pod.dir.join("out.log");
    // Nobody reads stdout, which is a pipe of 64 KiB.
    let fifo = pod.dir.join("fifo");
    Proc::new("mkfifo").arg(&fifo).run().expect_code(0);
    let reader = fs::OpenOptions::new().read(true).write(true).open(&fifo).expect("opens");
    let shipper = pod
        .shipper("*.log", "stdout")
        .args(["--to", &format!("file://{}", out.display())])
        .stdout_to(&fifo)
        .spawn();
    eventually("the file has all", || (pod.dir.lines("out.log").len() == 10_000).then_some(()));
    pod.append("app.log", "last\n");
    eventually("and what is new", || (pod.dir.lines("out.log").len() == 10_001).then_some(()));
    let mut got = vec![0; 1_000_005];
    (&reader).read_exact(&mut got).expect("reads");
    assert!(got.ends_with(b"x\nlast\n"), "in their order");
    stop(&shipper);
}
