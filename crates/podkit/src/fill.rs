//! `${VAR}` in texts: one grammar, for configurations and for what is written from templates.
//!
//! `${VAR}` must be set, and may be empty; `${VAR:-default}` stands for the default where it is unset or empty; `${VAR:?message}` is a
//! problem that says the message then. `$${` is a plain `${`. Every other `$` stays as it is, so that nginx' and the shell's own survive.

use std::borrow::Cow;

/// Characters of what has no end that an error repeats.
const SHOWN: usize = 60;

/// What cannot be filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// Byte of the text where its `${` stands.
    pub at: usize,
    /// What is wrong.
    pub what: String,
    /// What to write instead; empty where the message of `:?` says it all.
    pub remedy: String,
}

/// Fills in all variables of `text`; what has none is borrowed.
///
/// # Errors
/// All that cannot be filled in, in the order of the text.
pub fn fill<'t>(text: &'t str, env: &dyn Fn(&str) -> Option<String>) -> Result<Cow<'t, str>, Vec<Flaw>> {
    let mut out = String::new();
    let mut flaws = Vec::new();
    let mut done = 0;
    while let Some(at) = text[done..].find("${").map(|found| done + found) {
        if let Some(before) = text[done..at].strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            done = at + 2;
            continue;
        }
        out.push_str(&text[done..at]);
        let Some(end) = text[at..].find('}').map(|found| at + found) else {
            let shown: String = text[at..].lines().next().unwrap_or_default().chars().take(SHOWN).collect();
            let remedy = "write ${VAR}, or $${ for a plain ${".to_owned();
            flaws.push(Flaw { at, what: format!("{shown:?} has no closing brace"), remedy });
            done = text.len();
            break;
        };
        match variable(&text[at + 2..end], env) {
            Ok(value) => out.push_str(&value),
            Err((what, remedy)) => flaws.push(Flaw { at, what, remedy }),
        }
        done = end + 1;
    }
    if !flaws.is_empty() {
        return Err(flaws);
    }
    if done == 0 {
        return Ok(text.into());
    }
    out.push_str(&text[done..]);
    Ok(out.into())
}

/// What stands for the inside of one `${…}`; otherwise what is wrong, and the remedy.
fn variable(inside: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, (String, String)> {
    let end = inside.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inside.len());
    let (name, how) = inside.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        let remedy = "write ${VAR}, or $${ for a plain ${".to_owned();
        return Err((format!("${{{inside}}} names no variable"), remedy));
    }
    let value = env(name);
    if how.is_empty() {
        return value.ok_or_else(|| {
            let remedy = format!("set it, or give a default: ${{{name}:-…}}");
            (format!("environment variable {name} is not set"), remedy)
        });
    }
    let value = value.filter(|value| !value.is_empty());
    if let Some(default) = how.strip_prefix(":-") {
        return Ok(value.unwrap_or_else(|| default.to_owned()));
    }
    if let Some(message) = how.strip_prefix(":?") {
        let message = if message.is_empty() { "is not set, or empty" } else { message };
        return value.ok_or_else(|| (format!("{name}: {message}"), String::new()));
    }
    let remedy = format!("write ${{{name}}}, ${{{name}:-default}} or ${{{name}:?message}}");
    Err((format!("${{{inside}}} is not understood"), remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> Result<Cow<'_, str>, Vec<Flaw>> {
        fill(text, &|name| match name {
            "HOST" => Some("db".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        })
    }

    #[test]
    fn variables_defaults_and_literals() {
        for (text, wanted) in [
            ("tcp://${HOST}:${PORT:-5432}", "tcp://db:5432"),
            ("${EMPTY:-x}${EMPTY}${NONE:-}", "x"),
            ("${HOST:?say it}${HOST:-no}", "dbdb"),
            ("$${HOST} $$${HOST} ${HOST}$${HOST}", "${HOST} $${HOST} db${HOST}"),
            ("$HOST $host 5$ {$} $", "$HOST $host 5$ {$} $"),
            ("ä${HOST}ß", "ädbß"),
        ] {
            assert_eq!(filled(text).unwrap(), wanted, "{text}");
        }
        assert!(matches!(filled("$HOST"), Ok(Cow::Borrowed(_))));
    }

    #[test]
    fn all_flaws_with_their_places() {
        let found = filled("${A} ${B:?say it} ${EMPTY:?} ${1x} ${} ${HOST|x} ${HOST").unwrap_err();
        let found: Vec<_> = found.iter().map(|flaw| (flaw.at, flaw.what.as_str())).collect();
        let wanted = [
            (0, "environment variable A is not set"),
            (5, "B: say it"),
            (18, "EMPTY: is not set, or empty"),
            (29, "${1x} names no variable"),
            (35, "${} names no variable"),
            (39, "${HOST|x} is not understood"),
            (49, "\"${HOST\" has no closing brace"),
        ];
        assert_eq!(found, wanted);
    }
}
