//! The proxy beside HAProxy and nginx: one worker each, the same upstream, the same load, in turn.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::measure::{Cost, Measured};
use super::table::{self, Figure, Row};
use super::{Bench, peers, proxy_load};
use crate::sh;

const START: Duration = Duration::from_secs(10);
/// Each measurement is made so often, in turn, and the figures are the means.
const ROUNDS: u32 = 2;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Ours,
    Haproxy,
    Nginx,
}

impl Who {
    const ALL: [Who; 3] = [Who::Ours, Who::Haproxy, Who::Nginx];

    fn name(self) -> &'static str {
        match self {
            Who::Ours => "ambassador-proxy",
            Who::Haproxy => "haproxy",
            Who::Nginx => "nginx",
        }
    }
}

/// What a proxy is to do.
#[derive(Clone, Copy)]
enum Mode {
    Http,
    /// HTTP/2 without TLS in, HTTP/1.1 out.
    H2c,
    Tcp,
}

pub(crate) fn run(bench: &Bench) -> anyhow::Result<()> {
    table::say("\n━━━ ambassador-proxy");
    let there = peers::ready(&peers::PROXY);
    for program in ["nginx", "wrk", "h2load"] {
        if !there.contains(&program) {
            bail!("the load needs {program}: install it, or leave out `proxy`");
        }
    }
    let who: Vec<Who> =
        Who::ALL.into_iter().filter(|who| *who == Who::Ours || there.contains(&who.name())).collect();
    let upstream = Upstream::start(bench)?;
    let seconds = bench.load(80) / 10;
    if bench.wants("small") {
        let figure = Figure { name: "CPU µs/request", digits: 1 };
        let rows = http(bench, &who, &upstream, "/small", 50, seconds)?;
        table::show(
            "HTTP/1.1, 67 bytes, 50 connections (wrk)",
            &figure,
            &["req/s", "peak MB"],
            &rows,
            "haproxy",
        );
    }
    if bench.wants("64k") {
        let figure = Figure { name: "CPU µs/request", digits: 1 };
        let rows = http(bench, &who, &upstream, "/64k", 50, seconds)?;
        table::show("HTTP/1.1, 64 KB, 50 connections (wrk)", &figure, &["req/s", "peak MB"], &rows, "nginx");
    }
    if bench.wants("h2c") {
        let figure = Figure { name: "CPU µs/request", digits: 1 };
        let rows = h2c(bench, &who, &upstream)?;
        table::show(
            "HTTP/2 without TLS to HTTP/1.1, 10 × 10 streams (h2load)",
            &figure,
            &["req/s", "peak MB"],
            &rows,
            "haproxy",
        );
    }
    if bench.wants("bulk") {
        let figure = Figure { name: "CPU s/GB", digits: 3 };
        table::show("TCP, one stream in bulk", &figure, &["MB/s", "peak MB"], &bulk(bench, &who)?, "nginx");
    }
    if bench.wants("message") {
        let figure = Figure { name: "CPU µs/round", digits: 2 };
        table::show(
            "TCP, 64 bytes there and back, 8 connections",
            &figure,
            &["rounds/s", "peak MB"],
            &messages(bench, &who)?,
            "haproxy",
        );
    }
    if bench.wants("latency") {
        let figure = Figure { name: "added p50 µs", digits: 0 };
        let rows = latency(bench, &who, &upstream)?;
        table::show(
            "HTTP/1.1 at 2,000 requests/s, 8 connections (h2load)",
            &figure,
            &["added p99 µs", "direct p50"],
            &rows,
            "haproxy",
        );
    }
    if bench.wants("memory") {
        let figure = Figure { name: "idle MB", digits: 1 };
        let rows = memory(bench, &who, &upstream)?;
        table::show("Resident memory", &figure, &["1,000 conns"], &rows, "haproxy");
    }
    Ok(())
}

/// nginx with one worker, which answers from memory.
struct Upstream {
    address: SocketAddr,
    _process: Measured,
}

impl Upstream {
    fn start(bench: &Bench) -> anyhow::Result<Self> {
        let address = free_address()?;
        let site = bench.path("site");
        fs::create_dir_all(&site)?;
        fs::write(site.join("64k"), vec![b'x'; 64 << 10])?;
        fs::write(site.join("small"), [b'x'; 67])?;
        let http = format!(
            "server {{ listen {address} backlog=4096; root {}; open_file_cache max=10; }}",
            site.display()
        );
        let process = nginx(bench, "upstream", "", &http)?;
        await_listening(address)?;
        Ok(Upstream { address, _process: process })
    }
}

/// A proxy in front of `to`, ready.
struct Running {
    process: Measured,
    address: SocketAddr,
}

fn start(bench: &Bench, who: Who, mode: Mode, to: SocketAddr) -> anyhow::Result<Running> {
    let address = free_address()?;
    let process = match who {
        Who::Ours => ours(bench, mode, address, to)?,
        Who::Haproxy => haproxy(bench, mode, address, to)?,
        Who::Nginx => match mode {
            Mode::Tcp => {
                let stream =
                    format!("server {{ listen {address} backlog=4096; proxy_pass {to}; tcp_nodelay on; }}");
                nginx(bench, "stream", &stream, "")?
            }
            Mode::Http | Mode::H2c => {
                let h2 = if matches!(mode, Mode::H2c) { "http2" } else { "" };
                let http = format!(
                    "upstream up {{ server {to}; keepalive 256; keepalive_requests 100000000; }}
                     server {{ listen {address} backlog=4096 {h2}; location / {{ proxy_pass http://up;
                     proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }}"
                );
                nginx(bench, "proxy", "", &http)?
            }
        },
    };
    await_listening(address)?;
    Ok(Running { process, address })
}

/// One worker and no access log, as the others; everything else as it is by default.
fn ours(bench: &Bench, mode: Mode, address: SocketAddr, to: SocketAddr) -> anyhow::Result<Measured> {
    let mut command = Command::new(bench.ours("ambassador-proxy"));
    match mode {
        Mode::Http | Mode::H2c => command.arg("--http").arg(format!("{address}=http://{to}")),
        Mode::Tcp => command.arg("--tcp").arg(format!("{address}={to}")),
    };
    command.args(["--workers", "1", "--access-log", "off", "--admin", "127.0.0.1:0", "--log-level", "error"]);
    Measured::start(command)
}

fn haproxy(bench: &Bench, mode: Mode, address: SocketAddr, to: SocketAddr) -> anyhow::Result<Measured> {
    let (kind, proto) = match mode {
        Mode::Http => ("http", ""),
        Mode::H2c => ("http", "proto h2"),
        Mode::Tcp => ("tcp", ""),
    };
    let config = bench.path("haproxy.cfg");
    let text = format!(
        "global\n  nbthread 1\n  maxconn 5000\ndefaults\n  mode {kind}\n  timeout connect 1s\n  timeout client 60s\n  timeout server 60s\n\
         frontend f\n  bind {address} {proto}\n  default_backend b\nbackend b\n  server s {to}\n"
    );
    fs::write(&config, text)?;
    let mut command = Command::new("/usr/sbin/haproxy");
    command.arg("-q").arg("-db").arg("-f").arg(&config);
    Measured::start(command)
}

/// In the foreground, one worker, nothing of the system's own configuration.
fn nginx(bench: &Bench, name: &str, stream: &str, http: &str) -> anyhow::Result<Measured> {
    let folder = bench.path(&format!("nginx-{name}"));
    fs::create_dir_all(&folder)?;
    let (module, stream) = if stream.is_empty() {
        (String::new(), String::new())
    } else {
        (
            "load_module /usr/lib/nginx/modules/ngx_stream_module.so;".to_owned(),
            format!("stream {{ {stream} }}"),
        )
    };
    let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {}/{kind};\n", folder.display()))
        .concat();
    let http = if http.is_empty() {
        String::new()
    } else {
        format!(
            "http {{ access_log off; keepalive_requests 100000000; keepalive_timeout 300s; sendfile on; tcp_nodelay on;\n{temp}{http} }}"
        )
    };
    let config = folder.join("nginx.conf");
    // Started by root, its worker would be `nobody`, who may not look into a home.
    let user = if rustix::process::geteuid().is_root() { "user root;\n" } else { "" };
    let text = format!(
        "{user}{module}\ndaemon off; worker_processes 1; pid {0}/pid; error_log {0}/error.log; worker_rlimit_nofile 20000;\n\
         events {{ worker_connections 8192; }}\n{stream}\n{http}\n",
        folder.display()
    );
    fs::write(&config, text)?;
    let mut command = Command::new("/usr/sbin/nginx");
    command.arg("-p").arg(&folder).arg("-c").arg(&config).arg("-e").arg(folder.join("error.log"));
    Measured::start(command)
}

/// Means over the rounds, every proxy in turn within each.
fn in_turn(
    who: &[Who],
    mut once: impl FnMut(Who) -> anyhow::Result<(f64, f64, f64)>,
) -> anyhow::Result<Vec<Row>> {
    let mut sums = vec![(0.0, 0.0, 0.0_f64); who.len()];
    for _ in 0..ROUNDS {
        for (sum, who) in sums.iter_mut().zip(who) {
            let (figure, rate, peak) = once(*who).with_context(|| format!("{} failed", who.name()))?;
            *sum = (sum.0 + figure, sum.1 + rate, sum.2.max(peak));
        }
    }
    let rounds = f64::from(ROUNDS);
    let row = |((figure, rate, peak), who): ((f64, f64, f64), &Who)| Row {
        who: who.name(),
        figure: figure / rounds,
        others: vec![format!("{:.0}", rate / rounds), format!("{peak:.1}")],
    };
    Ok(sums.into_iter().zip(who).map(row).collect())
}

fn http(
    bench: &Bench,
    who: &[Who],
    upstream: &Upstream,
    path: &str,
    connections: u32,
    seconds: u64,
) -> anyhow::Result<Vec<Row>> {
    let seconds = seconds.max(1);
    in_turn(who, |who| {
        let mut running = start(bench, who, Mode::Http, upstream.address)?;
        let url = format!("http://{}{path}", running.address);
        let load = |seconds: u64| {
            let (c, d) = (format!("-c{connections}"), format!("-d{seconds}s"));
            sh::output(sh::command("wrk", &["-t1", &c, &d, &url]))
        };
        load(1)?;
        let before = running.process.cost();
        let report = load(seconds)?;
        let after = running.process.cost();
        if report.contains("Non-2xx") || report.contains("Socket errors") {
            bail!("not every answer was right:\n{report}");
        }
        let requests = number_before(&report, " requests in").context("wrk did not say how many requests")?;
        Ok(per(before, after, requests))
    })
}

fn h2c(bench: &Bench, who: &[Who], upstream: &Upstream) -> anyhow::Result<Vec<Row>> {
    let requests = bench.load(200_000);
    in_turn(who, |who| {
        let mut running = start(bench, who, Mode::H2c, upstream.address)?;
        let url = format!("http://{}/small", running.address);
        let load = |requests: u64| {
            sh::output(sh::command("h2load", &["-c10", "-m10", "-n", &requests.to_string(), &url]))
        };
        load(2000)?;
        let before = running.process.cost();
        let report = load(requests)?;
        let after = running.process.cost();
        expect_all(&report, requests)?;
        #[expect(clippy::cast_precision_loss, reason = "fewer than 2^52")]
        Ok(per(before, after, requests as f64))
    })
}

fn bulk(bench: &Bench, who: &[Who]) -> anyhow::Result<Vec<Row>> {
    let bytes = bench.load(8_000_000_000);
    let to = proxy_load::source(bytes)?;
    in_turn(&with_stream(who), |who| {
        let mut running = start(bench, who, Mode::Tcp, to)?;
        let before = running.process.cost();
        let came = proxy_load::drain(running.address)?;
        let after = running.process.cost();
        if came != bytes {
            bail!("{came} of {bytes} bytes came");
        }
        #[expect(clippy::cast_precision_loss, reason = "fewer than 2^52")]
        let gigabytes = bytes as f64 / 1e9;
        Ok(((after.cpu - before.cpu) / gigabytes, gigabytes * 1e3 / (after.wall - before.wall), after.peak))
    })
}

fn messages(bench: &Bench, who: &[Who]) -> anyhow::Result<Vec<Row>> {
    let rounds = bench.load(40_000);
    let to = proxy_load::echo()?;
    in_turn(&with_stream(who), |who| {
        let mut running = start(bench, who, Mode::Tcp, to)?;
        let before = running.process.cost();
        let count = proxy_load::ping(running.address, 8, rounds)?;
        let after = running.process.cost();
        #[expect(clippy::cast_precision_loss, reason = "fewer than 2^52")]
        Ok(per(before, after, count as f64))
    })
}

/// nginx proxies TCP only with a module of its own package.
fn with_stream(who: &[Who]) -> Vec<Who> {
    let module = fs::exists("/usr/lib/nginx/modules/ngx_stream_module.so").unwrap_or_default();
    who.iter().copied().filter(|who| module || *who != Who::Nginx).collect()
}

fn latency(bench: &Bench, who: &[Who], upstream: &Upstream) -> anyhow::Result<Vec<Row>> {
    let requests = bench.load(20_000);
    let (direct, direct_tail) = quantiles(bench, upstream.address, requests)?;
    let mut rows = Vec::new();
    for who in who {
        let running = start(bench, *who, Mode::Http, upstream.address)?;
        let (p50, p99) = quantiles(bench, running.address, requests)?;
        let others = vec![format!("{:.0}", p99 - direct_tail), format!("{direct:.0}")];
        rows.push(Row { who: who.name(), figure: p50 - direct, others });
    }
    Ok(rows)
}

/// Median and 99th percentile in µs at a fixed rate.
fn quantiles(bench: &Bench, address: SocketAddr, requests: u64) -> anyhow::Result<(f64, f64)> {
    let log = bench.path("h2load.log");
    let _ = fs::remove_file(&log);
    let (url, n) = (format!("http://{address}/small"), requests.to_string());
    let file = format!("--log-file={}", log.display());
    let report = sh::output(sh::command("h2load", &["--h1", "-c8", "--rps=250", "-n", &n, &file, &url]))?;
    expect_all(&report, requests)?;
    // Three columns: when it began, the status, how long it took in µs.
    let text = fs::read_to_string(&log).context("h2load wrote no log")?;
    let mut took: Vec<f64> =
        text.lines().filter_map(|line| line.split('\t').nth(2)?.trim().parse().ok()).collect();
    if took.is_empty() {
        bail!("h2load's log is empty");
    }
    took.sort_by(f64::total_cmp);
    Ok((took[took.len() / 2], took[took.len() * 99 / 100]))
}

fn memory(bench: &Bench, who: &[Who], upstream: &Upstream) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for who in who {
        let mut running = start(bench, *who, Mode::Http, upstream.address)?;
        std::thread::sleep(Duration::from_millis(500));
        let idle = running.process.cost().peak;
        let url = format!("http://{}/small", running.address);
        let report = sh::output(sh::command("h2load", &["--h1", "-c1000", "-n100000", &url]))?;
        expect_all(&report, 100_000)?;
        let others = vec![format!("{:.1}", running.process.cost().peak)];
        rows.push(Row { who: who.name(), figure: idle, others });
    }
    Ok(rows)
}

fn per(before: Cost, after: Cost, count: f64) -> (f64, f64, f64) {
    ((after.cpu - before.cpu) * 1e6 / count, count / (after.wall - before.wall), after.peak)
}

/// The number in front of `words`.
fn number_before(text: &str, words: &str) -> Option<f64> {
    text[..text.find(words)?].split_whitespace().next_back()?.parse().ok()
}

fn expect_all(report: &str, requests: u64) -> anyhow::Result<()> {
    let succeeded = number_before(report, " succeeded").context("h2load did not say what succeeded")?;
    #[expect(clippy::cast_precision_loss, reason = "fewer than 2^52")]
    if succeeded < requests as f64 {
        bail!("{succeeded} of {requests} requests succeeded:\n{report}");
    }
    Ok(())
}

fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0").context("cannot bind on loopback")?.local_addr()?)
}

fn await_listening(address: SocketAddr) -> anyhow::Result<()> {
    let begun = Instant::now();
    while TcpStream::connect(address).is_err() {
        if begun.elapsed() > START {
            bail!("nothing listens on {address}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_counts_of_both_tools() {
        let wrk = "  246013 requests in 8.00s, 70.15MB read\nRequests/sec:  30751";
        assert_eq!(number_before(wrk, " requests in"), Some(246_013.0));
        let h2load = "requests: 20 total, 20 started, 20 done, 19 succeeded, 1 failed, 1 errored, 0 timeout";
        assert_eq!(number_before(h2load, " succeeded"), Some(19.0));
        assert!(expect_all(h2load, 20).is_err() && expect_all(h2load, 19).is_ok());
    }
}
