//! `cargo xtask bench`: `build as shipped → start ours and a peer in turn → the same load → a table with ratios`.
//!
//! The figure to quote is processor time (user and system), because wall time on a shared machine says more about its other
//! guests. Nothing here passes or fails: what is measured is printed.

mod adapter;
mod adapter_lines;
mod measure;
mod peers;
mod proxy;
mod proxy_load;
mod shipper;
mod shipper_idle;
mod sink;
mod table;
mod waitfor;

use std::path::PathBuf;

use anyhow::Context;
use clap::ValueEnum;

use crate::{dist, sh};

#[derive(clap::Args, Clone)]
pub(crate) struct Options {
    /// What to measure; everything when left out
    #[arg(value_enum)]
    what: Vec<What>,
    /// A tenth of the load: shows whether it works, and little more
    #[arg(long)]
    quick: bool,
    /// Takes the binaries in dist/ as they are
    #[arg(long)]
    no_build: bool,
    /// Runs only the cases whose names contain this word
    #[arg(long, value_name = "WORD")]
    case: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// Beside HAProxy and nginx, one worker each
    Proxy,
    /// Beside a scan for line ends, a copy, VRL's parse functions, and jq
    Adapter,
    /// Beside rsyslog, syslog-ng and tail
    Shipper,
    /// Beside wait-for-it
    Waitfor,
}

/// What every benchmark needs to know.
pub(crate) struct Bench {
    /// The folder of our binaries.
    dist: PathBuf,
    quick: bool,
    no_build: bool,
    case: Option<String>,
    /// A folder that is gone afterwards.
    work: tempfile::TempDir,
}

impl Bench {
    /// One of our binaries as it ships.
    fn ours(&self, name: &str) -> String {
        self.dist.join(name).to_string_lossy().into_owned()
    }

    /// A path in the folder that is gone afterwards.
    fn path(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    /// `full`, or a tenth of it.
    fn load(&self, full: u64) -> u64 {
        if self.quick { full / 10 } else { full }
    }

    fn wants(&self, case: &str) -> bool {
        self.case.as_ref().is_none_or(|word| case.contains(word.as_str()))
    }
}

pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    let dist = if options.no_build { sh::root().join("dist").join(dist::arch()?.0) } else { dist::build()? };
    let target = sh::target_dir();
    let work = tempfile::Builder::new().prefix("bench").tempdir_in(&target);
    let work = work.with_context(|| format!("cannot create a folder in {}", target.display()))?;
    let bench =
        Bench { dist, quick: options.quick, no_build: options.no_build, case: options.case.clone(), work };
    let wanted = |what: What| options.what.is_empty() || options.what.contains(&what);
    peers::say_machine();
    if wanted(What::Proxy) {
        proxy::run(&bench)?;
    }
    if wanted(What::Adapter) {
        adapter::run(&bench)?;
    }
    if wanted(What::Shipper) {
        shipper::run(&bench)?;
    }
    if wanted(What::Waitfor) {
        waitfor::run(&bench)?;
    }
    Ok(true)
}
