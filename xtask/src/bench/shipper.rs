//! The shipper beside rsyslog, syslog-ng and `tail`: the same file of access-log lines, from the first to the last.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};

use super::measure::{Cost, Measured};
use super::sink::Sink;
use super::table::{self, Figure, Row};
use super::{Bench, peers, shipper_idle};

const LIMIT: Duration = Duration::from_secs(600);
const FIGURE: Figure = Figure { name: "MB/CPU-second", digits: 0 };
const COLUMNS: [&str; 3] = ["wall s", "peak MB", "sent MB"];

pub(crate) fn run(bench: &Bench) -> anyhow::Result<()> {
    table::say("\n━━━ sidecar-logshipper");
    if CASES.iter().any(|case| bench.wants(case.name)) || bench.wants("stdout") {
        let input = Input::write(bench)?;
        table::say(&format!("  {} lines, {:.0} MB", input.lines, input.megabytes()));
        if bench.wants("stdout") {
            let rows = beside_others(bench, &input)?;
            table::show("stdout and file", &FIGURE, &COLUMNS, &rows, "rsyslog to a file");
        }
        for case in CASES.iter().filter(|case| bench.wants(case.name)) {
            let row = to_server(bench, &input, case)?;
            table::show(case.name, &FIGURE, &COLUMNS, &[row], "");
        }
    }
    if bench.wants("idle") {
        shipper_idle::idle(bench)?;
    }
    if bench.wants("stalled") {
        shipper_idle::stalled(bench)?;
    }
    if bench.wants("latency") {
        shipper_idle::latency(bench)?;
    }
    Ok(())
}

/// One way to a server.
struct Case {
    name: &'static str,
    /// `--to`, with the server's address for `{}`.
    to: &'static str,
    compression: &'static str,
}

const CASES: &[Case] = &[
    Case { name: "http-ndjson", to: "http://{}/", compression: "none" },
    Case { name: "http-ndjson-zstd", to: "http://{}/", compression: "zstd" },
    Case { name: "es-bulk", to: "elasticsearch+http://{}/logs-bench-default", compression: "none" },
    Case { name: "es-bulk-gzip", to: "elasticsearch+http://{}/logs-bench-default", compression: "gzip" },
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

/// All who can write what they read to a pipe or a file.
fn beside_others(bench: &Bench, input: &Input) -> anyhow::Result<Vec<Row>> {
    let mut to_pipe = shipper(bench, input);
    to_pipe.args(["--to", "stdout"]);
    let out = bench.path("shipper.out");
    let mut to_file = shipper(bench, input);
    to_file.arg("--to").arg(format!("file://{}", out.display()));
    let mut tail = Command::new("tail");
    tail.args(["-n", "+1"]).arg(&input.path);
    let mut rows = vec![
        input.row("shipper to a pipe", piped(to_pipe, input)?, 0),
        input.row("tail to a pipe", piped(tail, input)?, 0),
        input.row("shipper to a file", Measured::start(to_file)?.finish(LIMIT)?, 0),
    ];
    if fs::metadata(&out)?.len() != input.bytes {
        bail!("{} bytes of {} came", fs::metadata(&out)?.len(), input.bytes);
    }
    fs::remove_file(&out)?;
    if !peers::ready(&peers::RSYSLOG).is_empty() {
        rows.push(rsyslog(bench, input)?);
    }
    if !peers::ready(&peers::SYSLOG_NG).is_empty() {
        rows.push(syslog_ng(bench, input)?);
    }
    Ok(rows)
}

/// Reads all there is, and ends when the sink has it.
fn shipper(bench: &Bench, input: &Input) -> Command {
    let state = bench.path("state");
    let _ = fs::remove_dir_all(&state);
    let mut command = Command::new(bench.ours("sidecar-logshipper"));
    command.arg("--read").arg(&input.path).arg("--state").arg(&state);
    command.args(["--once", "--admin", "127.0.0.1:0", "--log-level", "error"]);
    command
}

fn to_server(bench: &Bench, input: &Input, case: &Case) -> anyhow::Result<Row> {
    let sink = Sink::start()?;
    let mut command = shipper(bench, input);
    command.arg("--to").arg(case.to.replace("{}", &sink.address.to_string()));
    command.args(["--compression", case.compression]).stdout(Stdio::null());
    let cost = Measured::start(command)?.finish(LIMIT)?;
    if case.compression == "none" && sink.lines() < input.lines {
        bail!("{} of {} lines came", sink.lines(), input.lines);
    }
    Ok(input.row("sidecar-logshipper", cost, sink.bytes()))
}

/// To a pipe that is read, as in a pod.
fn piped(mut command: Command, input: &Input) -> anyhow::Result<Cost> {
    let name = crate::sh::shown(&command);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {name}"))?;
    let mut out = child.stdout.take().context("it has a stdout")?;
    let reader = thread::spawn(move || {
        let (mut buffer, mut bytes) = (vec![0; 256 << 10], 0);
        while let Ok(n @ 1..) = out.read(&mut buffer) {
            bytes += n as u64;
        }
        bytes
    });
    let cost = Measured::adopt(child, &name).finish(LIMIT)?;
    match reader.join() {
        Ok(bytes) if bytes == input.bytes => Ok(cost),
        Ok(bytes) => bail!("{bytes} bytes of {} came through the pipe", input.bytes),
        Err(_) => bail!("the reader panicked"),
    }
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
    Ok(input.row("rsyslog to a file", cost, 0))
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
    Ok(input.row("syslog-ng to a file", cost, 0))
}

/// The last line may wait for its end: all but a hundredth counts as all.
fn long_enough(path: &Path, bytes: u64) -> bool {
    fs::metadata(path).is_ok_and(|file| file.len() >= bytes - bytes / 100)
}
