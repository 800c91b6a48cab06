//! What was received, told apart by id; on disk when asked, so that a kill -9 forgets nothing acknowledged.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use anyhow::Context;

/// Whether an id came for the first time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Seen {
    First,
    Again,
}

/// The three kinds of ids kept: log lines, documents (`_id`), orders.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Line,
    Document,
    Order,
}

impl Kind {
    fn letter(self) -> &'static str {
        match self {
            Kind::Line => "line",
            Kind::Document => "document",
            Kind::Order => "order",
        }
    }
}

/// Ids are kept as 64-bit hashes: a million of them collide with a chance of one in 30 million.
#[derive(Default)]
struct Ids {
    known: RefCell<HashSet<u64>>,
    again: Cell<u64>,
}

impl Ids {
    fn add(&self, id: &str) -> Seen {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        if self.known.borrow_mut().insert(hasher.finish()) {
            Seen::First
        } else {
            self.again.set(self.again.get() + 1);
            Seen::Again
        }
    }
}

#[derive(Default)]
pub(crate) struct Store {
    lines: Ids,
    documents: Ids,
    orders: Ids,
    file: Option<RefCell<File>>,
    /// Written to the file at [`Store::commit`], in one call.
    pending: RefCell<String>,
}

impl Store {
    /// Opens the file and takes up what an earlier run received. Without a path, everything stays in memory.
    pub(crate) fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let mut store = Store::default();
        let Some(path) = path else { return Ok(store) };
        let named = || format!("cannot open the store {}", path.display());
        let file = OpenOptions::new().read(true).append(true).create(true).open(path).with_context(named)?;
        for line in BufReader::new(&file).lines() {
            let line = line.with_context(named)?;
            match line.split_once(' ') {
                Some(("line", id)) => store.lines.add(id),
                Some(("document", id)) => store.documents.add(id),
                Some(("order", id)) => store.orders.add(id),
                _ => continue,
            };
        }
        store.file = Some(RefCell::new(file));
        Ok(store)
    }

    pub(crate) fn add(&self, kind: Kind, id: &str) -> Seen {
        let seen = self.ids(kind).add(id);
        if self.file.is_some() {
            let mut pending = self.pending.borrow_mut();
            pending.push_str(kind.letter());
            pending.push(' ');
            pending.push_str(id);
            pending.push('\n');
        }
        seen
    }

    /// Writes what was added; to be called before the answer that acknowledges it.
    pub(crate) fn commit(&self) -> std::io::Result<()> {
        let pending = self.pending.take();
        match &self.file {
            Some(file) if !pending.is_empty() => file.borrow_mut().write_all(pending.as_bytes()),
            _ => Ok(()),
        }
    }

    pub(crate) fn distinct(&self, kind: Kind) -> u64 {
        self.ids(kind).known.borrow().len() as u64
    }

    pub(crate) fn repeated(&self, kind: Kind) -> u64 {
        self.ids(kind).again.get()
    }

    fn ids(&self, kind: Kind) -> &Ids {
        match kind {
            Kind::Line => &self.lines,
            Kind::Document => &self.documents,
            Kind::Order => &self.orders,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reopened_store_knows_what_was_committed() {
        let path = std::env::temp_dir().join(format!("demo-backend-store-{}", std::process::id()));
        let store = Store::open(Some(&path)).unwrap();
        assert_eq!(store.add(Kind::Line, "ln-1"), Seen::First);
        assert_eq!(store.add(Kind::Line, "ln-1"), Seen::Again);
        assert_eq!(store.add(Kind::Order, "ln-1"), Seen::First, "kinds are told apart");
        store.commit().unwrap();
        let store = Store::open(Some(&path)).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!((store.distinct(Kind::Line), store.repeated(Kind::Line)), (1, 1));
        assert_eq!(store.add(Kind::Order, "ln-1"), Seen::Again);
    }
}
