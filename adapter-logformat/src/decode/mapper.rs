//! Members of a line → record: each goes where its key means, as the line is read.
//!
//! What a key means depends on what the line as a whole says ([`Hints`]), which is known only at its end. Lines of a stream mostly say the same: a line
//! is read by what the one before it said, and once more where that was wrong.

use super::{
    Context,
    dialect::{Hints, Meaning},
    dialect_servers::{self, Kind},
    shape::{Action, NOWHERE, Next, Place, Shape, Style, kind},
    values::{self, Levels},
};
use crate::{
    json::{Member, Token},
    record::{Known, Record},
    severity::Severity,
    text::Str,
    time::{Clock, epoch},
};

/// Members whose meaning is looked for. The keys that loggers use come early; what comes behind these is kept as it is.
pub(super) const WIDE: usize = 64;

/// Takes over what the keys mean; the rest goes into the record under its own names.
pub fn map<'a, 'm>(
    members: impl Iterator<Item = &'m Member<'a>> + Clone,
    cx: &mut Context,
    record: &mut Record<'a>,
) where
    'a: 'm,
{
    map_as(Kind::Plain, members, cx, record);
}

/// The same where a line may be one of an access log with names of its own choice: LTSV, grok and the like.
pub fn access<'a, 'm>(
    members: impl Iterator<Item = &'m Member<'a>> + Clone,
    cx: &mut Context,
    record: &mut Record<'a>,
) where
    'a: 'm,
{
    map_as(Kind::Access, members, cx, record);
}

/// Members that are there already say first what they say of the line: the record may hold more than can be read once more.
fn map_as<'a, 'm>(
    kind: Kind,
    members: impl Iterator<Item = &'m Member<'a>> + Clone,
    cx: &mut Context,
    record: &mut Record<'a>,
) where
    'a: 'm,
{
    cx.shape.begin(Style::Other, kind);
    let mut places = [NOWHERE; WIDE];
    let mut all = places.iter_mut();
    let mut here = NOWHERE;
    for member in members.clone() {
        let place = cx.shape.find(here, &member.key, &member.value);
        here = behind(here, place);
        if let Some(here) = all.next() {
            *here = place;
        }
    }
    let hints = cx.shape.hints;
    let mut mapper = Mapper::told(hints, cx, record);
    for (number, member) in members.enumerate() {
        mapper.meant(places.get(number).copied().unwrap_or(NOWHERE), member);
    }
    mapper.taken.end(&hints, record);
}

/// The place of the key that was found last: that of one that is not remembered is none.
#[inline(always)]
fn behind(here: Place, place: Place) -> Place {
    if place == NOWHERE { here } else { place }
}

/// See the module.
pub(super) struct Mapper<'m, 'a> {
    shape: &'m mut Shape,
    clock: &'m mut Clock,
    levels: &'m mut Levels,
    record: &'m mut Record<'a>,
    taken: Taken<'a>,
    /// What the line is read by.
    hints: Hints,
    /// … in a word.
    word: u16,
    /// Up to [`WIDE`].
    pub(super) members: usize,
}

impl<'m, 'a> Mapper<'m, 'a> {
    /// Calls `read` with one for a line in this style, and once more with another where the line said something else than the one before.
    #[inline(always)]
    pub(super) fn read<T, E>(
        style: Style,
        cx: &mut Context,
        record: &mut Record<'a>,
        mut read: impl FnMut(&mut Mapper<'_, 'a>) -> Result<T, E>,
    ) -> Result<T, E> {
        cx.shape.begin(style, Kind::Plain);
        let hints = cx.shape.last();
        let mut mapper = Mapper::told(hints, cx, record);
        let done = read(&mut mapper)?;
        if mapper.shape.hints == hints {
            mapper.taken.end(&hints, mapper.record);
            return Ok(done);
        }
        record.clear();
        let hints = cx.shape.hints;
        cx.shape.begin(style, Kind::Plain);
        let mut mapper = Mapper::told(hints, cx, record);
        let done = read(&mut mapper)?;
        mapper.taken.end(&hints, mapper.record);
        cx.shape.end();
        Ok(done)
    }

    /// For a line that says this.
    #[inline]
    fn told(hints: Hints, cx: &'m mut Context, record: &'m mut Record<'a>) -> Self {
        let Context { shape, clock, levels, .. } = cx;
        record.ecs = hints.ecs;
        let taken = Taken::default();
        Self { shape, clock, levels, record, taken, hints, word: hints.word(), members: 0 }
    }

    /// [`Shape::next`]
    #[inline(always)]
    pub(super) fn next(&self, here: Place, separator: u8, rest: &'a [u8]) -> Option<Next<'a>> {
        self.shape.next(here, separator, rest)
    }

    /// [`Shape::next_here`]
    #[inline(always)]
    pub(super) fn next_here(&self, here: Place, rest: &'a [u8]) -> Option<Next<'a>> {
        self.shape.next_here(here, rest)
    }

    /// Puts a member where it belongs whose key came next, and whose value is a text or a number; gives its place. Key and value come as they are
    /// written and become what they are (`name`, `token`) where they go to: what has been put together before is taken apart again by way of memory,
    /// several times over.
    #[inline(always)]
    pub(super) fn member(
        &mut self,
        here: Place,
        next: Next<'a>,
        name: impl Fn(&'a [u8]) -> Str<'a>,
        raw: &'a [u8],
        token: impl Fn(&'a [u8]) -> Token<'a>,
    ) -> Place {
        let key = next.key;
        let Some((action, known)) = self.pass(next, kind(&token(raw))) else {
            return self.unlike(here, &Member { key: name(key), value: token(raw) });
        };
        let value = || values::value(&token(raw));
        let record = &mut *self.record;
        match action {
            Action::Own if record.is_new(known) => {
                record.add_new(name(key), value());
                return next.place;
            }
            Action::Is(field) if !record.has(field) => {
                record.set_new(field, value());
                return next.place;
            }
            Action::Message if record.message.is_none() => {
                self.taken.message = key;
                record.message = Some(value());
                return next.place;
            }
            Action::Time if record.time.is_none() => {
                record.time = match token(raw) {
                    Token::Text(_) => self.clock.parse(raw),
                    _ => epoch(raw),
                };
                if record.time.is_some() {
                    self.taken.time = key;
                    return next.place;
                }
            }
            Action::Level if record.severity.is_none() && matches!(token(raw), Token::Text(_)) => {
                record.severity = self.levels.of_text(raw);
                if record.severity.is_some() {
                    self.taken.level = key;
                    return next.place;
                }
            }
            Action::Origin if values::caller(&token(raw), record) => return next.place,
            _ => {}
        }
        self.told_and_meant(next.place, &Member { key: name(key), value: token(raw) });
        next.place
    }

    /// The same for another value, which mostly is the application's own.
    #[inline(always)]
    pub(super) fn own(
        &mut self,
        here: Place,
        next: Next<'a>,
        name: impl Fn(&'a [u8]) -> Str<'a>,
        raw: &'a [u8],
        token: impl Fn(&'a [u8]) -> Token<'a>,
    ) -> Place {
        match self.pass(next, kind(&token(raw))) {
            Some((Action::Own, known)) if self.record.is_new(known) => {
                self.record.add_new(name(next.key), values::value(&token(raw)));
            }
            Some(_) => self.told_and_meant(next.place, &Member { key: name(next.key), value: token(raw) }),
            None => return self.unlike(here, &Member { key: name(next.key), value: token(raw) }),
        }
        next.place
    }

    /// The same for any value.
    #[inline(never)]
    pub(super) fn any(&mut self, here: Place, next: Next<'a>, member: &Member<'a>) -> Place {
        match self.pass(next, kind(&member.value)) {
            Some(_) => self.told_and_meant(next.place, member),
            None => return self.unlike(here, member),
        }
        next.place
    }

    /// What is known of a key that comes next, where that holds for a value of this kind.
    #[inline(always)]
    fn pass(&mut self, next: Next<'a>, kind: u8) -> Option<(Action, Known)> {
        if self.members >= WIDE {
            return None;
        }
        let passed = self.shape.pass(next.place, kind, self.word);
        self.members += usize::from(passed.is_some());
        passed
    }

    /// A member whose key did not come here the last time.
    #[inline(never)]
    pub(super) fn unlike(&mut self, here: Place, member: &Member<'a>) -> Place {
        if self.members >= WIDE {
            self.record.push(member.key, values::value(&member.value));
            return here;
        }
        self.members += 1;
        let place = self.shape.find(here, &member.key, &member.value);
        self.meant(place, member);
        behind(here, place)
    }

    #[inline(never)]
    fn told_and_meant(&mut self, place: Place, member: &Member<'a>) {
        self.shape.tell(place);
        self.meant(place, member);
    }

    fn meant(&mut self, place: Place, member: &Member<'a>) {
        let (meaning, known) = self.shape.meaning(place, member, &self.hints, self.word);
        self.taken.take((member, meaning, known), &self.hints, (self.clock, self.levels), self.record);
    }
}

/// The keys that set what a line has once, because a later, repeated key replaces.
#[derive(Default)]
struct Taken<'a> {
    time: &'a [u8],
    level: &'a [u8],
    message: &'a [u8],
}

impl<'a> Taken<'a> {
    /// Puts one member where it belongs. `known`: what is known of its key as a name.
    #[inline(always)]
    fn take(
        &mut self,
        (member, meaning, known): (&Member<'a>, &Option<Meaning>, Option<Known>),
        hints: &Hints,
        (clock, levels): (&mut Clock, &mut Levels),
        record: &mut Record<'a>,
    ) {
        let key = member.key.bytes();
        let value = &member.value;
        let taken = match *meaning {
            None => false,
            Some(Meaning::Time) if record.time.is_none() || self.time == key => {
                let time = values::time(value, clock);
                self.time = key;
                record.time = time.or(record.time);
                time.is_some()
            }
            Some(Meaning::Level) if record.severity.is_none() || self.level == key => {
                let level = levels.of(value);
                self.level = key;
                record.severity = level.or(record.severity);
                level.is_some()
            }
            Some(Meaning::Message) if record.message.is_none() || self.message == key => {
                self.message = key;
                record.message = Some(values::value(value));
                true
            }
            Some(Meaning::Error) => values::error(value, record),
            Some(Meaning::Origin) => values::caller(value, record),
            // Servers write what is not there as an empty text or a dash.
            Some(Meaning::Is(_))
                if hints.kind != Kind::Plain
                    && matches!(value, Token::Text(text) if matches!(text.bytes(), b"" | b"-")) =>
            {
                true
            }
            Some(Meaning::Is(field)) if !record.has(field) => values::scalar(value).is_some_and(|value| {
                record.set(field, value);
                true
            }),
            Some(Meaning::Nothing) => true,
            Some(Meaning::Custom(read)) => read(value, record),
            Some(Meaning::Sub(space, name)) => {
                if !matches!(value, Token::Word(b"null") | Token::Text(Str::Json(b"" | b"-"))) {
                    record.push_sub(space, Str::Raw(name.as_bytes()), values::value(value));
                }
                true
            }
            Some(meaning) if hints.kind != Kind::Plain => dialect_servers::apply(meaning, value, record),
            _ => false,
        };
        if taken {
            return;
        }
        if let (None, Some(known)) = (meaning, known)
            && !matches!(value, Token::Object { .. })
        {
            return record.push_known(member.key, known, values::value(value));
        }
        keep(key, member, hints, record);
    }

    fn end(self, hints: &Hints, record: &mut Record<'a>) {
        if hints.clef && self.level.is_empty() {
            record.severity = record.severity.or(Some(Severity::INFO));
        }
    }
}

/// True for the keys of objects that [`keep`] looks into.
pub(super) fn opens(key: &[u8]) -> bool {
    matches!(key, b"ecs" | b"log" | b"fields" | b"req" | b"request" | b"res" | b"response")
}

/// What means nothing to us goes along under its own name, unless what it holds does ([`opens`]).
#[inline(never)]
fn keep<'a>(key: &[u8], member: &Member<'a>, hints: &Hints, record: &mut Record<'a>) {
    let value = &member.value;
    if hints.ecs && values::ecs_object(key, value, record) {
        return;
    }
    if key == b"fields" && record.message.is_none() && values::tracing_fields(value, record) {
        return;
    }
    dialect_servers::exchange(key, value, record);
    record.push(member.key, values::value(value));
}
