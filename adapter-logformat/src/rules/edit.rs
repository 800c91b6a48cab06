//! Edits of single fields: drop, rename, copy, add, convert, expand; mask, hash, network.
//!
//! Each is compiled once into a path and an action. What an edit computes lives in [`Room`], a slot per edit, so that records go on borrowing. What
//! is masked is masked in the raw line, too, wherever the same bytes of the line stand in the record.

use std::cell::OnceCell;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::nested;
use super::path::{Path, Place, text};
use super::redact::Key;
use crate::{
    config::Scalar,
    encode::{Schema, reserved},
    json,
    record::{Name, Record, Value},
    severity::Severity,
    text::Str,
};

/// One edit of the records. Fields are named as the schema names them; `a.b` also reaches into an object `a`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Edit {
    /// Leaves the field out (the raw line keeps it: see `mask`).
    Drop(String),
    /// Gives the field another name.
    Rename(FromTo),
    /// Gives the value a second name.
    Copy(FromTo),
    /// Sets the field where the line has none.
    Add(Add),
    /// Gives the value another kind; one that does not fit stays as it is.
    Convert(Convert),
    /// Replaces a text that holds a JSON object or array by what it holds.
    Expand(String),
    /// Replaces the value by `***`, in the raw line, too.
    Mask(String),
    /// Replaces the value by a keyed hash (HMAC-SHA-256, 16 hexadecimal digits), in the raw line, too. Needs `redact_key`.
    Hash(String),
    /// Replaces an IP address by its network, in the raw line, too.
    Network(Network),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FromTo {
    /// The field as it is called.
    pub from: String,
    /// What it is to be called: a name of the schema, or one of your own.
    pub to: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Add {
    /// The field to set.
    pub field: String,
    /// A text, a number or a truth value.
    pub value: Scalar,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Convert {
    /// The field to convert.
    pub field: String,
    /// `int`, `float`, `bool` or `text`.
    pub to: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Int,
    Float,
    Bool,
    Text,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// The field that holds an address.
    pub field: String,
    /// Bits of an IPv4 address that stay. Default: 24.
    #[serde(default = "v4")]
    pub v4: u8,
    /// Bits of an IPv6 address that stay. Default: 48.
    #[serde(default = "v6")]
    pub v6: u8,
}

fn v4() -> u8 {
    24
}

fn v6() -> u8 {
    48
}

/// All edits, compiled.
#[derive(Debug, Default)]
pub struct Edits(Vec<(Path, Action)>);

#[derive(Debug)]
enum Action {
    Drop,
    Rename(Path),
    Copy(Path),
    /// Its JSON.
    Add(String),
    Convert(Kind),
    Expand,
    Hide(Hide),
}

#[derive(Debug)]
enum Hide {
    Mask,
    Hash(Key),
    Network(u8, u8),
}

/// What the edits of one record compute.
#[derive(Debug, Default)]
pub struct Room {
    values: Vec<OnceCell<Vec<u8>>>,
}

impl Room {
    /// Room for these edits, empty.
    pub fn reset(&mut self, edits: &Edits) {
        // Two for each: a value, and the object it lies in.
        self.values.clear();
        self.values.resize_with(edits.0.len() * 2, OnceCell::new);
    }
}

impl Edits {
    /// # Errors
    /// The place of the edit, and what is wrong with it.
    pub fn compile(edits: &[Edit], schema: Schema, key: Option<&Key>) -> Result<Self, (usize, String)> {
        let mut compiled = Vec::with_capacity(edits.len());
        for (place, edit) in edits.iter().enumerate() {
            compiled.push(one(edit, schema, key).map_err(|problem| (place, problem))?);
        }
        Ok(Self(compiled))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Edits the record. Gives what is to be shown of the raw line where something in it has been hidden.
    pub fn apply<'a>(&'a self, line: &[u8], record: &mut Record<'a>, room: &'a Room) -> Option<Hidden> {
        let mut hidden: Option<Hidden> = None;
        for (place, (path, action)) in self.0.iter().enumerate() {
            let slots = (&room.values[place * 2], &room.values[place * 2 + 1]);
            edit(path, action, line, record, slots, &mut hidden);
        }
        hidden
    }
}

/// Which bytes of the raw line must not be shown.
#[derive(Debug, Default)]
pub struct Hidden {
    /// From, to, and what stands there instead.
    spans: Vec<(usize, usize, Vec<u8>)>,
    /// It could not be told where in the line the value stands.
    all: bool,
}

impl Hidden {
    /// The line without them.
    pub fn show(mut self, line: &[u8]) -> Vec<u8> {
        if self.all {
            return b"***".to_vec();
        }
        self.spans.sort_by_key(|(from, to, _)| (*from, std::cmp::Reverse(*to)));
        let (mut shown, mut at) = (Vec::with_capacity(line.len()), 0);
        for (from, to, with) in &self.spans {
            if *from >= at {
                shown.extend_from_slice(&line[at..*from]);
                shown.extend_from_slice(with);
                at = *to;
            }
        }
        shown.extend_from_slice(&line[at..]);
        shown
    }
}

fn one(edit: &Edit, schema: Schema, key: Option<&Key>) -> Result<(Path, Action), String> {
    let path = |name: &str| match name {
        "" => Err("names no field".to_owned()),
        name => Ok(Path::of(name, schema)),
    };
    let target = |name: &str| match Path::of(name, schema) {
        Path::Message | Path::Level => Ok(Path::of(name, schema)),
        Path::Known(crate::record::Field::Tags) => Err("tags are written by the adapter itself".to_owned()),
        _ if name.is_empty() || reserved(schema).contains(&name) => {
            Err(format!("{name:?} is written by the adapter itself; choose another name"))
        }
        path => Ok(path),
    };
    Ok(match edit {
        Edit::Drop(name) => (path(name)?, Action::Drop),
        Edit::Rename(names) => (path(&names.from)?, Action::Rename(target(&names.to)?)),
        Edit::Copy(names) => (path(&names.from)?, Action::Copy(target(&names.to)?)),
        Edit::Add(add) => match target(&add.field)? {
            Path::Message | Path::Level => return Err(format!("{:?} is the line's own", add.field)),
            path => (path, Action::Add(add.value.json())),
        },
        Edit::Convert(convert) => (path(&convert.field)?, Action::Convert(convert.to)),
        Edit::Expand(name) => (path(name)?, Action::Expand),
        Edit::Mask(name) => (path(name)?, Action::Hide(Hide::Mask)),
        Edit::Hash(name) => {
            let key = key.ok_or("needs redact_key: a hash without a key can be guessed")?;
            (path(name)?, Action::Hide(Hide::Hash(key.clone())))
        }
        Edit::Network(network) => {
            if network.v4 > 32 || network.v6 > 128 {
                return Err("a prefix has at most 32 bits (v4) or 128 (v6)".to_owned());
            }
            (path(&network.field)?, Action::Hide(Hide::Network(network.v4, network.v6)))
        }
    })
}

type Slots<'a> = (&'a OnceCell<Vec<u8>>, &'a OnceCell<Vec<u8>>);

fn edit<'a>(
    path: &'a Path,
    action: &'a Action,
    line: &[u8],
    record: &mut Record<'a>,
    slots: Slots<'a>,
    hidden: &mut Option<Hidden>,
) {
    if let Action::Add(json) = action {
        if path.place(record).is_none() {
            set(path, Value::Json(json.as_bytes()), record);
        }
        return;
    }
    let Some(value) = path.value(record) else { return };
    if let Action::Copy(to) = action {
        set(to, value, record);
        return;
    }
    let Some(place) = path.place(record) else { return };
    match action {
        Action::Drop => remove(place, record, slots.1),
        Action::Rename(to) => {
            if set(to, value, record)
                && let Some(place) = path.place(record)
            {
                remove(place, record, slots.1);
            }
        }
        Action::Convert(kind) => {
            if let Some(value) = converted(&value, *kind, slots.0) {
                put(place, value, record);
            }
        }
        Action::Expand => {
            if let Some(value) = expanded(&value, slots.0) {
                put(place, value, record);
            }
        }
        Action::Hide(how) => {
            let new = slots.0.get_or_init(|| concealed(&value, how));
            hide(&value, new, line, hidden.get_or_insert_default());
            let old = span(&value);
            match place {
                Place::Within(at, within) => {
                    let (Value::Json(raw) | Value::Repair(raw)) = record.fields()[at].1 else { return };
                    let object = slots.1.get_or_init(|| {
                        let mut object = Vec::new();
                        nested::rewrite(raw, within, Some(new), &mut object);
                        object
                    });
                    record.replace(at, Value::Repair(object));
                }
                place => put(place, Value::Text(Str::Raw(new)), record),
            }
            elsewhere(old, new, record);
        }
        Action::Add(_) | Action::Copy(_) => {}
    }
}

/// Sets a value under a name; false where it cannot be put.
fn set<'a>(path: &'a Path, value: Value<'a>, record: &mut Record<'a>) -> bool {
    match path {
        Path::Message => record.message = Some(value),
        Path::Level => {
            let mut name = Vec::new();
            text(&value, &mut name);
            match Severity::from_name(&name) {
                Some(level) => record.severity = Some(level),
                None => return false,
            }
        }
        Path::Known(field) => record.set(*field, value),
        Path::App(name) => match path.place(record) {
            Some(Place::Field(at)) => record.replace(at, value),
            _ => record.push(Str::Raw(name.as_bytes()), value),
        },
        Path::Own(name) => match path.place(record) {
            Some(Place::Field(at)) => record.replace(at, value),
            _ => record.put(name, value),
        },
    }
    true
}

fn put<'a>(place: Place<'_>, value: Value<'a>, record: &mut Record<'a>) {
    match place {
        Place::Message => record.message = Some(value),
        Place::Field(at) => record.replace(at, value),
        // Kinds of values within an object stay: only fields of the record are converted.
        Place::Within(..) => {}
    }
}

fn remove<'a>(place: Place<'_>, record: &mut Record<'a>, slot: &'a OnceCell<Vec<u8>>) {
    match place {
        Place::Message => record.message = Some(Value::Text(Str::Raw(b""))),
        Place::Field(at) => record.remove(at),
        Place::Within(at, within) => {
            let (Value::Json(raw) | Value::Repair(raw)) = record.fields()[at].1 else { return };
            let object = slot.get_or_init(|| {
                let mut object = Vec::new();
                nested::rewrite(raw, within, None, &mut object);
                object
            });
            record.replace(at, Value::Repair(object));
        }
    }
}

fn converted<'a>(value: &Value<'a>, kind: Kind, slot: &'a OnceCell<Vec<u8>>) -> Option<Value<'a>> {
    let mut plain = Vec::new();
    text(value, &mut plain);
    let plain = std::str::from_utf8(&plain).ok()?.trim();
    let new = match kind {
        Kind::Text => {
            return matches!(value, Value::Json(_) | Value::Int(_))
                .then(|| Value::Text(Str::Raw(slot.get_or_init(|| plain.as_bytes().to_vec()))));
        }
        // As written: no digit of it is lost.
        Kind::Int => {
            let digits = plain.strip_prefix('-').unwrap_or(plain);
            let whole = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            whole.then(|| match (plain.starts_with('-'), digits.trim_start_matches('0')) {
                (_, "") => "0".to_owned(),
                (true, digits) => format!("-{digits}"),
                (false, digits) => digits.to_owned(),
            })?
        }
        Kind::Float => {
            let number: f64 = plain.parse().ok()?;
            // What JSON knows is kept as written; the rest (`.5`, `+1`) is written as JSON writes it.
            match serde_json::from_str::<serde_json::Number>(plain) {
                Ok(_) => plain.to_owned(),
                Err(_) => serde_json::Number::from_f64(number)?.to_string(),
            }
        }
        Kind::Bool => match plain.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => "true".to_owned(),
            "false" | "no" | "off" | "0" => "false".to_owned(),
            _ => return None,
        },
    };
    Some(Value::Json(slot.get_or_init(|| new.into_bytes())))
}

/// The JSON that a text holds.
fn expanded<'a>(value: &Value<'a>, slot: &'a OnceCell<Vec<u8>>) -> Option<Value<'a>> {
    let Value::Text(string) = value else { return None };
    let mut plain = Vec::new();
    string.resolve(&mut plain);
    let inner = plain.trim_ascii();
    simdutf8::basic::from_utf8(inner).ok()?;
    match inner.first() {
        Some(b'{') => json::object(inner, |_| ()).ok()?,
        Some(b'[') => json::array(inner, |_| ()).ok()?,
        _ => return None,
    }
    let inner = inner.to_vec();
    // Whatever is in it, it is written cleanly.
    Some(Value::Repair(slot.get_or_init(|| inner)))
}

fn concealed(value: &Value<'_>, how: &Hide) -> Vec<u8> {
    let mut plain = Vec::new();
    text(value, &mut plain);
    match how {
        Hide::Mask => b"***".to_vec(),
        Hide::Hash(key) => key.hash(&plain),
        Hide::Network(v4, v6) => {
            let ip = std::str::from_utf8(&plain).ok().and_then(|text| text.trim().parse::<IpAddr>().ok());
            ip.map_or_else(|| b"***".to_vec(), |ip| network(ip, *v4, *v6).to_string().into_bytes())
        }
    }
}

/// The address with the bits behind the prefix at 0.
pub(super) fn network(ip: IpAddr, v4: u8, v6: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(v4)).unwrap_or(0);
            IpAddr::V4((u32::from(ip) & mask).into())
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(v6)).unwrap_or(0);
            IpAddr::V6((u128::from(ip) & mask).into())
        }
    }
}

/// Address and length of the bytes that a value borrows.
fn span(value: &Value<'_>) -> Option<(usize, usize)> {
    let bytes = match value {
        Value::Text(text) => text.bytes(),
        Value::Json(raw) | Value::Repair(raw) => raw,
        Value::Int(_) | Value::Duration(_) => return None,
    };
    Some((bytes.as_ptr() as usize, bytes.len()))
}

fn hide(value: &Value<'_>, new: &[u8], line: &[u8], hidden: &mut Hidden) {
    let start = line.as_ptr() as usize;
    match span(value) {
        Some((at, length)) if at >= start && at + length <= start + line.len() => {
            let from = at - start;
            // A bare JSON number that is masked becomes a text.
            let bare = matches!(value, Value::Json(_));
            let with = if bare { [b"\"", new, b"\""].concat() } else { new.to_vec() };
            hidden.spans.push((from, from + length, with));
        }
        _ => hidden.all = true,
    }
}

/// The same bytes of the line may stand in other fields as well.
fn elsewhere<'a>(old: Option<(usize, usize)>, new: &'a [u8], record: &mut Record<'a>) {
    let Some((from, length)) = old.filter(|(_, length)| *length > 0) else { return };
    let instead = |value: &Value<'a>| {
        let (at, size) = span(value)?;
        let overlaps = at < from + length && from < at + size;
        overlaps.then_some(Value::Text(Str::Raw(if (at, size) == (from, length) { new } else { b"***" })))
    };
    if let Some(value) = record.message.as_ref().and_then(instead) {
        record.message = Some(value);
    }
    for place in 0..record.fields().len() {
        let (name, value) = &record.fields()[place];
        if let (Some(value), false) =
            (instead(value), matches!(name, Name::Known(crate::record::Field::Tags)))
        {
            record.replace(place, value);
        }
    }
}
