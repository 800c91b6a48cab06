//! Headers as lines of a head: bytes, and where in them names and values are.

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use memchr::memchr;

use super::name::{Named, tag};
use super::parts::{Line, Parts};

/// Headers of one head.
#[derive(Debug, Clone, Default)]
pub struct Lines {
    head: Bytes,
    parts: Parts,
    /// A bit for every name there is: most questions are about headers that are not there.
    names: u64,
}

/// A line of a head.
pub(super) fn write_line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[expect(clippy::cast_possible_truncation, reason = "heads are bounded at 64 KB, and a piece more")]
const fn small(n: usize) -> u32 {
    n as u32
}

impl Lines {
    /// The header lines of `head` from `at` on, up to the empty line that ends them, and where that ends; `None` while it has not come.
    ///
    /// The lines have been judged before ([`crate::listen::framing`]); what is none all the same is an error.
    ///
    /// # Errors
    /// Something is no header.
    pub(crate) fn scan(head: &[u8], mut at: usize) -> Result<Option<(Self, usize)>, &'static str> {
        let mut lines = Self { parts: Parts::new(), ..Self::default() };
        loop {
            let Some(n) = memchr(b'\n', &head[at..]) else { return Ok(None) };
            let next = at + n + 1;
            let Some(line) = head[at..next - 1].strip_suffix(b"\r") else {
                return Err("a line ends with a bare line feed");
            };
            if line.is_empty() {
                return Ok(Some((lines, next)));
            }
            let Some(colon) = memchr(b':', line).filter(|colon| *colon > 0) else {
                return Err("a header is malformed");
            };
            let (mut from, mut to) = (colon + 1, line.len());
            while from < to && matches!(line[from], b' ' | b'\t') {
                from += 1;
            }
            while from < to && matches!(line[to - 1], b' ' | b'\t') {
                to -= 1;
            }
            lines.push(&line[..colon], at, at + from, at + to, next);
            at = next;
        }
    }

    /// The lines that a parser has found in `bytes`, where the head begins.
    pub(crate) fn found(bytes: &[u8], list: &[httparse::Header<'_>]) -> Self {
        let mut lines = Self { parts: Parts::new(), ..Self::default() };
        let from = bytes.as_ptr().addr();
        for field in list {
            let name = field.name.as_ptr().addr() - from;
            // An empty value may be a slice of anything.
            let value = if field.value.is_empty() {
                name + field.name.len() + 1
            } else {
                field.value.as_ptr().addr() - from
            };
            let end = value + field.value.len();
            let blanks = bytes[end..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
            let whole = bytes[end + blanks..].starts_with(b"\r\n");
            lines.push(field.name.as_bytes(), name, value, end, if whole { end + blanks + 2 } else { 0 });
        }
        lines
    }

    /// Puts the bytes under the lines that were scanned.
    pub(crate) fn with(mut self, head: Bytes) -> Self {
        self.head = head;
        self
    }

    fn push(&mut self, name: &[u8], at: usize, value: usize, end: usize, next: usize) {
        let tag = tag(name);
        self.names |= 1 << tag;
        self.parts.list.push(Line {
            name: small(at),
            colon: small(at + name.len()),
            value: small(value),
            end: small(end),
            next: small(next),
            tag,
        });
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.parts.list.len()
    }

    /// The bytes they are lines of.
    pub(crate) fn head(&self) -> &[u8] {
        &self.head
    }

    fn name(&self, line: &Line) -> &[u8] {
        match line.colon {
            0 => self.parts.set.get(line.name as usize).map_or(b"", |(name, _)| name.as_str().as_bytes()),
            _ => range(&self.head, line.name, line.colon),
        }
    }

    fn value(&self, line: &Line) -> &[u8] {
        match line.colon {
            0 => self.parts.set.get(line.name as usize).map_or(b"", |(_, value)| value.as_bytes()),
            _ => range(&self.head, line.value, line.end),
        }
    }

    /// Whether there may be a header with one of these bits ([`super::name::bit`]).
    pub fn may_have(&self, bits: u64) -> bool {
        self.names & bits != 0
    }

    /// The place of the first header of that name.
    #[inline]
    fn find(&self, name: &impl Named) -> Option<usize> {
        if self.names & 1 << name.tag() == 0 { None } else { self.search(name) }
    }

    fn search(&self, name: &impl Named) -> Option<usize> {
        let tag = name.tag();
        self.parts.list.iter().position(|line| line.tag == tag && name.is(self.name(line)))
    }

    /// The first value of a header.
    pub fn get(&self, name: &impl Named) -> Option<&[u8]> {
        self.find(name).map(|at| self.value(&self.parts.list[at]))
    }

    /// Whether there is such a header.
    pub fn has(&self, name: &impl Named) -> bool {
        self.find(name).is_some()
    }

    /// Calls `f` with every value of a header.
    pub fn each(&self, name: &impl Named, mut f: impl FnMut(&[u8])) {
        if let Some(first) = self.find(name) {
            let is = |line: &&Line| line.tag == name.tag() && name.is(self.name(line));
            self.parts.list[first..].iter().filter(is).for_each(|line| f(self.value(line)));
        }
    }

    /// Calls `f` with every name and value.
    pub fn all(&self, mut f: impl FnMut(&[u8], &[u8])) {
        self.parts.list.iter().for_each(|line| f(self.name(line), self.value(line)));
    }

    /// Takes a header away.
    pub fn remove(&mut self, name: &impl Named) {
        let Some(mut at) = self.find(name) else { return };
        while let Some(line) = self.parts.list.get(at) {
            if line.tag == name.tag() && name.is(self.name(line)) {
                self.parts.list.remove(at);
            } else {
                at += 1;
            }
        }
    }

    /// Sets a header, in the place of the first one of its name.
    pub fn set(&mut self, name: &impl Named, value: HeaderValue) {
        let at = self.find(name);
        if at.is_some() {
            self.remove(name);
        }
        let tag = name.tag();
        let line = Line { name: small(self.parts.set.len()), colon: 0, value: 0, end: 0, next: 0, tag };
        let at = at.unwrap_or(self.parts.list.len());
        self.parts.list.insert(at, line);
        self.names |= 1 << tag;
        self.parts.set.push((name.name().clone(), value));
    }

    /// As a map.
    pub fn to_map(&self) -> HeaderMap {
        // One copy for all: parts of the head itself would keep the block alive that it was read into.
        let head = Bytes::copy_from_slice(&self.head);
        let mut map = HeaderMap::with_capacity(self.parts.list.len() + 4);
        for line in self.parts.list.iter() {
            if line.colon == 0 {
                if let Some((name, value)) = self.parts.set.get(line.name as usize) {
                    map.append(name.clone(), value.clone());
                }
                continue;
            }
            let name = HeaderName::from_bytes(self.name(line));
            let value = HeaderValue::from_maybe_shared(head.slice(line.value as usize..line.end as usize));
            // Both have been judged; what a map will not have cannot be passed on by it.
            if let (Ok(name), Ok(value)) = (name, value) {
                map.append(name, value);
            }
        }
        map
    }

    /// Writes them: those that nobody changed as they came, as long runs of bytes.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.reserve(self.head.len() + 128);
        let (mut from, mut to) = (0, 0);
        for line in self.parts.list.iter() {
            if line.next != 0 && line.name == to {
                to = line.next;
                continue;
            }
            out.extend_from_slice(range(&self.head, from, to));
            if line.next == 0 {
                write_line(out, self.name(line), self.value(line));
                (from, to) = (0, 0);
            } else {
                (from, to) = (line.name, line.next);
            }
        }
        out.extend_from_slice(range(&self.head, from, to));
    }
}

fn range(head: &[u8], from: u32, to: u32) -> &[u8] {
    head.get(from as usize..to as usize).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use http::header::{ACCEPT, CONNECTION, COOKIE, HOST, TE};

    use super::*;

    const HEAD: &str =
        "GET / HTTP/1.1\r\nHost: a\r\nX-CamelCase:1\r\nCookie: a \r\ncookie:\t b\r\nEmpty:\r\n\r\n";

    fn lines() -> Lines {
        let (lines, n) = Lines::scan(HEAD.as_bytes(), 16).unwrap().unwrap();
        assert_eq!(n, HEAD.len());
        lines.with(Bytes::from_static(HEAD.as_bytes()))
    }

    fn parsed(head: &str) -> Lines {
        let mut list = [httparse::EMPTY_HEADER; 16];
        let mut response = httparse::Response::new(&mut list);
        assert!(response.parse(head.as_bytes()).unwrap().is_complete());
        Lines::found(head.as_bytes(), response.headers).with(Bytes::copy_from_slice(head.as_bytes()))
    }

    fn written(lines: &Lines) -> String {
        let mut out = Vec::new();
        lines.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_is_not_changed_goes_out_as_it_came() {
        assert_eq!(written(&lines()), &HEAD[16..HEAD.len() - 2]);
        let answer = "HTTP/1.1 200 OK\r\nServer: x\r\nDate:  y \r\nVia:\r\n\r\n";
        assert_eq!(written(&parsed(answer)), &answer[17..answer.len() - 2]);
        // Bare line feeds are not passed on.
        assert_eq!(written(&parsed("HTTP/1.1 200 OK\nA:  b \nC: d\r\n\r\n")), "A: b\r\nC: d\r\n");
    }

    #[test]
    fn headers_are_found_by_any_spelling() {
        let lines = lines();
        assert_eq!(lines.get(&HOST), Some(&b"a"[..]));
        assert_eq!(lines.get(&HeaderName::from_static("x-camelcase")), Some(&b"1"[..]));
        assert_eq!(lines.get(&HeaderName::from_static("empty")), Some(&b""[..]));
        assert!(!lines.has(&TE) && !lines.has(&ACCEPT) && lines.has(&COOKIE));
        let mut values = Vec::new();
        lines.each(&COOKIE, |value| values.push(value.to_vec()));
        assert_eq!(values, [b"a", b"b"]);
        assert_eq!(lines.len(), 5);
    }

    #[test]
    fn headers_are_set_in_their_place_and_removed() {
        let mut lines = lines();
        lines.set(&COOKIE, HeaderValue::from_static("c"));
        lines.set(&CONNECTION, HeaderValue::from_static("close"));
        lines.remove(&HOST);
        lines.remove(&TE);
        let want = "X-CamelCase:1\r\ncookie: c\r\nEmpty:\r\nconnection: close\r\n";
        assert_eq!(written(&lines), want);
        assert_eq!(lines.get(&COOKIE), Some(&b"c"[..]));
        lines.set(&COOKIE, HeaderValue::from_static("d"));
        assert_eq!(written(&lines), want.replace(": c\r", ": d\r"));
        lines.remove(&COOKIE);
        assert!(!lines.has(&COOKIE));
        let map = lines.to_map();
        assert_eq!(
            (map.len(), &map["connection"], &map["x-camelcase"]),
            (3, &"close".parse().unwrap(), &"1".parse().unwrap())
        );
    }

    #[test]
    fn an_unfinished_head_waits_and_a_malformed_one_is_refused() {
        for end in 16..HEAD.len() {
            assert!(matches!(Lines::scan(&HEAD.as_bytes()[..end], 16), Ok(None)), "{end}");
        }
        for bad in [&b"no colon\r\n\r\n"[..], b": x\r\n\r\n", b"a: b\n\r\n"] {
            assert!(Lines::scan(bad, 0).is_err(), "{}", bad.escape_ascii());
        }
    }
}
