//! PostgreSQL's `log_line_prefix` → tokens, with the level and the message that follow every prefix.

use super::{
    postgres,
    program::{Ambiguous, Meaning, Program, Token, Variable},
};
use crate::record::{Field, Record};

/// # Errors
/// [`Ambiguous`]
pub fn compile(prefix: &str) -> Result<Program, Ambiguous> {
    let (session, plain) = match prefix.split_once("%q") {
        Some((before, behind)) => (format!("{before}{behind}"), Some(before)),
        None => (prefix.to_owned(), None),
    };
    let program = one(&session)?;
    match plain {
        // What `%q` stops is missing from the lines of processes without a session.
        Some(plain) => Ok(program.or(one(plain)?)),
        None => Ok(program),
    }
}

fn one(prefix: &str) -> Result<Program, Ambiguous> {
    let mut tokens = Vec::new();
    let mut literal = Vec::new();
    let bytes = prefix.as_bytes();
    let mut i = 0;
    while i < bytes.len() {
        if bytes[i] != b'%' {
            literal.push(bytes[i]);
            i += 1;
            continue;
        }
        let at = i;
        i += 1;
        let width = bytes[i..].iter().take_while(|b| b.is_ascii_digit() || **b == b'-').count();
        i += width;
        let Some(letter) = bytes.get(i) else { return Ambiguous::new(at, "'%' without its letter") };
        i += 1;
        if *letter == b'%' {
            literal.push(b'%');
            continue;
        }
        tokens.push(Token::Literal(std::mem::take(&mut literal)));
        let mut variable = escape(*letter, at)?;
        variable.padded = width > 0;
        tokens.push(Token::Variable(variable));
    }
    tokens.push(Token::Literal(literal));
    tokens.push(Token::Variable(Variable::new(Meaning::Read(postgres::kind), prefix.len())));
    tokens.push(Token::Literal(b":  ".to_vec()));
    tokens.push(Token::Variable(Variable {
        blanks: true,
        ..Variable::new(Meaning::Read(postgres::message), prefix.len())
    }));
    Ok(Program::compile(tokens, "postgresql.log")?.strict())
}

fn escape(letter: u8, at: usize) -> Result<Variable, Ambiguous> {
    let mut blanks = false;
    let meaning = match letter {
        b't' | b'm' | b'n' => Meaning::Time(None),
        b'p' => Meaning::Number(Field::Pid),
        b'u' => Meaning::Read(user),
        b'd' => Meaning::named("database"),
        b'h' | b'r' => Meaning::Read(postgres::host),
        b'a' => {
            blanks = true;
            Meaning::named("application_name")
        }
        b'b' => {
            blanks = true;
            Meaning::named("backend_type")
        }
        b'i' => {
            blanks = true;
            Meaning::named("command_tag")
        }
        b'P' => Meaning::named("leader_pid"),
        b'e' => Meaning::named("sql_state_code"),
        b'c' => Meaning::named("session_id"),
        b'l' => Meaning::named("session_line_number"),
        b's' => Meaning::named("session_start_time"),
        b'v' => Meaning::named("virtual_transaction_id"),
        b'x' => Meaning::named("transaction_id"),
        b'Q' => Meaning::named("query_id"),
        other => {
            return Ambiguous::new(at, format!("'%{}' is no escape of log_line_prefix", char::from(other)));
        }
    };
    // A session's start is a time with blanks in it.
    let blanks = blanks || letter == b's';
    Ok(Variable { blanks, ..Variable::new(meaning, at) })
}

fn user<'a>(text: &'a [u8], record: &mut Record<'a>) -> bool {
    if text != b"[unknown]" {
        record.text(Field::User, text);
    }
    true
}
