//! Requests that a lenient proxy would let through to smuggle another one behind it.
//!
//! Each goes to the proxy with a probe pipelined behind it. The upstream records raw bytes; whatever arrived there is
//! judged strictly: every request well framed, none that the client did not send as one.

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::start;

/// What is wrong with each is its first field.
const BAD: &[(&str, &[u8])] = &[
    ("two content lengths", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde"),
    ("a list of lengths", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4, 5\r\n\r\nabcde"),
    ("a signed length", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\nabcd"),
    ("a negative length", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\nabcd"),
    ("a hex length", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x4\r\n\r\nabcd"),
    ("a length with a space", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4 4\r\n\r\nabcd"),
    ("an empty length", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nabcd"),
    ("a huge length", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nabcd"),
    ("unknown coding", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("chunked not last", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
    ("identity coding", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\nabcd"),
    ("coding in quotes", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
    ("coding with vertical tab", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    ("chunked in 1.0", b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("space before colon", b"GET / HTTP/1.1\r\nHost: a\r\nX-A : 1\r\n\r\n"),
    ("length with space before colon", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 4\r\n\r\nabcd"),
    ("folded header", b"GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n folded\r\n\r\n"),
    ("folded first header", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    ("header without name", b"GET / HTTP/1.1\r\nHost: a\r\n: 1\r\n\r\n"),
    ("header without colon", b"GET / HTTP/1.1\r\nHost: a\r\nX-A\r\n\r\n"),
    ("nul in value", b"GET / HTTP/1.1\r\nHost: a\r\nX-A: a\0b\r\n\r\n"),
    ("nul in name", b"GET / HTTP/1.1\r\nHost: a\r\nX\0A: 1\r\n\r\n"),
    ("bare cr in value", b"GET / HTTP/1.1\r\nHost: a\r\nX-A: a\rb\r\n\r\n"),
    ("bare cr before header", b"GET / HTTP/1.1\r\nHost: a\r\n\rX-A: 1\r\n\r\n"),
    ("nul in target", b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("two spaces in request line", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("tab in request line", b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("space in target", b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("no version", b"GET /\r\nHost: a\r\n\r\n"),
    ("version 1.2", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
    ("version 0.9", b"GET / HTTP/0.9\r\nHost: a\r\n\r\n"),
    ("lower-case version", b"GET / http/1.1\r\nHost: a\r\n\r\n"),
    ("no host", b"GET / HTTP/1.1\r\n\r\n"),
    ("two hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    ("host with path", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    ("host with userinfo", b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"),
    ("host with comma", b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
    ("h2 preface as method", b"PRI * HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("connect", b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n"),
    ("method with colon", b"GE:T / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("chunk size with plus", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+4\r\nabcd\r\n0\r\n\r\n"),
    ("chunk size in 0x", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x4\r\nabcd\r\n0\r\n\r\n"),
    ("chunk size too large", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nabcd\r\n0\r\n\r\n"),
    ("empty chunk size", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\r\nabcd\r\n0\r\n\r\n"),
    ("chunk longer than its size", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabcd\r\n0\r\n\r\n"),
    ("chunk ended by lf", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\n0\r\n\r\n"),
    ("chunk size ended by lf", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\nabcd\r\n0\r\n\r\n"),
    ("bare cr in chunk extension", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4;a\rb\r\nabcd\r\n0\r\n\r\n"),
    ("nul in chunk size", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\0\r\nabcd\r\n0\r\n\r\n"),
];

/// Odd, but with one reading only; what goes on has to be well framed.
const ODD: &[(&str, &[u8])] = &[
    ("length and coding", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n"),
    ("coding and length", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 50\r\n\r\n4\r\nabcd\r\n0\r\n\r\n"),
    ("the same length twice", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nabcd"),
    ("two codings in two headers", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n"),
    ("chunk extension", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4;x=\"y\"\r\nabcd\r\n0\r\n\r\n"),
    ("trailers with framing", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\nContent-Length: 5\r\n\r\n"),
    ("hop header named", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close, transfer-encoding, content-length\r\n\r\n"),
    ("length hidden by connection", b"POST / HTTP/1.1\r\nHost: a\r\nConnection: content-length\r\nContent-Length: 4\r\n\r\nabcd"),
    ("lf line ends", b"GET / HTTP/1.1\nHost: a\n\n"),
    ("empty lines first", b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("absolute form", b"GET http://b/x HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("get with body", b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd"),
];

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

/// Sends bytes, then reads until the proxy closes or is silent. Gives back the statuses.
fn send(addr: std::net::SocketAddr, bytes: &[u8], first: Duration) -> Vec<String> {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(first)).unwrap();
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        answer.extend_from_slice(&buffer[..n]);
        stream.set_read_timeout(Some(SILENCE)).unwrap();
    }
    let text = String::from_utf8_lossy(&answer).into_owned();
    text.lines().filter_map(|line| line.strip_prefix("HTTP/1.")?.get(2..5).map(str::to_owned)).collect()
}

/// Nothing more is to be expected after this.
const SILENCE: Duration = Duration::from_millis(400);
const PROBE: &[u8] = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn what_is_malformed_never_reaches_the_upstream() {
    let (upstream, connections) = recorder();
    let proxy = start(&["--http", &format!("127.0.0.1:0=http://{upstream}"), "--access-log", "off"]);
    let addr = proxy.http();
    let work: Vec<_> = BAD
        .iter()
        .map(|(what, bytes)| {
            std::thread::spawn(move || (what, send(addr, &[bytes, PROBE].concat(), SILENCE)))
        })
        .collect();
    for thread in work {
        let (what, statuses) = thread.join().unwrap();
        assert!(statuses.iter().all(|status| status.starts_with(['4', '5'])), "{what}: {statuses:?}");
        assert!(statuses.len() <= 1, "{what}: nothing after it may be served: {statuses:?}");
    }
    for connection in connections.lock().unwrap().iter() {
        let bytes = connection.lock().unwrap();
        let targets = requests(&bytes).unwrap_or_else(|why| panic!("{why}: {}", bytes.escape_ascii()));
        assert!(targets.is_empty(), "whole requests went on: {}", bytes.escape_ascii());
    }
}

#[test]
fn what_is_odd_goes_on_well_framed() {
    for (what, bytes) in ODD {
        let (upstream, connections) = recorder();
        let proxy = start(&["--http", &format!("127.0.0.1:0=http://{upstream}"), "--access-log", "off"]);
        let statuses = send(proxy.http(), &[bytes, PROBE].concat(), testkit::timeout());
        let mut seen = Vec::new();
        for connection in connections.lock().unwrap().iter() {
            let bytes = connection.lock().unwrap();
            seen.extend(
                requests(&bytes).unwrap_or_else(|why| panic!("{what}: {why}: {}", bytes.escape_ascii())),
            );
        }
        assert!(
            seen.len() <= 2 && seen.iter().filter(|target| *target == "/smuggled").count() <= 1,
            "{what}: {seen:?}"
        );
        assert!(!statuses.is_empty(), "{what}: no answer");
    }
}
