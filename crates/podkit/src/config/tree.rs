//! YAML as a tree of values that know their place in the file, with `${VAR}` filled in.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{Location, Spanned};

use super::report::{Place, Problem};
use crate::fill::fill;

/// A value and where it starts.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) kind: Kind,
    /// An item of a list that was taken out; it keeps its number, so that the others keep theirs.
    gone: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Number(Number),
    /// `filled`: a variable was put in, so that `"${PORT}"` may stand for a number.
    Text {
        text: String,
        filled: bool,
    },
    List(Vec<Node>),
    Map(Vec<(String, Place, Node)>),
}

impl Kind {
    /// For messages: "a text", "a list".
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Null => "empty",
            Self::Bool(_) => "true or false",
            Self::Number(_) => "a number",
            Self::Text { .. } => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }

    /// The name of the type in JSON Schema.
    pub(super) fn json_type(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Number(number) if number.is_f64() => "number",
            Self::Number(_) => "integer",
            Self::Text { .. } => "string",
            Self::List(_) => "array",
            Self::Map(_) => "object",
        }
    }
}

impl Node {
    /// Parses a YAML document.
    ///
    /// # Errors
    /// The first problem, with its place: after a syntax error nothing that follows can be trusted.
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        let parsed: Result<Spanned<Kind>, _> = serde_saphyr::from_str(text);
        parsed.map(Self::from).map_err(|error| {
            let place = error.location().map(Place::from).unwrap_or_default();
            // The message proper is the first line; what follows is a drawing of the place, which we give as file:line:col.
            let rendered = error.without_snippet().to_string();
            let what = rendered.lines().next().unwrap_or_default();
            let what = what.strip_prefix("error: ").unwrap_or(what);
            Problem::new("", format!("not valid YAML: {what}"), "correct the YAML").at(place)
        })
    }

    /// Puts environment variables into all texts.
    pub(super) fn fill(
        &mut self,
        env: &dyn Fn(&str) -> Option<String>,
        path: &str,
        problems: &mut Vec<Problem>,
    ) {
        match &mut self.kind {
            Kind::Text { text, filled } => match fill(text, env) {
                Ok(Cow::Borrowed(_)) => {}
                Ok(Cow::Owned(new)) => (*text, *filled) = (new, true),
                Err(flaws) => problems.extend(
                    flaws.into_iter().map(|flaw| Problem::new(path, flaw.what, flaw.remedy).at(self.place)),
                ),
            },
            Kind::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    item.fill(env, &format!("{path}[{index}]"), problems);
                }
            }
            Kind::Map(entries) => {
                for (key, _, value) in entries {
                    value.fill(env, &join(path, key), problems);
                }
            }
            Kind::Null | Kind::Bool(_) | Kind::Number(_) => {}
        }
    }

    pub(super) fn to_json(&self) -> Value {
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(*value),
            Kind::Number(number) => Value::Number(number.clone()),
            Kind::Text { text, .. } => Value::String(text.clone()),
            Kind::List(items) => {
                Value::Array(items.iter().filter(|item| !item.gone).map(Self::to_json).collect())
            }
            Kind::Map(entries) => {
                let entries = entries.iter().map(|(key, _, value)| (key.clone(), value.to_json()));
                Value::Object(entries.collect::<Map<_, _>>())
            }
        }
    }

    /// The place of `path` (`sinks[0].to`), or of the deepest part of it that is there.
    pub(super) fn locate(&self, path: &str) -> Place {
        let mut node = self;
        let mut place = self.place;
        for step in steps(path) {
            let next = match (&node.kind, step) {
                (Kind::Map(entries), Step::Key(key)) => {
                    entries.iter().find(|(k, _, _)| k == key).map(|(_, at, value)| (*at, value))
                }
                (Kind::List(items), Step::Index(index)) => items.get(index).map(|item| (item.place, item)),
                _ => None,
            };
            let Some((at, value)) = next else { break };
            (place, node) = (at, value);
        }
        place
    }

    /// The path in the file of what has this one in [`Self::to_json`], where items of lists may be gone.
    pub(super) fn written(&self, path: &str) -> String {
        let (mut node, mut written, mut moved) = (Some(self), String::new(), false);
        for step in steps(path) {
            match step {
                Step::Key(key) => {
                    written = join(&written, key);
                    node = node.and_then(|node| match &node.kind {
                        Kind::Map(entries) => entries.iter().find(|(k, _, _)| k == key).map(|entry| &entry.2),
                        _ => None,
                    });
                }
                Step::Index(index) => {
                    let item = node.and_then(|node| match &node.kind {
                        Kind::List(items) => {
                            items.iter().enumerate().filter(|(_, item)| !item.gone).nth(index)
                        }
                        _ => None,
                    });
                    let at = item.map_or(index, |(at, _)| at);
                    moved |= at != index;
                    written = format!("{written}[{at}]");
                    node = item.map(|(_, item)| item);
                }
            }
        }
        if moved { written } else { path.to_owned() }
    }

    /// Takes `path` out, so that what is left can be read on; false when it is not there.
    pub(super) fn prune(&mut self, path: &str) -> bool {
        let steps: Vec<Step<'_>> = steps(path).collect();
        let Some((last, parents)) = steps.split_last() else { return false };
        let mut node = self;
        for step in parents {
            let next = match (&mut node.kind, step) {
                (Kind::Map(entries), Step::Key(key)) => {
                    entries.iter_mut().find(|(k, _, _)| k == key).map(|(_, _, value)| value)
                }
                (Kind::List(items), Step::Index(index)) => items.get_mut(*index),
                _ => None,
            };
            let Some(value) = next else { return false };
            node = value;
        }
        match (&mut node.kind, last) {
            (Kind::Map(entries), Step::Key(key)) => {
                let before = entries.len();
                entries.retain(|(k, _, _)| k != key);
                entries.len() < before
            }
            (Kind::List(items), Step::Index(index)) => {
                items.get_mut(*index).is_some_and(|item| !std::mem::replace(&mut item.gone, true))
            }
            _ => false,
        }
    }
}

/// `path.key`, or `key` at the top.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

fn steps(path: &str) -> impl Iterator<Item = Step<'_>> {
    path.split('.').filter(|part| !part.is_empty()).flat_map(|part| {
        let (key, rest) = part.find('[').map_or((part, ""), |i| part.split_at(i));
        let indices = rest.split(['[', ']']).filter_map(|digits| digits.parse().ok().map(Step::Index));
        (!key.is_empty()).then_some(Step::Key(key)).into_iter().chain(indices)
    })
}

impl From<Location> for Place {
    fn from(location: Location) -> Self {
        Self { line: location.line(), column: location.column() }
    }
}

impl From<Spanned<Kind>> for Node {
    fn from(spanned: Spanned<Kind>) -> Self {
        Self { place: spanned.referenced.into(), kind: spanned.value, gone: false }
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Kind, D::Error> {
        Kind::deserialize(deserializer)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Kind, E> {
        Ok(Kind::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Kind, E> {
        Ok(Kind::Number(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Kind, E> {
        Ok(Kind::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Kind, E> {
        Number::from_f64(value).map(Kind::Number).ok_or_else(|| E::custom("a number that is not finite"))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Kind, E> {
        Ok(Kind::Text { text: value.to_owned(), filled: false })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Kind, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element::<Spanned<Kind>>()? {
            items.push(item.into());
        }
        Ok(Kind::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Kind, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, value)) = access.next_entry::<Spanned<String>, Spanned<Kind>>()? {
            entries.push((key.value, key.referenced.into(), value.into()));
        }
        Ok(Kind::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("db".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn variables_are_filled_in() {
        let text =
            "a: tcp://${HOST}:${PORT:-5432}\nb: ['$remote_addr $${HOST}', '${EMPTY:-x}${EMPTY}']\nc: $HOST\n";
        let (mut node, mut problems) = (Node::parse(text).unwrap(), Vec::new());
        node.fill(&env, "", &mut problems);
        assert!(problems.is_empty(), "{problems:?}");
        let wanted =
            serde_json::json!({"a": "tcp://db:5432", "b": ["$remote_addr ${HOST}", "x"], "c": "$HOST"});
        assert_eq!(node.to_json(), wanted);

        let mut node = Node::parse("a: 1\nb:\n  - ${PORT} ${HOST:?} ${B:?say it}\n  - ${HOST\n").unwrap();
        node.fill(&env, "", &mut problems);
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[0].starts_with("3:5: b[0]: environment variable PORT is not set; "), "{told:?}");
        assert_eq!(told[1], "3:5: b[0]: B: say it");
        assert!(told[2].starts_with("4:5: b[1]: \"${HOST\" has no closing brace; "), "{told:?}");
    }

    #[test]
    fn paths_lead_to_places() {
        let mut node = Node::parse("a: 1\nlist:\n  - to: x\n    at: y\n").unwrap();
        assert_eq!(node.locate("list[0].at").line, 4);
        assert_eq!(node.locate("list[0].nothing").line, 3);
        assert!(node.prune("list[0].at"));
        assert!(!node.prune("list[7]"));
        assert_eq!(node.to_json(), serde_json::json!({"a": 1, "list": [{"to": "x"}]}));
        let mut node = Node::parse("list: [a, b, [c, d], e]\n").unwrap();
        assert!(node.prune("list[1]") && node.prune("list[2][0]") && !node.prune("list[1]"));
        assert_eq!(node.to_json(), serde_json::json!({"list": ["a", ["d"], "e"]}));
        assert_eq!(
            (node.written("list[1][0].x"), node.written("list[2]")),
            ("list[2][1].x".into(), "list[3]".into())
        );
        assert_eq!(
            (node.written("list[7]"), node.written("other.x[1]")),
            ("list[7]".into(), "other.x[1]".into())
        );
    }

    #[test]
    fn a_syntax_error_knows_its_place() {
        let problem = Node::parse("a: 1\nb: [1, 2\nc: 3\n").unwrap_err();
        assert!(problem.to_string().contains("not valid YAML"), "{problem}");
        assert!(problem.place.line >= 2, "{problem:?}");
        let twice = Node::parse("a: 1\na: 2\n").unwrap_err();
        assert!(twice.to_string().to_lowercase().contains("duplicate"), "{twice}");
    }
}
