//! A tiny blocking HTTP/1.1 client: enough for an admin port, and for a test that wants to hold the connection
//! in its own hands.

use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::wait::timeout;
use crate::wire::{Head, find};

/// Where to connect to: made from a `SocketAddr`, or the path of a unix socket.
#[derive(Clone, Debug)]
pub enum Endpoint {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl From<SocketAddr> for Endpoint {
    fn from(addr: SocketAddr) -> Self {
        Self::Tcp(addr)
    }
}

impl From<&Path> for Endpoint {
    fn from(path: &Path) -> Self {
        Self::Unix(path.to_owned())
    }
}

impl From<PathBuf> for Endpoint {
    fn from(path: PathBuf) -> Self {
        Self::Unix(path)
    }
}

/// A request: `Request::new("POST", "/x").header("a", "1").body("…")`. `Host` and `Content-Length` are added unless
/// given; a body is always sent with its length.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    #[must_use]
    pub fn new(method: &str, target: &str) -> Self {
        Self { method: method.to_owned(), target: target.to_owned(), headers: Vec::new(), body: Vec::new() }
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_owned();
        self
    }

    /// The request as it goes over the wire.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if find(&self.headers, "host").is_none() {
            head.push_str("Host: localhost\r\n");
        }
        let framed =
            ["content-length", "transfer-encoding"].iter().any(|name| find(&self.headers, name).is_some());
        if !framed && (!self.body.is_empty() || matches!(self.method.as_str(), "POST" | "PUT" | "PATCH")) {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        [head.as_bytes(), &self.body].concat()
    }
}

/// A response, read to its end.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// The body as text, invalid UTF-8 replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    ///
    /// When it is not JSON.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

/// One request on its own connection.
///
/// # Panics
///
/// When there is no complete answer; see [`try_send`].
#[track_caller]
pub fn get(to: impl Into<Endpoint>, target: &str) -> Response {
    send(to, &Request::new("GET", target))
}

/// One POST on its own connection.
///
/// # Panics
///
/// When there is no complete answer; see [`try_send`].
#[track_caller]
pub fn post(to: impl Into<Endpoint>, target: &str, body: impl AsRef<[u8]>) -> Response {
    send(to, &Request::new("POST", target).body(body))
}

/// One request on its own connection.
///
/// # Panics
///
/// When there is no complete answer; see [`try_send`].
#[track_caller]
pub fn send(to: impl Into<Endpoint>, request: &Request) -> Response {
    let to = to.into();
    let what = format!("{} {} at {to:?}", request.method, request.target);
    match try_send(to, request) {
        Ok(response) => response,
        Err(error) => panic!("{what}: {error}"),
    }
}

/// One request on its own connection, for tests that expect it to fail.
///
/// # Errors
///
/// When connecting, sending or reading fails or takes longer than [`crate::timeout`].
pub fn try_send(to: impl Into<Endpoint>, request: &Request) -> io::Result<Response> {
    let mut request = request.clone();
    if find(&request.headers, "connection").is_none() {
        request = request.header("Connection", "close");
    }
    let mut connection = Connection::open(to)?;
    connection.send(&request)?;
    connection.receive(&request)
}

/// One connection, for keep-alive, pipelining, half-close, broken requests.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<Socket>,
}

impl Connection {
    /// Connects; every read and write is bounded by [`crate::timeout`].
    ///
    /// # Errors
    ///
    /// When it cannot connect in time.
    pub fn open(to: impl Into<Endpoint>) -> io::Result<Self> {
        let limit = Some(timeout());
        let socket = match to.into() {
            Endpoint::Tcp(addr) => {
                let stream = TcpStream::connect_timeout(&addr, timeout())?;
                stream.set_read_timeout(limit)?;
                stream.set_write_timeout(limit)?;
                stream.set_nodelay(true)?;
                Socket::Tcp(stream)
            }
            Endpoint::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(limit)?;
                stream.set_write_timeout(limit)?;
                Socket::Unix(stream)
            }
        };
        Ok(Self { stream: BufReader::new(socket) })
    }

    /// # Errors
    ///
    /// When writing fails.
    pub fn send(&mut self, request: &Request) -> io::Result<()> {
        self.write(&request.to_bytes())
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    ///
    /// When writing fails.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Reads the answer to `request`, past informational ones (except 101).
    ///
    /// # Errors
    ///
    /// When the connection ends before a complete answer, or the answer is not HTTP.
    pub fn receive(&mut self, request: &Request) -> io::Result<Response> {
        loop {
            let head = Head::read(&mut self.stream)?.ok_or(ErrorKind::UnexpectedEof)?;
            let status = head.start.split(' ').nth(1).and_then(|code| code.parse::<u16>().ok());
            let Some(status) = status.filter(|_| head.start.starts_with("HTTP/1.")) else {
                return Err(io::Error::new(
                    ErrorKind::InvalidData,
                    format!("not a status line: {}", head.start),
                ));
            };
            if (100..200).contains(&status) && status != 101 {
                continue;
            }
            let bodiless = request.method == "HEAD" || matches!(status, 101 | 204 | 304);
            let body = if bodiless { Vec::new() } else { head.body(&mut self.stream, true)? };
            return Ok(Response { status, headers: head.headers, body });
        }
    }

    /// Reads exactly `count` bytes.
    ///
    /// # Errors
    ///
    /// When the connection ends before.
    pub fn read(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads until the peer closes.
    ///
    /// # Errors
    ///
    /// When the connection is reset, or stays open too long.
    pub fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.stream.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Half-closes: no more requests.
    ///
    /// # Errors
    ///
    /// When the connection is gone.
    pub fn finish(&mut self) -> io::Result<()> {
        match self.stream.get_ref() {
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Socket::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(buffer),
            Self::Unix(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn over_a_unix_socket() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).expect("bind");
        let server = std::thread::spawn(move || {
            let mut stream = listener.accept().expect("accept").0;
            let mut reader = BufReader::new(stream.try_clone().expect("clone"));
            let head = Head::read(&mut reader).expect("valid").expect("there");
            let body = head.body(&mut reader, false).expect("body");
            let early = "HTTP/1.1 103 Early Hints\r\n\r\n";
            let answer = format!("{early}HTTP/1.1 200 OK\r\n\r\n{{\"length\":{}}}", body.len());
            stream.write_all(answer.as_bytes()).expect("write");
        });
        assert_eq!(post(path, "/", "abc").json()["length"], 3);
        server.join().expect("the server");
    }

    #[test]
    fn requests_are_framed_unless_the_test_does_it() {
        let text = |request: Request| String::from_utf8(request.to_bytes()).expect("text");
        assert_eq!(text(Request::new("GET", "/")), "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert!(text(Request::new("POST", "/")).contains("Content-Length: 0\r\n"));
        let own = Request::new("POST", "/").header("Content-Length", "9").body("x");
        assert_eq!(text(own).matches("Content-Length").count(), 1);
    }
}
