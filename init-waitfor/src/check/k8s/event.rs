//! What a watch says, and what is known of the object after it. No I/O.
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes>

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::kinds::Kind;

/// Slices of a Service that are kept (100 endpoints each, some 40 KiB): what more there are cannot make it less ready.
const MOST_SLICES: usize = 100;

/// One line of a watch.
#[derive(Debug, Deserialize)]
struct Line {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    object: Value,
}

/// What is known: the object, or the slices of a Service by their names.
#[derive(Debug)]
pub(super) enum Known {
    Object(Option<Value>),
    Slices(BTreeMap<String, Value>),
}

/// What a line meant.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The object is another, or gone.
    Changed,
    /// Only how far we have seen.
    Bookmark,
    /// What we asked to go on from is forgotten: get again.
    Expired,
    /// Another error of the server's.
    Error(String),
}

impl Known {
    /// From an answer of 200 (an object, or a list of slices).
    pub(super) fn from(kind: Kind, answer: Value) -> Self {
        match kind {
            Kind::Endpoints => {
                let items = answer["items"].as_array().cloned().unwrap_or_default();
                Known::Slices(
                    items.into_iter().take(MOST_SLICES).map(|slice| (name(&slice), slice)).collect(),
                )
            }
            _ => Known::Object(Some(answer)),
        }
    }

    pub(super) fn nothing(kind: Kind) -> Self {
        match kind {
            Kind::Endpoints => Known::Slices(BTreeMap::new()),
            _ => Known::Object(None),
        }
    }

    /// As the judge wants it: an object, or a list of slices. `None`: not there.
    pub(super) fn value(&self) -> Option<Value> {
        match self {
            Known::Object(object) => object.clone(),
            Known::Slices(slices) => Some(json!({ "items": slices.values().collect::<Vec<_>>() })),
        }
    }

    /// Takes a line in; `since` is moved on to the version that it speaks of.
    pub(super) fn take(&mut self, line: &[u8], object_name: &str, since: &mut Option<String>) -> Event {
        let Ok(Line { kind, object }) = serde_json::from_slice(line) else {
            return Event::Error("the watch sends what is no event".to_owned());
        };
        if kind == "ERROR" {
            let code = object["code"].as_u64();
            if code == Some(410) || object["reason"] == "Expired" || object["reason"] == "Gone" {
                return Event::Expired;
            }
            let message = object["message"].as_str().unwrap_or("no message");
            return Event::Error(format!("the watch ended with {}: {message}", code.unwrap_or(0)));
        }
        if let Some(version) = version(&object) {
            *since = Some(version);
        }
        match (kind.as_str(), self) {
            ("BOOKMARK", _) => return Event::Bookmark,
            ("ADDED" | "MODIFIED", Known::Slices(slices)) if slices.len() < MOST_SLICES => {
                slices.insert(name(&object), object);
            }
            ("DELETED", Known::Slices(slices)) => drop(slices.remove(&name(&object))),
            // A server that knows no field selectors would send others, too.
            (_, Known::Object(_)) if name(&object) != object_name => return Event::Bookmark,
            ("ADDED" | "MODIFIED", Known::Object(known)) => *known = Some(object),
            ("DELETED", Known::Object(known)) => *known = None,
            _ => return Event::Bookmark,
        }
        Event::Changed
    }
}

/// Of an object or a list.
pub(super) fn version(object: &Value) -> Option<String> {
    object["metadata"]["resourceVersion"].as_str().filter(|version| !version.is_empty()).map(str::to_owned)
}

fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(kind: &str, name: &str, version: &str) -> Vec<u8> {
        json!({"type": kind, "object": {"metadata": {"name": name, "resourceVersion": version}}})
            .to_string()
            .into_bytes()
    }

    #[test]
    fn an_object_comes_changes_and_goes() {
        let (mut known, mut since) = (Known::nothing(Kind::Job), None);
        assert_eq!(known.take(&line("ADDED", "a", "5"), "a", &mut since), Event::Changed);
        assert_eq!(since.as_deref(), Some("5"));
        assert_eq!(known.take(&line("MODIFIED", "other", "6"), "a", &mut since), Event::Bookmark);
        assert_eq!(known.take(&line("BOOKMARK", "", "9"), "a", &mut since), Event::Bookmark);
        assert_eq!(since.as_deref(), Some("9"));
        assert!(known.value().is_some());
        assert_eq!(known.take(&line("DELETED", "a", "10"), "a", &mut since), Event::Changed);
        assert!(known.value().is_none());
        assert_eq!(known.take(&line("NEWKIND", "a", "11"), "a", &mut since), Event::Bookmark);
    }

    #[test]
    fn errors() {
        let (mut known, mut since) = (Known::nothing(Kind::Job), Some("5".to_owned()));
        let error = |code: u64| {
            json!({"type": "ERROR", "object": {"kind": "Status", "code": code, "message": "m"}}).to_string()
        };
        assert_eq!(known.take(error(410).as_bytes(), "a", &mut since), Event::Expired);
        assert!(
            matches!(known.take(error(500).as_bytes(), "a", &mut since), Event::Error(text) if text.contains("500: m"))
        );
        assert!(matches!(known.take(b"{\"type\":\"ADD", "a", &mut since), Event::Error(_)));
        assert_eq!(since.as_deref(), Some("5"));
    }

    #[test]
    fn slices_come_and_go_one_by_one() {
        let list = json!({"metadata": {"resourceVersion": "1"}, "items": [{"metadata": {"name": "x"}}]});
        let (mut known, mut since) = (Known::from(Kind::Endpoints, list), None);
        known.take(&line("ADDED", "y", "2"), "svc", &mut since);
        assert_eq!(known.value().unwrap()["items"].as_array().unwrap().len(), 2);
        known.take(&line("DELETED", "x", "3"), "svc", &mut since);
        assert_eq!(known.value().unwrap()["items"][0]["metadata"]["name"], "y");
    }
}
