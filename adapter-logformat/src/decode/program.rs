//! A server's own format string as the configuration: compiled once to a list of steps, run over borrowed spans.
//!
//! What a step takes has to end somewhere: at the literal behind it, at its closing quote or bracket, or by its own grammar (a time, a list of
//! upstreams). A string in which that is not so is refused when it is compiled, with the place.

use super::{Context, Cursor, Decoded, apache_pattern, nginx, nginx_pattern, refuse};
use crate::{
    record::{Field, Record, Value},
    text::Str,
    time::number,
};

/// What a value means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    Ignored,
    /// Parsed by [`crate::time::Clock`].
    Time,
    /// `GET /path HTTP/1.1`
    Request,
    Client,
    /// `HTTP/1.1`
    Protocol,
    Text(Field),
    Number(Field),
    /// So many nanoseconds are one unit.
    Duration(i64),
    /// Kept under this name in the namespace.
    Named(String),
}

/// How a value ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// At the literal behind it, or the end of the line.
    Literal,
    /// At the quote that no backslash escapes.
    Quote,
    /// Words joined by `, ` or ` : `, as nginx lists upstreams.
    List,
    /// A time says itself how long it is.
    Time,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Literal(Vec<u8>),
    Value { meaning: Meaning, end: End },
}

/// A value as a pattern's syntax knows it, before it is known how it ends.
#[derive(Clone, Debug)]
pub struct Variable {
    pub meaning: Meaning,
    /// It may hold blanks, so that a blank behind it does not end it.
    pub blanks: bool,
    /// nginx' lists of upstreams.
    pub list: bool,
    /// Where it stands in the pattern.
    pub at: usize,
}

/// Literals and variables in turns, as parsed.
#[derive(Clone, Debug)]
pub enum Token {
    Literal(Vec<u8>),
    Variable(Variable),
}

/// Where and why a pattern is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {at}: {reason}")]
pub struct Ambiguous {
    pub at: usize,
    pub reason: String,
}

/// A compiled format string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    steps: Vec<Step>,
    space: &'static str,
}

impl Program {
    /// nginx' `log_format` string (with its variables, without the directive).
    ///
    /// # Errors
    /// [`Ambiguous`]
    pub fn nginx(pattern: &str) -> Result<Self, Ambiguous> {
        Self::compile(nginx_pattern::tokens(pattern)?, "nginx")
    }

    /// Apache's `LogFormat` string.
    ///
    /// # Errors
    /// [`Ambiguous`]
    pub fn apache(pattern: &str) -> Result<Self, Ambiguous> {
        Self::compile(apache_pattern::tokens(pattern)?, "apache")
    }

    fn compile(tokens: Vec<Token>, space: &'static str) -> Result<Self, Ambiguous> {
        let mut merged: Vec<Token> = Vec::new();
        for token in tokens {
            match (merged.last_mut(), token) {
                (Some(Token::Literal(before)), Token::Literal(more)) => before.extend_from_slice(&more),
                (_, Token::Literal(text)) if text.is_empty() => {}
                (_, token) => merged.push(token),
            }
        }
        if !merged.iter().any(|token| matches!(token, Token::Variable(_))) {
            return Err(Ambiguous { at: 0, reason: "it has no variables".to_owned() });
        }
        let mut steps = Vec::new();
        for (i, token) in merged.iter().enumerate() {
            let variable = match token {
                Token::Literal(text) => {
                    steps.push(Step::Literal(text.clone()));
                    continue;
                }
                Token::Variable(variable) => variable,
            };
            let quoted =
                matches!(i.checked_sub(1).map(|p| &merged[p]), Some(Token::Literal(t)) if t.ends_with(b"\""));
            let next = match merged.get(i + 1) {
                Some(Token::Literal(text)) => Some(text.as_slice()),
                Some(Token::Variable(_)) if variable.meaning != Meaning::Time => {
                    let reason =
                        "nothing separates this variable from the next; put a blank or quotes between them"
                            .to_owned();
                    return Err(Ambiguous { at: variable.at, reason });
                }
                _ => None,
            };
            let end = match next {
                Some(text) if quoted && text.starts_with(b"\"") => End::Quote,
                _ if variable.meaning == Meaning::Time => End::Time,
                Some(text) if variable.list && text.starts_with(b" ") => End::List,
                Some(text) if variable.blanks && text.starts_with(b" ") => {
                    let reason =
                        "this variable may hold blanks and a blank follows it; put it in quotes".to_owned();
                    return Err(Ambiguous { at: variable.at, reason });
                }
                _ => End::Literal,
            };
            steps.push(Step::Value { meaning: variable.meaning.clone(), end });
        }
        Ok(Self { steps, space })
    }

    /// Fills `record`. The structure has to fit; a value that is not what it should be costs only itself.
    pub fn decode<'a>(&'a self, line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
        let mut cursor = Cursor::new(line);
        for (i, step) in self.steps.iter().enumerate() {
            match step {
                Step::Literal(text) => {
                    if !cursor.literal(text) {
                        return refuse(cursor.at, "not what the pattern has here");
                    }
                }
                Step::Value { meaning, end } => {
                    let next = match self.steps.get(i + 1) {
                        Some(Step::Literal(text)) => Some(text.as_slice()),
                        _ => None,
                    };
                    let start = cursor.at;
                    let value = match end {
                        End::Quote => super::closing_quote(cursor.rest()),
                        End::Literal => match next {
                            Some(text) => memchr::memmem::find(cursor.rest(), text),
                            None => Some(cursor.rest().len()),
                        },
                        End::List => Some(list(cursor.rest())),
                        End::Time => match cx.clock.prefix(cursor.rest()) {
                            Some((time, used)) => {
                                record.time = Some(time);
                                cursor.at += used;
                                continue;
                            }
                            // Not a time that is known: it ends like any other value.
                            None => match next {
                                Some(text) => memchr::memmem::find(cursor.rest(), text),
                                None => Some(cursor.rest().len()),
                            },
                        },
                    };
                    let Some(length) = value else {
                        return refuse(start, "the value that the pattern has here has no end");
                    };
                    cursor.at += length;
                    self.value(meaning, &line[start..start + length], cx, record);
                }
            }
        }
        if cursor.rest().is_empty() {
            Ok(())
        } else {
            refuse(cursor.at, "the line is longer than the pattern")
        }
    }

    fn value<'a>(&'a self, meaning: &'a Meaning, text: &'a [u8], cx: &mut Context, record: &mut Record<'a>) {
        if matches!(text, b"-" | b"") {
            return;
        }
        match meaning {
            Meaning::Ignored => {}
            Meaning::Time => match cx.clock.parse(text) {
                Some(time) => record.time = Some(time),
                None => record.note("time"),
            },
            Meaning::Request => nginx::request(text, record),
            Meaning::Client => nginx::client(text, record),
            Meaning::Protocol => record.text(Field::HttpVersion, text.strip_prefix(b"HTTP/").unwrap_or(text)),
            Meaning::Text(field) => record.set(*field, Value::Text(Str::Escaped(text))),
            Meaning::Number(field) => match number(text) {
                Some(number) => record.set(*field, Value::Int(number)),
                None => record.note("number"),
            },
            // Of a pattern that has the duration twice, the finer one is kept.
            Meaning::Duration(unit) if record.has(Field::Duration) && *unit >= 1_000_000 => {}
            Meaning::Duration(unit) => match nanos(text, *unit) {
                Some(nanos) => record.set(Field::Duration, Value::Duration(nanos)),
                None => record.note("duration"),
            },
            Meaning::Named(name) => {
                let value = if super::logfmt::is_number(text) {
                    Value::Json(text)
                } else {
                    Value::Text(Str::Escaped(text))
                };
                record.push_sub(self.space, Str::Raw(name.as_bytes()), value);
            }
        }
    }
}

/// `0.005` units → nanoseconds.
fn nanos(text: &[u8], unit: i64) -> Option<i64> {
    let (whole, fraction) = match memchr::memchr(b'.', text) {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &b""[..]),
    };
    let mut total = number(whole)?.checked_mul(unit)?;
    let mut place = unit;
    for digit in fraction {
        place /= 10;
        total = total.checked_add(i64::from(char::from(*digit).to_digit(10)?) * place)?;
    }
    Some(total)
}

/// The length of `0.001, 0.002 : 0.003`.
fn list(text: &[u8]) -> usize {
    let mut at = 0;
    loop {
        at += memchr::memchr(b' ', &text[at..]).unwrap_or(text.len() - at);
        let more =
            text[at..].strip_prefix(b" : ").map(|_| 3).or((at > 0 && text[at - 1] == b',').then_some(1));
        match more {
            Some(skip) if at + skip <= text.len() && at < text.len() => at += skip,
            _ => return at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{Clock, Time};
    use proptest::prelude::*;

    fn cx() -> Context {
        Context::new(Clock::new(jiff::tz::TimeZone::UTC, Time::default()))
    }

    const COMBINED: &str = r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent""#;

    fn shown(record: &Record<'_>) -> String {
        format!("{:?} {:?} {:?}", record.time, record.partial, record.fields())
    }

    #[test]
    fn combined_as_a_pattern_reads_what_the_hand_made_decoder_reads() {
        let program = Program::nginx(COMBINED).expect("compiles");
        for line in include_str!("../../tests/golden/nginx.log").lines() {
            let (mut by_hand, mut by_program) = (Record::default(), Record::default());
            nginx::decode(line.as_bytes(), &mut cx(), &mut by_hand).expect("reads");
            program.decode(line.as_bytes(), &mut cx(), &mut by_program).expect("reads");
            let sorted = |record: &Record<'_>| {
                let mut fields: Vec<_> = record.fields().iter().map(|f| format!("{f:?}")).collect();
                fields.sort();
                (record.time, record.partial, fields)
            };
            assert_eq!(sorted(&by_hand), sorted(&by_program), "{line}");
        }
    }

    #[test]
    fn what_cannot_be_told_apart_is_refused_with_its_place() {
        for (pattern, at) in [
            ("$remote_addr$status", 0),
            ("$status $request $body_bytes_sent", 8),
            ("$status $http_user_agent $body_bytes_sent", 8),
            ("no variables", 0),
            ("$status ${open", 8),
            ("$status $ x", 8),
        ] {
            assert_eq!(Program::nginx(pattern).map_err(|e| e.at), Err(at), "{pattern}");
        }
        for (pattern, at) in [("%h%u", 0), ("%h %r %b", 3), ("%{Referer", 0), ("%", 0), ("%h %y", 3)] {
            assert_eq!(Program::apache(pattern).map_err(|e| e.at), Err(at), "{pattern}");
        }
    }

    #[test]
    fn lists_of_upstreams_hold_blanks() {
        let program =
            Program::nginx("$upstream_response_time $upstream_addr $request_time").expect("compiles");
        let line = b"0.001, 0.002 : 0.003 192.0.2.1:80, 192.0.2.2:80 : 192.0.2.3:80 0.250";
        let mut record = Record::default();
        program.decode(line, &mut cx(), &mut record).expect("reads");
        assert!(shown(&record).contains("Duration(250000000)"), "{}", shown(&record));
        assert_eq!(record.fields().len(), 3);
    }

    proptest! {
        #[test]
        fn patterns_never_panic(pattern in "[$%a-z_{}\" \\[\\]>!,0-9\\\\]{0,40}", line in prop::collection::vec(any::<u8>(), 0..80)) {
            for program in [Program::nginx(&pattern), Program::apache(&pattern)].into_iter().flatten() {
                let _ = program.decode(&line, &mut cx(), &mut Record::default());
            }
        }

        #[test]
        fn lines_never_panic(line in "[-0-9a-z \"\\[\\]:/+,.\\\\]{0,120}") {
            let program = Program::nginx(COMBINED).expect("compiles");
            let _ = program.decode(line.as_bytes(), &mut cx(), &mut Record::default());
        }
    }
}
