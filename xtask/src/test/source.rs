//! The steps that cargo does: format, lints, tests, and the binaries that ship.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use anyhow::{Context, bail};

use super::Done;
use crate::{dist, release, sh};

/// What the test runner said at its end.
static CLOSING: Mutex<Option<String>> = Mutex::new(None);

pub(crate) fn closing_lines() -> Option<String> {
    CLOSING.lock().ok().and_then(|closing| closing.clone())
}

pub(crate) fn format() -> anyhow::Result<Done> {
    sh::run(sh::cargo(&["fmt", "--all", "--check"]))?;
    Ok(Done::Passed(String::new()))
}

pub(crate) fn clippy() -> anyhow::Result<Done> {
    sh::run(sh::cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))?;
    Ok(Done::Passed("no warning".to_owned()))
}

/// All binaries and all tests at once, so that later steps find them.
pub(crate) fn build() -> anyhow::Result<Done> {
    sh::run(sh::cargo(&["build", "--workspace", "--all-targets", "--locked"]))?;
    Ok(Done::Passed(String::new()))
}

/// Unit and integration tests, by nextest where it is installed.
pub(crate) fn tests() -> anyhow::Result<Done> {
    let command = match nextest() {
        true => sh::cargo(&["nextest", "run", "--workspace", "--locked", "--no-fail-fast"]),
        false => sh::cargo(&["test", "--workspace", "--all-targets", "--locked", "--no-fail-fast"]),
    };
    run_tests("tests", command)
}

/// The integration tests of what data flows through once more, with the binaries that ship in place of those built for tests: an optimizer
/// that breaks something is seen in no other run.
pub(crate) fn shipped() -> anyhow::Result<Done> {
    const WHICH: &str =
        "kind(test) & (package(adapter-logformat) | package(sidecar-logshipper) | package(ambassador-proxy))";
    let mut command = match nextest() {
        true => sh::cargo(&["nextest", "run", "--workspace", "--locked", "--no-fail-fast", "-E", WHICH]),
        false => sh::cargo(&["test", "--workspace", "--test", "*", "--locked", "--no-fail-fast"]),
    };
    let folder = sh::root().join("dist").join(dist::arch()?.0);
    for name in sh::TOOLS {
        if !folder.join(name).is_file() {
            bail!("no {name} in dist: run the step dist first");
        }
    }
    command.env("PODMATES_SHIPPED", folder);
    run_tests("tests of what ships", command)
}

fn nextest() -> bool {
    sh::succeeds("cargo", &["nextest", "--version"])
}

/// Runs tests; what they say at their end is kept for the summary.
fn run_tests(name: &str, command: Command) -> anyhow::Result<Done> {
    let (lines, ok) = run_and_keep(command)?;
    let counts = Counts::of(&lines);
    let summary = nextest_closing(&lines);
    let about = format!("{} passed, {} failed, {} skipped", counts.passed, counts.failed, counts.skipped);
    if let Ok(mut closing) = CLOSING.lock() {
        let before = closing.take().map(|text| text + "\n").unwrap_or_default();
        *closing = Some(format!("{before}{summary}{name}: {about}"));
    }
    if !ok || counts.failed > 0 {
        bail!("{about}");
    }
    if counts.passed == 0 {
        bail!("the test runner ran no test");
    }
    Ok(Done::Passed(about))
}

pub(crate) fn doc_tests() -> anyhow::Result<Done> {
    sh::run(sh::cargo(&["test", "--workspace", "--doc", "--locked", "--quiet"]))?;
    Ok(Done::Passed(String::new()))
}

/// The static binaries in the release profile, which the images need.
pub(crate) fn dist() -> anyhow::Result<Done> {
    let folder = dist::build()?;
    let archive = release::archive()?;
    let first = std::fs::read(&archive).context("the archive")?;
    // Nothing of the run is in it: made again it has the same bytes.
    if std::fs::read(release::archive()?).context("the archive, made again")? != first {
        bail!("{} differs from run to run", archive.display());
    }
    let mut sizes = Vec::new();
    for name in sh::TOOLS {
        let size = std::fs::metadata(folder.join(name)).with_context(|| format!("no {name} in dist"))?.len();
        sizes.push(format!("{name} {:.2} MB", size as f64 / 1e6));
    }
    Ok(Done::Passed(sizes.join(", ")))
}

/// Runs it with its output passed through, line by line, and kept.
fn run_and_keep(mut command: Command) -> anyhow::Result<(Vec<String>, bool)> {
    let line = sh::shown(&command);
    // One pipe for both streams keeps their order; the runner's colours are asked for explicitly where wanted.
    let (reader, writer) = std::io::pipe().context("cannot make a pipe")?;
    command.stdout(writer.try_clone()?).stderr(writer).stdin(Stdio::null());
    let mut child = command.spawn().with_context(|| format!("cannot run {line}"))?;
    drop(command); // holds the writing end
    let mut lines = Vec::new();
    let mut reader = BufReader::new(reader);
    let mut bytes = Vec::new();
    while matches!(reader.read_until(b'\n', &mut bytes), Ok(1..)) {
        let _ = std::io::stderr().lock().write_all(&bytes);
        lines.push(String::from_utf8_lossy(&bytes).trim_end().to_owned());
        bytes.clear();
    }
    let status = child.wait().with_context(|| format!("cannot wait for {line}"))?;
    Ok((lines, status.success()))
}

/// From nextest's last `Summary` to its end: the counts, and the names of what failed.
fn nextest_closing(lines: &[String]) -> String {
    let from = lines.iter().rposition(|line| line.trim_start().starts_with("Summary")).unwrap_or(lines.len());
    lines[from..].iter().map(|line| format!("{line}\n")).collect()
}

#[derive(Default, Debug, PartialEq)]
struct Counts {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Counts {
    /// Adds up `N passed`, `N failed`, `N skipped` and `N ignored` in the summary lines of nextest or libtest.
    fn of(lines: &[String]) -> Self {
        let mut counts = Counts::default();
        for line in lines {
            let line = line.trim_start();
            if !line.starts_with("Summary") && !line.starts_with("test result:") {
                continue;
            }
            let words: Vec<&str> =
                line.split(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '(' | ')')).collect();
            for pair in words.windows(2) {
                let Ok(number) = pair[0].parse::<u64>() else { continue };
                match pair[1] {
                    "passed" => counts.passed += number,
                    "failed" | "timed" => counts.failed += number,
                    "skipped" | "ignored" => counts.skipped += number,
                    _ => {}
                }
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_runners_are_understood() {
        let nextest =
            ["     Summary [   1.2s] 42 tests run: 40 passed (1 slow), 2 failed, 3 skipped".to_owned()];
        assert_eq!(Counts::of(&nextest), Counts { passed: 40, failed: 2, skipped: 3 });
        let libtest = [
            "test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.0s"
                .to_owned(),
            "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out".to_owned(),
        ];
        assert_eq!(Counts::of(&libtest), Counts { passed: 7, failed: 1, skipped: 1 });
    }
}
