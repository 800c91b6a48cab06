//! A member of an object within a record: found, taken out, or given another value, without a tree of the object.

use crate::{
    json::{self, Token},
    record::Value,
    text::{Str, escape_any},
};

/// The value at `path` (names between dots) within an object.
pub(super) fn find<'a>(value: &Value<'a>, path: &str) -> Option<Value<'a>> {
    let (Value::Json(raw) | Value::Repair(raw)) = value else { return None };
    let (first, rest) = split(path);
    let mut found = None;
    json::object(raw, |member| {
        if is(&member.key, first) {
            found = Some(of(&member.value));
        }
    })
    .ok()?;
    match rest {
        Some(rest) => find(&found?, rest),
        None => found,
    }
}

/// Writes the object again with another value at `path`, or without it.
pub(super) fn rewrite(raw: &[u8], path: &str, with: Option<&[u8]>, out: &mut Vec<u8>) {
    let (first, rest) = split(path);
    let mut comma = false;
    out.push(b'{');
    let _ = json::object(raw, |member| {
        let here = is(&member.key, first);
        if here && rest.is_none() && with.is_none() {
            return;
        }
        if std::mem::replace(&mut comma, true) {
            out.push(b',');
        }
        out.push(b'"');
        member.key.write(out, false, &mut Vec::new());
        out.extend_from_slice(b"\":");
        match (here, rest, &member.value) {
            (true, None, _) => {
                out.push(b'"');
                escape_any(out, with.unwrap_or_default());
                out.push(b'"');
            }
            (true, Some(rest), Token::Object { raw, .. }) => rewrite(raw, rest, with, out),
            (_, _, value) => copy(value, out),
        }
    });
    out.push(b'}');
}

fn copy(value: &Token<'_>, out: &mut Vec<u8>) {
    match value {
        Token::Text(text) => {
            out.push(b'"');
            text.write(out, false, &mut Vec::new());
            out.push(b'"');
        }
        Token::Odd(raw) => {
            out.push(b'"');
            escape_any(out, raw);
            out.push(b'"');
        }
        Token::Number(raw) | Token::Word(raw) | Token::Array { raw, .. } | Token::Object { raw, .. } => {
            out.extend_from_slice(raw);
        }
    }
}

fn of<'a>(token: &Token<'a>) -> Value<'a> {
    match token {
        Token::Text(text) => Value::Text(*text),
        Token::Odd(raw) => Value::Text(Str::Raw(raw)),
        Token::Number(raw) | Token::Word(raw) => Value::Json(raw),
        Token::Array { raw, clean } | Token::Object { raw, clean } => {
            if *clean {
                Value::Json(raw)
            } else {
                Value::Repair(raw)
            }
        }
    }
}

fn split(path: &str) -> (&str, Option<&str>) {
    path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)))
}

fn is(key: &Str<'_>, name: &str) -> bool {
    if key.is_plain() {
        return key.bytes() == name.as_bytes();
    }
    let mut plain = Vec::new();
    key.resolve(&mut plain);
    plain == name.as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_replaced_and_taken_out() {
        let raw = br#"{"a":{"b":{"c":1,"d":"x\"y"}},"e":[1,2]}"#;
        assert!(matches!(find(&Value::Json(raw), "a.b.c"), Some(Value::Json(b"1"))));
        assert!(find(&Value::Json(raw), "a.c").is_none());
        let mut out = Vec::new();
        rewrite(raw, "a.b.d", Some(b"**\"*"), &mut out);
        assert_eq!(String::from_utf8_lossy(&out), r#"{"a":{"b":{"c":1,"d":"**\"*"}},"e":[1,2]}"#);
        out.clear();
        rewrite(raw, "a.b", None, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), r#"{"a":{},"e":[1,2]}"#);
    }
}
