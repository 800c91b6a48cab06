//! What an HTTP answer must be. No I/O.

use std::ops::RangeInclusive;

use regex::bytes::Regex;
use reqwest::header::{HeaderMap, HeaderName};
use serde_json_path::JsonPath;

use crate::config::HttpConfig;
use crate::target::Wrong;

#[derive(Debug)]
pub(super) struct Expect {
    statuses: Vec<RangeInclusive<u16>>,
    /// Headers that must be there, and what (one of) their values must match.
    headers: Vec<(HeaderName, Option<Regex>)>,
    matches: Option<Regex>,
    json: Vec<Selected>,
}

/// A JSONPath, and the value that (one of) its nodes must have.
#[derive(Debug)]
struct Selected {
    text: String,
    path: JsonPath,
    value: Option<serde_json::Value>,
}

impl Expect {
    pub(super) fn new(request: &HttpConfig) -> Result<Self, (&'static str, Wrong)> {
        let statuses = statuses(request.status.as_deref().unwrap_or("200-399"))
            .map_err(|wrong| ("http.status", wrong))?;
        let matches =
            match &request.matches {
                Some(text) => Some(Regex::new(text).map_err(|error| {
                    ("http.match", Wrong::new(error.to_string(), "correct the expression"))
                })?),
                None => None,
            };
        let headers: Result<Vec<_>, _> =
            request.match_headers.iter().map(|(name, text)| header(name, text)).collect();
        let headers = headers.map_err(|wrong| ("http.match_headers", wrong))?;
        let json: Result<Vec<_>, _> = request.json.iter().map(|text| selected(text)).collect();
        Ok(Expect { statuses, headers, matches, json: json.map_err(|wrong| ("http.json", wrong))? })
    }

    pub(super) fn status(&self, status: u16) -> bool {
        self.statuses.iter().any(|range| range.contains(&status))
    }

    pub(super) fn headers(&self, headers: &HeaderMap) -> Result<(), String> {
        for (name, wanted) in &self.headers {
            let mut values = headers.get_all(name).iter().peekable();
            let Some(first) = values.peek() else { return Err(format!("there is no header {name}")) };
            let first: String = String::from_utf8_lossy(first.as_bytes()).chars().take(80).collect();
            if let Some(wanted) = wanted
                && !values.any(|value| wanted.is_match(value.as_bytes()))
            {
                return Err(format!("the header {name}: {first} does not match {wanted}"));
            }
        }
        Ok(())
    }

    pub(super) fn wants_body(&self) -> bool {
        self.matches.is_some() || !self.json.is_empty()
    }

    /// All expectations look at the same bytes.
    pub(super) fn body(&self, body: &[u8]) -> Result<(), String> {
        if let Some(matches) = &self.matches
            && !matches.is_match(body)
        {
            return Err(format!("its body ({} bytes) does not match {matches}", body.len()));
        }
        if self.json.is_empty() {
            return Ok(());
        }
        let value: serde_json::Value =
            serde_json::from_slice(body).map_err(|error| format!("its body is no JSON: {error}"))?;
        for wanted in &self.json {
            let nodes = wanted.path.query(&value).all();
            match &wanted.value {
                None if nodes.is_empty() => return Err(format!("{} selects nothing", wanted.text)),
                Some(expected) if !nodes.iter().any(|node| same(node, expected)) => {
                    let got: Vec<String> = nodes.iter().take(3).map(ToString::to_string).collect();
                    let got = if got.is_empty() { "nothing".to_owned() } else { got.join(", ") };
                    return Err(format!("{} selects {got}", wanted.text));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// `$.status=UP` means the string as well as `$.status="UP"`.
fn same(node: &serde_json::Value, expected: &serde_json::Value) -> bool {
    node == expected || expected.as_str().is_some_and(|text| node.as_str() == Some(text))
}

fn header(name: &str, text: &str) -> Result<(HeaderName, Option<Regex>), Wrong> {
    let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
        Wrong::new(format!("{name:?} is no header name"), "write 'Name' or 'Name: expression'")
    })?;
    let expression = match text {
        "" => None,
        text => Some(
            Regex::new(text)
                .map_err(|error| Wrong::new(format!("{name}: {error}"), "correct the expression"))?,
        ),
    };
    Ok((header, expression))
}

/// `200-299,401`, `2xx`.
fn statuses(text: &str) -> Result<Vec<RangeInclusive<u16>>, Wrong> {
    let wrong = |part: &str| {
        Wrong::new(format!("{part:?} is no set of statuses"), "write for example 200-299,401 or 2xx")
    };
    let code = |part: &str| part.trim().parse::<u16>().ok().filter(|code| (100..=999).contains(code));
    text.split(',')
        .map(str::trim)
        .map(|part| {
            match (part.strip_suffix("xx").and_then(|digit| digit.parse::<u16>().ok()), part.split_once('-'))
            {
                (Some(digit @ 1..=9), _) => Ok(digit * 100..=digit * 100 + 99),
                (_, Some((from, to))) => match (code(from), code(to)) {
                    (Some(from), Some(to)) if from <= to => Ok(from..=to),
                    _ => Err(wrong(part)),
                },
                (_, None) => code(part).map(|code| code..=code).ok_or_else(|| wrong(part)),
            }
        })
        .collect()
}

/// The path ends at the last `=` that leaves a valid path on its left: filters hold `==` themselves.
fn selected(text: &str) -> Result<Selected, Wrong> {
    let whole = JsonPath::parse(text);
    if let Ok(path) = whole {
        return Ok(Selected { text: text.to_owned(), path, value: None });
    }
    for (at, _) in text.match_indices('=') {
        if let Ok(path) = JsonPath::parse(text[..at].trim_end()) {
            let value = text[at + 1..].trim();
            let value =
                serde_json::from_str(value).unwrap_or_else(|_| serde_json::Value::String(value.to_owned()));
            return Ok(Selected { text: text.to_owned(), path, value: Some(value) });
        }
    }
    let why = JsonPath::parse(text).err().map_or_else(String::new, |error| error.to_string());
    Err(Wrong::new(format!("{text:?} is no JSONPath: {why}"), "write for example $.status or $.status=UP"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expect(status: Option<&str>, matches: Option<&str>, json: &[&str]) -> Expect {
        Expect::new(&HttpConfig {
            status: status.map(str::to_owned),
            matches: matches.map(str::to_owned),
            json: json.iter().map(|text| (*text).to_owned()).collect(),
            ..HttpConfig::default()
        })
        .unwrap()
    }

    #[test]
    fn status_sets() {
        let set = expect(Some("200-299, 401,5xx"), None, &[]);
        for (status, good) in [(200, true), (299, true), (300, false), (401, true), (404, false), (503, true)]
        {
            assert_eq!(set.status(status), good, "{status}");
        }
        let kubelet = expect(None, None, &[]);
        assert!(kubelet.status(302) && !kubelet.status(500));
        for bad in ["", "abc", "299-200", "20", "0xx", "200-"] {
            assert!(statuses(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn headers_by_name_in_any_case_and_by_expression() {
        let expect = |list: &[(&str, &str)]| {
            let match_headers =
                list.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
            Expect::new(&HttpConfig { match_headers, ..HttpConfig::default() })
        };
        let mut headers = HeaderMap::new();
        headers.append("x-state", "starting".parse().unwrap());
        headers.append("x-state", "ready".parse().unwrap());
        for good in
            [&[("X-State", "")][..], &[("X-STATE", "^ready$")], &[("x-state", "start"), ("X-State", "re")]]
        {
            assert_eq!(expect(good).unwrap().headers(&headers), Ok(()), "{good:?}");
        }
        let error = expect(&[("X-State", "^done$")]).unwrap().headers(&headers).unwrap_err();
        assert_eq!(error, "the header x-state: starting does not match ^done$");
        assert!(
            expect(&[("X-Other", "")]).unwrap().headers(&headers).unwrap_err().contains("no header x-other")
        );
        assert!(expect(&[("X State", "")]).is_err() && expect(&[("X-State", "(")]).is_err());
    }

    #[test]
    fn two_expectations_see_the_same_body() {
        let both = expect(None, Some("UP"), &["$.status=UP", "$.checks[?@.n==2].ok=true", "$.checks"]);
        assert_eq!(both.body(br#"{"status":"UP","checks":[{"n":1,"ok":false},{"n":2,"ok":true}]}"#), Ok(()));
        let error = both.body(br#"{"status":"DOWN UP","checks":[]}"#).unwrap_err();
        assert_eq!(error, "$.status=UP selects \"DOWN UP\"");
        assert!(both.body(b"UP").unwrap_err().contains("no JSON"));
        assert!(both.body(b"").unwrap_err().contains("does not match"));
    }

    #[test]
    fn bad_paths_and_expressions_are_errors_at_once() {
        for (json, matches) in [(vec!["status".to_owned()], None), (vec![], Some("(".to_owned()))] {
            assert!(Expect::new(&HttpConfig { json, matches, ..HttpConfig::default() }).is_err());
        }
    }
}
