//! Heads: bytes → parts.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};

use super::decode::Decoder;
use super::inbox::Inbox;
use super::{HEAD, HEADERS};

/// A head cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bad {
    /// More than 64 KB, or more than 100 headers.
    Large,
    /// No HTTP/1, and what is wrong.
    Form(&'static str),
}

/// A request's head.
pub(crate) struct Asked {
    pub(crate) parts: http::request::Parts,
    /// The bytes it was read from: names are spelled there as the client did.
    pub(crate) spelling: Bytes,
    pub(crate) body: Decoder,
    /// The client keeps the connection.
    pub(crate) keep: bool,
    /// The client waits for a word before it sends the body.
    pub(crate) expects: bool,
}

/// An answer's head.
pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) spelling: Bytes,
    pub(crate) body: Decoder,
    /// The upstream keeps the connection.
    pub(crate) keep: bool,
}

/// The headers of a head that was read from `bytes` and copied to `head`, of which their values are parts.
fn fields(bytes: &[u8], head: &Bytes, list: &[httparse::Header<'_>]) -> Result<HeaderMap, Bad> {
    let mut map = HeaderMap::with_capacity(list.len() + 4);
    for field in list {
        let at = field.value.as_ptr().addr() - bytes.as_ptr().addr();
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let value = HeaderValue::from_maybe_shared(head.slice(at..at + field.value.len()));
        let (Ok(name), Ok(value)) = (name, value) else { return Err(Bad::Form("a header is malformed")) };
        map.try_append(name, value).map_err(|_| Bad::Large)?;
    }
    Ok(map)
}

fn refuse(error: httparse::Error) -> Bad {
    match error {
        httparse::Error::TooManyHeaders => Bad::Large,
        httparse::Error::Version => Bad::Form("the version is neither HTTP/1.1 nor HTTP/1.0"),
        httparse::Error::Status => Bad::Form("the status is no number of three digits"),
        httparse::Error::HeaderName => Bad::Form("a header's name is no token"),
        httparse::Error::HeaderValue => Bad::Form("a header's value has a control character in it"),
        _ => Bad::Form("the first line is no HTTP"),
    }
}

fn version(minor: Option<u8>) -> Version {
    if minor == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 }
}

/// Whether a list in these headers has this word.
fn says(headers: &HeaderMap, name: &HeaderName, word: &[u8]) -> bool {
    headers.get_all(name).iter().any(|value| {
        value.as_bytes().split(|byte| *byte == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(word))
    })
}

/// Whether the connection goes on after a message with these headers (RFC 9112, 9.3).
fn keeps(version: Version, headers: &HeaderMap) -> bool {
    match headers.get(CONNECTION) {
        None => version == Version::HTTP_11,
        Some(_) if says(headers, &CONNECTION, b"close") => false,
        Some(_) => version == Version::HTTP_11 || says(headers, &CONNECTION, b"keep-alive"),
    }
}

/// The one length that all Content-Length headers name.
fn length(headers: &HeaderMap) -> Result<Option<u64>, Bad> {
    let mut length = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        for part in value.as_bytes().split(|byte| *byte == b',') {
            let part = part.trim_ascii();
            let digits = (1..=18).contains(&part.len()) && part.iter().all(u8::is_ascii_digit);
            if !digits {
                return Err(Bad::Form("Content-Length is no number"));
            }
            let number = part.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
            if length.is_some_and(|other| other != number) {
                return Err(Bad::Form("there are two lengths"));
            }
            length = Some(number);
        }
    }
    Ok(length)
}

/// A request's head, if it is here. What is no request any more was refused before ([`crate::listen::framing`]).
pub(crate) fn request(inbox: &mut Inbox) -> Result<Option<Asked>, Bad> {
    let mut lines = [MaybeUninit::uninit(); HEADERS];
    let mut request = httparse::Request::new(&mut []);
    let bytes = inbox.bytes();
    let parsed = request.parse_with_uninit_headers(bytes, &mut lines).map_err(refuse)?;
    let httparse::Status::Complete(length) = parsed else {
        return if bytes.len() > HEAD { Err(Bad::Large) } else { Ok(None) };
    };
    let spelling = Bytes::copy_from_slice(&bytes[..length]);
    let headers = fields(bytes, &spelling, request.headers)?;
    let version = version(request.version);
    let method = Method::from_bytes(request.method.unwrap_or_default().as_bytes());
    let target = request.path.unwrap_or_default();
    let at = target.as_ptr().addr() - bytes.as_ptr().addr();
    let uri = Uri::from_maybe_shared(spelling.slice(at..at + target.len()));
    inbox.skip(length);
    let (Ok(method), Ok(uri)) = (method, uri) else { return Err(Bad::Form("the target is no path")) };
    let body = if headers.contains_key(TRANSFER_ENCODING) {
        Decoder::Size
    } else {
        self::length(&headers)?.map_or(Decoder::Done, Decoder::Length)
    };
    let body = if body == Decoder::Length(0) { Decoder::Done } else { body };
    let keep = keeps(version, &headers);
    let expects = !body.is_done()
        && version == Version::HTTP_11
        && headers
            .get(http::header::EXPECT)
            .is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let mut parts = http::Request::new(()).into_parts().0;
    (parts.method, parts.uri, parts.version, parts.headers) = (method, uri, version, headers);
    Ok(Some(Asked { parts, spelling, body, keep, expects }))
}

/// An answer's head, if it is here; `head` says that the request was HEAD.
pub(crate) fn response(inbox: &mut Inbox, head: bool) -> Result<Option<Answered>, Bad> {
    let mut lines = [MaybeUninit::uninit(); HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let bytes = inbox.bytes();
    let config = httparse::ParserConfig::default();
    let parsed =
        config.parse_response_with_uninit_headers(&mut response, bytes, &mut lines).map_err(refuse)?;
    let httparse::Status::Complete(length) = parsed else {
        return if bytes.len() > HEAD { Err(Bad::Large) } else { Ok(None) };
    };
    if length > HEAD {
        return Err(Bad::Large);
    }
    let spelling = Bytes::copy_from_slice(&bytes[..length]);
    let mut headers = fields(bytes, &spelling, response.headers)?;
    let version = version(response.version);
    let status = StatusCode::from_u16(response.code.unwrap_or_default());
    let status = status.map_err(|_| Bad::Form("the status is no number of three digits"))?;
    inbox.skip(length);
    let mut keep = keeps(version, &headers);
    // RFC 9112, 6.3.
    let body = if head || status.is_informational() || matches!(status.as_u16(), 204 | 304) {
        Decoder::Done
    } else if headers.contains_key(TRANSFER_ENCODING) {
        if version == Version::HTTP_10 {
            return Err(Bad::Form("HTTP/1.0 knows no Transfer-Encoding"));
        }
        // Which of the two counts must not depend on who reads it next.
        headers.remove(CONTENT_LENGTH);
        let last = headers.get_all(TRANSFER_ENCODING).iter().next_back();
        let last = last.and_then(|value| value.as_bytes().rsplit(|byte| *byte == b',').next());
        let chunked = last.is_some_and(|last| last.trim_ascii().eq_ignore_ascii_case(b"chunked"));
        if chunked { Decoder::Size } else { Decoder::Close }
    } else {
        match self::length(&headers)? {
            Some(0) => Decoder::Done,
            Some(n) => Decoder::Length(n),
            None => Decoder::Close,
        }
    };
    keep &= body != Decoder::Close;
    Ok(Some(Answered { status, headers, spelling, body, keep }))
}

/// The name of a header as it was written: in a head, it stands in front of its value. Headers that were added since have none.
pub(crate) fn spelled<'a>(head: &'a [u8], name: &'a HeaderName, value: &HeaderValue) -> &'a [u8] {
    let plain = name.as_str().as_bytes();
    let written = |before: &'a [u8]| {
        let before = before.trim_ascii_end().strip_suffix(b":")?.trim_ascii_end();
        let written = &before[before.len().checked_sub(plain.len())?..];
        written.eq_ignore_ascii_case(plain).then_some(written)
    };
    let at = value.as_bytes().as_ptr().addr().wrapping_sub(head.as_ptr().addr());
    head.get(..at).and_then(written).unwrap_or(plain)
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;

    fn inbox(bytes: &[u8]) -> Inbox {
        let mut inbox = Inbox::default();
        let mut bytes = bytes;
        let _ = inbox.poll_fill(&mut Context::from_waker(Waker::noop()), &mut bytes, false);
        inbox
    }

    fn answer(lines: &str) -> Result<(Decoder, bool), Bad> {
        let mut inbox = inbox(format!("HTTP/1.1 200 OK\r\n{lines}\r\n").as_bytes());
        response(&mut inbox, false).map(|answered| answered.map(|a| (a.body, a.keep)).unwrap())
    }

    #[test]
    fn answers_say_how_their_bodies_end() {
        assert_eq!(answer("Content-Length: 5\r\n"), Ok((Decoder::Length(5), true)));
        assert_eq!(answer("Content-Length: 5, 5\r\n"), Ok((Decoder::Length(5), true)));
        assert_eq!(answer("Content-Length: 0\r\nConnection: close\r\n"), Ok((Decoder::Done, false)));
        assert_eq!(
            answer("Transfer-Encoding: gzip, Chunked\r\nContent-Length: 5\r\n"),
            Ok((Decoder::Size, true))
        );
        assert_eq!(answer("Transfer-Encoding: gzip\r\n"), Ok((Decoder::Close, false)));
        assert_eq!(answer(""), Ok((Decoder::Close, false)));
        for wrong in
            ["Content-Length: 5\r\nContent-Length: 6\r\n", "Content-Length: x\r\n", "Content-Length:\r\n"]
        {
            assert!(answer(wrong).is_err(), "{wrong}");
        }
        assert_eq!(answer(&"X: 1\r\n".repeat(101)), Err(Bad::Large));
        assert!(matches!(response(&mut inbox(b"garbage\r\n\r\n"), false), Err(Bad::Form(_))));
        assert!(matches!(response(&mut inbox(b"HTTP/1.1 200 OK\r\nX:"), false), Ok(None)));
        let none = response(&mut inbox(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), true);
        assert!(none.unwrap().unwrap().body.is_done(), "HEAD");
    }

    #[test]
    fn names_are_found_as_they_were_written() {
        let head = b"GET /x HTTP/1.1\r\nHost: a\r\nX-CamelCase:1\r\nSOAPAction:   x \r\n\r\n";
        let mut asked = request(&mut inbox(head)).unwrap().unwrap();
        asked.parts.headers.insert("x-new", HeaderValue::from_static("1"));
        let names: Vec<_> = asked.parts.headers.iter().map(|(n, v)| spelled(&asked.spelling, n, v)).collect();
        assert_eq!(names, [&b"Host"[..], b"X-CamelCase", b"SOAPAction", b"x-new"]);
        assert!(asked.keep && asked.body.is_done() && asked.parts.uri == "/x");
    }

    #[test]
    fn connections_are_kept_as_the_version_has_it() {
        for (text, keep) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n", false),
            ("GET / HTTP/1.0\r\n\r\n", false),
            ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true),
        ] {
            assert_eq!(request(&mut inbox(text.as_bytes())).unwrap().unwrap().keep, keep, "{text}");
        }
    }
}
