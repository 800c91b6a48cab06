//! Apache's `LogFormat` strings → tokens (mod_log_config, mod_logio).

use super::program::{Ambiguous, Meaning, Program, Token, Variable};
use super::time_pattern::TimePattern;
use crate::record::Field;

/// # Errors
/// [`Ambiguous`]
pub fn compile(pattern: &str) -> Result<Program, Ambiguous> {
    Program::compile(tokens(pattern)?, "apache")
}

fn tokens(pattern: &str) -> Result<Vec<Token>, Ambiguous> {
    let bytes = pattern.as_bytes();
    let mut tokens = Vec::new();
    let mut literal = Vec::new();
    let mut i = 0;
    while i < bytes.len() {
        match bytes[i] {
            // The configuration file's own escapes, for those who copy the directive.
            b'\\' if matches!(bytes.get(i + 1), Some(b'"' | b'\\')) => {
                literal.push(bytes[i + 1]);
                i += 2;
            }
            b'%' if bytes.get(i + 1) == Some(&b'%') => {
                literal.push(b'%');
                i += 2;
            }
            b'%' => {
                let at = i;
                tokens.push(Token::Literal(std::mem::take(&mut literal)));
                i += 1;
                // Status conditions and the redirect modifiers change when a value is there, not how it looks.
                while matches!(bytes.get(i), Some(b'!' | b',' | b'<' | b'>' | b'0'..=b'9')) {
                    i += 1;
                }
                let mut argument = "";
                if bytes.get(i) == Some(&b'{') {
                    let Some(end) = pattern[i..].find('}') else {
                        return Err(Ambiguous { at, reason: "'%{' without its '}'".to_owned() });
                    };
                    argument = &pattern[i + 1..i + end];
                    i += end + 1;
                }
                let letters = if bytes.get(i) == Some(&b'^') { 3 } else { 1 };
                let Some(letter) = pattern.get(i..i + letters) else {
                    return Err(Ambiguous { at, reason: "'%' without its letter".to_owned() });
                };
                i += letters;
                directive(letter, argument, at, &mut tokens)?;
            }
            byte => {
                literal.push(byte);
                i += 1;
            }
        }
    }
    tokens.push(Token::Literal(literal));
    Ok(tokens)
}

fn directive(letter: &str, argument: &str, at: usize, tokens: &mut Vec<Token>) -> Result<(), Ambiguous> {
    let named = |name: &str| Meaning::Named(name.to_owned());
    let lower = || argument.to_ascii_lowercase();
    let mut blanks = false;
    let meaning = match letter {
        "h" | "a" if argument != "c" => Meaning::Client,
        "a" => named("peer_addr"),
        "l" => named("identity"),
        "u" => Meaning::Text(Field::User),
        "t" if argument.is_empty() => {
            tokens.push(Token::Literal(b"[".to_vec()));
            tokens.push(Token::Variable(Variable::new(Meaning::Time(None), at)));
            tokens.push(Token::Literal(b"]".to_vec()));
            return Ok(());
        }
        "t" if matches!(argument, "sec" | "msec" | "usec") => Meaning::Time(None),
        "t" if argument.ends_with("sec_frac") => Meaning::Ignored,
        "t" => {
            let notation =
                argument.strip_prefix("begin:").or(argument.strip_prefix("end:")).unwrap_or(argument);
            match TimePattern::strftime(notation) {
                Ok(pattern) => Meaning::Time(Some(pattern)),
                Err(error) => return Ambiguous::new(at, format!("'%{{{argument}}}t': {error}")),
            }
        }
        "r" => {
            blanks = true;
            Meaning::Request
        }
        "m" => Meaning::Text(Field::Method),
        "U" => Meaning::Text(Field::Url),
        "q" => named("query"),
        "H" => Meaning::Protocol,
        "s" => Meaning::Number(Field::Status),
        "b" | "B" => Meaning::Number(Field::ResponseBytes),
        "I" => Meaning::Number(Field::RequestBytes),
        "O" => named("bytes_sent"),
        "v" | "V" => Meaning::Text(Field::ServerAddress),
        "p" => Meaning::Number(Field::ServerPort),
        "P" => Meaning::Number(Field::Pid),
        "D" => Meaning::Duration(1000),
        "T" => Meaning::Duration(match argument {
            "ms" => 1_000_000,
            "us" => 1000,
            _ => 1_000_000_000,
        }),
        "L" => Meaning::Text(Field::RequestId),
        "A" => named("local_addr"),
        "f" => {
            blanks = true;
            named("file")
        }
        "k" => named("keepalive_requests"),
        "R" => named("handler"),
        "S" => named("bytes_transferred"),
        "X" => named("connection_state"),
        "i" => {
            blanks = true;
            match lower().as_str() {
                "referer" => Meaning::Text(Field::Referrer),
                "user-agent" => Meaning::Text(Field::UserAgent),
                "host" => {
                    blanks = false;
                    Meaning::Text(Field::ServerAddress)
                }
                other => Meaning::Named(format!("request_header.{other}")),
            }
        }
        "o" => {
            blanks = true;
            Meaning::Named(format!("response_header.{}", lower()))
        }
        "e" | "n" | "x" | "c" | "C" | "^ti" | "^to" => {
            blanks = !matches!(letter, "x" | "c");
            Meaning::Named(lower())
        }
        other => return Err(Ambiguous { at, reason: format!("'%{other}' is no directive of LogFormat") }),
    };
    tokens.push(Token::Variable(Variable { blanks, ..Variable::new(meaning, at) }));
    Ok(())
}
