//! What the keys of a stream mean, remembered, and what came behind each of them the last time: loggers write the same keys in the same order, line
//! after line, so that mostly a comparison takes the place of a scan for the key's end and of two searches through the tables of [`super::dialect`].

use super::{
    dialect::{self, Hints, Meaning},
    dialect_servers::Kind,
    mapper,
};
use crate::{
    json::{Member, Token},
    record::{Field, Known},
    text::{BLOCK, Block, Str},
};

/// Longer keys are looked up every time.
const LONGEST: usize = 2 * BLOCK;
/// Keys that are remembered. With more than these it starts anew.
const MOST: usize = 96;

/// No hints are this.
const UNKNOWN: u16 = u16::MAX;

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

/// How a format writes its keys: what stands in front of them and behind. The first byte in front is what separates members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) enum Style {
    /// `,"key":`
    Json,
    /// ` key=`
    Pairs,
    /// Its keys are not looked for with the help of earlier lines'.
    #[default]
    Other,
}

/// A key that comes next as it did the last time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Next<'a> {
    pub(super) key: &'a [u8],
    /// How much is written for it, with what separates it from the one in front.
    pub(super) width: usize,
    pub(super) place: Place,
}

/// Where a key is remembered.
pub(super) type Place = u8;
/// No key: before the first one of a line, or one that is not remembered.
pub(super) const NOWHERE: Place = 0;

/// What is to be done with a member of a key, in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// It is the application's own, and nobody looks into it.
    Own,
    /// A text or a number.
    Time,
    /// A text or a number.
    Level,
    Message,
    /// A text or a number.
    Is(Field),
    /// A text.
    Origin,
    /// To be looked at, or the key says something about the line.
    Other,
}

impl Action {
    fn new(meaning: Option<&Meaning>, key: &[u8], kind: u8, hints: &Hints) -> Self {
        let scalar = kind == TEXT || kind == NUMBER;
        match meaning {
            None if kind != OBJECT || !mapper::opens(key) => Action::Own,
            Some(Meaning::Origin) if kind == TEXT => Action::Origin,
            Some(Meaning::Time) if scalar => Action::Time,
            Some(Meaning::Level) if scalar => Action::Level,
            Some(Meaning::Message) => Action::Message,
            // Servers write what is not there as a text, too.
            Some(Meaning::Is(field)) if scalar && hints.kind == Kind::Plain => Action::Is(*field),
            _ => Action::Other,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Shape {
    /// The first is none, but has what the last line began with behind it.
    slots: Vec<Slot>,
    /// Places by a few bits of the key.
    table: [Place; 128],
    style: Style,
    /// … of this line.
    writes: Style,
    /// What the keys of this line said about it.
    pub(super) hints: Hints,
    /// … and those of the last one of the style.
    last: Hints,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            slots: vec![Slot::NONE],
            table: [NOWHERE; 128],
            style: Style::Other,
            writes: Style::Other,
            hints: Hints::default(),
            last: Hints::default(),
        }
    }
}

#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Slot {
    /// The key as it is written.
    written: [u8; LONGEST],
    /// A bit for each byte of that that counts; not for the first one where it separates.
    bits: u32,
    /// Bytes in front of the key, of the key, and of all that is written; the latter 0 where it cannot be told from what comes next.
    front: u8,
    length: u8,
    width: u8,
    /// Of its value.
    kind: u8,
    /// The key that came behind it the last time.
    next: Place,
    told: Option<Told>,
    known: Known,
    /// The meaning under these hints. That of the first slot is of no key for longer than it is asked for.
    meaning: Option<Meaning>,
    /// … in short.
    action: Action,
    under: u16,
}

impl Slot {
    const NONE: Self = Self {
        written: [0; LONGEST],
        bits: 0,
        front: 0,
        length: 0,
        width: 0,
        kind: u8::MAX,
        next: NOWHERE,
        told: None,
        known: Known::NONE,
        meaning: None,
        action: Action::Other,
        under: UNKNOWN,
    };

    /// `None` where the key is too long, or empty, or not written as it is meant.
    fn new(style: Style, key: &Str<'_>, value: &Token<'_>) -> Option<Self> {
        let (front, behind): (&[u8], &[u8]) = match (style, key) {
            (Style::Json, Str::Json(_)) => (b",\"", b"\":"),
            (Style::Pairs, Str::Raw(_)) => (b" ", b"="),
            _ => (b"", b""),
        };
        let bytes = key.bytes();
        let known = Known::new(key).filter(|_| bytes.len() <= LONGEST)?;
        let told = dialect::tell(bytes, value);
        let told = Some(told).filter(|told| told.kind.is_some() || told.hint != Hint::None);
        let mut slot = Self { kind: kind(value), told, known, ..Self::NONE };
        let whole = [front, bytes, behind].concat();
        let fits = !behind.is_empty() && whole.len() <= LONGEST;
        let (front, whole) = if fits { (front.len(), &whole[..]) } else { (0, bytes) };
        slot.written[..whole.len()].copy_from_slice(whole);
        slot.bits = u32::MAX >> (LONGEST - whole.len()) & !u32::from(fits);
        let small = |length: usize| u8::try_from(length).ok();
        (slot.front, slot.length) = (small(front)?, small(bytes.len())?);
        slot.width = if fits { small(whole.len())? } else { 0 };
        Some(slot)
    }

    /// True when what comes next is the key, behind this byte.
    #[inline(always)]
    fn is_next(&self, separator: u8, rest: &[u8]) -> bool {
        let (first, second) = self.written.split_at(BLOCK);
        let same = |rest: &[u8; BLOCK], key: &[u8]| match key.first_chunk() {
            Some(key) => Block::of(rest).same(Block::of(key)),
            None => 0,
        };
        let Some(block) = rest.first_chunk() else {
            return rest.first() == Some(&separator) && self.is_here(&rest[1..]);
        };
        let mut bits = same(block, first);
        if usize::from(self.width) > BLOCK {
            let Some(block) = rest.get(BLOCK..).and_then(<[u8]>::first_chunk) else {
                return block[0] == separator && self.is_here(&rest[1..]);
            };
            bits |= same(block, second) << BLOCK;
        }
        rest.first() == Some(&separator) && self.width > 0 && bits & self.bits == self.bits
    }

    /// True when the key is here, behind whatever separates it.
    #[inline(never)]
    fn is_here(&self, rest: &[u8]) -> bool {
        self.written.get(1..usize::from(self.width)).is_some_and(|key| rest.starts_with(key))
    }

    #[inline(always)]
    fn key(&self) -> std::ops::Range<usize> {
        usize::from(self.front)..usize::from(self.front) + usize::from(self.length)
    }

    fn is(&self, key: &[u8], kind: u8) -> bool {
        self.kind == kind && self.written.get(self.key()) == Some(key)
    }
}

impl Shape {
    /// Before the first key of a line. `style`: how keys are written that [`Self::next`] is to know; `kind`: what kind of line it is, if its keys do
    /// not tell.
    #[inline]
    pub(super) fn begin(&mut self, style: Style, kind: Kind) {
        if self.style != style && style != Style::Other || self.slots.len() > MOST {
            *self = Self { style, ..Self::default() };
        }
        self.writes = style;
        self.hints = Hints { kind, ..Hints::default() };
    }

    /// The key that comes next behind the one at this place and this byte, where it is the one that did the last time.
    #[inline(always)]
    pub(super) fn next<'a>(&self, here: Place, separator: u8, rest: &'a [u8]) -> Option<Next<'a>> {
        let place = self.slots.get(usize::from(here))?.next;
        let slot = self.slots.get(usize::from(place))?;
        if !slot.is_next(separator, rest) {
            return None;
        }
        let (key, width) = (rest.get(slot.key())?, usize::from(slot.width));
        Some(Next { key, width, place })
    }

    /// The same where whatever separates it is behind us already; it counts in the width nevertheless.
    #[inline(never)]
    pub(super) fn next_here<'a>(&self, here: Place, rest: &'a [u8]) -> Option<Next<'a>> {
        let place = self.slots.get(usize::from(here))?.next;
        let slot = self.slots.get(usize::from(place)).filter(|slot| slot.is_here(rest))?;
        let key = slot.key();
        Some(Next { key: rest.get(key.start - 1..key.end - 1)?, width: usize::from(slot.width), place })
    }

    /// What to do with a key that comes next, where its value is of the kind that it had, and what it means in a line that says this is known.
    #[inline(always)]
    pub(super) fn pass(&self, place: Place, kind: u8, word: u16) -> Option<(Action, Known)> {
        let slot = self.slots.get(usize::from(place)).filter(|slot| slot.under == under(word, kind))?;
        Some((slot.action, slot.known))
    }

    /// Takes in what a key that came next says about the line.
    pub(super) fn tell(&mut self, place: Place) {
        if let Some(told) = self.slots.get(usize::from(place)).and_then(|slot| slot.told) {
            self.hints.take(told);
        }
    }

    /// Looks for a key, wherever it may come; here it comes behind this one. [`NOWHERE`] where it is not remembered.
    #[inline(never)]
    pub(super) fn find(&mut self, here: Place, key: &Str<'_>, value: &Token<'_>) -> Place {
        let (bytes, kind) = (key.bytes(), kind(value));
        let behind = self.slots.get(usize::from(here)).map_or(NOWHERE, |slot| slot.next);
        let hash = hash(bytes, kind);
        let is = |place: Place| place != NOWHERE && self.slots[usize::from(place)].is(bytes, kind);
        let place = if key.is_plain() && is(behind) {
            behind
        } else if key.is_plain() && is(self.table[hash]) {
            self.table[hash]
        } else {
            self.learn(key, value, hash)
        };
        match self.slots.get(usize::from(place)).filter(|_| place != NOWHERE) {
            Some(slot) => {
                if let Some(told) = slot.told {
                    self.hints.take(told);
                }
                if let Some(before) = self.slots.get_mut(usize::from(here)) {
                    before.next = place;
                }
            }
            None => self.hints.take(dialect::tell(bytes, value)),
        }
        place
    }

    /// What the last line in the style of this one said.
    #[inline]
    pub(super) fn last(&self) -> Hints {
        self.last
    }

    /// Behind a line that says something else.
    pub(super) fn end(&mut self) {
        self.last = self.hints;
    }

    /// [`NOWHERE`] where there is no room, or it is a key that is not remembered.
    fn learn(&mut self, key: &Str<'_>, value: &Token<'_>, hash: usize) -> Place {
        if self.slots.len() > MOST {
            return NOWHERE;
        }
        let place = u8::try_from(self.slots.len()).ok().zip(Slot::new(self.writes, key, value));
        place.map_or(NOWHERE, |(place, slot)| {
            self.slots.push(slot);
            self.table[hash] = place;
            place
        })
    }

    /// What a member means, and what is known of its key as a name. `word` is the hints'.
    #[inline(always)]
    pub(super) fn meaning(
        &mut self,
        place: Place,
        member: &Member<'_>,
        hints: &Hints,
        word: u16,
    ) -> (&Option<Meaning>, Option<Known>) {
        if self.slots.get(usize::from(place)).is_none_or(|slot| slot.under != under(word, slot.kind)) {
            self.look_up(place, member, hints);
        }
        match self.slots.get(usize::from(place)) {
            Some(slot) => (&slot.meaning, (place != NOWHERE).then_some(slot.known)),
            None => (&None, None),
        }
    }

    #[inline(never)]
    fn look_up(&mut self, place: Place, member: &Member<'_>, hints: &Hints) {
        let key = member.key.bytes();
        let meaning = dialect::meaning(key, &member.value, hints);
        let lasts = place != NOWHERE && !dialect::by_value(key, hints);
        if let Some(slot) = self.slots.get_mut(usize::from(place)) {
            slot.action = match slot.told {
                None => Action::new(meaning.as_ref(), key, slot.kind, hints),
                Some(_) => Action::Other,
            };
            slot.meaning = meaning;
            slot.under = if lasts { under(hints.word(), slot.kind) } else { UNKNOWN };
        }
    }
}

/// Hints and the kind of a value.
#[inline(always)]
fn under(word: u16, kind: u8) -> u16 {
    word << 3 | u16::from(kind & 7)
}

fn hash(key: &[u8], kind: u8) -> usize {
    let byte = |at: usize| usize::from(key.get(at).copied().unwrap_or(0));
    let middle = key.len() / 2;
    let mix = byte(0) * 31 + byte(middle) * 7 + byte(middle + 1) * 3 + byte(key.len().wrapping_sub(1)) * 13;
    (mix + key.len() * 5 + usize::from(kind)) % 128
}

const TEXT: u8 = 0;
const NUMBER: u8 = 1;
const OBJECT: u8 = 5;

#[inline(always)]
pub(super) fn kind(token: &Token<'_>) -> u8 {
    match token {
        Token::Text(_) => TEXT,
        Token::Number(_) => NUMBER,
        Token::Word(_) => 2,
        Token::Odd(_) => 3,
        Token::Array { .. } => 4,
        Token::Object { .. } => OBJECT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a line's keys say, and mean.
    fn line(shape: &mut Shape, members: &[(&'static str, Token<'static>)]) -> (Hints, Vec<bool>) {
        shape.begin(Style::Json, Kind::Plain);
        let members: Vec<_> = members
            .iter()
            .map(|(key, value)| Member { key: Str::Json(key.as_bytes()), value: *value })
            .collect();
        let (mut here, mut places) = (NOWHERE, Vec::new());
        for member in &members {
            let rest = format!(",\"{}\":{}", String::from_utf8_lossy(member.key.bytes()), "x".repeat(40));
            let next = shape.next(here, b',', rest.as_bytes());
            let (a, b) = (next, shape.next_here(here, &rest.as_bytes()[1..]));
            assert_eq!(a.map(|n| (n.key, n.width)), b.map(|n| (n.key, n.width)));
            let place = shape.find(here, &member.key, &member.value);
            if let Some(next) = next {
                assert_eq!((next.key, next.width), (member.key.bytes(), next.key.len() + 4));
                let same = shape.slots[usize::from(next.place)].kind == kind(&member.value);
                assert_eq!(next.place == place, same, "of two with this key it is that of the kind");
            }
            places.push(place);
            here = if place == NOWHERE { here } else { place };
        }
        let hints = shape.hints;
        let means = |(place, member): (&Place, &Member<'_>)| {
            shape.meaning(*place, member, &hints, hints.word()).0.is_some()
        };
        (hints, places.iter().zip(&members).map(means).collect())
    }

    const TEXT: Token<'_> = Token::Text(Str::Json(b"x"));
    const OBJECT: Token<'_> = Token::Object { raw: b"{}", clean: true };

    #[test]
    fn a_key_is_what_it_is_whatever_stood_in_its_place_before() {
        let lines: [&[_]; 7] = [
            &[("name", TEXT), ("pid", TEXT), ("x", OBJECT)],
            &[("name", TEXT), ("pi", TEXT)],
            &[("t", TEXT), ("s", TEXT), ("name", TEXT)],
            &[("t", OBJECT), ("s", TEXT)],
            &[("levelname", TEXT), ("name", TEXT), ("", TEXT), ("name", TEXT)],
            &[("levelname_that_is_longer_than_what_is_kept", TEXT), ("pid", TEXT), ("pid", OBJECT)],
            &[("\\u0070id", TEXT), ("name", TEXT), ("msg", TEXT)],
        ];
        let mut shape = Shape::default();
        for members in lines.iter().flat_map(|a| lines.iter().flat_map(move |b| [a, b, b])) {
            assert_eq!(line(&mut shape, members), line(&mut Shape::default(), members), "{members:?}");
        }
    }

    #[test]
    fn only_the_key_of_the_last_line_comes_next() {
        let mut shape = Shape::default();
        line(&mut shape, &[("level", TEXT), ("with \\\" in it", TEXT)]);
        let mut next = |before: &[(&'static str, Token<'static>)], text: &str| {
            let mut here = NOWHERE;
            shape.begin(Style::Json, Kind::Plain);
            for (key, value) in before {
                here = shape.find(here, &Str::Json(key.as_bytes()), value);
            }
            shape.next(here, b',', format!(",{text}").as_bytes()).map(|next| (next.key.len(), next.width))
        };
        let behind = "\"a value with enough behind it\"}";
        for (text, comes) in
            [("\"level\":", true), ("\"levels\":", false), ("\"leve\":", false), ("\"level\" :", false)]
        {
            assert_eq!(next(&[], &format!("{text}{behind}")), comes.then_some((5, 9)), "{text}");
        }
        assert!(next(&[], "\"level\":1234567}").is_some());
        assert!(next(&[], "\"level\":1}").is_some(), "near the end");
        assert_eq!(next(&[("level", TEXT)], &format!("\"with \\\" in it\":{behind}")), None);
    }

    #[test]
    fn with_too_many_keys_it_starts_anew() {
        let mut shape = Shape::default();
        for number in 0..1000 {
            shape.begin(Style::Pairs, Kind::Plain);
            let here = shape.find(NOWHERE, &Str::Raw(format!("key{number}").as_bytes()), &TEXT);
            shape.find(here, &Str::Raw(b"pid"), &TEXT);
            assert!(shape.slots.len() <= MOST + 1);
            assert!(shape.hints.named);
        }
    }
}
