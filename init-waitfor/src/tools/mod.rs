//! The subcommands beside waiting.

pub mod explain;
pub mod fetch;
pub mod install;
pub mod owner;
pub mod place;
pub mod status;
pub mod unpack;
pub mod write;
