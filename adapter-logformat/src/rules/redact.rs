//! Taking out of a line what must not leave the pod: mail addresses, card numbers, tokens, parts of IP addresses.
//!
//! The replacement keeps the line readable by its format: letters, digits and asterisks only, and a JSON number that is masked becomes a
//! string.

use regex::bytes::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What to take out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Redact {
    /// Mail addresses → `***@***`.
    Emails,
    /// Card numbers (13 to 19 digits that pass the Luhn check, also in groups) → all but the last four digits masked.
    Cards,
    /// Bearer and basic credentials, JSON Web Tokens, values of `password`, `token`, `secret`, `api_key` → `***`.
    Tokens,
    /// IPv4 addresses → the last number is 0.
    Ips,
    /// What matches this regular expression → `***`.
    Pattern(String),
}

/// All that is to be taken out, compiled.
#[derive(Clone, Debug, Default)]
pub struct Redactor {
    emails: Option<Regex>,
    tokens: Option<Regex>,
    ips: Option<Regex>,
    cards: bool,
    own: Vec<Regex>,
}

impl Redactor {
    /// # Errors
    /// What is wrong with a pattern.
    pub fn compile(what: &[Redact]) -> Result<Self, String> {
        let regex = |text: &str| {
            regex::bytes::RegexBuilder::new(text)
                .size_limit(1 << 20)
                .unicode(false)
                .build()
                .map_err(|e| e.to_string())
        };
        let mut redactor = Self::default();
        for item in what {
            match item {
                Redact::Emails => {
                    redactor.emails =
                        Some(regex(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})+")?)
                }
                Redact::Cards => redactor.cards = true,
                Redact::Tokens => redactor.tokens = Some(regex(TOKENS)?),
                Redact::Ips => redactor.ips = Some(regex(r"\b(\d{1,3}\.\d{1,3}\.\d{1,3})\.\d{1,3}\b")?),
                Redact::Pattern(text) => {
                    let own = regex(text)?;
                    if own.is_match(b"") {
                        return Err(format!("{text:?} matches nothing at all, so it would match everywhere"));
                    }
                    redactor.own.push(own);
                }
            }
        }
        Ok(redactor)
    }

    pub fn is_empty(&self) -> bool {
        self.emails.is_none()
            && self.tokens.is_none()
            && self.ips.is_none()
            && !self.cards
            && self.own.is_empty()
    }

    /// The line without what is to go, in `to`; false when nothing was found, and `to` says nothing.
    pub fn apply(&self, line: &[u8], to: &mut Vec<u8>) -> bool {
        let mut found = false;
        let mut step = |text: Vec<u8>, to: &mut Vec<u8>| {
            *to = text;
            found = true;
        };
        to.clear();
        to.extend_from_slice(line);
        let mail = self.emails.as_ref().filter(|_| memchr::memchr(b'@', line).is_some());
        if let Some(done) = mail.and_then(|regex| replaced(regex, to, b"***@***")) {
            step(done, to);
        }
        if let Some(done) = self.tokens.as_ref().and_then(|regex| replaced(regex, to, b"${1}***")) {
            step(done, to);
        }
        if let Some(done) = self.ips.as_ref().and_then(|regex| replaced(regex, to, b"${1}.0")) {
            step(done, to);
        }
        if let Some(done) = self.cards.then(|| cards(to)).flatten() {
            step(done, to);
        }
        for regex in &self.own {
            if let Some(done) = replaced(regex, to, b"***") {
                step(done, to);
            }
        }
        found
    }
}

const TOKENS: &str = concat!(
    r#"(?i)((?:bearer|basic)\s+|["']?(?:password|passwd|pwd|secret|token|api[_-]?key|access[_-]?key)["']?\s*[=:]\s*["']?)"#,
    r#"[A-Za-z0-9._~+/=-]{4,}|()\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"#
);

fn replaced(regex: &Regex, text: &[u8], with: &[u8]) -> Option<Vec<u8>> {
    match regex.replace_all(text, with) {
        std::borrow::Cow::Owned(done) => Some(done),
        std::borrow::Cow::Borrowed(_) => None,
    }
}

/// Masks numbers that may be a card's; `None` when there is none.
fn cards(line: &[u8]) -> Option<Vec<u8>> {
    let mut out: Option<Vec<u8>> = None;
    let mut copied = 0;
    let mut at = 0;
    while at < line.len() {
        let alone = at == 0 || !(line[at - 1].is_ascii_alphanumeric() || line[at - 1] == b'.');
        if !line[at].is_ascii_digit() || !alone {
            at += 1;
            continue;
        }
        let (mut end, mut digits) = (at, Vec::with_capacity(19));
        while let Some(&byte) = line.get(end) {
            let group = matches!(byte, b' ' | b'-') && line.get(end + 1).is_some_and(u8::is_ascii_digit);
            if byte.is_ascii_digit() {
                digits.push(byte - b'0');
            } else if !group {
                break;
            }
            end += 1;
        }
        let ends = !line.get(end).is_some_and(|b| {
            b.is_ascii_alphanumeric() || *b == b'.' && line.get(end + 1).is_some_and(u8::is_ascii_digit)
        });
        if ends && (13..=19).contains(&digits.len()) && luhn(&digits) {
            let out = out.get_or_insert_with(Vec::new);
            out.extend_from_slice(&line[copied..at]);
            // A JSON number: masked, it is text.
            let bare = line.first() == Some(&b'{')
                && matches!(line[..at].trim_ascii_end().last(), Some(b':' | b'[' | b','))
                && matches!(line[end..].trim_ascii_start().first(), Some(b',' | b'}' | b']'));
            if bare {
                out.push(b'"');
            }
            out.extend(std::iter::repeat_n(b'*', digits.len() - 4));
            out.extend(digits[digits.len() - 4..].iter().map(|d| d + b'0'));
            if bare {
                out.push(b'"');
            }
            copied = end;
        }
        at = end.max(at + 1);
    }
    out.map(|mut out| {
        out.extend_from_slice(&line[copied..]);
        out
    })
}

/// The check digit of card numbers (ISO/IEC 7812-1, annex B).
fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| match (place % 2, u32::from(*digit)) {
            (0, digit) => digit,
            (_, digit) if digit > 4 => digit * 2 - 9,
            (_, digit) => digit * 2,
        })
        .sum();
    sum.is_multiple_of(10) && digits.iter().any(|d| *d != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(what: &[Redact], line: &str) -> String {
        let mut to = Vec::new();
        if Redactor::compile(what).expect("compiles").apply(line.as_bytes(), &mut to) {
            String::from_utf8_lossy(&to).into_owned()
        } else {
            line.to_owned()
        }
    }

    #[test]
    fn each_kind_goes_and_the_rest_stays() {
        for (what, line, want) in [
            (Redact::Emails, "mail bob.b+x@shop.example now, a@b", "mail ***@*** now, a@b"),
            (
                Redact::Cards,
                "card 4111 1111 1111 1111 or 4111-1111-1111-1112",
                "card ************1111 or 4111-1111-1111-1112",
            ),
            (
                Redact::Cards,
                "{\"card\":4111111111111111,\"n\":1795263850123}",
                "{\"card\":\"************1111\",\"n\":1795263850123}",
            ),
            (
                Redact::Cards,
                "id=a4111111111111111 v=1.4111111111111111",
                "id=a4111111111111111 v=1.4111111111111111",
            ),
            (Redact::Tokens, "Authorization: Bearer abc.def-123 ok", "Authorization: Bearer *** ok"),
            (
                Redact::Tokens,
                "{\"password\":\"hunter22\",\"user\":\"bob\"}",
                "{\"password\":\"***\",\"user\":\"bob\"}",
            ),
            (Redact::Tokens, "GET /?token=abcdef&x=1", "GET /?token=***&x=1"),
            (Redact::Ips, "192.0.2.7 - - and v1.2.3", "192.0.2.0 - - and v1.2.3"),
            (Redact::Pattern("ORD-\\d+".to_owned()), "order ORD-123 ORD-x", "order *** ORD-x"),
        ] {
            assert_eq!(redacted(&[what], line), want);
        }
        assert!(Redactor::compile(&[Redact::Pattern("x*".to_owned())]).is_err());
    }
}
