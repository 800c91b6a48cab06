//! Load that no packaged tool makes: bytes in bulk and small messages over plain TCP.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::Context;

/// Longer than any step of a load takes.
const STUCK: Duration = Duration::from_secs(60);

/// A server that sends `bytes` to whoever connects, then closes.
pub(crate) fn source(bytes: u64) -> anyhow::Result<SocketAddr> {
    serve(move |mut stream| {
        let chunk = vec![b'x'; 256 << 10];
        let mut left = bytes;
        while left > 0 {
            let now = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
            if stream.write_all(&chunk[..now]).is_err() {
                return;
            }
            left -= now as u64;
        }
    })
}

/// A server that sends back what it gets.
pub(crate) fn echo() -> anyhow::Result<SocketAddr> {
    serve(|mut stream| {
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = stream.read(&mut buffer) {
            if stream.write_all(&buffer[..n]).is_err() {
                return;
            }
        }
    })
}

fn serve(each: impl Fn(TcpStream) + Clone + Send + 'static) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot bind on loopback")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = stream.set_nodelay(true);
            let each = each.clone();
            thread::spawn(move || each(stream));
        }
    });
    Ok(address)
}

/// Reads to the end and returns how many bytes came.
pub(crate) fn drain(address: SocketAddr) -> anyhow::Result<u64> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(STUCK))?;
    let (mut buffer, mut sum) = (vec![0; 256 << 10], 0);
    loop {
        match stream.read(&mut buffer).context("the stream broke off")? {
            0 => return Ok(sum),
            n => sum += n as u64,
        }
    }
}

/// On each of `connections`, `rounds` times: 64 bytes there and back. Returns the number of round trips.
pub(crate) fn ping(address: SocketAddr, connections: u64, rounds: u64) -> anyhow::Result<u64> {
    let one = move || -> anyhow::Result<u64> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(STUCK))?;
        let mut message = [b'm'; 64];
        for _ in 0..rounds {
            stream.write_all(&message)?;
            stream.read_exact(&mut message)?;
        }
        Ok(rounds)
    };
    let threads: Vec<_> = (0..connections).map(|_| thread::spawn(one)).collect();
    let mut sum = 0;
    for thread in threads {
        sum += thread.join().map_err(|_| anyhow::anyhow!("a connection's thread panicked"))??;
    }
    Ok(sum)
}
