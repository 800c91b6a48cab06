//! Log → metrics: counters and histograms from the fields of records, on `/metrics`, with a hard cap on series.
//!
//! Every record counts, also one that a filter leaves out afterwards. A series beyond the cap is not made: its value goes to the metric's one series
//! with `other` in every label, so that sums stay right, and that is counted.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::Counter, histogram::Histogram},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::path::{Path, text};
use crate::{
    encode::Schema,
    record::{Record, Value},
};

/// A metric made from records.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Metric {
    /// Its name on `/metrics`, behind `adapter_logformat_log_`.
    pub name: String,
    /// What it says, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// `counter` (the default) or `histogram`.
    pub kind: Kind,
    /// The field that is added up or observed; a counter without one counts records. Durations are in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Label → field; `FIELD:class` is the first digit of a status, as in `2xx`.
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub labels: std::collections::BTreeMap<String, String>,
    /// Upper bounds of a histogram's buckets. Default: 0.005 to 10, for seconds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub buckets: Vec<f64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    #[default]
    Counter,
    Histogram,
}

/// Buckets for the duration of requests, in seconds.
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// A label's value is cut there: what an application puts into a field has no bound.
const LABEL: usize = 64;

/// A metric, compiled.
#[derive(Debug)]
pub struct Compiled {
    name: String,
    help: String,
    kind: Kind,
    field: Option<Path>,
    labels: Vec<(String, Path, bool)>,
    buckets: Vec<f64>,
}

impl Compiled {
    /// # Errors
    /// The key that is wrong, and why.
    pub fn compile(metric: &Metric, schema: Schema) -> Result<Self, (&'static str, String)> {
        let name_fits = |name: &str| {
            name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
                && name.bytes().next().is_some_and(|b| !b.is_ascii_digit())
        };
        if !name_fits(&metric.name) {
            return Err(("name", format!("{:?} is no name of a metric: letters, digits and _", metric.name)));
        }
        if let Some(label) = metric.labels.keys().find(|name| !name_fits(name) || *name == "le") {
            return Err(("labels", format!("{label:?} is no name of a label: letters, digits and _")));
        }
        if metric.kind == Kind::Histogram && metric.field.is_none() {
            return Err(("field", "is missing; a histogram observes a field".to_owned()));
        }
        if metric.kind == Kind::Counter && !metric.buckets.is_empty() {
            return Err(("buckets", "are a histogram's; write kind: histogram".to_owned()));
        }
        if !metric.buckets.is_sorted_by(|a, b| a < b) || metric.buckets.iter().any(|b| !b.is_finite()) {
            return Err(("buckets", "do not grow; write for example [0.01, 0.1, 1]".to_owned()));
        }
        let label = |(name, field): (&String, &String)| {
            let (field, class) = match field.strip_suffix(":class") {
                Some(field) => (field, true),
                None => (field.as_str(), false),
            };
            (name.clone(), Path::of(field, schema), class)
        };
        Ok(Self {
            name: format!("log_{}", metric.name),
            help: metric.help.clone().unwrap_or_else(|| "From the records".to_owned()),
            kind: metric.kind,
            field: metric.field.as_deref().map(|field| Path::of(field, schema)),
            labels: metric.labels.iter().map(label).collect(),
            buckets: if metric.buckets.is_empty() { BUCKETS.to_vec() } else { metric.buckets.clone() },
        })
    }
}

/// All series of all metrics; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Series(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    metrics: Arc<Vec<Compiled>>,
    /// Per metric: its label values, joined → the series.
    series: Vec<HashMap<Vec<u8>, One>>,
    made: usize,
    cap: usize,
    /// Values that went to `other` because there were enough series.
    refused: Counter,
}

#[derive(Debug)]
enum One {
    Counter(Counter<f64, AtomicU64>),
    Histogram(Histogram),
}

impl Series {
    /// Starts anew with these metrics. Those that were there before are gone: their labels may mean something else now.
    pub fn set(&self, metrics: Vec<Compiled>, cap: usize) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = state.metrics.len() == metrics.len()
            && state.metrics.iter().zip(&metrics).all(|(a, b)| format!("{a:?}") == format!("{b:?}"));
        state.cap = cap;
        if !same {
            state.series = metrics.iter().map(|_| HashMap::new()).collect();
            state.metrics = Arc::new(metrics);
            state.made = 0;
        }
    }

    /// Nothing is to be counted.
    pub fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).metrics.is_empty()
    }

    /// Counts a record.
    pub fn observe(&self, record: &Record<'_>, scratch: &mut Vec<u8>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let metrics = state.metrics.clone();
        for (place, metric) in metrics.iter().enumerate() {
            let value = match &metric.field {
                None => 1.0,
                Some(path) => match path.value(record).and_then(|value| number(&value, scratch)) {
                    Some(value) => value,
                    None => continue,
                },
            };
            if metric.kind == Kind::Counter && value < 0.0 {
                continue;
            }
            scratch.clear();
            for (_, path, class) in &metric.labels {
                label(path.value(record).as_ref(), *class, scratch);
                scratch.push(0);
            }
            state.add(place, metric, value, scratch);
        }
    }
}

impl State {
    fn add(&mut self, place: usize, metric: &Compiled, value: f64, key: &mut Vec<u8>) {
        if !self.series[place].contains_key(key.as_slice()) {
            if self.made >= self.cap {
                self.refused.inc();
                key.clear();
                metric.labels.iter().for_each(|_| key.extend_from_slice(b"other\0"));
            } else {
                self.made += 1;
            }
            // The one of `other` is beyond the cap: one per metric.
            self.series[place].entry(key.clone()).or_insert_with(|| match metric.kind {
                Kind::Counter => One::Counter(Counter::default()),
                Kind::Histogram => One::Histogram(Histogram::new(metric.buckets.iter().copied())),
            });
        }
        match self.series[place].get(key.as_slice()) {
            Some(One::Counter(counter)) => {
                counter.inc_by(value);
            }
            Some(One::Histogram(histogram)) => histogram.observe(value),
            None => {}
        }
    }
}

impl Collector for Series {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (metric, series) in state.metrics.iter().zip(&state.series) {
            let kind = match metric.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Histogram => MetricType::Histogram,
            };
            let mut family = encoder.encode_descriptor(&metric.name, &metric.help, None, kind)?;
            let mut rows: Vec<_> = series.iter().collect();
            rows.sort_unstable_by_key(|(key, _)| key.as_slice());
            for (key, one) in rows {
                let values = key.split(|b| *b == 0).map(|value| String::from_utf8_lossy(value).into_owned());
                let labels: Vec<(String, String)> =
                    metric.labels.iter().map(|(name, ..)| name.clone()).zip(values).collect();
                if labels.is_empty() {
                    match one {
                        One::Counter(counter) => counter.encode(family)?,
                        One::Histogram(histogram) => histogram.encode(family)?,
                    }
                    break;
                }
                let encoder = family.encode_family(&labels)?;
                match one {
                    One::Counter(counter) => counter.encode(encoder)?,
                    One::Histogram(histogram) => histogram.encode(encoder)?,
                }
            }
        }
        if !state.metrics.is_empty() {
            let help = "Values that went to the series other because there were as many series as allowed";
            let encoder = encoder.encode_descriptor("log_series_refused", help, None, MetricType::Counter)?;
            state.refused.encode(encoder)?;
        }
        Ok(())
    }
}

fn number(value: &Value<'_>, scratch: &mut Vec<u8>) -> Option<f64> {
    let number = match value {
        Value::Int(number) => *number as f64,
        Value::Duration(nanos) => *nanos as f64 / 1e9,
        value => {
            scratch.clear();
            text(value, scratch);
            std::str::from_utf8(scratch).ok()?.trim().parse().ok()?
        }
    };
    number.is_finite().then_some(number)
}

fn label(value: Option<&Value<'_>>, class: bool, to: &mut Vec<u8>) {
    let start = to.len();
    if let Some(value) = value {
        text(value, to);
    }
    if class {
        match to.get(start) {
            Some(digit @ b'1'..=b'5') if to.len() == start + 3 => {
                let digit = *digit;
                to.truncate(start);
                to.extend_from_slice(&[digit, b'x', b'x']);
            }
            _ => to.truncate(start),
        }
    }
    // The separator is NUL.
    to[start..].iter_mut().filter(|b| **b == 0).for_each(|b| *b = b' ');
    to.truncate(start + LABEL);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{record::Field, text::Str};
    use prometheus_client::{encoding::text::encode, registry::Registry};

    fn page(metrics: &[Metric], cap: usize, records: &[(i64, &str, i64)]) -> String {
        let series = Series::default();
        let compile = |metric| Compiled::compile(metric, Schema::Ecs).expect("compiles");
        series.set(metrics.iter().map(compile).collect(), cap);
        for (status, path, nanos) in records {
            let mut record = Record::default();
            record.set(Field::Status, Value::Int(*status));
            record.set(Field::Duration, Value::Duration(*nanos));
            record.push(Str::Raw(b"path"), Value::Text(Str::Raw(path.as_bytes())));
            series.observe(&record, &mut Vec::new());
        }
        let mut registry = Registry::with_prefix("a");
        registry.register_collector(Box::new(series));
        let mut page = String::new();
        encode(&mut page, &registry).expect("encodes");
        page
    }

    #[test]
    fn counters_and_histograms_with_labels() {
        let labels =
            |list: &[(&str, &str)]| list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        let requests = Metric {
            name: "requests".to_owned(),
            labels: labels(&[("class", "http.response.status_code:class")]),
            ..Metric::default()
        };
        let duration = Metric {
            name: "duration_seconds".to_owned(),
            kind: Kind::Histogram,
            field: Some("event.duration".to_owned()),
            buckets: vec![0.1, 1.0],
            ..Metric::default()
        };
        let page = page(
            &[requests, duration],
            10,
            &[(200, "/", 50_000_000), (204, "/", 500_000_000), (503, "/", 2_000_000_000)],
        );
        for line in [
            "a_log_requests_total{class=\"2xx\"} 2.0",
            "a_log_requests_total{class=\"5xx\"} 1.0",
            "a_log_duration_seconds_bucket{le=\"0.1\"} 1",
            "a_log_duration_seconds_bucket{le=\"1.0\"} 2",
            "a_log_duration_seconds_count 3",
            "a_log_duration_seconds_sum 2.55",
        ] {
            assert!(page.contains(line), "{line}\n{page}");
        }
    }

    #[test]
    fn the_cap_holds_and_is_counted_when_it_bites() {
        let hits = Metric {
            name: "hits".to_owned(),
            labels: [("path".to_owned(), "app.path".to_owned())].into_iter().collect(),
            ..Metric::default()
        };
        let paths: Vec<String> = (0..100).map(|n| format!("/{n}")).collect();
        let records: Vec<_> = paths.iter().map(|path| (200, path.as_str(), 0)).collect();
        let page = page(&[hits], 3, &records);
        assert_eq!(page.matches("a_log_hits_total{").count(), 4);
        assert!(page.contains("a_log_hits_total{path=\"other\"} 97.0"), "{page}");
        assert!(page.contains("a_log_series_refused_total 97"), "{page}");
    }

    #[test]
    fn what_cannot_be_a_metric_is_refused() {
        let wrong = |metric: Metric| Compiled::compile(&metric, Schema::Ecs).expect_err("wrong").0;
        let named = |name: &str| Metric { name: name.to_owned(), ..Metric::default() };
        assert_eq!(wrong(named("a-b")), "name");
        assert_eq!(wrong(Metric { kind: Kind::Histogram, ..named("a") }), "field");
        assert_eq!(wrong(Metric { buckets: vec![1.0], ..named("a") }), "buckets");
    }
}
