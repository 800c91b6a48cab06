//! What a record has to be, for tests and fuzz targets: strict JSON, and the line it was made of can be had back from it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::Schema;

/// No repeated keys at any depth, and valid JSON.
pub(super) fn strict(text: &str) -> Value {
    struct Once(Value);
    struct Visitor;
    impl<'de> serde::de::Visitor<'de> for Visitor {
        type Value = Once;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("JSON")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Once, A::Error> {
            let mut object = serde_json::Map::new();
            while let Some((key, value)) = map.next_entry::<String, Once>()? {
                if object.insert(key.clone(), value.0).is_some() {
                    return Err(serde::de::Error::custom(format!("{key:?} is there twice")));
                }
            }
            Ok(Once(Value::Object(object)))
        }
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Once, A::Error> {
            let mut items = Vec::new();
            while let Some(item) = list.next_element::<Once>()? {
                items.push(item.0);
            }
            Ok(Once(Value::Array(items)))
        }
        fn visit_str<E>(self, text: &str) -> Result<Once, E> {
            Ok(Once(Value::from(text)))
        }
        fn visit_bool<E>(self, value: bool) -> Result<Once, E> {
            Ok(Once(Value::from(value)))
        }
        fn visit_i64<E>(self, value: i64) -> Result<Once, E> {
            Ok(Once(Value::from(value)))
        }
        fn visit_u64<E>(self, value: u64) -> Result<Once, E> {
            Ok(Once(Value::from(value)))
        }
        fn visit_f64<E>(self, value: f64) -> Result<Once, E> {
            Ok(Once(Value::from(value)))
        }
        fn visit_unit<E>(self) -> Result<Once, E> {
            Ok(Once(Value::Null))
        }
    }
    impl<'de> serde::Deserialize<'de> for Once {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_any(Visitor)
        }
    }
    match serde_json::from_str::<Once>(text) {
        Ok(value) => value.0,
        Err(error) => panic!("{error}: {text}"),
    }
}

/// The line that a record holds.
pub(super) fn recover(text: &str, schema: Schema) -> Option<Vec<u8>> {
    let record = match schema {
        Schema::Logfmt => pairs(text),
        _ => strict(text),
    };
    let (at, message, original, coded) = match schema {
        Schema::Ecs | Schema::Ecs8 => (record.clone(), "message", "event.original", "event.original_base64"),
        Schema::Otel => {
            let mut at = record.get("Attributes")?.clone();
            at["Body"] = record.get("Body").cloned().unwrap_or_default();
            (at, "Body", "log.record.original", "log.record.original_base64")
        }
        Schema::Otlp => (otlp(&record)?, "body", "log.record.original", "log.record.original_base64"),
        Schema::Gelf => (record.clone(), "short_message", "_original", "_original_base64"),
        Schema::Splunk => (record.get("event")?.clone(), "message", "original", "original_base64"),
        _ => (record.clone(), "message", "original", "original_base64"),
    };
    if let Some(coded) = at.get(coded).and_then(Value::as_str) {
        return STANDARD.decode(coded).ok();
    }
    let text = at.get(original).or_else(|| at.get(message)).and_then(Value::as_str)?;
    // GELF's message may not be empty.
    Some(if schema == Schema::Gelf && text == "-" { Vec::new() } else { text.as_bytes().to_vec() })
}

/// The attributes of the one log record, and its body.
fn otlp(request: &Value) -> Option<Value> {
    let record = &request["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
    let mut found = serde_json::Map::new();
    for attribute in record["attributes"].as_array()? {
        let key = attribute["key"].as_str()?.to_owned();
        assert!(found.insert(key, attribute["value"]["stringValue"].clone()).is_none(), "{request}");
    }
    found.insert("body".to_owned(), record["body"]["stringValue"].clone());
    Some(Value::Object(found))
}

/// logfmt, read by its rules.
pub(super) fn pairs(mut text: &str) -> Value {
    let mut found = serde_json::Map::new();
    while !text.is_empty() {
        let (key, rest) = text.split_once('=').unwrap_or_else(|| panic!("no pair: {text:?}"));
        assert!(!key.is_empty() && !key.contains([' ', '"']), "{key:?}");
        let (value, rest) = if rest.starts_with('"') {
            let mut values = serde_json::Deserializer::from_str(rest).into_iter::<String>();
            let value = values.next().expect("a value").expect("closed quotes");
            (value, &rest[values.byte_offset()..])
        } else {
            let end = rest.find(' ').unwrap_or(rest.len());
            (rest[..end].to_owned(), &rest[end..])
        };
        assert!(found.insert(key.to_owned(), Value::from(value)).is_none(), "{key:?} is there twice");
        text = rest.strip_prefix(' ').unwrap_or(rest);
    }
    Value::Object(found)
}
