//! Format strings of Python's logging → tokens, in its three styles: `%(asctime)s`, `{asctime}`, `$asctime`.
//!
//! (Python documentation, `logging`, "LogRecord attributes"; loguru's and uvicorn's own names are not among them.)

use super::program::{Ambiguous, Meaning, Program, Token, Variable};
use crate::{
    record::{Field, Record},
    severity::Severity,
    time::number,
};

/// # Errors
/// [`Ambiguous`]
pub fn compile(pattern: &str) -> Result<Program, Ambiguous> {
    let tokens = if pattern.contains("%(") {
        percent(pattern)?
    } else if pattern.contains('$') {
        dollar(pattern)?
    } else {
        braces(pattern)?
    };
    Program::compile(tokens, "app")
}

fn percent(pattern: &str) -> Result<Vec<Token>, Ambiguous> {
    let mut tokens = Vec::new();
    let mut rest = pattern;
    while let Some(mark) = rest.find('%') {
        let at = pattern.len() - rest.len() + mark;
        literal(&mut tokens, &rest[..mark]);
        let behind = &rest[mark + 1..];
        if let Some(more) = behind.strip_prefix('%') {
            literal(&mut tokens, "%");
            rest = more;
            continue;
        }
        let Some((name, spec)) = behind.strip_prefix('(').and_then(|b| b.split_once(')')) else {
            return Ambiguous::new(at, "'%' without a name in parentheses; write %% for a percent sign");
        };
        let flags = spec.bytes().take_while(|b| !b.is_ascii_alphabetic()).count();
        let Some(kind) = spec.as_bytes().get(flags) else {
            return Ambiguous::new(at, format!("'%({name})' has no letter such as s behind it"));
        };
        let padded = spec[..flags]
            .trim_start_matches('.')
            .trim_start_matches('0')
            .contains(|c: char| c.is_ascii_digit());
        push(&mut tokens, name, padded && *kind != b'f', at);
        rest = &spec[flags + 1..];
    }
    literal(&mut tokens, rest);
    Ok(tokens)
}

fn braces(pattern: &str) -> Result<Vec<Token>, Ambiguous> {
    let mut tokens = Vec::new();
    let mut rest = pattern;
    while let Some(mark) = rest.find('{') {
        let at = pattern.len() - rest.len() + mark;
        literal(&mut tokens, &rest[..mark].replace("}}", "}"));
        let behind = &rest[mark + 1..];
        if let Some(more) = behind.strip_prefix('{') {
            literal(&mut tokens, "{");
            rest = more;
            continue;
        }
        let Some((inner, more)) = behind.split_once('}') else {
            return Ambiguous::new(at, "'{' without its '}'");
        };
        let (name, spec) = inner.split_once(':').unwrap_or((inner, ""));
        let padded = spec.trim_start_matches('0').contains(|c: char| c.is_ascii_digit());
        push(&mut tokens, name.split('!').next().unwrap_or(name), padded, at);
        rest = more;
    }
    literal(&mut tokens, &rest.replace("}}", "}"));
    Ok(tokens)
}

fn dollar(pattern: &str) -> Result<Vec<Token>, Ambiguous> {
    let mut tokens = Vec::new();
    let mut rest = pattern;
    while let Some(mark) = rest.find('$') {
        let at = pattern.len() - rest.len() + mark;
        literal(&mut tokens, &rest[..mark]);
        let behind = &rest[mark + 1..];
        if let Some(more) = behind.strip_prefix('$') {
            literal(&mut tokens, "$");
            rest = more;
            continue;
        }
        let (name, more) = match behind.strip_prefix('{') {
            Some(inner) => match inner.split_once('}') {
                Some(parts) => parts,
                None => return Ambiguous::new(at, "'${' without its '}'"),
            },
            None => {
                let end =
                    behind.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(behind.len());
                behind.split_at(end)
            }
        };
        if name.is_empty() {
            return Ambiguous::new(at, "'$' without a name; write $$ for a dollar sign");
        }
        push(&mut tokens, name, false, at);
        rest = more;
    }
    literal(&mut tokens, rest);
    Ok(tokens)
}

fn literal(tokens: &mut Vec<Token>, text: &str) {
    match tokens.last_mut() {
        Some(Token::Literal(before)) => before.extend_from_slice(text.as_bytes()),
        _ => tokens.push(Token::Literal(text.as_bytes().to_vec())),
    }
}

fn push(tokens: &mut Vec<Token>, name: &str, padded: bool, at: usize) {
    if name == "msecs" {
        // The time reads its fraction itself.
        if let [.., Token::Variable(time), Token::Literal(mark)] = tokens.as_slice()
            && matches!(time.meaning, Meaning::Time(_))
            && matches!(mark.as_slice(), b"." | b",")
        {
            tokens.pop();
            return;
        }
    }
    let mut blanks = false;
    let meaning = match name {
        "asctime" | "created" => Meaning::Time(None),
        "msecs" | "relativeCreated" => Meaning::Ignored,
        "levelname" => Meaning::Level,
        "levelno" => Meaning::Read(levelno),
        "message" => Meaning::Message,
        "name" => Meaning::Text(Field::Logger),
        "pathname" | "filename" => Meaning::Text(Field::File),
        "lineno" => Meaning::Number(Field::Line),
        "funcName" => Meaning::Text(Field::Function),
        "process" => Meaning::Number(Field::Pid),
        "processName" => Meaning::Text(Field::Process),
        "thread" => Meaning::Number(Field::ThreadId),
        "threadName" => {
            // `ThreadPoolExecutor-0_0`, and since 3.10 `Thread-1 (worker)`.
            Meaning::Text(Field::ThreadName)
        }
        other => {
            blanks = !matches!(other, "module" | "taskName");
            Meaning::named(other)
        }
    };
    tokens.push(Token::Variable(Variable { blanks, padded, ..Variable::new(meaning, at) }));
}

/// Python's numbers: 10 debug … 50 critical.
fn levelno<'a>(text: &'a [u8], record: &mut Record<'a>) -> bool {
    record.severity = match number(text) {
        Some(1..=9) => Some(Severity::TRACE),
        Some(10..=19) => Some(Severity::DEBUG),
        Some(20..=29) => Some(Severity::INFO),
        Some(30..=39) => Some(Severity::WARN),
        Some(40..=49) => Some(Severity::ERROR),
        Some(50..) => Some(Severity::CRITICAL),
        _ => None,
    };
    record.severity.is_some()
}
