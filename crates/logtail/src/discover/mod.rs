//! Which files there are, when to look again, and whose rotated form a name is.

mod pattern;
mod rotated;
mod stat;
mod watch;

pub(crate) use pattern::{Found, Patterns, Scan};
pub(crate) use rotated::{Packing, is_compressed, packing};
pub(crate) use stat::{Identity, Stat};
pub(crate) use watch::Watch;
