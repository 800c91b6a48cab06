//! A pod with logs, a shipper over them, and questions to both.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::fake::FakeBulk;
use testkit::metrics::metrics;
use testkit::{PodDir, Proc, Running, eventually, http};

pub struct Pod {
    pub dir: PodDir,
}

impl Pod {
    pub fn new() -> Self {
        let dir = PodDir::new();
        dir.mkdir("logs");
        Self { dir }
    }

    pub fn log(&self, name: &str) -> PathBuf {
        self.dir.join("logs").join(name)
    }

    pub fn append(&self, name: &str, text: impl AsRef<[u8]>) {
        self.dir.append(format!("logs/{name}"), text);
    }

    /// A shipper over `logs/GLOB` with a state directory.
    pub fn shipper(&self, glob: &str, to: &str) -> Proc {
        Proc::new(env!("CARGO_BIN_EXE_sidecar-logshipper"))
            .json_logs()
            .args(["--admin", "127.0.0.1:0", "--read"])
            .arg(self.log(glob))
            .args(["--to", to])
            .arg("--state")
            .arg(self.dir.join("state"))
            .env("POD_NAME", "shop-1")
            .env("POD_UID", "7f1e")
    }

    /// The same started by another program, such as `prlimit --nofile=64`.
    pub fn under(&self, before: &[&str], glob: &str, to: &str) -> Proc {
        Proc::new(before[0])
            .args(&before[1..])
            .arg(env!("CARGO_BIN_EXE_sidecar-logshipper"))
            .args(["--log-format", "json", "--admin", "127.0.0.1:0", "--read"])
            .arg(self.log(glob))
            .args(["--to", to, "--state"])
            .arg(self.dir.join("state"))
    }

    pub fn dead_letters(&self) -> Vec<Value> {
        let lines = self.dir.read("state/dead-letter.ndjson").unwrap_or_default();
        // The last one may be half written yet.
        String::from_utf8_lossy(&lines)
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }
}

pub fn bulk_url(sink: &FakeBulk) -> String {
    format!("elasticsearch+http://{}/logs-app-default", sink.addr())
}

/// `count` numbered lines.
pub fn lines(from: usize, count: usize) -> String {
    (from..from + count).map(|n| format!("line {n}\n")).collect()
}

pub fn messages(sink: &FakeBulk) -> Vec<String> {
    sink.docs().iter().map(|doc| doc.source["message"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Every line from 0 to `count` is there, none twice, and nothing else.
pub fn assert_exact(sink: &FakeBulk, count: usize) {
    let got: Vec<String> = messages(sink);
    let distinct: BTreeSet<&String> = got.iter().collect();
    let expected: BTreeSet<String> = (0..count).map(|n| format!("line {n}")).collect();
    let missing: Vec<&String> = expected.iter().filter(|line| !distinct.contains(line)).take(5).collect();
    assert!(
        missing.is_empty(),
        "{} of {count} are missing, such as {missing:?}",
        expected.len() - distinct.len().min(expected.len())
    );
    assert_eq!(got.len(), count, "no line twice and no other");
}

pub fn wait_docs(sink: &FakeBulk, count: usize) {
    eventually(&format!("{count} documents"), || (sink.doc_count() >= count).then_some(()));
}

/// Where to ask; one that has ended is shown with its last words.
fn admin(running: &Running) -> std::net::SocketAddr {
    if !running.is_running() {
        running.fail("it has ended before it was asked");
    }
    running.wait_ready().addr("admin")
}

pub fn count(running: &Running, name: &str) -> f64 {
    metrics(admin(running)).sum(&format!("sidecar_logshipper_{name}"))
}

pub fn status(running: &Running) -> Value {
    http::get(admin(running), "/statusz").json()
}

/// SIGTERM, and the end as it should be.
pub fn stop(running: &Running) {
    running.sigterm();
    running.wait_exit().expect_code(0);
}

/// How often each line of a text came.
pub fn tally(text: &str) -> BTreeMap<&str, usize> {
    text.lines().fold(BTreeMap::new(), |mut tally, line| {
        *tally.entry(line).or_default() += 1;
        tally
    })
}

/// How a log is rotated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    Rename,
    CopyTruncate,
}

/// Writes `rounds` × `per_round` lines and rotates after each round, `pause` apart.
pub fn write_and_rotate(log: &Path, mode: Mode, rounds: usize, per_round: usize, pause: Duration) -> usize {
    let open = || OpenOptions::new().append(true).create(true).open(log).expect("opens");
    let mut file = open();
    let mut next = 0;
    for round in 0..rounds {
        let due = Instant::now() + pause;
        // In portions, as an app writes.
        for portion in 0..10 {
            let text: String = (0..per_round / 10).map(|n| format!("line {}\n", next + n)).collect();
            file.write_all(text.as_bytes()).expect("writes");
            next += per_round / 10;
            std::thread::sleep(due.saturating_duration_since(Instant::now()) / (10 - portion));
        }
        if round + 1 == rounds {
            break;
        }
        for n in (1..30).rev() {
            let name = |n: usize| format!("{}.{n}", log.display());
            let _ = fs::rename(name(n), name(n + 1));
        }
        let first = format!("{}.1", log.display());
        match mode {
            Mode::Rename => {
                fs::rename(log, first).expect("renames");
                file = open();
            }
            Mode::CopyTruncate => {
                fs::copy(log, first).expect("copies");
                file.set_len(0).expect("cuts");
            }
        }
    }
    next
}
