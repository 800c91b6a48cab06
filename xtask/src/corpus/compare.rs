//! Expected records beside ours: which belongs to which, and which fields are equal.

use std::collections::BTreeMap;

use serde_json::Value;

use super::names;

/// Most examples kept of one kind of difference.
const EXAMPLES: usize = 5;
/// How far ahead the record that belongs to an expected one is looked for.
const WINDOW: usize = 40;

#[derive(Default)]
pub(crate) struct Miss {
    pub(crate) times: usize,
    pub(crate) examples: Vec<String>,
}

/// What a system's logs gave.
#[derive(Default)]
pub(crate) struct Tally {
    /// Files that no format of ours is for.
    pub(crate) skipped: usize,
    pub(crate) records: usize,
    /// Records without the tag `unparsed`.
    pub(crate) parsed: usize,
    pub(crate) fields: usize,
    pub(crate) equal: usize,
    /// Of these, the fields of the schema, not of one program.
    pub(crate) schema: usize,
    pub(crate) schema_equal: usize,
    /// Fields of the schema that differ for a reason: the expectation is another program's choice, or wrong.
    pub(crate) on_purpose: usize,
    pub(crate) misses: BTreeMap<String, Miss>,
}

impl Tally {
    pub(crate) fn merge(&mut self, other: &Self) {
        self.records += other.records;
        self.parsed += other.parsed;
        self.fields += other.fields;
        self.equal += other.equal;
        self.schema += other.schema;
        self.schema_equal += other.schema_equal;
        self.on_purpose += other.on_purpose;
    }

    /// The share of the schema's fields that are equal, of those whose expectation is right.
    pub(crate) fn right(&self) -> f64 {
        let right = self.schema - self.on_purpose;
        if right == 0 { 100.0 } else { self.schema_equal as f64 * 100.0 / right as f64 }
    }

    pub(crate) fn add(&mut self, system: &str, expected: &[Value], ours: &[Value]) {
        self.records += ours.len();
        self.parsed += ours.iter().filter(|record| !unparsed(record)).count();
        let mut from = 0;
        for want in expected {
            let fields = wanted(want);
            let window = ours.get(from..ours.len().min(from + WINDOW)).unwrap_or_default();
            let score = |record: &Value| {
                fields.iter().filter(|(name, value)| same(system, name, value, record)).count()
            };
            // Records are in the same order: the first that is mostly alike, else the one that is most.
            let alike = window.iter().position(|r| score(r) * 10 >= fields.len() * 6);
            let best = window.iter().enumerate().map(|(i, r)| (score(r), std::cmp::Reverse(i))).max();
            let best = best.filter(|(score, _)| score * 10 >= fields.len() * 2);
            let record = match alike.map(|i| (1, std::cmp::Reverse(i))).or(best) {
                Some((_, std::cmp::Reverse(ahead))) => {
                    from += ahead + 1;
                    &ours[from - 1]
                }
                _ => &Value::Null,
            };
            for (name, value) in fields {
                self.field(system, name, value, record);
            }
        }
    }

    fn field(&mut self, system: &str, name: &str, value: &Value, record: &Value) {
        let equal = same(system, name, value, record);
        let schema = names::schema(name);
        self.fields += 1;
        self.equal += usize::from(equal);
        self.schema += usize::from(schema);
        self.schema_equal += usize::from(schema && equal);
        if equal {
            return;
        }
        self.on_purpose += usize::from(schema && names::explain(system, name).is_some());
        let miss = self.misses.entry(name.to_owned()).or_default();
        miss.times += 1;
        if miss.examples.len() < EXAMPLES {
            let called = names::ours(system, name);
            let ours = called.iter().map(|n| record.get(n).unwrap_or(&Value::Null).to_string());
            let shown = |text: &str| text.chars().take(120).collect::<String>();
            let ours = ours.collect::<Vec<_>>().join(" | ");
            miss.examples.push(format!("{} → {}", shown(&value.to_string()), shown(&ours)));
        }
    }
}

fn unparsed(record: &Value) -> bool {
    record["tags"].as_array().is_some_and(|tags| tags.iter().any(|t| t == "unparsed"))
}

/// The fields to compare.
fn wanted(record: &Value) -> Vec<(&str, &Value)> {
    let object = record.as_object().into_iter().flatten();
    object.map(|(name, value)| (name.as_str(), value)).filter(|(name, _)| names::counts(name)).collect()
}

fn same(system: &str, name: &str, want: &Value, record: &Value) -> bool {
    if !record.is_null() && matches!(want.as_str(), Some("-" | "unknown")) && names::nothing(name) {
        // A dash says that there is none; here the field is left out.
        return record.get(name).is_none();
    }
    names::ours(system, name).iter().any(|ours| equal(name, want, record.get(ours).unwrap_or(&Value::Null)))
}

/// Equal as values: numbers and texts that read the same, times to the millisecond, levels by their meaning.
fn equal(name: &str, want: &Value, have: &Value) -> bool {
    if want == have {
        return true;
    }
    // A list of one is that one; of a list of addresses the first is the client.
    if let (Some([one, ..]), false) = (want.as_array().map(Vec::as_slice), have.is_array()) {
        return equal(name, one, have);
    }
    let text = |value: &Value| match value {
        Value::String(text) => text.replace('\r', "").trim().to_owned(),
        other => other.to_string(),
    };
    let (want, have) = (text(want), text(have));
    match name {
        "@timestamp" => instant(&want).is_some() && instant(&want) == instant(&have),
        // Elastic's pipelines of that time wrote methods in small letters.
        "http.request.method" => want.eq_ignore_ascii_case(&have),
        "log.level" => level(&want) == level(&have),
        _ if want == have => true,
        _ => matches!((want.parse::<f64>(), have.parse::<f64>()), (Ok(a), Ok(b)) if (a - b).abs() < 1e-9),
    }
}

/// Milliseconds since 1970 of a time with its zone.
fn instant(time: &str) -> Option<i64> {
    time.parse::<jiff::Timestamp>().ok().map(|t| t.as_millisecond())
}

/// What loggers call the same level.
fn level(name: &str) -> String {
    let lower = name.to_lowercase();
    match lower.as_str() {
        "warning" | "w" | "wrn" => "warn",
        "i" | "information" | "log" | "note" | "system" | "statement" | "hint" | "detail" | "context" => {
            "info"
        }
        "e" | "err" | "severe" => "error",
        "d" | "d1" | "d2" | "d3" | "d4" | "d5" | "verbose" => "debug",
        "f" | "panic" => "fatal",
        "crit" => "critical",
        "emerg" => "emergency",
        other => other,
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_compared_by_what_they_mean() {
        for (name, want, have) in [
            ("@timestamp", json!("2026-11-21T12:24:10.123Z"), json!("2026-11-21T12:24:10.123456Z")),
            ("@timestamp", json!("2026-11-21T12:24:10.123-02:00"), json!("2026-11-21T14:24:10.123Z")),
            ("log.level", json!("WARNING"), json!("warn")),
            ("x", json!("7"), json!(7)),
            ("x", json!(["a", "b"]), json!("a")),
        ] {
            assert!(equal(name, &want, &have), "{name}");
        }
        assert!(!equal("x", &json!("7"), &json!("8")));
        assert!(!equal("@timestamp", &json!("2026-11-21T12:24:10.123Z"), &json!("2026-11-21T12:24:10.124Z")));
    }

    #[test]
    fn records_are_found_although_some_are_missing() {
        let ours = [json!({"message": "a"}), json!({"message": "b"}), json!({"message": "c"})];
        let mut tally = Tally::default();
        tally.add(
            "nginx",
            &[json!({"message": "a"}), json!({"message": "c"}), json!({"message": "d"})],
            &ours,
        );
        assert_eq!((tally.records, tally.fields, tally.equal), (3, 3, 2));
        assert_eq!(tally.misses["message"].times, 1);
    }
}
