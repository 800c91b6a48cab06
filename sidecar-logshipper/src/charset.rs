//! Bytes of another character set into UTF-8. A pure stage: what is UTF-8 already passes untouched.

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};
use logtail::{Line, Units};

/// How the bytes of a file are to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charset(Option<&'static Encoding>);

impl Charset {
    /// By a label of the WHATWG's Encoding Standard (`utf-16le`, `windows-1252`, `shift_jis`, `gb18030` …); `auto` is UTF-8, and UTF-16
    /// where a byte order mark says so.
    pub fn parse(label: &str) -> Option<Self> {
        if label == "auto" {
            return Some(Self::default());
        }
        let encoding = Encoding::for_label(label.as_bytes())?;
        // "replacement" stands for what browsers refuse to read.
        (encoding != encoding_rs::REPLACEMENT).then_some(Self(Some(encoding)))
    }

    /// How newlines are written; `None`: the byte order mark tells.
    pub fn units(self) -> Option<Units> {
        match self.0 {
            None => None,
            Some(encoding) if encoding == UTF_16LE => Some(Units::Utf16Le),
            Some(encoding) if encoding == UTF_16BE => Some(Units::Utf16Be),
            Some(_) => Some(Units::Bytes),
        }
    }

    /// What the lines of a file with these newlines have to be converted from.
    pub fn of(self, units: Units) -> Conversion {
        Conversion(match units {
            Units::Utf16Le => Some(UTF_16LE),
            Units::Utf16Be => Some(UTF_16BE),
            Units::Bytes => self.0.filter(|encoding| *encoding != UTF_8),
        })
    }
}

/// From what a file's lines are converted, if they are.
#[derive(Clone, Copy, Debug)]
pub struct Conversion(Option<&'static Encoding>);

impl Conversion {
    /// Nothing is to be done.
    pub fn is_none(self) -> bool {
        self.0.is_none()
    }

    /// The line as UTF-8 and without a byte order mark; `scratch` holds it where it had to be converted. False: it held
    /// bytes that mean nothing in its character set; U+FFFD stands for them.
    pub fn line<'a>(self, line: &Line<'a>, scratch: &'a mut String) -> (Line<'a>, bool) {
        let mut bytes = line.bytes;
        if line.offset == 0 {
            let mark: &[u8] = match self.0 {
                None => b"\xef\xbb\xbf",
                Some(encoding) if encoding == UTF_16LE => b"\xff\xfe",
                Some(encoding) if encoding == UTF_16BE => b"\xfe\xff",
                Some(_) => b"",
            };
            bytes = bytes.strip_prefix(mark).unwrap_or(bytes);
        }
        let Some(encoding) = self.0 else { return (Line { bytes, ..*line }, true) };
        scratch.clear();
        let mut decoder = encoding.new_decoder_without_bom_handling();
        // Without this much room it would stop in between; lines are bounded, and so is this.
        scratch.reserve(decoder.max_utf8_buffer_length(bytes.len()).unwrap_or(bytes.len() * 3));
        let (_, _, replaced) = decoder.decode_to_string(bytes, scratch, true);
        (Line { bytes: scratch.as_bytes(), ..*line }, !replaced)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use logtail::Piece;

    fn convert(label: &str, units: Units, offset: u64, bytes: &[u8]) -> (String, bool) {
        let line = Line { bytes, offset, end: offset + bytes.len() as u64, piece: Piece::Lines };
        let mut scratch = String::new();
        let charset = Charset::parse(label).expect("a label");
        let (line, whole) = charset.of(units).line(&line, &mut scratch);
        (String::from_utf8_lossy(line.bytes).into_owned(), whole)
    }

    #[test]
    fn character_sets_become_utf_8() {
        let le: Vec<u8> = "\u{feff}é😀".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(convert("auto", Units::Utf16Le, 0, &le), ("é😀".into(), true));
        assert_eq!(convert("windows-1252", Units::Bytes, 5, b"caf\xe9 \x80"), ("café €".into(), true));
        assert_eq!(convert("shift_jis", Units::Bytes, 5, b"\x93\xfa\x96\x7b"), ("日本".into(), true));
        assert_eq!(convert("gbk", Units::Bytes, 5, b"\xc4\xe3"), ("你".into(), true));
        assert_eq!(
            convert("auto", Units::Bytes, 0, b"\xef\xbb\xbfx"),
            ("x".into(), true),
            "the mark of UTF-8"
        );
        assert_eq!(
            convert("auto", Units::Bytes, 3, b"\xff"),
            ("\u{fffd}".into(), true),
            "bytes that pass as they are"
        );
        assert_eq!(convert("shift_jis", Units::Bytes, 5, b"a\x81"), ("a\u{fffd}".into(), false));
    }

    #[test]
    fn labels_are_those_of_the_standard() {
        assert_eq!(Charset::parse("klingon"), None);
        assert_eq!(Charset::parse("hz-gb-2312"), None, "browsers refuse it, and so does the table");
        assert_eq!(Charset::parse("UTF-16").expect("a label").units(), Some(Units::Utf16Le));
        assert_eq!(Charset::parse("latin1").expect("a label").units(), Some(Units::Bytes));
    }
}
