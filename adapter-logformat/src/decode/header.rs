//! Columns that a line of the log itself names: W3C's `#Fields`, the first line of CSV and TSV.
//!
//! Part of a stream's state: it is saved with the position, so that a restart in the middle of a file knows the columns.

use super::names;

/// Most columns of one line.
pub const MOST: usize = 128;
/// Longest header line that is remembered.
const LONGEST: usize = 4096;

/// The columns of a stream, once a line has named them.
#[derive(Clone, Debug, Default)]
pub struct Header {
    line: String,
    columns: Vec<&'static str>,
    pub separator: u8,
}

impl Header {
    /// Takes the names from a header line, which is split by `separator`.
    pub fn set(&mut self, line: &[u8], separator: u8) {
        let Ok(text) = std::str::from_utf8(line) else { return };
        if text.len() > LONGEST || self.line == text && self.separator == separator {
            return;
        }
        text.clone_into(&mut self.line);
        self.separator = separator;
        let words = line.split(|b| *b == separator).filter(|w| separator != b' ' || !w.is_empty());
        self.columns = words
            .take(MOST)
            .enumerate()
            .map(|(place, name)| names::column(name.trim_ascii().trim_ascii_start(), place))
            .map(|name| name.trim_matches('"'))
            .collect();
    }

    pub fn columns(&self) -> &[&'static str] {
        &self.columns
    }

    pub fn is_line(&self, line: &[u8]) -> bool {
        self.line.as_bytes() == line
    }

    /// To be remembered; empty where nothing is.
    pub fn save(&self) -> (String, u8) {
        (self.line.clone(), self.separator)
    }

    pub fn restore(&mut self, (line, separator): (String, u8)) {
        if !line.is_empty() {
            self.set(line.as_bytes(), separator);
        }
    }
}
