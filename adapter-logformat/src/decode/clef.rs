//! Serilog's message templates: the message is put together from the template and the properties, as Serilog's console does with `{Message:lj}`.
//!
//! `{"@t":"…","@mt":"Order {OrderId} took {Elapsed:0.0} ms","@r":["12.3"],"OrderId":7,"Elapsed":12.345}` in the compact format (CLEF), and
//! `{"Timestamp":"…","MessageTemplate":"…","Properties":{…},"Renderings":{…}}` in the longer one (messagetemplates.org; serilog-formatting-compact).

use crate::{
    json::{Member, Token, array, object},
    text::Str,
};

/// Where the values of a template come from.
struct Values<'a> {
    properties: Vec<Member<'a>>,
    /// CLEF: what the holes with a format became, in their order.
    renderings: Vec<Str<'a>>,
    /// The longer format: the same by the property's name.
    named: Option<&'a [u8]>,
}

/// Fills `to` with the message of a line that has a template with holes and no message made of it.
pub fn render(line: &[u8], to: &mut Vec<u8>) -> bool {
    let likely = match line.get(2) {
        Some(b'@') => memchr::memmem::find(line, b"\"@mt\"").is_some(),
        Some(b'T') => memchr::memmem::find(line, b"\"MessageTemplate\"").is_some(),
        _ => false,
    };
    if !likely {
        return false;
    }
    let mut members: Vec<Member<'_>> = Vec::new();
    if object(line, |member| members.push(member)).is_err() {
        return false;
    }
    let find = |name: &[u8]| members.iter().find(|m| m.key.bytes() == name).map(|m| m.value);
    let mut values = Values { properties: Vec::new(), renderings: Vec::new(), named: None };
    let template = match (find(b"@mt"), find(b"MessageTemplate")) {
        (Some(Token::Text(template)), _) if find(b"@m").is_none() => {
            if let Some(Token::Array { raw, .. }) = find(b"@r") {
                let _ = array(raw, |item| {
                    values.renderings.push(match item {
                        Token::Text(text) => text,
                        other => raw_of(&other),
                    });
                });
            }
            values.properties = members;
            template
        }
        (None, Some(Token::Text(template))) if find(b"RenderedMessage").is_none() => {
            let Some(Token::Object { raw, .. }) = find(b"Properties") else { return false };
            let _ = object(raw, |member| values.properties.push(member));
            if let Some(Token::Object { raw, .. }) = find(b"Renderings") {
                values.named = Some(raw);
            }
            template
        }
        _ => return false,
    };
    let mut text = Vec::new();
    template.resolve(&mut text);
    to.clear();
    fill(&text, &values, to) > 0
}

/// Appends the template's text with its holes filled, and gives their number. What is no hole, or has no value, stays as it is written.
fn fill(template: &[u8], values: &Values<'_>, to: &mut Vec<u8>) -> usize {
    let (mut at, mut holes, mut formatted) = (0, 0, 0);
    while let Some(found) = memchr::memchr2(b'{', b'}', &template[at..]) {
        to.extend_from_slice(&template[at..at + found]);
        at += found;
        let brace = template[at];
        if template.get(at + 1) == Some(&brace) {
            to.push(brace);
            at += 2;
            continue;
        }
        let hole = (brace == b'{').then(|| hole(&template[at + 1..])).flatten();
        let Some(hole) = hole else {
            to.push(brace);
            at += 1;
            continue;
        };
        let whole = &template[at..=at + hole.length];
        at += hole.length + 1;
        let start = to.len();
        let rendering = match hole.format {
            Some(_) if values.named.is_none() => {
                formatted += 1;
                values.renderings.get(formatted - 1).copied()
            }
            Some(format) => named(values, hole.name, format),
            None => None,
        };
        let value = || values.properties.iter().find(|m| m.key.bytes() == hole.name).map(|m| m.value);
        match (rendering, value()) {
            (Some(text), _) | (None, Some(Token::Text(text))) => text.resolve(to),
            (None, Some(other)) => to.extend_from_slice(raw_of(&other).bytes()),
            (None, None) => {
                to.extend_from_slice(whole);
                continue;
            }
        }
        holes += 1;
        pad(to, start, hole.width);
    }
    to.extend_from_slice(&template[at..]);
    holes
}

struct Hole<'a> {
    name: &'a [u8],
    /// At least so many characters; below 0: filled up behind instead of in front.
    width: i64,
    format: Option<&'a [u8]>,
    /// Up to and with its closing brace.
    length: usize,
}

/// `[@$]Name[,width][:format]}`
fn hole(text: &[u8]) -> Option<Hole<'_>> {
    let end = memchr::memchr(b'}', text)?;
    let inner = text[..end].strip_prefix(b"@").or(text[..end].strip_prefix(b"$")).unwrap_or(&text[..end]);
    let (inner, format) = match memchr::memchr(b':', inner) {
        Some(colon) => (&inner[..colon], Some(&inner[colon + 1..])),
        None => (inner, None),
    };
    let (name, width) = match memchr::memchr(b',', inner) {
        Some(comma) => {
            let width = inner[comma + 1..].trim_ascii();
            let (sign, digits) = match width.strip_prefix(b"-") {
                Some(digits) => (-1, digits),
                None => (1, width),
            };
            (&inner[..comma], sign * crate::time::number(digits).filter(|n| *n <= 256)?)
        }
        None => (inner, 0),
    };
    let good = !name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.'));
    good.then_some(Hole { name, width, format, length: end + 1 })
}

/// `{"Elapsed":[{"Format":"0.0","Rendering":"12.3"}]}`
fn named<'a>(values: &Values<'a>, name: &[u8], format: &[u8]) -> Option<Str<'a>> {
    let mut found = None;
    let _ = object(values.named?, |member| {
        let Token::Array { raw, .. } = member.value else { return };
        if member.key.bytes() != name {
            return;
        }
        let _ = array(raw, |item| {
            let Token::Object { raw, .. } = item else { return };
            let (mut mine, mut text) = (false, None);
            let _ = object(raw, |m| match (m.key.bytes(), m.value) {
                (b"Format", Token::Text(written)) => mine = written.bytes() == format,
                (b"Rendering", Token::Text(rendering)) => text = Some(rendering),
                _ => {}
            });
            found = found.or(text.filter(|_| mine));
        });
    });
    found
}

fn raw_of<'a>(token: &Token<'a>) -> Str<'a> {
    match token {
        Token::Text(text) => *text,
        Token::Number(raw)
        | Token::Word(raw)
        | Token::Odd(raw)
        | Token::Array { raw, .. }
        | Token::Object { raw, .. } => Str::Raw(raw),
    }
}

fn pad(to: &mut Vec<u8>, start: usize, width: i64) {
    let characters = to[start..].iter().filter(|b| **b & 0xc0 != 0x80).count();
    let missing = usize::try_from(width.abs()).unwrap_or(0).saturating_sub(characters);
    let blanks = std::iter::repeat_n(b' ', missing);
    match width < 0 {
        true => to.extend(blanks),
        false => drop(to.splice(start..start, blanks)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(line: &str) -> Option<String> {
        let mut to = Vec::new();
        render(line.as_bytes(), &mut to).then(|| String::from_utf8(to).expect("text"))
    }

    #[test]
    fn holes_are_filled_as_the_console_does() {
        for (template, more, message) in [
            ("Order {OrderId} by {User}", r#""OrderId":7,"User":"bob \"b\"""#, "Order 7 by bob \"b\""),
            (
                "took {Ms:0.0} of {Max:0} ms",
                r#""Ms":12.345,"@r":["12.3","20"],"Max":20.1"#,
                "took 12.3 of 20 ms",
            ),
            (
                "{@Order} {$User} {{Id}} {Id}",
                r#""Order":{"a":[1]},"User":null,"Id":1"#,
                "{\"a\":[1]} null {Id} 1",
            ),
            ("[{Level,5}] [{Name,-5}] [{Name,3}]", r#""Level":"é1","Name":"abcd""#, "[   é1] [abcd ] [abcd]"),
            ("{Missing} {Id} {not a hole} }", r#""Id":true"#, "{Missing} true {not a hole} }"),
        ] {
            let line =
                format!("{{\"@t\":\"2026-11-21T12:24:10Z\",\"@mt\":{},{more}}}", serde_json::json!(template));
            assert_eq!(rendered(&line).as_deref(), Some(message), "{line}");
        }
    }

    #[test]
    fn the_longer_format_has_its_values_below_properties() {
        let line = r#"{"Timestamp":"2026-11-21T12:24:10Z","Level":"Information","MessageTemplate":"{Id} took {Ms:0.0}","Properties":{"Id":7,"Ms":12.345},"Renderings":{"Ms":[{"Format":"0.0","Rendering":"12.3"}]}}"#;
        assert_eq!(rendered(line).as_deref(), Some("7 took 12.3"));
    }

    #[test]
    fn what_has_a_message_or_no_holes_is_left_alone() {
        for line in [
            r#"{"@t":"2026-11-21T12:24:10Z","@mt":"started"}"#,
            r#"{"@t":"2026-11-21T12:24:10Z","@mt":"{A}","@m":"1","A":1}"#,
            r#"{"@t":"2026-11-21T12:24:10Z","@mt":7,"A":1}"#,
            r#"{"Timestamp":"2026-11-21T12:24:10Z","MessageTemplate":"{A}","RenderedMessage":"1","Properties":{"A":1}}"#,
            r#"{"@t":"2026-11-21T12:24:10Z","@mt":"{A}","A":1"#,
            r#"{"msg":"@mt"}"#,
        ] {
            assert_eq!(rendered(line), None, "{line}");
        }
    }
}
