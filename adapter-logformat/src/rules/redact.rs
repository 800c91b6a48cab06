//! Taking out of a line what must not leave the pod: mail addresses, card numbers, tokens, parts of IP addresses.
//!
//! The replacement keeps the line readable by its format: letters, digits and asterisks only, and a JSON number that is masked becomes a
//! string.

use aws_lc_rs::hmac;
use regex::bytes::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What to take out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Redact {
    /// Mail addresses → `***@***`.
    Emails,
    /// Card numbers (13 to 19 digits that pass the Luhn check, also in groups) → all but the last four digits masked.
    Cards,
    /// Bearer and basic credentials, JSON Web Tokens, values of `password`, `token`, `secret`, `api_key` → `***`.
    Tokens,
    /// IPv4 addresses → their /24 network, IPv6 addresses → their /48.
    Ips,
    /// IP addresses → the network of so many bits.
    Networks(Bits),
    /// What matches this regular expression → `***`; where it has a group, only the group.
    Pattern(String),
    /// Any of the others, replaced by a keyed hash (HMAC-SHA-256, 16 hexadecimal digits) instead: equal values stay equal. Needs `redact_key`.
    Hash(Box<Redact>),
}

/// How much of an address stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bits {
    /// Bits of an IPv4 address, 0 to 32.
    pub v4: u8,
    /// Bits of an IPv6 address, 0 to 128.
    pub v6: u8,
}

/// The key of the hashes.
#[derive(Clone)]
pub struct Key(std::sync::Arc<hmac::Key>);

impl Key {
    pub fn new(secret: &[u8]) -> Self {
        Self(std::sync::Arc::new(hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }

    /// 16 hexadecimal digits: 64 bits are enough to tell values apart, and fit where a number was.
    pub(super) fn hash(&self, value: &[u8]) -> Vec<u8> {
        let tag = hmac::sign(&self.0, value);
        tag.as_ref().iter().take(8).flat_map(|byte| format!("{byte:02x}").into_bytes()).collect()
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(***)")
    }
}

/// All that is to be taken out, compiled.
#[derive(Clone, Debug, Default)]
pub struct Redactor(Vec<Step>);

#[derive(Clone, Debug)]
struct Step {
    what: What,
    hash: Option<Key>,
}

#[derive(Clone, Debug)]
enum What {
    Emails(Regex),
    Tokens(Regex),
    Ips(Regex, Bits),
    Cards,
    Own(Regex),
}

impl Redactor {
    /// # Errors
    /// What is wrong with a pattern.
    pub fn compile(what: &[Redact], key: Option<&Key>) -> Result<Self, String> {
        what.iter().map(|item| step(item, key)).collect::<Result<_, _>>().map(Self)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The line without what is to go, in `to`; false when nothing was found, and `to` says nothing.
    pub fn apply(&self, line: &[u8], to: &mut Vec<u8>) -> bool {
        let mut found = false;
        for step in &self.0 {
            if let Some(done) = step.apply(if found { to } else { line }) {
                *to = done;
                found = true;
            }
        }
        found
    }
}

fn step(item: &Redact, key: Option<&Key>) -> Result<Step, String> {
    let regex = |text: &str| {
        regex::bytes::RegexBuilder::new(text)
            .size_limit(1 << 20)
            .unicode(false)
            .build()
            .map_err(|e| e.to_string())
    };
    let what = match item {
        Redact::Hash(inner) => {
            let key = key.ok_or("hash needs redact_key: a hash without a key can be guessed")?;
            if matches!(**inner, Redact::Hash(_)) {
                return Err("a hash of a hash is one hash; write {hash: emails}".to_owned());
            }
            return Ok(Step { hash: Some(key.clone()), ..step(inner, None)? });
        }
        Redact::Emails => What::Emails(regex(EMAILS)?),
        Redact::Cards => What::Cards,
        Redact::Tokens => What::Tokens(regex(TOKENS)?),
        Redact::Ips => What::Ips(regex(IPS)?, Bits { v4: 24, v6: 48 }),
        Redact::Networks(bits) if bits.v4 > 32 || bits.v6 > 128 => {
            return Err("a prefix has at most 32 bits (v4) or 128 (v6)".to_owned());
        }
        Redact::Networks(bits) => What::Ips(regex(IPS)?, *bits),
        Redact::Pattern(text) => {
            let own = regex(text)?;
            if own.is_match(b"") {
                return Err(format!("{text:?} matches nothing at all, so it would match everywhere"));
            }
            What::Own(own)
        }
    };
    Ok(Step { what, hash: None })
}

impl Step {
    fn apply(&self, line: &[u8]) -> Option<Vec<u8>> {
        match &self.what {
            What::Emails(regex) => {
                let written = |at: &[u8]| memchr::memmem::find(line, at).is_some();
                if !(written(b"@") || written(b"%40") || written(b"\\u0040")) {
                    return None;
                }
                self.replaced(regex, line, |_| b"***@***".to_vec())
            }
            What::Tokens(regex) => self.replaced(regex, line, |_| b"***".to_vec()),
            What::Ips(regex, bits) => self.replaced(regex, line, |text| {
                let ip = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
                ip.map_or_else(
                    || text.to_vec(),
                    |ip| super::edit::network(ip, bits.v4, bits.v6).to_string().into_bytes(),
                )
            }),
            What::Cards => cards(line, |digits| match &self.hash {
                Some(key) => key.hash(digits),
                None => {
                    let mut masked = vec![b'*'; digits.len() - 4];
                    masked.extend_from_slice(&digits[digits.len() - 4..]);
                    masked
                }
            }),
            What::Own(regex) => self.replaced(regex, line, |_| b"***".to_vec()),
        }
    }

    /// The line with every match (its last group, where one took part) replaced; `None` when there is none.
    fn replaced(&self, regex: &Regex, line: &[u8], with: impl Fn(&[u8]) -> Vec<u8>) -> Option<Vec<u8>> {
        let mut out: Option<Vec<u8>> = None;
        let mut copied = 0;
        for found in regex.captures_iter(line) {
            let Some(part) = found.iter().skip(1).flatten().last().or_else(|| found.get(0)) else { continue };
            let new = match (&self.hash, &self.what) {
                (_, What::Ips(..)) if part.as_bytes().iter().filter(|b| **b == b':').count() == 1 => continue,
                (Some(key), _) => key.hash(part.as_bytes()),
                (None, _) => with(part.as_bytes()),
            };
            if new == part.as_bytes() || matches!(part.as_bytes(), b"null" | b"true" | b"false") {
                continue;
            }
            let quote = &b"\""[..usize::from(bare(line, part.start(), part.end()))];
            let out = out.get_or_insert_with(|| Vec::with_capacity(line.len()));
            out.extend_from_slice(&line[copied..part.start()]);
            out.extend_from_slice(quote);
            out.extend_from_slice(&new);
            out.extend_from_slice(quote);
            copied = part.end();
        }
        out.map(|mut out| {
            out.extend_from_slice(&line[copied..]);
            out
        })
    }
}

/// Four numbers, or groups of an IPv6 address; whether it is one is looked at afterwards.
const IPS: &str = r"\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\b|\b[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{0,4}){2,7}|::[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4}){0,6}";

/// Also as URLs and JSON may write the sign.
const EMAILS: &str = r"[A-Za-z0-9._%+-]{1,64}(?:@|%40|\\u0040)[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+";

/// A value ends at its quote, escaped where JSON stands within a text; without one at what ends a pair in URLs, logfmt and JSON.
const TOKENS: &str = concat!(
    r#"(?i)(?:bearer|basic)\s+([A-Za-z0-9._~+/=-]{4,})"#,
    r#"|(?:password|passwd|passphrase|pwd|secret|token|credential|signature|(?:api|access|private|secret)[_-]?key)\\*["']?\s*[=:]\s*"#,
    r#"(?:"((?:[^"\\]|\\.)+)"|'([^']+)'|\\+"([^"\\]+)|([^\s"'&,;<>\\{}\[\]()]+))"#,
    r#"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"#
);

/// True when `line` is an object and `from..to` a value of it without quotes, which a mask has to get.
fn bare(line: &[u8], from: usize, to: usize) -> bool {
    if line.first() != Some(&b'{')
        || !matches!(line[..from].trim_ascii_end().last(), Some(b':' | b'[' | b','))
        || !matches!(line[to..].trim_ascii_start().first(), Some(b',' | b'}' | b']'))
    {
        return false;
    }
    let (mut inside, mut escaped) = (false, false);
    for byte in &line[..from] {
        (inside, escaped) = match byte {
            _ if escaped => (inside, false),
            b'\\' => (inside, true),
            b'"' => (!inside, false),
            _ => (inside, false),
        };
    }
    !inside
}

/// Masks numbers that may be a card's; `None` when there is none.
fn cards(line: &[u8], masked: impl Fn(&[u8]) -> Vec<u8>) -> Option<Vec<u8>> {
    let mut out: Option<Vec<u8>> = None;
    let mut copied = 0;
    let mut at = 0;
    while at < line.len() {
        let alone = at == 0 || !(line[at - 1].is_ascii_alphanumeric() || line[at - 1] == b'.');
        if !line[at].is_ascii_digit() || !alone {
            at += 1;
            continue;
        }
        let groups = groups(line, at);
        let mut first = 0;
        while let Some(&(from, _)) = groups.get(first) {
            let Some((last, digits)) = card(line, &groups[first..]) else {
                first += 1;
                continue;
            };
            let to = groups[first + last].1;
            let out = out.get_or_insert_with(Vec::new);
            out.extend_from_slice(&line[copied..from]);
            // A JSON number: masked, it is text.
            let quote = &b"\""[..usize::from(bare(line, from, to))];
            out.extend_from_slice(quote);
            out.extend_from_slice(&masked(&digits));
            out.extend_from_slice(quote);
            copied = to;
            first += last + 1;
        }
        at = groups.last().map_or(at, |(_, end)| *end).max(at + 1);
    }
    out.map(|mut out| {
        out.extend_from_slice(&line[copied..]);
        out
    })
}

/// Digits with single blanks, dashes or plus signs between them: where each group begins and ends. The last one belongs to it only when no word goes on
/// behind it.
fn groups(line: &[u8], mut at: usize) -> Vec<(usize, usize)> {
    let mut groups = Vec::new();
    loop {
        let end = at + line[at..].iter().take_while(|b| b.is_ascii_digit()).count();
        let ends = !line.get(end).is_some_and(|b| {
            b.is_ascii_alphanumeric() || *b == b'.' && line.get(end + 1).is_some_and(u8::is_ascii_digit)
        });
        if end == at || !ends {
            return groups;
        }
        groups.push((at, end));
        if !matches!(line.get(end), Some(b' ' | b'-' | b'+')) {
            return groups;
        }
        at = end + 1;
    }
}

/// The longest card number that begins with the first group: its last group, and its digits. Any of them may be followed by other numbers.
fn card(line: &[u8], groups: &[(usize, usize)]) -> Option<(usize, Vec<u8>)> {
    let mut digits = Vec::with_capacity(19);
    let mut found = None;
    for (place, (from, to)) in groups.iter().enumerate() {
        if digits.len() + (to - from) > 19 {
            break;
        }
        digits.extend_from_slice(&line[*from..*to]);
        if issued(&digits) && luhn(&digits) {
            found = Some((place, digits.clone()));
        }
    }
    found
}

/// Lengths and first digits of cards (ISO/IEC 7812-1): what begins otherwise is a time or an id.
fn issued(digits: &[u8]) -> bool {
    let head = digits.iter().take(4).fold(0, |sum, d| sum * 10 + u32::from(d - b'0'));
    match (digits.first(), digits.len()) {
        (Some(b'2'), 16..=19) => (2200..=2204).contains(&head) || (2221..=2720).contains(&head),
        (Some(b'3'), 14..=19) | (Some(b'4'), 13 | 16 | 19) | (Some(b'5' | b'6'), 13..=19) => true,
        _ => false,
    }
}

/// The check digit of card numbers (ISO/IEC 7812-1, annex B).
fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| match (place % 2, u32::from(digit - b'0')) {
            (0, digit) => digit,
            (_, digit) if digit > 4 => digit * 2 - 9,
            (_, digit) => digit * 2,
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(what: &[Redact], line: &str) -> String {
        let mut to = Vec::new();
        let key = Key::new(b"k");
        if Redactor::compile(what, Some(&key)).expect("compiles").apply(line.as_bytes(), &mut to) {
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
            // Numbers beside a card's are no part of it; times are no cards.
            (
                Redact::Cards,
                "2026-11-21 12:24:10 4111111111111111 12",
                "2026-11-21 12:24:10 ************1111 12",
            ),
            (Redact::Cards, "4111111111111111 5500005555555559 7x", "************1111 ************5559 7x"),
            (
                Redact::Cards,
                "{\"ts\":1795263850129,\"us\":1795263850123457}",
                "{\"ts\":1795263850129,\"us\":1795263850123457}",
            ),
            (Redact::Cards, "{\"m\":\"card:4111111111111111, or\"}", "{\"m\":\"card:************1111, or\"}"),
            (Redact::Cards, "card=4111+1111+1111+1111&x", "card=************1111&x"),
            (Redact::Emails, "GET /?mail=bob%40x.example&y", "GET /?mail=***@***&y"),
            (Redact::Emails, r#"{"m":"bob\u0040x.example"}"#, r#"{"m":"***@***"}"#),
            (
                Redact::Tokens,
                r#"{"m":"{\"password\":\"hun ter\",\"a\":1}"}"#,
                r#"{"m":"{\"password\":\"***\",\"a\":1}"}"#,
            ),
            (
                Redact::Tokens,
                r#"{"password":"a, b!c","token":12345,"secret":null}"#,
                r#"{"password":"***","token":"***","secret":null}"#,
            ),
            (
                Redact::Tokens,
                "pwd=x!y client_secret='a b' api-key: k1",
                "pwd=*** client_secret='***' api-key: ***",
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
        assert!(Redactor::compile(&[Redact::Pattern("x*".to_owned())], None).is_err());
    }

    #[test]
    fn networks_and_hashes() {
        let bits = Redact::Networks(Bits { v4: 16, v6: 32 });
        assert_eq!(
            redacted(&[bits], "from 192.0.2.7 and 2001:db8:1:2::3 at 12:24:10"),
            "from 192.0.0.0 and 2001:db8:: at 12:24:10"
        );
        assert_eq!(
            redacted(&[Redact::Ips], "[::1]:80 fe80::1%eth0 999.1.1.1"),
            "[::]:80 fe80::%eth0 999.1.1.1"
        );
        let hash = |what| Redact::Hash(Box::new(what));
        let mails = redacted(&[hash(Redact::Emails)], "a@b.example b@b.example a@b.example");
        let words: Vec<_> = mails.split(' ').collect();
        assert_eq!(words[0], words[2]);
        assert_ne!(words[0], words[1]);
        assert_eq!(words[0].len(), 16);
        let own = hash(Redact::Pattern("user=(\\w+)".to_owned()));
        let line = redacted(&[own], "user=bob ok");
        assert!(line.starts_with("user=") && line.ends_with(" ok") && !line.contains("bob"), "{line}");
        let card = redacted(&[hash(Redact::Cards)], "{\"card\":4111111111111111}");
        assert!(
            card.starts_with("{\"card\":\"") && card.ends_with("\"}") && !card.contains("1111"),
            "{card}"
        );
        assert!(Redactor::compile(&[hash(Redact::Emails)], None).is_err());
    }
}
