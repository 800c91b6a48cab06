//! HTTP/2 by hand: frames that no client library would send, and floods. RFC 9113's "MUST" for servers, as far as a frame can ask.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::common::start;
use testkit::eventually;
use testkit::fake::{Answer, FakeHttp};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// Header lines as HPACK literals without index and without Huffman (RFC 7541, 6.2.2).
fn block(lines: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in lines {
        out.push(0);
        for text in [name, value] {
            out.push(u8::try_from(text.len()).ok().filter(|n| *n < 127).unwrap());
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

const GET: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")];

fn get(more: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&[&GET[..], more].concat()))
}

fn only(lines: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(lines))
}

fn open(addr: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(testkit::timeout())).unwrap();
    stream.write_all(PREFACE).unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).unwrap();
    stream
}

/// One frame: kind, flags, stream, payload.
fn read(stream: &mut TcpStream) -> Option<(u8, u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut payload).ok()?;
    Some((head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload))
}

/// What the proxy says to these frames: the first frame that is an answer of any kind, or `None` when it closes.
fn said(addr: SocketAddr, frames: &[u8]) -> Option<(u8, Vec<u8>)> {
    let mut stream = open(addr);
    let _ = stream.write_all(frames);
    loop {
        match read(&mut stream) {
            Some((HEADERS | RST_STREAM | GOAWAY, _, _, payload)) if payload.is_empty() => return None,
            Some((kind @ (HEADERS | RST_STREAM | GOAWAY), _, _, payload)) => return Some((kind, payload)),
            Some(_) => {}
            None => return None,
        }
    }
}

#[test]
fn malformed_frames_and_heads_reach_no_upstream() {
    let upstream = FakeHttp::start();
    let proxy = start(&["--http", &format!("127.0.0.1:0=http://{}", upstream.addr()), "--access-log", "off"]);
    let without = |name: &str| -> Vec<u8> {
        only(&GET.iter().filter(|(n, _)| *n != name).copied().collect::<Vec<_>>())
    };
    let post = |length: &str, data: &[u8]| {
        let head = block(&[&[(":method", "POST")], &GET[1..], &[("content-length", length)]].concat());
        [frame(HEADERS, END_HEADERS, 1, &head), frame(DATA, END_STREAM, 1, data)].concat()
    };
    let opened = block(&GET);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("capitals in a name", get(&[("X-A", "1")])),
        ("connection header", get(&[("connection", "close")])),
        ("keep-alive header", get(&[("keep-alive", "timeout=5")])),
        ("proxy-connection header", get(&[("proxy-connection", "keep-alive")])),
        ("transfer-encoding header", get(&[("transfer-encoding", "chunked")])),
        ("upgrade header", get(&[("upgrade", "websocket")])),
        ("te other than trailers", get(&[("te", "gzip")])),
        ("line feed in a value", get(&[("x-a", "1\nx: 2")])),
        ("carriage return in a value", get(&[("x-a", "1\r\nx: 2")])),
        ("nul in a value", get(&[("x-a", "1\0")])),
        ("space in a name", get(&[("x a", "1")])),
        ("colon in a name", get(&[("x:a", "1")])),
        ("line feed in a name", get(&[("x\na", "1")])),
        ("an empty name", get(&[("", "1")])),
        ("no :method", without(":method")),
        ("no :scheme", without(":scheme")),
        ("no :path", without(":path")),
        ("no :authority and no host", without(":authority")),
        ("an empty :path", only(&[GET[0], GET[1], (":path", ""), GET[3]])),
        ("a relative :path", only(&[GET[0], GET[1], (":path", "a"), GET[3]])),
        ("a space in :path", only(&[GET[0], GET[1], (":path", "/ HTTP/1.1"), GET[3]])),
        ("a line feed in :path", only(&[GET[0], GET[1], (":path", "/\r\nx: y"), GET[3]])),
        ("a line feed in :method", only(&[(":method", "GET\r\nx"), GET[1], GET[2], GET[3]])),
        ("a space in :method", only(&[(":method", "GET /"), GET[1], GET[2], GET[3]])),
        ("a slash in :authority", only(&[GET[0], GET[1], GET[2], (":authority", "a/b")])),
        ("two :path", get(&[(":path", "/x")])),
        ("two :method", get(&[(":method", "GET")])),
        ("an unknown pseudo-header", get(&[(":x", "1")])),
        (":status in a request", get(&[(":status", "200")])),
        ("a pseudo-header last", only(&[GET[0], GET[1], GET[2], ("x", "1"), GET[3]])),
        ("host other than :authority", get(&[("host", "b")])),
        ("two hosts", get(&[("host", "a"), ("host", "a")])),
        ("a body longer than its length", post("1", b"ab")),
        ("a body shorter than its length", post("3", b"ab")),
        ("a length that is no number", post("x", b"ab")),
        ("a length with a sign", post("+2", b"ab")),
        ("two lengths", get(&[("content-length", "0"), ("content-length", "1")])),
        ("headers on stream 0", frame(HEADERS, END_STREAM | END_HEADERS, 0, &opened)),
        ("headers on an even stream", frame(HEADERS, END_STREAM | END_HEADERS, 2, &opened)),
        ("data on an idle stream", frame(DATA, END_STREAM, 1, b"x")),
        ("data on stream 0", frame(DATA, 0, 0, b"x")),
        ("reset of an idle stream", frame(RST_STREAM, 0, 1, &[0; 4])),
        ("reset of stream 0", frame(RST_STREAM, 0, 0, &[0; 4])),
        ("reset of a wrong length", frame(RST_STREAM, 0, 1, &[0; 3])),
        ("window update by 0", frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        ("window update past its end", frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])),
        ("window update of a wrong length", frame(WINDOW_UPDATE, 0, 0, &[0; 3])),
        ("window update on an idle stream", frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])),
        ("settings on a stream", frame(SETTINGS, 0, 1, &[])),
        ("settings of a wrong length", frame(SETTINGS, 0, 0, &[0; 5])),
        ("settings acknowledged with content", frame(SETTINGS, 1, 0, &[0; 6])),
        ("enable push of 2", frame(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2])),
        ("a window of 2^31", frame(SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0])),
        ("frames too small", frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1])),
        ("frames too large", frame(SETTINGS, 0, 0, &[0, 5, 1, 0, 0, 0])),
        ("ping of a wrong length", frame(PING, 0, 0, &[0; 7])),
        ("ping on a stream", frame(PING, 0, 1, &[0; 8])),
        ("continuation of nothing", frame(CONTINUATION, END_HEADERS, 1, &opened)),
        (
            "data inside a head",
            [frame(HEADERS, END_STREAM, 1, &opened[..4]), frame(DATA, 0, 1, b"x")].concat(),
        ),
        (
            "another head inside a head",
            [frame(HEADERS, END_STREAM, 1, &opened[..4]), frame(HEADERS, END_HEADERS, 3, &opened)].concat(),
        ),
        (
            "continuation of another stream",
            [frame(HEADERS, END_STREAM, 1, &opened[..4]), frame(CONTINUATION, END_HEADERS, 3, &opened[4..])]
                .concat(),
        ),
        (
            "ping inside a head",
            [frame(HEADERS, END_STREAM, 1, &opened[..4]), frame(PING, 0, 0, &[0; 8])].concat(),
        ),
        ("push promise of a client", frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2])),
        ("a frame over the largest size", frame(HEADERS, END_STREAM | END_HEADERS, 1, &vec![0; 20_000])),
        ("padding longer than its frame", frame(HEADERS, END_STREAM | END_HEADERS | PADDED, 1, &[255, 0])),
        ("an index that is not there", frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0xff, 0xff, 0x7f])),
        ("index 0", frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0x80])),
        ("a head that breaks off", frame(HEADERS, END_STREAM | END_HEADERS, 1, &opened[..opened.len() - 1])),
        (
            "a table update past its limit",
            frame(HEADERS, END_STREAM | END_HEADERS, 1, &[&[0x3f, 0xff, 0xff, 0x7f][..], &opened].concat()),
        ),
        ("priority of a wrong length", frame(PRIORITY, 0, 1, &[0; 4])),
        ("priority on stream 0", frame(PRIORITY, 0, 0, &[0; 5])),
        ("goaway on a stream", frame(GOAWAY, 0, 1, &[0; 8])),
    ];
    let count = cases.len();
    for (what, frames) in cases {
        let answer = said(proxy.http(), &frames);
        // HPACK: an answer that is no stream or connection error has to be a 4xx; 400 has an index of its own.
        if let Some((HEADERS, payload)) = &answer {
            let text = payload.escape_ascii().to_string();
            assert!(payload[0] == 0x8c || text.contains("400") || text.contains("405"), "{what}: {text}");
        }
        assert_eq!(upstream.count(), 0, "{what} reached the upstream");
    }
    assert!(count >= 65);
    assert_eq!(said(proxy.http(), &get(&[])).unwrap().0, HEADERS, "and well-formed ones are served");
    let unknown =
        [frame(0x77, 0xff, 0, b"whatever"), frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 1]), get(&[])].concat();
    assert_eq!(said(proxy.http(), &unknown).unwrap().0, HEADERS, "unknown frames are passed over");
    assert_eq!(upstream.count(), 2);
}

/// Writes until the proxy says GOAWAY, closes, or `most` bytes are out; `true` when it ended the connection.
fn flood(addr: SocketAddr, first: &[u8], mut next: impl FnMut(u32) -> Vec<u8>, rounds: u32) -> bool {
    let mut stream = open(addr);
    let mut reader = stream.try_clone().unwrap();
    let ended = std::thread::spawn(move || {
        loop {
            match read(&mut reader) {
                Some((GOAWAY, ..)) | None => return true,
                Some(_) => {}
            }
        }
    });
    stream.set_write_timeout(Some(testkit::timeout())).unwrap();
    let mut open = stream.write_all(first).is_ok();
    for round in 0..rounds {
        if !open {
            break;
        }
        open = stream.write_all(&next(round)).is_ok();
    }
    if !open {
        return true;
    }
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let _ = stream.shutdown(std::net::Shutdown::Write);
    ended.join().unwrap()
}

/// CVE-2023-44487: requests that are taken back at once.
#[test]
fn rapid_resets_end_the_connection() {
    let upstream = FakeHttp::start();
    upstream.always(Answer::Hang);
    let proxy = start(&["--http", &format!("127.0.0.1:0=http://{}", upstream.addr()), "--access-log", "off"]);
    let head = block(&GET);
    let mut sent = 0;
    let ended = flood(
        proxy.http(),
        &[],
        |round| {
            sent = round;
            let stream = round * 2 + 1;
            [
                frame(HEADERS, END_STREAM | END_HEADERS, stream, &head),
                frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]),
            ]
            .concat()
        },
        50_000,
    );
    assert!(ended, "after {sent} resets");
    eventually("nothing of it is left upstream", || (upstream.open_connections() == 0).then_some(()));
    upstream.always(Answer::Ok);
    assert_eq!(testkit::http::get(proxy.http(), "/").status, 200, "others are served");
    eventually("the proxy has let go", || {
        (proxy.status()["gauges"]["open_client_connections"] == 0).then_some(())
    });
}

/// CVE-2024-27316 and its kin: a head that never ends.
#[test]
fn endless_heads_end_the_connection() {
    let upstream = FakeHttp::start();
    let proxy = start(&["--http", &format!("127.0.0.1:0=http://{}", upstream.addr()), "--access-log", "off"]);
    let first = frame(HEADERS, END_STREAM, 1, &block(&GET));
    let line = block(&[("x-a", &"y".repeat(100))]).repeat(150);
    let mut bytes = 0;
    let ended = flood(
        proxy.http(),
        &first,
        |_| {
            bytes += line.len();
            frame(CONTINUATION, 0, 1, &line)
        },
        4000,
    );
    assert!(ended && bytes < 60_000_000, "ended {ended} after {bytes} bytes");
    let empty = flood(proxy.http(), &first, |_| frame(CONTINUATION, 0, 1, &[]).repeat(100), 20_000);
    assert!(empty, "empty ones are no better");
    assert_eq!(upstream.count(), 0);
    assert_eq!(testkit::http::get(proxy.http(), "/").status, 200, "others are served");
}
