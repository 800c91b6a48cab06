//! `fetch` as people run it: the real binary against scripted servers.

#[cfg(feature = "git")]
mod git;
mod once;
mod refresh;

use testkit::Proc;

/// The binary, ready for arguments; JSON logs on stderr, no hosts file of the machine.
fn waitfor() -> Proc {
    let common = ["--hosts", "/dev/null", "--termination-log", "/dev/null"];
    Proc::new(env!("CARGO_BIN_EXE_init-waitfor")).args(common).json_logs()
}
