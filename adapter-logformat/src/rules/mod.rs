//! What the configuration does to lines: redact them before they are decoded, edit the fields of what was read, and leave records out by a named
//! rule.
//!
//! Redaction works on the line itself, so that neither a field, nor the message, nor the raw line keeps what is to go. A filter is counted under its
//! name; nothing is left out without one. Sampling decides by the line's own bytes, so that what is read again after a kill is decided the same.

mod edit;
mod nested;
mod path;
#[cfg(feature = "vrl")]
pub mod program;
mod redact;
mod series;

use regex::bytes::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use edit::{Add, Convert, Edit, Edits, FromTo, Hidden, Kind, Network, Room};
pub use redact::{Key, Redact, Redactor};
pub use series::{Compiled, Metric, Series};

use path::{Path, text};

use crate::{encode::Schema, record::Record, severity::Severity};

/// Leaves out the records that meet all its conditions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// The name under which the lines left out are counted.
    pub name: String,
    /// A regular expression that the raw line matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
    /// A field, by its name in the schema; with `matches`, what its value has to match, otherwise it has to be there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// A regular expression that the field's value matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matches: Option<String>,
    /// A level; records below it. A record without a level is not below any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub below: Option<String>,
    /// Keep one of so many instead of none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_one_of: Option<u64>,
}

/// A filter, compiled.
#[derive(Clone, Debug)]
pub struct Rule {
    line: Option<Regex>,
    field: Option<(Path, Option<Regex>)>,
    below: Option<Severity>,
    keep_one_of: u64,
}

impl Rule {
    /// # Errors
    /// The key that is wrong, and why.
    pub fn compile(filter: &Filter, schema: Schema) -> Result<Self, (&'static str, String)> {
        let pattern = |key, text: &Option<String>| match text {
            None => Ok(None),
            Some(text) => {
                let built = regex::bytes::RegexBuilder::new(text).size_limit(1 << 20).unicode(false).build();
                built.map(Some).map_err(|error| (key, error.to_string()))
            }
        };
        if filter.name.is_empty() {
            return Err(("name", "is missing; what is left out is counted under it".to_owned()));
        }
        let rule = Self {
            line: pattern("line", &filter.line)?,
            field: match &filter.field {
                Some(name) => Some((Path::of(name, schema), pattern("matches", &filter.matches)?)),
                None if filter.matches.is_some() => {
                    return Err(("matches", "stands without field".to_owned()));
                }
                None => None,
            },
            below: match &filter.below {
                Some(name) => Some(
                    Severity::from_name(name.as_bytes())
                        .ok_or_else(|| ("below", format!("{name:?} is no level")))?,
                ),
                None => None,
            },
            keep_one_of: filter.keep_one_of.unwrap_or(0),
        };
        if rule.line.is_none() && rule.field.is_none() && rule.below.is_none() && rule.keep_one_of == 0 {
            return Err(("name", "has no condition: everything would be left out".to_owned()));
        }
        Ok(rule)
    }

    /// True when the record is to be left out.
    pub fn applies(&self, line: &[u8], record: &Record<'_>, scratch: &mut Vec<u8>) -> bool {
        if self.below.is_some_and(|level| record.severity.is_none_or(|severity| severity >= level)) {
            return false;
        }
        if self.line.as_ref().is_some_and(|pattern| !pattern.is_match(line)) {
            return false;
        }
        if let Some((path, pattern)) = &self.field {
            let Some(value) = path.value(record) else { return false };
            if let Some(pattern) = pattern {
                scratch.clear();
                text(&value, scratch);
                if !pattern.is_match(scratch) {
                    return false;
                }
            }
        }
        self.keep_one_of == 0 || !hash(line).is_multiple_of(self.keep_one_of)
    }
}

/// FNV-1a with a final mix, so that lines that differ in one digit are spread.
fn hash(bytes: &[u8]) -> u64 {
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3));
    (hash ^ hash >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        decode::{Context, Format},
        time::{Clock, Time},
    };

    fn applies(filter: &Filter, format: Format, line: &str) -> bool {
        let rule = Rule::compile(filter, Schema::Ecs).expect("compiles");
        let mut cx = Context::new(Clock::new(jiff::tz::TimeZone::UTC, Time::default()));
        let mut record = Record::default();
        format.decode(line.as_bytes(), &mut cx, &mut record).expect("reads");
        rule.applies(line.as_bytes(), &record, &mut Vec::new())
    }

    #[test]
    fn all_conditions_have_to_hold() {
        let access = "192.0.2.7 - - [21/Nov/2026:12:24:10 +0000] \"GET /healthz HTTP/1.1\" 200 5 \"-\" \"kube-probe/1.34\"";
        let of = |field: &str, matches: &str| Filter {
            name: "x".to_owned(),
            field: Some(field.to_owned()),
            matches: Some(matches.to_owned()),
            ..Filter::default()
        };
        assert!(applies(&of("url.original", "^/healthz$"), Format::Nginx, access));
        assert!(applies(&of("http.response.status_code", "^2"), Format::Nginx, access));
        assert!(!applies(&of("http.response.status_code", "^5"), Format::Nginx, access));
        let below = Filter { below: Some("info".to_owned()), ..of("app.n", "^1$") };
        assert!(applies(&below, Format::Json, "{\"level\":\"debug\",\"n\":1}"));
        assert!(!applies(&below, Format::Json, "{\"level\":\"info\",\"n\":1}"));
        assert!(!applies(&below, Format::Json, "{\"n\":1}"));
    }

    #[test]
    fn sampling_keeps_its_share_and_decides_the_same_again() {
        let filter = Filter { name: "x".to_owned(), keep_one_of: Some(10), ..Filter::default() };
        let kept =
            |_: u32| (0..10_000).filter(|i| !applies(&filter, Format::Plain, &format!("line {i}"))).count();
        assert!((800..1200).contains(&kept(0)), "{}", kept(0));
        assert_eq!(kept(0), kept(1));
    }

    #[test]
    fn a_filter_without_a_name_or_a_condition_is_refused() {
        for (filter, key) in [
            (Filter { line: Some("x".to_owned()), ..Filter::default() }, "name"),
            (Filter { name: "x".to_owned(), ..Filter::default() }, "name"),
            (Filter { name: "x".to_owned(), line: Some("(".to_owned()), ..Filter::default() }, "line"),
            (Filter { name: "x".to_owned(), matches: Some("y".to_owned()), ..Filter::default() }, "matches"),
            (Filter { name: "x".to_owned(), below: Some("loud".to_owned()), ..Filter::default() }, "below"),
        ] {
            assert_eq!(Rule::compile(&filter, Schema::Ecs).map_err(|(key, _)| key).err(), Some(key));
        }
    }
}
