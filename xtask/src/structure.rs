//! What an image promises, asked of the image: `files in it → a start as a pod would start it → the end`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use crate::docker::docker;
use crate::sh;

/// How each of the four is started for the test, and how it ends: a server after SIGTERM, the gate by itself.
const STARTS: [(&str, &[&str], i64); 4] = [
    ("ambassador-proxy", &["--http", "127.0.0.1:8080=http://127.0.0.1:9"], 0),
    ("sidecar-logshipper", &["--read", "/logs/*.log", "--to", "stdout", "--state", "/state"], 0),
    ("adapter-logformat", &["--in", "/logs/*.log", "--out", "/state/out.ndjson", "--state", "/state"], 0),
    ("init-waitfor", &["--timeout", "500ms", "tcp://127.0.0.1:9"], 124),
];
/// What Docker itself puts into a container.
const DOCKERS: [&str; 8] = [
    ".dockerenv",
    "dev/",
    "dev/console",
    "etc/hostname",
    "etc/hosts",
    "etc/mtab",
    "etc/resolv.conf",
    "logs/",
];
const PATIENCE: Duration = Duration::from_secs(20);

/// Checks one of the four; the demo's images promise nothing.
///
/// # Errors
/// What is in the image and should not be, or how the start went wrong.
pub(crate) fn check(name: &str, tag: &str) -> anyhow::Result<()> {
    let Some((_, args, code)) = STARTS.iter().find(|(tool, _, _)| *tool == name) else { return Ok(()) };
    let mut run = vec!["create", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"];
    run.extend(["--network", "none", "--memory", "64m", "--pids-limit", "32"]);
    run.extend([
        "--tmpfs",
        "/state:uid=65532,gid=65532,mode=0700,size=8m",
        "--tmpfs",
        "/logs:mode=0755,size=1m",
    ]);
    run.push(tag);
    run.extend(*args);
    let id = sh::output(docker(&run))?.trim().to_owned();
    let checked = files(&id, name).and_then(|()| life(&id, name, *code));
    let _ = sh::output(docker(&["rm", "--force", "--volumes", &id]));
    checked.with_context(|| format!("the image {tag}"))
}

/// One binary, the CA roots, and nothing else: no shell, no package manager, nothing to write to.
fn files(id: &str, name: &str) -> anyhow::Result<()> {
    let archive = tempfile::NamedTempFile::new().context("cannot make a file")?;
    let path = archive.path().to_string_lossy().into_owned();
    sh::output(docker(&["export", "--output", &path, id]))?;
    let listed = sh::output(sh::command("tar", &["--list", "--file", &path]))?;
    let found: BTreeSet<&str> = listed.lines().collect();
    let ours = [name, "etc/", "etc/ssl/", "etc/ssl/certs/", "etc/ssl/certs/ca-certificates.crt"];
    let of_docker = |file: &&str| {
        DOCKERS.contains(file) || ["dev/", "proc/", "sys/", "state/"].iter().any(|dir| file.starts_with(dir))
    };
    let strange: Vec<&&str> = found.iter().filter(|file| !ours.contains(file) && !of_docker(file)).collect();
    ensure!(strange.is_empty(), "it also holds {strange:?}");
    let missing: Vec<&&str> = ours.iter().filter(|file| !found.contains(**file)).collect();
    ensure!(missing.is_empty(), "it lacks {missing:?}");
    Ok(())
}

/// Starts, is ready by its own probe, runs as 65532 without a capability, and ends with the right code.
fn life(id: &str, name: &str, code: i64) -> anyhow::Result<()> {
    sh::output(docker(&["start", id]))?;
    if code == 0 {
        let begun = Instant::now();
        let probe = format!("/{name}");
        while sh::output(docker(&["exec", id, &probe, "probe", "--ready"])).is_err() {
            ensure!(begun.elapsed() < PATIENCE, "not ready after {PATIENCE:?}: {}", said(id));
            std::thread::sleep(Duration::from_millis(100));
        }
        let state = inspect(id)?;
        let pid = state["State"]["Pid"].as_u64().context("a container that runs has a pid")?;
        // An engine elsewhere (a virtual machine) has its processes elsewhere, too.
        if let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status"))
            && status.contains(&format!("Name:\t{}", &name[..name.len().min(15)]))
        {
            for line in [
                "Uid:\t65532\t65532\t65532\t65532",
                "CapEff:\t0000000000000000",
                "CapBnd:\t0000000000000000",
                "NoNewPrivs:\t1",
            ] {
                ensure!(status.contains(line), "it runs without {line:?}:\n{status}");
            }
        }
        sh::output(docker(&["stop", "--time", "15", id]))?;
    } else {
        sh::output(docker(&["wait", id]))?;
    }
    let state = inspect(id)?;
    if state["State"]["ExitCode"] != json!(code) || state["State"]["OOMKilled"] == true {
        bail!("it ended with {}, not {code}: {}", state["State"]["ExitCode"], said(id));
    }
    Ok(())
}

fn inspect(id: &str) -> anyhow::Result<Value> {
    let text = sh::output(docker(&["container", "inspect", id]))?;
    let mut all: Vec<Value> = serde_json::from_str(&text).context("docker container inspect")?;
    all.pop().context("one container")
}

fn said(id: &str) -> String {
    let mut logs = docker(&["logs", id]);
    let output = logs.output();
    output.map(|output| sh::tail(&String::from_utf8_lossy(&output.stderr), 20)).unwrap_or_default()
}
