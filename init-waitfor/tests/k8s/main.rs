//! `k8s:` targets as people run them: the real binary against an API server that speaks the real one's JSON.

mod api;
mod cluster;
mod config;
mod rights;
mod waiting;

use testkit::Proc;

/// The binary, ready for arguments; JSON logs on stderr, no hosts file of the machine.
fn waitfor() -> Proc {
    let common = ["--hosts", "/dev/null", "--termination-log", "/dev/null"];
    Proc::new(env!("CARGO_BIN_EXE_init-waitfor")).args(common).json_logs()
}
