//! The configuration: what is written in the file, with the flags laid over it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use podkit::{config::Report, secret::Secret, units::Size};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    cli::ConvertArgs,
    decode::{Decoder, FORMATS, Format},
    encode::{Original, Schema, reserved},
    listen::address,
    pipeline::remote::Target,
    rules::{Compiled, Edit, Edits, Filter, Key, Metric, Redact, Redactor, Rule},
};

/// Configuration of adapter-logformat.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Format of the lines, one that `adapter-logformat formats` lists; `auto` finds out per file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The server's own format string: `log_format` of nginx, `LogFormat` of Apache, a pattern of logback, `log_line_prefix` of PostgreSQL, …; a regular
    /// expression for `regex`, an expression for `grok`, the columns for `csv`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// Files and globs to follow, sockets and FIFOs to listen on (`tcp://`, `tls://`, `udp://`, `unix://`, `unixgram://`, `fifo://`), or `-` for stdin
    /// (the default).
    #[serde(rename = "in", skip_serializing_if = "Vec::is_empty")]
    pub input: Vec<String>,
    /// File to append to, `tcp://HOST:PORT`, `unix:///PATH`, `fifo:///PATH`, or `-` for stdout (the default).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out: Option<String>,
    /// Schema of the records: `ecs` (the default), `otel` or `flat`.
    pub schema: Schema,
    /// Whether the raw line goes along: `always` (the default), or `failed`, only where something could not be read.
    pub original: Original,
    /// Directory for positions. Default: `.adapter-logformat` beside the output file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<PathBuf>,
    /// Time zone of times that name none, such as `Europe/Berlin`. Default: UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// Size at which the output file is renamed to `OUT.1` and a new one begun; 0 never. Default: 64MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out_max_size: Option<Size>,
    /// Renamed output files to keep. Default: 4.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out_keep: Option<u32>,
    /// Which lines belong together: `auto` (stack traces, partial lines of a container runtime), `off`, or a regular expression that the
    /// first line of an event matches. Default: `auto` where the format is `auto`, `plain`, `cri` or `docker`, otherwise `off`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multiline: Option<String>,
    /// Fields that every record gets, by their names in the schema; they win over what a line says.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, Scalar>,
    /// What to take out of every line before it is decoded: `emails`, `cards`, `tokens`, `ips`, `{networks: {v4: 16, v6: 32}}`,
    /// `{pattern: REGEX}`, and `{hash: …}` of any of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub redact: Vec<Redact>,
    /// The key of the hashes that `hash` rules make.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redact_key: Option<Secret>,
    /// What to do to single fields, in this order: `drop`, `rename`, `copy`, `add`, `convert`, `expand`, `mask`, `hash`, `network`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub edit: Vec<Edit>,
    /// Records to leave out, each counted under the name of its filter.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<Filter>,
    /// A program in VRL (Vector Remap Language) over every record: its text, or `{file: PATH}`. Only in builds with the cargo feature `vrl`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vrl: Option<Vrl>,
    /// Counters and histograms made from fields, on `/metrics`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<Metric>,
    /// Most series of all `metrics` together; what is beyond goes to `other` and is counted. Default: 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_series: Option<usize>,
    /// Several inputs, each with its own format and fields, instead of `in` and `from`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub streams: Vec<Stream>,
}

/// One input.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Stream {
    /// Files and globs to follow, sockets and FIFOs to listen on.
    #[serde(rename = "in")]
    pub input: Vec<String>,
    /// Format of the lines; default: the one above, or `auto`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The server's own format string: `log_format` of nginx, `LogFormat` of Apache, a pattern of logback, `log_line_prefix` of PostgreSQL, …; a regular
    /// expression for `regex`, an expression for `grok`, the columns for `csv`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// Time zone of times that name none; default: the one above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// Which lines belong together; default: as above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multiline: Option<String>,
    /// Fields that every record of this input gets, beside those above.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, Scalar>,
}

/// A text, a number or a truth value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Scalar {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
}

/// A program in VRL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
pub enum Vrl {
    /// The program itself.
    Text(String),
    /// Where it is; read at the start and when the configuration is read again.
    File {
        /// Path of the program's text.
        file: PathBuf,
    },
}

impl Scalar {
    /// As JSON text.
    pub fn json(&self) -> String {
        // A float that is no number cannot be written in YAML without a tag; null stands for it.
        serde_json::to_string(self).unwrap_or_else(|_| "null".to_owned())
    }
}

/// Where records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    Stdout,
    File { path: PathBuf, max_size: u64, keep: u32 },
    Remote(Target),
}

impl Config {
    /// Lays the flags over what the file says.
    pub fn overlay(&mut self, flags: &ConvertArgs) {
        if !flags.input.is_empty() {
            self.input.clone_from(&flags.input);
            self.streams.clear();
        }
        for (key, flag) in [
            (&mut self.from, &flags.from),
            (&mut self.out, &flags.out),
            (&mut self.timezone, &flags.timezone),
            (&mut self.multiline, &flags.multiline),
            (&mut self.pattern, &flags.pattern),
        ] {
            if flag.is_some() {
                key.clone_from(flag);
            }
        }
        if flags.from.is_some() {
            self.streams.iter_mut().for_each(|stream| stream.from.clone_from(&flags.from));
        }
        self.schema = flags.schema.unwrap_or(self.schema);
        self.original = flags.original.unwrap_or(self.original);
        self.state = flags.state.clone().or(self.state.take());
        self.out_max_size = flags.out_max_size.or(self.out_max_size);
        self.out_keep = flags.out_keep.or(self.out_keep);
    }

    /// The inputs with everything filled in; one without paths is stdin.
    pub fn inputs(&self) -> Vec<Stream> {
        let mut streams = self.streams.clone();
        if streams.is_empty() {
            let input = self.input.iter().filter(|i| *i != "-").cloned().collect();
            streams.push(Stream { input, ..Stream::default() });
        }
        for stream in &mut streams {
            if stream.from.is_none() {
                stream.from.clone_from(&self.from);
                stream.pattern = stream.pattern.take().or_else(|| self.pattern.clone());
            }
            stream.timezone = stream.timezone.clone().or_else(|| self.timezone.clone());
            stream.multiline = stream.multiline.clone().or_else(|| self.multiline.clone());
            let mut fields = self.fields.clone();
            fields.append(&mut stream.fields);
            stream.fields = fields;
        }
        streams
    }

    /// The key of the hashes, read now; `None` where nothing is hashed.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn key(&self) -> Result<Option<Key>, String> {
        let read = self.redact_key.as_ref().map(Secret::read).transpose();
        read.map(|key| key.map(|key| Key::new(key.as_bytes()))).map_err(|error| error.to_string())
    }

    pub fn output(&self) -> Output {
        match self.out.as_deref() {
            None | Some("-") => Output::Stdout,
            Some(text) if let Some(Ok(target)) = Target::parse(text) => Output::Remote(target),
            Some(path) => Output::File {
                path: PathBuf::from(path),
                max_size: self.out_max_size.map_or(64 << 20, |s| s.bytes()),
                keep: self.out_keep.unwrap_or(4),
            },
        }
    }

    /// Where positions are kept; `None` when nothing is (stdin, or files to stdout without `--state`).
    pub fn state_dir(&self) -> Option<PathBuf> {
        self.state.clone().or_else(|| match self.output() {
            Output::File { path, .. } => {
                let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
                Some(dir.join(".adapter-logformat"))
            }
            Output::Stdout | Output::Remote(_) => None,
        })
    }
}

/// The zone, or what is wrong with its name.
pub fn timezone(name: Option<&str>) -> Result<jiff::tz::TimeZone, String> {
    match name {
        None | Some("UTC" | "Z") => Ok(jiff::tz::TimeZone::UTC),
        Some(name) => jiff::tz::TimeZone::get(name).map_err(|error| error.to_string()),
    }
}

impl podkit::Config for Config {
    fn check(&self, report: &mut Report) {
        if !self.streams.is_empty() && !self.input.is_empty() {
            report.problem("in", "stands beside streams", "move it into a stream of its own");
        }
        if self.input.iter().any(|i| i == "-") && self.input.len() > 1 {
            report.problem("in", "mixes stdin with files", "read stdin alone");
        }
        check_from("from", self.from.as_deref(), report);
        check_pattern("pattern", self.from.as_deref(), self.pattern.as_deref(), report);
        check_zone("timezone", self.timezone.as_deref(), report);
        check_paths("in", &self.input, report);
        check_multiline("multiline", self.multiline.as_deref(), report);
        self.check_fields("fields", &self.fields, report);
        for (i, stream) in self.streams.iter().enumerate() {
            let at = |key: &str| format!("streams[{i}].{key}");
            if stream.input.is_empty() {
                report.problem(at("in"), "names no files", "write in: [/var/log/app/access.log]");
            }
            if stream.input.iter().any(|p| p == "-") {
                report.problem(at("in"), "is stdin", "read stdin with --in - and without streams");
            }
            check_paths(&at("in"), &stream.input, report);
            check_from(&at("from"), stream.from.as_deref(), report);
            let from = stream.from.as_deref().or(self.from.as_deref());
            check_pattern(&at("pattern"), from, stream.pattern.as_deref(), report);
            check_zone(&at("timezone"), stream.timezone.as_deref(), report);
            check_multiline(&at("multiline"), stream.multiline.as_deref(), report);
            self.check_fields(&at("fields"), &stream.fields, report);
        }
        for stream in self.inputs() {
            let from = stream.from.as_deref().and_then(Format::by_name);
            if let (Some(format), None) = (from, &stream.pattern)
                && format.entry().needs_pattern()
            {
                let remedy = format!("write pattern: beside from: {}", format.name());
                report.problem(
                    "pattern",
                    format!("is missing; the format {} needs one", format.name()),
                    remedy,
                );
            }
        }
        // Which key it is does not matter here; whether there is one does.
        let key = self.redact_key.as_ref().map(|_| Key::new(b""));
        if let Err((place, problem)) = Edits::compile(&self.edit, self.schema, key.as_ref()) {
            report.problem(format!("edit[{place}]"), problem, "correct it");
        }
        if let Err(error) = Redactor::compile(&self.redact, key.as_ref()) {
            report.problem("redact", error, "correct the pattern");
        }
        if let Some(vrl) = &self.vrl {
            self.check_vrl(vrl, report);
        }
        for (i, metric) in self.metrics.iter().enumerate() {
            if let Err((key, problem)) = Compiled::compile(metric, self.schema) {
                let remedy = "write for example {name: requests, labels: {class: \"http.response.status_code:class\"}}";
                report.problem(format!("metrics[{i}].{key}"), problem, remedy);
            }
            if self.metrics[..i].iter().any(|other| other.name == metric.name) {
                report.problem(
                    format!("metrics[{i}].name"),
                    "is the name of an earlier metric",
                    "give each its own",
                );
            }
        }
        for (i, filter) in self.filters.iter().enumerate() {
            if let Err((key, error)) = Rule::compile(filter, self.schema) {
                report.problem(
                    format!("filters[{i}].{key}"),
                    error,
                    "write for example {name: probes, field: url.original, matches: ^/healthz}",
                );
            }
            if self.filters[..i].iter().any(|other| other.name == filter.name) {
                report.problem(
                    format!("filters[{i}].name"),
                    "is the name of an earlier filter",
                    "give each its own",
                );
            }
        }
        if let Some(Err(problem)) = self.out.as_deref().and_then(Target::parse) {
            report.problem("out", problem, "write a path, -, tcp://HOST:PORT, unix:///PATH or fifo:///PATH");
        }
        if self.out.as_deref() == Some("") {
            report.problem("out", "is empty", "write a path, or - for stdout");
        }
        let files = !self.streams.is_empty() || self.input.iter().any(|i| i != "-");
        if let (Output::File { path, .. }, true) = (self.output(), files) {
            let inputs = self.inputs();
            let globs = inputs.iter().flat_map(|s| &s.input).filter(|text| address::parse(text).is_none());
            if globs.filter_map(|g| globset::Glob::new(g).ok()).any(|g| g.compile_matcher().is_match(&path)) {
                report.problem("out", "is itself one of the inputs", "write to another directory");
            }
        }
    }
}

impl Config {
    #[cfg(not(feature = "vrl"))]
    fn check_vrl(&self, _: &Vrl, report: &mut Report) {
        let remedy = "build it with cargo build --package adapter-logformat --features vrl, or say it with edit and filters";
        report.problem("vrl", "is not in this build", remedy);
    }

    #[cfg(feature = "vrl")]
    fn check_vrl(&self, vrl: &Vrl, report: &mut Report) {
        if matches!(self.schema, Schema::Otlp | Schema::Logfmt) {
            report.problem(
                "vrl",
                "needs records that are objects of their own",
                "choose another schema than otlp and logfmt",
            );
        }
        if let Vrl::Text(source) = vrl
            && let Err(problem) = crate::rules::program::Program::compile(source)
        {
            report.problem("vrl", problem, "correct the program");
        }
        if let Some(i) = self.filters.iter().position(|filter| filter.name == "vrl") {
            report.problem(
                format!("filters[{i}].name"),
                "is vrl, which is what abort counts under",
                "give it another name",
            );
        }
    }

    fn check_fields(&self, at: &str, fields: &BTreeMap<String, Scalar>, report: &mut Report) {
        for name in fields.keys() {
            if reserved(self.schema).contains(&name.as_str()) || name.is_empty() {
                report.problem(
                    format!("{at}.{name}"),
                    "is written by the adapter itself",
                    "choose another name",
                );
            }
        }
    }
}

fn check_from(at: &str, from: Option<&str>, report: &mut Report) {
    let Some(name) = from else { return };
    if name != "auto" && Format::by_name(name).is_none() {
        let names = || std::iter::once("auto").chain(FORMATS.iter().map(|entry| entry.name));
        let remedy = match podkit::config::nearest(name, names()) {
            Some(near) => format!("did you mean {near:?}? `adapter-logformat formats` lists them"),
            None => format!("write one of {}", names().collect::<Vec<_>>().join(", ")),
        };
        report.problem(at, format!("there is no format {name:?}"), remedy);
    }
}

fn check_zone(at: &str, zone: Option<&str>, report: &mut Report) {
    if let Err(error) = timezone(zone) {
        report.problem(at, error, "write a name of the IANA database, such as Europe/Berlin");
    }
}

fn check_paths(at: &str, paths: &[String], report: &mut Report) {
    for path in paths.iter().filter(|p| *p != "-") {
        if let Some(listener) = address::parse(path) {
            if let Err(problem) = listener {
                report.problem(
                    at,
                    problem,
                    "write for example tcp://127.0.0.1:5170, unix:///run/app/log.sock or fifo:///run/app/log",
                );
            }
            continue;
        }
        if let Err(error) = globset::Glob::new(path) {
            report.problem(
                at,
                format!("{path:?} is no glob: {}", error.kind()),
                "correct it, or escape [ ] { } * ? with a backslash",
            );
        } else if path.is_empty() {
            report.problem(at, "has an empty path", "name a file or a glob");
        }
    }
}

fn check_multiline(at: &str, rule: Option<&str>, report: &mut Report) {
    if let Some(Err(error)) = rule.map(crate::join::Rule::parse) {
        report.problem(
            at,
            error,
            "write auto, off, or the pattern of an event's first line such as '^\\d{4}-'",
        );
    }
}

fn check_pattern(at: &str, from: Option<&str>, pattern: Option<&str>, report: &mut Report) {
    let Some(pattern) = pattern else { return };
    let problem = match from {
        None | Some("auto") => Some("stands without a format".to_owned()),
        Some(name) if Format::by_name(name).is_some() => Decoder::new(name, Some(pattern)).err(),
        Some(_) => None,
    };
    if let Some(problem) = problem {
        report.problem(
            at,
            problem,
            "write the server's own format string beside its format, such as the log_format of nginx with from: nginx",
        );
    }
}
