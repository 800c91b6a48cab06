//! One head, judged strictly: request line, header lines, and what they say about the body.

use super::framing::Refusal;

/// Most headers of a request.
const HEADERS: usize = 100;

/// The body that follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    None,
    Length(u64),
    Chunked,
}

/// What a head says about the bytes after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) body: Body,
    /// Another protocol may follow.
    pub(super) switches: bool,
}

const fn bad(why: &'static str) -> Refusal {
    Refusal::bad(why)
}

/// Bytes of a token (RFC 9110, 5.6.2).
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut i = 0;
    while i < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        let byte = i as u8;
        table[i] = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        i += 1;
    }
    table
};

/// Bytes of a host with its port: printable, and nothing that ends it in a URL or a list.
const HOST: [bool; 256] = {
    let mut table = [false; 256];
    let mut i = 0x21;
    while i < 0x7f {
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        let byte = i as u8;
        table[i] = !matches!(byte, b'/' | b'?' | b'#' | b'@' | b'\\' | b',' | b'"' | b'<' | b'>');
        i += 1;
    }
    table
};

/// Whether this may be a host.
pub(super) fn is_host(value: &[u8]) -> bool {
    value.iter().all(|byte| HOST[usize::from(*byte)])
}

fn token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| TOKEN[usize::from(*byte)])
}

/// Whether none of the bytes is odd. All of them are looked at, many at a time: nearly always none is.
fn none(bytes: &[u8], odd: impl Fn(u8) -> bool) -> bool {
    bytes.chunks(32).all(|bytes| !bytes.iter().fold(false, |found, byte| found | odd(*byte)))
}

/// Whether there is no control character in a value.
fn is_text(value: &[u8]) -> bool {
    none(value, |byte| ((byte < b' ') & (byte != b'\t')) | (byte == 0x7f))
}

/// The lines of a block that ends with an empty one; every line feed in it follows a carriage return.
fn lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = &block[..block.len().saturating_sub(2)];
    std::iter::from_fn(move || {
        let end = memchr::memchr(b'\n', rest)?;
        let line = &rest[..end.saturating_sub(1)];
        rest = &rest[end + 1..];
        Some(line)
    })
}

/// Name and value of a header line.
fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(bad("a header is folded over two lines"));
    }
    let Some(colon) = memchr::memchr(b':', line) else { return Err(bad("a header has no colon")) };
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if !token(name) {
        let space = name.last().is_some_and(|byte| matches!(byte, b' ' | b'\t'));
        return Err(bad(if space {
            "a space stands before a header's colon"
        } else {
            "a header's name is no token"
        }));
    }
    if !is_text(value) {
        return Err(bad("a header's value has a control character in it"));
    }
    Ok((name, value.trim_ascii()))
}

/// Judges a head, its empty line included.
pub(super) fn judge(head: &[u8]) -> Result<Head, Refusal> {
    let mut lines = lines(head);
    let line = lines.next().unwrap_or_default();
    let (method, old) = request_line(line)?;
    let (mut length, mut chunked, mut hosts, mut count) = (None, false, 0, 0);
    let (mut upgrade, mut asks) = (false, false);
    for line in lines {
        count += 1;
        let (name, value) = field(line)?;
        // By length first: most headers are none of these.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                hosts += 1;
                host(value)?;
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => upgrade = true,
            10 if name.eq_ignore_ascii_case(b"connection") => {
                asks |= value
                    .split(|b| *b == b',')
                    .any(|part| part.trim_ascii().eq_ignore_ascii_case(b"upgrade"));
            }
            14 if framing_name(name, b"content-length") => {
                if name[7] == b'_' {
                    return Err(bad("a header's name can be mistaken for Content-Length"));
                }
                if length.is_some() {
                    return Err(bad("there is more than one Content-Length"));
                }
                length = Some(number(value)?);
            }
            17 if framing_name(name, b"transfer-encoding") => {
                if name[8] == b'_' {
                    return Err(bad("a header's name can be mistaken for Transfer-Encoding"));
                }
                if chunked {
                    return Err(bad("there is more than one Transfer-Encoding"));
                }
                coding(value)?;
                chunked = true;
            }
            _ => {}
        }
    }
    if count > HEADERS {
        return Err(Refusal { status: 431, why: "there are more than 100 headers" });
    }
    if hosts > 1 {
        return Err(bad("more than one Host header"));
    }
    if hosts == 0 && !old {
        return Err(bad("no Host header"));
    }
    if chunked && length.is_some() {
        return Err(bad("both Content-Length and Transfer-Encoding are given"));
    }
    if chunked && old {
        return Err(bad("HTTP/1.0 knows no Transfer-Encoding"));
    }
    let connect = method == b"CONNECT";
    if connect && (chunked || length.is_some_and(|n| n > 0)) {
        return Err(bad("CONNECT has no body"));
    }
    let body = match (chunked, length) {
        (true, _) => Body::Chunked,
        (false, Some(n)) => Body::Length(n),
        (false, None) => Body::None,
    };
    Ok(Head { body, switches: connect || (upgrade && asks) })
}

/// The three words of a first line.
pub(crate) fn words(line: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let first = memchr::memchr(b' ', line)?;
    let (method, rest) = (&line[..first], &line[first + 1..]);
    let second = memchr::memchr(b' ', rest)?;
    let (target, version) = (&rest[..second], &rest[second + 1..]);
    (!version.contains(&b' ')).then_some((method, target, version))
}

/// The method, and whether it is HTTP/1.0.
fn request_line(line: &[u8]) -> Result<(&[u8], bool), Refusal> {
    let Some((method, target, version)) = words(line) else {
        return Err(bad("the request line is no METHOD TARGET VERSION with one space between"));
    };
    if !token(method) {
        return Err(bad("the method is no token"));
    }
    // What HTTP/2 begins with, and what stands for a refused request behind this scanner.
    if method == b"PRI" {
        return Err(bad("PRI is no method of HTTP/1.1"));
    }
    let old = match version {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        [b'H', b'T', b'T', b'P', b'/', ..] => {
            return Err(Refusal { status: 505, why: "the version is neither HTTP/1.1 nor HTTP/1.0" });
        }
        _ => return Err(bad("the version is neither HTTP/1.1 nor HTTP/1.0")),
    };
    if !none(target, |byte| (byte <= b' ') | (byte >= 0x7f) | (byte == b'#')) {
        return Err(bad("the target has bytes that have to be percent-encoded"));
    }
    let form = match target {
        [b'/', ..] => true,
        b"*" => method == b"OPTIONS",
        _ if method == b"CONNECT" => true,
        other => {
            let lower = |n: usize| other.get(..n).map(<[u8]>::to_ascii_lowercase);
            lower(7).as_deref() == Some(b"http://") || lower(8).as_deref() == Some(b"https://")
        }
    };
    if !form || (method == b"CONNECT" && target.first() == Some(&b'/')) {
        return Err(bad("the target is no path"));
    }
    Ok((method, old))
}

fn host(value: &[u8]) -> Result<(), Refusal> {
    if is_host(value) { Ok(()) } else { Err(bad("the Host header is no host")) }
}

/// Also with an underscore, which some servers take for a hyphen.
fn framing_name(name: &[u8], wanted: &[u8]) -> bool {
    name.iter().zip(wanted).all(|(a, b)| a.eq_ignore_ascii_case(b) || (*b == b'-' && *a == b'_'))
}

fn number(value: &[u8]) -> Result<u64, Refusal> {
    let digits = (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    if !digits {
        return Err(bad("Content-Length is no number"));
    }
    Ok(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

fn coding(value: &[u8]) -> Result<(), Refusal> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let known = |part: &[u8]| {
        [&b"gzip"[..], b"deflate", b"compress"].iter().any(|name| part.eq_ignore_ascii_case(name))
    };
    let mut parts = value.rsplit(|b| *b == b',').map(<[u8]>::trim_ascii);
    let last = parts.next().is_some_and(|part| part.eq_ignore_ascii_case(b"chunked"));
    if last && parts.all(known) {
        return Err(Refusal { status: 501, why: "of all transfer codings, only chunked is known here" });
    }
    Err(bad("Transfer-Encoding is not chunked"))
}

/// Judges a trailer section, its empty line included.
pub(super) fn trailers(block: &[u8]) -> Result<(), Refusal> {
    const NEVER: [&[u8]; 5] = [b"content-length", b"transfer-encoding", b"host", b"connection", b"upgrade"];
    for line in lines(block) {
        let (name, _) = field(line)?;
        if NEVER.iter().any(|never| name.len() == never.len() && framing_name(name, never)) {
            return Err(bad("a trailer says what only a header may"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(lines: &str) -> Result<Body, u16> {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        judge(head.as_bytes()).map(|head| head.body).map_err(|refusal| refusal.status)
    }

    #[test]
    fn bodies_have_one_reading() {
        assert_eq!(judged(""), Ok(Body::None));
        assert_eq!(judged("content-length:  5 \r\n"), Ok(Body::Length(5)));
        assert_eq!(judged("Transfer-Encoding: Chunked\r\n"), Ok(Body::Chunked));
        assert_eq!(judged("Transfer-Encoding: gzip, chunked\r\n"), Err(501));
        for lines in [
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: 5 5\r\n",
            "Content-Length:\r\n",
            "Content_Length: 5\r\n",
            "Transfer_Encoding: chunked\r\n",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked, chunked\r\n",
            "Transfer-Encoding: identity\r\n",
            "Transfer-Encoding: chunked;q=1\r\n",
            "Transfer-Encoding:\r\n",
            "Host: b\r\n",
            "X : 1\r\n",
            " X: 1\r\n",
            "X\r\n",
            ": 1\r\n",
            "X: a\0\r\n",
            "X: a\rb\r\n",
        ] {
            assert_eq!(judged(lines), Err(400), "{lines:?}");
        }
        assert_eq!(judged(&"X: 1\r\n".repeat(100)), Err(431));
        assert_eq!(judged(&"X: 1\r\n".repeat(99)), Ok(Body::None));
    }

    #[test]
    fn hosts_have_nothing_that_ends_them() {
        for good in ["a", "a:80", "[::1]:80", "A-b.c_d~", ""] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in ["a/b", "a?b", "a#b", "u@a", "a\\b", "a,b", "a\"", "<a>", "a b", "a\t", "\u{e9}", "a\x7f"]
        {
            assert!(!is_host(bad.as_bytes()), "{bad:?}");
        }
    }

    #[test]
    fn request_lines_are_exact() {
        let old =
            |line: &str| request_line(line.as_bytes()).map(|(_, old)| old).map_err(|refusal| refusal.status);
        assert_eq!(old("GET / HTTP/1.1"), Ok(false));
        assert_eq!(old("GET /?a=%20 HTTP/1.0"), Ok(true));
        assert_eq!(old("OPTIONS * HTTP/1.1"), Ok(false));
        assert_eq!(old("GET http://a/b HTTP/1.1"), Ok(false));
        assert_eq!(old("CONNECT a:443 HTTP/1.1"), Ok(false));
        assert_eq!(old("GET / HTTP/2.0"), Err(505));
        for line in [
            "",
            "GET",
            "GET /",
            "GET  / HTTP/1.1",
            "GET / HTTP/1.1 ",
            " GET / HTTP/1.1",
            "GET /a b HTTP/1.1",
            "G(T / HTTP/1.1",
            "GET * HTTP/1.1",
            "GET a HTTP/1.1",
            "GET /# HTTP/1.1",
            "GET /\u{e9} HTTP/1.1",
            "PRI * HTTP/1.1",
            "GET / http/1.1",
            "CONNECT / HTTP/1.1",
            "GET\t/\tHTTP/1.1",
            "GET ftp://a/ HTTP/1.1",
        ] {
            assert_eq!(old(line), Err(400), "{line:?}");
        }
    }
}
