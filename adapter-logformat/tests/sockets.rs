//! Sockets and FIFOs in: every kind, every framing, and the count that balances.

mod common;

use std::io::Write;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::Duration;

use common::{adapter, assert_exactly_once, lines, metric, records, wait_for_ids};
use testkit::http::get;
use testkit::{PodDir, Proc, Running, eventually};

/// Listens on `input` and writes flat records into `out/records.log`.
fn listening(pod: &PodDir, inputs: &[&str], from: &str) -> Proc {
    let mut proc = adapter()
        .args(["--from", from, "--schema", "flat", "--admin", "127.0.0.1:0"])
        .args(["--out", pod.join("out/records.log").to_str().expect("text")]);
    for input in inputs {
        proc = proc.args(["--in", input]);
    }
    proc
}

fn wait_lines(running: &Running, count: f64) {
    eventually(&format!("{count} lines"), || (metric(running, "lines_read_total") >= count).then_some(()));
}

fn stop(running: &Running) {
    running.sigterm();
    running.wait_exit().expect_code(0);
}

fn balanced(running: &Running) {
    let of = |name| metric(running, name);
    assert_eq!(
        of("lines_read_total"),
        of("records_written_total") + of("lines_joined_total") + of("lines_filtered_total")
    );
}

fn connect(at: SocketAddr) -> TcpStream {
    TcpStream::connect(at).expect("connects")
}

#[test]
fn many_tcp_connections_and_each_line_once() {
    let pod = PodDir::new();
    let running = listening(&pod, &["tcp://127.0.0.1:0"], "json").spawn();
    let at = running.wait_ready().addr("listening");
    let senders: Vec<_> = (0..8)
        .map(|sender| {
            std::thread::spawn(move || {
                let mut stream = connect(at);
                // In pieces that end anywhere.
                for piece in lines(sender * 500, sender * 500 + 500).as_bytes().chunks(777) {
                    stream.write_all(piece).expect("sends");
                }
            })
        })
        .collect();
    senders.into_iter().for_each(|sender| sender.join().expect("sent"));
    wait_for_ids(&pod, 4000);
    balanced(&running);
    stop(&running);
    assert_exactly_once(&pod, 4000);
}

#[test]
fn loopback_is_both_addresses_and_nothing_else() {
    let pod = PodDir::new();
    let running = listening(&pod, &["tcp://:0", "udp://localhost:0"], "json").spawn();
    let addrs = running.wait_ready().addrs("listening");
    assert!(addrs.iter().all(|at| at.ip().is_loopback()), "{addrs:?}");
    let mut id = 0;
    for at in addrs.iter().take(if addrs.len() == 4 { 2 } else { 1 }) {
        connect(*at).write_all(lines(id, id + 1).as_bytes()).expect("sends");
        id += 1;
    }
    wait_for_ids(&pod, id);
    stop(&running);
}

#[test]
fn syslog_over_tcp_in_both_framings() {
    let pod = PodDir::new();
    let running = listening(&pod, &["tcp://127.0.0.1:0"], "syslog").spawn();
    let at = running.wait_ready().addr("listening");
    let message = |id: u32| format!("<34>1 2026-11-21T12:24:10Z web1 app 7 ID{id} - message {id}");
    // Octet counting: a message may hold newlines.
    let counted = format!("{} and\na second line", message(1));
    let mut stream = connect(at);
    for message in [counted.clone(), message(2)] {
        let framed = format!("{} {message}", message.len());
        let (first, rest) = framed.as_bytes().split_at(20);
        stream.write_all(first).expect("sends");
        stream.write_all(rest).expect("sends");
    }
    drop(stream);
    // Non-transparent framing.
    let mut stream = connect(at);
    stream.write_all(format!("{}\n{}\n", message(3), message(4)).as_bytes()).expect("sends");
    // The last one without its trailer, ended by the connection's end.
    stream.write_all(message(5).as_bytes()).expect("sends");
    drop(stream);
    wait_lines(&running, 5.0);
    balanced(&running);
    assert_eq!(metric(&running, "records_unparsed_total"), 0.0);
    stop(&running);
    let mut found: Vec<_> = records(&pod.join("out"))
        .iter()
        .map(|r| {
            (r["msgid"].as_str().expect("an id").to_owned(), r["message"].as_str().expect("text").to_owned())
        })
        .collect();
    found.sort();
    assert_eq!(found[0], ("ID1".to_owned(), "message 1 and\na second line".to_owned()));
    assert_eq!(found[4], ("ID5".to_owned(), "message 5".to_owned()));
    assert_eq!(found.len(), 5);
}

#[test]
fn nul_ends_messages_where_it_is_asked_for() {
    let pod = PodDir::new();
    let running = listening(&pod, &["tcp://127.0.0.1:0?framing=nul"], "plain").spawn();
    let at = running.wait_ready().addr("listening");
    connect(at).write_all(b"a\nb\0c").expect("sends");
    wait_lines(&running, 2.0);
    stop(&running);
    let found: Vec<_> = records(&pod.join("out")).iter().map(|r| r["message"].clone()).collect();
    assert_eq!(found, ["a\nb", "c"]);
}

#[test]
fn syslog_over_udp_is_one_message_per_datagram() {
    let pod = PodDir::new();
    let running = listening(&pod, &["udp://127.0.0.1:0"], "auto").spawn();
    let at = running.wait_ready().addr("listening");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("binds");
    for id in 0..20 {
        let message = format!("<13>Nov 21 12:24:{:02} web1 app[7]: first {id}\n\tsecond\n", id % 60);
        socket.send_to(message.as_bytes(), at).expect("sends");
    }
    // Anything else is lines.
    socket.send_to(b"{\"msg\":\"x\"}\n{\"msg\":\"y\"}", at).expect("sends");
    wait_lines(&running, 22.0);
    balanced(&running);
    stop(&running);
    let records = records(&pod.join("out"));
    assert_eq!(records.len(), 22);
    assert_eq!(records[3]["message"], "first 3\n\tsecond");
    assert_eq!(records[21]["message"], "y");
}

#[test]
fn what_the_kernel_drops_is_counted() {
    let pod = PodDir::new();
    let running = listening(&pod, &["udp://127.0.0.1:0"], "plain").spawn();
    let at = running.wait_ready().addr("listening");
    running.sigstop();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("binds");
    let sent = 40_000u32;
    let message = vec![b'x'; 1000];
    for _ in 0..sent {
        socket.send_to(&message, at).expect("sends");
    }
    running.sigcont();
    eventually("everything is taken or counted as dropped", || {
        let taken = metric(&running, "lines_read_total") + metric(&running, "datagrams_dropped_total");
        (taken == f64::from(sent)).then_some(())
    });
    assert!(metric(&running, "datagrams_dropped_total") > 0.0);
    stop(&running);
}

#[test]
fn unix_sockets_of_both_kinds() {
    let pod = PodDir::new();
    let (stream, datagram) = (pod.join("log.sock"), pod.join("dgram.sock"));
    let inputs =
        [format!("unix://{}", stream.display()), format!("unixgram://{}?mode=0600", datagram.display())];
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    // A file left by a process that was killed is no hindrance.
    drop(std::os::unix::net::UnixListener::bind(&stream).expect("binds"));
    let running = listening(&pod, &inputs, "json").spawn();
    running.wait_ready();
    UnixStream::connect(&stream).expect("connects").write_all(lines(0, 100).as_bytes()).expect("sends");
    let socket = UnixDatagram::unbound().expect("a socket");
    socket.connect(&datagram).expect("connects");
    for id in 100..1000 {
        // Full: the kernel makes the sender wait, nothing is lost.
        socket.send(lines(id, id + 1).as_bytes()).expect("sends");
    }
    wait_for_ids(&pod, 1000);
    assert_eq!(mode(&stream), 0o666);
    assert_eq!(mode(&datagram), 0o600);
    // One that is listened on is not taken away.
    listening(&pod, &inputs[..1], "json").run().expect_code(1).expect_stderr("another process has it");
    stop(&running);
    assert_exactly_once(&pod, 1000);
    assert!(!stream.exists() && !datagram.exists(), "gone with its listener");
}

fn mode(path: &std::path::Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;

    std::fs::metadata(path).expect("there").permissions().mode() & 0o777
}

#[test]
fn writers_of_a_fifo_come_and_go() {
    let pod = PodDir::new();
    let fifo = pod.join("app.fifo");
    let running = listening(&pod, &[&format!("fifo://{}", fifo.display())], "json").spawn();
    running.wait_ready();
    let open = || std::fs::OpenOptions::new().write(true).open(&fifo).expect("a reader is there");
    for turn in 0..5 {
        let mut writer = open();
        writer.write_all(lines(turn * 10, turn * 10 + 10).trim_end().as_bytes()).expect("writes");
        drop(writer);
        // The last line had no newline: the writer's going ends it, the next one's first line does not go into it.
        wait_for_ids(&pod, turn * 10 + 10);
    }
    // Made anew under its name.
    std::fs::remove_file(&fifo).expect("removes");
    assert!(Proc::new("mkfifo").arg(fifo.to_str().expect("text")).run().code() == Some(0));
    open().write_all(lines(50, 60).as_bytes()).expect("writes");
    wait_for_ids(&pod, 60);
    balanced(&running);
    stop(&running);
    assert_exactly_once(&pod, 60);
}

#[test]
fn a_fifo_that_is_there_needs_no_scheme_and_stands_beside_files() {
    let pod = PodDir::new();
    let fifo = pod.join("app.fifo");
    assert!(Proc::new("mkfifo").arg(fifo.to_str().expect("text")).run().code() == Some(0));
    pod.write("app.log", lines(0, 50));
    let inputs =
        [fifo.to_str().expect("text").to_owned(), pod.join("app*.log").to_str().expect("text").to_owned()];
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let running = listening(&pod, &inputs, "json").spawn();
    running.wait_ready();
    let mut writer = std::fs::OpenOptions::new().write(true).open(&fifo).expect("a reader is there");
    writer.write_all(lines(50, 100).as_bytes()).expect("writes");
    pod.append("app.log", lines(100, 150));
    wait_for_ids(&pod, 150);
    let admin = running.wait_ready().addr("admin");
    assert_eq!(get(admin, "/statusz").json()["balanced"], true);
    stop(&running);
    assert_exactly_once(&pod, 150);
}

#[test]
fn no_more_connections_than_allowed_and_silent_ones_go() {
    let pod = PodDir::new();
    let running = listening(&pod, &["tcp://127.0.0.1:0?max-connections=2&idle=2s"], "json").spawn();
    let at = running.wait_ready().addr("listening");
    let first = connect(at);
    let second = connect(at);
    eventually("two connections", || (metric(&running, "connections") == 2.0).then_some(()));
    // A third waits until one of them has been silent for too long.
    let mut third = connect(at);
    third.write_all(lines(0, 1).as_bytes()).expect("sends");
    wait_for_ids(&pod, 1);
    assert!(metric(&running, "connections_held_total") >= 1.0);
    drop((first, second));
    stop(&running);
    assert_exactly_once(&pod, 1);
}

#[test]
fn a_line_that_never_ends_becomes_parts_and_memory_stays() {
    let pod = PodDir::new();
    let running = listening(&pod, &["tcp://127.0.0.1:0"], "plain").spawn();
    let at = running.wait_ready().addr("listening");
    let senders: Vec<_> = (0..20)
        .map(|_| {
            std::thread::spawn(move || {
                let mut stream = connect(at);
                let piece = vec![b'x'; 64 << 10];
                for _ in 0..48 {
                    stream.write_all(&piece).expect("sends");
                }
                stream
            })
        })
        .collect();
    let open: Vec<_> = senders.into_iter().map(|sender| sender.join().expect("sent")).collect();
    drop(open);
    let sum = || -> usize {
        let of = |r: &serde_json::Value| r["message"].as_str().map_or(0, str::len);
        records(&pod.join("out")).iter().map(of).sum()
    };
    eventually("all bytes", || {
        (metric(&running, "read_bytes_total") >= (20.0 * 48.0 * 65536.0)).then_some(())
    });
    stop(&running);
    assert_eq!(sum(), 20 * 48 * (64 << 10));
}

#[test]
fn a_blocked_output_holds_the_sender_back_and_loses_nothing() {
    let pod = PodDir::new();
    let running = listening(&pod, &["tcp://127.0.0.1:0"], "json").spawn();
    let at = running.wait_ready().addr("listening");
    let mut stream = connect(at);
    stream.write_all(lines(0, 10).as_bytes()).expect("sends");
    wait_for_ids(&pod, 10);
    pod.rename("out", "gone");
    stream.set_write_timeout(Some(Duration::from_millis(500))).expect("a timeout");
    let text = lines(10, 200_000);
    let mut sent = 0;
    // What fits into the queue and the kernel's buffers goes; then the sender waits.
    let stuck = loop {
        match stream.write(&text.as_bytes()[sent..]) {
            Ok(count) if sent + count == text.len() => break false,
            Ok(count) => sent += count,
            Err(_) => break true,
        }
    };
    assert!(stuck, "the sender was held back");
    pod.rename("gone", "out");
    stream.set_write_timeout(None).expect("no timeout");
    stream.write_all(&text.as_bytes()[sent..]).expect("sends the rest");
    drop(stream);
    wait_for_ids(&pod, 200_000);
    balanced(&running);
    stop(&running);
    assert_exactly_once(&pod, 200_000);
}

#[test]
fn a_drain_takes_what_was_sent() {
    let pod = PodDir::new();
    let running = listening(&pod, &["tcp://127.0.0.1:0"], "json").spawn();
    let at = running.wait_ready().addr("listening");
    let mut stream = connect(at);
    stream.write_all(lines(0, 5000).as_bytes()).expect("sends");
    // The connection stays open: silence ends it.
    stop(&running);
    assert_exactly_once(&pod, 5000);
    drop(stream);
}

#[test]
fn wrong_addresses_say_what_to_write() {
    for (input, said) in [
        ("tpc://x:1", "none of tcp"),
        ("tcp://127.0.0.1", "HOST:PORT"),
        ("udp://:1?framing=octets", "none of auto, lines, message"),
        ("unix://log.sock", "absolute path"),
    ] {
        adapter().args(["--check", "--in", input]).run().expect_code(78).expect_stderr(said);
    }
}
