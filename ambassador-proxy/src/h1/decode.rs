//! Bodies by length, by chunks, or until the connection ends (RFC 9112, 6 and 7.1).

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Frame, SizeHint};
use tokio::io::AsyncRead;

use super::inbox::Inbox;
use super::{HEAD, HEADERS};

/// A chunk-size line, extensions included.
const SIZE_LINE: usize = 4 << 10;

/// Where in a body we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Decoder {
    /// Behind it, or there is none.
    #[default]
    Done,
    /// So many bytes are to come.
    Length(u64),
    /// Before a chunk's size.
    Size,
    /// In a chunk.
    Chunk(u64),
    /// Behind its bytes.
    ChunkEnd,
    /// Behind the last chunk.
    Trailers,
    /// What ends the connection ends it.
    Close,
}

/// What is next in a body.
enum Step {
    Frame(Frame<Bytes>),
    End,
    More,
}

fn bad(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

impl Decoder {
    /// Whether the whole body has been read.
    pub(crate) fn is_done(self) -> bool {
        self == Self::Done
    }

    /// What is known about what is to come.
    pub(crate) fn size_hint(self) -> SizeHint {
        match self {
            Self::Done => SizeHint::with_exact(0),
            Self::Length(n) => SizeHint::with_exact(n),
            _ => SizeHint::default(),
        }
    }

    /// The next piece of the body; `None` behind it.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        inbox: &mut Inbox,
        io: &mut (impl AsyncRead + Unpin),
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            match self.step(inbox) {
                Ok(Step::Frame(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(Step::End) => return Poll::Ready(None),
                Ok(Step::More) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            match ready!(inbox.poll_fill(cx, io, true)) {
                Ok(0) if *self == Self::Close => *self = Self::Done,
                Ok(0) => return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    /// What the bytes that are here come to.
    fn step(&mut self, inbox: &mut Inbox) -> io::Result<Step> {
        loop {
            let bytes = inbox.bytes();
            match *self {
                Self::Done => return Ok(Step::End),
                Self::Length(0) => *self = Self::Done,
                _ if bytes.is_empty() => return Ok(Step::More),
                Self::Close => return Ok(Step::Frame(Frame::data(inbox.data(u64::MAX)))),
                Self::Length(left) | Self::Chunk(left) => {
                    let data = inbox.data(left);
                    let left = left - data.len() as u64;
                    *self = match *self {
                        Self::Length(_) if left == 0 => Self::Done,
                        Self::Length(_) => Self::Length(left),
                        _ if left == 0 => Self::ChunkEnd,
                        _ => Self::Chunk(left),
                    };
                    // The end is often here already: who asks whether this was all should hear it at once.
                    if *self == Self::ChunkEnd && inbox.bytes() == b"\r\n0\r\n\r\n" {
                        inbox.skip(7);
                        *self = Self::Done;
                    }
                    return Ok(Step::Frame(Frame::data(data)));
                }
                Self::ChunkEnd => match bytes {
                    [b'\r'] => return Ok(Step::More),
                    [b'\r', b'\n', ..] => {
                        inbox.skip(2);
                        *self = Self::Size;
                    }
                    _ => return Err(bad("a chunk is longer than its size")),
                },
                Self::Size => match size(bytes)? {
                    None => return Ok(Step::More),
                    Some((n, size)) => {
                        inbox.skip(n);
                        *self = if size == 0 { Self::Trailers } else { Self::Chunk(size) };
                    }
                },
                Self::Trailers => match trailers(bytes)? {
                    None => return Ok(Step::More),
                    Some((n, trailers)) => {
                        inbox.skip(n);
                        *self = Self::Done;
                        let end = || Step::End;
                        return Ok(trailers.map_or_else(end, |map| Step::Frame(Frame::trailers(map))));
                    }
                },
            }
        }
    }
}

/// A chunk-size line: its length, and the size. Extensions are read over (RFC 9112, 7.1.1); clients' never come this far.
fn size(bytes: &[u8]) -> io::Result<Option<(usize, u64)>> {
    let Some(end) = memchr::memchr(b'\n', bytes) else {
        return if bytes.len() > SIZE_LINE { Err(bad("a chunk-size line is too long")) } else { Ok(None) };
    };
    let line = bytes[..end]
        .strip_suffix(b"\r")
        .ok_or_else(|| bad("a chunk-size line ends with a bare line feed"))?;
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, rest) = line.split_at(digits);
    let clean = rest.trim_ascii_start().first().is_none_or(|byte| *byte == b';');
    if !clean || !(1..=15).contains(&digits.len()) {
        return Err(bad("a chunk size is no hexadecimal number"));
    }
    let text = std::str::from_utf8(digits).map_err(|_| bad("a chunk size is no number"))?;
    let size = u64::from_str_radix(text, 16).map_err(|_| bad("a chunk size is no number"))?;
    Ok(Some((end + 1, size)))
}

/// The trailer section: its length, and the trailers if there are any.
fn trailers(bytes: &[u8]) -> io::Result<Option<(usize, Option<HeaderMap>)>> {
    match bytes {
        [b'\r', b'\n', ..] => return Ok(Some((2, None))),
        [b'\r'] => return Ok(None),
        _ => {}
    }
    let mut lines = [httparse::EMPTY_HEADER; HEADERS];
    match httparse::parse_headers(bytes, &mut lines) {
        Ok(httparse::Status::Complete((n, lines))) => {
            let mut map = HeaderMap::with_capacity(lines.len());
            for line in lines {
                let name = HeaderName::from_bytes(line.name.as_bytes());
                let value = HeaderValue::from_bytes(line.value);
                let (Ok(name), Ok(value)) = (name, value) else {
                    return Err(bad("a trailer is malformed"));
                };
                map.append(name, value);
            }
            Ok(Some((n, Some(map))))
        }
        Ok(httparse::Status::Partial) if bytes.len() <= HEAD => Ok(None),
        Ok(httparse::Status::Partial) => Err(bad("the trailers have more than 64 KB")),
        Err(_) => Err(bad("a trailer is malformed")),
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// A stream that comes in pieces of `n` bytes.
    struct Pieces<'a>(&'a [u8], usize);

    impl AsyncRead for Pieces<'_> {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut tokio::io::ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let n = self.1.min(self.0.len());
            buf.put_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Poll::Ready(Ok(()))
        }
    }

    fn read(mut decoder: Decoder, bytes: &[u8], piece: usize) -> io::Result<(String, usize)> {
        let mut cx = Context::from_waker(Waker::noop());
        let (mut inbox, mut io) = (Inbox::default(), Pieces(bytes, piece));
        let (mut text, mut trailers) = (Vec::new(), 0);
        while let Poll::Ready(Some(frame)) = decoder.poll_frame(&mut cx, &mut inbox, &mut io) {
            match frame?.into_data() {
                Ok(data) => text.extend_from_slice(&data),
                Err(frame) => trailers += frame.into_trailers().map_or(0, |map| map.len()),
            }
        }
        assert!(decoder.is_done());
        Ok((String::from_utf8_lossy(&text).into_owned(), trailers))
    }

    #[test]
    fn bodies_end_where_they_say() {
        for piece in 1..40 {
            let ok = |decoder, bytes: &[u8]| read(decoder, bytes, piece).unwrap();
            assert_eq!(ok(Decoder::Length(5), b"hello and more"), ("hello".into(), 0));
            assert_eq!(ok(Decoder::Length(0), b""), (String::new(), 0));
            assert_eq!(ok(Decoder::Close, b"to the end"), ("to the end".into(), 0));
            assert_eq!(ok(Decoder::Size, b"4\r\nabcd\r\n1;x=y\r\ne\r\n0\r\n\r\n"), ("abcde".into(), 0));
            assert_eq!(ok(Decoder::Size, b"2\r\nab\r\n0\r\nX: 1\r\ny: 2\r\n\r\n"), ("ab".into(), 2));
            for short in [&b"4\r\nabc"[..], b"4\r\nabcd\r\n", b"", b"0\r\n"] {
                let error = read(Decoder::Size, short, piece).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{}", short.escape_ascii());
            }
            for wrong in [&b"x\r\n"[..], b"-1\r\n\r\n", b"4\nabcd", b"1\r\nabc\r\n", b"0\r\n:\r\n\r\n"] {
                assert!(read(Decoder::Size, wrong, piece).is_err(), "{}", wrong.escape_ascii());
            }
            assert!(read(Decoder::Length(5), b"hell", piece).is_err());
        }
    }
}
