//! The command line. Help, completions and environment twins all come from here.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use podkit::cli::{CommonArgs, ServeArgs};
use podkit::probe::ProbeArgs;
use podkit::units::{Dur, Size};

use crate::config::{Compression, Config, Format, Multiline};

/// Ships log files from the first line to the last, none lost.
#[derive(Debug, Parser)]
#[command(
    name = "sidecar-logshipper",
    args_conflicts_with_subcommands = false,
    subcommand_negates_reqs = true,
    after_help = "Sinks:\n  stdout   file:///path   http(s)://host/path (NDJSON)\n  elasticsearch+http(s)://host:port/[data-stream-or-index]\n  otlp+http(s)://host:4318   loki+http(s)://host:3100   splunk+http(s)://host:8088\n  syslog+tcp://host:601   syslog+udp://host:514   syslog+tls://host:6514   fluent://host:24224[/tag]\n  only in builds with the cargo features kafka and s3: kafka://host:9092/topic   s3+https://host/bucket/prefix\n\nExit codes: 0 done, or stopped cleanly by SIGTERM; 1 failed, or lines were left when the grace was over;\n2 wrong usage; 78 wrong configuration."
)]
pub struct Cli {
    #[command(flatten)]
    pub read: ReadArgs,
    #[command(flatten)]
    pub send: SendArgs,
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub common: CommonArgs,
    #[command(flatten)]
    pub serve: ServeArgs,
}

impl AsRef<CommonArgs> for Cli {
    fn as_ref(&self) -> &CommonArgs {
        &self.common
    }
}

#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "What to read")]
pub struct ReadArgs {
    /// Files to follow; `*` stays in a directory, `**` crosses. Rotated forms of a name are followed by themselves
    #[arg(long, value_name = "GLOB", num_args = 1..)]
    pub read: Vec<String>,
    /// Files to leave out; without `/` it is matched against the file name
    #[arg(long, value_name = "GLOB", num_args = 1..)]
    pub exclude: Vec<String>,
    /// Where positions and dead letters are kept; without it every start reads from the beginning
    #[arg(long, value_name = "DIR", global = true)]
    pub state: Option<PathBuf>,
    /// Files that are there at the very first start are read from their end
    #[arg(long)]
    pub from_end: bool,
    /// Also read .gz and .zst files that a pattern names and that were there before the first start
    #[arg(long)]
    pub packed: bool,
    /// Read all there is, deliver it, and end
    #[arg(long)]
    pub once: bool,
    /// How long a last line without its newline waits for the rest [default: 5s]
    #[arg(long, value_name = "DURATION")]
    pub idle_line: Option<Dur>,
    /// Longer lines are sent in numbered parts [default: 1MiB]
    #[arg(long, value_name = "SIZE")]
    pub max_line: Option<Size>,
    /// Character set of the files, such as utf-16le, windows-1252 or shift_jis [default: auto, that is UTF-8, or UTF-16 where a byte order mark says so]
    #[arg(long, value_name = "LABEL")]
    pub encoding: Option<String>,
    /// Join the stack traces of these languages to what they belong to
    #[arg(long, value_name = "LANGUAGE", value_enum, num_args = 1..)]
    pub multiline: Vec<Multiline>,
    /// Join lines up to the next that matches: the pattern of an event's first line
    #[arg(long, value_name = "REGEX")]
    pub multiline_start: Option<String>,
    /// How long a joined line waits for more [default: 1s]
    #[arg(long, value_name = "DURATION")]
    pub multiline_idle: Option<Dur>,
    /// Most lines that are joined [default: 500]
    #[arg(long, value_name = "N", value_parser = number)]
    pub multiline_lines: Option<usize>,
    /// Most bytes that are joined [default: 256KiB]
    #[arg(long, value_name = "SIZE")]
    pub multiline_bytes: Option<Size>,
    /// After SIGTERM, go on until nothing was written for so long (as an ordinary sidecar, whose app may end later)
    #[arg(long, value_name = "DURATION")]
    pub drain_quiet: Option<Dur>,
    /// Drain and end when this file appears (for Jobs on clusters without native sidecars)
    #[arg(long, value_name = "PATH")]
    pub until_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Where to send it")]
pub struct SendArgs {
    /// Sinks; each gets every line, with its own position
    #[arg(long, value_name = "URL", num_args = 1..)]
    pub to: Vec<String>,
    /// How a line is rendered [default: raw for stdout and file, otherwise auto]
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub format: Option<Format>,
    /// Compression of requests [default: none]
    #[arg(long, value_name = "KIND", value_enum)]
    pub compression: Option<Compression>,
    /// A batch is sent when it has so many bytes … [default: 1MiB]
    #[arg(long, value_name = "SIZE")]
    pub batch_bytes: Option<Size>,
    /// … or so many lines … [default: 5000]
    #[arg(long, value_name = "N", value_parser = number)]
    pub batch_lines: Option<usize>,
    /// … or when its first line has waited so long for a request that is under way; otherwise after a twentieth of it [default: 200ms]
    #[arg(long, value_name = "DURATION")]
    pub batch_age: Option<Dur>,
    /// Bytes in memory per sink, from reading to acknowledgement [default: 8MiB]
    #[arg(long, value_name = "SIZE")]
    pub in_flight: Option<Size>,
    /// Requests under way at once per sink; fewer while it refuses [default: 2]
    #[arg(long, value_name = "N", value_parser = number)]
    pub requests: Option<usize>,
    /// Time for one request [default: 30s]
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<Dur>,
    /// Where lines go that a sink refuses for good [default: dead-letter.ndjson in --state]
    #[arg(long, value_name = "FILE")]
    pub dead_letter: Option<PathBuf>,
    /// A field to add to every line that is wrapped
    #[arg(long, value_name = "NAME=VALUE", value_parser = field, num_args = 1..)]
    pub field: Vec<(String, String)>,
}

#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Ask the own admin port (for probes in images without a shell); exit 0 or 1
    Probe(ProbeArgs),
    /// List or reset the saved positions; needs --state
    Positions(PositionsArgs),
    /// Wait until everything written so far is delivered (for preStop); exit 0, or 1 when time is up
    Drain(DrainArgs),
}

#[derive(Debug, Clone, Args)]
pub struct PositionsArgs {
    /// Only of this sink
    #[arg(long, value_name = "NAME")]
    pub sink: Option<String>,
    /// Only of files whose path contains this
    #[arg(long, value_name = "TEXT")]
    pub file: Option<String>,
    /// Forget them: these files are read from their beginning. Not while a shipper runs there
    #[arg(long)]
    pub reset: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct DrainArgs {
    /// Nothing may have been written for so long
    #[arg(long, value_name = "DURATION", default_value = "2s")]
    pub quiet: Dur,
    /// Give up after
    #[arg(long = "within", value_name = "DURATION", default_value = "25s")]
    pub within: Dur,
}

/// Lays the flags over what the file says.
pub fn overlay(cli: &Cli, config: &mut Config) {
    let (read, send) = (&cli.read, &cli.send);
    if !read.read.is_empty() {
        config.read.clone_from(&read.read);
    }
    if !read.exclude.is_empty() {
        config.exclude.clone_from(&read.exclude);
    }
    if !send.to.is_empty() {
        config.to.clone_from(&send.to);
        config.sinks.clear();
    }
    config.fields.extend(send.field.iter().cloned());
    config.from_end |= read.from_end;
    config.packed |= read.packed;
    config.once |= read.once;
    set(&mut config.state, &read.state);
    set(&mut config.until_file, &read.until_file);
    set(&mut config.drain_quiet, &read.drain_quiet);
    set(&mut config.dead_letter, &send.dead_letter);
    set(&mut config.admin, &cli.serve.admin);
    set(&mut config.shutdown_grace, &cli.serve.shutdown_grace);
    put(&mut config.idle_line, read.idle_line);
    put(&mut config.max_line, read.max_line);
    put(&mut config.encoding, read.encoding.clone());
    if !read.multiline.is_empty() {
        config.multiline.clone_from(&read.multiline);
    }
    set(&mut config.multiline_start, &read.multiline_start);
    put(&mut config.multiline_idle, read.multiline_idle);
    put(&mut config.multiline_lines, read.multiline_lines);
    put(&mut config.multiline_bytes, read.multiline_bytes);
    let delivery = &mut config.delivery;
    set(&mut delivery.format, &send.format);
    set(&mut delivery.compression, &send.compression);
    set(&mut delivery.batch_bytes, &send.batch_bytes);
    set(&mut delivery.batch_lines, &send.batch_lines);
    set(&mut delivery.batch_age, &send.batch_age);
    set(&mut delivery.in_flight, &send.in_flight);
    set(&mut delivery.requests, &send.requests);
    set(&mut delivery.timeout, &send.timeout);
}

fn set<T: Clone>(to: &mut Option<T>, from: &Option<T>) {
    if from.is_some() {
        to.clone_from(from);
    }
}

fn put<T>(to: &mut T, from: Option<T>) {
    if let Some(from) = from {
        *to = from;
    }
}

fn number(text: &str) -> Result<usize, String> {
    text.trim().parse().map_err(|_| format!("{text:?} is no whole number; write for example 2"))
}

fn field(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err(format!("{text:?} is no field; write NAME=VALUE")),
    }
}
