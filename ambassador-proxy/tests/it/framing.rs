//! Requests that a lenient proxy would let through to smuggle another one behind it.
//!
//! Each goes to the proxy with a probe pipelined behind it. The upstream records raw bytes; whatever arrived there is
//! judged strictly: every request well framed, none that the client did not send as one.

mod table;

use crate::common;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::start;
use table::{BAD, ODD};

/// What came on one connection.
type Bytes = Arc<Mutex<Vec<u8>>>;

/// Answers every request that is well framed, and keeps all bytes of each connection.
fn recorder() -> (std::net::SocketAddr, Arc<Mutex<Vec<Bytes>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let connections = Arc::new(Mutex::new(Vec::new()));
    let all = connections.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let bytes = Arc::new(Mutex::new(Vec::new()));
            all.lock().unwrap().push(bytes.clone());
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                let mut answered = 0;
                while let Ok(n @ 1..) = stream.read(&mut buffer) {
                    let mut bytes = bytes.lock().unwrap();
                    bytes.extend_from_slice(&buffer[..n]);
                    let whole = requests(&bytes).map_or(0, |requests| requests.len());
                    for _ in answered..whole {
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
                    }
                    answered = whole.max(answered);
                }
            });
        }
    });
    (addr, connections)
}

/// The targets of the whole requests in `bytes`, judged strictly.
fn requests(mut bytes: &[u8]) -> Result<Vec<String>, String> {
    let mut targets = Vec::new();
    while let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
        let head = std::str::from_utf8(&bytes[..end]).map_err(|_| "no text")?;
        let mut lines = head.split("\r\n");
        let line: Vec<_> = lines.next().unwrap_or_default().split(' ').collect();
        let [method, target, "HTTP/1.1"] = line[..] else { return Err(format!("request line {line:?}")) };
        if !method.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            || !target.bytes().all(|b| b.is_ascii_graphic())
        {
            return Err(format!("method or target {line:?}"));
        }
        let (mut length, mut chunked, mut hosts) = (None, false, 0);
        for line in lines {
            let (name, value) = line.split_once(": ").ok_or(format!("header {line:?}"))?;
            let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
            if name.is_empty()
                || !name.bytes().all(token)
                || value.bytes().any(|b| (b < 32 && b != 9) || b == 127)
            {
                return Err(format!("header {line:?}"));
            }
            match name.to_ascii_lowercase().as_str() {
                "content-length" if length.is_some() => return Err("two lengths".into()),
                "content-length" => {
                    length = Some(value.parse::<usize>().map_err(|_| format!("length {value:?}"))?)
                }
                "transfer-encoding" if chunked || value != "chunked" => {
                    return Err(format!("coding {value:?}"));
                }
                "transfer-encoding" => chunked = true,
                "host" => hosts += 1,
                "connection" | "keep-alive" | "proxy-connection" | "upgrade" => {
                    return Err(format!("{name} went on"));
                }
                _ => {}
            }
        }
        if hosts != 1 || (chunked && length.is_some()) {
            return Err(format!("{hosts} hosts, length {length:?}, chunked {chunked}"));
        }
        let mut rest = &bytes[end + 4..];
        if let Some(length) = length {
            if rest.len() < length {
                return Ok(targets);
            }
            rest = &rest[length..];
        }
        let mut more = chunked;
        while more {
            let Some(at) = rest.windows(2).position(|w| w == b"\r\n") else { return Ok(targets) };
            let size =
                std::str::from_utf8(&rest[..at]).ok().filter(|s| s.bytes().all(|b| b.is_ascii_hexdigit()));
            let size = usize::from_str_radix(size.ok_or("chunk size")?, 16).map_err(|_| "chunk size")?;
            if size == 0 {
                // Trailers, if there are any, end with an empty line.
                let Some(end) = rest[at..].windows(4).position(|w| w == b"\r\n\r\n") else {
                    return Ok(targets);
                };
                rest = &rest[at + end + 4..];
                more = false;
                continue;
            }
            if rest.len() < at + 2 + size + 2 {
                return Ok(targets);
            }
            if &rest[at + 2 + size..at + 4 + size] != b"\r\n" {
                return Err("chunk end".into());
            }
            rest = &rest[at + 4 + size..];
        }
        targets.push(target.to_owned());
        bytes = rest;
    }
    Ok(targets)
}

/// Sends bytes, then reads until the proxy closes or is silent.
fn answer(addr: std::net::SocketAddr, bytes: &[u8], first: Duration) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(first)).unwrap();
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        answer.extend_from_slice(&buffer[..n]);
        stream.set_read_timeout(Some(SILENCE)).unwrap();
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn statuses(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| line.strip_prefix("HTTP/1.")?.get(2..5).map(str::to_owned)).collect()
}

/// Nothing more is to be expected after this.
const SILENCE: Duration = Duration::from_millis(400);
const PROBE: &[u8] = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// Node's parser (llhttp) in its strict form: says how many whole requests each connection carried, or what is wrong with them.
const JUDGE: &str = r"
import sys, httptools
class Count:
    def __init__(self): self.whole = 0
    def on_message_complete(self): self.whole += 1
for line in sys.stdin:
    count = Count()
    try:
        httptools.HttpRequestParser(count).feed_data(bytes.fromhex(line.strip()))
        print(count.whole)
    except httptools.HttpParserUpgrade:
        print(count.whole)
    except Exception as error:
        print('bad', type(error).__name__, error)
";

/// The verdict of a second, independent strict parser on every connection; `None` without Python.
fn judged(connections: &[Vec<u8>]) -> Option<Vec<String>> {
    let python = common::python::python("httptools")?;
    let hex = |bytes: &Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
    let input: String = connections.iter().map(hex).collect();
    Some(common::python::run(&python, JUDGE, &[], &input).lines().map(str::to_owned).collect())
}

#[test]
fn the_judge_knows_good_from_bad() {
    let Some(verdicts) =
        judged(&[PROBE.to_vec(), [PROBE, PROBE].concat(), b"GET / HTTP/1.1\r\nX : 1\r\n\r\n".to_vec()])
    else {
        return;
    };
    assert_eq!(verdicts[..2], ["1", "2"]);
    assert!(verdicts[2].starts_with("bad"), "{verdicts:?}");
}

#[test]
fn what_is_malformed_never_reaches_the_upstream() {
    let (upstream, connections) = recorder();
    let proxy = start(&["--http", &format!("127.0.0.1:0=http://{upstream}"), "--access-log", "off"]);
    let addr = proxy.http();
    assert!(BAD.len() >= 150);
    // Few at a time: silence is part of what is judged.
    for some in BAD.chunks(25) {
        let work: Vec<_> = some
            .iter()
            .map(|(what, bytes)| {
                std::thread::spawn(move || (what, answer(addr, &[bytes, PROBE].concat(), testkit::timeout())))
            })
            .collect();
        for thread in work {
            let (what, text) = thread.join().unwrap();
            let statuses = statuses(&text);
            assert_eq!(statuses.len(), 1, "{what}: one answer, and nothing after it is served: {text}");
            assert!(statuses[0].starts_with(['4', '5']), "{what}: {text}");
            // The client's fault, said in a field for programs (RFC 9209); CONNECT is denied, not malformed.
            assert!(text.contains("proxy-status: ambassador-proxy; error=http_request_"), "{what}: {text}");
        }
    }
    let seen: Vec<Vec<u8>> =
        connections.lock().unwrap().iter().map(|bytes| bytes.lock().unwrap().clone()).collect();
    for bytes in &seen {
        let targets = requests(bytes).unwrap_or_else(|why| panic!("{why}: {}", bytes.escape_ascii()));
        assert!(targets.is_empty(), "whole requests went on: {}", bytes.escape_ascii());
    }
    if let Some(verdicts) = judged(&seen) {
        assert!(verdicts.iter().all(|verdict| verdict == "0"), "{verdicts:?}");
    }
    // And it is not deaf now.
    assert_eq!(testkit::http::get(addr, "/well").status, 200);
}

/// Every cut of a request into two pieces is the same request, and a malformed one stays refused.
#[test]
fn pieces_make_no_difference() {
    let (upstream, connections) = recorder();
    let proxy = start(&[
        "--http",
        &format!("127.0.0.1:0=http://{upstream}"),
        "--access-log",
        "off",
        "--workers",
        "1",
    ]);
    let addr = proxy.http();
    let good = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n";
    let bad = b"POST /b HTTP/1.1\r\nHost: a\r\nX : 1\r\nContent-Length: 2\r\n\r\nab";
    for (bytes, want) in [(&good[..], "200"), (&bad[..], "400")] {
        for cut in (1..bytes.len()).step_by(3) {
            let mut stream = TcpStream::connect(addr).unwrap();
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(testkit::timeout())).unwrap();
            stream.write_all(&bytes[..cut]).unwrap();
            std::thread::sleep(Duration::from_millis(2));
            let _ = stream.write_all(&bytes[cut..]);
            let mut status = [0; 12];
            stream.read_exact(&mut status).unwrap();
            assert_eq!(&status[9..], want.as_bytes(), "cut at {cut}");
        }
    }
    for bytes in connections.lock().unwrap().iter() {
        let targets = requests(&bytes.lock().unwrap()).unwrap();
        assert!(targets.iter().all(|target| target == "/a"), "{targets:?}");
    }
}

#[test]
fn what_is_odd_goes_on_well_framed() {
    for (what, bytes) in ODD {
        let (upstream, connections) = recorder();
        let proxy = start(&["--http", &format!("127.0.0.1:0=http://{upstream}"), "--access-log", "off"]);
        let statuses = statuses(&answer(proxy.http(), &[bytes, PROBE].concat(), testkit::timeout()));
        let mut seen = Vec::new();
        let all: Vec<Vec<u8>> =
            connections.lock().unwrap().iter().map(|bytes| bytes.lock().unwrap().clone()).collect();
        if let Some(verdicts) = judged(&all) {
            assert!(verdicts.iter().all(|verdict| !verdict.starts_with("bad")), "{what}: {verdicts:?}");
        }
        for bytes in &all {
            seen.extend(
                requests(bytes).unwrap_or_else(|why| panic!("{what}: {why}: {}", bytes.escape_ascii())),
            );
        }
        assert!(
            seen.len() <= 2 && seen.iter().filter(|target| *target == "/smuggled").count() <= 1,
            "{what}: {seen:?}"
        );
        assert!(!statuses.is_empty(), "{what}: no answer");
    }
}
