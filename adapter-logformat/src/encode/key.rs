//! Names of the schema as they are written, laid out so that writing one is a few instructions.

use crate::text::Pen;

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
        let (mut bytes, length) = ([0; ROOM], name.len() + 5);
        bytes[..2].copy_from_slice(b",\"");
        bytes[2..length - 3].copy_from_slice(name.as_bytes());
        bytes[length - 3..length].copy_from_slice(b"\":\"");
        Self { bytes, length }
    }

    /// Up to the quote that begins a text.
    #[inline]
    pub(super) fn text(&self, pen: &mut Pen<'_>) {
        pen.block(&self.bytes, self.length);
    }

    /// Up to the colon.
    #[inline]
    pub(super) fn write(&self, pen: &mut Pen<'_>) {
        pen.block(&self.bytes, self.length - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::{Schema, names};

    #[test]
    fn every_name_of_every_schema_fits() {
        let mut out = Vec::new();
        for schema in Schema::ALL {
            let layout = names::layout(schema);
            let own = [layout.level, layout.message, layout.original, layout.base64];
            let shared = names::FIELDS.iter().map(|(field, _)| names::label(schema, *field));
            for name in shared.chain(own) {
                out.clear();
                Key::new(name).text(&mut Pen::new(&mut out));
                assert_eq!(out, format!(",\"{name}\":\"").as_bytes());
                out.clear();
                Key::new(name).write(&mut Pen::new(&mut out));
                assert_eq!(out, format!(",\"{name}\":").as_bytes());
            }
        }
    }
}
