//! Golden files: what a test produced, compared to what somebody once looked at.

use std::fmt::Write as _;
use std::path::Path;

/// Compares `actual` to the file at `path` (relative to the package, as `cargo test` runs there).
/// With `PODMATES_BLESS=1` the file is written instead.
///
/// # Panics
///
/// When they differ, with the differing lines; when the file is missing.
#[track_caller]
pub fn golden(path: impl AsRef<Path>, actual: &str) {
    let path = path.as_ref();
    if std::env::var("PODMATES_BLESS").is_ok_and(|value| value == "1") {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).expect("create the folder of the golden file");
        }
        std::fs::write(path, actual).expect("write the golden file");
        return;
    }
    let expected = std::fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("{}: {error}; PODMATES_BLESS=1 writes it:\n{actual}", path.display()));
    if expected != actual {
        panic!("{} differs; PODMATES_BLESS=1 accepts it\n{}", path.display(), difference(&expected, actual));
    }
}

/// The lines between the common head and the common tail, `-` expected and `+` actual.
fn difference(expected: &str, actual: &str) -> String {
    let old: Vec<&str> = expected.split('\n').collect();
    let new: Vec<&str> = actual.split('\n').collect();
    let head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let rest = old.len().min(new.len()) - head;
    let tail = old.iter().rev().zip(new.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
    let mut text = format!("@@ line {}\n", head + 1);
    for line in &old[head..old.len() - tail] {
        let _ = writeln!(text, "- {line}");
    }
    for line in &new[head..new.len() - tail] {
        let _ = writeln!(text, "+ {line}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_only_what_differs() {
        assert_eq!(difference("a\nb\nc\n", "a\nB\nc\n"), "@@ line 2\n- b\n+ B\n");
        assert_eq!(difference("a\n", "a"), "@@ line 2\n- \n");
        assert_eq!(difference("x", "x\nx"), "@@ line 2\n+ x\n");
    }

    #[test]
    fn equal_is_silent() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("x.golden");
        std::fs::write(&path, "same\n").expect("write");
        golden(&path, "same\n");
    }
}
