//! Names of the schema as they are written, laid out so that writing one is a few instructions.

use crate::text::{Pen, Str};

/// Bytes moved at once; names are shorter.
const ROOM: usize = 48;

/// `,"name":"`, with room behind it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    bytes: [u8; ROOM],
    length: usize,
}

impl Key {
    /// # Panics
    /// When the name is longer than those of the tables are.
    pub(super) fn new(name: &str) -> Self {
        Self::of(&[",\"", name, "\":\""])
    }

    /// How the name of an application's field begins: `,"prefix`.
    pub(super) fn prefix(prefix: &str) -> Self {
        Self::of(&[",\"", prefix])
    }

    /// # Panics
    /// When the text is longer than those that stand in every record are.
    pub(super) fn of(parts: &[&str]) -> Self {
        let text = parts.concat();
        let mut bytes = [0; ROOM];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Self { bytes, length: text.len() }
    }

    /// As it is: for a name up to the quote that begins a text.
    #[inline(always)]
    pub(super) fn text(&self, pen: &mut Pen<'_, '_>) {
        pen.block(&self.bytes, self.length);
    }

    /// The name, a text and its quote; false where the text has to be resolved first, and nothing is written.
    #[inline(always)]
    pub(super) fn with(&self, text: &Str<'_>, pen: &mut Pen<'_, '_>) -> bool {
        pen.text::<ROOM, true>(&self.bytes, self.length, text)
    }

    /// The same for the prefix of a name and the name, without what stands behind it.
    #[inline(always)]
    pub(super) fn name(&self, name: &Str<'_>, pen: &mut Pen<'_, '_>) -> bool {
        pen.text::<ROOM, false>(&self.bytes, self.length, name)
    }

    /// Up to the colon.
    #[inline(always)]
    pub(super) fn write(&self, pen: &mut Pen<'_, '_>) {
        pen.block(&self.bytes, self.length - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        encode::{Schema, names},
        text::Around,
    };

    #[test]
    fn every_name_of_every_schema_fits() {
        let mut out = Vec::new();
        for schema in Schema::ALL {
            let layout = names::layout(schema);
            let own = [layout.level, layout.message, layout.original, layout.base64];
            let shared = names::FIELDS.iter().map(|(field, _)| names::label(schema, *field));
            for name in shared.chain(own) {
                out.clear();
                Key::new(name).text(&mut Pen::new(&mut out, Around(&[])));
                assert_eq!(out, format!(",\"{name}\":\"").as_bytes());
                out.clear();
                Key::new(name).write(&mut Pen::new(&mut out, Around(&[])));
                assert_eq!(out, format!(",\"{name}\":").as_bytes());
            }
            out.clear();
            Key::prefix(layout.structured).text(&mut Pen::new(&mut out, Around(&[])));
            assert_eq!(out, format!(",\"{}", layout.structured).as_bytes());
        }
    }
}
