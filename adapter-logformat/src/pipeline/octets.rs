//! A byte stream → messages: octet counting and NUL-terminated messages (RFC 6587, 3.4).
//!
//! A sender that loses count is not hung up on: what begins with no count is a line, up to its newline, and counting goes on behind it.

use logtail::Piece;

use super::batch::Batch;
use super::frame::{MAX_LINE, character};
use crate::lane::Lane;

/// How messages end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Count,
    Nul,
}

/// See the module.
#[derive(Debug)]
pub struct Octets {
    end: End,
    open: Vec<u8>,
    /// Bytes to come of a message that is too long to be held.
    left: usize,
    /// Parts of it that are written already.
    parts: u32,
}

enum Next {
    /// So many bytes in front, so many of the message, so many behind it.
    Message(usize, usize, usize),
    /// Its length is known and too long to wait for.
    Long(usize, usize),
    /// More has to come.
    More,
}

impl Octets {
    pub fn new(end: End) -> Self {
        Self { end, open: Vec::new(), left: 0, parts: 0 }
    }

    /// Bytes held.
    pub fn held(&self) -> usize {
        self.open.len()
    }

    /// Takes the next bytes into the batch; `end`: there are no more.
    pub fn take(&mut self, bytes: &[u8], lane: &mut Lane, batch: &mut Batch, end: bool) {
        let mut open = std::mem::take(&mut self.open);
        open.extend_from_slice(bytes);
        let mut at = 0;
        while at < open.len() {
            let rest = &open[at..];
            if self.left > 0 {
                let Some(used) = self.part(rest, lane, batch, end) else { break };
                at += used;
                continue;
            }
            match self.next(rest, end) {
                Next::Message(before, length, after) => {
                    let message = &rest[before..before + length];
                    // Some senders end what they have counted; that is no message of its own.
                    if !(before == 0 && length == 0 && self.end == End::Count) {
                        batch.convert(lane, message, Piece::Unterminated { number: 1 }, true);
                    }
                    at += before + length + after;
                }
                Next::Long(before, length) => {
                    at += before;
                    self.left = length;
                }
                Next::More => break,
            }
        }
        open.drain(..at);
        if open.is_empty() {
            open.shrink_to(64 << 10);
        }
        self.open = open;
        if end {
            self.left = 0;
            self.parts = 0;
        }
    }

    /// A piece of a long message; `None` when more has to come first.
    fn part(&mut self, rest: &[u8], lane: &mut Lane, batch: &mut Batch, end: bool) -> Option<usize> {
        let last = rest.len() >= self.left && self.left <= MAX_LINE || end && rest.len() <= MAX_LINE;
        let length = match last {
            true => rest.len().min(self.left),
            false if rest.len() > MAX_LINE => character(rest, MAX_LINE),
            false => return None,
        };
        self.parts += 1;
        batch.convert(lane, &rest[..length], Piece::Part { number: self.parts, last }, true);
        self.left -= length;
        if last {
            self.left = 0;
            self.parts = 0;
        }
        Some(length)
    }

    /// Passes on what is held, because memory is short; the rest of a counted message follows in parts.
    pub fn relieve(&mut self, lane: &mut Lane, batch: &mut Batch) {
        if self.left == 0 {
            match count(&self.open) {
                Counted::Message(before, length) if self.end == End::Count => {
                    self.left = length;
                    self.open.drain(..before);
                }
                _ => return self.take(b"", lane, batch, true),
            }
        }
        let length = self.open.len().min(self.left);
        if length > 0 {
            self.parts += 1;
            let last = length == self.left;
            batch.convert(lane, &self.open[..length], Piece::Part { number: self.parts, last }, true);
            self.left -= length;
            self.parts = if last { 0 } else { self.parts };
            self.open.drain(..length);
            self.open.shrink_to(8 << 10);
        }
    }

    fn next(&self, rest: &[u8], end: bool) -> Next {
        let (until, found) = match self.end {
            End::Nul => (rest.len(), memchr::memchr(0, rest)),
            End::Count => match count(rest) {
                Counted::Message(before, length) if length > MAX_LINE => return Next::Long(before, length),
                Counted::Message(before, length) if before + length <= rest.len() => {
                    return Next::Message(before, length, 0);
                }
                Counted::Message(before, _) if end => return Next::Message(before, rest.len() - before, 0),
                Counted::Message(..) => return Next::More,
                Counted::Unfinished if !end => return Next::More,
                Counted::Unfinished | Counted::None => (rest.len(), memchr::memchr(b'\n', rest)),
            },
        };
        match found {
            Some(at) => Next::Message(0, at, 1),
            None if end => Next::Message(0, until, 0),
            None if until > MAX_LINE => Next::Message(0, character(rest, MAX_LINE), 0),
            None => Next::More,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Counted {
    /// Bytes of the count and its blank, and the count.
    Message(usize, usize),
    /// So far it may become one.
    Unfinished,
    None,
}

/// `MSG-LEN SP`: digits, the first of which is no zero (RFC 6587, 3.4.1).
fn count(rest: &[u8]) -> Counted {
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    match rest.get(digits) {
        _ if digits > 9 || rest.first() == Some(&b'0') => Counted::None,
        None => Counted::Unfinished,
        Some(b' ') if digits > 0 => match std::str::from_utf8(&rest[..digits]).map(str::parse) {
            Ok(Ok(length)) => Counted::Message(digits + 1, length),
            _ => Counted::None,
        },
        Some(_) => Counted::None,
    }
}

/// Whether a stream begins as syslog with octet counting does: `LENGTH SP <`; `None` when that cannot be said yet.
pub fn begins_counted(rest: &[u8]) -> Option<bool> {
    match count(rest) {
        Counted::Unfinished => None,
        Counted::None => Some(false),
        Counted::Message(before, _) => rest.get(before).map(|first| *first == b'<'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config, lane::Stream};
    use std::sync::Arc;

    fn messages(end: End, pieces: &[&[u8]]) -> Vec<serde_json::Value> {
        let config = config::Config { schema: crate::encode::Schema::Flat, ..config::Config::default() };
        let stream = config::Stream { from: Some("plain".to_owned()), ..config::Stream::default() };
        let mut lane = Lane::new(Arc::new(Stream::compile(&stream, &config).expect("compiles")), None);
        let (mut octets, mut batch) = (Octets::new(end), Batch::default());
        for piece in pieces {
            octets.take(piece, &mut lane, &mut batch, false);
        }
        octets.take(b"", &mut lane, &mut batch, true);
        assert!(batch.counts.balanced());
        let lines = batch.out.split(|b| *b == b'\n').filter(|l| !l.is_empty());
        lines.map(|line| serde_json::from_slice(line).expect("a record")).collect()
    }

    fn texts(end: End, input: &[u8]) -> Vec<String> {
        let whole = messages(end, &[input]);
        let bytewise: Vec<&[u8]> = input.chunks(1).collect();
        let text = |records: Vec<serde_json::Value>| -> Vec<String> {
            records.iter().map(|r| r["message"].as_str().expect("text").to_owned()).collect()
        };
        let whole = text(whole);
        assert_eq!(text(messages(end, &bytewise)), whole, "however the bytes come");
        whole
    }

    #[test]
    fn messages_are_told_apart_however_the_bytes_come() {
        assert_eq!(texts(End::Count, b"4 <1>a6 <1>b\nc"), ["<1>a", "<1>b\nc"]);
        assert_eq!(texts(End::Count, b"4 <1>a\n4 <1>b\n"), ["<1>a", "<1>b"]);
        assert_eq!(texts(End::Count, b"4 <1>a<2>lost count\n4 <1>b"), ["<1>a", "<2>lost count", "<1>b"]);
        assert_eq!(texts(End::Count, b"40 <1>cut short"), ["<1>cut short"]);
        assert_eq!(texts(End::Count, b"17"), ["17"]);
        assert_eq!(texts(End::Nul, b"<1>a\0<1>b\nc\0<1>d"), ["<1>a", "<1>b\nc", "<1>d"]);
    }

    #[test]
    fn a_long_message_comes_in_parts() {
        let length = (2 << 20) + 7;
        let mut input = format!("{length} ").into_bytes();
        input.resize(input.len() + length, b'x');
        input.extend_from_slice(b"4 <1>a");
        let records = messages(End::Count, &input.chunks(50_000).collect::<Vec<_>>());
        let parts: Vec<_> = records.iter().filter_map(|r| r["part"].as_u64()).collect();
        assert_eq!(parts, [1, 2, 3]);
        let text: usize = records[..3].iter().map(|r| r["message"].as_str().map_or(0, str::len)).sum();
        assert_eq!(text, length);
        assert_eq!(records[3]["message"], "<1>a");
    }

    #[test]
    fn when_memory_is_short_the_message_goes_on_in_parts() {
        let config = config::Config::default();
        let stream = config::Stream { from: Some("plain".to_owned()), ..config::Stream::default() };
        let mut lane = Lane::new(Arc::new(Stream::compile(&stream, &config).expect("compiles")), None);
        let (mut octets, mut batch) = (Octets::new(End::Count), Batch::default());
        octets.take(b"9 <1>ab", &mut lane, &mut batch, false);
        octets.relieve(&mut lane, &mut batch);
        assert_eq!(octets.held(), 0);
        octets.take(b"cdef4 <1>x", &mut lane, &mut batch, false);
        let out = String::from_utf8(batch.out).expect("text");
        let texts: Vec<_> =
            out.lines().filter_map(|l| l.split("\"message\":\"").nth(1)?.split('"').next()).collect();
        assert_eq!(texts, ["<1>ab", "cdef", "<1>x"]);
        assert_eq!(batch.counts.parts, 2);
    }

    #[test]
    fn counting_is_told_from_lines_that_begin_with_digits() {
        assert_eq!(begins_counted(b"12 <34>1 "), Some(true));
        assert_eq!(begins_counted(b"12 apples"), Some(false));
        assert_eq!(begins_counted(b"2026-11-21"), Some(false));
        assert_eq!(begins_counted(b"<34>"), Some(false));
        assert_eq!(begins_counted(b"12 "), None);
        assert_eq!(begins_counted(b"1"), None);
    }
}
