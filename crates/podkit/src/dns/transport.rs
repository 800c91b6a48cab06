//! One question to one server: UDP from a socket of its own, TCP when the answer did not fit.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

use super::error::Failure;
use super::message::{Kind, Question, Reply, Verdict};

/// The end of one exchange.
#[derive(Debug)]
pub(super) enum Told {
    Answer(Reply),
    Alias(String, std::time::Duration),
    Failed(Failure),
}

/// Asks and waits for an answer that is ours. Has no timeout of its own: the caller drops it.
pub(super) async fn ask(server: SocketAddr, name: &str, kind: Kind, tcp_only: bool) -> Told {
    // A fresh id and a fresh socket (so a fresh random port) for every exchange: RFC 5452.
    let question = match Question::new(name, kind) {
        Ok(question) => question,
        Err(failure) => return Told::Failed(failure),
    };
    let verdict =
        if tcp_only { over_tcp(server, &question).await } else { over_udp(server, &question).await };
    match verdict {
        Ok(Verdict::Truncated(part)) => match (over_tcp(server, &question).await, part) {
            (Ok(Verdict::Truncated(Some(reply))), _) => Told::Answer(reply),
            // Port 53 closed for TCP is common; some addresses are better than none.
            (Err(_), Some(part)) => Told::Answer(part),
            (Err(error), None) => Told::Failed(unreachable("truncated, and by TCP: ", &error)),
            (Ok(verdict), _) => told(verdict),
        },
        Ok(verdict) => told(verdict),
        Err(error) => Told::Failed(unreachable("", &error)),
    }
}

fn told(verdict: Verdict) -> Told {
    match verdict {
        Verdict::Answer(reply) => Told::Answer(reply),
        Verdict::Alias(to, ttl) => Told::Alias(to, ttl),
        Verdict::Failed(failure) => Told::Failed(failure),
        Verdict::Truncated(_) => Told::Failed(Failure::Malformed("truncated, even by TCP".to_owned())),
        Verdict::NotOurs => Told::Failed(Failure::Malformed("the answer to another question".to_owned())),
    }
}

fn unreachable(before: &str, error: &io::Error) -> Failure {
    let why = match error.kind() {
        io::ErrorKind::ConnectionRefused => "port closed".to_owned(),
        _ => error.to_string(),
    };
    Failure::Unreachable(format!("{before}{why}"))
}

async fn over_udp(server: SocketAddr, question: &Question) -> io::Result<Verdict> {
    let any = match server {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any).await?;
    // Connected: the kernel drops what another address sends, and tells of a closed port at once.
    socket.connect(server).await?;
    socket.send(&question.bytes).await?;
    let mut buffer = vec![0_u8; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        match question.read(&buffer[..length]) {
            Verdict::NotOurs => {}
            verdict => return Ok(verdict),
        }
    }
}

async fn over_tcp(server: SocketAddr, question: &Question) -> io::Result<Verdict> {
    let mut stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let length = u16::try_from(question.bytes.len()).map_err(io::Error::other)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(&question.bytes);
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0_u8; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    Ok(question.read(&answer))
}
