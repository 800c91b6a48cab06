//! nginx' `log_format` strings → tokens (ngx_http_log_module, and the variables of the core, proxy and upstream modules).

use super::program::{Ambiguous, Meaning, Program, Token, Variable};
use crate::record::Field;

/// # Errors
/// [`Ambiguous`]
pub fn compile(pattern: &str) -> Result<Program, Ambiguous> {
    Program::compile(tokens(pattern)?, "nginx")
}

fn tokens(pattern: &str) -> Result<Vec<Token>, Ambiguous> {
    let mut tokens = Vec::new();
    let mut rest = pattern;
    while let Some(dollar) = rest.find('$') {
        tokens.push(Token::Literal(rest.as_bytes()[..dollar].to_vec()));
        let at = pattern.len() - rest.len() + dollar;
        let behind = &rest[dollar + 1..];
        let (name, used) = match behind.strip_prefix('{') {
            Some(inner) => match inner.find('}') {
                Some(end) => (&inner[..end], end + 2),
                None => return Err(Ambiguous { at, reason: "'${' without its '}'".to_owned() }),
            },
            None => {
                let end =
                    behind.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(behind.len());
                (&behind[..end], end)
            }
        };
        if name.is_empty() {
            return Err(Ambiguous { at, reason: "'$' without a name; nginx has no literal '$'".to_owned() });
        }
        tokens.push(Token::Variable(variable(name, at)));
        rest = &behind[used..];
    }
    tokens.push(Token::Literal(rest.as_bytes().to_vec()));
    Ok(tokens)
}

fn variable(name: &str, at: usize) -> Variable {
    let meaning = match name {
        "time_local" | "time_iso8601" | "msec" => Meaning::Time(None),
        "request" => Meaning::Request,
        "remote_addr" => Meaning::Client,
        "remote_user" => Meaning::Text(Field::User),
        "remote_port" => Meaning::Number(Field::ClientPort),
        "request_method" => Meaning::Text(Field::Method),
        "request_uri" => Meaning::Text(Field::Url),
        "server_protocol" => Meaning::Protocol,
        "status" => Meaning::Number(Field::Status),
        "body_bytes_sent" => Meaning::Number(Field::ResponseBytes),
        "request_length" => Meaning::Number(Field::RequestBytes),
        "http_referer" => Meaning::Text(Field::Referrer),
        "http_user_agent" => Meaning::Text(Field::UserAgent),
        "request_time" => Meaning::Duration(1_000_000_000),
        "host" | "http_host" | "server_name" => Meaning::Text(Field::ServerAddress),
        "server_port" => Meaning::Number(Field::ServerPort),
        "request_id" | "req_id" => Meaning::Text(Field::RequestId),
        other => Meaning::Named(other.to_owned()),
    };
    let header = name.starts_with("http_")
        || name.starts_with("sent_http_")
        || name.starts_with("cookie_")
        || name.starts_with("arg_");
    let blanks = header && name != "http_host"
        || matches!(name, "request" | "uri" | "document_uri" | "request_body" | "request_filename");
    Variable { blanks, list: name.starts_with("upstream_"), ..Variable::new(meaning, at) }
}
