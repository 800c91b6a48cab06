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

/// The secrets in it: what follows the first colon, whole and in the parts that readers of URLs make of it.
pub(crate) fn secrets(text: &str) -> impl Iterator<Item = &str> {
    let password = unencoded(text).and_then(|info| info.split_once(':')).map(|(_, password)| password);
    password
        .into_iter()
        .flat_map(|password| std::iter::once(password).chain(password.split(['/', '?', '#', '@', ':'])))
}

/// # Errors
/// A userinfo that ends early for every reader of URLs.
pub(super) fn check(text: &str) -> Result<(), Wrong> {
    match unencoded(text) {
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
        for good in [
            "postgres://app:pa%2Fss@db/x",
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
