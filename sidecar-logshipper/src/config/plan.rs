use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use podkit::config::Report;
use podkit::tls::TlsOptions;

use super::target::Wrong;
use super::{Auth, Compression, Config, Delivery, Format, SinkConfig, Target};

/// What the configuration means.
#[derive(Clone, Debug)]
pub struct Plan {
    pub tail: logtail::Options,
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
}

impl Plan {
    /// For a configuration that was checked; a wrong sink is left out here because the check has named it.
    pub fn new(config: &Config) -> Self {
        let state = config.state.clone();
        let dead_letter = config.dead_letter.clone();
        Self {
            tail: logtail::Options {
                exclude: config.exclude.clone(),
                from_end: config.from_end,
                packed: config.packed,
                max_line: config.max_line.len(),
                idle_line: config.idle_line.limit(),
                ..logtail::Options::new(config.read.clone())
            },
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
        Ok(Self {
            name: sink.name.clone().unwrap_or_else(|| target.name()),
            format: own.format.or(common.format).unwrap_or(if raw { Format::Raw } else { Format::Auto }),
            compression: own.compression.or(common.compression).unwrap_or(Compression::None),
            batch_bytes: own.batch_bytes.or(common.batch_bytes).map_or(1 << 20, |size| size.len()),
            batch_lines: own.batch_lines.or(common.batch_lines).unwrap_or(5000),
            batch_age: own.batch_age.or(common.batch_age).map_or(Duration::from_millis(200), |age| age.get()),
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
            target,
        })
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

pub(super) fn check(config: &Config, report: &mut Report) {
    let mut names = HashSet::new();
    let mut stdouts = 0;
    for (key, sink) in sinks(config) {
        let to = if key.starts_with("to[") { key.clone() } else { format!("{key}.to") };
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
            report.problem(format!("{key}.format"), "Elasticsearch takes no raw lines", "write auto or ecs");
        }
        if plan.labels.len() > crate::sink::MOST_LABELS {
            let what = format!("{} labels; each set of values is a stream of its own", plan.labels.len());
            report.problem(format!("{key}.labels"), what, "write at most 15, and the rest as fields");
        }
        for (setting, value) in [
            ("batch_bytes", plan.batch_bytes),
            ("batch_lines", plan.batch_lines),
            ("requests", plan.requests),
            ("in_flight", plan.in_flight),
        ] {
            if value == 0 {
                report.problem(setting, "0 would send nothing", "write a number above 0");
            }
        }
    }
    if config.to.is_empty() && config.sinks.is_empty() {
        report.problem("to", "no sink", "write --to stdout, or a URL");
    }
    if config.max_line.len() < 64 {
        report.problem("max_line", "is below 64 bytes", "write for example 1MiB");
    }
    for name in config.fields.keys().filter(|name| crate::enrich::is_reserved(name)) {
        report.problem(
            format!("fields.{name}"),
            "is a field that the shipper writes itself",
            "write another name",
        );
    }
}
