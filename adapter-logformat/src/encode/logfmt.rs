//! A flat JSON object → `key=value` pairs, as go-kit and Heroku write them.

use crate::json::{self, Token};
use crate::text::{Str, escape_any};

/// `object` is one that the encoder wrote: valid, no key twice.
pub(super) fn write(object: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let mut given: Vec<Vec<u8>> = Vec::new();
    let mut moved = false;
    // A key that had to be changed could become another's: then all are compared.
    json::written(object, |member| {
        let mut key = Vec::new();
        member.key.resolve(&mut key);
        moved |= clean(&mut key);
        given.push(key);
    });
    let mut place = 0;
    json::written(object, |member| {
        let mut key = std::mem::take(&mut given[place]);
        while moved && given.contains(&key) {
            key.push(b'_');
        }
        if out.len() > start {
            out.push(b' ');
        }
        out.extend_from_slice(&key);
        given[place] = key;
        place += 1;
        out.push(b'=');
        value(&member.value, out);
    });
}

/// Nothing in a key that ends it.
fn clean(key: &mut Vec<u8>) -> bool {
    let mut changed = key.is_empty();
    for byte in key.iter_mut().filter(|b| **b <= b' ' || matches!(b, b'=' | b'"' | 0x7f)) {
        *byte = b'_';
        changed = true;
    }
    if key.is_empty() {
        key.push(b'_');
    }
    changed
}

fn value(token: &Token<'_>, out: &mut Vec<u8>) {
    match token {
        Token::Text(Str::Json(body)) if bare(body) => out.extend_from_slice(body),
        Token::Text(text) => {
            out.push(b'"');
            text.write(out, true, &mut Vec::new());
            out.push(b'"');
        }
        Token::Number(raw) | Token::Word(raw) => out.extend_from_slice(raw),
        Token::Odd(raw) | Token::Array { raw, .. } | Token::Object { raw, .. } => {
            out.push(b'"');
            escape_any(out, raw);
            out.push(b'"');
        }
    }
}

/// Needs no quotes. What looks like a number or a word stays what it was: text in quotes.
fn bare(body: &[u8]) -> bool {
    let special = |b: &u8| *b <= b' ' || matches!(b, b'=' | b'"' | b'\\' | 0x7f);
    !body.is_empty() && !body.iter().any(special) && !matches!(body, b"true" | b"false" | b"null")
}

#[cfg(test)]
mod tests {
    #[test]
    fn values_are_quoted_where_they_must_be_and_keys_stay_apart() {
        let mut out = Vec::new();
        super::write(
            br#"{"a":"x","b":"x y","c":"q\"","d":1.50,"e":{"f":[1]},"g h":1,"g_h":2,"":null,"i":""}"#,
            &mut out,
        );
        assert_eq!(
            String::from_utf8_lossy(&out),
            r#"a=x b="x y" c="q\"" d=1.50 e="{\"f\":[1]}" g_h_=1 g_h=2 _=null i="""#
        );
    }
}
