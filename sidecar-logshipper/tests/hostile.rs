//! Servers that answer wrongly, halfway or out of spite, and places for dead letters that are none: no line is lost, and nothing stands still.

mod common;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use common::{Pod, count, lines, stop};
use serde_json::json;
use testkit::fake::{Answer, FakeHttp, Reply};
use testkit::{Running, eventually, http};

fn delivered(shipper: &Running, lines: f64) {
    eventually("delivered", || (count(shipper, "lines_delivered_total") == lines).then_some(()));
}

/// Serves connections, each with its number.
fn serve(each: impl Fn(usize, TcpStream) + Send + Sync + 'static) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let addr = listener.local_addr().expect("has an address");
    let each = Arc::new(each);
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let (Ok(stream), each) = (stream, Arc::clone(&each)) else { return };
            stream.set_read_timeout(Some(testkit::timeout())).expect("sets");
            std::thread::spawn(move || each(number, stream));
        }
    });
    addr
}

/// Reads until `end` has come.
fn read_until(stream: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
    while !all.windows(end.len()).any(|window| window == end) {
        match stream.read(&mut buffer) {
            Ok(n @ 1..) => all.extend_from_slice(&buffer[..n]),
            _ => break,
        }
    }
    all
}

// What is written into a connection whose end has been said is lost. Its last words hid the end.
#[test]
fn a_syslog_server_that_says_something_and_closes_loses_no_line() {
    let (kept, closed) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
    let (keep, close) = (Arc::clone(&kept), Arc::clone(&closed));
    let addr = serve(move |number, mut stream| {
        let line = format!(" - - - line {number}");
        let got = read_until(&mut stream, line.as_bytes());
        keep.lock().expect("locks").extend_from_slice(&got);
        let _ = stream.write_all(b"too many messages, good bye\n");
        drop(stream);
        close.fetch_add(1, Ordering::Relaxed);
    });
    let pod = Pod::new();
    let shipper = pod.shipper("*.log", &format!("syslog+tcp://{addr}")).spawn();
    for number in 0..5 {
        pod.append("app.log", lines(number, 1));
        eventually("it has the line and closes", || {
            (closed.load(Ordering::Relaxed) == number + 1).then_some(())
        });
        delivered(&shipper, number as f64 + 1.0);
    }
    stop(&shipper);
    let text = String::from_utf8(kept.lock().expect("locks").clone()).expect("text");
    assert!((0..5).all(|number| text.contains(&format!(" - - - line {number}"))), "{text}");
}

// Nobody listens, and the kernel says so: at the next datagram, about the one before.
#[test]
fn datagrams_that_nobody_took_are_sent_again() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("binds");
    let addr = socket.local_addr().expect("bound");
    drop(socket);
    let pod = Pod::new();
    pod.append("app.log", lines(0, 1));
    let shipper = pod.shipper("*.log", &format!("syslog+udp://{addr}")).spawn();
    eventually("refused", || (count(&shipper, "retries_total") >= 1.0).then_some(()));
    pod.append("app.log", lines(1, 20));
    eventually("refused again", || (count(&shipper, "retries_total") >= 3.0).then_some(()));
    assert_eq!(count(&shipper, "lines_delivered_total"), 0.0);
    let socket = UdpSocket::bind(addr).expect("binds again");
    socket.set_read_timeout(Some(testkit::timeout())).expect("sets");
    let mut missing: BTreeSet<String> = (0..21).map(|n| format!("line {n}")).collect();
    let mut buffer = [0; 2048];
    while !missing.is_empty() {
        let n = socket.recv(&mut buffer).unwrap_or_else(|e| panic!("{e}; {missing:?}"));
        let text = String::from_utf8_lossy(&buffer[..n]).into_owned();
        missing.remove(text.rsplit(" - ").next().expect("a message"));
    }
    delivered(&shipper, 21.0);
    stop(&shipper);
}

// A map in a map in a map: whoever reads that by calling itself has no stack left.
#[test]
fn an_answer_of_fluent_that_never_ends_ends_nothing() {
    let addr = serve(|number, mut stream| {
        let message = read_until(&mut stream, b"\xa4size\x01");
        let chunk = message.windows(7).position(|window| window == b"\xa5chunk\xb8").map(|at| at + 7);
        let chunk = chunk.map(|at| message[at..at + 24].to_vec()).unwrap_or_default();
        let _ = match number {
            0 => stream.write_all(&[0x81; 60_000]),
            1 => stream.write_all(&[0x81, 0xa3].repeat(30_000)),
            _ => stream.write_all(&[b"\x81\xa3ack\xb8", &chunk[..]].concat()),
        };
        // Open until the shipper has read it.
        let _ = stream.read(&mut [0]);
    });
    let pod = Pod::new();
    pod.append("app.log", lines(0, 1));
    let shipper = pod.shipper("*.log", &format!("fluent://{addr}")).spawn();
    delivered(&shipper, 1.0);
    assert_eq!(count(&shipper, "answers_lost_total"), 2.0);
    stop(&shipper);
}
