//! How far a consumer is, kept so that kill -9 at any instruction loses nothing.

mod ledger;
mod positions;
mod store;

pub(crate) use ledger::Ledger;
pub use positions::{Position, Positions};
pub use store::{Loaded, SaveError, Store};
