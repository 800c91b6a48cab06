//! Parts → bytes, and bodies as their heads announce them.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, StatusCode, Version};

use super::outbox::Outbox;
use crate::fields::Headers;
use crate::fields::name::{CONNECTION, CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING};

/// How a body is written.
#[derive(Debug)]
pub(crate) enum Encoder {
    /// So many bytes are still to come.
    Length(u64),
    /// In chunks, with those trailers that the head has announced.
    Chunked(Vec<HeaderName>),
    /// The end of the connection ends it.
    Close,
}

/// A body that is not what its head said. The message is broken, and so is its connection.
#[derive(Debug)]
pub(crate) struct Mismatch;

impl Encoder {
    /// Writes a piece.
    pub(crate) fn data(&mut self, out: &mut Outbox, data: Bytes) -> Result<(), Mismatch> {
        if data.is_empty() {
            return Ok(());
        }
        match self {
            Self::Length(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(Mismatch)?;
                out.data(data, b"");
            }
            Self::Chunked(_) => {
                hexadecimal(out.front(), data.len());
                out.data(data, b"\r\n");
            }
            Self::Close => out.data(data, b""),
        }
        Ok(())
    }

    /// Writes what ends the body.
    pub(crate) fn end(&mut self, out: &mut Outbox, trailers: Option<&HeaderMap>) -> Result<(), Mismatch> {
        match self {
            Self::Length(0) | Self::Close => {}
            Self::Length(_) => return Err(Mismatch),
            Self::Chunked(announced) => {
                let front = out.front();
                front.extend_from_slice(b"0\r\n");
                for (name, value) in
                    trailers.into_iter().flatten().filter(|(name, _)| announced.contains(name))
                {
                    line(front, name.as_str().as_bytes(), value.as_bytes());
                }
                front.extend_from_slice(b"\r\n");
            }
        }
        *self = Self::Length(0);
        Ok(())
    }
}

/// A chunk's size line.
fn hexadecimal(out: &mut Vec<u8>, n: usize) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let length = (usize::BITS - n.leading_zeros()).div_ceil(4).max(1);
    out.extend((0..length).rev().map(|i| DIGITS[n >> (4 * i) & 15]));
    out.extend_from_slice(b"\r\n");
}

fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn lines(out: &mut Vec<u8>, headers: &Headers) {
    // How a body is framed is this connection's business alone.
    if headers.has(&TRANSFER_ENCODING) {
        let mut fewer = headers.clone();
        fewer.remove(&TRANSFER_ENCODING);
        fewer.write(out);
    } else {
        headers.write(out);
    }
}

fn number(out: &mut Vec<u8>, n: u64) {
    use std::io::Write as _;
    let _ = write!(out, "{n}");
}

fn content_length(headers: &Headers) -> Option<u64> {
    headers.text(&CONTENT_LENGTH)?.parse().ok()
}

fn announced(headers: &Headers) -> Vec<HeaderName> {
    let mut list = Vec::new();
    headers.each(&TRAILER, |value| {
        let names = value.split(|byte| *byte == b',');
        let names = names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok());
        list.extend(names.filter(|name| {
            ![&CONTENT_LENGTH, &TRANSFER_ENCODING, &CONNECTION, &TRAILER]
                .iter()
                .any(|known| ***known == *name)
        }));
    });
    list
}

/// Writes a body's framing after the other headers, when they do not say it already.
fn framing(out: &mut Vec<u8>, headers: &Headers, known: Option<u64>) -> Encoder {
    if let Some(length) = content_length(headers) {
        return Encoder::Length(length);
    }
    if let Some(length) = known {
        out.extend_from_slice(b"content-length: ");
        number(out, length);
        out.extend_from_slice(b"\r\n");
        return Encoder::Length(length);
    }
    out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    Encoder::Chunked(announced(headers))
}

/// A request's head. `body` is the length of its body, `None` without one, `Some(None)` when it is not known.
pub(crate) fn request(
    out: &mut Vec<u8>,
    method: &Method,
    target: &str,
    headers: &Headers,
    body: Option<Option<u64>>,
) -> Encoder {
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    lines(out, headers);
    let encoder = body.map_or(Encoder::Length(0), |known| framing(out, headers, known));
    out.extend_from_slice(b"\r\n");
    encoder
}

/// What an answer's head has to fit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct To {
    /// The request was HEAD.
    pub(crate) head: bool,
    /// The request was CONNECT.
    pub(crate) connect: bool,
    /// The request's version.
    pub(crate) version: Version,
    /// The client keeps the connection.
    pub(crate) keep: bool,
}

impl To {
    /// Whether bytes of another protocol follow.
    pub(crate) fn switches(self, status: StatusCode) -> bool {
        status == StatusCode::SWITCHING_PROTOCOLS || (self.connect && status.is_success())
    }

    /// Whether nothing may follow the head (RFC 9112, 6.3).
    pub(crate) fn is_bodiless(self, status: StatusCode) -> bool {
        self.head || self.switches(status) || matches!(status.as_u16(), 204 | 304)
    }
}

/// The reason phrase: the upstream's own, if this is still its status.
fn reason(head: &[u8], status: StatusCode) -> &[u8] {
    let own = head.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..)).and_then(|rest| {
        let rest = rest.strip_prefix(status.as_str().as_bytes())?.strip_prefix(b" ")?;
        rest.split(|byte| matches!(byte, b'\r' | b'\n')).next()
    });
    own.unwrap_or_else(|| status.canonical_reason().unwrap_or_default().as_bytes())
}

/// An answer's head, and whether the connection is kept after it. `known` is the length of its body, if that is known.
pub(crate) fn response(
    out: &mut Vec<u8>,
    status: StatusCode,
    headers: &Headers,
    known: Option<u64>,
    to: To,
) -> (Encoder, bool) {
    let old = to.version == Version::HTTP_10;
    out.extend_from_slice(if old { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(reason(headers.head(), status));
    out.extend_from_slice(b"\r\n");
    lines(out, headers);
    let mut keep = to.keep;
    let encoder = if to.is_bodiless(status) {
        Encoder::Length(0)
    } else if old && known.is_none() && content_length(headers).is_none() {
        keep = false;
        Encoder::Close
    } else {
        framing(out, headers, known)
    };
    match headers.has(&CONNECTION) {
        _ if to.switches(status) => {}
        true => keep = false,
        false if !keep => out.extend_from_slice(b"connection: close\r\n"),
        false if old => out.extend_from_slice(b"connection: keep-alive\r\n"),
        false => {}
    }
    out.extend_from_slice(b"\r\n");
    (encoder, keep)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        list.iter().map(pair).collect()
    }

    #[test]
    fn requests_announce_their_bodies() {
        let written = |list: &[(&'static str, &'static str)], body| {
            let mut out = Vec::new();
            let encoder = request(&mut out, &Method::POST, "/x?q", &headers(list).into(), body);
            (String::from_utf8(out).unwrap(), encoder)
        };
        let (text, encoder) = written(&[("host", "a")], None);
        assert_eq!(text, "POST /x?q HTTP/1.1\r\nhost: a\r\n\r\n");
        assert!(matches!(encoder, Encoder::Length(0)));
        let (text, encoder) = written(&[("content-length", "5")], Some(Some(5)));
        assert_eq!(text.matches("content-length").count(), 1);
        assert!(matches!(encoder, Encoder::Length(5)));
        assert!(written(&[], Some(Some(70))).0.ends_with("content-length: 70\r\n\r\n"));
        let (text, mut encoder) = written(&[("trailer", "x-sum, Content-Length")], Some(None));
        assert!(text.ends_with("transfer-encoding: chunked\r\n\r\n"), "{text}");
        let mut out = Outbox::default();
        encoder.data(&mut out, vec![b'x'; 26].into()).unwrap();
        encoder.end(&mut out, Some(&headers(&[("x-sum", "1"), ("content-length", "9")]))).unwrap();
        let text = String::from_utf8(out.front().clone()).unwrap();
        assert_eq!(text, format!("1a\r\n{}\r\n0\r\nx-sum: 1\r\n\r\n", "x".repeat(26)));
    }

    #[test]
    fn answers_fit_who_asked() {
        let to = To { head: false, connect: false, version: Version::HTTP_11, keep: true };
        let written = |status: u16, list: &[(&'static str, &'static str)], known, to| {
            let mut out = Vec::new();
            let status = StatusCode::from_u16(status).unwrap();
            let (encoder, keep) = response(&mut out, status, &headers(list).into(), known, to);
            (String::from_utf8(out).unwrap(), encoder, keep)
        };
        let (text, encoder, keep) = written(200, &[], Some(3), to);
        assert_eq!(text, "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n");
        assert!(matches!(encoder, Encoder::Length(3)) && keep);
        let (text, encoder, _) = written(200, &[("content-length", "9")], None, To { head: true, ..to });
        assert_eq!(text, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n");
        assert!(matches!(encoder, Encoder::Length(0)), "HEAD");
        assert_eq!(written(204, &[], Some(0), to).0, "HTTP/1.1 204 No Content\r\n\r\n");
        let old = To { version: Version::HTTP_10, ..to };
        let (text, encoder, keep) = written(200, &[], None, old);
        assert_eq!(text, "HTTP/1.0 200 OK\r\nconnection: close\r\n\r\n");
        assert!(matches!(encoder, Encoder::Close) && !keep);
        assert!(written(200, &[], Some(1), old).0.ends_with("connection: keep-alive\r\n\r\n"));
        assert!(!written(200, &[("connection", "close")], Some(1), to).2, "said by a rule, or by the drain");
        assert_eq!(
            written(200, &[], Some(1), To { keep: false, ..to }).0.matches("connection: close").count(),
            1
        );
        let (text, ..) = written(101, &[("connection", "upgrade")], None, to);
        assert_eq!(text, "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\r\n");
    }

    #[test]
    fn a_reason_is_kept_with_its_status() {
        let head = b"HTTP/1.1 299 So So\r\n\r\n";
        assert_eq!(reason(head, StatusCode::from_u16(299).unwrap()), b"So So");
        assert_eq!(reason(head, StatusCode::NOT_FOUND), b"Not Found");
        assert_eq!(reason(b"", StatusCode::OK), b"OK");
    }

    #[test]
    fn a_body_is_as_long_as_announced() {
        let mut out = Outbox::default();
        let mut encoder = Encoder::Length(3);
        assert!(encoder.end(&mut out, None).is_err());
        assert!(encoder.data(&mut out, Bytes::from_static(b"abcd")).is_err());
        let mut encoder = Encoder::Length(3);
        encoder.data(&mut out, Bytes::from_static(b"abc")).unwrap();
        assert!(encoder.end(&mut out, None).is_ok());
    }
}
