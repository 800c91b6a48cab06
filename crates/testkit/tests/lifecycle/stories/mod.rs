//! What happens in each manifest's life, and what must have arrived at its end.

pub(crate) mod adapter;
pub(crate) mod ambassador;
pub(crate) mod beside;
pub(crate) mod gate;
pub(crate) mod ship;

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::Value;
use testkit::http;

/// A port of the pod, from inside of it.
pub(crate) fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Asks nginx or another server in the pod.
pub(crate) fn get(port: u16, path: &str) -> http::Response {
    http::get(local(port), path)
}

/// Everything written arrived; it may have arrived twice where a shipper was killed.
#[track_caller]
pub(crate) fn assert_arrived(written: &[String], received: &[String]) {
    assert!(!written.is_empty(), "nothing was written");
    let missing: Vec<&String> = written.iter().filter(|line| !received.contains(line)).collect();
    assert!(missing.is_empty(), "{} of {} lines are missing: {missing:#?}", missing.len(), written.len());
}

/// The JSON records among lines.
pub(crate) fn records(lines: &[String]) -> Vec<Value> {
    let record = |line: &String| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    lines.iter().map(record).collect()
}

/// A text field of a record, by its dotted or nested name.
pub(crate) fn field<'a>(record: &'a Value, name: &str) -> &'a str {
    record[name].as_str().unwrap_or("")
}
