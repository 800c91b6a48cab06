#![no_main]
//! Runs of lines become events, and no line is lost: traces, partial lines, quotes, start patterns.

mod common;

#[cfg(fuzzing)]
use libfuzzer_sys::fuzz_target;

use std::{cell::RefCell, collections::HashMap, sync::Arc};

use adapter_logformat::{config::Stream as Written, lane::Stream};
use common::How;

const RULES: &[(&str, &str)] = &[
    ("auto", "auto"),
    ("plain", "auto"),
    ("json", "auto"),
    ("cri", "auto"),
    ("docker", "auto"),
    ("plain", "^a"),
    ("csv", "auto"),
    ("syslog", "auto"),
];

const TRACES: &[&str] = &[
    "2026-11-21 12:24:10 ERROR failed\njava.lang.IllegalStateException: no\n\tat a.B.c(B.java:3)\nCaused by: java.io.IOException: gone\n\t... 2 more\n",
    "ERROR:root:failed\nTraceback (most recent call last):\n  File \"a.py\", line 1, in <module>\n    1/0\nZeroDivisionError: division by zero\n\nDuring handling of the above exception, another exception occurred:\n\nTraceback (most recent call last):\nValueError: x\n",
    "panic: runtime error: x\n\ngoroutine 1 [running]:\nmain.main()\n\t/app/main.go:7 +0x1d\nexit status 2\n",
    "TypeError: x is not a function\n    at main (/app/index.js:3:1)\n",
    "thread 'main' panicked at src/main.rs:2:5:\nexplicit panic\nstack backtrace:\n   0: rust_begin_unwind\n             at /rustc/lib.rs:1:1\nnote: Some details are omitted\n",
    "PHP Fatal error:  Uncaught Exception: x in /a.php:3\nStack trace:\n#0 {main}\n  thrown in /a.php on line 3\n",
    "a.rb:1:in `x': no (RuntimeError)\n\tfrom a.rb:3:in `<main>'\n",
    "Unhandled exception. System.Exception: x\n   at A.B() in /a.cs:line 3\n   --- End of inner exception stack trace ---\n",
    "2026-11-21T12:24:10.1Z stdout P ab\n2026-11-21T12:24:10.2Z stderr P xy\n2026-11-21T12:24:10.3Z stdout F cd\n2026-11-21T12:24:10.4Z stderr F z\n",
    "{\"log\":\"ab\",\"stream\":\"stdout\",\"time\":\"2026-11-21T12:24:10Z\"}\n{\"log\":\"c\\n\",\"stream\":\"stdout\",\"time\":\"2026-11-21T12:24:10Z\"}\n",
    "a,b\n1,\"x\ny\"\n2,z\n",
];

fn seeds() -> Vec<Vec<u8>> {
    let each = |place: usize| TRACES.iter().map(move |text| [&[place as u8, 2], text.as_bytes()].concat());
    (0..RULES.len()).flat_map(each).collect()
}

fuzz_target!(init: common::save(seeds), |bytes: &[u8]| {
    let [which, how, lines @ ..] = bytes else { return };
    let rule = RULES[usize::from(*which) % RULES.len()];
    let look = How { run: true, ..How::of(*how) };
    thread_local!(static STREAMS: RefCell<HashMap<((&'static str, &'static str), u8), Arc<Stream>>> = RefCell::default());
    let stream = STREAMS.with_borrow_mut(|streams| {
        let compile = || {
            let written = Written {
                from: Some(rule.0.to_owned()),
                multiline: Some(rule.1.to_owned()),
                ..Written::default()
            };
            Arc::new(Stream::compile(&written, &look.config()).expect("compiles"))
        };
        streams.entry((rule, *how)).or_insert_with(compile).clone()
    });
    common::read(stream, look, lines);
});
