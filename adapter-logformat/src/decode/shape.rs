//! What the keys of a stream mean, remembered by their place: a logger writes the same keys in the same order, line after line, so a comparison
//! takes the place of two searches through the tables of [`super::dialect`].

use super::{
    dialect::{self, Hints, Meaning},
    dialect_servers::Kind,
};
use crate::{
    json::{Member, Token},
    text::short,
};

/// Longer keys are looked up every time.
const LONGEST: usize = 32;

/// What a key says about the line it stands in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub(super) kind: Option<Kind>,
    pub(super) hint: Hint,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hint {
    None,
    Clef,
    Ecs,
    Mongo(bool),
    Named,
}

/// See the module. At most as many places as the decoders look at.
#[derive(Debug, Default)]
pub(super) struct Shape(Vec<Slot>);

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// Zeros behind it.
    key: [u8; LONGEST],
    /// Beyond the longest: nothing is remembered here.
    length: usize,
    kind: u8,
    told: Told,
    /// The meaning under these hints.
    meaning: Option<(Hints, Option<Meaning>)>,
}

impl Slot {
    fn new(key: &[u8], value: &Token<'_>, kind: u8) -> Self {
        let mut kept = [0; LONGEST];
        let length = match kept.get_mut(..key.len()) {
            Some(kept) => {
                kept.copy_from_slice(key);
                key.len()
            }
            None => usize::MAX,
        };
        Self { key: kept, length, kind, told: dialect::tell(key, value), meaning: None }
    }

    #[inline]
    fn is(&self, key: &[u8], kind: u8) -> bool {
        if self.length != key.len() || self.kind != kind {
            return false;
        }
        match self.key.first_chunk() {
            Some(first) if key.len() < 16 => u128::from_le_bytes(*first) == short(key),
            _ => self.key.starts_with(key),
        }
    }
}

impl Shape {
    /// What the member at this place says about its line; to be asked before [`Self::meaning`], place by place.
    #[inline]
    pub(super) fn told(&mut self, place: usize, member: &Member<'_>) -> Told {
        let (key, kind) = (member.key.bytes(), kind(&member.value));
        match self.0.get(place) {
            Some(slot) if slot.is(key, kind) => slot.told,
            _ => self.learn(place, key, &member.value, kind),
        }
    }

    #[inline(never)]
    fn learn(&mut self, place: usize, key: &[u8], value: &Token<'_>, kind: u8) -> Told {
        let slot = Slot::new(key, value, kind);
        match self.0.get_mut(place) {
            Some(old) => *old = slot,
            None => self.0.push(slot),
        }
        slot.told
    }

    /// What the member at this place means.
    #[inline]
    pub(super) fn meaning(&mut self, place: usize, member: &Member<'_>, hints: &Hints) -> Option<Meaning> {
        match self.0.get(place) {
            Some(Slot { meaning: Some((known, meaning)), .. }) if known == hints => *meaning,
            _ => self.look_up(place, member, hints),
        }
    }

    #[inline(never)]
    fn look_up(&mut self, place: usize, member: &Member<'_>, hints: &Hints) -> Option<Meaning> {
        let key = member.key.bytes();
        let meaning = dialect::meaning(key, &member.value, hints);
        if let Some(slot) = self.0.get_mut(place)
            && slot.length <= LONGEST
            && !dialect::by_value(key, hints)
        {
            slot.meaning = Some((*hints, meaning));
        }
        meaning
    }
}

fn kind(token: &Token<'_>) -> u8 {
    match token {
        Token::Text(_) => 0,
        Token::Number(_) => 1,
        Token::Word(_) => 2,
        Token::Odd(_) => 3,
        Token::Array { .. } => 4,
        Token::Object { .. } => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Str;

    fn told(shape: &mut Shape, place: usize, key: &str, value: Token<'_>) -> Hint {
        shape.told(place, &Member { key: Str::Raw(key.as_bytes()), value }).hint
    }

    #[test]
    fn a_key_is_what_it_is_whatever_stood_at_its_place_before() {
        let mut shape = Shape::default();
        let text = Token::Text(Str::Raw(b"x"));
        let object = Token::Object { raw: b"{}", clean: true };
        for (key, value, hint) in [
            ("pid", text, Hint::Named),
            ("pi", text, Hint::None),
            ("pid", text, Hint::Named),
            ("t", text, Hint::Mongo(false)),
            ("t", object, Hint::Mongo(true)),
            ("levelname", text, Hint::Named),
            ("levelname_that_is_longer_than_what_is_kept", text, Hint::None),
            ("levelname", text, Hint::Named),
        ] {
            assert_eq!(told(&mut shape, 0, key, value), hint, "{key}");
        }
    }

    #[test]
    fn a_meaning_is_remembered_under_its_hints_only() {
        let mut shape = Shape::default();
        let member = Member { key: Str::Raw(b"name"), value: Token::Text(Str::Raw(b"x")) };
        let named = Hints { named: true, ..Hints::default() };
        for hints in [Hints::default(), named, named, Hints::default()] {
            shape.told(0, &member);
            assert_eq!(shape.meaning(0, &member, &hints).is_some(), hints.named);
        }
    }
}
