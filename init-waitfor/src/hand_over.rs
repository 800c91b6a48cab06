//! The end of a gate: this process becomes the app.

use std::ffi::{OsStr, OsString};
use std::io::{Error, ErrorKind};
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use podkit::Exit;

use crate::code;

/// `execve`: same process id, same environment, same open files, signals as they were. Returns only when that failed.
pub fn hand_over(command: &[OsString]) -> Exit {
    let Some((program, args)) = command.split_first() else { return Exit::done() };
    not_started(program, &std::process::Command::new(program).args(args).exec())
}

/// 127 or 126, as shells have them, with what to do.
pub(crate) fn not_started(program: &OsStr, error: &Error) -> Exit {
    let named = program.to_string_lossy();
    match error.kind() {
        // The kernel says "not found" of the file and of what the file needs.
        ErrorKind::NotFound if named.contains('/') && Path::new(program).exists() => Exit::with(
            code::NOT_FOUND,
            format!(
                "init-waitfor: {named} is there, but not what it starts with: the interpreter in its first line, or its dynamic loader; \
                 put that into the image"
            ),
        ),
        ErrorKind::NotFound => Exit::with(
            code::NOT_FOUND,
            format!("init-waitfor: {named}: no such command; write its full path, or put it into the image"),
        ),
        _ => Exit::with(
            code::CANNOT_RUN,
            format!(
                "init-waitfor: {named} cannot be run: {error}; it needs to be executable and of this architecture"
            ),
        ),
    }
}
