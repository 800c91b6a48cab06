//! `cargo xtask fuzz`: every fuzz target of a package for some minutes, one after the other: `build → seeds → run`.
//!
//! A package has targets when it has a folder `fuzz/` (cargo-fuzz). They are built with the address sanitizer and debug assertions, by the one
//! compiler there is: `RUSTC_BOOTSTRAP` lets it take the flags that are otherwise a nightly's. Corpus and findings are kept under `target/`, so
//! that a later run goes on where this one ended.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::sh;

/// The version the targets were run with.
const CARGO_FUZZ: &str = "cargo-fuzz@0.13.2";
/// An input that takes longer is a finding.
const SLOW: Duration = Duration::from_secs(10);
/// More memory is a finding. The sanitizer takes most of it.
const MEMORY_MB: u32 = 1024;
/// Longest input: some records' worth of lines.
const LONGEST: usize = 4096;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Package whose targets are run [default: all that have some]
    package: Option<String>,
    /// Only the targets whose names contain this
    #[arg(long, value_name = "WORD")]
    target: Option<String>,
    /// How long each target runs
    #[arg(long, default_value_t = 10.0, value_name = "N")]
    pub(crate) minutes: f64,
    /// Takes the targets as they were built last
    #[arg(long)]
    no_build: bool,
}

impl Options {
    /// All targets, half a minute each.
    pub(crate) fn short() -> Self {
        Self { package: None, target: None, minutes: 0.5, no_build: false }
    }
}

/// Whether no target found anything.
pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    let mut packages = packages()?;
    if let Some(wanted) = &options.package {
        packages.retain(|package| package == wanted);
        if packages.is_empty() {
            bail!("{wanted} has no folder fuzz/ with a Cargo.toml");
        }
    }
    let mut found = 0;
    for package in &packages {
        if !options.no_build {
            build(package)?;
        }
        let wanted = |name: &&String| options.target.as_ref().is_none_or(|word| name.contains(word.as_str()));
        for target in targets(package)?.iter().filter(wanted) {
            let clean = fuzz(package, target, options.minutes)?;
            found += usize::from(!clean);
        }
    }
    eprintln!("{found} findings");
    Ok(found == 0)
}

/// Those with a folder `fuzz/`.
fn packages() -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(sh::root())? {
        let path = entry?.path();
        if path.join("fuzz/Cargo.toml").is_file() {
            names.extend(path.file_name().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

/// `cargo fuzz` in the package's folder, with the flags of a nightly.
fn cargo_fuzz(package: &str, args: &[&str]) -> std::process::Command {
    let mut command = sh::cargo(&["fuzz"]);
    command.args(args).current_dir(sh::root().join(package));
    command.env("RUSTC_BOOTSTRAP", "1").env("CARGO_TARGET_DIR", folder(package).join("build"));
    command
}

fn folder(package: &str) -> PathBuf {
    sh::target_dir().join("fuzz").join(package)
}

fn build(package: &str) -> anyhow::Result<()> {
    if !sh::succeeds("cargo-fuzz", &["--version"]) {
        sh::run(sh::cargo(&["install", "--locked", CARGO_FUZZ]))?;
    }
    sh::run(cargo_fuzz(package, &["build"]))
}

fn targets(package: &str) -> anyhow::Result<Vec<String>> {
    let list = sh::output(cargo_fuzz(package, &["list"]))?;
    Ok(list.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect())
}

/// Runs one target; a finding is kept and shown, and the other targets still run.
fn fuzz(package: &str, target: &str, minutes: f64) -> anyhow::Result<bool> {
    let (corpus, findings) = (folder(package).join("corpus").join(target), folder(package).join("findings"));
    for dir in [&corpus, &findings] {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    let host = sh::output(sh::command("rustc", &["--print", "host-tuple"]))?;
    let program = folder(package).join("build").join(host.trim()).join("release").join(target);
    let seeds = sh::root().join(package).join("fuzz/seeds").join(target);
    // Targets that make their own seeds write them and end; others read nothing and end, too. It has to be a regular file: anything else
    // is taken for a folder.
    let nothing = folder(package).join("nothing");
    std::fs::write(&nothing, b"").with_context(|| format!("cannot write {}", nothing.display()))?;
    let mut first = command(&program);
    first.env("FUZZ_SEEDS", &corpus).arg("-runs=0").arg(&nothing);
    sh::output(first)?;
    let mut command = command(&program);
    command.arg(&corpus);
    if seeds.is_dir() {
        command.arg(&seeds);
    }
    let seconds = (minutes * 60.0).ceil();
    command.args([
        format!("-max_total_time={seconds}"),
        format!("-timeout={}", SLOW.as_secs()),
        format!("-rss_limit_mb={MEMORY_MB}"),
        format!("-max_len={LONGEST}"),
        format!("-artifact_prefix={}/{target}-", findings.display()),
        "-print_final_stats=1".to_owned(),
        "-verbosity=0".to_owned(),
        "-print_funcs=0".to_owned(),
    ]);
    eprintln!("\n━━━ {package} {target}, {minutes} minutes");
    let status = command.status().with_context(|| format!("cannot run {}", program.display()))?;
    if !status.success() {
        eprintln!("a finding of {target}: {} with its file in {}", sh::shown(&command), findings.display());
    }
    Ok(status.success())
}

fn command(program: &Path) -> std::process::Command {
    let mut command = sh::command(&program.to_string_lossy(), &[]);
    // A panic shows where; leaks are looked for at the end.
    command.env("RUST_BACKTRACE", "1");
    command
}
