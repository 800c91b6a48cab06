//! Sockets and FIFOs out: what breaks is made again, and no record is cut.

mod common;

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use common::{adapter, lines, metric};
use testkit::{PodDir, Proc, Running, eventually};

fn writing(pod: &PodDir, out: &str) -> Proc {
    adapter()
        .args(["--in", pod.join("app*.log").to_str().expect("text"), "--from", "json", "--schema", "flat"])
        .args(["--out", out, "--state", pod.join("state").to_str().expect("text"), "--admin", "127.0.0.1:0"])
}

fn ids(from: impl Read, until: u64) -> Vec<u64> {
    let mut ids = Vec::new();
    for line in BufReader::new(from).lines() {
        let line = line.expect("a line");
        let record: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
        ids.push(record["id"].as_u64().expect("an id"));
        if ids.last() == Some(&until) {
            break;
        }
    }
    ids
}

fn stop(running: &Running) {
    running.sigterm();
    running.wait_exit().expect_code(0);
}

#[test]
fn tcp_out_waits_for_the_other_side_and_comes_back() {
    let pod = PodDir::new();
    pod.write("app.log", lines(0, 100));
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let at = listener.local_addr().expect("an address");
    drop(listener);
    let running = writing(&pod, &format!("tcp://{at}")).spawn();
    eventually("the output is blocked", || (metric(&running, "output_blocked") == 1.0).then_some(()));
    let listener = TcpListener::bind(at).expect("binds again");
    let (stream, _) = listener.accept().expect("a connection");
    assert_eq!(ids(&stream, 99), (0..100).collect::<Vec<_>>());
    drop(stream);
    // The closed connection is noticed before anything goes into it.
    pod.append("app.log", lines(100, 200));
    let (stream, _) = listener.accept().expect("another connection");
    assert_eq!(ids(&stream, 199), (100..200).collect::<Vec<_>>());
    eventually("200 records and two connections", || {
        let both = metric(&running, "records_written_total") + metric(&running, "output_connections_total");
        (both == 202.0).then_some(())
    });
    stop(&running);
}

#[test]
fn a_connection_that_breaks_in_the_middle_cuts_no_record() {
    let pod = PodDir::new();
    let count = 100_000;
    pod.write("app.log", lines(0, count));
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let out = format!("tcp://{}", listener.local_addr().expect("an address"));
    let running = writing(&pod, &out).spawn();
    let (mut stream, _) = listener.accept().expect("a connection");
    let mut some = vec![0; 300_000];
    stream.read_exact(&mut some).expect("reads");
    // Unread bytes make this a reset.
    drop(stream);
    let (stream, _) = listener.accept().expect("another connection");
    let rest = ids(&stream, count - 1);
    // What the kernel had accepted is gone with the connection; from there on every record is whole and in order.
    assert!(rest.windows(2).all(|pair| pair[1] == pair[0] + 1));
    assert_eq!(rest.last(), Some(&(count - 1)));
    stop(&running);
}

#[test]
fn unix_socket_and_nul_framing() {
    let pod = PodDir::new();
    pod.write("app.log", lines(0, 10));
    let path = pod.join("out.sock");
    let listener = UnixListener::bind(&path).expect("binds");
    let running = writing(&pod, &format!("unix://{}?framing=nul", path.display())).spawn();
    let (stream, _) = listener.accept().expect("a connection");
    let mut reader = BufReader::new(stream);
    for id in 0..10 {
        let mut record = Vec::new();
        reader.read_until(0, &mut record).expect("a record");
        assert_eq!(record.pop(), Some(0));
        let record: serde_json::Value = serde_json::from_slice(&record).expect("JSON");
        assert_eq!(record["id"], id);
    }
    stop(&running);
}

#[test]
fn a_fifo_out_waits_for_its_reader() {
    let pod = PodDir::new();
    pod.write("app.log", lines(0, 10));
    let fifo = pod.join("records.fifo");
    let running = writing(&pod, &format!("fifo://{}", fifo.display())).spawn();
    eventually("the output is blocked", || (metric(&running, "output_blocked") == 1.0).then_some(()));
    let reader = std::fs::File::open(&fifo).expect("opens");
    assert_eq!(ids(reader, 9), (0..10).collect::<Vec<_>>());
    // Another reader, later.
    pod.append("app.log", lines(10, 20));
    let reader = std::fs::File::open(&fifo).expect("opens");
    assert_eq!(ids(reader, 19), (10..20).collect::<Vec<_>>());
    stop(&running);
}

#[test]
fn a_socket_that_takes_nothing_does_not_hold_up_the_drain() {
    let pod = PodDir::new();
    pod.write("app.log", lines(0, 100_000));
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let running = writing(&pod, &format!("tcp://{}", listener.local_addr().expect("an address"))).spawn();
    let (stream, _) = listener.accept().expect("a connection");
    eventually("the output is blocked", || (metric(&running, "output_blocked") == 1.0).then_some(()));
    running.sigterm();
    running.wait_exit().expect_code(1).expect_stderr("read again at the next start");
    drop(stream);
}
