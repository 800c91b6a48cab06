//! `read → frame → join → redact → decode → filter → encode → write`
//!
//! Any log in, one schema out, every line accounted for.
//!
//! Reading and writing live in [`pipeline`]; framing is `logtail`'s; [`decode`], [`record`] and [`encode`] are pure, and
//! [`lane`] strings them together for one input.

pub mod cli;
pub mod commands;
pub mod config;
pub mod decode;
pub mod encode;
pub mod join;
pub mod json;
pub mod lane;
pub mod listen;
pub mod meter;
pub mod pipeline;
pub mod record;
pub mod rules;
pub mod severity;
pub mod text;
pub mod time;
pub mod trace;

use std::time::Duration;

use podkit::{App, Exit, Prepared, process};

use cli::{Cli, Command};

/// The admin port's default.
const ADMIN_PORT: u16 = 9103;
/// Its share of the pod's 30 s: the shipper and the proxy drain after it.
const GRACE: Duration = Duration::from_secs(3);

/// The tool, as `podkit` sees it.
#[derive(Debug)]
pub struct Adapter;

impl podkit::Tool for Adapter {
    const APP: App = App { name: "adapter-logformat", env_prefix: "LOGFORMAT_" };
    type Cli = Cli;
    type Config = config::Config;

    fn overlay(cli: &Cli, config: &mut config::Config) {
        config.overlay(&cli.convert);
    }

    fn without_config(cli: &Cli) -> bool {
        matches!(cli.command, Some(Command::Probe(_) | Command::Formats))
    }
}

/// The whole program.
///
/// # Errors
/// How it ended, when that was no success.
pub fn main() -> Result<(), Exit> {
    let Prepared { cli, config } = podkit::prepare::<Adapter>(std::env::args_os())?;
    match &cli.command {
        Some(Command::Probe(args)) => {
            return podkit::probe::run(args, cli.serve.admin.as_deref(), ADMIN_PORT);
        }
        Some(Command::Formats) => return commands::formats(),
        Some(Command::Test(args)) => return commands::test(args, &config),
        None => {}
    }
    let mut serve = process::Serve::new(&cli.serve, ADMIN_PORT, GRACE);
    if serve.admin.is_none() && config.inputs().iter().all(|s| s.input.is_empty()) {
        // A filter in a pipe is nobody's to probe, and two of them must not fight for a port.
        serve.admin = Some("off".to_owned());
    }
    process::run(&<Adapter as podkit::Tool>::APP, &serve, |pod| pipeline::run(cli, config, pod))
}
