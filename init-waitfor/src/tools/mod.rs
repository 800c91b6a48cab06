//! The subcommands beside waiting.

pub mod explain;
pub mod fetch;
pub mod install;
pub mod place;
pub mod status;
pub mod write;
