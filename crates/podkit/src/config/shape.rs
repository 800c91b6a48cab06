//! Compares a tree with a JSON Schema and says everything that differs, where serde would stop at the first.
//!
//! Knows the part of draft-07 that schemars writes for our types; what it does not know it lets pass, serde reads the value afterwards anyway.

use serde_json::{Map, Number, Value};

use super::report::Problem;
use super::tree::{Kind, Node, join};
use crate::units::{Dur, Size};

/// How deep references may lead; our types are no deeper than ten.
const DEPTH: usize = 64;

/// Everything in `node` that `schema` does not allow. Texts with a filled-in variable turn into the number or flag that the schema asks for.
pub(super) fn check(node: &mut Node, schema: &Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    walk(node, schema, schema, "", DEPTH, &mut problems);
    problems
}

fn walk(node: &mut Node, schema: &Value, root: &Value, path: &str, depth: usize, out: &mut Vec<Problem>) {
    let (Some(schema), Some(depth)) = (schema.as_object(), depth.checked_sub(1)) else { return };
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        if let Some(schema) = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer)) {
            let before = out.len();
            walk(node, schema, root, path, depth, out);
            if out.len() == before {
                units(node, target, path, out);
            }
        }
        return;
    }
    if let Some(all) = schema.get("allOf").and_then(Value::as_array) {
        for part in all {
            walk(node, part, root, path, depth, out);
        }
    }
    if let Some(variants) = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array) {
        choose(node, variants, root, path, depth, out);
        return;
    }
    if let Some(allowed) = words(schema) {
        one_of(node, &allowed, path, out);
        return;
    }
    if !has_type(node, schema, path, out) {
        return;
    }
    match &mut node.kind {
        Kind::Map(_) => object(node, schema, root, path, depth, out),
        Kind::List(items) => {
            if let Some(inner) = schema.get("items") {
                for (index, item) in items.iter_mut().enumerate() {
                    walk(item, inner, root, &format!("{path}[{index}]"), depth, out);
                }
            }
        }
        Kind::Number(number) => range(number, schema, path, out, node.place),
        Kind::Null | Kind::Bool(_) | Kind::Text { .. } => {}
    }
}

/// The variant that fits, or else the one that comes nearest: same type, then fewest problems.
fn choose(
    node: &mut Node,
    variants: &[Value],
    root: &Value,
    path: &str,
    depth: usize,
    out: &mut Vec<Problem>,
) {
    let all_words: Option<Vec<&str>> = variants
        .iter()
        .map(|variant| words(variant.as_object()?))
        .collect::<Option<Vec<_>>>()
        .map(|lists| lists.into_iter().flatten().collect());
    if let Some(allowed) = all_words {
        return one_of(node, &allowed, path, out);
    }
    let tagged: Option<Vec<(&str, &Value)>> = variants.iter().map(tag).collect();
    if let Some(tagged) = tagged.filter(|tagged| tagged.len() > 1) {
        return one_key_of(node, &tagged, root, path, depth, out);
    }
    let mut best: Option<(usize, Node, Vec<Problem>)> = None;
    for variant in variants {
        let (mut copy, mut problems) = (node.clone(), Vec::new());
        walk(&mut copy, variant, root, path, depth, &mut problems);
        let same_type =
            resolve(variant, root).get("type").is_none_or(|types| admits(types, node.kind.json_type()));
        let score = if problems.is_empty() { 0 } else { problems.len() + if same_type { 0 } else { 1000 } };
        if best.as_ref().is_none_or(|(found, _, _)| score < *found) {
            best = Some((score, copy, problems));
        }
    }
    if let Some((_, copy, problems)) = best {
        *node = copy;
        out.extend(problems);
    }
}

/// A variant that is a mapping of one key, as serde writes enums: the key, and the schema of its value.
fn tag(variant: &Value) -> Option<(&str, &Value)> {
    let (known, required) = (variant.get("properties")?.as_object()?, variant.get("required")?.as_array()?);
    let [key] = required.as_slice() else { return None };
    let (only, schema) = known.iter().next().filter(|_| known.len() == 1)?;
    (key == only && variant.get("additionalProperties") == Some(&Value::Bool(false)))
        .then_some((only.as_str(), schema))
}

fn one_key_of(
    node: &mut Node,
    tagged: &[(&str, &Value)],
    root: &Value,
    path: &str,
    depth: usize,
    out: &mut Vec<Problem>,
) {
    let keys = || tagged.iter().map(|(key, _)| *key);
    let all = keys().collect::<Vec<_>>().join(", ");
    let (place, name) = (node.place, node.kind.name());
    let Kind::Map(entries) = &mut node.kind else {
        let remedy = format!("write a mapping with one of: {all}");
        return out.push(Problem::new(path, format!("is {name}"), remedy).at(place));
    };
    let before = out.len();
    for (key, at, value) in entries.iter_mut() {
        let inner = join(path, key);
        if let Some((_, schema)) = tagged.iter().find(|(known, _)| known == key) {
            walk(value, schema, root, &inner, depth, out);
        } else {
            let remedy = nearest(key, keys())
                .map_or_else(|| format!("known here: {all}"), |near| format!("did you mean {near:?}?"));
            out.push(Problem::new(inner, "unknown key", remedy).at(*at));
        }
    }
    if out.len() == before && entries.len() != 1 {
        out.push(Problem::new(path, "needs exactly one key", format!("write one of: {all}")).at(place));
    }
}

/// Durations and sizes by their own words: serde reads a flattened part of a struct without knowing where it is.
fn units(node: &Node, target: &str, path: &str, out: &mut Vec<Problem>) {
    let text = match &node.kind {
        Kind::Text { text, .. } => text.clone(),
        Kind::Number(number) => number.to_string(),
        _ => return,
    };
    let wrong = match target.rsplit('/').next() {
        Some("Duration") => text.parse::<Dur>().err(),
        Some("Size") => text.parse::<Size>().err(),
        _ => None,
    };
    if let Some(wrong) = wrong {
        let (what, remedy) = wrong.split_once("; ").unwrap_or((&wrong, ""));
        out.push(Problem::new(path, what, remedy).at(node.place));
    }
}

fn resolve<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    let target = schema.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix('#'));
    target.and_then(|pointer| root.pointer(pointer)).unwrap_or(schema)
}

/// The texts that an `enum` or `const` allows; `None` when the schema is something else.
fn words(schema: &Map<String, Value>) -> Option<Vec<&str>> {
    if let Some(word) = schema.get("const").and_then(Value::as_str) {
        return Some(vec![word]);
    }
    schema.get("enum")?.as_array()?.iter().map(Value::as_str).collect()
}

fn one_of(node: &Node, allowed: &[&str], path: &str, out: &mut Vec<Problem>) {
    let Kind::Text { text, .. } = &node.kind else {
        out.push(
            Problem::new(
                path,
                format!("is {}", node.kind.name()),
                format!("write one of: {}", allowed.join(", ")),
            )
            .at(node.place),
        );
        return;
    };
    if !allowed.contains(&text.as_str()) {
        let remedy = nearest(text, allowed.iter().copied()).map_or_else(
            || format!("write one of: {}", allowed.join(", ")),
            |near| format!("did you mean {near:?}?"),
        );
        out.push(Problem::new(path, format!("{text:?} is not known"), remedy).at(node.place));
    }
}

fn has_type(node: &mut Node, schema: &Map<String, Value>, path: &str, out: &mut Vec<Problem>) -> bool {
    let Some(types) = schema.get("type") else { return true };
    if admits(types, node.kind.json_type()) {
        return true;
    }
    if let Kind::Text { text, filled: true } = &node.kind {
        let other = if let Ok(number) = text.parse::<i64>() {
            Some(Kind::Number(number.into()))
        } else if let Ok(flag) = text.parse::<bool>() {
            Some(Kind::Bool(flag))
        } else {
            text.parse::<f64>().ok().and_then(Number::from_f64).map(Kind::Number)
        };
        if let Some(other) = other.filter(|other| admits(types, other.json_type())) {
            node.kind = other;
            return true;
        }
    }
    let wanted: Vec<&str> = match types {
        Value::Array(list) => list.iter().filter_map(Value::as_str).filter(|name| *name != "null").collect(),
        other => other.as_str().into_iter().collect(),
    };
    let wanted: Vec<&str> = wanted.into_iter().map(in_words).collect();
    let names = || schema.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::keys);
    let remedy = match (&node.kind, wanted.first()) {
        // Such as a secret: a text there is the value itself.
        (_, Some(&"a mapping")) if schema.get("maxProperties").and_then(Value::as_u64) == Some(1) => {
            let ways: Vec<String> = names().map(|name| format!("{{{name}: …}}")).collect();
            format!("write {}", ways.join(" or "))
        }
        (Kind::Number(_) | Kind::Bool(_), Some(&"a text")) => "write it in quotes".to_owned(),
        _ => format!("write {}", wanted.join(" or ")),
    };
    out.push(Problem::new(path, format!("is {}", node.kind.name()), remedy).at(node.place));
    false
}

fn admits(types: &Value, name: &str) -> bool {
    match types {
        Value::String(one) => one == name || (one == "number" && name == "integer"),
        Value::Array(list) => list.iter().any(|one| admits(one, name)),
        _ => true,
    }
}

fn in_words(json_type: &str) -> &str {
    match json_type {
        "boolean" => "true or false",
        "integer" => "a whole number",
        "number" => "a number",
        "string" => "a text",
        "array" => "a list",
        "object" => "a mapping",
        other => other,
    }
}

fn object(
    node: &mut Node,
    schema: &Map<String, Value>,
    root: &Value,
    path: &str,
    depth: usize,
    out: &mut Vec<Problem>,
) {
    let place = node.place;
    let Kind::Map(entries) = &mut node.kind else { return };
    let empty = Map::new();
    let known = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
    let others = schema.get("additionalProperties");
    for (key, at, value) in entries.iter_mut() {
        let inner = join(path, key);
        match (known.get(key.as_str()), others) {
            (Some(schema), _) => walk(value, schema, root, &inner, depth, out),
            (None, Some(Value::Bool(false))) => {
                let remedy = nearest(key, known.keys().map(String::as_str)).map_or_else(
                    || format!("known here: {}", known.keys().cloned().collect::<Vec<_>>().join(", ")),
                    |near| format!("did you mean {near:?}?"),
                );
                out.push(Problem::new(inner, "unknown key", remedy).at(*at));
            }
            (None, Some(schema)) => walk(value, schema, root, &inner, depth, out),
            (None, None) => {}
        }
    }
    let required =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    for key in required {
        if !entries.iter().any(|(have, _, _)| have == key) {
            out.push(Problem::new(join(path, key), "is missing", format!("write {key}: …")).at(place));
        }
    }
    for (limit, wrong) in [("minProperties", entries.is_empty()), ("maxProperties", entries.len() > 1)] {
        if wrong && schema.get(limit).and_then(Value::as_u64) == Some(1) {
            let names = known.keys().cloned().collect::<Vec<_>>().join(", ");
            out.push(Problem::new(path, "needs exactly one key", format!("write one of: {names}")).at(place));
        }
    }
}

fn range(
    number: &Number,
    schema: &Map<String, Value>,
    path: &str,
    out: &mut Vec<Problem>,
    place: super::Place,
) {
    let Some(value) = number.as_f64() else { return };
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    if let Some(least) = bound("minimum").filter(|least| value < *least) {
        out.push(
            Problem::new(path, format!("{number} is too small"), format!("write {least} or more")).at(place),
        );
    }
    if let Some(most) = bound("maximum").filter(|most| value > *most) {
        out.push(
            Problem::new(path, format!("{number} is too large"), format!("write {most} or less")).at(place),
        );
    }
}

/// What was probably meant, if anything known is near enough.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let spell = |text: &str| text.to_lowercase().replace('-', "_");
    let word = spell(word);
    let likeness = |candidate: &str| {
        let candidate = spell(candidate);
        // Two letters the wrong way round (`tpc`) weigh little for one measure, a missing end for the other.
        if strsim::osa_distance(&word, &candidate) == 1 {
            0.99
        } else {
            strsim::jaro_winkler(&word, &candidate)
        }
    };
    known
        .into_iter()
        .map(|candidate| (likeness(candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}
