//! The HTTP/1.1 server below the fakes: one request at a time, answered as scripted.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::{Answer, Received, Reply};
use crate::listener::{hang, reset};
use crate::wire::{Head, find};

/// Reads requests from a connection until it closes; `answer` decides, and does the work when the answer executes.
pub(super) fn serve(
    stream: &TcpStream,
    connection: u64,
    mut answer: impl FnMut(&mut Received) -> (Answer, Reply),
) {
    let mut reader = BufReader::new(stream);
    while let Ok(Some(mut received)) = read(&mut reader, connection) {
        let closing = received.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let (answer, reply) = answer(&mut received);
        match perform(&mut reader, &received, &answer, &reply, closing) {
            Ok(true) if !closing => {}
            _ => return,
        }
    }
}

fn read(reader: &mut BufReader<&TcpStream>, connection: u64) -> io::Result<Option<Received>> {
    let Some(head) = Head::read(reader)? else { return Ok(None) };
    let mut words = head.start.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if head.header("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
        reader.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let (method, target) = (method.to_owned(), target.to_owned());
    let body = head.body(reader, false)?;
    Ok(Some(Received { method, target, headers: head.headers, body, connection, executed: false }))
}

/// Sends the answer; `true` when the connection goes on.
fn perform(
    reader: &mut BufReader<&TcpStream>,
    received: &Received,
    answer: &Answer,
    reply: &Reply,
    closing: bool,
) -> io::Result<bool> {
    let mut stream: &TcpStream = reader.get_ref();
    let head = head(reply, closing);
    let body = if received.method == "HEAD" { &[][..] } else { &reply.body };
    match answer {
        Answer::Ok | Answer::Status(_) | Answer::RetryAfter(..) | Answer::Reply(_) => {
            stream.write_all(&[&head, body].concat())?;
            Ok(true)
        }
        Answer::After(pause, then) => {
            std::thread::sleep(*pause);
            perform(reader, received, then, reply, closing)
        }
        Answer::Reset | Answer::AnswerLost => {
            reset(stream);
            Ok(false)
        }
        Answer::Close => Ok(false),
        Answer::Hang => {
            hang(stream);
            Ok(false)
        }
        Answer::HalfBody => {
            stream.write_all(&[&head, &body[..body.len() / 2]].concat())?;
            // A reset may overtake what was sent: the client gets a moment to read it.
            std::thread::sleep(Duration::from_millis(50));
            reset(stream);
            Ok(false)
        }
        Answer::SlowHead(pause) => {
            drip(stream, &head, *pause)?;
            stream.write_all(body)?;
            Ok(true)
        }
        Answer::SlowBody(pause) => {
            stream.write_all(&head)?;
            drip(stream, body, *pause)?;
            Ok(true)
        }
        Answer::ThenClose(pause) => {
            stream.write_all(&[&head, body].concat())?;
            std::thread::sleep(*pause);
            Ok(false)
        }
        Answer::Stream(pieces, pause) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
                std::thread::sleep(*pause);
                stream.write_all(&[format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat())?;
            }
            stream.write_all(b"0\r\n\r\n")?;
            Ok(true)
        }
        Answer::Upgrade => {
            let protocol = find(&received.headers, "upgrade").unwrap_or("echo");
            let head = format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n"
            );
            stream.write_all(head.as_bytes())?;
            echo(reader)?;
            Ok(false)
        }
        Answer::Raw(bytes) => {
            stream.write_all(bytes)?;
            Ok(false)
        }
    }
}

fn head(reply: &Reply, closing: bool) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {} {}\r\n", reply.status, reason(reply.status));
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if find(&reply.headers, "content-length").is_none() && !matches!(reply.status, 204 | 304) {
        head.push_str(&format!("content-length: {}\r\n", reply.body.len()));
    }
    if closing {
        head.push_str("connection: close\r\n");
    }
    head.push_str("\r\n");
    head.into_bytes()
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        413 => "Content Too Large",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        _ => "Other",
    }
}

fn drip(mut stream: &TcpStream, bytes: &[u8], pause: Duration) -> io::Result<()> {
    bytes.iter().try_for_each(|byte| {
        stream.write_all(&[*byte])?;
        std::thread::sleep(pause);
        Ok(())
    })
}

/// Sends back what comes, first what was already read.
fn echo(reader: &mut BufReader<&TcpStream>) -> io::Result<()> {
    let mut stream: &TcpStream = reader.get_ref();
    let early = reader.buffer().to_vec();
    reader.consume(early.len());
    stream.write_all(&early)?;
    let mut buffer = [0; 16 << 10];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            count => stream.write_all(&buffer[..count])?,
        }
    }
}
