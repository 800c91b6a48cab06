//! Services that a binary talks to, scripted to misbehave. All listen on `127.0.0.1`, on a free port.

mod answer;
mod bulk;
mod dns;
mod h2;
mod http;
mod server;
mod tcp;

pub use answer::{Answer, OnConnect, Received, Reply};
pub use bulk::{Doc, FakeBulk};
pub use dns::{DnsAnswer, FakeDns, Question};
pub use h2::{FakeH2, H2Reply};
pub use http::FakeHttp;
pub use tcp::{FakeTcp, TcpAnswer};
