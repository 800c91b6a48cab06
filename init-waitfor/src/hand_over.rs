//! The end of a gate: this process becomes the app.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt as _;

use podkit::Exit;

use crate::code;

/// `execve`: same process id, same environment, same open files, signals as they were. Returns only when that failed.
pub fn hand_over(command: &[OsString]) -> Exit {
    let Some((program, args)) = command.split_first() else { return Exit::done() };
    let error = std::process::Command::new(program).args(args).exec();
    let program = program.to_string_lossy();
    match error.kind() {
        ErrorKind::NotFound => Exit::with(
            code::NOT_FOUND,
            format!(
                "init-waitfor: {program}: no such command; write its full path, or put it into the image"
            ),
        ),
        _ => Exit::with(
            code::CANNOT_RUN,
            format!(
                "init-waitfor: {program} cannot be run: {error}; it needs to be executable and of this architecture"
            ),
        ),
    }
}
