//! Our own notation for the formats that servers have out of the box: `<name>` for a value, everything else is itself.
//!
//! Marks behind the name: `*` may hold blanks, `~` is filled up with blanks, `?` in braces or not there, `|` a list of upstreams. `<.>`: from
//! here on the line may end or hold more. A name without a field of its own goes to the format's namespace.

use super::{
    Context, Decoded,
    program::{Ambiguous, Meaning, Program, Token, Variable},
    refuse,
};
use crate::record::{Field, Record};

/// # Errors
/// [`Ambiguous`]
pub fn compile(template: &str, space: &'static str) -> Result<Program, Ambiguous> {
    let mut tokens = Vec::new();
    let mut rest = template;
    while let Some(open) = rest.find('<') {
        let at = template.len() - rest.len() + open;
        let Some(close) = rest[open..].find('>') else { return Ambiguous::new(at, "'<' without its '>'") };
        tokens.push(Token::Literal(rest.as_bytes()[..open].to_vec()));
        let name = &rest[open + 1..open + close];
        rest = &rest[open + close + 1..];
        if name == "." {
            tokens.push(Token::Open);
            continue;
        }
        let bare = name.trim_end_matches(['*', '~', '?', '|']);
        let marks = &name[bare.len()..];
        let mut variable = Variable::new(meaning(bare), at);
        variable.blanks = marks.contains('*');
        variable.padded = marks.contains('~');
        variable.braces = marks.contains('?');
        variable.list = marks.contains('|');
        tokens.push(Token::Variable(variable));
    }
    tokens.push(Token::Literal(rest.as_bytes().to_vec()));
    Program::compile(tokens, space)
}

/// A format of ours: strict, because it is a candidate of detection, and compiled because a test has seen it compile.
pub fn fixed(template: &'static str, space: &'static str) -> Option<Program> {
    compile(template, space).ok().map(Program::strict)
}

/// A compiled format of ours, made at its first line.
pub type Fixed = std::sync::LazyLock<Option<Program>>;

/// Runs it.
pub fn run<'a>(fixed: &'static Fixed, line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    match &**fixed {
        Some(program) => program.decode(line, cx, record),
        // A test reads a line with each of them.
        None => refuse(0, "the format does not compile"),
    }
}

fn meaning(name: &str) -> Meaning {
    match name {
        "_" => Meaning::Ignored,
        "time" => Meaning::Time(None),
        "level" => Meaning::Level,
        "letter" => Meaning::Read(super::servers::capnslog_level),
        "message" => Meaning::Message,
        "request" => Meaning::Request,
        "client" => Meaning::Client,
        "client_port" => Meaning::ClientPort,
        "destination" => Meaning::Peer("destination"),
        "protocol" => Meaning::Protocol,
        "origin" => Meaning::Origin,
        "mdc" => Meaning::Pairs,
        "seconds" => Meaning::Duration(1_000_000_000),
        "millis" => Meaning::Duration(1_000_000),
        "micros" => Meaning::Duration(1000),
        "logger" => Meaning::Text(Field::Logger),
        "thread" => Meaning::Text(Field::ThreadName),
        "thread_id" => Meaning::Number(Field::ThreadId),
        "pid" => Meaning::Number(Field::Pid),
        "process" => Meaning::Text(Field::Process),
        "host" => Meaning::Text(Field::Host),
        "service" => Meaning::Text(Field::Service),
        "method" => Meaning::Text(Field::Method),
        "url" => Meaning::Text(Field::Url),
        "status" => Meaning::Number(Field::Status),
        "bytes" => Meaning::Number(Field::ResponseBytes),
        "request_bytes" => Meaning::Number(Field::RequestBytes),
        "referrer" => Meaning::Text(Field::Referrer),
        "agent" => Meaning::Text(Field::UserAgent),
        "user" => Meaning::Text(Field::User),
        "request_id" => Meaning::Text(Field::RequestId),
        "trace_id" => Meaning::Text(Field::TraceId),
        "span_id" => Meaning::Text(Field::SpanId),
        "server" => Meaning::Text(Field::ServerAddress),
        "server_port" => Meaning::Number(Field::ServerPort),
        "function" => Meaning::Text(Field::Function),
        "file" => Meaning::Text(Field::File),
        "line" => Meaning::Number(Field::Line),
        "code" => Meaning::Text(Field::ErrorCode),
        other => Meaning::named(other),
    }
}
