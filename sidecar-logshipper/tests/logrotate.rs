//! The real logrotate, in the ways in which people have it rotate.

mod common;

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;

use common::{Pod, assert_exact, bulk_url, count, wait_docs};
use testkit::fake::FakeBulk;
use testkit::{Proc, skip_or_fail};

const ROUNDS: usize = 9;

/// Debian's, which is not on everybody's path.
fn logrotate() -> Option<PathBuf> {
    ["/usr/sbin/logrotate", "/usr/bin/logrotate"].into_iter().map(PathBuf::from).find(|path| path.exists())
}

/// An app and its logrotate, nine rotations, the sink down for the second three of them, the shipper for the last three.
fn rotate(glob: &str, how: &[&str], late: bool) {
    let Some(logrotate) = logrotate() else { return skip_or_fail("logrotate is not installed") };
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    let log = pod.log("app.log");
    let rules = how.join("\n  ");
    let config = format!("{} {{\n  rotate 50\n  {rules}\n}}\n", log.display());
    let config = pod.dir.write("logrotate.conf", config);
    let state = pod.dir.join("logrotate.state");
    let open = || OpenOptions::new().append(true).create(true).open(&log).expect("opens");
    let mut next = 0;
    let mut write = |file: &mut File, lines: usize| {
        file.write_all(common::lines(next, lines).as_bytes()).expect("writes");
        next += lines;
        next
    };
    let mut file = open();
    let mut shipper = Some(pod.shipper(glob, &bulk_url(&sink)).spawn());
    shipper.as_ref().expect("runs").wait_ready();
    for round in 0..ROUNDS {
        match round {
            3 => sink.down(),
            6 => {
                sink.up();
                shipper.take().expect("runs").sigkill();
            }
            _ => {}
        }
        write(&mut file, 400);
        if how.contains(&"dateext") {
            // By seconds: no two rotations in one.
            let now = || std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
            let begun = now();
            testkit::eventually("another second", || (now() > begun).then_some(()));
            // time(2) may be a tick behind.
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let run = Proc::new(&logrotate).args(["--force", "--state"]).arg(&state).arg(&config).run();
        run.expect_code(0);
        if late {
            // An app that has not heard of it yet.
            write(&mut file, 20);
        }
        file = open();
    }
    let written = write(&mut file, 1);
    let shipper = pod.shipper(glob, &bulk_url(&sink)).spawn();
    shipper.wait_ready();
    wait_docs(&sink, written);
    let lost = count(&shipper, "lost_bytes_total");
    shipper.sigterm();
    let exited = shipper.wait_exit();
    exited.expect_code(0);
    assert_eq!(lost, 0.0, "{how:?} by {glob}: {}", exited.stderr());
    assert_exact(&sink, written);
}

#[test]
fn renamed_and_compressed_a_rotation_later() {
    rotate("app.log", &["create", "compress", "delaycompress"], true);
}

#[test]
fn renamed_and_compressed_by_date() {
    rotate("*.log*", &["create", "compress", "dateext", "dateformat -%Y%m%d-%s"], false);
}

#[test]
fn copied_and_cut() {
    rotate("app.log*", &["copytruncate"], true);
}

// vector#7990, #13193, otel-contrib#40523: compressed, and shipped again.
#[test]
fn copied_cut_and_compressed() {
    rotate("app.log", &["copytruncate", "compress"], true);
}
