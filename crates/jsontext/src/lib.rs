//! `text → blocks → the inside of a JSON string`
//!
//! The one copy that every log line takes, in the shipper as in the adapter, and what decides their speed. What JSON may not hold as it is
//! (RFC 8259, 7: `"`, `\` and bytes below 0x20) is escaped, everything else stays as it is: what is to become of bytes that are not UTF-8 is
//! decided before.
//!
//! - [`escape`] appends a text to a vector; [`escape_line`] looks for the line's end by the way; [`escape_at`] is for a writer that has room of its own.
//! - [`Block`] is sixteen bytes that are looked at together, also by those who look for something else in a line.

mod block;
mod escape;
#[cfg(target_arch = "x86_64")]
mod wide;

pub use block::{Around, BLOCK, Block, first_of, first_special, low, short};

/// Bytes of text that room is made for at once: six times as much for a line of 1 MiB would be memory for nothing.
pub const PIECE: usize = 2 << 10;
/// What has to be free in a vector so that a line of usual length does not move it.
pub const ROOM: usize = room(PIECE);

/// Room for a text of this length: six bytes (`\u001f`) for each of its own, and what is written at once behind those that count.
#[inline(always)]
#[must_use]
pub const fn room(length: usize) -> usize {
    6 * length + 64
}

/// Appends `text` as the inside of a JSON string.
pub fn escape(text: &[u8], out: &mut Vec<u8>) {
    for piece in text.chunks(PIECE) {
        append::<false>(piece, Around(text), out);
    }
}

/// The same up to the first newline, or all of it. Says how many bytes that were.
#[inline]
pub fn escape_line(text: &[u8], out: &mut Vec<u8>) -> usize {
    let mut read = 0;
    for piece in text.chunks(PIECE) {
        let here = append::<true>(piece, Around(text), out);
        read += here;
        if here < piece.len() {
            break;
        }
    }
    read
}

/// Writes `text` as the inside of a JSON string to a place in memory, and gives the place behind it.
///
/// # Safety
/// There is [`room`] for it.
#[allow(unsafe_code, reason = "for a writer that asks for room once for many texts")]
#[inline(never)]
pub unsafe fn escape_at(text: &[u8], around: Around<'_>, at: *mut u8) -> *mut u8 {
    // SAFETY: the caller's.
    unsafe { escape::write::<false>(text, around, at).1 }
}

#[inline(always)]
fn append<const LINE: bool>(piece: &[u8], around: Around<'_>, out: &mut Vec<u8>) -> usize {
    out.reserve(room(piece.len()));
    #[allow(unsafe_code, reason = "a vector that is zeroed before it is written would be written twice")]
    // SAFETY: there is room behind what the vector holds, and everything in front of the new end is written.
    unsafe {
        let (read, end) = escape::write::<LINE>(piece, around, out.as_mut_ptr().add(out.len()));
        out.set_len(end as usize - out.as_ptr() as usize);
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &str) -> String {
        let mut out = b"\"".to_vec();
        escape(text.as_bytes(), &mut out);
        out.push(b'"');
        String::from_utf8(out).expect("JSON is UTF-8")
    }

    #[test]
    fn what_json_may_hold_stays_as_it_is() {
        assert_eq!(
            escaped("a\"b\\c/\u{8}\t\n\u{c}\r\u{1b}\u{7f}é\u{2028}😀"),
            "\"a\\\"b\\\\c/\\u0008\\t\\n\\u000c\\r\\u001b\u{7f}é\u{2028}😀\""
        );
    }

    #[test]
    fn a_long_text_is_escaped_piece_by_piece() {
        for length in [PIECE - 1, PIECE, PIECE + 1, 3 * PIECE] {
            for what in ["\u{1}", "\\", "x", "é", "\\\u{0}plain é"] {
                let text = what.repeat(length / what.len() + 1);
                assert_eq!(serde_json::from_str::<String>(&escaped(&text)).expect("valid"), text);
                let (mut line, mut out) = (format!("{text}\n{text}"), Vec::new());
                assert_eq!(escape_line(line.as_bytes(), &mut out), text.len());
                line.truncate(text.len());
                assert_eq!(escaped(&line).as_bytes(), [b"\"", &out[..], b"\""].concat());
            }
        }
    }
}
