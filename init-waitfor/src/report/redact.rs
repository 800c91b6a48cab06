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
const KEYS: [&str; 10] =
    ["password", "passwd", "pwd", "token", "secret", "key", "sig", "signature", "auth", "credential"];

impl Redactor {
    /// Text shorter than three characters is no secret, but would tear up every sentence.
    pub fn learn(&self, secret: &str) {
        let mut list = self.literals.borrow_mut();
        for text in [secret.to_owned(), decoded(secret), encoded(secret)] {
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
                None if text.starts_with("http") || text.contains("git") => self.learn(userinfo),
                None => {}
            }
        }
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
        let mut text: String =
            text.chars().map(|c| if c.is_control() && c != '\t' { ' ' } else { c }).collect();
        for literal in self.literals.borrow().iter() {
            if text.contains(&literal.0) {
                text = text.replace(&literal.0, "***");
            }
        }
        match podkit::secret::mask_url(&text) {
            std::borrow::Cow::Borrowed(_) => text,
            std::borrow::Cow::Owned(masked) => masked,
        }
    }
}

fn is_telling(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    key.split(['-', '_', '.']).any(|part| KEYS.contains(&part))
        || key.ends_with("token")
        || key.ends_with("password")
}

fn decoded(text: &str) -> String {
    // As a pair's value, so that only percent signs mean something.
    let pair = format!("v={}", text.replace('+', "%2B").replace('&', "%26").replace('=', "%3D"));
    url::form_urlencoded::parse(pair.as_bytes())
        .next()
        .map_or_else(String::new, |(_, value)| value.into_owned())
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
    fn control_characters_do_not_reach_the_terminal() {
        let redactor = Redactor::default();
        assert_eq!(redactor.clean("a\x1b[31mb\nc"), "a [31mb c");
    }
}
