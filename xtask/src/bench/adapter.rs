//! The adapter, one thread, file → file: nginx combined, JSON, logfmt and RFC 5424, beside a scan for line ends, `cp`, and jq where it can read the
//! lines at all.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::Bench;
use super::measure::{Cost, Measured};
use super::table::{self, Figure, Row};

const LIMIT: Duration = Duration::from_secs(600);
const FIGURE: Figure = Figure { name: "MB of input/CPU-second", digits: 0 };
const COLUMNS: [&str; 4] = ["ns/line", "wall s", "peak MB", "out MB"];

/// A line of a format; the number makes it differ from the others.
type Line = fn(&mut dyn Write, u64, u64) -> std::io::Result<()>;

const CASES: &[(&str, &str, Line)] = &[
    ("nginx", "nginx", nginx),
    ("json", "json", json),
    ("logfmt", "logfmt", logfmt),
    ("syslog", "syslog", syslog),
];

pub(crate) fn run(bench: &Bench) -> anyhow::Result<()> {
    table::say("\n━━━ adapter-logformat");
    for (case, from, line) in CASES {
        if !bench.wants(case) {
            continue;
        }
        let input = Input::write(bench, case, *line)?;
        let mut rows = vec![
            ours(bench, &input, "ecs", &["--from", from])?,
            ours(bench, &input, "ecs, compact", &["--from", from, "--original", "failed"])?,
            ours(bench, &input, "auto, otlp", &["--schema", "otlp"])?,
        ];
        rows.push(floor(bench, &input, "wc -l", "wc", &["-l"])?);
        rows.push(floor(bench, &input, "cat", "cat", &[])?);
        if *case == "json" && Command::new("jq").arg("--version").stdout(Stdio::null()).status().is_ok() {
            rows.push(floor(bench, &input, "jq -c", "jq", &["-c", "."])?);
        }
        let head = format!("{case}: {} lines, {:.0} MB", input.lines, megabytes(input.bytes));
        table::show(&head, &FIGURE, &COLUMNS, &rows, "cat");
        let _ = fs::remove_file(&input.path);
    }
    Ok(())
}

struct Input {
    path: PathBuf,
    lines: u64,
    bytes: u64,
}

impl Input {
    /// A million lines from a fixed sequence.
    fn write(bench: &Bench, name: &str, line: Line) -> anyhow::Result<Self> {
        let (path, lines) = (bench.path(&format!("adapter-{name}.log")), bench.load(1_000_000));
        let mut file = BufWriter::with_capacity(1 << 20, File::create(&path)?);
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for number in 0..lines {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            line(&mut file, number, random)?;
        }
        file.flush()?;
        let bytes = fs::metadata(&path)?.len();
        Ok(Self { path, lines, bytes })
    }

    fn row(&self, who: &'static str, cost: Cost, out: &Path) -> Row {
        let written = fs::metadata(out).map(|about| about.len()).unwrap_or_default();
        let _ = fs::remove_file(out);
        let cpu = cost.cpu.max(0.01);
        #[expect(clippy::cast_precision_loss, reason = "fewer than 2^52")]
        let nanos = cpu * 1e9 / self.lines as f64;
        let others = vec![
            format!("{nanos:.0}"),
            format!("{:.1}", cost.wall),
            format!("{:.1}", cost.peak),
            format!("{:.0}", megabytes(written)),
        ];
        Row { who, figure: megabytes(self.bytes) / cpu, others }
    }
}

#[expect(clippy::cast_precision_loss, reason = "fewer than 2^52")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// stdin is the file, stdout another one: the same work as with positions, and an end.
fn ours(bench: &Bench, input: &Input, who: &'static str, args: &[&str]) -> anyhow::Result<Row> {
    floor(bench, input, who, &bench.ours("adapter-logformat"), args)
}

fn floor(
    bench: &Bench,
    input: &Input,
    who: &'static str,
    program: &str,
    args: &[&str],
) -> anyhow::Result<Row> {
    let out = bench.path("adapter.out");
    let mut command = Command::new(program);
    command.args(args).stdin(File::open(&input.path)?).stdout(File::create(&out)?);
    let child = command.spawn()?;
    let cost = Measured::adopt(child, program).finish(LIMIT)?;
    Ok(input.row(who, cost, &out))
}

fn nginx(file: &mut dyn Write, number: u64, random: u64) -> std::io::Result<()> {
    let (a, b, size) = (random & 0xff, random >> 8 & 0xff, random >> 16 & 0xffff);
    let status = [200, 200, 200, 204, 304, 404, 502][(random >> 32) as usize % 7];
    writeln!(
        file,
        "10.0.{a}.{b} - - [21/Nov/2026:13:{:02}:{:02} +0000] \"GET /api/v1/items/{number}?page={a} HTTP/1.1\" {status} {size} \"https://shop.example/\" \"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\"",
        number / 60_000 % 60,
        number / 1000 % 60,
    )
}

fn json(file: &mut dyn Write, number: u64, random: u64) -> std::io::Result<()> {
    writeln!(
        file,
        "{{\"level\":\"info\",\"ts\":{}.{:03},\"logger\":\"shop.orders\",\"caller\":\"orders/handler.go:{}\",\"msg\":\"order accepted\",\"order_id\":\"o-{number}\",\"customer\":{},\"amount\":{}.{:02},\"currency\":\"EUR\",\"trace_id\":\"{random:032x}\",\"span_id\":\"{number:016x}\",\"labels\":{{\"zone\":\"a\",\"tier\":{}}},\"retries\":[1,2]}}",
        1_795_263_850 + number / 1000,
        number % 1000,
        random & 0xff,
        random >> 8 & 0xffff,
        random >> 24 & 0xfff,
        random >> 36 & 63,
        random & 3,
    )
}

fn logfmt(file: &mut dyn Write, number: u64, random: u64) -> std::io::Result<()> {
    writeln!(
        file,
        "ts=2026-11-21T13:{:02}:{:02}.{:03}Z level=info caller=orders/handler.go:{} msg=\"order accepted\" order_id=o-{number} customer={} amount={}.{:02} currency=EUR trace_id={random:032x} took={}ms",
        number / 60_000 % 60,
        number / 1000 % 60,
        number % 1000,
        random & 0xff,
        random >> 8 & 0xffff,
        random >> 24 & 0xfff,
        random >> 36 & 63,
        random >> 42 & 0xff,
    )
}

fn syslog(file: &mut dyn Write, number: u64, random: u64) -> std::io::Result<()> {
    writeln!(
        file,
        "<{}>1 2026-11-21T13:{:02}:{:02}.{:03}Z web{} shop {} ID{} [meta@32473 seq=\"{number}\" zone=\"a\"] order o-{number} accepted for customer {}",
        8 + random % 180,
        number / 60_000 % 60,
        number / 1000 % 60,
        number % 1000,
        random & 7,
        random >> 8 & 0xffff,
        random >> 24 & 0xff,
        random >> 32 & 0xffff,
    )
}
