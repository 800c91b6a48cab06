//! Each further protocol, read by a decoder that shares nothing with the encoder.

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Pod, count, lines, stop};
use serde_json::json;
use testkit::fake::{Answer, FakeHttp, Reply};
use testkit::{Proc, TestCa, TlsShim, eventually};

const JSON: &str = r#"{"@timestamp":"2026-01-01T00:00:00.5Z","log.level":"warn","message":"x"}"#;

/// A protobuf message as (field, value) pairs; length-delimited values stay bytes, numbers become their digits.
fn fields(mut message: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn varint(message: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = message[0];
            *message = &message[1..];
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return value;
            }
        }
    }
    let mut out = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message);
        let value = match tag & 7 {
            0 => varint(&mut message).to_string().into_bytes(),
            1 => {
                let (number, rest) = message.split_at(8);
                message = rest;
                u64::from_le_bytes(number.try_into().expect("8 bytes")).to_string().into_bytes()
            }
            2 => {
                let len = usize::try_from(varint(&mut message)).expect("fits");
                let (value, rest) = message.split_at(len);
                message = rest;
                value.to_vec()
            }
            other => panic!("wire type {other}"),
        };
        out.push((tag >> 3, value));
    }
    out
}

/// All values at a path of field numbers.
fn at(message: &[u8], path: &[u64]) -> Vec<Vec<u8>> {
    let Some((first, rest)) = path.split_first() else { return vec![message.to_vec()] };
    fields(message)
        .into_iter()
        .filter(|(field, _)| field == first)
        .flat_map(|(_, value)| at(&value, rest))
        .collect()
}

fn texts(message: &[u8], path: &[u64]) -> Vec<String> {
    at(message, path).into_iter().map(|value| String::from_utf8_lossy(&value).into_owned()).collect()
}

#[test]
fn otlp_carries_text_time_and_level() {
    let (pod, sink) = (Pod::new(), FakeHttp::start());
    sink.next([Answer::RetryAfter(429, 0), Answer::Ok]);
    pod.append("app.log", format!("{JSON}\nplain\n").as_bytes());
    pod.append("app.log", b"bad \xff\n");
    let to = format!("otlp+http://{}", sink.addr());
    let shipper = pod.shipper("*.log", &to).args(["--compression", "gzip"]).spawn();
    eventually("three delivered", || (count(&shipper, "lines_delivered_total") == 3.0).then_some(()));
    stop(&shipper);
    let requests = sink.requests();
    assert_eq!(requests[0].target, "/v1/logs");
    assert_eq!(requests[0].header("content-type"), Some("application/x-protobuf"));
    let body = requests.last().expect("a request").decoded();
    assert!(texts(&body, &[1, 1, 1, 1]).contains(&"k8s.pod.name".to_owned()), "resource attributes");
    assert_eq!(texts(&body, &[1, 2, 2, 5, 1]), [JSON, "plain"], "string bodies");
    assert_eq!(at(&body, &[1, 2, 2, 5, 7]), [b"bad \xff"], "a body of bytes");
    assert_eq!(texts(&body, &[1, 2, 2, 2]), ["13"], "severity");
    assert_eq!(texts(&body, &[1, 2, 2, 1])[0], "1767225600500000000");
}

#[test]
fn what_otlp_refuses_in_part_is_kept_and_not_repeated() {
    let (pod, sink) = (Pod::new(), FakeHttp::start());
    // partial_success { rejected_log_records: 2, error_message: "no" }
    sink.always(Reply::new(200, b"\x0a\x06\x08\x02\x12\x02no"));
    pod.append("app.log", lines(0, 10));
    let shipper = pod.shipper("*.log", &format!("otlp+http://{}", sink.addr())).spawn();
    eventually("two dead", || (count(&shipper, "dead_letters_total") == 2.0).then_some(()));
    assert_eq!(count(&shipper, "lines_delivered_total"), 8.0);
    stop(&shipper);
    assert_eq!((pod.dead_letters().len(), sink.count()), (10, 1), "which two is not said: all are kept");
    assert_eq!(pod.dead_letters()[3]["line"], "line 3");
}

#[test]
fn loki_gets_a_stream_per_file_and_no_two_equal_entries() {
    let (pod, sink) = (Pod::new(), FakeHttp::start());
    sink.always(Answer::Status(204));
    pod.append("a.log", "same\nsame\nsame\n");
    pod.append("b.log", format!("{JSON}\n{JSON}\n"));
    let shipper = pod.shipper("*.log", &format!("loki+http://{}", sink.addr())).spawn();
    eventually("five delivered", || (count(&shipper, "lines_delivered_total") == 5.0).then_some(()));
    stop(&shipper);
    let mut entries = Vec::new();
    let mut labels = Vec::new();
    for request in sink.requests() {
        assert_eq!(
            (request.path(), request.header("content-encoding")),
            ("/loki/api/v1/push", Some("snappy"))
        );
        let body = snap::raw::Decoder::new().decompress_vec(&request.body).expect("snappy");
        labels.extend(texts(&body, &[1, 1]));
        entries.extend(
            at(&body, &[1, 2])
                .into_iter()
                .map(|entry| (texts(&entry, &[1, 1]), texts(&entry, &[1, 2]), texts(&entry, &[2]))),
        );
    }
    assert_eq!(entries.len(), 5);
    let distinct: std::collections::BTreeSet<_> = entries.iter().collect();
    assert_eq!(distinct.len(), 5, "Loki takes equal entries for one: {entries:?}");
    assert!(labels.iter().all(|labels| labels.contains("pod=\"shop-1\"")), "{labels:?}");
    assert!(
        labels.iter().any(|labels| labels.contains("a.log"))
            && labels.iter().any(|labels| labels.contains("b.log"))
    );
}

#[test]
fn loki_gets_few_labels_and_the_rest_as_structured_metadata() {
    let (pod, sink) = (Pod::new(), FakeHttp::start());
    sink.always(Answer::Status(204));
    pod.append("a.log", format!("{JSON}\n"));
    let config = |labels: usize| {
        let labels: serde_json::Map<_, _> = (0..labels).map(|n| (format!("l{n}"), json!("x"))).collect();
        let config = json!({
            "read": [pod.log("*.log")], "fields": {"team": "shop"},
            "sinks": [{"to": format!("loki+http://{}", sink.addr()), "labels": labels}],
        });
        pod.dir.write("c.yaml", config.to_string())
    };
    let shipper =
        || Proc::new(env!("CARGO_BIN_EXE_sidecar-logshipper")).env("POD_UID", "7f1e").arg("--config");
    shipper().arg(config(16)).arg("--check").run().expect_code(78).expect_stderr("16 labels");
    shipper().arg(config(2)).arg("--once").run().expect_code(0);
    let body = snap::raw::Decoder::new().decompress_vec(&sink.requests()[0].body).expect("snappy");
    let file = pod.log("a.log").display().to_string();
    assert_eq!(texts(&body, &[1, 1]), [format!("{{l0=\"x\",l1=\"x\",filename=\"{file}\"}}")]);
    let metadata: Vec<(String, String)> = at(&body, &[1, 2, 3])
        .iter()
        .map(|pair| (texts(pair, &[1]).concat(), texts(pair, &[2]).concat()))
        .collect();
    for (name, value) in [("team", "shop"), ("log_offset", "0"), ("detected_level", "warn")] {
        assert!(metadata.contains(&(name.into(), value.into())), "{name} in {metadata:?}");
    }
    assert!(metadata.iter().any(|(_, value)| value == "7f1e"), "the pod's UID in {metadata:?}");
}

#[test]
fn a_line_that_loki_refuses_is_found() {
    let (pod, sink) = (Pod::new(), FakeHttp::start());
    sink.decide(|request| {
        let body = snap::raw::Decoder::new().decompress_vec(&request.body).expect("snappy");
        let old = texts(&body, &[1, 2, 2]).contains(&"line 5".to_owned());
        Some(if old { Reply::new(400, "entry too far behind").into() } else { Answer::Status(204) })
    });
    pod.append("a.log", lines(0, 10));
    let shipper = pod.shipper("*.log", &format!("loki+http://{}", sink.addr())).spawn();
    eventually("nine delivered", || (count(&shipper, "lines_delivered_total") == 9.0).then_some(()));
    stop(&shipper);
    let letters = pod.dead_letters();
    assert_eq!((letters.len(), &letters[0]["line"]), (1, &json!("line 5")));
    assert!(letters[0]["reason"].as_str().is_some_and(|why| why.contains("too far behind")));
}

#[test]
fn splunk_is_asked_until_the_events_are_indexed() {
    let (pod, sink) = (Pod::new(), FakeHttp::start());
    let asked = Arc::new(Mutex::new(0));
    let asks = Arc::clone(&asked);
    sink.decide(move |request| {
        if request.path() == "/services/collector/event" {
            return Some(Reply::json(200, &json!({"text": "Success", "code": 0, "ackId": 7})).into());
        }
        let mut asked = asks.lock().expect("locks");
        *asked += 1;
        assert_eq!(request.json(), json!({"acks": [7]}));
        Some(Reply::json(200, &json!({"acks": {"7": *asked > 2}})).into())
    });
    let token = pod.dir.write("token", "hec-token");
    pod.append("app.log", format!("{JSON}\nplain\n\n"));
    let config = json!({
        "read": [pod.log("*.log")], "state": pod.dir.join("state"),
        "sinks": [{"to": format!("splunk+http://{}", sink.addr()), "auth": {"splunk": {"file": token}}}],
    });
    let config = pod.dir.write("c.yaml", config.to_string());
    let shipper = Proc::new(env!("CARGO_BIN_EXE_sidecar-logshipper"))
        .json_logs()
        .args(["--admin", "127.0.0.1:0", "--config"])
        .arg(config)
        .spawn();
    eventually("three delivered", || (count(&shipper, "lines_delivered_total") == 3.0).then_some(()));
    stop(&shipper);
    assert_eq!(*asked.lock().expect("locks"), 3);
    let request = &sink.requests()[0];
    assert_eq!(request.header("authorization"), Some("Splunk hec-token"));
    let channel = request.header("x-splunk-request-channel").expect("a channel");
    assert!(sink.requests()[1].target.contains(&format!("channel={channel}")));
    let text = request.text();
    let events: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((&events[0]["event"]["message"], &events[0]["time"]), (&json!("x"), &json!(1_767_225_600.5)));
    assert_eq!(
        (&events[1]["event"], &events[1]["fields"]["log.offset"]),
        (&json!("plain"), &json!(JSON.len() + 1))
    );
    assert_eq!(events[2]["event"], " ", "an empty event would be refused");
}

/// Accepts connections and keeps what comes; `answer` may write back.
fn tcp(
    answer: impl Fn(&[u8], &mut dyn Write) + Send + 'static,
) -> (std::net::SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let addr = listener.local_addr().expect("has an address");
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&kept);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = stream.read(&mut buffer) {
                let mut kept = keep.lock().expect("locks");
                kept.extend_from_slice(&buffer[..n]);
                answer(&kept, &mut stream);
            }
        }
    });
    (addr, kept)
}

#[test]
fn syslog_over_tcp_counts_octets() {
    let (addr, kept) = tcp(|_, _| {});
    let pod = Pod::new();
    pod.append("app.log", format!("{JSON}\ntwo\n"));
    let shipper = pod
        .shipper("*.log", &format!("syslog+tcp://{addr}"))
        .env("CONTAINER_NAME", "shop")
        .env("NODE_NAME", "n1")
        .spawn();
    eventually("two delivered", || (count(&shipper, "lines_delivered_total") == 2.0).then_some(()));
    stop(&shipper);
    let text = eventually("two messages", || {
        let text = String::from_utf8(kept.lock().expect("locks").clone()).expect("text");
        text.ends_with("two").then_some(text)
    });
    let message = format!("<12>1 2026-01-01T00:00:00.500Z n1 shop - - - {JSON}");
    let rest = text.strip_prefix(&format!("{} {message}", message.len())).unwrap_or_else(|| panic!("{text}"));
    assert!(rest.ends_with("Z n1 shop - - - two") && rest.contains(" <14>1 "), "{rest}");
}

#[test]
fn syslog_over_tls_trusts_its_authority_and_nobody_else() {
    let (addr, kept) = tcp(|_, _| {});
    let (ca, pod) = (TestCa::new(), Pod::new());
    let shim = TlsShim::to(addr, &ca.server(&["127.0.0.1", "localhost"]));
    pod.append("app.log", "one\n");
    let start = |ca: &TestCa| {
        let ca = pod.dir.write("ca.pem", ca.pem());
        let to = format!("syslog+tls://localhost:{}", shim.addr().port());
        let config = json!({
            "read": [pod.log("*.log")], "state": pod.dir.join("state"),
            "sinks": [{"to": to, "tls": {"ca": ca}}],
        });
        let config = pod.dir.write("c.yaml", config.to_string());
        Proc::new(env!("CARGO_BIN_EXE_sidecar-logshipper"))
            .json_logs()
            .args(["--admin", "127.0.0.1:0", "--shutdown-grace", "1s", "--config"])
            .arg(config)
            .spawn()
    };
    let stranger = start(&TestCa::new());
    eventually("refused", || (count(&stranger, "retries_total") > 0.0).then_some(()));
    stranger.sigterm();
    stranger.wait_exit().expect_code(1);
    assert!(kept.lock().expect("locks").is_empty());
    let shipper = start(&ca);
    eventually("delivered", || (count(&shipper, "lines_delivered_total") == 1.0).then_some(()));
    stop(&shipper);
    let text = eventually("a message", || {
        let text = String::from_utf8(kept.lock().expect("locks").clone()).expect("text");
        text.ends_with("one").then_some(text)
    });
    assert!(text.contains(" - - - one"), "{text}");
}

// TLS 1.3 servers send tickets that no client of syslog reads. A connection that is closed with something unread in it is reset, and what the
// server had not read yet is gone.
#[test]
fn what_was_written_last_is_read_by_a_slow_server() {
    const LINES: usize = 12_000;
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let addr = listener.local_addr().expect("has an address");
    let reader = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        // Everything between here and the shipper fills up.
        std::thread::sleep(Duration::from_millis(500));
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
        all.windows(7).filter(|window| window == b" - - - ").count()
    });
    let (ca, pod) = (TestCa::new(), Pod::new());
    let shim = TlsShim::to(addr, &ca.server(&["localhost"]));
    pod.append("app.log", format!("{}\n", "x".repeat(1000)).repeat(LINES));
    let config = json!({
        "read": [pod.log("*.log")],
        "sinks": [{
            "to": format!("syslog+tls://localhost:{}", shim.addr().port()),
            "tls": {"ca": pod.dir.write("ca.pem", ca.pem())},
        }],
    });
    let config = pod.dir.write("c.yaml", config.to_string());
    let shipper = Proc::new(env!("CARGO_BIN_EXE_sidecar-logshipper"));
    shipper.args(["--once", "--config"]).arg(config).run().expect_code(0);
    assert_eq!(reader.join().expect("counts"), LINES);
}

#[test]
fn syslog_over_udp_is_a_datagram_each_and_what_fits_in_none_is_dead() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("binds");
    socket.set_read_timeout(Some(testkit::timeout())).expect("sets");
    let pod = Pod::new();
    pod.append("app.log", format!("one\n{}\ntwo\n", "x".repeat(70_000)));
    let shipper =
        pod.shipper("*.log", &format!("syslog+udp://{}", socket.local_addr().expect("bound"))).spawn();
    let receive = || {
        let mut buffer = [0; 2048];
        let n = socket.recv(&mut buffer).expect("a datagram");
        String::from_utf8_lossy(&buffer[..n]).into_owned()
    };
    let (first, second) = (receive(), receive());
    assert!(first.starts_with("<14>1 ") && first.ends_with(" - - - one"), "{first}");
    assert!(second.ends_with(" - - - two"), "{second}");
    eventually("one dead letter", || (pod.dead_letters().len() == 1).then_some(()));
    stop(&shipper);
}

#[test]
fn fluent_is_acknowledged_by_chunk() {
    fn chunk(message: &[u8]) -> Option<Vec<u8>> {
        let at = message.windows(7).rposition(|window| window == b"\xa5chunk\xb8")? + 7;
        message.get(at..at + 24).map(<[u8]>::to_vec)
    }
    let (addr, kept) = tcp(|message, back| {
        if let Some(chunk) = chunk(message).filter(|_| message.windows(5).any(|window| window == b"\xa4size"))
        {
            let _ = back.write_all(&[b"\x81\xa3ack\xb8", &chunk[..]].concat());
        }
    });
    let pod = Pod::new();
    pod.append("app.log", format!("{JSON}\nplain\n"));
    let shipper = pod.shipper("*.log", &format!("fluent://{addr}/shop")).spawn();
    eventually("two delivered", || (count(&shipper, "lines_delivered_total") == 2.0).then_some(()));
    stop(&shipper);
    let message = kept.lock().expect("locks").clone();
    assert!(
        message.starts_with(b"\x93\xa4shop\x92\x92\xd7\x00"),
        "array of three, tag, two entries, EventTime"
    );
    assert!(message.windows(10).any(|window| window == b"\xa7message\xa1x"), "the object's own members");
    assert!(message.windows(14).any(|window| window == b"\xa7message\xa5plain"), "a text as message");
}

#[test]
fn fluent_is_asked_again_until_it_acknowledges() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let addr = listener.local_addr().expect("has an address");
    // A message whole, and the name of its chunk.
    fn receive(stream: &mut impl Read) -> Vec<u8> {
        let (mut message, mut buffer) = (Vec::new(), [0; 4096]);
        while !message.windows(6).any(|window| window == b"\xa4size\x01") {
            let n = stream.read(&mut buffer).expect("reads");
            assert!(n > 0, "the whole message comes: {message:?}");
            message.extend_from_slice(&buffer[..n]);
        }
        let chunk = message.windows(7).position(|window| window == b"\xa5chunk\xb8").expect("a chunk") + 7;
        message[chunk..chunk + 24].to_vec()
    }
    let server = std::thread::spawn(move || {
        let connection = || {
            let (stream, _) = listener.accept().expect("a connection");
            stream.set_read_timeout(Some(testkit::timeout())).expect("sets");
            stream
        };
        // Taken, and the server ends before it says so; then another's chunk is acknowledged; then all is well.
        receive(&mut connection());
        let mut stream = connection();
        receive(&mut stream);
        stream.write_all(&[b"\x81\xa3ack\xb8", &[b'A'; 24][..]].concat()).expect("answers");
        let chunk = receive(&mut stream);
        stream.write_all(&[b"\x81\xa3ack\xb8", &chunk[..]].concat()).expect("answers");
        // Open until the shipper has read it.
        let _ = stream.read(&mut [0]);
    });
    let pod = Pod::new();
    pod.append("app.log", "one\n");
    let shipper = pod.shipper("*.log", &format!("fluent://{addr}/shop")).spawn();
    eventually("delivered", || (count(&shipper, "lines_delivered_total") == 1.0).then_some(()));
    assert_eq!(count(&shipper, "answers_lost_total"), 2.0);
    stop(&shipper);
    server.join().expect("three messages");
}

#[test]
fn a_socket_that_is_closed_in_between_is_opened_again() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let addr = listener.local_addr().expect("has an address");
    let pod = Pod::new();
    pod.append("app.log", "one\n");
    let shipper = pod.shipper("*.log", &format!("syslog+tcp://{addr}")).spawn();
    let receive = |until: &str| {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut all = Vec::new();
        let mut byte = [0];
        while !all.ends_with(until.as_bytes()) && matches!(stream.read(&mut byte), Ok(1)) {
            all.push(byte[0]);
        }
        String::from_utf8(all).expect("text")
    };
    assert!(receive("one").ends_with("one"));
    eventually("one delivered", || (count(&shipper, "lines_delivered_total") == 1.0).then_some(()));
    pod.append("app.log", "two\n");
    assert!(receive("two").ends_with("two"), "over a new connection");
    stop(&shipper);
}
