//! What was written ([`Config`]), and what it means ([`Plan`]).

mod plan;
mod target;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::ValueEnum;
use podkit::config::Report;
use podkit::secret::Secret;
use podkit::tls::TlsOptions;
use podkit::units::{Dur, Size};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use plan::{Plan, SinkPlan};
pub use target::{Place, Sasl, Target, Topic, Transport};

/// The configuration file, and after the flags are laid over it, the effective configuration.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Files to follow: globs; `*` stays in a directory, `**` crosses.
    pub read: Vec<String>,
    /// Files to leave out; without `/` it is matched against the file name.
    pub exclude: Vec<String>,
    /// Sinks by URL, with the common settings below.
    pub to: Vec<String>,
    /// Sinks with settings of their own.
    pub sinks: Vec<SinkConfig>,
    /// Directory for positions and dead letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<PathBuf>,
    /// Where lines go that a sink refuses for good; `dead-letter.ndjson` in `state` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<PathBuf>,
    /// Files that are there at the very first start are read from their end: from the beginning of a last line that is not complete.
    pub from_end: bool,
    /// Also read `.gz` and `.zst` files that a pattern names and that were there before the first start. What rotation compresses
    /// later is recognized, and read where it was not read before.
    pub packed: bool,
    /// Read all there is, deliver it, and end.
    pub once: bool,
    /// How long a last line without its newline waits for the rest; 0 waits for ever.
    pub idle_line: Dur,
    /// Longer lines are sent in numbered parts.
    pub max_line: Size,
    /// Character set of the files, by a label such as `utf-16le`, `windows-1252`, `shift_jis` or `gb18030`; `auto` is UTF-8,
    /// and UTF-16 where a byte order mark says so.
    pub encoding: String,
    /// Stack traces of these languages become one line each with what they belong to.
    pub multiline: Vec<Multiline>,
    /// Lines up to the next that matches become one: the pattern of an event's first line (without Unicode classes).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multiline_start: Option<String>,
    /// How long a joined line waits for more.
    pub multiline_idle: Dur,
    /// Most lines that are joined.
    pub multiline_lines: usize,
    /// Most bytes that are joined.
    pub multiline_bytes: Size,
    /// After SIGTERM, go on until nothing was written for so long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_quiet: Option<Dur>,
    /// Drain and end when this file appears.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_file: Option<PathBuf>,
    /// Fields added to every line that is wrapped.
    pub fields: BTreeMap<String, String>,
    /// Address of the admin port; `off` for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<String>,
    /// Time for the drain after SIGTERM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shutdown_grace: Option<Dur>,
    #[serde(flatten)]
    pub delivery: Delivery,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            read: Vec::new(),
            exclude: Vec::new(),
            to: Vec::new(),
            sinks: Vec::new(),
            state: None,
            dead_letter: None,
            from_end: false,
            packed: false,
            once: false,
            idle_line: Dur::secs(5),
            max_line: Size::mib(1),
            encoding: "auto".into(),
            multiline: Vec::new(),
            multiline_start: None,
            multiline_idle: Dur::secs(1),
            multiline_lines: 500,
            multiline_bytes: Size(256 << 10),
            drain_quiet: None,
            until_file: None,
            fields: BTreeMap::new(),
            admin: None,
            shutdown_grace: None,
            delivery: Delivery::default(),
        }
    }
}

/// How lines are sent: at the top for all sinks, in a sink for that one.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Delivery {
    /// How a line is rendered: `raw` for stdout and file, otherwise `auto`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// Compression of requests (none).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// A batch is sent when it has so many bytes (1MiB) …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_bytes: Option<Size>,
    /// … or so many lines (5000) …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_lines: Option<usize>,
    /// … or when its first line has waited so long (200ms).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_age: Option<Dur>,
    /// Bytes in memory per sink, from reading to acknowledgement (8MiB).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<Size>,
    /// Requests under way at once (2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<usize>,
    /// Time for one request (30s).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Dur>,
}

/// One sink.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SinkConfig {
    /// Its URL, as with `--to`.
    pub to: String,
    /// Names its positions and its metrics; made from the URL by default. Change it, and it starts from the beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Headers of every request.
    pub headers: BTreeMap<String, String>,
    /// Loki's stream labels; namespace, pod, container, node and filename by default. At most 15.
    pub labels: BTreeMap<String, String>,
    /// What a request's body is: `ndjson` or `array` for `http(s)://`, `protobuf` or `json` for `otlp+…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Body>,
    /// An HTTP proxy by its URL, or `off`. By default as `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` say, for sinks that are not
    /// on this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// Credentials of every request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// Whom to trust and who we are, for https.
    pub tls: TlsOptions,
    #[serde(flatten)]
    pub delivery: Delivery,
}

/// Credentials; read afresh for every request, so they may rotate.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Auth {
    /// User and password.
    Basic { user: String, password: Secret },
    /// `Authorization: Bearer …`
    Bearer(Secret),
    /// `Authorization: ApiKey …`, as Elasticsearch has it.
    ApiKey(Secret),
    /// `Authorization: Splunk …`, the token of an HTTP Event Collector.
    Splunk(Secret),
}

/// How a line is rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// The bytes as they are
    Raw,
    /// A JSON object passes byte for byte; any other line is wrapped as `ecs` does
    Auto,
    /// As auto, and a JSON object gets what it does not say itself: time, file, offset and pod
    Merge,
    /// Wrapped into an object with message, time, file, offset and pod (Elastic Common Schema)
    Ecs,
    /// The same by the OpenTelemetry log data model, as adapter-logformat writes it
    Otel,
}

/// What a request's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// JSON texts, one per line.
    Ndjson,
    /// One JSON array.
    Array,
    /// OTLP in binary.
    Protobuf,
    /// OTLP in JSON.
    Json,
}

/// Whose stack traces are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Multiline {
    /// Of all these languages
    All,
    /// Java, Kotlin, Scala
    Java,
    Python,
    Go,
    Dotnet,
    Ruby,
    Php,
    Node,
    Rust,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    None,
    Gzip,
    /// Where the sink takes it, half the work of gzip
    Zstd,
}

impl podkit::config::Config for Config {
    fn check(&self, report: &mut Report) {
        if self.read.is_empty() {
            report.problem("read", "nothing to read", "write a glob such as --read '/var/log/app/*.log'");
        }
        for (key, globs) in [("read", &self.read), ("exclude", &self.exclude)] {
            for (index, glob) in globs.iter().enumerate() {
                if glob.is_empty() {
                    report.problem(
                        format!("{key}[{index}]"),
                        "is empty",
                        "write a glob such as '/var/log/app/*.log'",
                    );
                } else {
                    report.take(
                        format!("{key}[{index}]"),
                        logtail::check_globs(std::slice::from_ref(glob), &[]),
                    );
                }
            }
        }
        plan::check(self, report);
    }
}
