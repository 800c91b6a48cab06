//! Which of our own members a JSON object has already. One pass over its text, which also proves that it is JSON; nothing is built.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Names that can be told apart at once.
pub const MOST_MEMBERS: usize = 128;

/// A set of names, by their place in a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Present(u128);

impl Present {
    /// Whether the object says this itself.
    pub fn has(self, place: usize) -> bool {
        1u128.checked_shl(u32::try_from(place).unwrap_or(u32::MAX)).is_none_or(|bit| self.0 & bit != 0)
    }
}

/// Looks for `names` among the members of the object in `text`; `None`: that is no JSON object. A name also counts as present when the
/// object has a member `host` that is no object, and the name is `host.name`: both would not fit into one index.
pub fn present<N: AsRef<str>>(text: &[u8], names: &[N]) -> Option<Present> {
    let mut input = serde_json::Deserializer::from_slice(text);
    let found = Object(names).deserialize(&mut input).ok()?;
    input.end().ok()?;
    Some(found)
}

struct Object<'n, N>(&'n [N]);

impl<'de, N: AsRef<str>> DeserializeSeed<'de> for Object<'_, N> {
    type Value = Present;
    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Present, D::Error> {
        input.deserialize_map(self)
    }
}

impl<'de, N: AsRef<str>> Visitor<'de> for Object<'_, N> {
    type Value = Present;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Present, M::Error> {
        let mut present = 0;
        while let Some(Key { exact, above }) = map.next_key_seed(Name(self.0))? {
            let value: &RawValue = map.next_value()?;
            present |= exact;
            if above == 0 {
                continue;
            }
            let value = value.get().as_bytes();
            for (place, name) in self.0.iter().enumerate().take(MOST_MEMBERS) {
                let leaf = name.as_ref().rsplit('.').next().unwrap_or_default();
                let clash = value.first() != Some(&b'{')
                    || memchr::memmem::find(value, format!("\"{leaf}\"").as_bytes()).is_some();
                if above & 1 << place != 0 && clash {
                    present |= 1 << place;
                }
            }
        }
        Ok(Present(present))
    }
}

/// Places of names that a key is, and that it stands above.
struct Key {
    exact: u128,
    above: u128,
}

struct Name<'n, N>(&'n [N]);

impl<'de, N: AsRef<str>> DeserializeSeed<'de> for Name<'_, N> {
    type Value = Key;
    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Key, D::Error> {
        input.deserialize_str(self)
    }
}

impl<N: AsRef<str>> Visitor<'_> for Name<'_, N> {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<Key, E> {
        let mut found = Key { exact: 0, above: 0 };
        for (place, name) in self.0.iter().enumerate() {
            let bit = u32::try_from(place).ok().and_then(|place| 1u128.checked_shl(place));
            let bit = bit.ok_or_else(|| E::custom("too many names"))?;
            match name.as_ref().strip_prefix(key) {
                Some("") => found.exact |= bit,
                Some(rest) if rest.starts_with('.') => found.above |= bit,
                _ => {}
            }
        }
        Ok(found)
    }

    fn visit_bytes<E: serde::de::Error>(self, _: &[u8]) -> Result<Key, E> {
        Err(E::custom("a name that is no text"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 4] = ["@timestamp", "log.offset", "log.file.path", "host.name"];

    fn found(text: &str) -> Option<Vec<&'static str>> {
        let present = present(text.as_bytes(), &NAMES)?;
        Some(
            NAMES
                .iter()
                .enumerate()
                .filter(|(place, _)| present.has(*place))
                .map(|(_, name)| *name)
                .collect(),
        )
    }

    #[test]
    fn only_what_the_object_says_itself_is_present() {
        assert_eq!(found(r#"{"a":{"@timestamp":1},"m":"\"log.offset\":"}"#), Some(vec![]));
        assert_eq!(found(r#"{"@timestamp":1,"log.offset":2}"#), Some(vec!["@timestamp", "log.offset"]));
        assert_eq!(found(r#"{"@timest\u0061mp":1}"#), Some(vec!["@timestamp"]), "escapes are read");
        assert_eq!(
            found(r#"{"host":"web-1"}"#),
            Some(vec!["host.name"]),
            "a text and an object do not fit together"
        );
        assert_eq!(found(r#"{"host":{"ip":"::1"},"log":{"level":"x"}}"#), Some(vec![]));
        assert_eq!(
            found(r#"{"host":{"name":"x"},"log":{"offset":1}}"#),
            Some(vec!["log.offset", "host.name"])
        );
        assert_eq!(found(" {} "), Some(vec![]));
    }

    #[test]
    fn what_is_no_object_is_none() {
        for text in ["", "[]", "{", "{}x", "{\"a\"}", "1", "{\"a\":01}", "{\"a\":\"\u{1}\"}"] {
            assert_eq!(found(text), None, "{text}");
        }
    }
}
