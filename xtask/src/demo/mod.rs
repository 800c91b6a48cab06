//! `cargo xtask demo`: `build → start in pod order → show → disturb → drain in pod order → prove`.

mod docker;
pub(crate) mod http;
mod interrupt;
mod kubelet;
mod local;
mod pod;
mod process;
mod proof;
mod rehearse;
mod script;
mod view;

use std::time::Duration;

pub(crate) use rehearse::{as_a_docker_test, as_a_storm, as_a_test, with_pages};

use crate::sh;

#[derive(clap::Args, Clone)]
pub(crate) struct Options {
    /// How long traffic flows, such as 30s or 2m
    #[arg(long = "for", value_name = "DURATION", default_value = "30s", value_parser = duration)]
    length: Duration,
    /// Visits per second; each is one request through the proxy and two or three log lines
    #[arg(long, value_name = "N", default_value_t = 250)]
    rate: u32,
    /// Also kills each sidecar with SIGKILL, one after the other
    #[arg(long)]
    chaos: bool,
    /// Kills random sidecars every few seconds instead, in a sequence that this number decides
    #[arg(long, value_name = "SEED")]
    storm: Option<u64>,
    /// Through images and compose instead of plain processes
    #[arg(long)]
    docker: bool,
    /// By docker-compose 1.29 even where `docker compose` is there
    #[arg(long, requires = "docker")]
    old_compose: bool,
    /// Leaves the folder with all files and logs, and says where it is
    #[arg(long)]
    keep: bool,
    /// Takes the binaries (or images) as they are
    #[arg(long)]
    no_build: bool,
    /// Runs the optimized binaries instead of the quickly built ones
    #[arg(long)]
    release: bool,
}

impl Options {
    fn who_dies(&self) -> script::Chaos {
        match (self.storm, self.chaos) {
            (Some(seed), _) => script::Chaos::Random(seed),
            (None, true) => script::Chaos::Each,
            (None, false) => script::Chaos::None,
        }
    }
}

pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    if options.docker {
        return docker::run(options);
    }
    if !options.no_build {
        build(options.release)?;
    }
    local::run(options)
}

pub(crate) fn build(release: bool) -> anyhow::Result<()> {
    println_note("building the binaries (the first time takes some minutes)");
    // Of the whole workspace, and so with the features that everything else is built with.
    let mut cargo = sh::cargo(&["build", "--locked", "--bins"]);
    if release {
        cargo.arg("--release");
        for package in sh::TOOLS.iter().chain(&sh::DEMOS) {
            cargo.args(["--package", package]);
        }
    }
    sh::run(cargo)
}

fn println_note(text: &str) {
    eprintln!("xtask: {text}");
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 =
        digits.parse().map_err(|_| "write a number and a unit, such as 30s or 2m".to_owned())?;
    match &text[digits.len()..] {
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number * 60)),
        "h" => Ok(Duration::from_secs(number * 3600)),
        _ => Err("write the unit: s, m or h".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert!(duration("30").is_err());
        assert!(duration("s").is_err());
    }
}
