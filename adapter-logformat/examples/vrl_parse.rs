//! What the parse functions of the `vrl` crate take: every line of stdin is parsed and let go. A peer of `cargo xtask bench adapter`, which runs it
//! as a process of its own; `scan` looks for the ends of the lines only.

use std::io::{BufRead, BufReader, Error, Read};
use std::process::ExitCode;

use vrl::compiler::runtime::Runtime;
use vrl::compiler::{TargetValue, TimeZone};
use vrl::value::{ObjectMap, Secrets, Value};

const PROGRAMS: [(&str, &str); 4] = [
    ("nginx", ". = parse_nginx_log!(.message, \"combined\")"),
    ("json", ". = parse_json!(.message)"),
    ("logfmt", ". = parse_logfmt!(.message)"),
    ("syslog", ". = parse_syslog!(.message)"),
];

fn main() -> ExitCode {
    let case = std::env::args().nth(1).unwrap_or_default();
    let read = match PROGRAMS.iter().find(|(name, _)| *name == case) {
        Some((_, source)) => parse(source),
        None if case == "scan" => scan(),
        None => Err(Error::other("name one of nginx, json, logfmt, syslog, scan")),
    };
    match read {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failed) => {
            eprintln!("{failed} lines could not be parsed");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// How many lines could not be parsed.
fn parse(source: &str) -> Result<usize, Error> {
    let compiled = vrl::compiler::compile(source, &vrl::stdlib::all());
    let program = compiled.map_err(|problems| Error::other(format!("{problems:?}")))?.program;
    let zone = TimeZone::parse("UTC").unwrap_or_default();
    let mut runtime = Runtime::default();
    let mut input = BufReader::with_capacity(1 << 20, std::io::stdin().lock());
    let (mut line, mut failed) = (Vec::new(), 0);
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(failed);
        }
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let object = ObjectMap::from([("message".into(), Value::from(text))]);
        let mut target = TargetValue {
            value: Value::Object(object),
            metadata: Value::Object(ObjectMap::new()),
            secrets: Secrets::default(),
        };
        failed += usize::from(runtime.resolve(&mut target, &program, &zone).is_err());
        std::hint::black_box(&target.value);
        runtime.clear();
    }
}

/// As fast as lines can be found at all.
fn scan() -> Result<usize, Error> {
    let mut input = std::io::stdin().lock();
    let mut block = vec![0; 1 << 20];
    loop {
        let count = input.read(&mut block)?;
        if count == 0 {
            return Ok(0);
        }
        std::hint::black_box(memchr::memchr_iter(b'\n', &block[..count]).count());
    }
}
