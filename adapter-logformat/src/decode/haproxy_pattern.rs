//! HAProxy's `log-format` strings → tokens (configuration manual, 8.2.6 "Custom log format").

use super::program::{Ambiguous, Meaning, Program, Token, Variable};
use crate::record::Field;

/// # Errors
/// [`Ambiguous`]
pub fn compile(pattern: &str) -> Result<Program, Ambiguous> {
    let bytes = pattern.as_bytes();
    let mut tokens = Vec::new();
    let mut literal = Vec::new();
    let mut quote_all = false;
    let mut i = 0;
    while i < bytes.len() {
        match bytes[i] {
            // Before 1.6 blanks had to be escaped; configurations still do.
            b'\\' if matches!(bytes.get(i + 1), Some(b' ' | b'"' | b'\\' | b'#')) => {
                literal.push(bytes[i + 1]);
                i += 2;
            }
            b'%' if bytes.get(i + 1) == Some(&b'%') => {
                literal.push(b'%');
                i += 2;
            }
            b'%' => {
                let at = i;
                i += 1;
                let mut quoted = quote_all;
                if bytes.get(i) == Some(&b'{') {
                    let Some(end) = pattern[i..].find('}') else {
                        return Ambiguous::new(at, "'%{' without its '}'");
                    };
                    let flags = &pattern[i + 1..i + end];
                    quoted |= flags.contains("+Q");
                    quoted &= !flags.contains("-Q");
                    i += end + 1;
                }
                let (name, used) = if bytes.get(i) == Some(&b'[') {
                    let Some(end) = closing(&bytes[i..]) else {
                        return Ambiguous::new(at, "'%[' without its ']'");
                    };
                    (&pattern[i + 1..i + end], end + 1)
                } else {
                    let length = bytes[i..].iter().take_while(|b| b.is_ascii_alphabetic()).count();
                    longest(&pattern[i..i + length])
                };
                if name.is_empty() {
                    return Ambiguous::new(
                        at,
                        "'%' without the name of a variable; write %% for a percent sign",
                    );
                }
                i += used;
                if name == "o" {
                    // Flags for all that follow; prints nothing.
                    quote_all = quoted;
                    continue;
                }
                let Some(variable) = variable(name, at) else {
                    return Ambiguous::new(at, format!("'%{name}' is no variable of a log-format"));
                };
                if quoted {
                    literal.push(b'"');
                }
                tokens.push(Token::Literal(std::mem::take(&mut literal)));
                tokens.push(Token::Variable(variable));
                if quoted {
                    literal.push(b'"');
                }
            }
            byte => {
                literal.push(byte);
                i += 1;
            }
        }
    }
    tokens.push(Token::Literal(literal));
    Program::compile(tokens, "haproxy")
}

/// The `]` that ends an expression, in which brackets nest.
fn closing(bytes: &[u8]) -> Option<usize> {
    let mut depth = 0;
    for (i, byte) in bytes.iter().enumerate() {
        match byte {
            b'[' => depth += 1,
            b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(i);
                }
            }
            _ => {}
        }
    }
    None
}

/// Names are not delimited: the longest that is one counts.
fn longest(text: &str) -> (&str, usize) {
    for length in (1..=text.len().min(4)).rev() {
        if text[..length] == *"o" || variable(&text[..length], 0).is_some() {
            return (&text[..length], length);
        }
    }
    (text, text.len())
}

fn variable(name: &str, at: usize) -> Option<Variable> {
    let named = |name: &str| Meaning::named(name);
    let mut blanks = false;
    let mut braces = false;
    let meaning = match name {
        "ci" => Meaning::Client,
        "cp" => Meaning::Number(Field::ClientPort),
        "t" | "tr" | "T" | "Tl" | "trg" | "trl" | "Ts" => Meaning::Time(None),
        "ms" => Meaning::Ignored,
        "f" | "ft" => named("frontend_name"),
        "b" => named("backend_name"),
        "s" => named("server_name"),
        "si" => named("server_ip"),
        "sp" => named("server_port"),
        "bi" => named("backend_source_ip"),
        "bp" => named("backend_source_port"),
        "fi" => named("frontend_ip"),
        "fp" => named("frontend_port"),
        "Tq" | "TR" => named("http.request.time_wait_ms"),
        "Tw" => named("total_waiting_time_ms"),
        "Tc" => named("connection_wait_time_ms"),
        "Tr" => named("http.request.time_wait_without_data_ms"),
        "Tt" | "Ta" => Meaning::Duration(1_000_000),
        "Td" => named("data_transmission_time_ms"),
        "Th" => named("handshake_time_ms"),
        "Ti" => named("idle_time_ms"),
        "Tu" => named("total_time_ms"),
        "ST" => Meaning::Number(Field::Status),
        "B" => named("bytes_read"),
        "U" => Meaning::Number(Field::RequestBytes),
        "CC" => named("http.request.captured_cookie"),
        "CS" => named("http.response.captured_cookie"),
        "ts" | "tsc" => named("termination_state"),
        "ac" => named("connections.active"),
        "fc" => named("connections.frontend"),
        "bc" => named("connections.backend"),
        "sc" => named("connections.server"),
        "rc" => named("connections.retries"),
        "sq" => named("server_queue"),
        "bq" => named("backend_queue"),
        "hr" | "hrl" => {
            braces = true;
            named("http.request.captured_headers")
        }
        "hs" | "hsl" => {
            braces = true;
            named("http.response.captured_headers")
        }
        "r" => {
            blanks = true;
            Meaning::Request
        }
        "HM" => Meaning::Text(Field::Method),
        "HP" | "HU" | "HPO" => Meaning::Text(Field::Url),
        "HQ" => named("http.request.query"),
        "HV" => Meaning::Protocol,
        "ID" => Meaning::Text(Field::RequestId),
        "H" => Meaning::Text(Field::Host),
        "pid" => Meaning::Number(Field::Pid),
        "rt" => named("request_counter"),
        "lc" => named("log_counter"),
        "sslc" => named("tls_cipher"),
        "sslv" => named("tls_version"),
        other if other.contains([',', '(', '.', '_']) || other.len() > 4 => {
            blanks = true;
            named(&other.replace(['.', '(', ')', ','], "_").trim_matches('_').replace("__", "_"))
        }
        _ => return None,
    };
    Some(Variable { blanks, braces, ..Variable::new(meaning, at) })
}
