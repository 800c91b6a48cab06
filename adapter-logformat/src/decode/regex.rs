//! A pattern of the user's own: a regular expression with named groups, or grok. Both run on regex-automata, in linear time: there is no
//! backtracking, and no look-around.
//!
//! A group's name says where its value goes, as the keys of JSON do: `time`, `level`, `message`, `status`, `client_ip`, …; others go to the
//! application's fields.

use regex::bytes::{CaptureLocations, Regex, RegexBuilder};

use super::{Context, Decoded, grok, logfmt, mapper, refuse};
use crate::{
    json::{Member, Token},
    record::Record,
    text::Str,
};

/// Bound of the memory that a compiled pattern may take.
const SIZE: usize = 4 << 20;
/// Most groups whose values are taken.
const GROUPS: usize = 64;

/// What a group's value is to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A number where it looks like one.
    Any,
    /// A number, or marked.
    Number,
    Text,
}

/// A group with the name that it gives.
#[derive(Clone, Debug)]
pub struct Group {
    pub place: usize,
    pub name: String,
    pub kind: Kind,
}

/// A compiled pattern.
#[derive(Clone, Debug)]
pub struct Pattern {
    regex: Regex,
    groups: Vec<Group>,
}

impl Pattern {
    /// A regular expression with named groups.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn regex(pattern: &str) -> Result<Self, String> {
        let regex = build(pattern)?;
        let groups: Vec<_> = regex
            .capture_names()
            .enumerate()
            .filter_map(|(place, name)| Some(Group { place, name: name?.to_owned(), kind: Kind::Any }))
            .collect();
        Self::new(regex, groups, "name groups such as (?<level>[A-Z]+)")
    }

    /// A grok expression: `%{IP:client_ip} %{NUMBER:took:float}`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn grok(pattern: &str) -> Result<Self, String> {
        let expanded = grok::expand(pattern)?;
        let regex = build(&expanded.regex)?;
        let mut groups = Vec::new();
        for (place, name) in regex.capture_names().enumerate() {
            let Some(name) = name else { continue };
            let known = name
                .strip_prefix("_g")
                .and_then(|n| n.parse::<usize>().ok())
                .and_then(|n| expanded.names.get(n));
            groups.push(match known {
                Some((name, kind)) => Group { place, name: name.clone(), kind: *kind },
                None => Group { place, name: name.to_owned(), kind: Kind::Any },
            });
        }
        Self::new(regex, groups, "name values such as %{IP:client_ip}")
    }

    fn new(regex: Regex, groups: Vec<Group>, remedy: &str) -> Result<Self, String> {
        match groups.len() {
            0 => Err(format!("it takes nothing over; {remedy}")),
            1..=GROUPS => Ok(Self { regex, groups }),
            more => Err(format!("it has {more} named groups; {GROUPS} are the most")),
        }
    }

    pub fn decode<'a>(&'a self, line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
        let mut places = cx.captures.take().unwrap_or_else(|| self.regex.capture_locations());
        let decoded = self.captures(line, &mut places, cx, record);
        cx.captures = Some(places);
        decoded
    }

    fn captures<'a>(
        &'a self,
        line: &'a [u8],
        places: &mut CaptureLocations,
        cx: &mut Context,
        record: &mut Record<'a>,
    ) -> Decoded {
        if self.regex.captures_read(places, line).is_none() {
            return refuse(0, "the pattern does not match");
        }
        let mut members: [Option<Member<'a>>; GROUPS] = [None; GROUPS];
        for (slot, group) in members.iter_mut().zip(&self.groups) {
            let Some((start, end)) = places.get(group.place) else { continue };
            let text = &line[start..end];
            if matches!(text, b"" | b"-") {
                continue;
            }
            let value = match group.kind {
                Kind::Text => Token::Text(Str::Raw(text)),
                _ => logfmt::bare(text),
            };
            if group.kind == Kind::Number && !matches!(value, Token::Number(_)) {
                record.note("number");
            }
            // The same name twice is an alternative that did not match, or a later value: the last one wins.
            *slot = Some(Member { key: Str::Raw(group.name.as_bytes()), value });
        }
        mapper::access(members.iter().flatten(), cx, record);
        Ok(())
    }
}

fn build(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern).unicode(false).size_limit(SIZE).dfa_size_limit(SIZE).build().map_err(|error| {
        let text = error.to_string();
        if text.contains("look-around") || text.contains("backreference") {
            format!("{text}; look-around and back-references would need backtracking, which a hostile line can make endless")
        } else {
            text
        }
    })
}
