//! Reads OpenMetrics text strictly: a scraper that rejects the page loses every metric of the process.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;

use crate::http;

/// A metrics page, parsed and found well-formed.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Family name → type, as declared by `# TYPE`.
    pub types: BTreeMap<String, String>,
    /// Family name → help text.
    pub help: BTreeMap<String, String>,
    pub samples: Vec<Sample>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// Fetches and parses `/metrics`.
///
/// # Panics
///
/// When the page is not there, not OpenMetrics by its content type, or malformed.
#[must_use]
#[track_caller]
pub fn metrics(admin: SocketAddr) -> Metrics {
    let response = http::get(admin, "/metrics");
    assert_eq!(response.status, 200, "/metrics: {}", response.text());
    let kind = response.header("content-type").unwrap_or_default().to_owned();
    assert!(kind.starts_with("application/openmetrics-text"), "content-type of /metrics: {kind:?}");
    Metrics::parse(&response.text())
        .unwrap_or_else(|problem| panic!("/metrics: {problem}\n{}", response.text()))
}

impl Metrics {
    /// Parses the OpenMetrics text format (version 1.0.0).
    ///
    /// # Errors
    ///
    /// The first rule of the format that the text breaks, with its line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut page = Self::default();
        let Some(body) = text.strip_suffix("# EOF\n").or_else(|| text.strip_suffix("# EOF")) else {
            return Err("does not end with `# EOF`".to_owned());
        };
        let mut seen = HashSet::new();
        for (index, line) in body.lines().enumerate() {
            let told = |problem: String| format!("line {}: {problem}: {line}", index + 1);
            if let Some(comment) = line.strip_prefix("# ") {
                page.comment(comment).map_err(told)?;
                continue;
            }
            let sample = parse_sample(line).map_err(told)?;
            page.family_of(&sample.name).map_err(told)?;
            if !seen.insert(format!("{}{:?}", sample.name, sample.labels)) {
                return Err(told("the same series twice".to_owned()));
            }
            page.samples.push(sample);
        }
        page.check_histograms()?;
        Ok(page)
    }

    /// The value of the one series with this name whose labels include all of `labels`.
    #[must_use]
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.matching(name, labels).next()
    }

    /// The sum over all series of this name, 0 when there is none.
    #[must_use]
    pub fn sum(&self, name: &str) -> f64 {
        self.matching(name, &[]).sum()
    }

    /// The sum over all series of this name whose labels include all of `labels`.
    #[must_use]
    pub fn sum_of(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).sum()
    }

    /// The one value of an unlabelled metric.
    ///
    /// # Panics
    ///
    /// When it is not there; with the names that are.
    #[must_use]
    #[track_caller]
    pub fn value(&self, name: &str) -> f64 {
        self.get(name, &[]).unwrap_or_else(|| {
            let names: Vec<_> = self.samples.iter().map(|sample| sample.name.as_str()).collect();
            panic!("no metric {name}; there are: {}", names.join(" "))
        })
    }

    fn matching<'a>(&'a self, name: &'a str, labels: &'a [(&str, &str)]) -> impl Iterator<Item = f64> + 'a {
        let fits = move |sample: &&Sample| {
            let has =
                |(key, value): &(&str, &str)| sample.labels.get(*key).is_some_and(|found| found == value);
            sample.name == name && labels.iter().all(has)
        };
        self.samples.iter().filter(fits).map(|sample| sample.value)
    }

    fn comment(&mut self, comment: &str) -> Result<(), String> {
        let mut parts = comment.splitn(3, ' ');
        let (kind, name, rest) =
            (parts.next(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if !is_name(name) {
            return Err(format!("`{name}` is not a metric name"));
        }
        match kind {
            Some("TYPE") => {
                const TYPES: [&str; 8] = [
                    "counter",
                    "gauge",
                    "histogram",
                    "gaugehistogram",
                    "stateset",
                    "info",
                    "summary",
                    "unknown",
                ];
                if !TYPES.contains(&rest) {
                    return Err(format!("`{rest}` is not a type"));
                }
                if self.types.insert(name.to_owned(), rest.to_owned()).is_some() {
                    return Err(format!("a second TYPE for {name}"));
                }
                Ok(())
            }
            Some("HELP") => match self.help.insert(name.to_owned(), rest.to_owned()) {
                None => Ok(()),
                Some(_) => Err(format!("a second HELP for {name}")),
            },
            Some("UNIT") if name.ends_with(&format!("_{rest}")) => Ok(()),
            Some("UNIT") => Err("the name does not end with its unit".to_owned()),
            _ => Err("not TYPE, HELP, UNIT or EOF".to_owned()),
        }
    }

    /// The family that a sample belongs to; its suffix has to fit the declared type.
    fn family_of(&self, name: &str) -> Result<String, String> {
        const SUFFIXES: [(&str, &[&str]); 8] = [
            ("counter", &["_total", "_created"]),
            ("gauge", &[""]),
            ("unknown", &[""]),
            ("stateset", &[""]),
            ("info", &["_info"]),
            ("summary", &["", "_count", "_sum", "_created"]),
            ("histogram", &["_bucket", "_count", "_sum", "_created"]),
            ("gaugehistogram", &["_bucket", "_gcount", "_gsum"]),
        ];
        for (kind, suffixes) in SUFFIXES {
            for suffix in suffixes {
                let family = name.strip_suffix(suffix).unwrap_or_default();
                if self.types.get(family).is_some_and(|declared| declared == kind) {
                    return Ok(family.to_owned());
                }
            }
        }
        Err("a sample without a TYPE that allows its name".to_owned())
    }

    /// Buckets grow, end with `+Inf`, and that is the count.
    fn check_histograms(&self) -> Result<(), String> {
        let mut series: HashMap<String, Vec<(f64, f64)>> = HashMap::new();
        for sample in &self.samples {
            let family = self.family_of(&sample.name)?;
            if self.types[&family] != "histogram" || sample.name != format!("{family}_bucket") {
                continue;
            }
            let mut labels = sample.labels.clone();
            let bound = labels.remove("le").and_then(|bound| number(&bound));
            let bound = bound.ok_or_else(|| format!("{}: a bucket without `le`", sample.name))?;
            series.entry(format!("{family} {labels:?}")).or_default().push((bound, sample.value));
        }
        for (name, buckets) in series {
            if !buckets.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1) {
                return Err(format!("{name}: buckets out of order, or not cumulative"));
            }
            if buckets.last().is_none_or(|last| last.0 != f64::INFINITY) {
                return Err(format!("{name}: no +Inf bucket"));
            }
        }
        Ok(())
    }
}

fn parse_sample(line: &str) -> Result<Sample, String> {
    let name_end = line.find(['{', ' ']).ok_or("no value")?;
    let (name, mut rest) = line.split_at(name_end);
    if !is_name(name) {
        return Err(format!("`{name}` is not a metric name"));
    }
    let mut labels = BTreeMap::new();
    if let Some(mut inside) = rest.strip_prefix('{') {
        while !inside.starts_with('}') {
            let (key, after) = inside.split_once("=\"").ok_or("a label without a quoted value")?;
            if !is_name(key) || key.contains(':') {
                return Err(format!("`{key}` is not a label name"));
            }
            let (value, after) = quoted(after).ok_or("a label value without its end")?;
            if labels.insert(key.to_owned(), value).is_some() {
                return Err(format!("label {key} twice"));
            }
            inside = match after.strip_prefix(',') {
                Some(next) if !next.starts_with('}') => next,
                None if after.starts_with('}') => after,
                _ => return Err("labels not separated by one comma".to_owned()),
            };
        }
        rest = &inside[1..];
    }
    // An exemplar may follow: ` # {trace_id="…"} 0.5`.
    let plain = rest.split(" # ").next().unwrap_or_default();
    let mut numbers = plain.strip_prefix(' ').ok_or("no space before the value")?.split(' ');
    let value = numbers.next().and_then(number).ok_or("the value is not a number")?;
    if numbers.next().is_some_and(|time| number(time).is_none()) || numbers.next().is_some() {
        return Err("not a timestamp after the value".to_owned());
    }
    Ok(Sample { name: name.to_owned(), labels, value })
}

/// The text up to the closing quote, unescaped, and what follows the quote.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                other @ ('"' | '\\') => other,
                _ => return None,
            }),
            other => value.push(other),
        }
    }
    None
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        _ => text.parse().ok(),
    }
}

fn is_name(name: &str) -> bool {
    let start = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || byte == b':';
    name.bytes().next().is_some_and(start) && name.bytes().all(|byte| start(byte) || byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"# HELP app_lines Lines read.
# TYPE app_lines counter
app_lines_total{file="a\"b\\c\nd",kind="x"} 3
app_lines_total{file="e",kind="x"} 4.5
# TYPE app_lag_bytes gauge
# UNIT app_lag_bytes bytes
app_lag_bytes -1e3 1700000000.5
# TYPE app_seconds histogram
app_seconds_bucket{le="0.1"} 1 # {trace_id="x"} 0.05
app_seconds_bucket{le="+Inf"} 2
app_seconds_sum 1.5
app_seconds_count 2
# TYPE app_build info
app_build_info{version="1"} 1
# EOF
"#;

    #[test]
    fn values_by_name_and_labels() {
        let page = Metrics::parse(GOOD).expect("well-formed");
        assert_eq!(page.get("app_lines_total", &[("file", "a\"b\\c\nd")]), Some(3.0));
        assert_eq!(page.sum("app_lines_total"), 7.5);
        assert_eq!(page.sum_of("app_lines_total", &[("kind", "x")]), 7.5);
        assert_eq!(page.value("app_lag_bytes"), -1000.0);
        assert_eq!(page.get("app_lines_total", &[("file", "none")]), None);
        assert_eq!(page.types["app_lines"], "counter");
        assert_eq!(page.help["app_lines"], "Lines read.");
    }

    #[test]
    fn each_broken_rule_is_named() {
        for (text, problem) in [
            ("# TYPE a gauge\na 1\n", "# EOF"),
            ("a 1\n# EOF\n", "without a TYPE"),
            ("# TYPE a counter\na 1\n# EOF\n", "without a TYPE"),
            ("# TYPE a gauge\na 1\na 2\n# EOF\n", "twice"),
            ("# TYPE a gauge\n# TYPE a gauge\n# EOF\n", "second TYPE"),
            ("# TYPE a thing\n# EOF\n", "not a type"),
            ("# TYPE a gauge\na{b=\"c} 1\n# EOF\n", "without its end"),
            ("# TYPE a gauge\na{b=\"c\"d=\"e\"} 1\n# EOF\n", "one comma"),
            ("# TYPE a gauge\na one\n# EOF\n", "not a number"),
            ("# TYPE a gauge\n\na 1\n# EOF\n", "no value"),
            ("# TYPE a histogram\na_bucket{le=\"1\"} 1\n# EOF\n", "+Inf"),
            ("# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1\n# EOF\n", "cumulative"),
            ("# TYPE 1a gauge\n# EOF\n", "not a metric name"),
        ] {
            let found = Metrics::parse(text).expect_err(text);
            assert!(found.contains(problem), "{text:?}: {found}");
        }
    }
}
