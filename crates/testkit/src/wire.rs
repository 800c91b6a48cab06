//! HTTP/1.1 messages, as little of RFC 9112 as both ends of a test need: one reader for requests and responses.

use std::io::{self, BufRead, ErrorKind, Read};

/// Longer heads and bodies are refused, so that a broken peer cannot fill the memory.
const HEAD: usize = 1 << 20;
const BODY: usize = 512 << 20;

/// A start line with its headers, in the order and case they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) start: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Head {
    /// `None` when the peer closed before the first byte.
    pub(crate) fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut left = HEAD;
        let Some(start) = line(from, &mut left)? else { return Ok(None) };
        let mut head = Self { start, headers: Vec::new() };
        loop {
            let Some(field) = line(from, &mut left)? else { return Err(ErrorKind::UnexpectedEof.into()) };
            if field.is_empty() {
                return Ok(Some(head));
            }
            let Some((name, value)) = field.split_once(':') else {
                return invalid("a header without a colon");
            };
            head.headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// Reads the body that these headers announce; `to_end` says that without any it goes to the end of the stream.
    pub(crate) fn body(&self, from: &mut impl BufRead, to_end: bool) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        if self
            .header("transfer-encoding")
            .is_some_and(|coding| coding.to_ascii_lowercase().ends_with("chunked"))
        {
            while chunk(from, &mut body)? {}
        } else if let Some(length) = self.header("content-length") {
            let Some(length) = length.parse::<usize>().ok().filter(|length| *length <= BODY) else {
                return invalid("a wrong content-length");
            };
            body.reserve(length.min(1 << 20));
            exact(from, length, &mut body)?;
        } else if to_end {
            from.take(BODY as u64).read_to_end(&mut body)?;
        }
        Ok(body)
    }
}

pub(crate) fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// Undoes `content-encoding: gzip`; other codings are left as they are.
pub(crate) fn decode(headers: &[(String, String)], body: &[u8]) -> io::Result<Vec<u8>> {
    if !find(headers, "content-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("gzip")) {
        return Ok(body.to_vec());
    }
    let mut plain = Vec::new();
    flate2::read::MultiGzDecoder::new(body).take(BODY as u64).read_to_end(&mut plain)?;
    Ok(plain)
}

fn line(from: &mut impl BufRead, left: &mut usize) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    let read = from.take(*left as u64).read_until(b'\n', &mut bytes)?;
    *left -= read;
    match bytes.last() {
        None if *left > 0 => Ok(None),
        Some(b'\n') => {
            bytes.truncate(bytes.len() - if bytes.ends_with(b"\r\n") { 2 } else { 1 });
            Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
        }
        _ if *left == 0 => invalid("a head that is too long"),
        _ => Err(ErrorKind::UnexpectedEof.into()),
    }
}

/// One chunk of a chunked body; `false` after the last, whose trailers are read and forgotten.
fn chunk(from: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<bool> {
    let mut left = HEAD;
    let size = line(from, &mut left)?.ok_or(ErrorKind::UnexpectedEof)?;
    let size = size.split(';').next().unwrap_or_default().trim();
    let Ok(size) = usize::from_str_radix(size, 16) else { return invalid("a wrong chunk size") };
    if size == 0 {
        while !line(from, &mut left)?.ok_or(ErrorKind::UnexpectedEof)?.is_empty() {}
        return Ok(false);
    }
    if body.len().saturating_add(size) > BODY {
        return invalid("a body that is too long");
    }
    exact(from, size, body)?;
    let mut end = [0; 2];
    from.read_exact(&mut end)?;
    if &end == b"\r\n" { Ok(true) } else { invalid("a chunk without its end") }
}

fn exact(from: &mut impl BufRead, length: usize, body: &mut Vec<u8>) -> io::Result<()> {
    let read = from.take(length as u64).read_to_end(body)?;
    if read == length { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

fn invalid<T>(what: &str) -> io::Result<T> {
    Err(io::Error::new(ErrorKind::InvalidData, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_chunked_message_and_the_one_after() {
        let mut bytes = &b"POST /x HTTP/1.1\r\nA: 1\r\nTransfer-Encoding: chunked\r\n\r\n\
            3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: 1\r\n\r\nGET / HTTP/1.1\r\n\r\n"[..];
        let head = Head::read(&mut bytes).expect("valid").expect("there");
        assert_eq!(head.start, "POST /x HTTP/1.1");
        assert_eq!(head.header("a"), Some("1"));
        assert_eq!(head.body(&mut bytes, false).expect("body"), b"abcde");
        assert_eq!(Head::read(&mut bytes).expect("valid").expect("there").start, "GET / HTTP/1.1");
        assert_eq!(Head::read(&mut bytes).expect("the end"), None);
    }

    #[test]
    fn a_cut_body_is_an_error() {
        let mut bytes = &b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"[..];
        let head = Head::read(&mut bytes).expect("valid").expect("there");
        assert_eq!(head.body(&mut bytes, true).expect_err("cut").kind(), ErrorKind::UnexpectedEof);
        assert!(Head::read(&mut &b"GET / HT"[..]).is_err());
        assert!(Head::read(&mut &b"GET / HTTP/1.1\r\nnothing\r\n\r\n"[..]).is_err());
    }
}
