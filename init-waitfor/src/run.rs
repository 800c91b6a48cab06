//! Which part of the program runs, and on what.

use std::time::Instant;

use podkit::Exit;
use podkit::dns::{Options, Resolver};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{Cli, Tool};
use crate::config::{self, Config};
use crate::report::{Redactor, Report, last_word};
use crate::target::Targets;
use crate::{APP, code, hand_over, migrate, tools, wait};

/// This binary, as podkit wants it described.
#[derive(Debug)]
pub struct Waitfor;

impl podkit::Tool for Waitfor {
    const APP: podkit::App = APP;
    type Cli = Cli;
    type Config = Config;

    fn overlay(cli: &Cli, config: &mut Config) {
        config::overlay(cli, config);
    }

    fn without_config(cli: &Cli) -> bool {
        matches!(cli.tool, Some(Tool::Install { .. } | Tool::Write(_) | Tool::Probe(_)))
    }
}

/// # Errors
/// The exit code and its sentence; see the README's table.
pub fn main() -> Result<(), Exit> {
    let podkit::Prepared { cli, config } =
        podkit::prepare::<Waitfor>(std::env::args_os()).map_err(secretless)?;
    match &cli.tool {
        Some(Tool::Install { dest }) => {
            return tools::install::install(dest).map_err(tools::last_word("install"));
        }
        Some(Tool::Write(args)) => return tools::write::write(args).map_err(tools::last_word("write")),
        Some(Tool::Probe(args)) => {
            return podkit::probe::run(&args.probe, args.admin.as_deref(), crate::ADMIN_PORT);
        }
        _ => {}
    }
    if let Some(Tool::Migrate(args)) = &cli.tool {
        let plan = migrate::Plan::new(args, &config::tls(&cli.http), &args.command)?;
        let resolver = resolver(&config);
        return on_runtime(async { migrate::migrate(&plan, &config, &resolver, stop()?).await });
    }
    if matches!(cli.tool, Some(Tool::Fetch(_))) {
        let plan = config.fetch.clone().unwrap_or_default().plan()?;
        let resolver = resolver(&config);
        if plan.refresh.is_some() {
            return tools::fetch::refresh(cli, config, resolver).map_err(tools::last_word("fetch"));
        }
        return on_runtime(async { tools::fetch::fetch(&plan, &config, &resolver, stop()?).await })
            .map_err(tools::last_word("fetch"));
    }
    let targets = Targets::compile(&config).map_err(|problems| {
        // The same code has found nothing in `Config::check`; only a change in between could.
        Exit::config(
            problems
                .iter()
                .map(|problem| format!("{}: {}", problem.key, problem.what))
                .collect::<Vec<_>>()
                .join("\n"),
        )
    })?;
    if targets.list.is_empty() {
        return Err(Exit::usage(
            "init-waitfor: nothing to wait for; name a target such as tcp://db:5432, or --config FILE with targets (--help lists them)",
        ));
    }
    let resolver = resolver(&config);
    on_runtime(async {
        match &cli.tool {
            Some(Tool::Status { .. }) => tools::status::status(&cli, &config, &targets, &resolver).await,
            Some(Tool::Explain { .. }) => tools::explain::explain(&cli, &config, &targets, &resolver).await,
            _ => gate(&cli, &config, &targets, &resolver).await,
        }
    })?;
    if cli.tool.is_none() && !cli.command.is_empty() {
        return Err(hand_over::hand_over(&cli.command));
    }
    Ok(())
}

fn on_runtime(work: impl Future<Output = Result<(), Exit>>) -> Result<(), Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Made when needed, gone when idle; each file target may hold one at a file system that hangs.
        .max_blocking_threads(64)
        .build()
        .map_err(|error| Exit::failed(format!("init-waitfor: the runtime cannot start: {error}")))?;
    let result = runtime.block_on(work);
    // A stat on a hung mount must not keep the process.
    runtime.shutdown_background();
    result
}

/// The parser of the command line repeats what it does not understand, also a URL with a password.
fn secretless(exit: Exit) -> Exit {
    let redactor = Redactor::default();
    let given = std::env::args_os().chain(
        std::env::vars_os()
            .filter(|(name, _)| name.to_string_lossy().starts_with(APP.env_prefix))
            .map(|(_, value)| value),
    );
    given.for_each(|text| redactor.learn_url(&text.to_string_lossy()));
    let clean = |text: String| text.lines().map(|line| redactor.clean(line)).collect::<Vec<_>>().join("\n");
    Exit { message: exit.message.map(clean), termination: exit.termination.map(clean), ..exit }
}

async fn gate(cli: &Cli, config: &Config, targets: &Targets, resolver: &Resolver) -> Result<(), Exit> {
    let start = Instant::now();
    let mut report = Report::new(cli);
    let mut stop = std::pin::pin!(stop()?);
    let (outcome, states) = wait::wait(config, targets, resolver, &mut report, stop.as_mut()).await;
    last_word(outcome, &states, config.require.number(states.len()), start.elapsed())?;
    // A signal that came during the last answer is ours: after it, nobody tells the command.
    tokio::select! {
        biased;
        code = stop => Err(Exit::with(code, "init-waitfor: stopped when everything was ready")),
        () = tokio::task::yield_now() => Ok(()),
    }
}

/// The exit code of the first SIGTERM or SIGINT.
fn stop() -> Result<impl Future<Output = u8>, Exit> {
    let listen = |kind| {
        signal(kind)
            .map_err(|error| Exit::failed(format!("init-waitfor: signals cannot be handled: {error}")))
    };
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => code::TERMINATED,
            _ = interrupt.recv() => code::INTERRUPTED,
        }
    })
}

fn resolver(config: &Config) -> Resolver {
    let mut options = Options::default();
    if let Some(path) = &config.resolv_conf {
        options.resolv_conf.clone_from(path);
    }
    if config.hosts.is_some() {
        options.hosts.clone_from(&config.hosts);
    }
    Resolver::new(options)
}
