//! `flags + file → config → signals, admin port, telemetry → your code → drain → exit code`
//!
//! What makes a process a good citizen of a pod, once for all four binaries. A binary describes itself with [`Tool`],
//! calls [`prepare`] (which ends the process for `--help`, `--check` and the like) and then [`process::run`].

use std::ffi::OsString;

use clap::Parser;

pub mod admin;
pub mod backoff;
pub mod cli;
pub mod config;
mod descriptors;
pub mod dial;
pub mod dns;
pub mod exit;
pub mod fill;
pub mod http;
pub mod limit;
pub mod memory;
pub mod metrics;
pub mod otlp;
pub mod probe;
pub mod process;
pub mod ready;
pub mod reload;
pub mod secret;
pub mod shutdown;
pub mod stagger;
pub mod telemetry;
pub mod tls;
pub mod units;

pub use cli::App;
pub use config::{Config, Problems, Report};
pub use exit::Exit;

/// A binary: its name, its command line, its configuration, and how the first is laid over the second.
pub trait Tool {
    /// Name and environment prefix.
    const APP: App;
    /// The command line. Flags that also exist as keys are `Option`s, so that "not given" can be seen.
    type Cli: Parser + AsRef<cli::CommonArgs>;
    /// What the file says; after [`Tool::overlay`], the effective configuration.
    type Config: Config;

    /// Lays flags (and their environment twins) over what the file says.
    fn overlay(cli: &Self::Cli, config: &mut Self::Config);

    /// True for subcommands that run without a configuration, such as `probe`: [`prepare`] then loads none.
    fn without_config(_cli: &Self::Cli) -> bool {
        false
    }
}

/// What [`prepare`] leaves to do: run.
pub struct Prepared<T: Tool> {
    /// The command line as given.
    pub cli: T::Cli,
    /// The effective configuration (the default one when [`Tool::without_config`]).
    pub config: T::Config,
}

/// Parses the command line, answers `--help`, `--version`, `--completions`, `--print-schema`, `--print-config` and `--check`, loads
/// the configuration and switches telemetry on. Binds nothing and touches neither network nor volumes.
///
/// # Errors
/// An [`Exit`] with code 0 when everything asked for has been printed, 2 for wrong usage, 78 for a wrong configuration.
pub fn prepare<T: Tool>(argv: impl IntoIterator<Item = OsString>) -> Result<Prepared<T>, Exit> {
    let cli: T::Cli = cli::parse(&T::APP, argv)?;
    let common = cli.as_ref();
    exit::set_termination_log(common.termination_log.clone());
    if let Some(shell) = common.completions {
        cli::print_completions::<T::Cli>(&T::APP, shell)?;
        return Err(Exit::done());
    }
    if common.print_schema {
        cli::print(&config::schema::<T::Config>())?;
        return Err(Exit::done());
    }
    telemetry::init(common.log_format, &common.log_level)?;
    if T::without_config(&cli) {
        return Ok(Prepared { cli, config: T::Config::default() });
    }
    let config = load::<T>(&cli).map_err(|problems| Exit::config(problems.to_string()))?;
    if common.print_config {
        cli::print(&config::to_yaml(&config))?;
        return Err(Exit::done());
    }
    if common.check {
        let what =
            common.config.as_ref().map_or_else(|| "command line".to_owned(), |p| p.display().to_string());
        cli::print(&format!("{what}: valid\n"))?;
        return Err(Exit::done());
    }
    Ok(Prepared { cli, config })
}

/// Reads the configuration file (if one is named), lays the flags over it and checks the result: at start and on every reload.
///
/// # Errors
/// All [`Problems`] found, in one go.
pub fn load<T: Tool>(cli: &T::Cli) -> Result<T::Config, Problems> {
    let path = cli.as_ref().config.as_deref();
    config::load(path, &|name| std::env::var(name).ok(), |config| T::overlay(cli, config))
}
