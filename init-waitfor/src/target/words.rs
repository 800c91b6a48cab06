//! Words of a command line, as a shell would split them, without a shell: quotes and backslashes, nothing else.

use super::Wrong;

/// Splits `text` at blanks outside of quotes. `'…'` is literal; in `"…"` a backslash protects `"` and `\`.
///
/// # Errors
/// An unclosed quote, or nothing at all.
pub fn words(text: &str) -> Result<Vec<String>, Wrong> {
    let mut list = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => list.extend(word.take()),
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        None => {
                            return Err(Wrong::new(format!("{c} is not closed"), "close the quote"));
                        }
                        Some(end) if end == c => break,
                        Some('\\') if c == '"' && matches!(chars.peek(), Some('"' | '\\')) => {
                            word.extend(chars.next())
                        }
                        Some(other) => word.push(other),
                    }
                }
            }
            '\\' => word.get_or_insert_default().extend(chars.next()),
            other => word.get_or_insert_default().push(other),
        }
    }
    list.extend(word);
    if list.is_empty() {
        return Err(Wrong::new("names no command", "write exec:/path/to/command and its arguments"));
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_a_shell_splits() {
        assert_eq!(words("test -f /a").unwrap(), ["test", "-f", "/a"]);
        assert_eq!(
            words(r#"sh -c 'exit "7"' "a b" c\ d """#).unwrap(),
            ["sh", "-c", "exit \"7\"", "a b", "c d", ""]
        );
        assert_eq!(words(r#""a\"b\\c\d""#).unwrap(), [r#"a"b\c\d"#]);
        assert!(words("sh -c 'x").is_err());
        assert!(words("  ").is_err());
    }
}
