//! Passwords that were not percent-encoded: `postgres://app:pa/ss@db/x`. Every reader of URLs takes the host from them wrongly, and says a
//! part of the password while complaining.

use super::Wrong;

/// Where the userinfo of such a URL begins and ends; `None` for URLs that are fine.
fn unencoded(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("://")?;
    let end = rest.find(['/', '?', '#'])?;
    // A right authority ends before the first of these; then an `@` behind it belongs to a path or a query.
    if rest[..end].contains('@') {
        return None;
    }
    // `host:8080/p@q` is fine, `app:pa/ss@host` is not.
    let (_, port) = rest[..end].split_once(':')?;
    if port.is_empty() || port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let at = rest.rfind('@')?;
    (at > end).then(|| &rest[..at])
}

/// `app:p@ss/word@db`: what readers of URLs take for the host is a part of the password. No path of these has an `@`, and no key of a
/// query; paths of HTTP do.
fn goes_on(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once("://")?;
    let end = rest.find(['/', '?', '#'])?;
    if scheme.contains("http") || !rest[..end].rsplit_once('@')?.0.contains(':') {
        return None;
    }
    // The value of an option may be anything.
    let path = rest[end..].find('?').map_or(rest.len(), |at| end + at);
    let keys = rest[path..].find('=').map_or(rest.len(), |at| path + at);
    let at = rest[..keys].rfind('@')?;
    (at > end).then(|| &rest[..at])
}

/// The secrets in it: what follows the first colon, whole and in the parts that readers of URLs make of it.
pub(crate) fn secrets(text: &str) -> impl Iterator<Item = &str> {
    let password = unencoded(text)
        .or_else(|| goes_on(text))
        .and_then(|info| info.split_once(':'))
        .map(|(_, password)| password);
    password
        .into_iter()
        .flat_map(|password| std::iter::once(password).chain(password.split(['/', '?', '#', '@', ':'])))
}

/// # Errors
/// A userinfo that ends early for every reader of URLs.
pub(crate) fn check(text: &str) -> Result<(), Wrong> {
    match unencoded(text).or_else(|| goes_on(text)) {
        None => Ok(()),
        Some(_) => Err(Wrong::new(
            "the password holds a character that ends the host part of a URL",
            "write %2F for /, %3F for ?, %23 for # and %40 for @, or give it by `password: {file: …}`",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_with_slashes_and_the_like() {
        for bad in
            ["postgres://app:pa/ss@db/x", "redis://:a#b@db:6379", "amqp://u:p?q@h/v", "http://u:p/w@h:80/"]
        {
            assert!(check(bad).is_err(), "{bad}");
        }
        for bad in ["postgres://app:p@ss/w0rd@db/x", "redis://:p@ss#w0rd@db:6379", "amqp://u:p@ss?w0rd@h/v"] {
            assert!(check(bad).is_err(), "{bad}");
            assert!(secrets(bad).any(|part| part == "w0rd"), "{bad}");
        }
        for good in [
            "postgres://app:pa%2Fss@db/x",
            "postgres://app:p@ss@db/x?query=SELECT 'a@b'&expect=a@b",
            "postgres://app@db/x@y",
            "http://u:p@h/a@b",
            "http://h:8080/@scope/pkg",
            "http://h/a:b@c",
            "http://[::1]:80/",
            "tcp://h:1",
            "exec:echo a@b",
        ] {
            assert!(check(good).is_ok(), "{good}");
        }
        let found: Vec<&str> = secrets("postgres://app:pa/ss@word@db/x").collect();
        assert_eq!(found, ["pa/ss@word", "pa", "ss", "word"]);
    }
}
