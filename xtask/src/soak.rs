//! `cargo xtask soak` and `cargo xtask probe`: the long forms of tests that live with their packages, with a seed and a length.

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
    /// How long, in minutes (proxy)
    #[arg(long, value_name = "N", default_value_t = 30)]
    minutes: u32,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum SoakWhat {
    /// Writers, rotations, kill -9, SIGSTOP, sinks that fail in every way, a full disk
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
    let package = match options.what {
        SoakWhat::Shipper => "sidecar-logshipper",
        SoakWhat::Proxy => "ambassador-proxy",
    };
    let mut command = ignored_tests(package, "soak");
    command.env("SOAK_SEED", options.seed.to_string());
    command.env("SOAK_SCHEDULES", options.schedules.to_string());
    command.env("SOAK_MINUTES", options.minutes.to_string());
    sh::run(command)?;
    Ok(true)
}

pub(crate) fn probe(options: &ProbeOptions) -> anyhow::Result<bool> {
    let ProbeWhat::Shipper = options.what;
    let mut command = ignored_tests("sidecar-logshipper", "probes");
    command.args(&options.filter);
    sh::run(command)?;
    Ok(true)
}

/// The tests of one file that are too long for every run, one after the other.
fn ignored_tests(package: &str, test: &str) -> std::process::Command {
    let mut command = sh::cargo(&["test", "--locked", "--package", package, "--test", test, "--"]);
    command.args(["--ignored", "--nocapture", "--test-threads", "1"]);
    command
}
