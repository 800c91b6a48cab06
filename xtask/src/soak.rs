//! `cargo xtask soak` and `cargo xtask probe`: the long forms of tests that live with their packages, with a seed and a length.

use std::fmt::Write as _;
use std::fs;

use clap::ValueEnum;

use crate::sh;

#[derive(clap::Args, Clone)]
pub(crate) struct SoakOptions {
    /// What to wear out
    #[arg(value_enum)]
    what: SoakWhat,
    /// Decides every random schedule; one that failed is repeated with `--seed` as printed and `--schedules 1`
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How many schedules (shipper)
    #[arg(long, value_name = "N", default_value_t = 1000)]
    schedules: u32,
    /// Schedules, or kinds of crash points, at a time (shipper): they mostly wait
    #[arg(long, value_name = "N", default_value_t = 4)]
    jobs: u32,
    /// Instead of schedules: kill it as it enters its first, second, third … call of each kind that moves something (shipper)
    #[arg(long)]
    crash_points: bool,
    /// How long, in minutes (proxy)
    #[arg(long, value_name = "N", default_value_t = 30)]
    minutes: u32,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum SoakWhat {
    /// Writers, rotations, kill -9, SIGSTOP, sinks that fail in every way, a full disk, a clock that jumps
    Shipper,
    /// Upstreams that die, stall, reset and answer garbage, while reloads and SIGTERMs happen under load
    Proxy,
}

#[derive(clap::Args, Clone)]
pub(crate) struct ProbeOptions {
    /// What to probe
    #[arg(value_enum)]
    what: ProbeWhat,
    /// Runs only the probes whose names contain this word
    #[arg(value_name = "WORD")]
    filter: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum ProbeWhat {
    /// Rotations, rates, backlogs and sinks in every combination, with one default configuration
    Shipper,
}

pub(crate) fn soak(options: &SoakOptions) -> anyhow::Result<bool> {
    let (file, test) = match (options.what, options.crash_points) {
        (SoakWhat::Shipper, false) => ("soak", "soak"),
        (SoakWhat::Shipper, true) => ("crash", "at_every_call"),
        (SoakWhat::Proxy, false) => ("soak", "nothing_is_lost_mixed_up_or_leaked"),
        (SoakWhat::Proxy, true) => anyhow::bail!("--crash-points is for the shipper"),
    };
    let mut command = ignored_tests(file);
    command.args(["--exact", test]);
    command.env("SOAK_JOBS", options.jobs.to_string());
    command.env("SOAK_SEED", options.seed.to_string());
    command.env("SOAK_SCHEDULES", options.schedules.to_string());
    command.env("SOAK_MINUTES", options.minutes.to_string());
    if std::env::var_os("PODMATES_TEST_TIMEOUT").is_none() {
        // A machine that does other things as well may stop for a while; that is no failure of what is worn out.
        command.env("PODMATES_TEST_TIMEOUT", "300");
    }
    sh::run(command)?;
    Ok(true)
}

pub(crate) fn probe(options: &ProbeOptions) -> anyhow::Result<bool> {
    let ProbeWhat::Shipper = options.what;
    let table = sh::target_dir().join("xtask/probes.tsv");
    fs::create_dir_all(sh::target_dir().join("xtask"))?;
    fs::write(&table, "")?;
    let mut command = ignored_tests("probes");
    command.args(&options.filter).env("PROBE_TABLE", &table);
    let passed = sh::run(command);
    eprintln!("\n{}", as_table(&fs::read_to_string(&table)?));
    passed?;
    Ok(true)
}

/// Lines of tab-separated cells, aligned.
fn as_table(rows: &str) -> String {
    let mut text = format!("{:<44} {:>10} {:>10} {:>8} {:>8}\n", "probe", "written", "came", "lost", "twice");
    for row in rows.lines() {
        let cells: Vec<&str> = row.split('\t').collect();
        let [probe, written, came, twice] = cells[..] else { continue };
        let lost = |written: &str| Some(written.parse::<i64>().ok()? - came.parse::<i64>().ok()?);
        let lost = lost(written).map_or_else(String::new, |lost| lost.to_string());
        // Writing into a String does not fail.
        let _ = writeln!(text, "{probe:<44} {written:>10} {came:>10} {lost:>8} {twice:>8}");
    }
    text
}

/// The tests of the files of this name that are too long for every run, one after the other. Of the whole workspace, so that dependencies
/// have the features that the other tests have built them with.
fn ignored_tests(file: &str) -> std::process::Command {
    let mut command = sh::cargo(&["test", "--locked", "--workspace", "--test", file, "--"]);
    command.args(["--ignored", "--nocapture", "--test-threads", "1"]);
    command
}
