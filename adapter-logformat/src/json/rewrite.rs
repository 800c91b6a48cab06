//! Accepted JSON, written once more: repaired.

use super::{MAX_DEPTH, Token, scan::Scan};
use crate::text::{Str, escape_any};

/// Writes accepted JSON again, repaired: keys once (the last wins), strings clean, odd words as strings.
pub fn rewrite(raw: &[u8], out: &mut Vec<u8>) {
    let mut scan = Scan { text: raw, at: 0, deepest: MAX_DEPTH };
    match scan.value(0) {
        Ok(token) => write_token(&token, out),
        // Only accepted spans come here; should that ever fail, the text itself is still there to read.
        Err(_) => {
            out.push(b'"');
            escape_any(out, raw);
            out.push(b'"');
        }
    }
}

fn write_token(token: &Token<'_>, out: &mut Vec<u8>) {
    match token {
        Token::Text(text) => write_text(text, out),
        Token::Number(raw) | Token::Word(raw) => out.extend_from_slice(raw),
        Token::Odd(raw) => write_text(&Str::Raw(raw), out),
        Token::Array { raw, .. } => {
            let mut scan = Scan { text: raw, at: 1, deepest: MAX_DEPTH };
            let mut first = true;
            out.push(b'[');
            let _ = scan.items(|value| {
                comma(&mut first, out);
                write_token(&value, out);
            });
            out.push(b']');
        }
        Token::Object { raw, .. } => {
            let mut scan = Scan { text: raw, at: 1, deepest: MAX_DEPTH };
            let mut members: Vec<(Vec<u8>, Token<'_>)> = Vec::new();
            let mut places = std::collections::HashMap::new();
            let _ = scan.members(|key, value| {
                let mut name = Vec::new();
                key.resolve(&mut name);
                match places.get(&name) {
                    Some(&place) => {
                        let entry: &mut (Vec<u8>, Token<'_>) = &mut members[place];
                        entry.1 = value;
                    }
                    None => {
                        places.insert(name.clone(), members.len());
                        members.push((name, value));
                    }
                }
            });
            let mut first = true;
            out.push(b'{');
            for (name, value) in &members {
                comma(&mut first, out);
                write_text(&Str::Raw(name), out);
                out.push(b':');
                write_token(value, out);
            }
            out.push(b'}');
        }
    }
}

fn comma(first: &mut bool, out: &mut Vec<u8>) {
    if !std::mem::take(first) {
        out.push(b',');
    }
}

fn write_text(text: &Str<'_>, out: &mut Vec<u8>) {
    out.push(b'"');
    text.write(out, false, &mut Vec::new());
    out.push(b'"');
}
