//! A program in VRL over every record as it is about to be written: a JSON object with the names of the schema. Only with the cargo feature `vrl`.
//!
//! What the program leaves alone is copied byte for byte, so that numbers beyond 64 bits and the order of the fields survive. It is given no functions
//! that reach out of the process, and none whose result differs from one call to the next: a record that is made again after a kill has to be the same.

use std::ops::{ControlFlow, Range};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use podkit::limit::Every;
use vrl::compiler::runtime::{Runtime, Terminate};
use vrl::compiler::{ExpressionError, TargetValue, TimeZone};
use vrl::diagnostic::{Diagnostic, DiagnosticList, Note};
use vrl::value::{KeyString, ObjectMap, Secrets, Value};

use crate::{
    config::Vrl,
    json::{self, Token},
};

/// Steps that a program may take for one record. A count, because a clock would stop it at another place the next time.
const STEPS: u32 = 100_000;

const NOT_TWICE: &str =
    "its result differs from call to call, and a record made again after a kill has to be the same";
const NO_END: &str = "its time has no bound; use from: grok";
const NO_SIZE: &str = "its result has no bound";
/// Functions that a program does not get, and why.
const LEFT_OUT: [(&str, &str); 18] = [
    ("now", NOT_TWICE),
    ("random_bool", NOT_TWICE),
    ("random_bytes", NOT_TWICE),
    ("random_float", NOT_TWICE),
    ("random_int", NOT_TWICE),
    ("uuid_v4", NOT_TWICE),
    ("uuid_v7", NOT_TWICE),
    ("parse_grok", NO_END),
    ("parse_groks", NO_END),
    ("decode_gzip", NO_SIZE),
    ("decode_lz4", NO_SIZE),
    ("decode_snappy", NO_SIZE),
    ("decode_zlib", NO_SIZE),
    ("decode_zstd", NO_SIZE),
    ("log", "a program has the record to write to"),
    ("get_env_var", "a program sees the record only"),
    ("get_hostname", "a program sees the record only"),
    ("dns_lookup", "a program sees the record only"),
];

/// A compiled program.
#[derive(Debug)]
pub struct Program(vrl::compiler::Program);

/// What became of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    Kept,
    /// `abort`
    Dropped,
    /// An error while it ran: the record is as it was.
    Failed,
}

impl Program {
    /// The program of a configuration, if it has one.
    ///
    /// # Errors
    /// Its file cannot be read, or as [`Self::compile`].
    pub fn of(configured: Option<&Vrl>) -> Result<Option<Self>, String> {
        Ok(Some(match configured {
            None => return Ok(None),
            Some(Vrl::Text(source)) => Self::compile(source)?,
            Some(Vrl::File { file }) => {
                let source = std::fs::read_to_string(file).map_err(|error| {
                    format!("vrl: {} cannot be read: {error}; mount it, or correct the path", file.display())
                })?;
                Self::compile(&source).map_err(|problem| format!("vrl: {}: {problem}", file.display()))?
            }
        }))
    }

    /// # Errors
    /// What is wrong with it, with its line and what to do.
    pub fn compile(source: &str) -> Result<Self, String> {
        let left_out = |name: &str| LEFT_OUT.iter().any(|(out, _)| *out == name);
        let mut functions = vrl::stdlib::all();
        functions.retain(|function| !left_out(function.identifier()));
        match vrl::compiler::compile(source, &functions) {
            Ok(compiled) => Ok(Self(compiled.program)),
            Err(problems) => Err(explain(source, &problems)),
        }
    }
}

fn explain(source: &str, problems: &DiagnosticList) -> String {
    let errors = problems.iter().filter(|problem| problem.is_problem());
    errors.map(|error| explain_one(source, error)).collect::<Vec<_>>().join("; ")
}

/// `line 2: call to undefined function "now" (…): …`
fn explain_one(source: &str, error: &Diagnostic) -> String {
    let primary = error.labels.iter().find(|label| label.primary).or(error.labels.first());
    let start = primary.map_or(0, |label| label.span.start().min(source.len()));
    let line = source.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count() + 1;
    let mut text = format!("line {line}: {}", error.message);
    for label in &error.labels {
        text.push_str(": ");
        text.push_str(&label.message);
    }
    for note in &error.notes {
        if let Note::Hint(hint) | Note::Basic(hint) = note {
            text.push_str("; ");
            text.push_str(hint);
        }
    }
    let at = source.get(start..).unwrap_or_default();
    let name = &at[..at.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(at.len())];
    if let Some((name, why)) = LEFT_OUT.iter().find(|(out, _)| *out == name) {
        text.push_str(&format!("; {name} is left out: {why}"));
    }
    // One problem is one line.
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The memory of one stream of records.
#[derive(Debug)]
pub struct Runner {
    runtime: Runtime,
    zone: TimeZone,
    every: Every,
    scratch: Vec<u8>,
}

impl Default for Runner {
    fn default() -> Self {
        Self {
            runtime: Runtime::default(),
            zone: TimeZone::parse("UTC").unwrap_or_default(),
            every: Every::new(Duration::from_secs(10)),
            scratch: Vec::new(),
        }
    }
}

impl Runner {
    /// Runs `program` over the record that begins at `start` of the output and ends with it.
    pub fn run(&mut self, program: &Program, out: &mut Vec<u8>, start: usize) -> Outcome {
        let line = out[start..].strip_suffix(b"\n").unwrap_or(&out[start..]);
        let (fields, before) = read(line);
        let object = Value::Object(before.clone());
        let mut target = TargetValue {
            value: object,
            metadata: Value::Object(ObjectMap::new()),
            secrets: Secrets::default(),
        };
        let mut left = STEPS;
        let mut control = || match left.checked_sub(1) {
            Some(fewer) => {
                left = fewer;
                ControlFlow::Continue(())
            }
            None => ControlFlow::Break(()),
        };
        // A bug in a function of the library must cost one record, not the process.
        let ended = catch_unwind(AssertUnwindSafe(|| {
            self.runtime.resolve_with_control(&mut target, &program.0, &self.zone, &mut control)
        }));
        self.runtime.clear();
        let failure = match (ended, target.value) {
            (Ok(Ok(_)), Value::Object(after)) => {
                write(line, &fields, &before, &after, &mut self.scratch);
                out.truncate(start);
                out.append(&mut self.scratch);
                return Outcome::Kept;
            }
            (Ok(Ok(_)), _) => "the record is no object any more".to_owned(),
            (Ok(Err(Terminate::Abort(ExpressionError::Abort { .. }))), _) => return Outcome::Dropped,
            (Ok(Err(Terminate::Interrupted)), _) => format!("it takes more than {STEPS} steps"),
            (Ok(Err(Terminate::Abort(error) | Terminate::Error(error))), _) => error.to_string(),
            (Err(_), _) => "a function panicked".to_owned(),
        };
        if let Some(suppressed) = self.every.allow() {
            tracing::warn!(
                failure,
                suppressed,
                "the vrl program failed; the record goes out as it was, marked"
            );
        }
        Outcome::Failed
    }
}

/// A field as it stands in the record.
struct Field {
    name: KeyString,
    /// Its name and its value, as written.
    whole: Range<usize>,
    /// How much of that is the name, in its quotes.
    key: usize,
}

fn read(line: &[u8]) -> (Vec<Field>, ObjectMap) {
    let (mut fields, mut values) = (Vec::new(), ObjectMap::new());
    let place = |span: &[u8]| span.as_ptr() as usize - line.as_ptr() as usize;
    json::written(line, |member| {
        let key = place(member.key.bytes()) - 1;
        let name_end = key + member.key.bytes().len() + 2;
        let (raw, value): (Range<usize>, Value) = match member.value {
            Token::Text(text) => {
                let from = place(text.bytes());
                let mut meant = Vec::new();
                text.resolve(&mut meant);
                (from - 1..from + text.bytes().len() + 1, Value::from(meant.as_slice()))
            }
            Token::Number(raw)
            | Token::Word(raw)
            | Token::Odd(raw)
            | Token::Array { raw, .. }
            | Token::Object { raw, .. } => {
                // An integer that no 64 bits hold is a text to the program; it is copied as it is all the same.
                let whole = raw.iter().all(|b| b.is_ascii_digit() || *b == b'-');
                let read = || serde_json::from_slice(raw).unwrap_or_else(|_| Value::from(raw));
                let big = whole && std::str::from_utf8(raw).is_ok_and(|text| text.parse::<i64>().is_err());
                (place(raw)..place(raw) + raw.len(), if big { Value::from(raw) } else { read() })
            }
        };
        let mut name = Vec::new();
        member.key.resolve(&mut name);
        let name = KeyString::from(String::from_utf8_lossy(&name).into_owned());
        values.insert(name.clone(), value);
        fields.push(Field { name, whole: key..raw.end, key: name_end - key });
    });
    (fields, values)
}

/// Fields in their old order, changed ones in their place, new ones behind.
fn write(line: &[u8], fields: &[Field], before: &ObjectMap, after: &ObjectMap, to: &mut Vec<u8>) {
    to.clear();
    to.push(b'{');
    for field in fields {
        let Some(value) = after.get(&field.name) else { continue };
        comma(to);
        let whole = &line[field.whole.clone()];
        if before.get(&field.name) == Some(value) {
            to.extend_from_slice(whole);
        } else {
            to.extend_from_slice(&whole[..field.key]);
            to.push(b':');
            put(to, value);
        }
    }
    for (name, value) in after.iter().filter(|(name, _)| !before.contains_key(*name)) {
        comma(to);
        put(to, name.as_str());
        to.push(b':');
        put(to, value);
    }
    to.extend_from_slice(b"}\n");
}

fn comma(to: &mut Vec<u8>) {
    if to.last() != Some(&b'{') {
        to.push(b',');
    }
}

fn put<T: serde::Serialize + ?Sized>(to: &mut Vec<u8>, value: &T) {
    let start = to.len();
    if serde_json::to_writer(&mut *to, value).is_err() {
        to.truncate(start);
        to.extend_from_slice(b"null");
    }
}
