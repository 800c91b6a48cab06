//! Running other programs, and knowing where everything is.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// In the order of the pod: the order in manifests, in compose, in the demo and in every table.
pub(crate) const TOOLS: [&str; 4] =
    ["ambassador-proxy", "sidecar-logshipper", "adapter-logformat", "init-waitfor"];
/// The app and the outside world of the examples.
pub(crate) const DEMOS: [&str; 2] = ["demo-app", "demo-backend"];

/// The workspace version, which is also the tag of every image.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let here = manifest.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    here.parent().map(Path::to_owned).unwrap_or(here)
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// A program to run in the root of the checkout.
pub(crate) fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(root()).stdin(Stdio::null());
    command
}

/// Cargo as it runs this program, without what it told this program about itself.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let program = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut cargo = command(&program, args);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    cargo
}

/// The command line, for people.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// Runs it with its output passed through.
///
/// # Errors
/// When it cannot be started or does not exit with 0.
pub(crate) fn run(mut command: Command) -> anyhow::Result<()> {
    let line = shown(&command);
    let status = command.status().with_context(|| format!("cannot run {line}"))?;
    if !status.success() {
        bail!("{line}: {status}");
    }
    Ok(())
}

/// Runs it and returns its stdout.
///
/// # Errors
/// When it cannot be started or does not exit with 0; the message carries the end of its stderr.
pub(crate) fn output(mut command: Command) -> anyhow::Result<String> {
    let line = shown(&command);
    let output = command.output().with_context(|| format!("cannot run {line}"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{line}: {}\n{}", output.status, tail(&stderr, 40));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether it can be started and exits with 0; its output is thrown away.
pub(crate) fn succeeds(program: &str, args: &[&str]) -> bool {
    let mut command = command(program, args);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The last `lines` lines.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Whether this is a place where a skipped part is a failure.
pub(crate) fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}
