//! `?key=value&key=value` of our own targets. Unknown keys are errors: a misspelt `min-dyas` must not pass for "any age".

use podkit::units::{Dur, Size};

use super::Wrong;

/// The options of a target's text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Values are percent-decoded; `+` stays `+`, because regular expressions are full of it.
    ///
    /// # Errors
    /// Keys that are not in `allowed`.
    pub fn parse(text: Option<&str>, allowed: &[&str]) -> Result<Self, Wrong> {
        let text = text.unwrap_or_default().replace('+', "%2B");
        let mut pairs = Vec::new();
        for (key, value) in url::form_urlencoded::parse(text.as_bytes()) {
            if !allowed.contains(&key.as_ref()) {
                let remedy = match podkit::config::nearest(&key, allowed.iter().copied()) {
                    Some(close) => format!("did you mean {close:?}?"),
                    None if allowed.is_empty() => "this target takes no options".to_owned(),
                    None => format!("options are {}", allowed.join(", ")),
                };
                return Err(Wrong::new(format!("unknown option {key:?}"), remedy));
            }
            pairs.push((key.into_owned(), value.into_owned()));
        }
        Ok(Query { pairs })
    }

    /// The last value given for a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs.iter().rev().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// All values of a key, in order.
    pub fn all(&self, key: &str) -> impl Iterator<Item = &str> {
        self.pairs.iter().filter(move |(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// # Errors
    /// Not a number of this kind.
    pub fn number<T: std::str::FromStr>(&self, key: &str) -> Result<Option<T>, Wrong> {
        let Some(text) = self.get(key) else { return Ok(None) };
        let number = text.parse();
        number.map(Some).map_err(|_| {
            Wrong::new(format!("{key}={text} is no number in range"), format!("write for example {key}=2"))
        })
    }

    /// # Errors
    /// Not a duration.
    pub fn duration(&self, key: &str) -> Result<Option<std::time::Duration>, Wrong> {
        let Some(text) = self.get(key) else { return Ok(None) };
        text.parse::<Dur>().map(|dur| Some(dur.get())).map_err(|why| Wrong::new(format!("{key}: {why}"), ""))
    }

    /// # Errors
    /// Not a size in bytes.
    pub fn size(&self, key: &str) -> Result<Option<u64>, Wrong> {
        let Some(text) = self.get(key) else { return Ok(None) };
        text.parse::<Size>()
            .map(|size| Some(size.bytes()))
            .map_err(|why| Wrong::new(format!("{key}: {why}"), ""))
    }

    /// `key`, `key=true`, `key=1` and their opposites.
    ///
    /// # Errors
    /// Anything else.
    pub fn flag(&self, key: &str) -> Result<bool, Wrong> {
        match self.get(key) {
            None | Some("false" | "0" | "no") => Ok(false),
            Some("" | "true" | "1" | "yes") => Ok(true),
            Some(other) => {
                Err(Wrong::new(format!("{key}={other}"), format!("write {key}=true or {key}=false")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_decode_and_plus_stays() {
        let query =
            Query::parse(Some("match=^a+b%20c$&min=2&expect=a&expect=b"), &["match", "min", "expect"])
                .unwrap();
        assert_eq!(query.get("match"), Some("^a+b c$"));
        assert_eq!(query.number::<usize>("min").unwrap(), Some(2));
        assert_eq!(query.all("expect").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(query.get("type"), None);
    }

    #[test]
    fn a_misspelt_key_is_an_error_with_a_suggestion() {
        let wrong = Query::parse(Some("min-dyas=7"), &["min-days", "server-name"]).unwrap_err();
        assert_eq!(wrong.remedy, "did you mean \"min-days\"?");
        assert!(Query::parse(Some("x=1"), &[]).unwrap_err().remedy.contains("no options"));
        let query = Query::parse(Some("min=-1&stable=5&size=big"), &["min", "stable", "size"]).unwrap();
        assert!(query.number::<usize>("min").is_err());
        assert!(query.duration("stable").unwrap_err().what.contains("write 5s"));
        assert!(query.size("size").is_err());
    }
}
