//! Secrets are replaced by `***` in everything that leaves the process.

use std::cell::RefCell;

/// Knows the literal secrets of this run. Every sentence goes through [`Redactor::clean`] before anyone sees it.
#[derive(Debug, Default, Clone)]
pub struct Redactor {
    /// Longest first, so that a secret that contains another one is replaced as a whole.
    literals: std::rc::Rc<RefCell<Vec<Literal>>>,
}

#[derive(Clone, PartialEq, Eq)]
struct Literal(String);

impl std::fmt::Debug for Literal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Query keys whose values are secrets.
const KEYS: [&str; 13] = [
    "password",
    "passwd",
    "pwd",
    "token",
    "secret",
    "key",
    "apikey",
    "sig",
    "signature",
    "auth",
    "authorization",
    "credential",
    "credentials",
];

impl Redactor {
    /// Text shorter than three characters is no secret, but would tear up every sentence.
    pub fn learn(&self, secret: &str) {
        let mut list = self.literals.borrow_mut();
        // As it is, as URLs spell it, and as `clean` leaves it when it has several lines.
        for text in [secret.to_owned(), crate::sql::decode(secret), encoded(secret), visible(secret)] {
            let literal = Literal(text);
            if literal.0.chars().count() >= 3 && !list.contains(&literal) {
                list.push(literal);
            }
        }
        list.sort_by_key(|literal| std::cmp::Reverse(literal.0.len()));
    }

    /// Learns the userinfo's password (or the user, when it is alone, because that is a token) and the values of
    /// telling query keys.
    pub fn learn_url(&self, text: &str) {
        let Some((_, rest)) = text.split_once("://") else { return };
        let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
        if let Some((userinfo, _)) = authority.rsplit_once('@') {
            match userinfo.split_once(':') {
                Some((_, password)) => self.learn(password),
                None if ["http", "nats"].iter().any(|scheme| text.starts_with(scheme))
                    || text.contains("git") =>
                {
                    self.learn(userinfo);
                }
                None => {}
            }
        }
        crate::target::secrets(text).for_each(|part| self.learn(part));
        let query = rest.split_once('?').map_or("", |(_, query)| query);
        for pair in query.split('&') {
            if let Some((key, value)) = pair.split_once('=')
                && is_telling(key)
            {
                self.learn(value);
            }
        }
    }

    /// The text without secrets, userinfo masked, control characters (of a server's answer, of a file) made visible.
    pub fn clean(&self, text: &str) -> String {
        let mut text = visible(text);
        for literal in self.literals.borrow().iter() {
            if text.contains(&literal.0) {
                text = text.replace(&literal.0, "***");
            }
        }
        masked(&text)
    }
}

/// Without control characters.
fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { ' ' } else { c }).collect()
}

/// The userinfo of every URL in a text (a server's error, a redirect) masked: a lone user may be a token.
fn masked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end = after
            .find(|c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\'' | '<' | '>'))
            .unwrap_or(after.len());
        let (authority, behind) = after.split_at(end);
        match authority.rsplit_once('@') {
            None => out.push_str(authority),
            Some((userinfo, host)) => match userinfo.split_once(':') {
                Some((user, _)) => out.extend([user, ":***@", host]),
                None => out.extend(["***@", host]),
            },
        }
        rest = behind;
    }
    out.push_str(rest);
    out
}

/// Whether a key, a header or a parameter of this name holds a secret.
pub(crate) fn is_telling(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    key.split(['-', '_', '.']).any(|part| KEYS.contains(&part))
        || key.ends_with("token")
        || key.ends_with("password")
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_every_spelling() {
        let redactor = Redactor::default();
        redactor.learn_url("postgres://app:s3cr%40et@db/x?sslmode=require");
        assert_eq!(redactor.clean("user app, s3cr%40et and s3cr@et"), "user app, *** and ***");
        assert_eq!(redactor.clean("sslmode=require"), "sslmode=require");
        redactor.learn_url("https://host/p?access_token=abcdef&page=2");
        assert_eq!(
            redactor.clean("https://host/p?access_token=abcdef&page=2"),
            "https://host/p?access_token=***&page=2"
        );
        assert_eq!(redactor.clean("http://u:other@h/"), "http://u:***@h/");
        redactor.learn_url("https://ghp_token123@github.com/x");
        assert_eq!(redactor.clean("got ghp_token123"), "got ***");
        assert!(!format!("{redactor:?}").contains("s3cr"));
    }

    #[test]
    fn every_url_of_a_text_is_masked() {
        let redactor = Redactor::default();
        assert_eq!(
            redactor.clean("http://h/a redirects to https://u:other@h/, not http://tok@i and bob@example"),
            "http://h/a redirects to https://u:***@h/, not http://***@i and bob@example"
        );
        assert_eq!(redactor.clean("postgres://app:p@w@db/x"), "postgres://app:***@db/x");
    }

    #[test]
    fn secrets_of_several_lines_and_in_urls_that_are_none() {
        let redactor = Redactor::default();
        redactor.learn("line one\nline two");
        assert_eq!(redactor.clean("said line one\nline two"), "said ***");
        redactor.learn_url("postgres://app:s3c/r3t@db/x");
        assert_eq!(redactor.clean("\"s3c\" is no port"), "\"***\" is no port");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let redactor = Redactor::default();
        assert_eq!(redactor.clean("a\x1b[31mb\nc"), "a [31mb c");
    }
}
