//! Machines that give little: few descriptors, no watches of inotify; and directories that cannot be looked at for a while.

mod common;

use std::fs;
use std::os::unix::fs::symlink;

use common::{Pod, assert_exact, bulk_url, count, lines, stop, wait_docs};
use testkit::fake::FakeBulk;
use testkit::{Proc, eventually, skip_or_fail};

// fluent-bit#1777, #1018, vector#3567: more files than descriptors. Each line arrives, and those of rotated files, too.
#[test]
fn more_files_than_descriptors_all_arrive() {
    const FILES: usize = 300;
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    let write = |round: usize| {
        for n in 0..FILES {
            pod.append(&format!("{n}.log"), lines(round * FILES + n, 1));
        }
        (round + 1) * FILES
    };
    write(0);
    let shipper = pod.under(&["prlimit", "--nofile=64:64"], "*.log", &bulk_url(&sink)).spawn();
    wait_docs(&sink, FILES);
    for n in (0..FILES).step_by(3) {
        pod.dir.rename(format!("logs/{n}.log"), format!("logs/{n}.log.1"));
    }
    let all = write(1);
    wait_docs(&sink, all);
    // A new connection finds a descriptor as well.
    sink.reset_all();
    let all = write(2);
    wait_docs(&sink, all);
    assert_eq!(count(&shipper, "lost_bytes_total"), 0.0);
    shipper.sigterm();
    shipper.wait_exit().expect_code(0).expect_stderr("fewer files are held open");
    assert_exact(&sink, all);
}

#[test]
fn what_the_pod_may_have_open_is_taken() {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    let shipper = pod.under(&["prlimit", "--nofile=64:4096"], "*.log", &bulk_url(&sink)).spawn();
    shipper.wait_ready();
    let limits = fs::read_to_string(format!("/proc/{}/limits", shipper.pid())).expect("reads");
    let open = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    assert_eq!(open.split_whitespace().collect::<Vec<_>>()[3..5], ["4096", "4096"]);
    stop(&shipper);
}

// fluent-bit#1777, #1843: inotify is used up by others, its watches or its instances.
#[test]
fn without_inotify_everything_still_arrives() {
    for limit in ["max_inotify_watches", "max_inotify_instances"] {
        // A user namespace has limits of its own, which its root may lower.
        let script = format!("echo 0 > /proc/sys/user/{limit} && exec \"$@\"");
        let inside = ["unshare", "--user", "--map-root-user", "sh", "-c", &script, "sh"];
        if Proc::new(inside[0]).args(&inside[1..]).arg("true").run().code() != Some(0) {
            return skip_or_fail("limits of inotify need a user namespace");
        }
        let (pod, sink) = (Pod::new(), FakeBulk::start());
        pod.append("app.log", lines(0, 10));
        let shipper = pod.under(&inside, "*.log", &bulk_url(&sink)).spawn();
        wait_docs(&sink, 10);
        pod.append("app.log", lines(10, 10));
        pod.append("new.log", lines(20, 10));
        wait_docs(&sink, 30);
        pod.dir.rename("logs/app.log", "logs/app.log.1");
        pod.append("app.log", lines(30, 10));
        wait_docs(&sink, 40);
        shipper.sigterm();
        shipper.wait_exit().expect_code(0).expect_stderr("polled");
        assert_exact(&sink, 40);
    }
}

// fluent-bit#2051, beats#27278: files that are not seen are not gone, and are not read again when they are seen.
#[test]
fn a_directory_that_cannot_be_looked_at_has_lost_nothing() {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    pod.append("app.log", lines(0, 10));
    let shipper = pod.shipper("*.log", &bulk_url(&sink)).spawn();
    wait_docs(&sink, 10);
    stop(&shipper);
    pod.append("app.log", lines(10, 10));
    // It leads to itself: an error that also root gets.
    pod.dir.rename("logs", "away");
    symlink("logs", pod.dir.join("logs")).expect("links");
    let shipper = pod.shipper("*.log", &bulk_url(&sink)).spawn();
    let looks = || common::status(&shipper)["problems"][0]["path"].is_string().then_some(());
    eventually("it is named", looks);
    // Several looks: one that does not see a file is not believed anyway.
    for n in 0..5 {
        pod.dir.write(format!("away/tick.{n}"), "");
        std::thread::sleep(std::time::Duration::from_millis(300));
    }
    fs::remove_file(pod.dir.join("logs")).expect("removes");
    pod.dir.rename("away", "logs");
    wait_docs(&sink, 20);
    assert_eq!(count(&shipper, "lost_bytes_total"), 0.0);
    stop(&shipper);
    assert_exact(&sink, 20);
    assert_eq!(sink.duplicates(), 0, "nothing was read again");
}
