//! `listen → route → limit → balance → pool → forward → answer → access log`
//!
//! One control thread (admin port, configuration, discovery, files) and N workers. Each worker is a thread with its own
//! runtime, its own connection pools and its own counters, so a request never waits for another thread.

pub mod access;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod cpus;
pub mod explain;
pub mod fields;
pub mod forward;
mod h1;
pub mod listen;
pub mod metrics;
pub mod policy;
pub mod proxy_header;
pub mod route;
pub mod run;
mod shelf;
pub mod starttls;
pub mod stats;
pub mod status;
pub mod tap;
pub mod trace;
pub mod tunnel;
pub mod upstream;
pub mod worker;

use std::time::{Duration, Instant};

use podkit::{App, Exit, Report};

use cli::{Cli, Command};
use config::Config;
use config::plan::Plan;

/// Who this is.
pub const APP: App = App { name: "ambassador-proxy", env_prefix: "PROXY_" };
/// Port of the admin address when none is given.
pub const ADMIN_PORT: u16 = 9102;
/// Time for the drain when none is given.
pub const GRACE: Duration = Duration::from_secs(5);

/// This binary, as podkit wants it described.
pub struct Proxy;

impl podkit::Tool for Proxy {
    const APP: App = APP;
    type Cli = Cli;
    type Config = Config;

    fn overlay(cli: &Cli, config: &mut Config) {
        cli::overlay(cli, config);
    }

    fn without_config(cli: &Cli) -> bool {
        matches!(
            cli.command,
            Some(Command::Probe(_) | Command::Wait { .. } | Command::Quit | Command::Tap { .. })
        )
    }
}

impl podkit::Config for Config {
    fn check(&self, report: &mut Report) {
        if let Err(problems) = Plan::new(self) {
            for problem in problems {
                report.problem(problem.path, problem.what, problem.remedy);
            }
        }
    }
}

/// The whole program.
///
/// # Errors
/// How it ends, when not with 0 after a run.
pub fn main() -> Result<(), Exit> {
    let podkit::Prepared { cli, config } = podkit::prepare::<Proxy>(std::env::args_os())?;
    let admin = cli.serve.admin.as_deref();
    match &cli.command {
        Some(Command::Probe(args)) => podkit::probe::run(args, admin, ADMIN_PORT),
        Some(Command::Wait { timeout }) => wait(admin, timeout.limit()),
        Some(Command::Quit) => quit(admin),
        Some(Command::Tap { n, timeout }) => tap::run(admin, *n, timeout.limit()),
        Some(Command::Explain { method, url, headers }) => explain::run(&config, method, url, headers),
        None => run::run(cli, config),
    }
}

/// Asks `/readyz` until it says yes.
fn wait(admin: Option<&str>, limit: Option<Duration>) -> Result<(), Exit> {
    let addr = podkit::probe::address(admin, ADMIN_PORT)?;
    let started = Instant::now();
    loop {
        let said = match podkit::probe::request(addr, "GET", "/readyz") {
            Ok((200, _)) => return Ok(()),
            Ok((status, body)) => format!("{status} {}", body.trim()),
            Err(error) => error.to_string(),
        };
        if limit.is_some_and(|limit| started.elapsed() >= limit) {
            return Err(Exit::failed(format!("http://{addr}/readyz was not ready in time: {said}")));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Posts `/quit`.
fn quit(admin: Option<&str>) -> Result<(), Exit> {
    let addr = podkit::probe::address(admin, ADMIN_PORT)?;
    match podkit::probe::request(addr, "POST", "/quit") {
        Ok((200..300, _)) => Ok(()),
        Ok((status, body)) => Err(Exit::failed(format!("http://{addr}/quit: {status} {}", body.trim()))),
        Err(error) => Err(Exit::failed(format!("http://{addr}/quit: {error}"))),
    }
}
