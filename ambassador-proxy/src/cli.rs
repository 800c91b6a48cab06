//! The command line.

use clap::{Parser, Subcommand};
use podkit::units::Dur;

use crate::config::{AccessLog, Config, Listener};

/// Plain HTTP or TCP on localhost in, a reliable world out
///
/// The app talks to localhost; this container finds the endpoints, keeps connections, retries where that is safe, speaks TLS, and says what happened.
#[derive(Debug, Clone, Parser)]
#[command(
    after_help = "Example:\n  ambassador-proxy --http 127.0.0.1:8080=https://api.example.com --tcp 127.0.0.1:5432=mydb:5432"
)]
pub struct Cli {
    /// Listen for HTTP/1.1 and h2c at LISTEN and send requests to URL (repeatable)
    #[arg(long, value_name = "LISTEN=URL", value_parser = pair, global = true)]
    pub http: Vec<(String, String)>,
    /// Listen for TCP at LISTEN and connect to HOST:PORT (repeatable; `tls://HOST:PORT` speaks TLS)
    #[arg(long, value_name = "LISTEN=HOST:PORT", value_parser = pair, global = true)]
    pub tcp: Vec<(String, String)>,
    /// Let the listeners given as flags bind addresses that are not loopback
    #[arg(long)]
    pub expose: bool,
    /// Access log on stdout: off, json, text, or a format with nginx's $variables or Envoy's %OPERATORS%
    #[arg(long, value_name = "FORM", value_parser = AccessLog::parse)]
    pub access_log: Option<AccessLog>,
    /// Send spans to this collector by OTLP/HTTP, such as http://jaeger:4318
    #[arg(long, value_name = "URL")]
    pub otlp_traces: Option<String>,
    /// Threads that carry traffic [default: by the CPU limit, at most 4]
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,
    /// Other things to do.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Flags of every binary.
    #[command(flatten)]
    pub common: podkit::cli::CommonArgs,
    /// Flags of every binary that stays.
    #[command(flatten)]
    pub serve: podkit::cli::ServeArgs,
}

/// Other things to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Ask the running proxy's admin port; exit 0 when it is well, 1 otherwise
    Probe(podkit::probe::ProbeArgs),
    /// Wait until the running proxy is ready: before the start of an app in an ordinary container
    Wait {
        /// Give up after this time; 0 = never
        #[arg(long, value_name = "DURATION", default_value = "60s")]
        timeout: Dur,
    },
    /// Tell the running proxy to drain and end: at the end of a Job on clusters without native sidecars
    Quit,
    /// Show the heads of the next requests and answers of the running proxy, secrets masked
    Tap {
        /// Requests to show, up to 1000
        #[arg(short, long, value_name = "N", default_value_t = 10)]
        n: usize,
        /// Give up after this time; 0 = never
        #[arg(long, value_name = "DURATION", default_value = "0")]
        timeout: Dur,
    },
    /// Say which route, upstream, timeouts and retries a request would get; touches no network
    Explain {
        /// Method
        method: String,
        /// URL as the app would ask for it, such as http://127.0.0.1:8080/orders
        url: String,
        /// Header of the request (repeatable)
        #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
        headers: Vec<String>,
    },
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((listen, to)) if !listen.is_empty() && !to.is_empty() => Ok((listen.to_owned(), to.to_owned())),
        _ => Err("write LISTEN=TARGET, such as 127.0.0.1:8080=http://orders:80".to_owned()),
    }
}

impl AsRef<podkit::cli::CommonArgs> for Cli {
    fn as_ref(&self) -> &podkit::cli::CommonArgs {
        &self.common
    }
}

/// Flags go over the file; listeners of both are used.
pub(crate) fn overlay(cli: &Cli, config: &mut Config) {
    for (listen, to) in &cli.http {
        let (http, to) = (Some(listen.clone()), Some(to.clone()));
        config.listeners.push(Listener { http, to, expose: cli.expose, ..Listener::default() });
    }
    for (listen, to) in &cli.tcp {
        let (tcp, to) = (Some(listen.clone()), Some(to.clone()));
        config.listeners.push(Listener { tcp, to, expose: cli.expose, ..Listener::default() });
    }
    config.access_log = cli.access_log.clone().or(config.access_log.take());
    if let Some(to) = &cli.otlp_traces {
        config.traces.get_or_insert_default().to.clone_from(to);
    }
    config.workers = cli.workers.or(config.workers);
    config.admin = cli.serve.admin.clone().or(config.admin.take());
    config.shutdown_grace = cli.serve.shutdown_grace.or(config.shutdown_grace);
}
