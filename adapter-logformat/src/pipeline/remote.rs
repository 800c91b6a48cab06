//! Outputs that can go away and come back: a TCP or unix socket, a FIFO.
//!
//! None of them says what it has taken in. When one breaks, the record that was being written is written again from its beginning to the next
//! connection; what the kernel had accepted before may be lost with the connection, and nothing says how much.

use std::fs::File;
use std::io::{self, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use podkit::dns::Resolver;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};

use crate::listen::address::host_port;

/// How long one attempt to connect, or to write, may take; then a drain is looked for.
const ATTEMPT: Duration = Duration::from_millis(500);

/// Where to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub text: String,
    pub place: Place,
    /// Records end with a NUL byte instead of a newline, as GELF over TCP wants it.
    pub nul: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Tcp(String, u16),
    Unix(PathBuf),
    Fifo(PathBuf),
}

impl Target {
    /// `tcp://HOST:PORT`, `unix:///PATH`, `fifo:///PATH`; `None`: a path.
    pub fn parse(text: &str) -> Option<Result<Self, String>> {
        let (scheme, rest) = text.split_once("://")?;
        let (place, options) = rest.split_once('?').unwrap_or((rest, ""));
        let path = || match place.strip_prefix('/') {
            Some(path) if !path.is_empty() => Ok(PathBuf::from(place)),
            _ => Err(format!("{text:?} has no absolute path; write {scheme}:///run/app/records")),
        };
        let place = match scheme {
            "tcp" => host_port(text, scheme, place).and_then(|(host, port)| match host.as_str() {
                "" => Err(format!("{text:?} names no host; write tcp://localhost:{port}")),
                _ => Ok(Place::Tcp(host, port)),
            }),
            "unix" => path().map(Place::Unix),
            "fifo" => path().map(Place::Fifo),
            _ => Err(format!("{scheme:?} is none of tcp, unix, fifo")),
        };
        Some(place.and_then(|place| {
            let nul = match options {
                "" | "framing=lines" => false,
                "framing=nul" => true,
                other => {
                    return Err(format!("{other:?} is no option; there are framing=lines and framing=nul"));
                }
            };
            Ok(Self { text: text.to_owned(), place, nul })
        }))
    }
}

/// See the module.
#[derive(Debug)]
pub struct Remote {
    target: Target,
    resolver: Resolver,
    runtime: tokio::runtime::Handle,
    open: Option<Open>,
    /// Connections made, for the metric.
    pub connected: u64,
    translated: Vec<u8>,
}

#[derive(Debug)]
enum Open {
    Tcp(TcpStream),
    Unix(UnixStream),
    Fifo(File),
}

impl Remote {
    pub fn new(target: Target, runtime: tokio::runtime::Handle) -> Self {
        Self {
            target,
            resolver: Resolver::system(),
            runtime,
            open: None,
            connected: 0,
            translated: Vec::new(),
        }
    }

    pub fn describe(&self) -> String {
        self.target.text.clone()
    }

    /// A connection, which is still one.
    pub fn ready(&mut self) -> io::Result<()> {
        if self.open.as_ref().is_some_and(|open| !alive(open)) {
            self.open = None;
        }
        if self.open.is_none() {
            self.open = Some(self.connect()?);
            self.connected += 1;
        }
        Ok(())
    }

    /// Writes from `done` on and moves it. After a break it is moved back to where the broken record begins.
    pub fn write(&mut self, bytes: &[u8], done: &mut usize) -> io::Result<()> {
        let mut translated = std::mem::take(&mut self.translated);
        let bytes = if self.target.nul {
            translated.clear();
            translated.extend(bytes.iter().map(|b| if *b == b'\n' { 0 } else { *b }));
            &translated[..]
        } else {
            bytes
        };
        let result = self.write_all(bytes, done);
        if result.is_err() && self.open.is_none() {
            let end = if self.target.nul { 0 } else { b'\n' };
            *done = memchr::memrchr(end, &bytes[..*done]).map_or(0, |at| at + 1);
        }
        translated.shrink_to(8 << 20);
        self.translated = translated;
        result
    }

    fn write_all(&mut self, bytes: &[u8], done: &mut usize) -> io::Result<()> {
        if self.open.is_none() {
            self.ready()?;
        }
        while *done < bytes.len() {
            let Some(open) = &mut self.open else { return Err(io::ErrorKind::NotConnected.into()) };
            let rest = &bytes[*done..];
            let written = match open {
                Open::Tcp(stream) => stream.write(rest),
                Open::Unix(stream) => stream.write(rest),
                Open::Fifo(file) => wait(file.as_fd()).and_then(|()| file.write(rest)),
            };
            match written {
                Ok(count) if count > 0 => *done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "the other side takes nothing"));
                }
                Ok(_) => return Err(self.broken(io::ErrorKind::WriteZero.into())),
                Err(error) => return Err(self.broken(error)),
            }
        }
        Ok(())
    }

    /// A closed pipe means success on stdout only; here it is a connection to make again.
    fn broken(&mut self, error: io::Error) -> io::Error {
        self.open = None;
        match error.kind() {
            io::ErrorKind::BrokenPipe => {
                io::Error::new(io::ErrorKind::ConnectionReset, "the other side closed it")
            }
            _ => error,
        }
    }

    fn connect(&self) -> io::Result<Open> {
        match &self.target.place {
            Place::Tcp(host, port) => {
                let dial = podkit::dial::host(&self.resolver, host, *port, 4 * ATTEMPT);
                let stream = self.runtime.block_on(dial).map_err(|e| io::Error::other(e.to_string()))?;
                let stream = stream.into_std()?;
                stream.set_nonblocking(false)?;
                stream.set_write_timeout(Some(ATTEMPT))?;
                Ok(Open::Tcp(stream))
            }
            Place::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_write_timeout(Some(ATTEMPT))?;
                Ok(Open::Unix(stream))
            }
            Place::Fifo(path) => {
                if !path.exists() {
                    let mode = Mode::from_raw_mode(0o666);
                    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0)?;
                }
                // Without a reader this fails at once instead of waiting for one.
                let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| match error {
                    rustix::io::Errno::NXIO => {
                        io::Error::new(io::ErrorKind::NotConnected, "nobody reads from it")
                    }
                    error => error.into(),
                })?;
                Ok(Open::Fifo(File::from(file)))
            }
        }
    }
}

/// What the other side says is thrown away; that it has hung up is noticed before a batch goes into a dead connection.
fn alive(open: &Open) -> bool {
    let mut buffer = [0u8; 512];
    let flags = rustix::net::RecvFlags::DONTWAIT;
    let heard = match open {
        Open::Fifo(_) => return true,
        Open::Tcp(stream) => rustix::net::recv(stream, &mut buffer, flags),
        Open::Unix(stream) => rustix::net::recv(stream, &mut buffer, flags),
    };
    match heard {
        Ok((count, _)) => count > 0,
        Err(error) => matches!(error, rustix::io::Errno::AGAIN | rustix::io::Errno::INTR),
    }
}

/// Until the FIFO takes something.
fn wait(file: BorrowedFd<'_>) -> io::Result<()> {
    let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(ATTEMPT.subsec_nanos()) };
    let mut fds = [PollFd::new(&file, PollFlags::OUT)];
    match poll(&mut fds, Some(&timeout))? {
        0 => Err(io::ErrorKind::WouldBlock.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_and_refused() {
        assert_eq!(Target::parse("/out/records.log"), None);
        let tcp = Target::parse("tcp://graylog:12201?framing=nul").expect("a target").expect("right");
        assert_eq!((tcp.place, tcp.nul), (Place::Tcp("graylog".to_owned(), 12201), true));
        for (text, said) in [
            ("tcp://:1", "names no host"),
            ("http://x:1", "none of tcp"),
            ("unix://x", "no absolute path"),
            ("tcp://x:1?a=b", "framing=nul"),
        ] {
            let problem = Target::parse(text).expect("a target").expect_err(text);
            assert!(problem.contains(said), "{problem}");
        }
    }
}
