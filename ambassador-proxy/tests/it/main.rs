//! The proxy as a process, in one program: linking a dozen of them took longer than running them.

#[path = "../common/mod.rs"]
mod common;

mod balance;
mod chaos;
mod clients;
mod complaints;
mod dns;
mod framing;
mod grpc;
mod h1_raw;
mod h2;
mod h2_connect;
mod h2_raw;
mod http;
mod life;
mod policy;
mod random;
mod security;
mod spans;
mod stale;
mod tcp;
mod tls;
mod vtc;
