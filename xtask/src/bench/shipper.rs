//! The shipper beside rsyslog, syslog-ng and `tail`: the same file of access-log lines, from the first to the last.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};

use super::measure::{Cost, Measured};
use super::sink::Sink;
use super::table::{self, Figure, Row};
use super::{Bench, peers};

const LIMIT: Duration = Duration::from_secs(600);
const FIGURE: Figure = Figure { name: "MB/CPU-second", digits: 0 };
const COLUMNS: [&str; 3] = ["wall s", "peak MB", "sent MB"];

pub(crate) fn run(bench: &Bench) -> anyhow::Result<()> {
    table::say("\n━━━ sidecar-logshipper");
    let input = Input::write(bench)?;
    table::say(&format!("  {} lines, {:.0} MB", input.lines, input.megabytes()));
    for (case, to, more) in CASES {
        if !bench.wants(case) {
            continue;
        }
        let mut rows = vec![ours(bench, &input, to, more)?];
        if *case == "stdout" {
            rows.push(tail(&input)?);
            if !peers::ready(&peers::RSYSLOG).is_empty() {
                rows.push(rsyslog(bench, &input)?);
            }
            if !peers::ready(&peers::SYSLOG_NG).is_empty() {
                rows.push(syslog_ng(bench, &input)?);
            }
        }
        table::show(case, &FIGURE, &COLUMNS, &rows, "rsyslog");
    }
    if bench.wants("idle") {
        idle(bench)?;
    }
    if bench.wants("latency") {
        latency(bench)?;
    }
    Ok(())
}

/// Name, `--to` (with the sink's address for `{}`), more arguments.
const CASES: &[(&str, &str, &[&str])] = &[
    ("stdout", "stdout", &[]),
    ("http-ndjson", "http://{}/", &[]),
    ("es-bulk", "elasticsearch+http://{}/logs-bench-default", &[]),
    ("es-bulk-gzip", "elasticsearch+http://{}/logs-bench-default", &["--compression", "gzip"]),
];

/// The file that is shipped.
struct Input {
    path: std::path::PathBuf,
    lines: u64,
    bytes: u64,
}

impl Input {
    /// Lines as nginx writes them in its combined format, of differing length, from a fixed sequence.
    fn write(bench: &Bench) -> anyhow::Result<Self> {
        let (path, lines) = (bench.path("access.log"), bench.load(10_000_000));
        let mut file = BufWriter::with_capacity(1 << 20, File::create(&path)?);
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for number in 0..lines {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let (a, b, size) = (random & 0xff, random >> 8 & 0xff, random >> 16 & 0xffff);
            writeln!(
                file,
                "10.0.{a}.{b} - - [21/Nov/2026:13:{:02}:{:02} +0000] \"GET /api/v1/items/{number}?page={a} HTTP/1.1\" 200 {size} \"-\" \"Mozilla/5.0 (X11; Linux x86_64)\"",
                number / 60_000 % 60,
                number / 1000 % 60,
            )?;
        }
        file.flush()?;
        let bytes = fs::metadata(&path)?.len();
        Ok(Input { path, lines, bytes })
    }

    #[expect(clippy::cast_precision_loss, reason = "fewer than 2^52")]
    fn megabytes(&self) -> f64 {
        self.bytes as f64 / 1e6
    }

    fn row(&self, who: &'static str, cost: Cost, sent: u64) -> Row {
        #[expect(clippy::cast_precision_loss, reason = "fewer than 2^52")]
        let sent = if sent == 0 { String::new() } else { format!("{:.0}", sent as f64 / 1e6) };
        let others = vec![format!("{:.1}", cost.wall), format!("{:.1}", cost.peak), sent];
        Row { who, figure: self.megabytes() / cost.cpu.max(0.01), others }
    }
}

/// Reads all there is, waits for the sink's word, ends.
fn ours(bench: &Bench, input: &Input, to: &str, more: &[&str]) -> anyhow::Result<Row> {
    let sink = Sink::start()?;
    let state = bench.path("state");
    let _ = fs::remove_dir_all(&state);
    let mut command = Command::new(bench.ours("sidecar-logshipper"));
    command.arg("--read").arg(&input.path).arg("--to").arg(to.replace("{}", &sink.address.to_string()));
    command
        .arg("--state")
        .arg(&state)
        .args(["--once", "--admin", "127.0.0.1:0", "--log-level", "error"])
        .args(more);
    command.stdout(Stdio::null());
    let cost = Measured::start(command)?.finish(LIMIT)?;
    if to != "stdout" && more.is_empty() && sink.lines() < input.lines {
        bail!("{} of {} lines came", sink.lines(), input.lines);
    }
    Ok(input.row("sidecar-logshipper", cost, sink.bytes()))
}

/// The floor: reads and writes, and knows nothing.
fn tail(input: &Input) -> anyhow::Result<Row> {
    let mut command = Command::new("tail");
    command.args(["-n", "+1"]).arg(&input.path).stdout(Stdio::null());
    // To a pipe, as in a pod, and not to /dev/null, which tail knows and skips.
    command.stdout(Stdio::piped());
    let mut child = command.spawn().context("cannot run tail")?;
    let mut out = child.stdout.take().context("tail has a stdout")?;
    let reader = thread::spawn(move || {
        let mut buffer = vec![0; 256 << 10];
        while matches!(out.read(&mut buffer), Ok(1..)) {}
    });
    let cost = Measured::adopt(child, "tail").finish(LIMIT)?;
    let _ = reader.join();
    Ok(input.row("tail", cost, 0))
}

/// imfile to a file of our own, until it is as long as the input.
fn rsyslog(bench: &Bench, input: &Input) -> anyhow::Result<Row> {
    let (folder, out) = (bench.path("rsyslog"), bench.path("rsyslog.out"));
    fs::create_dir_all(&folder)?;
    let config = bench.path("rsyslog.conf");
    let text = format!(
        "global(workDirectory=\"{0}\")\nmodule(load=\"imfile\" mode=\"inotify\")\n\
         template(name=\"raw\" type=\"string\" string=\"%msg%\\n\")\n\
         input(type=\"imfile\" file=\"{1}\" tag=\"b\" ruleset=\"r\")\n\
         ruleset(name=\"r\") {{ action(type=\"omfile\" file=\"{2}\" template=\"raw\" asyncWriting=\"off\" ioBufferSize=\"256k\") }}\n",
        folder.display(),
        input.path.display(),
        out.display()
    );
    fs::write(&config, text)?;
    let mut command = Command::new("/usr/sbin/rsyslogd");
    command.arg("-n").arg("-f").arg(&config).arg("-i").arg(folder.join("pid"));
    let cost = Measured::start(command)?.until(LIMIT, || long_enough(&out, input.bytes))?;
    let _ = fs::remove_file(&out);
    Ok(input.row("rsyslog", cost, 0))
}

fn syslog_ng(bench: &Bench, input: &Input) -> anyhow::Result<Row> {
    let (folder, out) = (bench.path("syslog-ng"), bench.path("syslog-ng.out"));
    fs::create_dir_all(&folder)?;
    let config = folder.join("syslog-ng.conf");
    let text = format!(
        "@version: 3.38\noptions {{ stats-freq(0); }};\n\
         source s {{ file(\"{}\" flags(no-parse) follow-freq(0.1) log-fetch-limit(1000) log-iw-size(10000)); }};\n\
         destination d {{ file(\"{}\" template(\"${{MSG}}\\n\") log-fifo-size(100000)); }};\n\
         log {{ source(s); destination(d); flags(flow-control); }};\n",
        input.path.display(),
        out.display()
    );
    fs::write(&config, text)?;
    let mut command = Command::new("/usr/sbin/syslog-ng");
    command.arg("-F").arg("--no-caps").arg("-f").arg(&config);
    for (option, file) in [("-R", "persist"), ("-p", "pid"), ("-c", "control")] {
        command.arg(option).arg(folder.join(file));
    }
    let cost = Measured::start(command)?.until(LIMIT, || long_enough(&out, input.bytes))?;
    let _ = fs::remove_file(&out);
    Ok(input.row("syslog-ng", cost, 0))
}

/// The last line may wait for its end: all but a hundredth counts as all.
fn long_enough(path: &Path, bytes: u64) -> bool {
    fs::metadata(path).is_ok_and(|file| file.len() >= bytes - bytes / 100)
}

/// Following one idle file, and a thousand.
fn idle(bench: &Bench) -> anyhow::Result<()> {
    let sink = Sink::start()?;
    let mut rows = Vec::new();
    for (who, files) in [("1 file", 1), ("1,000 files", 1000)] {
        let folder = bench.path(&format!("idle-{files}"));
        fs::create_dir_all(&folder)?;
        for number in 0..files {
            fs::write(folder.join(format!("{number}.log")), "one line\n")?;
        }
        let mut command = Command::new(bench.ours("sidecar-logshipper"));
        command.arg("--read").arg(folder.join("*.log")).arg("--to").arg(format!("http://{}/", sink.address));
        command.arg("--state").arg(bench.path(&format!("idle-state-{files}")));
        command.args(["--admin", "127.0.0.1:0", "--log-level", "error"]);
        let mut running = Measured::start(command)?;
        thread::sleep(Duration::from_secs(5));
        let before = running.cost();
        thread::sleep(Duration::from_secs(if bench.quick { 5 } else { 30 }));
        let after = running.cost();
        let share = (after.cpu - before.cpu) / (after.wall - before.wall) * 100.0;
        rows.push(Row { who, figure: running.resident(), others: vec![format!("{share:.2} %")] });
    }
    let figure = Figure { name: "resident MB", digits: 1 };
    table::show("idle", &figure, &["CPU"], &rows, "");
    Ok(())
}

/// From the write of a line to its arrival at the sink, at 1,000 lines a second: each line carries the moment it was written.
fn latency(bench: &Bench) -> anyhow::Result<()> {
    let (folder, out) = (bench.path("latency"), std::net::TcpListener::bind("127.0.0.1:0")?);
    fs::create_dir_all(&folder)?;
    let file = folder.join("app.log");
    File::create(&file)?;
    let mut command = Command::new(bench.ours("sidecar-logshipper"));
    command.arg("--read").arg(&file).arg("--to").arg(format!("syslog+tcp://{}", out.local_addr()?));
    command.arg("--state").arg(bench.path("latency-state"));
    command.args(["--admin", "127.0.0.1:0", "--log-level", "error"]);
    let running = Measured::start(command)?;
    let lines = bench.load(20_000).max(2000);
    let reader = thread::spawn(move || arrivals(&out, lines));
    thread::sleep(Duration::from_secs(1));
    let mut log = File::options().append(true).open(&file)?;
    let begun = Instant::now();
    for number in 0..lines {
        let due = begun + Duration::from_millis(number);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        writeln!(log, "written-at={} some more text as apps have it", now_micros())?;
    }
    let mut took = reader.join().map_err(|_| anyhow::anyhow!("the reader panicked"))??;
    drop(running);
    took.sort_unstable();
    let at = |share: usize| {
        #[expect(clippy::cast_precision_loss, reason = "microseconds of a run")]
        let micros = took[(took.len() * share / 100).min(took.len() - 1)] as f64;
        micros / 1000.0
    };
    let row = Row {
        who: "sidecar-logshipper",
        figure: at(50),
        others: vec![format!("{:.1}", at(99)), format!("{:.1}", at(100))],
    };
    let figure = Figure { name: "p50 ms", digits: 1 };
    table::show("latency, write to syslog sink, 1,000 lines/s", &figure, &["p99 ms", "max ms"], &[row], "");
    Ok(())
}

/// How long each of so many lines took, in µs.
fn arrivals(listener: &std::net::TcpListener, lines: u64) -> anyhow::Result<Vec<u64>> {
    let (mut stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let (mut buffer, mut rest, mut took) = (vec![0; 64 << 10], String::new(), Vec::new());
    while (took.len() as u64) < lines {
        let n = stream.read(&mut buffer).context("a line did not arrive")?;
        if n == 0 {
            bail!("the shipper closed the connection after {} lines", took.len());
        }
        let now = now_micros();
        rest.push_str(&String::from_utf8_lossy(&buffer[..n]));
        while let Some(at) = rest.find("written-at=") {
            let from = &rest[at + "written-at=".len()..];
            let Some(end) = from.find(' ') else { break };
            let written: u64 = from[..end].parse().context("a line came damaged")?;
            took.push(now.saturating_sub(written));
            rest = from[end..].to_owned();
        }
    }
    Ok(took)
}

fn now_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
