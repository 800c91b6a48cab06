//! Export requests of OTLP/JSON, one a line, as the collector's file exporter and this program's own schema `otlp` write them: many records, below the
//! scopes and resources that they share. Each becomes a line of its own, `{"resource":…,"scope":…,MEMBERS OF THE RECORD}`, which the dialect of OTLP reads;
//! what it shares is copied in front of it.
//!
//! (opentelemetry-proto, `logs/v1/logs.proto`; OTLP Specification 1.7, "JSON Protobuf Encoding".)

use super::dialect_servers::{Kind, kind};
use crate::json::{Token, array, object};

/// What is shared is copied in front of each record, so a request may become longer by far than it was; one that would become longer than this is
/// left as it is, an object like others.
const LONGEST: usize = 16 << 20;

/// Whether a line may be a request: costs nothing to say of every other line.
#[inline]
pub fn likely(line: &[u8]) -> bool {
    line.starts_with(b"{\"resourceLogs\":")
}

/// Fills `to` with the records of a request as lines, and `ends` with where they end. `false` where it is no request, has no records or members
/// that requests do not have, or would become longer than 16 MiB.
pub fn unfold(line: &[u8], to: &mut Vec<u8>, ends: &mut Vec<usize>) -> bool {
    to.clear();
    ends.clear();
    let whole = below(line, b"resourceLogs", b"").is_some_and(|request| {
        each(request.list, |raw| {
            below(raw, b"scopeLogs", b"resource").is_some_and(|resource| {
                each(resource.list, |raw| {
                    below(raw, b"logRecords", b"scope").is_some_and(|scope| {
                        each(scope.list, |record| {
                            line_of(resource.shared, scope.shared, record, to);
                            ends.push(to.len());
                            to.len() <= LONGEST
                        })
                    })
                })
            })
        })
    });
    whole && !ends.is_empty()
}

/// A level of a request: what is below it, and what all of that shares (the text of an object; `""`: nothing).
struct Below<'a> {
    list: &'a [u8],
    shared: &'a [u8],
}

fn below<'a>(raw: &'a [u8], list: &[u8], shared: &[u8]) -> Option<Below<'a>> {
    let (mut found, mut strange) = (Below { list: b"[]", shared: b"" }, false);
    object(raw, |member| match (member.key.bytes(), member.value) {
        (key, Token::Array { raw, .. }) if key == list => found.list = raw,
        (key, Token::Object { raw, .. }) if key == shared => found.shared = raw,
        (b"schemaUrl", Token::Text(_)) => {}
        _ => strange = true,
    })
    .ok()?;
    (!strange).then_some(found)
}

/// Calls `take` with each object of an array until it says no; whether it never did.
fn each<'a>(list: &'a [u8], mut take: impl FnMut(&'a [u8]) -> bool) -> bool {
    let mut good = true;
    let read = array(list, |item| match item {
        Token::Object { raw, .. } => good = good && take(raw),
        _ => good = false,
    });
    read.is_ok() && good
}

fn line_of(resource: &[u8], scope: &[u8], record: &[u8], to: &mut Vec<u8>) {
    to.push(b'{');
    for (name, shared) in [("resource", resource), ("scope", scope)] {
        if !shared.is_empty() {
            to.extend_from_slice(format!("\"{name}\":").as_bytes());
            to.extend_from_slice(shared);
            to.push(b',');
        }
    }
    let mut known = false;
    let _ = object(record, |member| known |= kind(member.key.bytes(), &member.value) == Some(Kind::Otlp));
    if !known {
        // Nothing else in it says whose it is; without a severity is the same as of severity 0.
        to.extend_from_slice(b"\"severityNumber\":0,");
    }
    let members = &record[1..];
    if members.trim_ascii() == b"}" && to.last() == Some(&b',') {
        to.pop();
    }
    to.extend_from_slice(members);
}

#[cfg(test)]
mod tests {
    use super::unfold;

    fn lines(request: &str) -> Option<Vec<String>> {
        let (mut to, mut ends) = (b"left over".to_vec(), vec![9]);
        if !unfold(request.as_bytes(), &mut to, &mut ends) {
            return None;
        }
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let line = |(start, end): (usize, &usize)| String::from_utf8_lossy(&to[start..*end]).into_owned();
        Some(starts.zip(&ends).map(line).collect())
    }

    #[test]
    fn a_record_takes_what_it_shares_along() {
        let request = r#"{"resourceLogs":[{"resource":{"attributes":[]},"schemaUrl":"https://x","scopeLogs":[
            {"scope":{"name":"a"},"logRecords":[{"timeUnixNano":"1"},{"body":{"stringValue":"x"}}]},
            {"logRecords":[{}]}]},{"scopeLogs":[{"logRecords":[{"severityNumber":9}]}]},{}]}"#;
        let expected = [
            r#"{"resource":{"attributes":[]},"scope":{"name":"a"},"timeUnixNano":"1"}"#,
            r#"{"resource":{"attributes":[]},"scope":{"name":"a"},"severityNumber":0,"body":{"stringValue":"x"}}"#,
            r#"{"resource":{"attributes":[]},"severityNumber":0}"#,
            r#"{"severityNumber":9}"#,
        ];
        assert_eq!(lines(request).expect("a request"), expected);
    }

    #[test]
    fn what_is_no_request_is_left_alone() {
        for line in [
            "",
            "{",
            r#"{"resourceLogs":[]}"#,
            r#"{"resourceLogs":{}}"#,
            r#"{"resourceLogs":[1]}"#,
            r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"severityNumber":9}]}]}],"more":1}"#,
            r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"severityNumber":9},7]}]}]}"#,
            r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"severityNumber":9}]}]}]"#,
        ] {
            assert_eq!(lines(line), None, "{line}");
        }
    }

    #[test]
    fn it_grows_to_a_limit() {
        let shared = "x".repeat(500_000);
        let records = vec!["{}"; 100_000].join(",");
        let request = format!(
            r#"{{"resourceLogs":[{{"resource":{{"a":"{shared}"}},"scopeLogs":[{{"logRecords":[{records}]}}]}}]}}"#
        );
        let (mut to, mut ends) = (Vec::new(), Vec::new());
        assert!(!unfold(request.as_bytes(), &mut to, &mut ends));
        assert!(to.len() < super::LONGEST + 1_000_000);
    }
}
