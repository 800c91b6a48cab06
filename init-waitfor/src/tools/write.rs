//! `write TEMPLATE DEST`: a file from a template and the environment.

use std::io::{Read as _, Write as _};
use std::path::Path;

use podkit::Exit;

use super::place::Placing;
use crate::cli::WriteArgs;

/// A template larger than this is not one.
const LIMIT: u64 = 16 << 20;

/// # Errors
/// Code 1 with the variables that are missing, or the file that cannot be read or written.
pub fn write(args: &WriteArgs) -> Result<(), Exit> {
    let from = args.template.display();
    let text = read(&args.template).map_err(|error| {
        Exit::failed(format!("init-waitfor: template {from}: {error}; name a readable text file"))
    })?;
    let filled = fill(&text, &|name| std::env::var(name).ok()).map_err(|problems| {
        Exit::failed(format!("init-waitfor: template {from}:\n  {}", problems.join("\n  ")))
    })?;
    let to = args.dest.display();
    if args.dest.is_dir() {
        return Err(Exit::failed(format!("init-waitfor: {to} is a directory; name the file in it")));
    }
    let written = if args.dest == Path::new("-") {
        std::io::stdout().lock().write_all(filled.as_bytes())
    } else {
        Placing::new(&args.dest, args.mode).and_then(|mut placing| {
            placing.file.write_all(filled.as_bytes())?;
            placing.place()
        })
    };
    written.map_err(|error| {
        Exit::failed(format!("init-waitfor: cannot write {to}: {error}; mount a writable volume there"))
    })
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let size = if path == Path::new("-") {
        std::io::stdin().lock().take(LIMIT + 1).read_to_string(&mut text)?
    } else {
        std::fs::File::open(path)?.take(LIMIT + 1).read_to_string(&mut text)?
    };
    if size as u64 > LIMIT {
        return Err(std::io::Error::other("is larger than 16 MiB"));
    }
    Ok(text)
}

/// `${NAME}` (must be set), `${NAME:-default}` (unset or empty), `${NAME:?message}`, `$${` for a literal `${`. Everything
/// else with a dollar stays as it is, so that nginx or shell files survive.
fn fill(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, Vec<String>> {
    let mut out = String::with_capacity(text.len());
    let mut problems = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if let Some(before) = rest[..at].strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let line = text[..text.len() - rest.len() + at].matches('\n').count() + 1;
        let Some(end) = rest[at..].find('}') else {
            problems.push(format!("line {line}: ${{ is not closed; write $${{ for a literal one"));
            break;
        };
        let inside = &rest[at + 2..at + end];
        rest = &rest[at + end + 1..];
        let name_end = inside.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inside.len());
        let (name, how) = inside.split_at(name_end);
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            problems
                .push(format!("line {line}: ${{{inside}}} names no variable; write $${{ for a literal one"));
            continue;
        }
        let value = variable(name);
        let set = value.as_ref().is_some_and(|value| !value.is_empty());
        match (how.get(..2), value) {
            (None, Some(value)) if how.is_empty() => out.push_str(&value),
            (None, None) if how.is_empty() => {
                problems.push(format!("line {line}: {name} is not set; set it, or write ${{{name}:-default}}"));
            }
            (Some(":-" | ":?"), Some(value)) if set => out.push_str(&value),
            (Some(":-"), _) => out.push_str(&how[2..]),
            (Some(":?"), _) => problems.push(format!("line {line}: {name}: {}", &how[2..])),
            _ => problems.push(format!("line {line}: ${{{inside}}} is not understood; write ${{{name}}}, ${{{name}:-default}} or ${{{name}:?message}}")),
        }
    }
    out.push_str(rest);
    if problems.is_empty() { Ok(out) } else { Err(problems) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("db".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn variables_defaults_and_literals() {
        let text = "h=${HOST} d=${PORT:-5432} e=${EMPTY:-x} n=${EMPTY} $${HOST} $HOST $host 5$";
        assert_eq!(fill(text, &env).unwrap(), "h=db d=5432 e=x n= ${HOST} $HOST $host 5$");
    }

    #[test]
    fn all_problems_with_their_lines() {
        let problems = fill("${A}\n${B:?say it}\n${1x} ${HOST|x}\n${HOST", &env).unwrap_err();
        assert_eq!(problems.len(), 5, "{problems:?}");
        assert!(problems[0].starts_with("line 1: A is not set"));
        assert_eq!(problems[1], "line 2: B: say it");
        assert!(problems[4].contains("not closed"));
    }
}
