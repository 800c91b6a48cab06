//! Heads: bytes → parts.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{Method, StatusCode, Uri, Version};

use super::decode::Decoder;
use super::inbox::Inbox;
use super::{HEAD, HEADERS};
use crate::fields::name::{CONNECTION, CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING};
use crate::fields::{Ask, Headers, Lines};
use crate::listen::framing;

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
    pub(crate) ask: Ask,
    pub(crate) body: Decoder,
    /// The client keeps the connection.
    pub(crate) keep: bool,
    /// The client waits for a word before it sends the body.
    pub(crate) expects: bool,
}

/// An answer's head.
pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    pub(crate) headers: Headers,
    pub(crate) body: Decoder,
    /// The upstream keeps the connection.
    pub(crate) keep: bool,
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

/// Whether the connection goes on after a message with these headers (RFC 9112, 9.3).
fn keeps(version: Version, headers: &Headers) -> bool {
    if !headers.has(&CONNECTION) {
        return version == Version::HTTP_11;
    }
    !headers.says(&CONNECTION, b"close")
        && (version == Version::HTTP_11 || headers.says(&CONNECTION, b"keep-alive"))
}

/// The one length that all Content-Length headers name.
fn length(headers: &Headers) -> Result<Option<u64>, Bad> {
    let mut length = Ok(None);
    headers.each(&CONTENT_LENGTH, |value| {
        for part in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            let digits = (1..=18).contains(&part.len()) && part.iter().all(u8::is_ascii_digit);
            let number = part.iter().fold(0, |sum: u64, digit| {
                sum.wrapping_mul(10).wrapping_add(u64::from(digit.wrapping_sub(b'0')))
            });
            length = match length {
                Err(bad) => Err(bad),
                _ if !digits => Err(Bad::Form("Content-Length is no number")),
                Ok(Some(other)) if other != number => Err(Bad::Form("there are two lengths")),
                Ok(_) => Ok(Some(number)),
            };
        }
    });
    length
}

/// A request's head, if it is here. What is no request any more was refused before ([`crate::listen::framing`]), so that its
/// lines have only to be found.
pub(crate) fn request(inbox: &mut Inbox) -> Result<Option<Asked>, Bad> {
    // Empty lines before a request (RFC 9112, 2.2).
    while inbox.bytes().starts_with(b"\r\n") {
        inbox.skip(2);
    }
    let bytes = inbox.bytes();
    let unfinished = || if bytes.len() > HEAD { Err(Bad::Large) } else { Ok(None) };
    let Some(end) = memchr::memchr(b'\n', bytes) else { return unfinished() };
    let line = bytes[..end].strip_suffix(b"\r").ok_or(Bad::Form("the first line is no HTTP"))?;
    let (method, target, version) = framing::words(line).ok_or(Bad::Form("the first line is no HTTP"))?;
    let version = match version {
        b"HTTP/1.1" => Version::HTTP_11,
        b"HTTP/1.0" => Version::HTTP_10,
        _ => return Err(Bad::Form("the version is neither HTTP/1.1 nor HTTP/1.0")),
    };
    let scanned = Lines::scan(bytes, end + 1).map_err(Bad::Form)?;
    let Some((lines, length)) = scanned else { return unfinished() };
    if lines.len() > HEADERS {
        return Err(Bad::Large);
    }
    // A copy, because heads live as long as their request.
    let head = Bytes::copy_from_slice(&bytes[..length]);
    let at = method.len() + 1;
    let uri = Uri::from_maybe_shared(head.slice(at..at + target.len()));
    let (Ok(method), Ok(uri)) = (Method::from_bytes(method), uri) else {
        return Err(Bad::Form("the target is no path"));
    };
    inbox.skip(head.len());
    let headers = Headers::Lines(lines.with(head));
    let body = if headers.has(&TRANSFER_ENCODING) {
        Decoder::Size
    } else {
        self::length(&headers)?.filter(|n| *n > 0).map_or(Decoder::Done, Decoder::Length)
    };
    let keep = keeps(version, &headers);
    let expects = !body.is_done()
        && version == Version::HTTP_11
        && headers.get(&EXPECT).is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"));
    Ok(Some(Asked { ask: Ask { method, uri, version, headers }, body, keep, expects }))
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
    let version = if response.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    let status = StatusCode::from_u16(response.code.unwrap_or_default());
    let status = status.map_err(|_| Bad::Form("the status is no number of three digits"))?;
    let found = Lines::found(bytes, response.headers);
    // No copy: it is written to the client at once, or thrown away.
    let mut headers = Headers::Lines(found.with(inbox.head(length)));
    let mut keep = keeps(version, &headers);
    // No body follows these, whatever is said (RFC 9110, 8.6): who believes it would wait for the next answer's bytes.
    if status.is_informational() || status == StatusCode::NO_CONTENT {
        headers.remove(&CONTENT_LENGTH);
    }
    // RFC 9112, 6.3.
    let body = if head || status.is_informational() || matches!(status.as_u16(), 204 | 304) {
        Decoder::Done
    } else if headers.has(&TRANSFER_ENCODING) {
        if version == Version::HTTP_10 {
            return Err(Bad::Form("HTTP/1.0 knows no Transfer-Encoding"));
        }
        // Which of the two counts must not depend on who reads it next.
        headers.remove(&CONTENT_LENGTH);
        let (mut chunked, mut other) = (0, false);
        headers.each(&TRANSFER_ENCODING, |value| {
            for coding in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                chunked += u32::from(coding.eq_ignore_ascii_case(b"chunked"));
                // The name for none, of which RFC 2616 still knew.
                other |=
                    ![&b"chunked"[..], b"identity", b""].iter().any(|word| coding.eq_ignore_ascii_case(word));
            }
        });
        // It was not asked for, cannot be undone here, and passed on without its name it would be garbage.
        if other || chunked > 1 {
            return Err(Bad::Form("of all transfer codings, only chunked is known here"));
        }
        if chunked == 1 { Decoder::Size } else { Decoder::Close }
    } else {
        match self::length(&headers)? {
            Some(0) => Decoder::Done,
            Some(n) => Decoder::Length(n),
            None => Decoder::Close,
        }
    };
    keep &= body != Decoder::Close;
    Ok(Some(Answered { status, headers, body, keep }))
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use http::{HeaderName, HeaderValue};

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
        assert_eq!(answer("Transfer-Encoding: Chunked\r\nContent-Length: 5\r\n"), Ok((Decoder::Size, true)));
        assert_eq!(answer("Transfer-Encoding: identity\r\n"), Ok((Decoder::Close, false)));
        assert_eq!(answer(""), Ok((Decoder::Close, false)));
        for wrong in [
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: x\r\n",
            "Content-Length:\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: gzip\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        ] {
            assert!(answer(wrong).is_err(), "{wrong}");
        }
        assert_eq!(answer(&"X: 1\r\n".repeat(101)), Err(Bad::Large));
        assert!(matches!(response(&mut inbox(b"garbage\r\n\r\n"), false), Err(Bad::Form(_))));
        assert!(matches!(response(&mut inbox(b"HTTP/1.1 200 OK\r\nX:"), false), Ok(None)));
        let none = response(&mut inbox(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), true);
        assert!(none.unwrap().unwrap().body.is_done(), "HEAD");
        for (status, kept) in [(204, false), (101, false), (304, true)] {
            let head = format!("HTTP/1.1 {status} X\r\nContent-Length: 5\r\n\r\n");
            let answered = response(&mut inbox(head.as_bytes()), false).unwrap().unwrap();
            assert_eq!(
                (answered.body, answered.headers.has(&CONTENT_LENGTH)),
                (Decoder::Done, kept),
                "{status}"
            );
        }
    }

    #[test]
    fn names_are_found_as_they_were_written() {
        let head = b"GET /x HTTP/1.1\r\nHost: a\r\nX-CamelCase:1\r\nSOAPAction:   x \r\n\r\n";
        let mut asked = request(&mut inbox(head)).unwrap().unwrap();
        asked.ask.headers.set(&HeaderName::from_static("x-new"), HeaderValue::from_static("1"));
        let mut names = Vec::new();
        asked.ask.headers.all(|name, _| names.push(name.to_vec()));
        assert_eq!(names, [&b"Host"[..], b"X-CamelCase", b"SOAPAction", b"x-new"]);
        assert!(asked.keep && asked.body.is_done() && asked.ask.uri == "/x");
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
