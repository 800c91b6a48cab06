//! Envoy's default access log, Istio's, and any format string of either: `%OPERATOR(ARGUMENT):LENGTH%`.
//!
//! (Envoy documentation, "Access logging"; Istio, `meshConfig.accessLogFormat`.)

use super::{
    Context, Decoded,
    program::{Ambiguous, Meaning, Program, Token, Variable},
    template::{Fixed, run},
    time_pattern::TimePattern,
};
use crate::record::{Field, Record};

const ENVOY: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"";
const ISTIO: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%";

static ENVOY_PROGRAM: Fixed = Fixed::new(|| compile(ENVOY).ok().map(Program::strict));
static ISTIO_PROGRAM: Fixed = Fixed::new(|| compile(ISTIO).ok().map(Program::strict));

pub fn decode<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    run(&ENVOY_PROGRAM, line, cx, record)
}

pub fn istio<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    run(&ISTIO_PROGRAM, line, cx, record)
}

/// # Errors
/// [`Ambiguous`]
pub fn compile(pattern: &str) -> Result<Program, Ambiguous> {
    let pattern = pattern.strip_suffix("\\n").unwrap_or(pattern).trim_end_matches('\n');
    let mut tokens = Vec::new();
    let mut rest = pattern;
    while let Some(percent) = rest.find('%') {
        let at = pattern.len() - rest.len() + percent;
        tokens.push(Token::Literal(rest.as_bytes()[..percent].to_vec()));
        let behind = &rest[percent + 1..];
        let Some(end) = end(behind) else {
            return Ambiguous::new(
                at,
                "'%' without the '%' that ends the operator; write %% for a percent sign",
            );
        };
        if end == 0 {
            tokens.push(Token::Literal(b"%".to_vec()));
        } else {
            tokens.push(Token::Variable(operator(&behind[..end], at)?));
        }
        rest = &behind[end + 1..];
    }
    tokens.push(Token::Literal(rest.as_bytes().to_vec()));
    Program::compile(tokens, "envoy")
}

/// The closing `%`; inside of parentheses it is part of a time's notation.
fn end(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (i, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            b'%' if depth <= 0 => return Some(i),
            _ => {}
        }
    }
    None
}

fn operator(text: &str, at: usize) -> Result<Variable, Ambiguous> {
    let name = text.find(['(', ':']).map_or(text, |end| &text[..end]);
    let argument = text
        .find('(')
        .zip(text.rfind(')'))
        .map_or("", |(open, close)| text.get(open + 1..close).unwrap_or(""));
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_') {
        return Ambiguous::new(at, format!("'%{text}%' is no operator"));
    }
    let mut blanks = false;
    let meaning = match name {
        "START_TIME" | "EMIT_TIME" if argument.is_empty() => Meaning::Time(None),
        // Envoy's notations are in UTC whether they say so or not.
        "START_TIME" | "EMIT_TIME" => match TimePattern::strftime(argument).and_then(|t| t.in_zone("UTC")) {
            Ok(notation) => Meaning::Time(Some(notation)),
            Err(error) => return Ambiguous::new(at, error),
        },
        "REQ" | "RESP" | "TRAILER" => {
            let header = argument.to_ascii_lowercase();
            let meaning = header_meaning(name, &header);
            blanks = !matches!(
                meaning,
                Meaning::Text(Field::Method | Field::Url | Field::ServerAddress | Field::RequestId)
            ) && header != "x-envoy-upstream-service-time";
            meaning
        }
        "PROTOCOL" => Meaning::Protocol,
        "RESPONSE_CODE" => Meaning::Number(Field::Status),
        "BYTES_RECEIVED" => Meaning::Number(Field::RequestBytes),
        "BYTES_SENT" => Meaning::Number(Field::ResponseBytes),
        "DURATION" => Meaning::Duration(1_000_000),
        "DOWNSTREAM_REMOTE_ADDRESS" | "DOWNSTREAM_DIRECT_REMOTE_ADDRESS" => Meaning::ClientPort,
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" => Meaning::Client,
        "HOSTNAME" => Meaning::Text(Field::Host),
        "TRACE_ID" => Meaning::Text(Field::TraceId),
        "STREAM_ID" => Meaning::Text(Field::RequestId),
        "DYNAMIC_METADATA"
        | "FILTER_STATE"
        | "CLUSTER_METADATA"
        | "UPSTREAM_METADATA"
        | "ENVIRONMENT"
        | "METADATA"
        | "CONNECTION_TERMINATION_DETAILS_TEXT"
        | "DOWNSTREAM_PEER_SUBJECT"
        | "DOWNSTREAM_PEER_ISSUER"
        | "DOWNSTREAM_LOCAL_SUBJECT"
        | "UPSTREAM_TRANSPORT_FAILURE_REASON"
        | "DOWNSTREAM_TRANSPORT_FAILURE_REASON"
        | "LOCAL_REPLY_BODY" => {
            blanks = true;
            let suffix = argument.replace([':', '.'], "_");
            Meaning::Named(format!(
                "{}{}{suffix}",
                name.to_ascii_lowercase(),
                if suffix.is_empty() { "" } else { "_" }
            ))
        }
        other => Meaning::Named(other.to_ascii_lowercase()),
    };
    Ok(Variable { blanks, ..Variable::new(meaning, at) })
}

fn header_meaning(side: &str, header: &str) -> Meaning {
    // `A?B`: the second where there is no first.
    let first = header.split('?').next().unwrap_or(header);
    match (side, first) {
        ("REQ", ":method") => Meaning::Text(Field::Method),
        ("REQ", ":path" | "x-envoy-original-path") => Meaning::Text(Field::Url),
        ("REQ", ":authority" | "host") => Meaning::Text(Field::ServerAddress),
        ("REQ", "user-agent") => Meaning::Text(Field::UserAgent),
        ("REQ", "referer") => Meaning::Text(Field::Referrer),
        ("REQ", "x-request-id") => Meaning::Text(Field::RequestId),
        ("REQ", "x-forwarded-for") => Meaning::named("x_forwarded_for"),
        ("RESP", "x-envoy-upstream-service-time") => Meaning::named("upstream_service_time"),
        ("RESP", ":status") => Meaning::Number(Field::Status),
        (side, other) => {
            let kind = match side {
                "REQ" => "request_header",
                "RESP" => "response_header",
                _ => "trailer",
            };
            Meaning::Named(format!("{kind}.{}", other.trim_start_matches(':')))
        }
    }
}
