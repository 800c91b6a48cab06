use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use logtail::traces::Languages;
use podkit::config::Report;
use podkit::http::Proxy;
use podkit::tls::TlsOptions;
use reqwest::header::{HeaderName, HeaderValue};

use super::target::Wrong;
use super::{Auth, Body, Compression, Config, Delivery, Format, Multiline, SinkConfig, Target};
use crate::charset::Charset;
use crate::index::IndexPattern;
use crate::join::{JoinPlan, Rule};

/// What the configuration means.
#[derive(Clone, Debug)]
pub struct Plan {
    pub tail: logtail::Options,
    pub charset: Charset,
    pub join: Option<JoinPlan>,
    pub sinks: Vec<SinkPlan>,
    pub state: Option<PathBuf>,
    pub dead_letter: Option<PathBuf>,
    pub once: bool,
    pub drain_quiet: Duration,
    pub fields: BTreeMap<String, String>,
}

/// One sink, every setting decided.
#[derive(Clone, Debug)]
pub struct SinkPlan {
    pub name: String,
    pub target: Target,
    pub format: Format,
    pub compression: Compression,
    pub batch_bytes: usize,
    pub batch_lines: usize,
    pub batch_age: Duration,
    pub in_flight: usize,
    pub requests: usize,
    pub timeout: Duration,
    pub headers: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    pub auth: Option<Auth>,
    pub tls: TlsOptions,
    pub body: Body,
    pub proxy: Proxy,
    /// Where the index has a date in its name.
    pub index: Option<IndexPattern>,
}

impl Plan {
    /// For a configuration that was checked; a wrong sink is left out here because the check has named it.
    pub fn new(config: &Config) -> Self {
        let charset = Charset::parse(&config.encoding).unwrap_or_default();
        let state = config.state.clone();
        let dead_letter = config.dead_letter.clone();
        Self {
            tail: logtail::Options {
                exclude: config.exclude.clone(),
                from_end: config.from_end,
                packed: config.packed,
                units: charset.units(),
                max_line: config.max_line.len(),
                idle_line: config.idle_line.limit(),
                ..logtail::Options::new(config.read.clone())
            },
            charset,
            join: join(config).unwrap_or_default(),
            sinks: sinks(config)
                .filter_map(|(_, sink)| SinkPlan::new(&sink, &config.delivery).ok())
                .collect(),
            dead_letter: dead_letter.or_else(|| Some(state.as_ref()?.join("dead-letter.ndjson"))),
            state,
            once: config.once,
            drain_quiet: config.drain_quiet.map_or(Duration::ZERO, |quiet| quiet.get()),
            fields: config.fields.clone(),
        }
    }
}

impl SinkPlan {
    fn new(sink: &SinkConfig, common: &Delivery) -> Result<Self, Wrong> {
        let target = Target::parse(&sink.to)?;
        let own = &sink.delivery;
        let raw = target.is_raw_by_default();
        let objects = target.is_object_store();
        Ok(Self {
            name: sink.name.clone().unwrap_or_else(|| target.name()),
            format: own.format.or(common.format).unwrap_or(if raw { Format::Raw } else { Format::Auto }),
            compression: own.compression.or(common.compression).unwrap_or(Compression::None),
            batch_bytes: own
                .batch_bytes
                .or(common.batch_bytes)
                .map_or(if objects { 4 << 20 } else { 1 << 20 }, |size| size.len()),
            batch_lines: own.batch_lines.or(common.batch_lines).unwrap_or(if objects {
                1_000_000
            } else {
                5000
            }),
            batch_age: own
                .batch_age
                .or(common.batch_age)
                .map_or(Duration::from_millis(if objects { 60_000 } else { 200 }), |age| age.get()),
            in_flight: own.in_flight.or(common.in_flight).map_or(8 << 20, |size| size.len()),
            // One after the other, where the order is what one sees.
            requests: if raw || target.is_stream() {
                1
            } else {
                own.requests.or(common.requests).unwrap_or(2)
            },
            timeout: own.timeout.or(common.timeout).map_or(Duration::from_secs(30), |timeout| timeout.get()),
            headers: sink.headers.clone(),
            labels: sink.labels.clone(),
            auth: sink.auth.clone(),
            tls: sink.tls.clone(),
            body: sink.body.unwrap_or(if matches!(target, Target::Otlp(_)) {
                Body::Protobuf
            } else {
                Body::Ndjson
            }),
            proxy: proxy(sink.proxy.as_deref(), &target),
            index: match &target {
                Target::Elasticsearch { index, .. } => IndexPattern::parse(index).unwrap_or_default(),
                _ => None,
            },
            target,
        })
    }
}

/// The way to a sink. Nobody means a proxy for what listens on this machine, such as the ambassador.
fn proxy(configured: Option<&str>, target: &Target) -> Proxy {
    match configured {
        Some("off") => Proxy::None,
        Some(url) => Proxy::Through(url.to_owned()),
        None if target.is_loopback() => Proxy::None,
        None => Proxy::Environment,
    }
}

/// How lines are joined, if they are.
fn join(config: &Config) -> Result<Option<JoinPlan>, regex::Error> {
    let rule = if let Some(pattern) = &config.multiline_start {
        Rule::Start(regex::bytes::RegexBuilder::new(pattern).unicode(false).size_limit(1 << 20).build()?)
    } else if config.multiline.is_empty() {
        return Ok(None);
    } else {
        let languages = config.multiline.iter().map(|language| language.set());
        Rule::Traces(languages.fold(Languages::default(), Languages::and))
    };
    Ok(Some(JoinPlan {
        rule,
        max_lines: config.multiline_lines,
        max_bytes: config.multiline_bytes.len(),
        idle: config.multiline_idle.get(),
    }))
}

impl Multiline {
    fn set(self) -> Languages {
        match self {
            Self::All => Languages::ALL,
            Self::Java => Languages::JAVA,
            Self::Python => Languages::PYTHON,
            Self::Go => Languages::GO,
            Self::Dotnet => Languages::DOTNET,
            Self::Ruby => Languages::RUBY,
            Self::Php => Languages::PHP,
            Self::Node => Languages::NODE,
            Self::Rust => Languages::RUST,
        }
    }
}

/// Both ways to write sinks as one list, with the key of each.
fn sinks(config: &Config) -> impl Iterator<Item = (String, SinkConfig)> {
    let short =
        config.to.iter().enumerate().map(|(index, to)| {
            (format!("to[{index}]"), SinkConfig { to: to.clone(), ..SinkConfig::default() })
        });
    let long = config.sinks.iter().enumerate().map(|(index, sink)| (format!("sinks[{index}]"), sink.clone()));
    short.chain(long)
}

/// What is written and read again has no end.
fn circle(config: &Config, path: &Path, key: &str, report: &mut Report) {
    if logtail::would_read(&config.read, &config.exclude, path) {
        let what = format!("{} would be read again by read", path.display());
        report.problem(key, what, "write another directory, or exclude it");
    }
}

/// Settings that would change nothing, or that cannot be used: someone counts on them.
fn check_use(key: &str, sink: &SinkConfig, plan: &SinkPlan, report: &mut Report) {
    let target = &plan.target;
    let loki = matches!(target, Target::Loki(_));
    let packs = target.is_http() && !loki || matches!(target, Target::Kafka(_));
    let login = target.is_http() || matches!(target, Target::Kafka(_));
    for (setting, given, used, remedy) in [
        (
            "headers",
            !sink.headers.is_empty(),
            target.is_http(),
            "leave it out: it goes with requests by HTTP",
        ),
        ("proxy", sink.proxy.is_some(), target.is_http(), "leave it out: it is asked for requests by HTTP"),
        ("labels", !sink.labels.is_empty(), loki, "leave it out: they are Loki's; for others write fields"),
        ("auth", sink.auth.is_some(), login, "leave it out: this protocol has no credentials"),
        (
            "tls",
            sink.tls != TlsOptions::default(),
            target.is_encrypted(),
            "write https (or syslog+tls, kafka+tls) in its URL, or leave it out",
        ),
        (
            "compression",
            sink.delivery.compression.is_some(),
            packs,
            "leave it out: this protocol has none, or its own",
        ),
    ] {
        if given && !used {
            report.problem(format!("{key}.{setting}"), "has no effect on this sink", remedy);
        }
    }
    for (have, other) in [(&sink.tls.cert, &sink.tls.key), (&sink.tls.key, &sink.tls.cert)] {
        if have.is_some() && other.is_none() {
            report.problem(format!("{key}.tls"), "has only one of cert and key", "write both, or none");
        }
    }
    for (name, value) in &sink.headers {
        let valid =
            HeaderName::try_from(name.as_str()).is_ok() && HeaderValue::try_from(value.as_str()).is_ok();
        if !valid {
            let remedy = "write a name without blanks, and a value without control characters";
            report.problem(format!("{key}.headers"), format!("{name:?} is no header"), remedy);
        }
    }
}

pub(super) fn check(config: &Config, report: &mut Report) {
    let mut names = HashSet::new();
    let mut stdouts = 0;
    for (key, sink) in sinks(config) {
        let to = if key.starts_with("to[") { key.clone() } else { format!("{key}.to") };
        if sink.to.is_empty() {
            report.problem(to, "is missing", "write stdout, or a URL");
            continue;
        }
        let plan = match SinkPlan::new(&sink, &config.delivery) {
            Ok(plan) => plan,
            Err(Wrong { what, remedy }) => {
                report.problem(to, what, remedy);
                continue;
            }
        };
        stdouts += usize::from(plan.target == Target::Stdout);
        if stdouts > 1 {
            report.problem(&to, "stdout is named twice", "write it once");
        }
        if plan.name.is_empty() || plan.name.contains(['/', '\0']) || plan.name.starts_with('.') {
            report.problem(
                format!("{key}.name"),
                format!("{:?} names no file", plan.name),
                "write letters, digits and dashes",
            );
        }
        if !names.insert(plan.name.clone()) {
            report.problem(&to, format!("two sinks have the name {:?}", plan.name), "write a name for each");
        }
        if plan.format == Format::Raw && matches!(plan.target, Target::Elasticsearch { .. }) {
            report.problem(
                format!("{key}.format"),
                "Elasticsearch takes no raw lines",
                "write auto, merge, ecs or otel",
            );
        }
        if let Target::Elasticsearch { index, .. } = &plan.target {
            if let Err(field) = IndexPattern::parse(index) {
                let what = format!("{field:?} is no part of a date");
                report.problem(&to, what, "write %Y, %m, %d, %H, or %G and %V for ISO weeks");
            } else if !crate::index::is_name(index) {
                let remedy =
                    "write lowercase letters, digits, dots and dashes, beginning with a letter or a digit";
                report.problem(&to, format!("{index:?} can be no index"), remedy);
            }
        }
        check_use(&key, &sink, &plan, report);
        let built = match plan.target {
            Target::S3(_) => Some("s3").filter(|_| !cfg!(feature = "s3")),
            Target::Kafka(_) => Some("kafka").filter(|_| !cfg!(feature = "kafka")),
            _ => None,
        };
        if let Some(missing) = built {
            let remedy = "build it with cargo build --package sidecar-logshipper --features kafka,s3";
            report.problem(&to, format!("this build has no {missing} sink"), remedy);
        }
        let bodies: &[Body] = match plan.target {
            Target::Http(_) => &[Body::Ndjson, Body::Array],
            Target::Otlp(_) => &[Body::Protobuf, Body::Json],
            _ => &[],
        };
        if let Some(body) = sink.body.filter(|body| !bodies.contains(body)) {
            let what = format!("this sink has no body {:?}", format!("{body:?}").to_lowercase());
            let remedy = "write ndjson or array for http, protobuf or json for otlp, nothing for others";
            report.problem(format!("{key}.body"), what, remedy);
        }
        if plan.body == Body::Array && plan.format == Format::Raw {
            report.problem(
                format!("{key}.format"),
                "raw lines are no JSON array",
                "write auto, merge, ecs or otel",
            );
        }
        if let Proxy::Through(url) = &plan.proxy {
            let known = url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
            if !known {
                let what = format!("{:?} is no HTTP proxy", podkit::secret::mask_url(url));
                report.problem(format!("{key}.proxy"), what, "write http://host:port, or off");
            }
        }
        if plan.labels.len() > crate::sink::MOST_LABELS {
            let what = format!("{} labels; each set of values is a stream of its own", plan.labels.len());
            report.problem(format!("{key}.labels"), what, "write at most 15, and the rest as fields");
        }
        for (setting, value) in [
            ("batch_bytes", plan.batch_bytes),
            ("batch_lines", plan.batch_lines),
            ("requests", sink.delivery.requests.or(config.delivery.requests).unwrap_or(1)),
            ("in_flight", plan.in_flight),
        ] {
            if value == 0 {
                report.problem(setting, "0 would send nothing", "write a number above 0");
            }
        }
        if plan.timeout.is_zero() {
            report.problem("timeout", "0 leaves no time for an answer", "write for example 30s");
        }
        if let Target::File(path) = &plan.target {
            circle(config, path, &to, report);
        }
    }
    if let Some(state) = &config.state {
        circle(config, &state.join("positions-x"), "state", report);
        circle(config, &state.join("dead-letter.ndjson"), "state", report);
    }
    if let Some(path) = &config.dead_letter {
        circle(config, path, "dead_letter", report);
    }
    if config.to.is_empty() && config.sinks.is_empty() {
        report.problem("to", "no sink", "write --to stdout, or a URL");
    }
    if config.max_line.len() < 64 {
        report.problem("max_line", "is below 64 bytes", "write for example 1MiB");
    }
    if Charset::parse(&config.encoding).is_none() {
        let what = format!("{:?} is no character set", config.encoding);
        report.problem(
            "encoding",
            what,
            "write auto, or a label such as utf-16le, windows-1252 or shift_jis",
        );
    }
    if config.multiline_start.as_ref().is_some_and(String::is_empty) {
        report.problem(
            "multiline_start",
            "is empty, and begins an event with every line",
            "write for example '^\\d{4}-'",
        );
    }
    if config.multiline_start.is_some() && !config.multiline.is_empty() {
        report.problem("multiline", "is given together with multiline_start", "write one of them");
    }
    if let Err(e) = join(config) {
        let e = e.to_string();
        let why = e.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        report.problem("multiline_start", format!("is no pattern: {why}"), "write for example '^\\d{4}-'");
    }
    if config.multiline_lines < 2 || config.multiline_bytes.len() < 64 {
        report.problem("multiline_lines", "would join nothing", "write at least 2 lines and 64 bytes");
    }
    if config.fields.len() > 100 {
        report.problem("fields", format!("has {} fields", config.fields.len()), "write at most 100");
    }
    for name in config.fields.keys().filter(|name| crate::enrich::is_reserved(name)) {
        report.problem(
            format!("fields.{name}"),
            "is a field that the shipper writes itself",
            "write another name",
        );
    }
}
