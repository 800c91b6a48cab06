//! A sink that says yes at once: HTTP/1.1 with a length, in threads. Counts lines where bodies are plain; answers as
//! Elasticsearch does when nothing failed. What it costs is no part of any figure.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::Context;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 38\r\n\r\n{\"took\":1,\"errors\":false,\"items\":[]}\r\n";

/// Shared by all connections.
pub(crate) struct Sink {
    pub(crate) address: SocketAddr,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    lines: AtomicU64,
    bytes: AtomicU64,
}

impl Sink {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("cannot bind on loopback")?;
        let address = listener.local_addr()?;
        let counts = Arc::new(Counts::default());
        let shared = Arc::clone(&counts);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counts = Arc::clone(&shared);
                thread::spawn(move || {
                    let _ = serve(stream, &counts);
                });
            }
        });
        Ok(Sink { address, counts })
    }

    /// Newlines in all bodies so far.
    pub(crate) fn lines(&self) -> u64 {
        self.counts.lines.load(Ordering::Relaxed)
    }

    /// Bytes of all bodies so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.counts.bytes.load(Ordering::Relaxed)
    }
}

fn serve(mut stream: TcpStream, counts: &Counts) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut buffer, mut filled) = (vec![0; 1 << 20], 0);
    loop {
        let Some(head) = buffer[..filled].windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
            match stream.read(&mut buffer[filled..])? {
                0 => return Ok(()),
                n => filled += n,
            }
            continue;
        };
        let mut left = length(&buffer[..head]);
        let mut at = head + 4;
        loop {
            let now = left.min(filled - at);
            let body = &buffer[at..at + now];
            let lines = memchr::memchr_iter(b'\n', body).count();
            counts.lines.fetch_add(lines as u64, Ordering::Relaxed);
            counts.bytes.fetch_add(now as u64, Ordering::Relaxed);
            (left, at) = (left - now, at + now);
            if left == 0 {
                break;
            }
            (filled, at) = (stream.read(&mut buffer)?, 0);
            if filled == 0 {
                return Ok(());
            }
        }
        buffer.copy_within(at..filled, 0);
        filled -= at;
        stream.write_all(ANSWER)?;
    }
}

/// The body's length; 0 where none is given.
fn length(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head).to_lowercase();
    let value = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_lines_of_requests_that_come_in_pieces() {
        let sink = Sink::start().expect("starts");
        let mut stream = TcpStream::connect(sink.address).expect("connects");
        for part in [
            "POST / HTTP/1.1\r\nContent-Length: 4\r\n\r",
            "\na\n",
            "b\nPOST / HTTP/1.1\r\ncontent-length: 2\r\n\r\nc\n",
        ] {
            stream.write_all(part.as_bytes()).expect("writes");
        }
        let mut answers = vec![0; 2 * ANSWER.len()];
        stream.read_exact(&mut answers).expect("answers");
        assert_eq!((sink.lines(), sink.bytes()), (3, 6));
    }
}
