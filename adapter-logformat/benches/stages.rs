//! `cargo bench -p adapter-logformat`: decode and encode by themselves, and both with what is around them, per line.
//!
//! For changes of the code: what the program as a whole does is measured by `cargo xtask bench adapter`. The fastest of many samples is shown, because
//! everything that disturbs only ever adds.

use std::hint::black_box;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adapter_logformat::{
    config::{self, Config},
    decode::{Context, Format},
    encode::{Encoder, Original, Schema, Source},
    lane::{Counts, Lane, Stream},
    record::Record,
    text::Around,
    time::{Clock, Time},
};

/// Calls per sample, and samples.
const CALLS: u32 = 2000;
const SAMPLES: u32 = 100;

/// What is measured, with a line of each.
const LINES: [(&str, &str); 4] = [
    (
        "nginx",
        r#"10.0.17.203 - - [21/Nov/2026:13:24:10 +0000] "GET /api/v1/items/17?page=17 HTTP/1.1" 200 51966 "https://shop.example/" "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36""#,
    ),
    (
        "json",
        r#"{"level":"info","ts":1795263850.123,"logger":"shop.orders","caller":"orders/handler.go:42","msg":"order accepted","order_id":"o-17","customer":51966,"amount":99.95,"currency":"EUR","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7","labels":{"zone":"a","tier":3},"retries":[1,2]}"#,
    ),
    (
        "logfmt",
        r#"ts=2026-11-21T13:24:10.123Z level=info caller=orders/handler.go:42 msg="order accepted" order_id=o-17 customer=51966 amount=99.95 currency=EUR trace_id=4bf92f3577b34da6a3ce929d0e0e4736 took=17ms"#,
    ),
    (
        "syslog",
        r#"<165>1 2026-11-21T13:24:10.123Z web3 shop 4242 ID47 [meta@32473 seq="17" zone="a"] order o-17 accepted for customer 51966"#,
    ),
];

fn main() {
    // Without cargo's word for a benchmark it is a test: does it run at all?
    let samples = if std::env::args().any(|arg| arg == "--bench") { SAMPLES } else { 1 };
    for (name, line) in LINES {
        let line = line.as_bytes();
        decode(name, line, samples);
        encode(name, line, samples);
        lane(name, line, samples);
    }
}

/// Shows the fastest sample of `work`, which reads so many lines of so many bytes.
fn show(what: &str, name: &str, (lines, bytes): (u32, usize), samples: u32, mut work: impl FnMut()) {
    let calls = CALLS / lines;
    let sample = |_| {
        let begun = Instant::now();
        (0..calls).for_each(|_| work());
        begun.elapsed() / (calls * lines)
    };
    let best = (0..samples).map(sample).min().unwrap_or(Duration::ZERO).as_nanos().max(1);
    let speed = bytes as u128 * 1000 / best;
    let _ = writeln!(std::io::stdout(), "{what:<7} {name:<7} {best:>6} ns/line {speed:>6} MB/s");
}

fn context() -> Context {
    Context::new(Clock::new(jiff::tz::TimeZone::UTC, Time::now()))
}

fn decode(name: &str, line: &'static [u8], samples: u32) {
    let (format, mut cx) = (Format::by_name(name).expect("a format"), context());
    let mut kept = Some(Record::default());
    show("decode", name, (1, line.len()), samples, || {
        let mut record = kept.take().unwrap_or_default().recycle();
        format.decode(black_box(line), &mut cx, &mut record).expect("reads");
        kept = Some(black_box(record).recycle());
    });
}

fn encode(name: &str, line: &'static [u8], samples: u32) {
    let (format, mut cx) = (Format::by_name(name).expect("a format"), context());
    let mut record = Record::default();
    format.decode(line, &mut cx, &mut record).expect("reads");
    let mut encoder = Encoder::new(Schema::Ecs, Original::Always, &[], None);
    let mut out = Vec::new();
    show("encode", name, (1, line.len()), samples, || {
        out.clear();
        let source = Source {
            line,
            text: line,
            format: "x",
            now: Time::default(),
            shown: None,
            valid: true,
            around: Around(line),
        };
        encoder.encode(&source, black_box(&record), &mut out);
        black_box(&out);
    });
}

/// A hundred lines at once, as they come from a file.
fn lane(name: &str, line: &'static [u8], samples: u32) {
    let stream = config::Stream { from: Some(name.to_owned()), ..config::Stream::default() };
    let stream = Stream::compile(&stream, &Config::default()).expect("compiles");
    let mut lane = Lane::new(Arc::new(stream), Some("/var/log/app/app.log"));
    let bytes = [line, b"\n"].concat().repeat(100);
    let mut out = Vec::new();
    show("lane", name, (100, line.len()), samples, || {
        out.clear();
        lane.lines(black_box(&bytes), true, &mut Counts::default(), &mut out);
        black_box(&out);
    });
}
