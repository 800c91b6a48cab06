//! The demo run by the tests: as people run it, in a process of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::sh;
use crate::test::Done;

/// As processes, each sidecar killed once.
pub(crate) fn as_a_test(length: &str) -> anyhow::Result<Done> {
    rehearse(&["demo", "--for", length, "--chaos", "--no-build"])
}

/// As processes, random sidecars killed every few seconds.
pub(crate) fn as_a_storm(length: &str) -> anyhow::Result<Done> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let seed = now.as_secs().to_string();
    eprintln!("  --storm {seed}");
    rehearse(&["demo", "--for", length, "--storm", &seed, "--no-build"])
}

/// As containers, each sidecar killed once, from the images that are there.
pub(crate) fn as_a_docker_test(length: &str, old: bool) -> anyhow::Result<Done> {
    let mut args = vec!["demo", "--docker", "--for", length, "--chaos", "--no-build"];
    args.extend(old.then_some("--old-compose"));
    rehearse(&args)
}

fn rehearse(args: &[&str]) -> anyhow::Result<Done> {
    let mut command = this_program(args);
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot run the demo")?;
    let stdout = child.stdout.take().context("the demo has a stdout")?;
    let mut lines = Vec::new();
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        eprintln!("{line}");
        lines.push(line);
    }
    if !child.wait()?.success() {
        bail!("the demo failed; see its last lines");
    }
    let proof = lines.iter().find(|line| line.trim_start().starts_with("lines "));
    let proof = proof.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    Ok(Done::Passed(proof.unwrap_or_default()))
}

/// Starts the demo, calls `visit` with the names and addresses of all pages it offers, and ends the demo.
pub(crate) fn with_pages(
    visit: impl FnOnce(&[(String, SocketAddr)]) -> anyhow::Result<()> + Send,
) -> anyhow::Result<()> {
    let mut child = this_program(&["demo", "--for", "5m", "--no-build"])
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run the demo")?;
    let stdout = child.stdout.take().context("the demo has a stdout")?;
    let (mut pages, mut visit): (Vec<(String, SocketAddr)>, _) = (Vec::new(), Some(visit));
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    let pid = pid.context("the demo has a process id")?;
    let visited = std::thread::scope(|scope| {
        let mut visiting = None;
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let [name, url] = words[..]
                && let Some(addr) =
                    url.strip_prefix("http://").and_then(|rest| rest.trim_end_matches('/').parse().ok())
            {
                pages.push((name.to_owned(), addr));
            }
            // The last line about them. Meanwhile what the demo says has to be read on.
            if line.contains("kill -9 any of them")
                && let Some(visit) = visit.take()
            {
                let pages = std::mem::take(&mut pages);
                visiting = Some(scope.spawn(move || {
                    let visited = visit(&pages);
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
                    visited
                }));
            }
        }
        visiting.map(|thread| thread.join())
    });
    child.wait()?;
    match visited {
        Some(Ok(visited)) => visited,
        Some(Err(_)) => bail!("taking the pictures panicked"),
        None => bail!("the demo offered no page"),
    }
}

/// This very program, also when a build has put another one in its place meanwhile.
fn this_program(args: &[&str]) -> Command {
    sh::command("/proc/self/exe", args)
}
