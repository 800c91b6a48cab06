//! `write TEMPLATE DEST`: a file from a template and the environment.

use std::borrow::Cow;
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

/// See [`podkit::fill`]; what cannot be filled in with its lines.
fn fill<'t>(text: &'t str, env: &dyn Fn(&str) -> Option<String>) -> Result<Cow<'t, str>, Vec<String>> {
    podkit::fill::fill(text, env).map_err(|flaws| {
        let (mut line, mut counted) = (1, 0);
        let told = flaws.into_iter().map(|flaw| {
            line += text[counted..flaw.at].matches('\n').count();
            counted = flaw.at;
            let separator = if flaw.remedy.is_empty() { "" } else { "; " };
            format!("line {line}: {}{separator}{}", flaw.what, flaw.remedy)
        });
        told.collect()
    })
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
        assert!(problems[0].starts_with("line 1: environment variable A is not set; "));
        assert_eq!(problems[1], "line 2: B: say it");
        assert!(problems[4].starts_with("line 4: \"${HOST\" has no closing brace; "));
    }
}
