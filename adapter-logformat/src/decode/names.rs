//! Names of columns that a header line in the log gives: kept for the life of the process, so that records can borrow them.
//!
//! Bounded: 1024 different names of at most 64 bytes; what comes then is called by its place.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

const MOST: usize = 1024;
const LONGEST: usize = 64;

static NAMES: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);

/// The name, or `None` when there are too many already.
pub fn intern(name: &str) -> Option<&'static str> {
    let mut guard = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    let names = guard.get_or_insert_default();
    if let Some(known) = names.get(name) {
        return Some(known);
    }
    if names.len() >= MOST || name.len() > LONGEST {
        return None;
    }
    let kept: &'static str = Box::leak(name.to_owned().into_boxed_str());
    names.insert(kept);
    Some(kept)
}

/// Names for columns beyond what is remembered.
pub const PLACES: [&str; 16] = [
    "column_1",
    "column_2",
    "column_3",
    "column_4",
    "column_5",
    "column_6",
    "column_7",
    "column_8",
    "column_9",
    "column_10",
    "column_11",
    "column_12",
    "column_13",
    "column_14",
    "column_15",
    "column_x",
];

/// The name of a column at this place (from 0).
pub fn column(name: &[u8], place: usize) -> &'static str {
    std::str::from_utf8(name)
        .ok()
        .filter(|n| !n.is_empty())
        .and_then(intern)
        .unwrap_or(PLACES[place.min(PLACES.len() - 1)])
}
