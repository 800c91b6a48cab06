//! The proxy as a process.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

pub mod python;

use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;
use testkit::{Proc, Ready, Running, Stream, eventually, http};

/// A running proxy and where it listens.
pub struct Proxy {
    pub running: Running,
    pub ready: Ready,
}

/// Starts it with these flags; the admin port is a free one.
pub fn start(args: &[&str]) -> Proxy {
    start_with(args, |proc| proc)
}

/// Starts it with these flags, and more.
pub fn start_with(args: &[&str], more: impl FnOnce(Proc) -> Proc) -> Proxy {
    let proc = more(command().args(["--admin", "127.0.0.1:0"]).args(args));
    let running = proc.spawn();
    let ready = running.wait_ready();
    Proxy { running, ready }
}

/// The binary.
pub fn command() -> Proc {
    Proc::new(env!("CARGO_BIN_EXE_ambassador-proxy")).json_logs()
}

/// Starts it with a configuration file.
pub fn start_config(path: &Path) -> Proxy {
    start(&["--config", path.to_str().unwrap()])
}

impl Proxy {
    pub fn http(&self) -> SocketAddr {
        self.ready.addr("http")
    }

    pub fn tcp(&self) -> SocketAddr {
        self.ready.addr("tcp")
    }

    pub fn admin(&self) -> SocketAddr {
        self.ready.addr("admin")
    }

    pub fn status(&self) -> Value {
        http::get(self.admin(), "/statusz").json()
    }

    pub fn metrics(&self) -> testkit::metrics::Metrics {
        testkit::metrics::metrics(self.admin())
    }

    /// Open file descriptors.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.running.pid())).map_or(0, Iterator::count)
    }

    /// The access log so far.
    pub fn log(&self) -> Vec<Value> {
        self.running.lines(Stream::Stdout).iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits for a line of the access log.
    pub fn wait_log(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        eventually(what, || self.log().into_iter().find(|line| is_it(line)))
    }

    /// Ends it and sees that it ended well.
    pub fn end(self) {
        self.running.sigterm();
        self.running.wait_exit().expect_code(0);
    }
}

/// An address where nobody listens.
pub fn nowhere() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
