//! The adapter, one thread, file → file: nginx combined, JSON, logfmt and RFC 5424, beside a scan for line ends, a copy, the parse functions of
//! the `vrl` crate, and jq where it can read the lines at all; and the memory of a long run.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::Bench;
use super::adapter_lines::{json, logfmt, nginx, syslog};
use super::measure::{Cost, Measured};
use super::table::{self, Figure, Row};
use crate::sh;

const LIMIT: Duration = Duration::from_secs(600);
/// An output that has not grown for so long is whole.
const SETTLED: Duration = Duration::from_millis(500);
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
    let parser = parser(bench)?;
    for (case, from, line) in CASES {
        if !bench.wants(case) {
            continue;
        }
        let input = Input::write(bench, case, *line)?;
        let mut rows = vec![
            ours(bench, &input, "ecs", &["--from", from])?,
            ours(bench, &input, "ecs, compact", &["--from", from, "--original", "failed"])?,
            ours(
                bench,
                &input,
                "flat, compact",
                &["--from", from, "--schema", "flat", "--original", "failed"],
            )?,
            ours(bench, &input, "auto, otlp", &["--schema", "otlp"])?,
            followed(bench, &input, "ecs, exactly once", from)?,
        ];
        rows.push(floor(bench, &input, "wc -l", "wc", &["-l"])?);
        rows.push(floor(bench, &input, "cat", "cat", &[])?);
        if *case == "json" && sh::succeeds("jq", &["--version"]) {
            rows.push(floor(bench, &input, "jq -c", "jq", &["-c", "."])?);
        }
        let mut ratios = None;
        if let Some(parser) = &parser {
            rows.push(floor(bench, &input, "memchr over the lines", parser, &["scan"])?);
            let alone = floor(bench, &input, "our decoder alone", parser, &["ours", case])?;
            let vrl = floor(bench, &input, "vrl's parse function alone", parser, &["vrl", case])?;
            ratios = Some([&alone, &rows[0], &rows[1]].map(|row| row.figure / vrl.figure));
            rows.extend([alone, vrl]);
        }
        let head = format!("{case}: {} lines, {:.0} MB", input.lines, megabytes(input.bytes));
        table::show(&head, &FIGURE, &COLUMNS, &rows, "cat");
        if let Some([alone, whole, compact]) = ratios {
            table::say(&format!(
                "per second of processor time, of what vrl's function parses: {alone:.1} x parsing alone, {whole:.1} x from file to file ({compact:.1} x compact)"
            ));
        }
        if *case == "nginx" {
            memory(bench, &input)?;
        }
        let _ = fs::remove_file(&input.path);
    }
    Ok(())
}

/// What parses with VRL, or with our decoders alone; `None` where it has not been built. Built for speed throughout, unlike what ships: VRL's
/// dependencies would be half as fast when built for size.
fn parser(bench: &Bench) -> anyhow::Result<Option<String>> {
    let target = sh::target_dir().join("peers");
    if !bench.no_build {
        let args = ["build", "--release", "--locked", "--package", "adapter-logformat", "--features", "vrl"];
        let mut cargo = sh::cargo(&args);
        cargo.args(["--example", "parse"]).env("CARGO_TARGET_DIR", &target);
        cargo.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3").env("CARGO_PROFILE_RELEASE_LTO", "thin");
        sh::run(cargo)?;
    }
    let program = target.join("release/examples/parse");
    if !program.is_file() {
        table::say("the parse functions of vrl are left out: --no-build, and they are not built");
        return Ok(None);
    }
    Ok(Some(program.to_string_lossy().into_owned()))
}

/// Resident memory: while it follows an idle file, and how it grows with ten times the lines.
fn memory(bench: &Bench, input: &Input) -> anyhow::Result<()> {
    let (folder, out) = (bench.path("adapter-idle"), bench.path("adapter-idle.out"));
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("access.log"), "")?;
    let mut command = Command::new(bench.ours("adapter-logformat"));
    command.args(["--from", "nginx", "--admin", "127.0.0.1:0", "--in"]).arg(folder.join("*.log"));
    command.arg("--out").arg(&out).stderr(Stdio::null());
    let idle = Measured::start(command)?;
    std::thread::sleep(Duration::from_secs(3));
    let idle = idle.resident();
    let mut command = Command::new(bench.ours("adapter-logformat"));
    command.args(["--from", "nginx"]).stdin(Stdio::piped()).stdout(File::create("/dev/null")?);
    let mut child = command.spawn()?;
    let mut pipe = child.stdin.take().context("the pipe is there")?;
    let mut running = Measured::adopt(child, "adapter-logformat");
    let mut seen = Vec::new();
    for _ in 0..10 {
        std::io::copy(&mut File::open(&input.path)?, &mut pipe)?;
        seen.push(running.cost().peak);
    }
    drop(pipe);
    running.finish(LIMIT)?;
    let (first, last) = (seen.first().copied().unwrap_or_default(), seen.last().copied().unwrap_or_default());
    table::say(&format!(
        "\nmemory: {idle:.1} MB while it follows an idle file; at most {first:.1} MB after {} lines, {last:.1} MB after {}",
        input.lines,
        10 * input.lines
    ));
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

/// As in a pod: the file is followed, positions are kept, the output is a file written exactly once.
fn followed(bench: &Bench, input: &Input, who: &'static str, from: &str) -> anyhow::Result<Row> {
    let (out, state) = (bench.path("adapter-followed.out"), bench.path("adapter-state"));
    let mut command = Command::new(bench.ours("adapter-logformat"));
    command.args(["--from", from, "--admin", "off", "--out-max-size", "0", "--in"]).arg(&input.path);
    command.arg("--out").arg(&out).arg("--state").arg(&state).stderr(Stdio::null());
    let mut written = (0, Instant::now());
    let done = || {
        let length = fs::metadata(&out).map(|about| about.len()).unwrap_or_default();
        if length != written.0 {
            written = (length, Instant::now());
        }
        length > 0 && written.1.elapsed() > SETTLED
    };
    let mut cost = Measured::start(command)?.until(LIMIT, done)?;
    cost.wall -= SETTLED.as_secs_f64();
    let _ = fs::remove_dir_all(&state);
    Ok(input.row(who, cost, &out))
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
