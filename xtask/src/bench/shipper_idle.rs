//! What the shipper takes while it has little to do: files that nobody writes, a sink that takes nothing, a thousand lines a second.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};

use super::Bench;
use super::measure::Measured;
use super::sink::Sink;
use super::table::{self, Figure, Row};

/// Following one idle file, and a thousand.
pub(super) fn idle(bench: &Bench) -> anyhow::Result<()> {
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

/// A sink that takes the connection and never answers, and a log file that is far ahead. Beyond what is read of it before the shipper
/// stops reading, the file is a hole: nobody looks at those bytes, and they cost no disk.
pub(super) fn stalled(bench: &Bench) -> anyhow::Result<()> {
    const WAITING: u64 = 10_000_000_000;
    let stalled = std::net::TcpListener::bind("127.0.0.1:0")?;
    let path = bench.path("backlog.log");
    let mut file = BufWriter::new(File::create(&path)?);
    for number in 0..500_000 {
        writeln!(
            file,
            "line {number} of a backlog that is far longer than what anybody keeps in memory of it"
        )?;
    }
    let file = file.into_inner()?;
    let written = file.metadata()?.len() / 1_000_000;
    file.set_len(WAITING)?;
    let mut command = Command::new(bench.ours("sidecar-logshipper"));
    command.arg("--read").arg(&path).arg("--to").arg(format!("http://{}/", stalled.local_addr()?));
    command.arg("--state").arg(bench.path("stalled-state"));
    command.args(["--admin", "127.0.0.1:0", "--log-level", "error", "--timeout", "10s"]);
    let mut running = Measured::start(command)?;
    // Time for requests that are cut off and sent again.
    thread::sleep(Duration::from_secs(if bench.quick { 15 } else { 45 }));
    let cost = running.cost();
    let others = vec![format!("{:.1}", running.resident()), format!("{:.2}", cost.cpu)];
    let figure = Figure { name: "peak MB", digits: 1 };
    let row = Row { who: "sidecar-logshipper", figure: cost.peak, others };
    let case = format!("stalled sink, 10 GB waiting ({written} MB of lines, the rest a hole)");
    table::show(&case, &figure, &["now MB", "CPU s"], &[row], "");
    Ok(())
}

/// From the write of a line to its arrival at the sink, at 1,000 lines a second: each line carries the moment it was written.
pub(super) fn latency(bench: &Bench) -> anyhow::Result<()> {
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
