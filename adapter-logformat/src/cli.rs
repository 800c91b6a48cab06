//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use podkit::{
    cli::{CommonArgs, ServeArgs},
    probe::ProbeArgs,
    units::Size,
};

use crate::encode::{Original, Schema};

/// Reads logs of any format and writes one schema, every line accounted for.
///
/// Without --in and --out: stdin to stdout.
#[derive(Debug, Clone, Parser)]
#[command(after_help = "Examples:
  adapter-logformat < access.log | jq
  adapter-logformat --from nginx --in '/var/log/app/access.log' --out /var/log/normalized/records.log
  adapter-logformat test --from nginx access.log
  adapter-logformat formats")]
pub struct Cli {
    #[command(flatten)]
    pub convert: ConvertArgs,
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

/// What is read and what is written.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Reading and writing")]
pub struct ConvertArgs {
    /// Format of the lines, one that `formats` lists; `auto` finds out per file
    #[arg(long, value_name = "FORMAT", global = true)]
    pub from: Option<String>,
    /// The server's own format string, such as nginx' log_format with --from nginx; the expression for regex and grok, the columns for csv
    #[arg(long, value_name = "STRING", global = true)]
    pub pattern: Option<String>,
    /// File, glob (in quotes), tcp://:PORT, tls://:PORT?cert=FILE&key=FILE, udp://:PORT, unix:///PATH, unixgram:///PATH, fifo:///PATH, or -
    /// for stdin; may be given several times
    #[arg(long = "in", value_name = "PATH|GLOB|URL|-")]
    pub input: Vec<String>,
    /// File to append to, tcp://HOST:PORT, unix:///PATH, fifo:///PATH, or - for stdout
    #[arg(long, value_name = "PATH|URL|-")]
    pub out: Option<String>,
    /// Schema of the records
    #[arg(long, value_name = "SCHEMA", value_enum, global = true)]
    pub schema: Option<Schema>,
    /// Whether the raw line goes along: always, or only where something could not be read
    #[arg(long, value_name = "WHEN", value_enum, global = true)]
    pub original: Option<Original>,
    /// Directory for positions, for exactly once over restarts [default: .adapter-logformat beside the output file]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Time zone of times that name none, such as Europe/Berlin [default: UTC]
    #[arg(long, value_name = "ZONE", global = true)]
    pub timezone: Option<String>,
    /// Which lines belong together: auto (stack traces, partial lines), off, or a regular expression of an event's first line
    #[arg(long, value_name = "RULE", global = true)]
    pub multiline: Option<String>,
    /// Size at which the output file is renamed to OUT.1 and a new one begun; 0 never [default: 64MiB]
    #[arg(long, value_name = "SIZE")]
    pub out_max_size: Option<Size>,
    /// Renamed output files to keep [default: 4]
    #[arg(long, value_name = "N")]
    pub out_keep: Option<u32>,
}

#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// List the formats that --from knows
    Formats,
    /// Show line by line what is read from a sample, and where reading stops
    Test(TestArgs),
    /// Ask the running adapter whether it is alive (exit code 0 or 1)
    Probe(ProbeArgs),
}

#[derive(Debug, Clone, Args)]
pub struct TestArgs {
    /// Files to read; stdin when none is given
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Print only the lines that were not fully read
    #[arg(long)]
    pub failed: bool,
}
