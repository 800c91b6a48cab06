//! Runs a block, and looks whether it does its work.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use testkit::{Running, http, metrics};

use crate::fences::Block;
use crate::kind::Kind;
use crate::pod;
use crate::reader::Reader;
use crate::yaml::{list, text};

/// For a start, for an end, and for the work between them.
const PATIENCE: Duration = Duration::from_secs(30);
/// Who stays, and where it says how it is.
const PORTS: [(&str, u16); 4] = [
    ("init-waitfor", 9101),
    ("ambassador-proxy", 9102),
    ("adapter-logformat", 9103),
    ("sidecar-logshipper", 9104),
];

pub(crate) fn block(reader: &Reader, block: &Block, kind: &Kind) -> Result<(), String> {
    let mut lines = match kind {
        Kind::Shell => shell(&block.text),
        Kind::Config(tool) => {
            reader.write("home/config.yaml", &block.text);
            let fetch = if block.text.contains("\nfetch:") || block.text.starts_with("fetch:") {
                " fetch"
            } else {
                ""
            };
            // Without an input it reads stdin.
            let stdin = if *tool == "adapter-logformat" { " < access.log" } else { "" };
            vec![format!("{tool}{fetch} --config config.yaml{stdin}")]
        }
        Kind::Pods(pods) => pods.iter().flat_map(containers).collect(),
        Kind::Picture | Kind::Unknown(_) => Vec::new(),
    };
    if lines.is_empty() {
        return Err("there is nothing to run in it".to_owned());
    }
    // A gate that looks through a proxy which the block does not show.
    if matches!(kind, Kind::Pods(_)) && block.text.contains("http://127.0.0.1:8080/") {
        lines.insert(0, "ambassador-proxy --http 127.0.0.1:8080=http://orders:80".to_owned());
    }
    let mut staying: Vec<(&str, Running)> = Vec::new();
    for line in &lines {
        let tool = PORTS.iter().map(|(tool, _)| *tool).find(|tool| line.starts_with(tool)).unwrap_or("");
        // Two of a kind are two ways: the first one makes room.
        while let Some(at) = staying.iter().position(|(other, _)| *other == tool) {
            stop(staying.remove(at).1)?;
        }
        let simple = !tool.is_empty() && !line.contains(['|', ';', '&']);
        let running = reader.start(&if simple { format!("exec {line}") } else { line.clone() });
        if let Some(stays) = ends_or_stays(tool, running).map_err(|what| format!("{line}: {what}"))? {
            works(reader, tool, &block.text).map_err(|what| format!("{line}: {what}: {}", said(&stays)))?;
            staying.push((tool, stays));
        }
    }
    staying.into_iter().rev().try_for_each(|(_, running)| stop(running))
}

/// The commands of a block: whole lines, without prompts; where there are prompts, the other lines are outputs.
fn shell(text: &str) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    let prompts = joined.lines().any(|line| line.starts_with("$ "));
    let lines = joined.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let lines = lines.filter_map(|line| if prompts { line.strip_prefix("$ ") } else { Some(line) });
    lines.map(str::to_owned).collect()
}

/// What a kubelet would start, in its order; an app of the reader's that is only named is left out.
fn containers(document: &serde_json::Value) -> Vec<String> {
    let documents = [document.clone()];
    let quoted = |word: &&str| format!("'{}'", word.replace('\'', r"'\''"));
    let mut lines = Vec::new();
    for container in &pod::all(&documents)[0].containers {
        let mut words: Vec<&str> = list(&container.spec["command"]).iter().map(text).collect();
        if words.is_empty() && container.tool().is_some() {
            words.push(container.image());
        }
        if words.is_empty() {
            continue;
        }
        let args = list(&container.spec["args"]).iter().map(text);
        let rest: Vec<String> = words.drain(1..).chain(args).map(|word| quoted(&word)).collect();
        lines.push(format!("{} {}", words[0], rest.join(" ")));
    }
    lines
}

/// Waits until it has ended well (nothing) or is ready (it).
fn ends_or_stays(tool: &str, running: Running) -> Result<Option<Running>, String> {
    let port = PORTS.iter().find(|(name, _)| *name == tool).map(|(_, port)| *port);
    let begun = Instant::now();
    while running.is_running() {
        let request = http::Request::new("GET", "/readyz");
        let ready = |port| http::try_send(local(port), &request).is_ok_and(|response| response.status == 200);
        if port.is_some_and(ready) {
            return Ok(Some(running));
        }
        if begun.elapsed() > PATIENCE {
            return Err(format!("it neither ends nor is ready: {}", said(&running)));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let exited = running.wait_exit();
    match exited.code() {
        Some(0) => Ok(None),
        code => Err(format!("exit code {code:?}: {}{}", exited.stderr(), exited.stdout())),
    }
}

fn stop(running: Running) -> Result<(), String> {
    running.sigterm();
    let exited = running.wait_exit();
    match exited.code() {
        Some(0) => Ok(()),
        code => Err(format!("exit code {code:?} after SIGTERM: {}", exited.stderr())),
    }
}

/// What the documentation says it does, by its own count.
fn works(reader: &Reader, tool: &str, text: &str) -> Result<(), String> {
    match tool {
        "sidecar-logshipper" => wait("not every sink has a line", || {
            let page = metrics::metrics(local(9104));
            let name = "sidecar_logshipper_lines_delivered_total";
            let sinks: Vec<f64> = page.samples.iter().filter(|s| s.name == name).map(|s| s.value).collect();
            !sinks.is_empty() && sinks.iter().all(|lines| *lines > 0.0)
        }),
        "adapter-logformat" => {
            send(reader, text).map_err(|error| error.to_string())?;
            wait("no record was written", || {
                metrics::metrics(local(9103)).sum("adapter_logformat_records_written_total") > 0.0
            })?;
            let unparsed = metrics::metrics(local(9103)).sum("adapter_logformat_records_unparsed_total");
            if unparsed > 0.0 { Err(format!("{unparsed} records were not understood")) } else { Ok(()) }
        }
        "ambassador-proxy" => {
            for (kind, port) in listeners(text) {
                let asked = || match kind {
                    "http" => http::try_send(local(port), &http::Request::new("GET", "/"))
                        .is_ok_and(|response| response.status == 200),
                    _ => TcpStream::connect(local(port)).is_ok(),
                };
                wait(&format!("no good answer on port {port}"), asked)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// `http: 127.0.0.1:8080`, `--http 127.0.0.1:8080=…` (or with quotes and commas between) and the same for TCP.
fn listeners(text: &str) -> Vec<(&'static str, u16)> {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || "\"',{}[]".contains(c)).filter(|w| !w.is_empty()).collect();
    let mut found = Vec::new();
    for pair in words.windows(2) {
        let kind = ["http", "tcp"].into_iter().find(|kind| pair[0].trim_matches(['-', ':']) == *kind);
        let port = pair[1].strip_prefix("127.0.0.1:").and_then(|rest| rest.split('=').next()?.parse().ok());
        found.extend(kind.zip(port));
    }
    found
}

/// A message to every socket that a configuration listens on.
fn send(reader: &Reader, text: &str) -> std::io::Result<()> {
    let syslog = "<13>1 2026-11-21T10:00:00Z web app 7 - - hello\n";
    for word in text.split(|c: char| c.is_whitespace() || "\"',[]".contains(c)) {
        let word = word.split('?').next().unwrap_or(word);
        let port = |scheme: &str| {
            word.strip_prefix(scheme).and_then(|rest| rest.rsplit(':').next()?.parse::<u16>().ok())
        };
        if let Some(port) = port("udp://") {
            UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.send_to(syslog.trim_end().as_bytes(), local(port))?;
        } else if let Some(port) = port("tcp://") {
            TcpStream::connect(local(port))?.write_all(syslog.as_bytes())?;
        } else if let Some(path) = word.strip_prefix("unix://") {
            UnixStream::connect(reader.path(path))?.write_all(b"{\"msg\":\"hello\"}\n")?;
        }
    }
    Ok(())
}

fn wait(what: &str, mut is_so: impl FnMut() -> bool) -> Result<(), String> {
    let begun = Instant::now();
    while !is_so() {
        if begun.elapsed() > PATIENCE {
            return Err(what.to_owned());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn said(running: &Running) -> String {
    running.lines(testkit::Stream::Stderr).join("\n")
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

#[test]
fn lines_and_listeners() {
    assert_eq!(shell("$ a \\\n b\nout\n# c\n$ d\n"), ["a   b", "d"]);
    assert_eq!(shell("a\n# b\nc\n"), ["a", "c"]);
    let text =
        "http: 127.0.0.1:8080\n--tcp 127.0.0.1:5432=db:5432 args: [\"--http\", \"127.0.0.1:81=http://x:80\"]";
    assert_eq!(listeners(text), [("http", 8080), ("tcp", 5432), ("http", 81)]);
}
