//! One event as borrowed spans over the line it came from: no map, no allocation per field.
//!
//! A decoder pushes what it finds; an encoder writes it once. The vector behind [`Record`] is reused from line to line.

use crate::{
    severity::Severity,
    text::{Str, first_of},
    time::Time,
};

/// A field that every format shares; each schema has its own name for it (see [`crate::encode::names`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Field {
    Logger,
    File,
    Line,
    Function,
    ThreadName,
    ThreadId,
    Pid,
    Process,
    Host,
    Service,
    ServiceVersion,
    TraceId,
    SpanId,
    ErrorType,
    ErrorMessage,
    ErrorStack,
    ErrorCode,
    ClientAddress,
    ClientIp,
    ClientPort,
    User,
    Method,
    Url,
    HttpVersion,
    Status,
    ResponseBytes,
    RequestBytes,
    Referrer,
    UserAgent,
    Duration,
    ServerAddress,
    ServerPort,
    RequestId,
    Stream,
    SyslogFacility,
    SyslogFacilityName,
    SyslogSeverity,
    SyslogPriority,
    SyslogVersion,
    SyslogProcId,
    SyslogMsgId,
    Tags,
}

impl Field {
    pub const COUNT: usize = Field::Tags as usize + 1;
}

/// What a field is called. Without `repr(u8)`, as [`Value`]: what begins with a byte of its own is copied by way of memory, in pieces that overlap, and
/// the processor waits for each of them.
#[derive(Clone, Copy, Debug)]
pub enum Name<'a> {
    Known(Field),
    /// A name the application chose.
    App(Str<'a>),
    /// A name within a namespace of ours, such as `nginx` + `upstream_addr`.
    Sub(&'static str, Str<'a>),
    /// RFC 5424 structured data: element and parameter.
    Sd(&'a [u8], &'a [u8]),
    /// A name that the configuration chose: written as it is.
    Own(&'a str),
}

#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    Text(Str<'a>),
    /// JSON that a strict scan accepted (number, true, false, null, array, object): copied byte for byte.
    Json(&'a [u8]),
    /// JSON that needs repair on the way out: duplicate keys, bad escapes, control bytes.
    Repair(&'a [u8]),
    Int(i64),
    /// Nanoseconds.
    Duration(i64),
}

/// Most fields of one record. Elasticsearch takes as many per index out of the box; names are compared with each other, so without an end one line could
/// keep the adapter busy for minutes.
pub const MOST: usize = 1024;

/// Which piece of a line that was too long for one record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    /// From 1.
    pub number: u32,
    pub last: bool,
}

/// One event. `message: None` means that the whole line is the message.
#[derive(Default, Debug)]
pub struct Record<'a> {
    pub time: Option<Time>,
    pub severity: Option<Severity>,
    pub message: Option<Value<'a>>,
    /// The line already has the names of the Elastic Common Schema: its keys are kept as they are.
    pub ecs: bool,
    /// Why the line as a whole could not be read.
    pub unparsed: Option<&'static str>,
    /// The first part of the line that could not be read, while the rest was.
    pub partial: Option<&'static str>,
    pub part: Option<Part>,
    fields: Vec<(Name<'a>, Value<'a>)>,
    known: u64,
    bloom: u64,
    dotted: bool,
    escaped: bool,
    /// More fields came than [`MOST`].
    full: bool,
}

/// What a record is made of, from line to line.
pub type Memory = Vec<(Name<'static>, Value<'static>)>;

impl<'a> Record<'a> {
    /// An empty record in the memory of another.
    #[inline]
    pub fn within(memory: Memory) -> Self {
        Self { fields: memory, ..Self::default() }
    }

    /// Its memory, empty.
    #[inline]
    pub fn memory(self) -> Memory {
        let mut fields = self.fields;
        fields.clear();
        // In-place collection keeps the allocation: nothing is copied, the borrow of the old line ends here.
        fields.into_iter().map(|_| (Name::Known(Field::Tags), Value::Int(0))).collect()
    }

    /// The same memory for another line.
    pub fn recycle<'b>(self) -> Record<'b> {
        Record::within(self.memory())
    }

    /// Forgets what a decoder pushed before it gave up.
    pub fn clear(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = Record { fields, ..Record::default() };
    }

    pub fn fields(&self) -> &[(Name<'a>, Value<'a>)] {
        &self.fields
    }

    /// True when there were more fields than a record may have: it lacks some.
    pub fn full(&self) -> bool {
        self.full
    }

    /// Adds a field, while there is room.
    fn add(&mut self, name: Name<'a>, value: Value<'a>) {
        self.full |= self.fields.len() >= MOST;
        if !self.full {
            self.fields.push((name, value));
        }
    }

    /// True when an application's key holds a dot, so that keys may collide in a schema that nests.
    pub fn dotted(&self) -> bool {
        self.dotted
    }

    /// True when an application's key is written with escapes.
    pub fn escaped(&self) -> bool {
        self.escaped
    }

    pub fn has(&self, field: Field) -> bool {
        self.known & (1 << field as u64) != 0
    }

    /// Sets a shared field; the last one wins.
    pub fn set(&mut self, field: Field, value: Value<'a>) {
        if self.has(field) {
            if let Some(entry) =
                self.fields.iter_mut().find(|(n, _)| matches!(n, Name::Known(f) if *f == field))
            {
                entry.1 = value;
            }
            return;
        }
        self.set_new(field, value);
    }

    /// The same for one that is not set.
    #[inline(always)]
    pub fn set_new(&mut self, field: Field, value: Value<'a>) {
        self.known |= 1 << field as u64;
        self.fields.push((Name::Known(field), value));
    }

    pub fn text(&mut self, field: Field, text: &'a [u8]) {
        self.set(field, Value::Text(Str::Raw(text)));
    }

    /// Sets a field under the application's own name; a repeated name keeps its place and takes the last value.
    pub fn push(&mut self, name: Str<'a>, value: Value<'a>) {
        match Known::new(&name) {
            Some(known) => self.push_known(name, known, value),
            None => self.push_odd(name, value),
        }
    }

    /// The same where more is known of the name.
    pub fn push_known(&mut self, name: Str<'a>, known: Known, value: Value<'a>) {
        match self.is_new(known) {
            true => self.add_new(name, value),
            false => self.push_again(name, value),
        }
    }

    /// Whether a name is certainly none of those that are there, and there is room for it: then [`Self::add_new`] is to follow.
    #[inline(always)]
    pub fn is_new(&mut self, known: Known) -> bool {
        self.dotted |= known.dotted;
        let new = self.bloom & known.bit == 0 && self.fields.len() < MOST;
        if new {
            self.bloom |= known.bit;
        }
        new
    }

    #[inline(always)]
    pub fn add_new(&mut self, name: Str<'a>, value: Value<'a>) {
        self.fields.push((Name::App(name), value));
    }

    /// An escaped spelling of a name, or an empty one.
    fn push_odd(&mut self, name: Str<'a>, value: Value<'a>) {
        if self.full {
            return;
        }
        self.dotted |= name.bytes().is_empty() || memchr::memchr(b'.', name.bytes()).is_some();
        if !name.is_plain() {
            // It can equal any other: compare with all from now on.
            self.bloom = u64::MAX;
            self.escaped = true;
        }
        self.push_again(name, value);
        self.bloom |= 1 << bloom_bit(name.bytes());
    }

    /// A name that may be there already.
    #[inline(never)]
    fn push_again(&mut self, name: Str<'a>, value: Value<'a>) {
        if self.full {
            return;
        }
        let twin = self.fields.iter_mut().find(|(n, _)| matches!(n, Name::App(s) if same(s, &name)));
        match twin {
            Some(entry) => entry.1 = value,
            None => self.add(Name::App(name), value),
        }
    }

    /// Sets a field of a namespace of ours.
    pub fn push_sub(&mut self, space: &'static str, name: Str<'a>, value: Value<'a>) {
        if self.full {
            return;
        }
        let twin = self
            .fields
            .iter_mut()
            .find(|(n, _)| matches!(n, Name::Sub(p, s) if *p == space && same(s, &name)));
        match twin {
            Some(entry) => entry.1 = value,
            None => self.add(Name::Sub(space, name), value),
        }
    }

    /// Sets a structured-data parameter. They come behind one another.
    pub fn push_sd(&mut self, id: &'a [u8], param: &'a [u8], value: Value<'a>) {
        if self.full {
            return;
        }
        for (name, old) in self.fields.iter_mut().rev() {
            match name {
                Name::Sd(i, p) if *i == id && *p == param => {
                    *old = value;
                    return;
                }
                Name::Sd(..) => {}
                _ => break,
            }
        }
        self.add(Name::Sd(id, param), value);
    }

    /// Sets a field under a name of the configuration; a namespace's field of the same name goes.
    pub fn put(&mut self, name: &'a str, value: Value<'a>) {
        let twin = self.fields.iter_mut().find(|(n, _)| match n {
            Name::Own(own) => *own == name,
            Name::Sub(space, sub) => {
                let rest = name.strip_prefix(space).and_then(|n| n.strip_prefix('.'));
                rest.is_some_and(|rest| same(sub, &Str::Raw(rest.as_bytes())))
            }
            _ => false,
        });
        match twin {
            Some(entry) => *entry = (Name::Own(name), value),
            None => self.fields.push((Name::Own(name), value)),
        }
    }

    /// Another value for the field at this place.
    pub fn replace(&mut self, place: usize, value: Value<'a>) {
        if let Some(entry) = self.fields.get_mut(place) {
            entry.1 = value;
        }
    }

    /// Takes the field at this place out.
    pub fn remove(&mut self, place: usize) {
        if let (Name::Known(field), _) = self.fields.remove(place) {
            self.known &= !(1 << field as u64);
        }
    }

    /// True when the application itself has a field of this name.
    pub fn has_app(&self, name: &[u8]) -> bool {
        self.fields.iter().any(|(n, _)| matches!(n, Name::App(s) if same(s, &Str::Raw(name))))
    }

    /// Keeps the first reason why a part of the line could not be read.
    pub fn note(&mut self, part: &'static str) {
        self.partial.get_or_insert(part);
    }
}

/// What can be said of an application's name by itself, where it is written as it is meant, and is not empty.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// For telling names apart, mostly.
    bit: u64,
    /// It holds a dot.
    dotted: bool,
}

impl Known {
    pub(crate) const NONE: Self = Self { bit: 0, dotted: false };

    pub fn new(name: &Str<'_>) -> Option<Self> {
        let bytes = name.bytes();
        if bytes.is_empty() {
            return None;
        }
        let odd = first_of(bytes, *b".\\\"").is_some();
        if odd && !name.is_plain() {
            return None;
        }
        let dotted = odd && memchr::memchr(b'.', bytes).is_some();
        Some(Self { bit: 1 << bloom_bit(bytes), dotted })
    }
}

fn bloom_bit(name: &[u8]) -> u32 {
    let edge = |b: Option<&u8>| u32::from(*b.unwrap_or(&0));
    let mix = edge(name.first()) * 7 + edge(name.last()) * 31 + edge(name.get(name.len() / 2)) * 3;
    (mix + (name.len() as u32) * 11) % 64
}

/// Equal names, whatever their escapes.
fn same(a: &Str<'_>, b: &Str<'_>) -> bool {
    if a.is_plain() && b.is_plain() {
        return a.bytes() == b.bytes();
    }
    let (mut left, mut right) = (Vec::new(), Vec::new());
    a.resolve(&mut left);
    b.resolve(&mut right);
    left == right
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_two_equal_keys_wins_in_the_place_of_the_first() {
        let mut record = Record::default();
        record.push(Str::Json(b"a"), Value::Int(1));
        record.push(Str::Json(b"b"), Value::Int(2));
        record.push(Str::Json(br"\u0061"), Value::Int(3));
        assert_eq!(record.fields().len(), 2);
        assert!(matches!(record.fields()[0].1, Value::Int(3)));
        assert!(record.has_app(b"b"));
        let record = record.recycle();
        assert!(record.fields().is_empty());
    }
}
