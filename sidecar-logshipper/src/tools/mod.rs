//! The subcommands that run beside a shipper, or before one.

pub mod drain;
pub mod positions;
