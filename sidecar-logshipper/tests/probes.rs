//! The behaviour probes that other shippers were measured with, every cell exact with one default configuration. Long: run
//! with `cargo test -p sidecar-logshipper --test probes -- --ignored --nocapture --test-threads 1`.

mod common;

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Mode, Pod, count, write_and_rotate};
use testkit::eventually_within;
use testkit::fake::{Answer, FakeBulk};

/// An NDJSON sink that only counts: how often each number came.
#[derive(Clone)]
struct Counting {
    addr: SocketAddr,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Counting {
    fn start(lines: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let sink =
            Self { addr: listener.local_addr().expect("bound"), seen: Arc::new(Mutex::new(vec![0; lines])) };
        let counting = sink.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counting = counting.clone();
                std::thread::spawn(move || counting.serve(stream));
            }
        });
        sink
    }

    /// HTTP/1.1 with a length, as the shipper sends it.
    fn serve(&self, mut stream: TcpStream) {
        let mut data = Vec::new();
        let mut buffer = vec![0; 256 << 10];
        loop {
            while let Some(head) = data.windows(4).position(|w| w == b"\r\n\r\n") {
                let text = String::from_utf8_lossy(&data[..head]).to_lowercase();
                let length =
                    text.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
                let end = head + 4 + length.trim().parse::<usize>().expect("a number");
                while data.len() < end {
                    match stream.read(&mut buffer) {
                        Ok(n @ 1..) => data.extend_from_slice(&buffer[..n]),
                        _ => return,
                    }
                }
                let mut seen = self.seen.lock().expect("locks");
                for line in data[head + 4..end].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                    let number = number(line)
                        .unwrap_or_else(|| panic!("not a line: {:?}", String::from_utf8_lossy(line)));
                    seen[number] = seen[number].saturating_add(1);
                }
                drop(seen);
                data.drain(..end);
                if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").is_err() {
                    return;
                }
            }
            match stream.read(&mut buffer) {
                Ok(n @ 1..) => data.extend_from_slice(&buffer[..n]),
                _ => return,
            }
        }
    }

    /// Lines that came, and how many came more than once.
    fn tally(&self) -> (usize, usize) {
        let seen = self.seen.lock().expect("locks");
        (seen.iter().filter(|times| **times > 0).count(), seen.iter().filter(|times| **times > 1).count())
    }
}

/// Of a line in its envelope.
fn number(line: &[u8]) -> Option<usize> {
    const MESSAGE: &[u8] = b"\"message\":\"line ";
    let at = line.windows(MESSAGE.len()).rposition(|window| window == MESSAGE)? + MESSAGE.len();
    std::str::from_utf8(&line[at..]).ok()?.strip_suffix("\"}")?.parse().ok()
}

/// One cell: what was written, what came, what came more than once. Also into the file of which `cargo xtask probe` makes a table.
#[allow(clippy::print_stdout, reason = "a table for people")]
fn cell(probe: &str, written: usize, came: usize, twice: usize) {
    println!("{probe}: {came} of {written}, {twice} twice");
    if let Some(table) = std::env::var_os("PROBE_TABLE") {
        let mut table = OpenOptions::new().append(true).create(true).open(table).expect("opens");
        writeln!(table, "{probe}\t{written}\t{came}\t{twice}").expect("writes");
    }
    assert_eq!((came, twice), (written, 0), "{probe}");
}

#[test]
#[ignore = "about three minutes"]
fn rotation_in_every_cell() {
    for mode in [Mode::Rename, Mode::CopyTruncate] {
        for glob in ["app.log", "app.log*"] {
            for (per_second, rotations) in [(20_000, 1), (20_000, 5), (100_000, 1), (100_000, 5)] {
                let rounds = rotations * 5;
                let total = per_second * 5;
                let (pod, sink) = (Pod::new(), Counting::start(total));
                let to = format!("http://{}/", sink.addr);
                let shipper = pod.shipper(glob, &to).spawn();
                shipper.wait_ready();
                let pause = Duration::from_secs(1) / u32::try_from(rotations).expect("small");
                let written =
                    write_and_rotate(&pod.log("app.log"), mode, rounds, per_second / rotations, pause);
                assert_eq!(written, total);
                eventually_within(Duration::from_secs(60), "all lines", || {
                    (sink.tally().0 == total).then_some(())
                });
                assert_eq!(count(&shipper, "lost_bytes_total"), 0.0);
                common::stop(&shipper);
                let (distinct, twice) = sink.tally();
                let mode = if mode == Mode::Rename { "rename" } else { "copytruncate" };
                let probe = format!("{mode} {rotations}/s, {} k lines/s, {glob}", per_second / 1000);
                cell(&probe, total, distinct, twice);
            }
        }
    }
}

#[test]
#[ignore = "two million lines"]
fn a_backlog_at_sigterm_in_every_size() {
    for total in [1_000, 500_000, 2_000_000] {
        let (pod, sink) = (Pod::new(), Counting::start(total));
        let to = format!("http://{}/", sink.addr);
        let mut shipper = pod.shipper("app.log", &to);
        if total > 1_000 {
            // More than a pod's usual end has time for.
            shipper = shipper.args(["--shutdown-grace", "60s"]);
        }
        let shipper = shipper.spawn();
        shipper.wait_ready();
        pod.append("app.log", common::lines(0, total));
        shipper.sigterm();
        shipper.wait_exit_within(Duration::from_secs(90)).expect_code(0);
        let (came, twice) = sink.tally();
        cell(&format!("{total} lines, then SIGTERM"), total, came, twice);
    }
}

#[test]
#[ignore = "with the other probes"]
fn rejected_items_and_a_sink_that_is_down() {
    const LINES: usize = 10_000;
    // By what they say: an id that is not the same would hide a line that came twice.
    let distinct = |sink: &FakeBulk| {
        let all = common::messages(sink);
        let came = all.iter().collect::<std::collections::BTreeSet<_>>().len();
        (came, all.len() - came)
    };
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    sink.throttle_once(|doc| doc.source["message"].as_str().is_some_and(|line| line.ends_with('7')));
    pod.append("app.log", common::lines(0, LINES));
    let shipper = pod.shipper("app.log", &common::bulk_url(&sink)).spawn();
    common::wait_docs(&sink, LINES);
    common::stop(&shipper);
    let (came, twice) = distinct(&sink);
    cell("429 once for 10 % of the documents", LINES, came, twice);
    common::assert_exact(&sink, LINES);
    for kill in [false, true] {
        let (pod, sink) = (Pod::new(), FakeBulk::start());
        sink.always(Answer::Status(503));
        pod.append("app.log", common::lines(0, LINES));
        let shipper = pod.shipper("app.log", &common::bulk_url(&sink)).spawn();
        eventually_within(Duration::from_secs(30), "tries", || {
            (count(&shipper, "retries_total") > 0.0).then_some(())
        });
        if kill {
            shipper.sigkill();
        } else {
            shipper.sigterm();
            shipper.wait_exit().expect_code(1);
        }
        sink.always(Answer::Ok);
        let shipper = pod.shipper("app.log", &common::bulk_url(&sink)).spawn();
        common::wait_docs(&sink, LINES);
        common::stop(&shipper);
        let how = if kill { "SIGKILL" } else { "SIGTERM" };
        let (came, twice) = distinct(&sink);
        cell(&format!("sink down over {how} and restart"), LINES, came, twice);
        common::assert_exact(&sink, LINES);
    }
}
