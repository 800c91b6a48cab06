//! The admin port: `/livez`, `/readyz`, `/metrics`, `/statusz` and a page for people.
//!
//! Read-only but for POST actions, which are taken from loopback alone. Bounded: at most 64 connections, 8 KiB of request head, 10 s for a request.

mod server;
mod status;

pub use server::{Admin, Context};
pub use status::{Reply, Status};
