//! What many lines have in common, found out with one look at all of them.

use crate::text::{strip_ansi, strip_escaped_ansi};

/// What is known of the lines that are read, because all of them were looked at together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known {
    /// They are UTF-8.
    pub(super) valid: bool,
    /// They have no terminal colours.
    plain: bool,
    /// Nor those that JSON spells `\u001b`.
    bare: bool,
}

impl Known {
    pub(super) fn of(lines: &[u8]) -> Self {
        Self {
            valid: simdutf8::basic::from_utf8(lines).is_ok(),
            plain: memchr::memchr(0x1b, lines).is_none(),
            // Where the lines are objects; else one look at a line is cheaper.
            bare: lines.first() == Some(&b'{')
                && (memchr::memchr(b'\\', lines).is_none()
                    || memchr::memmem::find(lines, b"\\u001").is_none()),
        }
    }

    /// The text of an event of so many lines as it is read; `clean` is room for it where that differs.
    #[inline]
    pub(super) fn tidy<'a>(self, text: &'a [u8], lines: u64, clean: &'a mut Vec<u8>) -> &'a [u8] {
        if lines > 1 && spread(text) {
            // Newlines between its parts are blanks: the record is one line.
            clean.clear();
            clean.extend(text.iter().map(|b| if *b == b'\n' { b' ' } else { *b }));
            return clean;
        }
        if !self.plain && memchr::memchr(0x1b, text).is_some() {
            strip_ansi(text, clean);
            return clean;
        }
        if !self.bare && text.first() == Some(&b'{') && strip_escaped_ansi(text, clean) {
            return clean;
        }
        text
    }
}

/// An object that goes on in the next lines.
fn spread(text: &[u8]) -> bool {
    text.first() == Some(&b'{')
        && memchr::memchr(b'\n', text).is_some_and(|end| text[..end].trim_ascii_end().last() != Some(&b'}'))
}
