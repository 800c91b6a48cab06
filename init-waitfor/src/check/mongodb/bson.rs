//! BSON, as little of it as a login needs. <https://bsonspec.org/spec.html>

use std::collections::BTreeMap;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Field {
    Bool(bool),
    Number(f64),
    Text(String),
    Binary(Bytes),
    Other,
}

/// The top level of a document; `None` when the bytes are none.
pub(super) fn fields(mut document: Bytes) -> Option<BTreeMap<String, Field>> {
    let mut map = BTreeMap::new();
    let size = usize::try_from(document.try_get_i32_le().ok()?).ok()?.checked_sub(4)?;
    if document.len() < size {
        return None;
    }
    document.truncate(size);
    loop {
        let kind = document.try_get_u8().ok()?;
        if kind == 0 {
            return Some(map);
        }
        let end = document.iter().position(|byte| *byte == 0)?;
        let name = String::from_utf8_lossy(&document.split_to(end)).into_owned();
        document.advance(1);
        let mut take = |count: usize| (document.len() >= count).then(|| document.split_to(count));
        let field = match kind {
            0x01 => Field::Number(take(8)?.get_f64_le()),
            0x02 => {
                let length = usize::try_from(take(4)?.get_i32_le()).ok()?;
                let text = take(length)?;
                Field::Text(String::from_utf8_lossy(text.strip_suffix(&[0])?).into_owned())
            }
            0x03 | 0x04 => {
                let length = usize::try_from(take(4)?.get_i32_le()).ok()?;
                take(length.checked_sub(4)?)?;
                Field::Other
            }
            0x05 => {
                let length = usize::try_from(take(4)?.get_i32_le()).ok()?;
                take(1)?;
                Field::Binary(take(length)?)
            }
            0x07 => take(12).map(|_| Field::Other)?,
            0x08 => Field::Bool(take(1)?[0] != 0),
            0x0a => Field::Other,
            0x10 => Field::Number(f64::from(take(4)?.get_i32_le())),
            0x09 | 0x11 | 0x12 => take(8).map(|_| Field::Other)?,
            0x13 => take(16).map(|_| Field::Other)?,
            _ => return None,
        };
        map.insert(name, field);
    }
}

/// A document under construction; its fields stay in order, because the first names the command.
#[derive(Default)]
pub(super) struct Document(BytesMut);

impl Document {
    fn head(&mut self, kind: u8, name: &str) {
        self.0.put_u8(kind);
        self.0.put_slice(name.as_bytes());
        self.0.put_u8(0);
    }

    pub(super) fn int(mut self, name: &str, value: i32) -> Self {
        self.head(0x10, name);
        self.0.put_i32_le(value);
        self
    }

    pub(super) fn truth(mut self, name: &str, value: bool) -> Self {
        self.head(0x08, name);
        self.0.put_u8(value.into());
        self
    }

    pub(super) fn text(mut self, name: &str, value: &str) -> Self {
        self.head(0x02, name);
        self.0.put_i32_le(length(value.len() + 1));
        self.0.put_slice(value.as_bytes());
        self.0.put_u8(0);
        self
    }

    pub(super) fn binary(mut self, name: &str, value: &[u8]) -> Self {
        self.head(0x05, name);
        self.0.put_i32_le(length(value.len()));
        self.0.put_u8(0);
        self.0.put_slice(value);
        self
    }

    pub(super) fn document(mut self, name: &str, value: Document) -> Self {
        self.head(0x03, name);
        self.0.put_slice(&value.finish());
        self
    }

    pub(super) fn finish(self) -> BytesMut {
        let mut out = BytesMut::new();
        out.put_i32_le(length(self.0.len() + 5));
        out.put_slice(&self.0);
        out.put_u8(0);
        out
    }
}

fn length(bytes: usize) -> i32 {
    i32::try_from(bytes).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let written = Document::default()
            .truth("isWritablePrimary", true)
            .text("setName", "rs0")
            .int("ok", 1)
            .binary("payload", b"v=1")
            .document("options", Document::default().int("x", 2))
            .finish()
            .freeze();
        let map = fields(written.clone()).unwrap();
        assert_eq!(map["isWritablePrimary"], Field::Bool(true));
        assert_eq!(map["setName"], Field::Text("rs0".into()));
        assert_eq!(map["ok"], Field::Number(1.0));
        assert_eq!(map["payload"], Field::Binary(Bytes::from_static(b"v=1")));
        assert_eq!(map["options"], Field::Other);
        for cut in 0..written.len() {
            assert_eq!(fields(written.slice(..cut)), None, "{cut}");
        }
    }

    /// The specification's first example.
    #[test]
    fn hello_world() {
        let bytes = Document::default().text("hello", "world").finish();
        assert_eq!(bytes[..], b"\x16\x00\x00\x00\x02hello\x00\x06\x00\x00\x00world\x00\x00"[..]);
    }
}
