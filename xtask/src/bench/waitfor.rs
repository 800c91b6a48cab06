//! init-waitfor beside Debian's `wait-for-it`: from start to exit when the target is there, SIGTERM while it is not, memory, size.

use std::fs;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::measure::Measured;
use super::table::{self, Figure, Row};
use super::{Bench, peers};

const RUNS: u64 = 200;
const TARGETS: usize = 20;
/// Nobody listens there.
const CLOSED: &str = "tcp://127.0.0.1:1";
/// After this time a wait has made its first attempts and sleeps.
const SETTLED: Duration = Duration::from_millis(400);

pub(crate) fn run(bench: &Bench) -> anyhow::Result<()> {
    table::say("\n━━━ init-waitfor");
    let there = peers::ready(&peers::WAITFOR);
    let peer = there.contains(&"wait-for-it");
    if bench.wants("ready") {
        ready(bench, peer)?;
    }
    if bench.wants("sigterm") {
        sigterm(bench, peer)?;
    }
    if bench.wants("memory") {
        memory(bench)?;
    }
    if bench.wants("size") {
        let size = fs::metadata(bench.ours("init-waitfor")).context("our binary")?.len();
        #[expect(clippy::cast_precision_loss, reason = "a few million")]
        let megabytes = size as f64 / 1e6;
        let row = Row { who: "init-waitfor", figure: megabytes, others: Vec::new() };
        table::show("size of the binary", &Figure { name: "MB", digits: 2 }, &[], &[row], "");
    }
    Ok(())
}

/// From the start of the process to its end.
fn ready(bench: &Bench, peer: bool) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let at = listener.local_addr()?.to_string();
    // Whoever connects is let go, so that the queue never fills.
    thread::spawn(move || listener.incoming().for_each(drop));
    let binary = bench.ours("init-waitfor");
    let ours = || command(&binary, &["-q", &format!("tcp://{at}")]);
    let theirs = || command("wait-for-it", &["-q", "-t", "5", &at]);
    let (mut our_times, mut their_times) = (Vec::new(), Vec::new());
    for _ in 0..bench.load(RUNS) {
        our_times.push(whole(ours())?);
        if peer {
            their_times.push(whole(theirs())?);
        }
    }
    show("one TCP target that is ready, from start to exit", our_times, their_times);
    Ok(())
}

/// From the signal to the end of a process that waits for a target that never comes.
fn sigterm(bench: &Bench, peer: bool) -> anyhow::Result<()> {
    let binary = bench.ours("init-waitfor");
    let (mut our_times, mut their_times) = (Vec::new(), Vec::new());
    for _ in 0..bench.load(RUNS / 4) {
        our_times.push(ended(command(&binary, &["-q", "--timeout", "0", CLOSED]))?);
        if peer {
            their_times.push(ended(command("wait-for-it", &["-q", "-t", "0", "127.0.0.1:1"]))?);
        }
    }
    show("SIGTERM while waiting, until the process is gone", our_times, their_times);
    Ok(())
}

/// The most memory there was in the first seconds of a wait for so many targets, of which the last never comes.
fn memory(bench: &Bench) -> anyhow::Result<()> {
    let mut listeners = Vec::new();
    let mut open = Vec::new();
    for _ in 1..TARGETS {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        open.push(format!("tcp://{}", listener.local_addr()?));
        listeners.push(listener);
    }
    let https: Vec<String> = vec!["https://127.0.0.1:1/".to_owned(); TARGETS];
    let tcp: Vec<String> = open.into_iter().chain([CLOSED.to_owned()]).collect();
    let figure = Figure { name: "peak MB", digits: 1 };
    for (case, targets) in [("20 TCP targets", tcp), ("20 HTTPS targets, system roots", https)] {
        let mut child = command(&bench.ours("init-waitfor"), &["-q", "--timeout", "0"]);
        child.args(targets);
        let mut child = Measured::start(child)?;
        thread::sleep(SETTLED * 5);
        let row = Row { who: "init-waitfor", figure: child.cost().peak, others: Vec::new() };
        table::show(case, &figure, &[], &[row], "");
    }
    Ok(())
}

fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn whole(mut command: Command) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let status = command.status().with_context(|| crate::sh::shown(&command))?;
    let took = begun.elapsed();
    if !status.success() {
        bail!("{}: {status}", crate::sh::shown(&command));
    }
    Ok(took.as_secs_f64() * 1e3)
}

fn ended(mut command: Command) -> anyhow::Result<f64> {
    let mut child = command.spawn().with_context(|| crate::sh::shown(&command))?;
    thread::sleep(SETTLED);
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a process id")?;
    let begun = Instant::now();
    kill_process(pid, Signal::TERM)?;
    child.wait()?;
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}

fn show(case: &str, ours: Vec<f64>, theirs: Vec<f64>) {
    let rows: Vec<Row> = [("init-waitfor", ours), ("wait-for-it", theirs)]
        .into_iter()
        .filter(|(_, times)| !times.is_empty())
        .map(|(who, mut times)| {
            times.sort_by(f64::total_cmp);
            let figure = times[times.len() / 2];
            Row { who, figure, others: vec![format!("{:.1}", part(&times, 99)), times.len().to_string()] }
        })
        .collect();
    table::show(case, &Figure { name: "median ms", digits: 1 }, &["p99 ms", "runs"], &rows, "wait-for-it");
}

/// The value that so many of a hundred do not exceed; `times` is sorted.
fn part(times: &[f64], percent: usize) -> f64 {
    let at = (times.len() * percent).div_ceil(100).saturating_sub(1);
    times.get(at).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_rank() {
        let times: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(part(&times, 99), 198.0);
        assert_eq!(part(&times[..3], 99), 3.0);
        assert_eq!(part(&[], 99), 0.0);
    }
}
