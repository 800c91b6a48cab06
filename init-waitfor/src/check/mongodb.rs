//! `mongodb://host:port[?role=primary|secondary&replica-set=NAME]`: `hello`, which needs no login.
//! <https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/>

use std::collections::BTreeMap;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::Verdict;
use crate::target::{Login, Wrong};
use crate::wire::{Trouble, Wire};

const OP_MSG: u32 = 2013;
/// What a server says at most in one message.
const MOST: u32 = 1 << 20;

/// The role asked for, as the key of `hello` that must be true.
pub(super) fn options(login: &Login) -> Result<Option<&'static str>, Wrong> {
    match login.query.get("role") {
        None => Ok(None),
        Some("primary") => Ok(Some("isWritablePrimary")),
        Some("secondary") => Ok(Some("secondary")),
        Some(other) => Err(Wrong::new(format!("role={other}"), "write role=primary or role=secondary")),
    }
}

pub(super) async fn talk(wire: &mut Wire, login: &Login) -> Result<Verdict, Trouble> {
    wire.send(&hello()).await?;
    let mut head = wire.take(16).await?;
    let (length, _id, _to, code) =
        (head.get_u32_le(), head.get_u32_le(), head.get_u32_le(), head.get_u32_le());
    let foreign = || Trouble::unknown("reply", "this is not MongoDB");
    if code != OP_MSG || !(21..MOST).contains(&length) {
        return Err(foreign());
    }
    let mut body = wire.take(usize::try_from(length - 16).unwrap_or(0)).await?;
    body.advance(5);
    let hello = fields(body).ok_or_else(foreign)?;
    let is = |key: &str| matches!(hello.get(key), Some(Field::Bool(true)));
    if !matches!(hello.get("ok"), Some(Field::Number(ok)) if *ok > 0.0) {
        let why = match hello.get("errmsg") {
            Some(Field::Text(text)) => text.clone(),
            _ => "hello is not ok".to_owned(),
        };
        return Err(Trouble::unknown("server", why));
    }
    let role = if is("isWritablePrimary") {
        "primary"
    } else if is("secondary") {
        "secondary"
    } else {
        "neither primary nor secondary yet"
    };
    if let Some(wanted) = login.query.get("replica-set") {
        match hello.get("setName") {
            Some(Field::Text(name)) if name == wanted => {}
            Some(Field::Text(name)) => {
                return Ok(Verdict::no("replica set", format!("is in replica set {name}, wanted {wanted}")));
            }
            _ => return Ok(Verdict::no("replica set", format!("is in no replica set, wanted {wanted}"))),
        }
    }
    let wanted = options(login).ok().flatten();
    // Without a wish: a member that is starting or recovering is neither, and serves nobody.
    if wanted.map_or(role.starts_with("neither"), |key| !is(key)) {
        return Ok(Verdict::no("role", format!("is {role}")));
    }
    Ok(Verdict::ready(format!("hello from a {role}")))
}

/// `{hello: 1, $db: "admin"}`
fn hello() -> BytesMut {
    let mut document = BytesMut::new();
    document.put_slice(b"\x10hello\0\x01\0\0\0\x02$db\0\x06\0\0\0admin\0\0");
    let mut out = BytesMut::new();
    let size = |bytes: usize| u32::try_from(bytes).unwrap_or(0);
    out.put_u32_le(size(16 + 5 + 4 + document.len()));
    out.put_u32_le(1);
    out.put_u32_le(0);
    out.put_u32_le(OP_MSG);
    out.put_u32_le(0);
    out.put_u8(0);
    out.put_u32_le(size(4 + document.len()));
    out.put_slice(&document);
    out
}

#[derive(Clone, Debug, PartialEq)]
enum Field {
    Bool(bool),
    Number(f64),
    Text(String),
    Other,
}

/// The top level of a BSON document. <https://bsonspec.org/spec.html>
fn fields(mut document: Bytes) -> Option<BTreeMap<String, Field>> {
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
        let mut skip = |count: usize| (document.len() >= count).then(|| document.split_to(count));
        let field = match kind {
            0x01 => Field::Number(skip(8)?.get_f64_le()),
            0x02 => {
                let length = usize::try_from(skip(4)?.get_i32_le()).ok()?;
                let text = skip(length)?;
                Field::Text(String::from_utf8_lossy(text.strip_suffix(&[0])?).into_owned())
            }
            0x03 | 0x04 => {
                let length = usize::try_from(skip(4)?.get_i32_le()).ok()?;
                skip(length.checked_sub(4)?)?;
                Field::Other
            }
            0x05 => {
                let length = usize::try_from(skip(4)?.get_i32_le()).ok()?;
                skip(length + 1)?;
                Field::Other
            }
            0x07 => skip(12).map(|_| Field::Other)?,
            0x08 => Field::Bool(skip(1)?[0] != 0),
            0x0a => Field::Other,
            0x10 => Field::Number(f64::from(skip(4)?.get_i32_le())),
            0x09 | 0x11 | 0x12 => skip(8).map(|_| Field::Other)?,
            0x13 => skip(16).map(|_| Field::Other)?,
            _ => return None,
        };
        map.insert(name, field);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents() {
        let mut bytes = b"\0\0\0\0\x08isWritablePrimary\0\x01\x02setName\0\x04\0\0\0rs0\0\x01ok\0".to_vec();
        bytes.extend(1.0_f64.to_le_bytes());
        bytes.push(0);
        let length = u32::try_from(bytes.len()).unwrap();
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        let map = fields(Bytes::from(bytes.clone())).unwrap();
        assert_eq!(map["isWritablePrimary"], Field::Bool(true));
        assert_eq!(map["setName"], Field::Text("rs0".into()));
        assert_eq!(map["ok"], Field::Number(1.0));
        for cut in 0..bytes.len() {
            assert_eq!(fields(Bytes::copy_from_slice(&bytes[..cut])), None, "{cut}");
        }
        assert_eq!(hello().len(), usize::from(hello()[0]));
    }
}
