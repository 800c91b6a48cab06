//! The command line. Help, completions and environment twins all come from here.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use podkit::cli::{CommonArgs, ServeArgs};
use podkit::probe::ProbeArgs;
use podkit::units::{Dur, Size};

use crate::migration::MigrationConfig;
use crate::tools::fetch::config as fetch;
use crate::tools::owner::Owner;

/// Waits for what a pod needs (names, ports, HTTP, TLS, files, commands), then starts the app.
#[derive(Debug, Parser)]
#[command(
    name = "init-waitfor",
    subcommand_negates_reqs = true,
    override_usage = "init-waitfor [OPTIONS] TARGET... [-- COMMAND ARG...]\n       init-waitfor [OPTIONS] --config FILE [-- COMMAND ARG...]\n       init-waitfor <SUBCOMMAND>",
    after_help = "Targets:\n  dns://name[?type=A|AAAA|CNAME|SRV|MX|NS|TXT&min=N&expect=V&server=IP:PORT]\n  tcp://host:port   unix:///path   http(s)://...   tls://host:port[?min-days=N]\n  file:///path[?stable=1s&match=RE&min-size=N]   exec:COMMAND\n  postgres://  mysql://  sqlite://  redis(s)://  amqp(s)://  nats://  mqtt(s)://  memcached://  mongodb://  kafka://\n  grpc(s)://host:port[/service]   k8s:KIND/NAME   not:TARGET\n\nExit codes: 0 ready; 124 timeout; 126/127 COMMAND cannot be run / was not found; 143 SIGTERM while waiting;\n80 failed migration; 81 schema behind; 82 schema ahead; 83 lock timeout; 84 authentication refused;\n85 Job failed; 86 lock lost; 87 pooler; 2 wrong usage; 78 wrong configuration; otherwise COMMAND's own."
)]
pub struct Cli {
    #[command(flatten)]
    pub wait: WaitArgs,
    #[command(flatten)]
    pub http: HttpArgs,
    #[command(subcommand)]
    pub tool: Option<Tool>,
    /// What to wait for; added to the targets of --config
    #[arg(value_name = "TARGET", value_parser = crate::target::parse_argument)]
    pub targets: Vec<String>,
    /// Run in place of init-waitfor once everything is ready
    #[arg(value_name = "COMMAND", last = true)]
    pub command: Vec<OsString>,
    #[command(flatten)]
    pub common: CommonArgs,
}

impl AsRef<CommonArgs> for Cli {
    fn as_ref(&self) -> &CommonArgs {
        &self.common
    }
}

/// How to wait.
#[derive(Debug, Clone, Default, Args)]
pub struct WaitArgs {
    /// One ready target is enough
    #[arg(long, conflicts_with = "min", global = true)]
    pub any: bool,
    /// N ready targets are enough
    #[arg(long, value_name = "N", global = true)]
    pub min: Option<usize>,
    /// Total time; 0 waits for ever [default: 5m]
    #[arg(short, long, value_name = "DURATION", global = true)]
    pub timeout: Option<Dur>,
    /// Time for one attempt at one target [default: 3s]
    #[arg(long, value_name = "DURATION", global = true)]
    pub attempt_timeout: Option<Dur>,
    /// Upper limit of the first pause between attempts; doubles each time, drawn at random below it [default: 250ms]
    #[arg(long, value_name = "DURATION", global = true)]
    pub interval: Option<Dur>,
    /// Upper limit of any pause [default: 5s]
    #[arg(long, value_name = "DURATION", global = true)]
    pub max_interval: Option<Dur>,
    /// Do not wait on refused authentication: end at once with 84
    #[arg(long, value_name = "WHAT", value_enum, global = true)]
    pub fail_fast: Option<FailFast>,
    /// Progress as text on stderr, or as JSON events on stdout
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t, global = true)]
    pub output: Output,
    /// No progress; errors are still told
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Read this file instead of /etc/resolv.conf
    #[arg(long, value_name = "FILE", global = true)]
    pub resolv_conf: Option<PathBuf>,
    /// Read this file instead of /etc/hosts
    #[arg(long, value_name = "FILE", global = true)]
    pub hosts: Option<PathBuf>,
}

/// What ends the wait although it might change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FailFast {
    /// A server refused our user or password
    Auth,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Output {
    #[default]
    Text,
    Json,
}

/// For every HTTP target of the command line; in a configuration file each target has its own `http` and `tls`.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "HTTP and TLS options (for the targets of the command line)")]
pub struct HttpArgs {
    /// Request method [default: GET]
    #[arg(long, value_name = "METHOD", global = true)]
    pub http_method: Option<String>,
    /// Statuses that count as ready, such as 200-299,401 [default: 200-399]
    #[arg(long, value_name = "SET", global = true)]
    pub http_status: Option<String>,
    /// Request header, repeatable
    #[arg(long, value_name = "NAME: VALUE", global = true)]
    pub http_header: Vec<String>,
    /// Request body
    #[arg(long, value_name = "TEXT", global = true)]
    pub http_body: Option<String>,
    /// Regular expression that the response body must match
    #[arg(long, value_name = "RE", global = true)]
    pub http_match: Option<String>,
    /// Header that the response must have, with a regular expression for its value, repeatable
    #[arg(long, value_name = "NAME[: RE]", global = true)]
    pub http_match_header: Vec<String>,
    /// JSONPath (RFC 9535) that must select something, or PATH=VALUE, repeatable
    #[arg(long, value_name = "PATH[=VALUE]", global = true)]
    pub http_json: Vec<String>,
    /// Redirects to follow; with 0 the 3xx itself is the answer [default: 0]
    #[arg(long, value_name = "N", global = true)]
    pub http_redirects: Option<usize>,
    /// Speak HTTP/2 without TLS (h2c)
    #[arg(long, global = true)]
    pub http2: bool,
    /// Send HTTP requests to this unix socket
    #[arg(long, value_name = "PATH", global = true)]
    pub http_unix_socket: Option<PathBuf>,
    /// PEM file with the only authorities to trust
    #[arg(long, value_name = "FILE", global = true)]
    pub tls_ca: Option<PathBuf>,
    /// PEM file with our certificate
    #[arg(long, value_name = "FILE", requires = "tls_key", global = true)]
    pub tls_cert: Option<PathBuf>,
    /// PEM file with our private key
    #[arg(long, value_name = "FILE", requires = "tls_cert", global = true)]
    pub tls_key: Option<PathBuf>,
    /// Accept any certificate
    #[arg(long, global = true)]
    pub tls_insecure: bool,
}

#[derive(Debug, Subcommand)]
pub enum Tool {
    /// One attempt at each target: a table (or -o json); exit 0 when enough are ready, else 1
    Status {
        /// What to look at; added to the targets of --config
        #[arg(value_name = "TARGET", value_parser = crate::target::parse_argument)]
        targets: Vec<String>,
    },
    /// Every candidate name, server, rcode and answer of a lookup
    Explain {
        /// dns://NAME, or any target with a host
        #[arg(value_name = "TARGET", value_parser = explained)]
        target: String,
    },
    /// Wait until a database's schema is at a version; reads only
    Migration(MigrationArgs),
    /// Run a migration command once, however many replicas start: gate, lock, run, gate
    Migrate(MigrateArgs),
    /// Fetch a file or an archive over HTTP: whole and checked, or not at all; --refresh keeps it current
    Fetch(Box<FetchArgs>),
    /// Ask the admin port of a running `fetch --refresh`; exit 0 when it is well, 1 otherwise
    Probe(ProbeCommand),
    /// Copy this binary, for the next container's image
    Install {
        /// File, or directory that gets a file of the same name
        #[arg(value_name = "DEST")]
        dest: PathBuf,
    },
    /// Write a file from a template and the environment
    Write(WriteArgs),
}

/// The gate needs to know a version.
#[derive(Debug, Clone, Args)]
#[command(group(ArgGroup::new("goal").required(true).multiple(true).args(["at", "at_least", "dir", "manifest"])))]
pub struct MigrationArgs {
    #[command(flatten)]
    pub database: DatabaseArgs,
}

/// A database and the version that its schema must have.
#[derive(Debug, Clone, Args)]
pub struct DatabaseArgs {
    /// Database URL, such as postgres://app@db/app or sqlite:///data/app.db; its environment twin keeps the password off the command line
    #[arg(long, value_name = "URL", env = "WAITFOR_DB", hide_env_values = true, value_parser = crate::sql::database_argument)]
    pub db: String,
    /// Tool that keeps the table [default: auto, by the tables' columns]
    #[arg(long, value_name = "TOOL")]
    pub tool: Option<String>,
    /// Exactly this version
    #[arg(long, value_name = "VERSION")]
    pub at: Option<String>,
    /// This version or a later one
    #[arg(long, value_name = "VERSION")]
    pub at_least: Option<String>,
    /// Every migration in this directory (files, revisions, changelogs)
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Every version listed in this file
    #[arg(long, value_name = "FILE")]
    pub manifest: Option<PathBuf>,
    /// The tool's table, if it is not the default one
    #[arg(long, value_name = "[SCHEMA.]TABLE")]
    pub table: Option<String>,
    /// Accept a newer schema than wanted
    #[arg(long)]
    pub allow_ahead: bool,
}

impl DatabaseArgs {
    /// As the configuration file has it.
    pub fn gate(&self) -> MigrationConfig {
        MigrationConfig {
            tool: self.tool.clone(),
            at: self.at.clone(),
            at_least: self.at_least.clone(),
            dir: self.dir.clone(),
            manifest: self.manifest.clone(),
            table: self.table.clone(),
            allow_ahead: self.allow_ahead,
        }
    }
}

/// Without a version to look for, every replica runs the command in turn.
#[derive(Debug, Clone, Args)]
pub struct MigrateArgs {
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// Name of the lock; replicas with the same name and database take turns
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub lock_name: String,
    /// How long to wait for the lock; 0 waits for ever
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    pub lock_timeout: Dur,
    /// What migrates
    #[arg(value_name = "COMMAND", last = true, required = true)]
    pub command: Vec<OsString>,
}

#[derive(Debug, Clone, Args)]
pub struct FetchArgs {
    /// http:// or https:// (redirects are followed), or git+https:// in the image with git
    #[arg(value_name = "URL", value_parser = fetch_url)]
    pub url: Option<String>,
    /// File to replace (atomically); with --extract a directory, with --refresh a link
    #[arg(value_name = "DEST")]
    pub dest: Option<PathBuf>,
    /// SHA-256 that the download must have
    #[arg(long, value_name = "HEX", value_parser = fetch::sha256)]
    pub sha256: Option<String>,
    /// Most bytes downloaded [default: 1GiB]
    #[arg(long, value_name = "SIZE")]
    pub max_size: Option<Size>,
    /// Unpack tar, tar.gz, tar.zst or zip into a directory
    #[arg(long)]
    pub extract: bool,
    /// Leading directories to leave out while unpacking
    #[arg(long, value_name = "N")]
    pub strip: Option<usize>,
    /// Most bytes unpacked [default: 4GiB]
    #[arg(long, value_name = "SIZE")]
    pub max_unpacked: Option<Size>,
    /// Most files, directories and links unpacked [default: 100000]
    #[arg(long, value_name = "N")]
    pub max_entries: Option<u64>,
    /// Permissions of the file in octal [default: 0644]; an archive brings its own
    #[arg(long, value_name = "MODE", value_parser = fetch::octal)]
    pub mode: Option<u32>,
    /// Whom to give it to; needs CAP_CHOWN
    #[arg(long, value_name = "UID:GID")]
    pub owner: Option<Owner>,
    /// Request header, repeatable; not sent to another host
    #[arg(long, value_name = "NAME: VALUE")]
    pub header: Vec<String>,
    /// File with a token for `Authorization: Bearer`, read at every attempt
    #[arg(long, value_name = "FILE", conflicts_with = "bearer_env")]
    pub bearer_file: Option<PathBuf>,
    /// Environment variable with a token for `Authorization: Bearer`
    #[arg(long, value_name = "NAME")]
    pub bearer_env: Option<String>,
    /// Stay, look for changes at this interval, and swap DEST, which is then a link
    #[arg(long, value_name = "DURATION")]
    pub refresh: Option<Dur>,
    /// Branch, tag or commit of a git repository [default: its default branch]
    #[arg(long = "ref", value_name = "REF")]
    pub reference: Option<String>,
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// `probe`: the admin port is there only with `fetch --refresh`.
#[derive(Debug, Clone, Args)]
pub struct ProbeCommand {
    #[command(flatten)]
    pub probe: ProbeArgs,
    /// Address of the admin port, as given to `fetch --refresh`
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub struct WriteArgs {
    /// Template with ${VAR}, ${VAR:-default}, ${VAR:?message} and $${literal}; - is stdin
    #[arg(value_name = "TEMPLATE")]
    pub template: PathBuf,
    /// File to write (atomically); - is stdout
    #[arg(value_name = "DEST")]
    pub dest: PathBuf,
    /// Permissions in octal
    #[arg(long, value_name = "MODE", default_value = "0644", value_parser = fetch::octal)]
    pub mode: u32,
}

/// A bare name is a `dns://` target here.
fn explained(text: &str) -> Result<String, String> {
    let bare = !text.contains("://") && !text.starts_with("exec:") && !text.contains(':');
    crate::target::parse_argument(&if bare { format!("dns://{text}") } else { text.to_owned() })
}

fn fetch_url(text: &str) -> Result<String, String> {
    fetch::http_url(text).map(|_| text.to_owned())
}

impl Cli {
    /// The targets, wherever on the command line they stand.
    pub fn all_targets(&self) -> &[String] {
        match &self.tool {
            Some(Tool::Status { targets }) => targets,
            Some(Tool::Explain { target }) => std::slice::from_ref(target),
            _ => &self.targets,
        }
    }

    /// How `fetch --refresh` serves.
    pub fn serve_args(&self) -> ServeArgs {
        match &self.tool {
            Some(Tool::Fetch(args)) => args.serve.clone(),
            _ => ServeArgs::default(),
        }
    }

    /// The database of `migration`.
    pub fn database(&self) -> Option<&DatabaseArgs> {
        match &self.tool {
            Some(Tool::Migration(args)) => Some(&args.database),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &[&str]) -> Result<Cli, podkit::Exit> {
        podkit::cli::parse::<Cli>(
            &crate::APP,
            std::iter::once("init-waitfor").chain(line.iter().copied()).map(OsString::from),
        )
    }

    #[test]
    fn the_definition_is_consistent() {
        podkit::cli::command::<Cli>(&crate::APP).debug_assert();
    }

    #[test]
    fn targets_and_command() {
        let cli =
            parse(&["tcp://a:1", "--timeout", "5s", "dns://b", "--", "app", "--flag", "tcp://x:1"]).unwrap();
        assert_eq!(cli.targets, ["tcp://a:1", "dns://b"]);
        assert_eq!(cli.command, ["app", "--flag", "tcp://x:1"]);
        let cli = parse(&["status", "tcp://a:1", "-o", "json", "--any"]).unwrap();
        assert_eq!(cli.all_targets(), ["tcp://a:1"]);
        assert!(cli.wait.any && cli.wait.output == Output::Json);
    }

    #[test]
    fn wrong_usage_is_2() {
        for line in [
            &["--timeoot", "5s"][..],
            &["--any", "--min", "2", "tcp://a:1"],
            &["--timeout", "5"],
            &["write", "a"],
        ] {
            assert_eq!(parse(line).unwrap_err().code, 2, "{line:?}");
        }
    }
}
