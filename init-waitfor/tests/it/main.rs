//! init-waitfor as people run it: the real binary against scripted servers.

mod brokers;
mod config;
mod connect;
mod databases;
mod directories;
mod dns;
mod files;
mod gate;
mod http;
mod knot;
mod locks;
mod migrate;
mod migration;
mod nginx;
mod output;
mod real;
mod scram;
mod secrets;
mod servers;
mod specified;
mod sqlite;
mod tls;
mod tools;

use testkit::Proc;

/// The binary, ready for arguments; JSON logs on stderr, no hosts file of the machine.
fn waitfor() -> Proc {
    plain().json_logs()
}

/// Without `--log-format`.
fn plain() -> Proc {
    Proc::new(env!("CARGO_BIN_EXE_init-waitfor")).args([
        "--hosts",
        "/dev/null",
        "--termination-log",
        "/dev/null",
    ])
}
