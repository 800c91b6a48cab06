//! Pattern strings of logback and log4j 1 and 2 → tokens: `%d{ISO8601} [%thread] %-5level %logger{36} - %msg%n`.
//!
//! (Logback manual, "Layouts"; Log4j 2 manual, "Pattern Layout"; Spring Boot's `${LOG_LEVEL_PATTERN:-%5p}` and colours.)

use super::{
    program::{Ambiguous, Meaning, Program, Token, Variable},
    time_pattern::TimePattern,
};
use crate::record::Field;

/// # Errors
/// [`Ambiguous`]
pub fn compile(pattern: &str) -> Result<Program, Ambiguous> {
    let plain = properties(pattern)?;
    let mut tokens = Vec::new();
    parse(&plain, 0, &mut tokens)?;
    trim_end(&mut tokens);
    separate(&mut tokens);
    Program::compile(tokens, "app")
}

/// What the application itself wrote, such as its NDC in ` %x - `, ends at a separator that is more than blanks.
fn separate(tokens: &mut [Token]) {
    for i in 1..tokens.len() {
        if let [Token::Variable(variable), Token::Literal(text)] = &mut tokens[i - 1..=i] {
            variable.blanks &= text.trim_ascii().is_empty();
        }
    }
}

/// `${NAME:-default}` is what it is by default.
fn properties(pattern: &str) -> Result<String, Ambiguous> {
    let mut text = pattern.to_owned();
    while let Some(at) = text.find("${") {
        let mut depth = 0;
        let end = text[at..].char_indices().find(|(_, c)| {
            depth += i32::from(*c == '{') - i32::from(*c == '}');
            *c == '}' && depth == 0
        });
        let Some((length, _)) = end else { return Ambiguous::new(at, "'${' without its '}'") };
        let inner = &text[at + 2..at + length];
        let (name, default) =
            inner.split_once(":-").or_else(|| inner.rsplit_once(':')).unwrap_or((inner, ""));
        let value = match (name.trim_start_matches("sys:"), default) {
            (name, _) if name == "PID" || name.ends_with(".PID") => "%pid".to_owned(),
            (_, "") => {
                return Ambiguous::new(
                    at,
                    format!("the property {name} has no default here; write what it stands for"),
                );
            }
            (_, default) => default.to_owned(),
        };
        text.replace_range(at..=at + length, &value);
    }
    Ok(text)
}

/// Line ends and traces behind the message are no part of the line.
fn trim_end(tokens: &mut Vec<Token>) {
    while let Some(Token::Literal(text)) = tokens.last_mut() {
        while text.last().is_some_and(u8::is_ascii_whitespace) {
            text.pop();
        }
        if !text.is_empty() {
            return;
        }
        tokens.pop();
    }
}

fn parse(pattern: &str, offset: usize, tokens: &mut Vec<Token>) -> Result<(), Ambiguous> {
    let bytes = pattern.as_bytes();
    let mut literal = Vec::new();
    let mut ended = false;
    let mut i = 0;
    while i < bytes.len() {
        match bytes[i] {
            b'\\' if i + 1 < bytes.len() => {
                literal.push(match bytes[i + 1] {
                    b't' => b'\t',
                    b'n' => b'\n',
                    other => other,
                });
                i += 2;
            }
            b'%' if bytes.get(i + 1) == Some(&b'%') => {
                literal.push(b'%');
                i += 2;
            }
            b'%' => {
                let at = offset + i;
                i += 1;
                let width =
                    bytes[i..].iter().take_while(|b| b.is_ascii_digit() || matches!(b, b'-' | b'.')).count();
                let padded =
                    bytes[i..i + width].iter().any(u8::is_ascii_digit) && bytes.get(i) != Some(&b'.');
                i += width;
                let letters = bytes[i..].iter().take_while(|b| b.is_ascii_alphabetic()).count();
                let (word, used) = longest(&pattern[i..i + letters]);
                i += used;
                let mut group = None;
                if bytes.get(i) == Some(&b'(') {
                    let Some(end) = closing(&bytes[i..], b'(', b')') else {
                        return Ambiguous::new(at, "'(' without its ')'");
                    };
                    group = Some((i + 1, i + end));
                    i += end + 1;
                }
                let mut options = Vec::new();
                while bytes.get(i) == Some(&b'{') {
                    let Some(end) = closing(&bytes[i..], b'{', b'}') else {
                        return Ambiguous::new(at, "'{' without its '}'");
                    };
                    options.push((i + 1, i + end));
                    i += end + 1;
                }
                // log4j2 has what logback has in parentheses as its first option.
                if matches!(word, "highlight" | "style" | "replace" | "maxLen" | "maxLength")
                    && group.is_none()
                {
                    group = options.first().copied();
                }
                tokens.push(Token::Literal(std::mem::take(&mut literal)));
                if let Some((from, to)) = group {
                    let start = tokens.len();
                    parse(&pattern[from..to], offset + from, tokens)?;
                    if padded {
                        let last = tokens[start..].iter_mut().rev().find_map(|token| match token {
                            Token::Variable(variable) => Some(variable),
                            _ => None,
                        });
                        if let Some(variable) = last {
                            variable.padded = true;
                        }
                    }
                    continue;
                }
                let option = options.first().map_or("", |(from, to)| &pattern[*from..*to]);
                if matches!(word, "n") {
                    ended = true;
                    continue;
                }
                if is_trace(word) {
                    continue;
                }
                if ended {
                    return Ambiguous::new(
                        at,
                        "something follows the end of the line; describe the first line only",
                    );
                }
                let zone = options.get(1).map(|(from, to)| &pattern[*from..*to]);
                let mut variable = word_variable(word, option, zone, at)?;
                variable.padded |= padded;
                tokens.push(Token::Variable(variable));
            }
            byte => {
                literal.push(byte);
                i += 1;
            }
        }
    }
    tokens.push(Token::Literal(literal));
    Ok(())
}

fn closing(bytes: &[u8], open: u8, close: u8) -> Option<usize> {
    let mut depth = 0;
    for (i, byte) in bytes.iter().enumerate() {
        if *byte == open {
            depth += 1;
        } else if *byte == close {
            depth -= 1;
            if depth == 0 {
                return Some(i);
            }
        }
    }
    None
}

fn is_trace(word: &str) -> bool {
    matches!(
        word,
        "ex" | "exception"
            | "throwable"
            | "xEx"
            | "xException"
            | "xThrowable"
            | "rEx"
            | "rException"
            | "rThrowable"
            | "nopex"
            | "nopexception"
            | "rootException"
            | "wEx"
            | "wex"
            | "xwEx"
    )
}

const WORDS: &str = "d date p level le c lo logger t thread tn threadName tid threadId T tp m msg message n L line F file M method C class \
    X mdc MDC r relative ex exception throwable xEx xException xThrowable rEx rException rThrowable nopex nopexception rootException \
    wEx wex xwEx marker markerSimpleName caller contextName cn property highlight style replace maxLen maxLength clr pid processId sn \
    sequenceNumber i u uuid K map MAP x NDC l location kvp black red green yellow blue magenta cyan white gray faint boldRed \
    boldGreen boldYellow boldBlue boldMagenta boldCyan boldWhite correlationId applicationName applicationGroup";

/// The longest word at the start: `%msgx` is `%msg` and an x.
fn longest(text: &str) -> (&str, usize) {
    let known = (1..=text.len()).rev().find(|length| WORDS.split_whitespace().any(|w| w == &text[..*length]));
    let length = known.unwrap_or(text.len());
    (&text[..length], length)
}

/// Logback writes the zone behind a comma, perhaps with quotes around the notation; log4j in braces of its own.
fn notation_and_zone<'a>(option: &'a str, zone: Option<&'a str>) -> (&'a str, Option<&'a str>) {
    if let Some((notation, rest)) = option.strip_prefix('"').and_then(|text| text.split_once('"')) {
        let behind =
            rest.trim_start_matches([',', ' ']).split(',').next().filter(|zone| !zone.trim().is_empty());
        return (notation.trim(), behind.or(zone));
    }
    match option.split_once(',').map(|(notation, rest)| (notation, rest.split(',').next().unwrap_or(rest))) {
        // `HH:mm:ss,SSS` has a comma of its own.
        Some((notation, own)) if zone.is_none() && is_zone(own) => (notation.trim(), Some(own)),
        _ => match option.rsplit_once(',') {
            Some((notation, own)) if zone.is_none() && is_zone(own) => (notation.trim(), Some(own)),
            _ => (option.trim(), zone),
        },
    }
}

fn is_zone(text: &str) -> bool {
    let text = text.trim();
    text.len() > 2 && TimePattern::java("HH").and_then(|time| time.in_zone(text)).is_ok()
}

fn word_variable(word: &str, option: &str, zone: Option<&str>, at: usize) -> Result<Variable, Ambiguous> {
    let mut blanks = false;
    let meaning = match word {
        "d" | "date" => {
            let (notation, zone) = notation_and_zone(option, zone);
            let compiled = TimePattern::java(notation).and_then(|time| match zone {
                None => Ok(time),
                Some(zone) => time.in_zone(zone),
            });
            match compiled {
                Ok(notation) => Meaning::Time(Some(notation)),
                Err(error) => return Ambiguous::new(at, format!("{option:?}: {error}")),
            }
        }
        "p" | "level" | "le" => Meaning::Level,
        "c" | "lo" | "logger" => Meaning::Text(Field::Logger),
        "t" | "thread" | "tn" | "threadName" => {
            blanks = true;
            Meaning::Text(Field::ThreadName)
        }
        "tid" | "threadId" | "T" => Meaning::Number(Field::ThreadId),
        "m" | "msg" | "message" => Meaning::Message,
        "L" | "line" => Meaning::Number(Field::Line),
        "F" | "file" => Meaning::Text(Field::File),
        "M" | "method" => Meaning::Text(Field::Function),
        "C" | "class" => Meaning::named("class"),
        "pid" | "processId" => Meaning::Number(Field::Pid),
        "r" | "relative" => Meaning::named("uptime_ms"),
        "sn" | "sequenceNumber" => Meaning::named("sequence"),
        "u" | "uuid" => Meaning::named("uuid"),
        "tp" => Meaning::named("thread_priority"),
        "applicationName" => Meaning::Text(Field::Service),
        "X" | "mdc" | "MDC" | "K" | "map" | "MAP" | "property" => {
            blanks = true;
            match option.split(":-").next().unwrap_or_default() {
                "" => Meaning::Pairs,
                "traceId" | "trace_id" | "trace.id" | "X-B3-TraceId" => Meaning::Text(Field::TraceId),
                "spanId" | "span_id" | "span.id" | "X-B3-SpanId" => Meaning::Text(Field::SpanId),
                "requestId" | "request_id" => Meaning::Text(Field::RequestId),
                key => Meaning::named(key),
            }
        }
        "kvp" | "x" | "NDC" | "marker" | "markerSimpleName" | "caller" | "contextName" | "cn" | "l"
        | "location" | "correlationId" | "applicationGroup" => {
            blanks = true;
            Meaning::named(word)
        }
        "" => return Ambiguous::new(at, "'%' without a word behind it; write %% for a percent sign"),
        other => return Ambiguous::new(at, format!("'%{other}' is no word of logback or log4j")),
    };
    // Names of threads hold blanks; in nearly every pattern they stand in brackets, which end them.
    if word.starts_with('t') {
        blanks = false;
    }
    Ok(Variable { blanks, ..Variable::new(meaning, at) })
}
