//! `mongodb://[user:password@]host:port[/db][?role=primary|secondary&replica-set=NAME&authSource=DB]`: `hello`, which needs no
//! login, and the login if there is a user. <https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/>

mod bson;
mod login;

use std::collections::BTreeMap;

use bytes::{Buf as _, BufMut as _, BytesMut};

use super::Verdict;
use crate::target::{Login, Wrong};
use crate::wire::{Trouble, Wire};
use bson::{Document, Field, fields};

const OP_MSG: u32 = 2013;
/// What a server says at most in one message.
const MOST: u32 = 1 << 20;

/// The role asked for, as the key of `hello` that must be true.
pub(super) fn options(login: &Login) -> Result<Option<&'static str>, Wrong> {
    login::mechanisms(login)?;
    match login.query.get("role") {
        None => Ok(None),
        Some("primary") => Ok(Some("isWritablePrimary")),
        Some("secondary") => Ok(Some("secondary")),
        Some(other) => Err(Wrong::new(format!("role={other}"), "write role=primary or role=secondary")),
    }
}

pub(super) async fn talk(wire: &mut Wire, login: &Login, password: Option<&str>) -> Result<Verdict, Trouble> {
    let hello = ask(wire, Document::default().int("hello", 1).text("$db", "admin")).await?;
    let is = |key: &str| matches!(hello.get(key), Some(Field::Bool(true)));
    if let Some(why) = complaint(&hello) {
        return Err(Trouble::unknown("server", why));
    }
    let role = if is("isWritablePrimary") {
        "primary"
    } else if is("secondary") {
        "secondary"
    } else {
        "neither primary nor secondary yet"
    };
    if let Some(wanted) = login.query.get("replica-set").or_else(|| login.query.get("replicaSet")) {
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
    match &login.user {
        Some(user) => {
            login::log_in(wire, login, user, password).await?;
            Ok(Verdict::ready(format!("hello from a {role}, logged in")))
        }
        None => Ok(Verdict::ready(format!("hello from a {role}"))),
    }
}

/// One command and its answer.
async fn ask(wire: &mut Wire, command: Document) -> Result<BTreeMap<String, Field>, Trouble> {
    wire.send(&message(command)).await?;
    let mut head = wire.take(16).await?;
    let (length, _id, _to, code) =
        (head.get_u32_le(), head.get_u32_le(), head.get_u32_le(), head.get_u32_le());
    let foreign = || Trouble::unknown("reply", "this is not MongoDB");
    if code != OP_MSG || !(21..MOST).contains(&length) {
        return Err(foreign());
    }
    let mut body = wire.take(usize::try_from(length - 16).unwrap_or(0)).await?;
    body.advance(5);
    fields(body).ok_or_else(foreign)
}

/// An OP_MSG: no flags, one section of kind 0.
fn message(command: Document) -> BytesMut {
    let document = command.finish();
    let mut out = BytesMut::new();
    out.put_u32_le(u32::try_from(16 + 5 + document.len()).unwrap_or(u32::MAX));
    out.put_u32_le(1);
    out.put_u32_le(0);
    out.put_u32_le(OP_MSG);
    out.put_u32_le(0);
    out.put_u8(0);
    out.put_slice(&document);
    out
}

/// What the server says is wrong, unless it is fine.
fn complaint(answer: &BTreeMap<String, Field>) -> Option<String> {
    match (answer.get("ok"), answer.get("errmsg")) {
        (Some(Field::Number(ok)), _) if *ok > 0.0 => None,
        (_, Some(Field::Text(text))) => Some(text.clone()),
        _ => Some("the answer is not ok".to_owned()),
    }
}
