//! The command line that all four share: common flags, environment twins, completions.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{Arg, ArgAction, Args, Command, Parser, ValueEnum};
use clap_complete::Shell;

use crate::exit::{Exit, TERMINATION_LOG};
use crate::units::Dur;

/// A binary's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct App {
    /// Name of the binary, such as `ambassador-proxy`.
    pub name: &'static str,
    /// Prefix of the environment twins, such as `PROXY_`.
    pub env_prefix: &'static str,
}

impl App {
    /// Prefix of metric names: the name with underscores.
    pub fn metric_prefix(&self) -> String {
        self.name.replace('-', "_")
    }
}

/// Version, commit and commit date, as `--version` prints them.
pub const VERSION: &str =
    concat!(env!("CARGO_PKG_VERSION"), " (", env!("PODMATES_COMMIT"), " ", env!("PODMATES_COMMIT_DATE"), ")");

/// Flags of every binary.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Common options")]
pub struct CommonArgs {
    /// Configuration file (YAML)
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Validate flags and configuration, touch nothing, and exit: 0, or 78 with all problems on stderr
    #[arg(long)]
    pub check: bool,
    /// Print the effective configuration (file, environment and flags together), secrets masked
    #[arg(long)]
    pub print_config: bool,
    /// Print the JSON Schema (draft-07) of the configuration file
    #[arg(long)]
    pub print_schema: bool,
    /// Print a completion script
    #[arg(long, value_name = "SHELL")]
    pub completions: Option<Shell>,
    /// Format of the own log on stderr: text on a terminal, JSON otherwise
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t, global = true)]
    pub log_format: LogFormat,
    /// Level of the own log: error, warn, info, debug or trace, also per module (`info,hyper=warn`)
    #[arg(long, value_name = "LEVEL", default_value = "info", global = true)]
    pub log_level: String,
    /// Where a fatal error leaves its sentence for Kubernetes
    #[arg(long, value_name = "PATH", default_value = TERMINATION_LOG, global = true)]
    pub termination_log: PathBuf,
}

/// Flags of the binaries that stay.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Serving options")]
pub struct ServeArgs {
    /// Address of the admin port (/livez /readyz /metrics /statusz and a page); port 0 takes a free one, `off` none
    #[arg(long, value_name = "ADDR", global = true)]
    pub admin: Option<String>,
    /// Time for the drain after SIGTERM; a second signal leaves at once
    #[arg(long, value_name = "DURATION")]
    pub shutdown_grace: Option<Dur>,
}

/// Format of the own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise
    #[default]
    Auto,
    /// For people
    Text,
    /// For programs
    Json,
}

/// The clap definition of `C` with the environment twins added: `--log-level` of a tool with prefix `PROXY_` is also
/// `PROXY_LOG_LEVEL`. Every flag with a single value has one; lists and actions have none.
pub fn command<C: Parser>(app: &App) -> Command {
    with_twins(app.env_prefix, C::command().name(app.name).version(VERSION).max_term_width(100))
}

/// The flags of subcommands have twins of the same names.
fn with_twins(prefix: &'static str, command: Command) -> Command {
    command
        .mut_args(|arg| with_twin(prefix, arg))
        .mut_subcommands(|subcommand| with_twins(prefix, subcommand))
}

fn with_twin(prefix: &str, arg: Arg) -> Arg {
    const ACTIONS: [&str; 6] = ["check", "print-config", "print-schema", "completions", "help", "version"];
    let Some(long) = arg.get_long() else { return arg };
    let scalar = matches!(arg.get_action(), ArgAction::Set | ArgAction::SetTrue);
    if !scalar || ACTIONS.contains(&long) || arg.get_env().is_some() {
        return arg;
    }
    let name = format!("{prefix}{}", long.replace('-', "_").to_uppercase());
    // A switch in an environment is `1` or `yes` as often as `true`.
    let switch = matches!(arg.get_action(), ArgAction::SetTrue);
    let arg = if switch { arg.value_parser(BoolishValueParser::new()) } else { arg };
    arg.env(name).hide_env_values(true)
}

/// Parses `argv` (the program's name first).
///
/// # Errors
/// Code 0 after `--help` and `--version`, code 2 for wrong usage.
pub fn parse<C: Parser>(app: &App, argv: impl IntoIterator<Item = OsString>) -> Result<C, Exit> {
    let parsed = command::<C>(app)
        .try_get_matches_from(argv)
        .and_then(|mut matches| C::from_arg_matches_mut(&mut matches));
    parsed.map_err(|error| {
        if error.use_stderr() {
            // Clap has already worded what is wrong and what to write; `finish` prints it.
            return Exit::usage(error.render().to_string());
        }
        match error.print() {
            Ok(()) => Exit::done(),
            Err(failure) => print_failure(&failure),
        }
    })
}

/// Prints a completion script for `shell` on stdout.
///
/// # Errors
/// When stdout does not take it.
pub fn print_completions<C: Parser>(app: &App, shell: Shell) -> Result<(), Exit> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command::<C>(app), app.name, &mut script);
    print(&String::from_utf8_lossy(&script))
}

/// Data for stdout. A closed pipe (`… | head`) is a success.
///
/// # Errors
/// When stdout does not take it.
pub fn print(text: &str) -> Result<(), Exit> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).or_else(|error| match print_failure(&error) {
        Exit { code: 0, .. } => Ok(()),
        exit => Err(exit),
    })
}

fn print_failure(error: &std::io::Error) -> Exit {
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        return Exit::done();
    }
    Exit::failed(format!("stdout cannot be written: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        common: CommonArgs,
        #[command(flatten)]
        serve: ServeArgs,
        #[arg(long)]
        read: Vec<String>,
        #[command(subcommand)]
        command: Option<Sub>,
    }

    #[derive(clap::Subcommand)]
    enum Sub {
        Wait {
            #[arg(long)]
            patience: Option<Dur>,
        },
    }

    const APP: App = App { name: "some-tool", env_prefix: "PODKIT_TEST_" };

    fn parse_args(args: &[&str]) -> Result<Cli, Exit> {
        parse(&APP, std::iter::once("some-tool").chain(args.iter().copied()).map(OsString::from))
    }

    #[test]
    fn every_scalar_flag_has_a_twin_and_lists_have_none() {
        let command = command::<Cli>(&APP);
        let twin = |long: &str| {
            let arg = command.get_arguments().find(|a| a.get_long() == Some(long)).unwrap();
            arg.get_env().map(|e| e.to_string_lossy().into_owned())
        };
        assert_eq!(twin("log-level").as_deref(), Some("PODKIT_TEST_LOG_LEVEL"));
        assert_eq!(twin("shutdown-grace").as_deref(), Some("PODKIT_TEST_SHUTDOWN_GRACE"));
        assert_eq!(twin("read"), None);
        assert_eq!(twin("check"), None);
        let wait = command.find_subcommand("wait").unwrap();
        let patience = wait.get_arguments().find(|a| a.get_long() == Some("patience")).unwrap();
        assert_eq!(patience.get_env().unwrap(), "PODKIT_TEST_PATIENCE");
        assert!(parse_args(&["wait", "--patience", "3s"]).unwrap().command.is_some());
    }

    #[test]
    fn a_wrong_flag_is_usage_and_suggests() {
        let exit = parse_args(&["--shutdown-grac", "3s"]).err().unwrap();
        assert_eq!(exit.code, 2);
        assert!(exit.message.unwrap().contains("--shutdown-grace"));
    }

    #[test]
    fn a_duration_without_unit_says_what_to_write() {
        let exit = parse_args(&["--shutdown-grace", "3"]).err().unwrap();
        assert!(exit.message.unwrap().contains("write 3s or 3ms"));
        let cli = parse_args(&["--shutdown-grace", "3s", "--read", "a", "--read", "b"]).unwrap();
        assert_eq!(cli.serve.shutdown_grace, Some(Dur::secs(3)));
        assert_eq!(cli.read.len(), 2);
        assert_eq!(cli.common.log_format, LogFormat::Auto);
    }
}
