//! The two shapes of a record: one object with dotted names (ECS, flat), and the OpenTelemetry log data model.

use super::{
    Encoder, Original, Raw, Schema, Source,
    key::Key,
    raw::{raw_needed, write_raw},
    value::{nanos, write_value},
};
use crate::{
    json,
    record::{Field, Name, Record, Value},
    text::{Around, Pen, Str, copy, escape_any},
};

pub(super) struct Object<'e, 'r, 'o> {
    pub encoder: &'e mut Encoder,
    pub record: &'e Record<'r>,
    pub valid: bool,
    pub out: &'o mut Vec<u8>,
    /// Names given to fields that had to move aside.
    pub moved: Vec<Vec<u8>>,
}

impl Encoder {
    /// How a record begins: its time, or the time of reading.
    #[inline(always)]
    fn begin_object(&mut self, source: &Source<'_>, record: &Record<'_>, pen: &mut Pen<'_, '_>) {
        self.head.text(pen);
        let (head, tail, length) = self.stamp.quoted(record.time.unwrap_or(source.now));
        pen.block(head, head.len());
        pen.words(tail, length - head.len());
    }

    /// The message, where there is to be one.
    #[inline(always)]
    fn message_of<'a>(&self, source: &Source<'a>, record: &Record<'a>, raw: Raw) -> Option<Value<'a>> {
        match record.message {
            // The fields say it all, and the compact variant was asked for.
            None if raw == Raw::InMessage
                && self.original == Original::Failed
                && record.unparsed.is_none()
                && record.partial.is_none()
                && record.part.is_none() =>
            {
                None
            }
            None => Some(Value::Text(Str::Raw(source.shown.unwrap_or(source.text)))),
            message => message,
        }
    }
}

impl Object<'_, '_, '_> {
    pub(super) fn dotted(&mut self, source: &Source<'_>) {
        let record = self.record;
        let raw = raw_needed(source, record, self.encoder.original, self.valid);
        let message = self.encoder.message_of(source, record, raw);
        let mut pen = Pen::new(self.out, source.around);
        self.encoder.begin_object(source, record, &mut pen);
        if let Some(severity) = record.severity {
            self.encoder.level.text(&mut pen);
            let (name, length) = severity.quoted();
            pen.block(name, length);
        }
        if let Some(message) = message
            && !(self.valid && member(&self.encoder.message, &message, self.encoder.nanos, &mut pen))
        {
            drop(pen);
            self.member_slowly(self.encoder.message, &message);
            pen = Pen::new(self.out, source.around);
        }
        if self.encoder.schema.is_ecs() {
            self.encoder.version.text(&mut pen);
            if let Some(severity) = record.severity {
                self.encoder.severity.write(&mut pen);
                pen.int(i64::from(severity.number()));
            }
        }
        drop(pen);
        if self.encoder.schema == Schema::Datadog {
            self.key(b"ddsource");
            self.quoted(source.format.as_bytes());
        }
        self.fields(source, 0);
        if !self.encoder.fixed.is_empty() {
            copy(self.out, &self.encoder.fixed);
        }
        self.marks(source);
        write_raw(raw, source, self.encoder, self.out);
    }

    pub(super) fn otel(&mut self, source: &Source<'_>) {
        let record = self.record;
        match record.time {
            Some(time) => {
                self.out.extend_from_slice(b"{\"Timestamp\":\"");
                nanos(time, self.out);
            }
            None => {
                self.out.extend_from_slice(b"{\"ObservedTimestamp\":\"");
                nanos(source.now, self.out);
            }
        }
        self.out.push(b'"');
        if let Some(severity) = record.severity {
            self.key(b"SeverityText");
            self.quoted(severity.name().as_bytes());
            self.key(b"SeverityNumber");
            self.value(&Value::Int(i64::from(severity.number())));
        }
        for (name, field) in [("TraceId", Field::TraceId), ("SpanId", Field::SpanId)] {
            if !record.has(field) {
                continue;
            }
            let found = record.fields().iter().find(|(n, _)| matches!(n, Name::Known(f) if *f == field));
            if let Some((_, value)) = found {
                self.key(name.as_bytes());
                self.value(value);
            }
        }
        let raw = raw_needed(source, record, self.encoder.original, self.valid);
        self.message(source, raw);
        if let Some(fixed) = self.encoder.fixed.get(1..) {
            self.out.extend_from_slice(b",\"Resource\":{");
            self.out.extend_from_slice(fixed);
            self.out.push(b'}');
        }
        self.out.extend_from_slice(b",\"Attributes\":{");
        let start = self.out.len();
        self.fields(source, 0);
        self.marks(source);
        write_raw(raw, source, self.encoder, self.out);
        if self.out.len() > start {
            // The first attribute came with a comma.
            self.out.remove(start);
        }
        self.out.extend_from_slice(b"}}");
    }

    pub(super) fn message(&mut self, source: &Source<'_>, raw: Raw) {
        if let Some(message) = self.encoder.message_of(source, self.record, raw) {
            self.member_slowly(self.encoder.message, &message);
        }
    }

    /// How a record begins: its time, or the time of reading.
    pub(super) fn time(&mut self, source: &Source<'_>) {
        self.encoder.begin_object(source, self.record, &mut Pen::new(self.out, source.around));
    }

    /// `apart`: shared fields (a bit each) that stand elsewhere in the record.
    pub(super) fn fields(&mut self, source: &Source<'_>, apart: u64) {
        let record = self.record;
        // … or that the configuration sets, or that the schema has no name for.
        let apart = apart | self.encoder.absent;
        let nanos = self.encoder.nanos;
        let bare = record.ecs;
        // Names with a prefix of their own collide with none of the schema's.
        let may_collide = record.ecs || self.encoder.layout.app.is_empty() || self.encoder.fixed_app;
        let odd = record.escaped() || record.dotted() && self.encoder.schema.nests();
        let plain_apps = self.valid && !odd && !may_collide;
        let mut pen = Pen::new(self.out, source.around);
        for (name, value) in record.fields() {
            match name {
                Name::Known(field) => {
                    if apart & (1 << *field as u64) != 0 {
                        continue;
                    }
                    let key = &self.encoder.keys[*field as usize];
                    if self.valid && member(key, value, nanos, &mut pen) {
                        continue;
                    }
                    let key = *key;
                    drop(pen);
                    self.member_slowly(key, value);
                }
                Name::App(name) if plain_apps => {
                    let prefix = if bare { &self.encoder.bare } else { &self.encoder.app };
                    if prefix.name(name, &mut pen) {
                        if behind_name(value, nanos, &mut pen) {
                            continue;
                        }
                        drop(pen);
                    } else {
                        prefix.text(&mut pen);
                        drop(pen);
                        name.write(self.out, true, &mut self.encoder.scratch);
                        self.out.extend_from_slice(b"\":");
                    }
                    self.value(value);
                }
                Name::App(name) => {
                    drop(pen);
                    self.app(name, value);
                    self.value(value);
                }
                Name::Sd(id, param) if self.valid => {
                    self.encoder.structured.text(&mut pen);
                    pen.escaped(id);
                    pen.byte(b'.');
                    pen.escaped(param);
                    if behind_name(value, nanos, &mut pen) {
                        continue;
                    }
                    drop(pen);
                    self.value(value);
                }
                Name::Sd(id, param) => {
                    self.encoder.structured.text(&mut pen);
                    drop(pen);
                    escape_any(self.out, id);
                    self.out.push(b'.');
                    escape_any(self.out, param);
                    self.out.extend_from_slice(b"\":");
                    self.value(value);
                }
                Name::Sub(space, name) => {
                    drop(pen);
                    self.out.extend_from_slice(b",\"");
                    copy(self.out, space.as_bytes());
                    self.out.push(b'.');
                    name.write(self.out, self.valid, &mut self.encoder.scratch);
                    self.out.extend_from_slice(b"\":");
                    self.value(value);
                }
                Name::Own(name) => {
                    drop(pen);
                    self.own(name);
                    self.value(value);
                }
            }
            pen = Pen::new(self.out, source.around);
        }
    }

    /// A member whatever has to be done for it; [`member`] is for what most are.
    #[inline(never)]
    fn member_slowly(&mut self, key: Key, value: &Value<'_>) {
        key.write(&mut Pen::new(self.out, Around(&[])));
        self.value(value);
    }

    /// The key of a field that the configuration named: moved aside where something else has that name.
    fn own(&mut self, name: &str) {
        let mut key = name.as_bytes().to_vec();
        while self.encoder.taken(&key, self.record) || self.of_app(&key) {
            key.push(b'_');
        }
        self.out.extend_from_slice(b",\"");
        escape_any(self.out, &key);
        self.out.extend_from_slice(b"\":");
    }

    /// True when a field of the application is written under this name.
    fn of_app(&self, key: &[u8]) -> bool {
        let prefix = if self.record.ecs { "" } else { self.encoder.layout.app };
        key.strip_prefix(prefix.as_bytes()).is_some_and(|app| self.record.has_app(app))
    }

    /// The key of an application's field: its own name, moved aside where the schema needs that name.
    fn app(&mut self, name: &Str<'_>, value: &Value<'_>) {
        let prefix = if self.record.ecs { "" } else { self.encoder.layout.app };
        let nests = self.encoder.schema.nests();
        let odd = self.record.escaped() || nests && self.record.dotted();
        let simple = !odd
            && (!prefix.is_empty() && !self.encoder.fixed_app
                || !self.encoder.taken(name.bytes(), self.record));
        self.out.extend_from_slice(b",\"");
        copy(self.out, prefix.as_bytes());
        if simple {
            name.write(self.out, self.valid, &mut self.encoder.scratch);
            self.out.extend_from_slice(b"\":");
            return;
        }
        let mut key = std::mem::take(&mut self.encoder.names);
        key.clear();
        name.resolve(&mut key);
        if nests {
            if key.is_empty() {
                key.push(b'_');
            } else if key.split(|&b| b == b'.').any(<[u8]>::is_empty) {
                // An empty part of a dotted name is no field name in Elasticsearch.
                key.iter_mut().filter(|b| **b == b'.').for_each(|b| *b = b'_');
            }
            let scalar = !matches!(value, Value::Json([b'{', ..]) | Value::Repair([b'{', ..]));
            if scalar && self.parent(&key) {
                key.push(b'_');
            }
        }
        let mut changed = key.as_slice() != name.bytes();
        loop {
            let full = [prefix.as_bytes(), &key].concat();
            let other =
                changed && (self.moved.contains(&key) || self.record.has_app(&key) && !self.is(name, &key));
            if !other && !self.encoder.taken(&full, self.record) {
                break;
            }
            key.push(b'_');
            changed = true;
        }
        escape_any(self.out, &key);
        self.out.extend_from_slice(b"\":");
        if changed {
            self.moved.push(key.clone());
        }
        self.encoder.names = key;
    }

    fn is(&self, name: &Str<'_>, key: &[u8]) -> bool {
        let mut plain = Vec::new();
        name.resolve(&mut plain);
        plain == key
    }

    /// True when another field lies below this name: `a` beside `a.b`.
    fn parent(&self, key: &[u8]) -> bool {
        self.record.fields().iter().any(|(name, _)| match name {
            Name::App(other) => {
                other.bytes().strip_prefix(key).is_some_and(|rest| rest.first() == Some(&b'.'))
            }
            _ => false,
        })
    }

    /// What happened to the line on its way: tags, the reason, the part.
    #[inline]
    pub(super) fn marks(&mut self, source: &Source<'_>) {
        let record = self.record;
        if record.part.is_some()
            || record.unparsed.is_some()
            || record.partial.is_some()
            || record.has(Field::Tags)
        {
            self.marks_there(source);
        }
    }

    #[inline(never)]
    fn marks_there(&mut self, source: &Source<'_>) {
        let record = self.record;
        let layout = self.encoder.layout;
        if let Some(part) = record.part {
            self.key(layout.part.as_bytes());
            self.value(&Value::Int(i64::from(part.number)));
            self.key(layout.last.as_bytes());
            self.value(&Value::Json(if part.last { b"true" } else { b"false" }));
        }
        let ours = [
            record.unparsed.map(|_| "unparsed"),
            record.partial.map(|_| "partial"),
            record.part.map(|_| "part"),
        ];
        let is_tags = |name: &Name<'_>| matches!(name, Name::Known(Field::Tags));
        let theirs = match record.has(Field::Tags) {
            true => record.fields().iter().find(|(name, _)| is_tags(name)).map(|(_, value)| value),
            false => None,
        };
        if theirs.is_some() || ours.iter().any(Option::is_some) {
            self.key(b"tags");
            self.out.push(b'[');
            let mut comma = false;
            for tag in ours.into_iter().flatten() {
                if std::mem::replace(&mut comma, true) {
                    self.out.push(b',');
                }
                self.quoted(tag.as_bytes());
            }
            if let Some(Value::Json(raw) | Value::Repair(raw)) = theirs {
                let mut list = Vec::new();
                json::rewrite(raw, &mut list);
                let inner = list.get(1..list.len().saturating_sub(1)).unwrap_or_default();
                if comma && !inner.is_empty() {
                    self.out.push(b',');
                }
                self.out.extend_from_slice(inner);
            }
            self.out.push(b']');
        }
        let reason = record.unparsed.map(|r| (r, "")).or(record.partial.map(|r| (r, " could not be read")));
        if let Some((reason, rest)) = reason.filter(|_| layout.error != "error.message" || !self.has_error())
        {
            self.key(layout.error.as_bytes());
            self.quoted(format!("{}: {reason}{rest}", source.format).as_bytes());
        }
    }

    fn has_error(&self) -> bool {
        self.encoder.schema.is_ecs() && self.record.has(Field::ErrorMessage)
    }

    pub(super) fn key(&mut self, name: &[u8]) {
        self.out.extend_from_slice(b",\"");
        self.out.extend_from_slice(name);
        self.out.extend_from_slice(b"\":");
    }

    pub(super) fn quoted(&mut self, text: &[u8]) {
        self.out.push(b'"');
        escape_any(self.out, text);
        self.out.push(b'"');
    }

    pub(super) fn value(&mut self, value: &Value<'_>) {
        let seconds = !self.encoder.schema.in_nanos();
        write_value(value, self.valid, seconds, self.out, &mut self.encoder.scratch);
    }
}

/// A name of the schema with its value, of a line that is valid UTF-8; what has to be resolved first is left, and nothing written. `nanos`: durations
/// are whole numbers.
#[inline(always)]
fn member(key: &Key, value: &Value<'_>, nanos: bool, pen: &mut Pen<'_, '_>) -> bool {
    match value {
        Value::Text(text) => return key.with(text, pen),
        Value::Json(raw) => {
            key.write(pen);
            pen.bytes(raw);
        }
        Value::Int(number) => {
            key.write(pen);
            pen.int(*number);
        }
        Value::Duration(number) if nanos => {
            key.write(pen);
            pen.int(*number);
        }
        _ => return false,
    }
    true
}

/// The end of a name, and its value; of a value that has to be resolved first nothing, and false.
#[inline(always)]
fn behind_name(value: &Value<'_>, nanos: bool, pen: &mut Pen<'_, '_>) -> bool {
    if let Value::Text(text) = value {
        let done = pen.text::<3, true>(b"\":\"", 3, text);
        if !done {
            pen.block(b"\":", 2);
        }
        return done;
    }
    pen.block(b"\":", 2);
    match value {
        Value::Json(raw) => pen.bytes(raw),
        Value::Int(number) => pen.int(*number),
        Value::Duration(number) if nanos => pen.int(*number),
        _ => return false,
    }
    true
}
