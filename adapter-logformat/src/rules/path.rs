//! Where a value is in a record, by the name that the schema gives it: found out once, not per line.

use super::nested;
use crate::{
    encode::{Schema, names},
    record::{Field, Name, Record, Value},
    text::Str,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Path {
    Message,
    Level,
    Known(Field),
    /// A name that the application chose; what follows a dot may lie within an object of it.
    App(String),
    /// A name of ours or of the configuration, written as it is.
    Own(String),
}

/// What a path leads to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'p> {
    Message,
    Field(usize),
    /// Within the object at this place of the record.
    Within(usize, &'p str),
}

impl Path {
    pub(super) fn of(name: &str, schema: Schema) -> Self {
        let layout = names::layout(schema);
        if name == layout.message {
            return Path::Message;
        }
        if name == layout.level {
            return Path::Level;
        }
        if let Some((field, _)) = names::FIELDS.iter().find(|(field, _)| names::label(schema, *field) == name)
        {
            return Path::Known(*field);
        }
        match name.strip_prefix(layout.app) {
            Some(app) => Path::App(app.to_owned()),
            None => Path::Own(name.to_owned()),
        }
    }

    pub(super) fn place<'p>(&'p self, record: &Record<'_>) -> Option<Place<'p>> {
        let at =
            |wanted: &dyn Fn(&Name<'_>) -> bool| record.fields().iter().position(|(name, _)| wanted(name));
        match self {
            Path::Message => record.message.map(|_| Place::Message),
            Path::Level => None,
            Path::Known(field) => at(&|name| matches!(name, Name::Known(f) if f == field)).map(Place::Field),
            Path::App(wanted) => at(&|name| is_app(name, wanted))
                .or_else(|| at(&|name| is_own(name, wanted)))
                .map(Place::Field)
                .or_else(|| {
                    let mut cuts = wanted.match_indices('.').map(|(dot, _)| dot);
                    cuts.find_map(|dot| {
                        let place = at(&|name| is_app(name, &wanted[..dot]))?;
                        let within = &wanted[dot + 1..];
                        nested::find(&record.fields()[place].1, within).map(|_| Place::Within(place, within))
                    })
                }),
            // An application that writes ECS itself has these names, too.
            Path::Own(wanted) => {
                at(&|name| is_own(name, wanted) || record.ecs && is_app(name, wanted)).map(Place::Field)
            }
        }
    }

    /// The value there.
    pub(super) fn value<'a>(&self, record: &Record<'a>) -> Option<Value<'a>> {
        if *self == Path::Level {
            return record.severity.map(|level| Value::Text(Str::Raw(level.name().as_bytes())));
        }
        match self.place(record)? {
            Place::Message => record.message,
            Place::Field(place) => record.fields().get(place).map(|(_, value)| *value),
            Place::Within(place, within) => nested::find(&record.fields().get(place)?.1, within),
        }
    }
}

fn is_app(name: &Name<'_>, wanted: &str) -> bool {
    matches!(name, Name::App(name) if name.bytes() == wanted.as_bytes())
}

fn is_own(name: &Name<'_>, wanted: &str) -> bool {
    match name {
        Name::Own(own) => *own == wanted,
        Name::Sub(space, name) => wanted
            .strip_prefix(space)
            .and_then(|w| w.strip_prefix('.'))
            .is_some_and(|w| w.as_bytes() == name.bytes()),
        _ => false,
    }
}

/// A value as people would read it: escapes resolved.
pub(super) fn text(value: &Value<'_>, to: &mut Vec<u8>) {
    match value {
        Value::Text(text) => text.resolve(to),
        Value::Json(raw) | Value::Repair(raw) => to.extend_from_slice(raw),
        Value::Int(number) | Value::Duration(number) => {
            to.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes())
        }
    }
}
