//! A server's own format string as the configuration: compiled once to a list of steps, run over borrowed spans.
//!
//! What a step takes has to end somewhere: at the literal behind it, at its closing quote or bracket, or by its own grammar (a time, a list of
//! upstreams). A string in which that is not so is refused when it is compiled, with the place. The formats that servers have out of the
//! box are such programs, too, only strict: a line whose time or level is none is not of the format.

use super::{Context, Cursor, Decoded, Refusal, meaning, refuse, time_pattern::TimePattern};
use crate::{
    record::{Field, Record},
    severity::Severity,
    text::first_of,
};

pub use meaning::Meaning;

/// How a value ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// At the literal behind it, or the end of the line.
    Literal,
    /// At the last place where the literal behind it stands.
    LastLiteral,
    /// At the quote that no backslash escapes.
    Quote,
    /// Words joined by `, ` or ` : `, as nginx lists upstreams.
    List,
    /// A time says itself how long it is.
    Time,
    /// At the closing brace, where there is an opening one: HAProxy's captures. Otherwise it is not there at all.
    Braces,
}

#[derive(Clone, Debug)]
enum Step {
    Literal(Vec<u8>),
    Value {
        meaning: Meaning,
        end: End,
        padded: bool,
        /// It holds no blanks; a strict program looks.
        tight: bool,
    },
    /// From here on the line may end, or hold more than the format knows.
    Open,
}

/// A value as a pattern's syntax knows it, before it is known how it ends.
#[derive(Clone, Debug)]
pub struct Variable {
    pub meaning: Meaning,
    /// It may hold blanks, so that a blank behind it does not end it.
    pub blanks: bool,
    /// nginx' lists of upstreams.
    pub list: bool,
    /// Filled up with blanks to a width.
    pub padded: bool,
    /// In braces, or not there.
    pub braces: bool,
    /// Where it stands in the pattern.
    pub at: usize,
}

impl Variable {
    pub fn new(meaning: Meaning, at: usize) -> Self {
        Self { meaning, blanks: false, list: false, padded: false, braces: false, at }
    }
}

/// Literals and variables in turns, as parsed.
#[derive(Clone, Debug)]
pub enum Token {
    Literal(Vec<u8>),
    Variable(Variable),
    Open,
}

/// Where and why a pattern is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {at}: {reason}")]
pub struct Ambiguous {
    pub at: usize,
    pub reason: String,
}

impl Ambiguous {
    pub fn new<T>(at: usize, reason: impl Into<String>) -> Result<T, Self> {
        Err(Self { at, reason: reason.into() })
    }
}

/// A compiled format string.
#[derive(Clone, Debug)]
pub struct Program {
    steps: Vec<Step>,
    space: &'static str,
    /// A time or a level that cannot be read means that the line is of another format.
    strict: bool,
    /// What else a line may look like.
    other: Option<Box<Program>>,
}

impl Program {
    /// From what a pattern's syntax gave. `space`: the namespace of values without a field of their own.
    ///
    /// # Errors
    /// [`Ambiguous`]
    pub fn compile(tokens: Vec<Token>, space: &'static str) -> Result<Self, Ambiguous> {
        let merged = merge(tokens);
        if !merged.iter().any(|token| matches!(token, Token::Variable(_))) {
            return Ambiguous::new(0, "it has no variables");
        }
        let mut steps = Vec::new();
        for (i, token) in merged.iter().enumerate() {
            let variable = match token {
                Token::Literal(text) => {
                    steps.push(Step::Literal(text.clone()));
                    continue;
                }
                Token::Open => {
                    steps.push(Step::Open);
                    continue;
                }
                Token::Variable(variable) => variable,
            };
            let end = end_of(variable, &merged, i)?;
            let bracketed = matches!(
                i.checked_sub(1).map(|p| &merged[p]),
                Some(Token::Literal(text)) if matches!(text.last(), Some(b'[' | b'(' | b'{' | b'<' | b'|'))
            );
            let tight = end == End::Literal
                && !variable.blanks
                && !variable.padded
                && !bracketed
                && !matches!(variable.meaning, Meaning::Message | Meaning::Request | Meaning::Pairs);
            steps.push(Step::Value {
                meaning: variable.meaning.clone(),
                end,
                padded: variable.padded,
                tight,
            });
        }
        Ok(Self { steps, space, strict: false, other: None })
    }

    /// The same, refusing lines whose time or level is none.
    pub fn strict(self) -> Self {
        Self { strict: true, ..self }
    }

    /// Tries `other` on lines that are not of this one.
    pub fn or(self, other: Self) -> Self {
        Self { other: Some(Box::new(other)), ..self }
    }

    /// Fills `record`. The structure has to fit; a value that is not what it should be costs only itself.
    pub fn decode<'a>(&'a self, line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
        let read = self.run(line, cx, record);
        match (&self.other, read) {
            (Some(other), Err(refusal)) => {
                record.clear();
                other.decode(line, cx, record).map_err(|_| refusal)
            }
            (_, read) => read,
        }
    }

    fn run<'a>(&'a self, line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
        let mut cursor = Cursor::new(line);
        let mut open = false;
        // A value that is not there takes the blank behind it along.
        let mut skip_blank = false;
        for (i, step) in self.steps.iter().enumerate() {
            match step {
                Step::Open => open = true,
                Step::Literal(text) => {
                    let mut text = text.as_slice();
                    if std::mem::take(&mut skip_blank) {
                        text = text.strip_prefix(b" ").unwrap_or(text);
                    }
                    if !cursor.literal(text) {
                        // What newer versions, or older ones, have at the end costs nothing of what was read.
                        if open && !text.starts_with(cursor.rest()) {
                            meaning::named(self.space, b"extra", cursor.rest().trim_ascii_start(), record);
                        }
                        if open {
                            return Ok(());
                        }
                        return refuse(cursor.at, "not what the pattern has here");
                    }
                }
                Step::Value { meaning, end, padded, tight } => {
                    let next = match self.steps.get(i + 1) {
                        Some(Step::Literal(text)) => Some(text.as_slice()),
                        Some(Step::Open) => match self.steps.get(i + 2) {
                            Some(Step::Literal(text)) => Some(text.as_slice()),
                            _ => None,
                        },
                        _ => None,
                    };
                    let may_end = matches!(self.steps.get(i + 1), Some(Step::Open)) || open;
                    if *padded {
                        while cursor.literal(b" ") {}
                    }
                    let start = cursor.at;
                    if let (End::Time, Meaning::Time(pattern)) = (end, meaning)
                        && let Some((time, used)) = time_prefix(pattern.as_ref(), cursor.rest(), cx)
                    {
                        record.time = Some(time);
                        cursor.at += used;
                        continue;
                    }
                    if *end == End::Braces && !cursor.rest().starts_with(b"{") {
                        skip_blank = true;
                        continue;
                    }
                    let Some(length) = length(*end, cursor.rest(), next, may_end) else {
                        return refuse(start, "the value that the pattern has here has no end");
                    };
                    cursor.at += length;
                    let mut text = &line[start..start + length];
                    if *padded {
                        text = text.trim_ascii_end();
                        if next.is_some_and(|next| next.starts_with(b" ")) {
                            while cursor.rest().starts_with(b"  ") {
                                cursor.at += 1;
                            }
                        }
                    }
                    if self.strict && *tight && !open && memchr::memchr(b' ', text).is_some() {
                        return refuse(start, "a blank in a value that has none");
                    }
                    let read = meaning.read(self.space, text, cx, record);
                    if let (Err(reason), true) = (read, self.strict) {
                        return Err(Refusal { at: start, reason });
                    }
                }
            }
        }
        if cursor.rest().is_empty() {
            return Ok(());
        }
        if open {
            meaning::named(self.space, b"extra", cursor.rest().trim_ascii_start(), record);
            return Ok(());
        }
        refuse(cursor.at, "the line is longer than the pattern")
    }
}

fn merge(tokens: Vec<Token>) -> Vec<Token> {
    let mut merged: Vec<Token> = Vec::new();
    for token in tokens {
        match (merged.last_mut(), token) {
            (Some(Token::Literal(before)), Token::Literal(more)) => before.extend_from_slice(&more),
            (_, Token::Literal(text)) if text.is_empty() => {}
            (_, token) => merged.push(token),
        }
    }
    merged
}

fn end_of(variable: &Variable, tokens: &[Token], i: usize) -> Result<End, Ambiguous> {
    let before = match i.checked_sub(1).map(|p| &tokens[p]) {
        Some(Token::Literal(text)) => text.as_slice(),
        _ => b"",
    };
    let is_time = matches!(variable.meaning, Meaning::Time(_));
    let next = match tokens.get(i + 1) {
        Some(Token::Literal(text)) => Some(text.as_slice()),
        Some(Token::Open) => match tokens.get(i + 2) {
            Some(Token::Literal(text)) => Some(text.as_slice()),
            _ => None,
        },
        Some(Token::Variable(next)) if !is_time && !next.braces => {
            return Ambiguous::new(
                variable.at,
                "nothing separates this variable from the next; put a blank or quotes between them",
            );
        }
        _ => None,
    };
    if variable.braces {
        return Ok(End::Braces);
    }
    let quoted = before.ends_with(b"\"");
    let closing = match before.last() {
        Some(b'[') => b']',
        Some(b'(') => b')',
        Some(b'{') => b'}',
        Some(b'<') => b'>',
        Some(b'|') => b'|',
        _ => 0,
    };
    Ok(match next {
        Some(text) if quoted && text.starts_with(b"\"") => End::Quote,
        _ if is_time => End::Time,
        Some(text) if variable.list && text.starts_with(b" ") => End::List,
        Some(text) if closing != 0 && text.first() == Some(&closing) => End::Literal,
        Some(_) if matches!(variable.meaning, Meaning::Message) => {
            // From its end the line can be read backwards when nothing behind the message holds blanks.
            let plain = tokens[i + 1..].iter().all(|t| match t {
                Token::Variable(v) => !v.blanks && !matches!(v.meaning, Meaning::Message),
                _ => true,
            });
            if !plain {
                return Ambiguous::new(
                    variable.at,
                    "the message ends at no certain place: values behind it may hold blanks, too; put it last",
                );
            }
            End::LastLiteral
        }
        Some(text) if variable.blanks && text.starts_with(b" ") => {
            return Ambiguous::new(
                variable.at,
                "this variable may hold blanks and a blank follows it; put it in quotes",
            );
        }
        _ => End::Literal,
    })
}

fn length(end: End, rest: &[u8], next: Option<&[u8]>, may_end: bool) -> Option<usize> {
    match end {
        End::Quote => super::closing_quote(rest),
        End::List => Some(list(rest)),
        End::Braces => {
            let close =
                memchr::memmem::find(rest, b"} ").or_else(|| rest.ends_with(b"}").then(|| rest.len() - 1));
            close.map(|at| at + 1)
        }
        End::LastLiteral => memchr::memmem::rfind(rest, next.unwrap_or_default()),
        End::Literal | End::Time => match next {
            Some(text) => find(rest, text).or_else(|| may_end.then_some(rest.len())),
            None => Some(rest.len()),
        },
    }
}

/// Literals are short and near: to prepare a search costs more than to do it.
fn find(rest: &[u8], literal: &[u8]) -> Option<usize> {
    let first = *literal.first()?;
    let mut from = 0;
    loop {
        let at = from + first_of(rest.get(from..)?, [first])?;
        if rest[at..].starts_with(literal) {
            return Some(at);
        }
        from = at + 1;
    }
}

fn time_prefix(
    pattern: Option<&TimePattern>,
    text: &[u8],
    cx: &mut Context,
) -> Option<(crate::time::Time, usize)> {
    match pattern {
        None => cx.clock.prefix(text),
        Some(pattern) => pattern.prefix(text, &mut cx.clock),
    }
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

/// A level in a line that has one.
pub fn level(text: &[u8]) -> Option<Severity> {
    Severity::from_name(text.trim_ascii())
}

/// True when a record has got what an access log is about.
pub fn has_request(record: &Record<'_>) -> bool {
    record.has(Field::Status) || record.has(Field::Method)
}

#[cfg(test)]
#[path = "program_tests.rs"]
mod tests;
