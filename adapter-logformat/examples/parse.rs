//! Parsing alone, with neither encoding nor output: every line of stdin becomes a record that is let go. `vrl FORMAT` takes the parse functions of the
//! `vrl` crate, `ours FORMAT` the decoders of this one, and `scan` looks for the ends of the lines only. Programs of `cargo xtask bench adapter`,
//! which runs each as a process of its own.

use std::io::{BufRead, BufReader, Error, Read};
use std::process::ExitCode;

use adapter_logformat::decode::{Context, Format};
use adapter_logformat::record::Record;
use adapter_logformat::time::{Clock, Time};
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
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let program = |name| PROGRAMS.iter().find(|(format, _)| *format == name).map(|(_, source)| *source);
    let usage = "say: scan, or vrl|ours and one of nginx, json, logfmt, syslog";
    let read = match words[..] {
        ["scan"] => scan(),
        ["vrl", name] => program(name).ok_or_else(|| Error::other(usage)).and_then(vrl),
        ["ours", name] => Format::by_name(name).ok_or_else(|| Error::other(usage)).and_then(ours),
        _ => Err(Error::other(usage)),
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

/// Calls `parse` with each line of stdin. How many lines it could not parse.
fn lines(mut parse: impl FnMut(&[u8]) -> bool) -> Result<usize, Error> {
    let mut input = BufReader::with_capacity(1 << 20, std::io::stdin().lock());
    let (mut line, mut failed) = (Vec::new(), 0);
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(failed);
        }
        failed += usize::from(!parse(line.strip_suffix(b"\n").unwrap_or(&line)));
    }
}

fn vrl(source: &str) -> Result<usize, Error> {
    let compiled = vrl::compiler::compile(source, &vrl::stdlib::all());
    let program = compiled.map_err(|problems| Error::other(format!("{problems:?}")))?.program;
    let zone = TimeZone::parse("UTC").unwrap_or_default();
    let mut runtime = Runtime::default();
    lines(|line| {
        let object = ObjectMap::from([("message".into(), Value::from(line))]);
        let mut target = TargetValue {
            value: Value::Object(object),
            metadata: Value::Object(ObjectMap::new()),
            secrets: Secrets::default(),
        };
        let parsed = runtime.resolve(&mut target, &program, &zone).is_ok();
        std::hint::black_box(&target.value);
        runtime.clear();
        parsed
    })
}

fn ours(format: Format) -> Result<usize, Error> {
    let mut cx = Context::new(Clock::new(jiff::tz::TimeZone::UTC, Time::now()));
    let mut kept = Some(Record::default());
    lines(|line| {
        let mut record = kept.take().unwrap_or_default().recycle();
        let parsed = format.decode(line, &mut cx, &mut record).is_ok();
        kept = Some(std::hint::black_box(record).recycle());
        parsed
    })
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
