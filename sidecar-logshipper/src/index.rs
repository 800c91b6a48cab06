//! Index names with a date in them, such as `logs-app-%Y.%m.%d`, in UTC. No I/O.

use jiff::civil::DateTime;

const HOUR: u64 = 3_600_000_000_000;

/// A name that depends on the time of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexPattern {
    parts: Vec<Part>,
    /// The hour that `name` is for.
    hour: Option<u64>,
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(char),
}

/// Elasticsearch takes it for an index or a data stream ("Create index API", path parameters); what it does not take it refuses line by line, for good.
pub fn is_name(text: &str) -> bool {
    let wrong = |c: char| c.is_uppercase() || c.is_control() || "\\/*?\"<>| ,#:".contains(c);
    // Fields of a date become digits.
    let mut plain = text.to_owned();
    FIELDS.chars().for_each(|field| plain = plain.replace(&format!("%{field}"), "0"));
    !plain.starts_with(['-', '_', '+'])
        && !matches!(plain.as_str(), "" | "." | "..")
        && plain.len() <= 255
        && !plain.contains(wrong)
}

/// `%Y %m %d %H`, and ISO 8601's year and week `%G %V`.
const FIELDS: &str = "YmdHGV";

impl IndexPattern {
    /// `None`: there is no `%` in it, it is a name.
    ///
    /// # Errors
    /// What stands behind a `%` and is no field.
    pub fn parse(text: &str) -> Result<Option<Self>, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('%') {
            let field = after.chars().next().filter(|c| FIELDS.contains(*c));
            let field = field.ok_or_else(|| format!("%{}", after.chars().next().unwrap_or(' ')))?;
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::Field(field));
            rest = &after[1..];
        }
        if parts.is_empty() {
            return Ok(None);
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Some(Self { parts, hour: None, name: String::new() }))
    }

    /// The name for a moment (nanoseconds since 1970). Rendered once per hour of log time.
    pub fn name(&mut self, nanos: u64) -> &str {
        if self.hour != Some(nanos / HOUR) {
            self.hour = Some(nanos / HOUR);
            let time = jiff::Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or_default();
            let date = jiff::tz::Offset::UTC.to_datetime(time);
            self.name = self.parts.iter().map(|part| part.text(date)).collect();
        }
        &self.name
    }
}

impl Part {
    fn text(&self, date: DateTime) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Field('Y') => format!("{:04}", date.year()),
            Self::Field('m') => format!("{:02}", date.month()),
            Self::Field('d') => format!("{:02}", date.day()),
            Self::Field('H') => format!("{:02}", date.hour()),
            Self::Field('G') => format!("{:04}", date.date().iso_week_date().year()),
            Self::Field(_) => format!("{:02}", date.date().iso_week_date().week()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(pattern: &str, time: &str) -> String {
        let nanos = time.parse::<jiff::Timestamp>().expect("a time").as_nanosecond();
        let mut pattern = IndexPattern::parse(pattern).expect("a pattern").expect("with a date");
        pattern.name(u64::try_from(nanos).expect("after 1970")).to_owned()
    }

    #[test]
    fn a_name_is_one_that_elasticsearch_takes() {
        for good in ["logs-app-default", "logs-%Y.%m.%d", ".hidden", "a_b+c", "größe"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["Logs", "-a", "_bulk", "+a", "a b", "a,b", "a*", "..", "a:b", &"a".repeat(256)] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn names_follow_the_time() {
        assert_eq!(name("logs-app-%Y.%m.%d", "2026-02-03T23:59:59.9Z"), "logs-app-2026.02.03");
        assert_eq!(name("a-%Y%m%d%H", "2026-02-04T00:00:00Z"), "a-2026020400");
        assert_eq!(name("w-%G.%V", "2027-01-01T00:00:00Z"), "w-2026.53", "ISO 8601 has its own year");
    }

    #[test]
    fn what_is_no_field_is_named() {
        assert_eq!(IndexPattern::parse("plain"), Ok(None));
        assert_eq!(IndexPattern::parse("a-%y"), Err("%y".into()));
        assert_eq!(IndexPattern::parse("a-%"), Err("% ".into()));
    }
}
