//! Strict HTTP/1 framing, looked at before any parser sees a byte: what has two readings is refused, not repaired.
//!
//! A message is a row of units: a head, chunk-size lines, chunk ends, a trailer section. [`Framing::scan`] says how far the
//! bytes that came are whole, well-formed units (and body bytes between them); an incomplete unit at the end is held back by the
//! caller until the rest of it has come. Rules: RFC 9112, sections 2.2, 3, 5, 6 and 7.1, without what they leave to leniency.

use memchr::memchr;

pub(crate) use super::framing_head::words;
use super::framing_head::{self, Body};

/// A head, or a trailer section, is this long at most.
pub const LARGEST: usize = 64 << 10;
/// A chunk-size line: 15 digits name more than anybody sends.
const SIZE_LINE: usize = 17;

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The status of the answer.
    pub status: u16,
    /// One sentence for people.
    pub why: &'static str,
}

impl Refusal {
    pub(super) const fn bad(why: &'static str) -> Self {
        Self { status: 400, why }
    }
}

/// What [`Framing::scan`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Everything up to `good` may be read; behind it is at most the beginning of a unit.
    Good,
    /// What follows is HTTP only if the request before is not answered with a switch of protocols.
    Wait,
    /// The request that begins at `good` is refused; nothing of it has been read.
    Refused(Refusal),
    /// A body whose head has been read already is malformed at `good`.
    Broken(Refusal),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    Length(u64),
    Size,
    Chunk(u64),
    ChunkEnd,
    Trailers,
    Wait,
}

/// Where in a connection's bytes we are.
#[derive(Debug)]
pub struct Framing {
    state: State,
    /// How far the incomplete unit was looked at, so that a slow client costs no second look.
    looked: usize,
    /// Where its last line begins.
    line: usize,
    /// The request asked for another protocol.
    switches: bool,
    /// Heads seen.
    heads: u64,
}

impl Default for Framing {
    fn default() -> Self {
        Self { state: State::Head, looked: 0, line: 0, switches: false, heads: 0 }
    }
}

impl Framing {
    /// Looks at bytes that continue where the last `good` ended.
    pub fn scan(&mut self, bytes: &[u8]) -> (usize, Found) {
        let mut at = 0;
        // Where the request that is being read begins, if it does so within `bytes`.
        let mut begins = matches!(self.state, State::Head).then_some(0);
        loop {
            let rest = &bytes[at..];
            let step = match self.state {
                State::Wait => return (at, Found::Wait),
                State::Head => self.head(rest),
                State::Length(left) => Ok(pass(rest, left).map(|(n, left)| {
                    self.state = if left == 0 { self.after() } else { State::Length(left) };
                    n
                })),
                State::Chunk(left) => Ok(pass(rest, left).map(|(n, left)| {
                    self.state = if left == 0 { State::ChunkEnd } else { State::Chunk(left) };
                    n
                })),
                State::Size => self.size(rest),
                State::ChunkEnd => chunk_end(rest).inspect(|end| {
                    if end.is_some() {
                        self.state = State::Size;
                    }
                }),
                State::Trailers => self.trailers(rest),
            };
            match step {
                Ok(Some(n)) => {
                    at += n;
                    if matches!(self.state, State::Head) {
                        begins = Some(at);
                    }
                }
                Ok(None) => return (at, Found::Good),
                Err(refusal) => {
                    return begins
                        .map_or((at, Found::Broken(refusal)), |start| (start, Found::Refused(refusal)));
                }
            }
        }
    }

    /// Heads seen so far.
    pub fn heads(&self) -> u64 {
        self.heads
    }

    /// Whether what follows depends on the answer to the request before.
    pub fn waits(&self) -> bool {
        self.state == State::Wait
    }

    /// The request that asked for another protocol was answered, and HTTP goes on.
    pub fn resume(&mut self) {
        if self.state == State::Wait {
            self.state = State::Head;
        }
    }

    /// What comes after a message.
    fn after(&mut self) -> State {
        (self.looked, self.line) = (0, 0);
        if std::mem::take(&mut self.switches) { State::Wait } else { State::Head }
    }

    fn head(&mut self, bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        let Some(end) = self.block(bytes, true, "the head has more than 64 KB")? else { return Ok(None) };
        if end == 2 {
            return Ok(Some(2)); // An empty line before a request (RFC 9112, 2.2).
        }
        let head = framing_head::judge(&bytes[..end])?;
        self.heads += 1;
        self.switches = head.switches;
        self.state = match head.body {
            Body::None | Body::Length(0) => self.after(),
            Body::Length(n) => State::Length(n),
            Body::Chunked => State::Size,
        };
        Ok(Some(end))
    }

    fn size(&mut self, bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        let digits = bytes.iter().take(SIZE_LINE).take_while(|byte| byte.is_ascii_hexdigit()).count();
        match (digits, bytes.get(digits), bytes.get(digits + 1)) {
            (_, None, _) if digits < SIZE_LINE - 1 => return Ok(None),
            (1..=15, Some(b'\r'), None) => return Ok(None),
            (1..=15, Some(b'\r'), Some(b'\n')) => {}
            (1..=15, Some(b';' | b' ' | b'\t'), _) => {
                return Err(Refusal::bad("a chunk size is followed by an extension or a space"));
            }
            (16.., ..) => return Err(Refusal::bad("a chunk size has more than 15 digits")),
            _ => return Err(Refusal::bad("a chunk size is no line of hexadecimal digits")),
        }
        let size =
            std::str::from_utf8(&bytes[..digits]).ok().and_then(|text| u64::from_str_radix(text, 16).ok());
        self.state = match size {
            Some(0) => State::Trailers,
            Some(size) => State::Chunk(size),
            None => return Err(Refusal::bad("a chunk size is no number")),
        };
        Ok(Some(digits + 2))
    }

    fn trailers(&mut self, bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        let Some(end) = self.block(bytes, false, "the trailers have more than 64 KB")? else {
            return Ok(None);
        };
        framing_head::trailers(&bytes[..end])?;
        self.state = self.after();
        Ok(Some(end))
    }

    /// The end of a block of lines: after its empty line. A head that is nothing but an empty line ends there.
    fn block(&mut self, bytes: &[u8], head: bool, large: &'static str) -> Result<Option<usize>, Refusal> {
        while let Some(n) = memchr(b'\n', &bytes[self.looked..]) {
            let end = self.looked + n;
            if end == 0 || bytes[end - 1] != b'\r' || end == self.line {
                return Err(Refusal::bad("a line ends with a bare line feed"));
            }
            let empty = end - 1 == self.line;
            (self.looked, self.line) = (end + 1, end + 1);
            if empty {
                (self.looked, self.line) = (0, 0);
                return Ok(Some(end + 1));
            }
        }
        self.looked = bytes.len();
        if bytes.len() > LARGEST {
            return Err(Refusal { status: if head { 431 } else { 400 }, why: large });
        }
        Ok(None)
    }
}

/// Whether this may be the host of a request.
pub fn is_host(value: &[u8]) -> bool {
    framing_head::is_host(value)
}

/// How many of `bytes` belong to a body of which `left` are to come, and how many are left then; `None` without a byte.
fn pass(bytes: &[u8], left: u64) -> Option<(usize, u64)> {
    if bytes.is_empty() {
        return None;
    }
    let n = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
    Some((n, left - n as u64))
}

fn chunk_end(bytes: &[u8]) -> Result<Option<usize>, Refusal> {
    match bytes {
        [] | [b'\r'] => Ok(None),
        [b'\r', b'\n', ..] => Ok(Some(2)),
        _ => Err(Refusal::bad("a chunk is longer than its size")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNKED: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

    /// Everything at once, and byte by byte, has to come to the same.
    fn whole(bytes: &[u8]) -> (usize, Found) {
        let at_once = Framing::default().scan(bytes);
        let mut framing = Framing::default();
        let (mut held, mut passed) = (Vec::new(), 0);
        for byte in bytes {
            held.push(*byte);
            let (good, found) = framing.scan(&held);
            passed += good;
            held.drain(..good);
            match found {
                Found::Good => {}
                Found::Wait => break,
                Found::Refused(_) | Found::Broken(_) => {
                    assert!(
                        matches!(at_once.1, Found::Refused(_) | Found::Broken(_)),
                        "{}",
                        bytes.escape_ascii()
                    );
                    return at_once;
                }
            }
        }
        assert_eq!((passed, at_once.1), (at_once.0, at_once.1), "{}", bytes.escape_ascii());
        at_once
    }

    #[test]
    fn whole_messages_pass() {
        let get = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(whole(get), (get.len(), Found::Good));
        assert_eq!(whole(&get[..20]), (0, Found::Good));
        assert_eq!(whole(&[&get[..], get, b"GE"].concat()), (2 * get.len(), Found::Good));
        let lines = [&b"\r\n\r\n"[..], get].concat();
        assert_eq!(whole(&lines), (lines.len(), Found::Good));
        let post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(whole(&[post, &get[..]].concat()), (post.len() + get.len(), Found::Good));
        let chunks = [CHUNKED, b"4\r\nabcd\r\n0a\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n", get].concat();
        assert_eq!(whole(&chunks), (chunks.len(), Found::Good));
    }

    #[test]
    fn an_upgrade_holds_back_what_follows() {
        let ask =
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n";
        let mut framing = Framing::default();
        assert_eq!(framing.scan(&[&ask[..], b"\x81\x05"].concat()), (ask.len(), Found::Wait));
        assert_eq!(framing.scan(b"\x81\x05"), (0, Found::Wait));
        framing.resume();
        let get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!((framing.scan(get), framing.heads()), ((get.len(), Found::Good), 2));
    }

    #[test]
    fn a_malformed_body_is_refused_whole_while_its_head_is_here() {
        let bad = [CHUNKED, b"4;x\r\nabcd\r\n0\r\n\r\n"].concat();
        let (at, found) = Framing::default().scan(&bad);
        assert!(at == 0 && matches!(found, Found::Refused(_)), "{found:?}");
        let mut framing = Framing::default();
        assert_eq!(framing.scan(CHUNKED), (CHUNKED.len(), Found::Good));
        assert!(matches!(framing.scan(b"4\nabcd"), (0, Found::Broken(_))));
        for chunk in [
            &b"+4\r\n"[..],
            b"0x4\r\n",
            b"\r\n",
            b"4 \r\n",
            b"4\0\r\n",
            b"4\r\r\n",
            b"g\r\n",
            b"ffffffffffffffff\r\n",
            b"-1\r\n",
            b"4\r\nabcde\r\n",
            b"4\r\nabcd\n",
            b"0\r\n\n",
            b"0\r\nContent-Length: 4\r\n\r\n",
            b"0\r\n folded\r\n\r\n",
        ] {
            let found = whole(&[CHUNKED, chunk, b"0\r\n\r\n"].concat()).1;
            assert!(matches!(found, Found::Refused(_)), "{}: {found:?}", chunk.escape_ascii());
        }
    }

    #[test]
    fn a_head_without_end_is_refused() {
        let long = [&b"GET / HTTP/1.1\r\nX: "[..], &vec![b'x'; LARGEST]].concat();
        assert!(matches!(whole(&long), (0, Found::Refused(Refusal { status: 431, .. }))));
    }
}
