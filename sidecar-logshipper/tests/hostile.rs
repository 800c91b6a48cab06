//! Servers that answer wrongly, halfway or out of spite, and places for dead letters that are none: no line is lost, and nothing stands still.

mod common;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use common::{Pod, count, lines, stop};
use serde_json::json;
use testkit::fake::{Answer, FakeHttp, Reply};
use testkit::{Proc, Running, eventually, http};

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

// A request that is too large for someone on the way, who hangs up instead of saying 413. Sent again as it is, it would never pass.
#[test]
fn a_request_that_is_cut_off_again_and_again_is_sent_in_halves() {
    let (pod, sink) = (Pod::new(), FakeHttp::start());
    sink.decide(|request| (request.body.len() > 3_000).then_some(Answer::Reset));
    pod.append("app.log", lines(0, 1000));
    let shipper = pod.shipper("*.log", &sink.url("/")).args(["--format", "raw"]).spawn();
    delivered(&shipper, 1000.0);
    assert!(count(&shipper, "batch_splits_total") >= 2.0);
    stop(&shipper);
    let executed: Vec<_> = sink.requests().into_iter().filter(|request| request.executed).collect();
    let mut got: Vec<String> = executed
        .iter()
        .flat_map(|request| request.text().lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    got.sort_by_key(|line| line[5..].parse::<u32>().expect("a number"));
    assert_eq!(got.join("\n") + "\n", lines(0, 1000));
}

// "200" is the answer where nothing else is asked for; sent again for want of the rest, all of it would be there twice.
#[test]
fn a_200_counts_although_its_body_does_not_come() {
    let (pod, sink) = (Pod::new(), FakeHttp::start());
    sink.next([Answer::HalfBody, Answer::SlowBody(testkit::timeout())]);
    let shipper = pod.shipper("*.log", &sink.url("/")).args(["--format", "raw", "--timeout", "3s"]).spawn();
    for batch in 0..3 {
        pod.append("app.log", lines(batch * 10, 10));
        delivered(&shipper, batch as f64 * 10.0 + 10.0);
    }
    assert_eq!((sink.lines().len(), count(&shipper, "answers_lost_total")), (30, 0.0));
    stop(&shipper);
}

// A server that has seen enough of a request: it says 413 and closes, with the rest unread.
#[test]
fn a_413_in_the_middle_of_a_request_is_understood() {
    const LINES: usize = 40_000;
    let taken = Arc::new(AtomicUsize::new(0));
    let take = Arc::clone(&taken);
    let addr = serve(move |_, mut stream| {
        loop {
            let mut all = read_until(&mut stream, b"\r\n\r\n");
            let Some(end) = all.windows(4).position(|window| window == b"\r\n\r\n") else { return };
            let head = String::from_utf8_lossy(&all[..end]).to_ascii_lowercase();
            let length =
                head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
            let length: usize = length.parse().expect("a number");
            if length > 300_000 {
                let _ = stream
                    .write_all(b"HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
                return;
            }
            let mut rest = vec![0; end + 4 + length - all.len()];
            if stream.read_exact(&mut rest).is_err() {
                return;
            }
            all.extend_from_slice(&rest);
            take.fetch_add(all[end + 4..].iter().filter(|byte| **byte == b'\n').count(), Ordering::Relaxed);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let pod = Pod::new();
    pod.append("app.log", format!("{}\n", "x".repeat(99)).repeat(LINES));
    let shipper = pod.shipper("*.log", &format!("http://{addr}/")).args(["--format", "raw"]).spawn();
    delivered(&shipper, LINES as f64);
    stop(&shipper);
    assert_eq!(taken.load(Ordering::Relaxed), LINES);
}

/// A shipper for Splunk; its token asks for acknowledgement where the server gives an `ackId`.
fn splunk(pod: &Pod, sink: &FakeHttp, timeout: &str) -> Running {
    pod.shipper("*.log", &format!("splunk+http://{}", sink.addr())).args(["--timeout", timeout]).spawn()
}

fn events(sink: &FakeHttp) -> usize {
    sink.requests().iter().filter(|request| request.path() == "/services/collector/event").count()
}

// An indexer cluster that replicates takes longer than one request may.
#[test]
fn what_splunk_indexes_slowly_is_not_sent_again() {
    let (pod, sink) = (Pod::new(), FakeHttp::start());
    let asked = AtomicUsize::new(0);
    sink.decide(move |request| {
        if request.path() == "/services/collector/event" {
            return Some(Reply::json(200, &json!({"text": "Success", "code": 0, "ackId": 0})).into());
        }
        let indexed = asked.fetch_add(1, Ordering::Relaxed) >= 4;
        Some(Reply::json(200, &json!({"acks": {"0": indexed}})).into())
    });
    pod.append("app.log", lines(0, 3));
    let shipper = splunk(&pod, &sink, "200ms");
    delivered(&shipper, 3.0);
    assert_eq!((events(&sink), count(&shipper, "answers_lost_total")), (1, 0.0));
    stop(&shipper);
}

// A 200 that says something else than success, or only half of it: with it, the number to ask for would be lost.
#[test]
fn half_an_answer_of_splunk_acknowledges_nothing() {
    let (pod, sink) = (Pod::new(), FakeHttp::start());
    sink.next([
        Answer::Raw(b"HTTP/1.1 200 OK\r\n\r\n{\"text\":\"Success\",\"code\":0,\"ack".to_vec()),
        Reply::json(200, &json!({"text": "Success", "code": 0, "ackId": "seven"})).into(),
        Reply::json(200, &json!({"text": "Server is busy", "code": 9})).into(),
        Reply::json(200, &json!({"text": "Success", "code": 0})).into(),
    ]);
    pod.append("app.log", lines(0, 3));
    let shipper = splunk(&pod, &sink, "5s");
    delivered(&shipper, 3.0);
    assert_eq!((events(&sink), count(&shipper, "answers_lost_total")), (4, 2.0));
    stop(&shipper);
}

// elasticsearch#70349, monstache#377: a 400 for every document while no index can be made, and all of it is thrown away.
#[test]
fn what_ails_the_cluster_is_no_lines_fault() {
    let refusals = [
        (
            "validation_exception",
            "Validation Failed: 1: this action would add [2] shards, but this cluster currently has [1000]/[1000] maximum normal shards open;",
        ),
        (
            "illegal_argument_exception",
            "Validation Failed: 1: this action would add [10] total shards, but this cluster currently has [2402]/[2000] maximum shards open;",
        ),
        ("illegal_argument_exception", "pipeline with id [shop] does not exist"),
        (
            "illegal_argument_exception",
            "no write index is defined for alias [logs]. The write index may be explicitly disabled using is_write_index=false or the alias points to multiple indices without one being designated as a write index",
        ),
    ];
    let (pod, one_by_one, as_a_whole) = (Pod::new(), FakeHttp::start(), FakeHttp::start());
    let error = |(kind, reason): (&str, &str)| json!({"type": kind, "reason": reason});
    one_by_one.next(refusals.map(|refusal| {
        let item = json!({"create": {"status": 400, "error": error(refusal)}});
        Reply::json(200, &json!({"errors": true, "items": [item, item]})).into()
    }));
    as_a_whole.next(
        refusals.map(|refusal| Reply::json(400, &json!({"error": error(refusal), "status": 400})).into()),
    );
    pod.append("app.log", lines(0, 2));
    let url = |sink: &FakeHttp| format!("elasticsearch+http://{}/logs", sink.addr());
    for sink in [&one_by_one, &as_a_whole] {
        sink.always(Reply::json(200, &json!({"errors": false, "items": []})));
    }
    let shipper = pod.shipper("*.log", &url(&one_by_one)).args(["--to", &url(&as_a_whole)]).spawn();
    delivered(&shipper, 4.0);
    assert_eq!((count(&shipper, "retries_total"), pod.dead_letters().len()), (8.0, 0));
    stop(&shipper);
}

// Loki's pkg/validation/validate.go: what is a setting of the server buries nothing, and its 260 means that all of it was thrown away.
#[test]
fn what_is_a_setting_of_loki_is_no_entrys_fault() {
    let (pod, sink) = (Pod::new(), FakeHttp::start());
    sink.next(
        [
            (400, "stream '{filename=\"/a\"}' includes structured metadata, but this feature is disallowed. Please see `limits_config.allow_structured_metadata` or contact your Loki administrator to enable it."),
            (400, "entry for stream '{filename=\"/a\"}' has 15 label names; limit 10"),
            (400, "missing required labels team for user shop for stream {filename=\"/a\"}"),
            (260, "ingestion blocked for user shop until '2027-01-01 00:00:00 +0000 UTC' with status code '260'"),
        ]
        .map(|(status, why)| Reply::new(status, why).into()),
    );
    sink.always(Answer::Status(204));
    pod.append("app.log", lines(0, 3));
    let shipper = pod.shipper("*.log", &format!("loki+http://{}", sink.addr())).spawn();
    delivered(&shipper, 3.0);
    assert_eq!((count(&shipper, "retries_total"), pod.dead_letters().len()), (4.0, 0));
    stop(&shipper);
}

// A URL with `http` where it should be `https`: servers say so by a 400, and that is no line's fault.
#[test]
fn who_speaks_http_to_a_port_of_https_buries_nothing() {
    const GO: &[u8] = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
    let (pod, sink) = (Pod::new(), FakeHttp::start());
    let nginx = "<html>\r\n<head><title>400 The plain HTTP request was sent to HTTPS port</title></head>\r\n<body>\r\n";
    let apache = "<!DOCTYPE HTML PUBLIC \"-//IETF//DTD HTML 2.0//EN\">\n<html><head>\n<title>400 Bad Request</title>\n</head><body>\n<h1>Bad Request</h1>\n<p>Your browser sent a request that this server could not understand.<br />\nReason: You're speaking plain HTTP to an SSL-enabled server port.<br />\n";
    sink.next([Answer::Raw(GO.to_vec()), Reply::new(400, nginx).into(), Reply::new(400, apache).into()]);
    pod.append("app.log", lines(0, 1));
    let shipper = pod.shipper("*.log", &format!("loki+http://{}", sink.addr())).spawn();
    delivered(&shipper, 1.0);
    assert_eq!((count(&shipper, "retries_total"), pod.dead_letters().len()), (3.0, 0));
    stop(&shipper);
}

/// A sink that refuses each line with "poison" in it.
fn picky() -> FakeHttp {
    let sink = FakeHttp::start();
    sink.decide(|request| request.text().contains("poison").then_some(Answer::Status(400)));
    sink
}

// Nobody reads stdout, a new configuration comes meanwhile, and then somebody reads: the body that was being written is not mixed with the next.
#[test]
fn a_stdout_that_stands_still_keeps_its_lines_whole_over_a_new_configuration() {
    const LINES: usize = 3000;
    let line = |n: usize| format!("line {n} {}", "x".repeat(100));
    let pod = Pod::new();
    let fifo = pod.dir.join("stdout");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().expect("runs").success());
    let held = std::fs::OpenOptions::new().read(true).write(true).open(&fifo).expect("opens");
    let yaml = |team: &str| {
        json!({"read": [pod.log("*.log")], "state": pod.dir.join("state"), "to": ["stdout"], "fields": {"team": team}})
            .to_string()
    };
    let map = pod.dir.config_map("config", &[("c.yaml", &yaml("a"))]);
    let shipper = Proc::new(env!("CARGO_BIN_EXE_sidecar-logshipper"))
        .json_logs()
        .args(["--admin", "127.0.0.1:0", "--config"])
        .arg(map.join("c.yaml"))
        .stdout_to(&fifo)
        .spawn();
    let read = |times: usize| {
        let read = || (count(&shipper, "lines_read_total") == (LINES * times) as f64).then_some(());
        eventually("all is read, and waits for stdout", read);
    };
    pod.append("app.log", (0..LINES).map(|n| line(n) + "\n").collect::<String>());
    read(1);
    map.swap(&[("c.yaml", &yaml("b"))]);
    read(2);
    // Until both wait in their write, which nobody sees.
    std::thread::sleep(std::time::Duration::from_millis(300));
    let (mut reader, mut missing) =
        (BufReader::new(held), (0..LINES).map(|n| line(n) + "\n").collect::<BTreeSet<_>>());
    let whole = missing.clone();
    while !missing.is_empty() {
        let mut text = String::new();
        reader.read_line(&mut text).expect("reads");
        assert!(whole.contains(&text), "torn: {text}");
        missing.remove(&text);
    }
    shipper.sigkill();
}

// What many write who want dead letters in the container's own log. A pipe cannot be synced.
#[test]
fn dead_letters_may_go_to_stderr() {
    let (pod, sink) = (Pod::new(), picky());
    pod.append("app.log", format!("{}poison\n", lines(0, 3)));
    let shipper = pod
        .shipper("*.log", &sink.url("/"))
        .args(["--format", "raw", "--dead-letter", "/dev/stderr"])
        .spawn();
    eventually("one is dead", || (count(&shipper, "dead_letters_total") == 1.0).then_some(()));
    pod.append("app.log", lines(3, 3));
    delivered(&shipper, 6.0);
    shipper.sigterm();
    let exited = shipper.wait_exit();
    exited.expect_code(0);
    let letters = exited.stderr_lines().iter().filter(|line| line.contains("\"line\":\"poison\"")).count();
    assert_eq!(letters, 1, "{}", exited.stderr());
}

// A disk that hangs under the dead letters holds back that sink, and neither the others nor who asks.
#[test]
fn a_place_for_dead_letters_that_hangs_holds_back_nobody_else() {
    let (pod, sink) = (Pod::new(), picky());
    // Full after 64 KiB that nobody reads.
    let fifo = pod.dir.join("letters");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().expect("runs").success());
    let _held = std::fs::OpenOptions::new().read(true).write(true).open(&fifo).expect("opens");
    pod.append("app.log", format!("poison {}\n", "x".repeat(1000)).repeat(300));
    let out = pod.dir.join("out.log");
    let shipper = pod
        .shipper("*.log", &sink.url("/"))
        .args(["--to", &format!("file://{}", out.display()), "--format", "raw", "--shutdown-grace", "2s"])
        .arg("--dead-letter")
        .arg(&fifo)
        .spawn();
    let admin = shipper.wait_ready().addr("admin");
    eventually("some are dead", || (count(&shipper, "dead_letters_total") > 0.0).then_some(()));
    // Until there is no more room.
    let mut last = -1.0;
    eventually("it stands still", || {
        std::thread::sleep(std::time::Duration::from_millis(300));
        let now = count(&shipper, "dead_letters_total");
        (std::mem::replace(&mut last, now) == now).then_some(())
    });
    pod.append("other.log", lines(0, 10));
    eventually("the file has all", || (pod.dir.lines("out.log").len() == 310).then_some(()));
    assert_eq!(http::get(admin, "/livez").status, 200);
    shipper.sigterm();
    shipper.wait_exit().expect_code(1).expect_stderr("not delivered within --shutdown-grace");
}
