//! Exit codes, and the last word of a process: one sentence on stderr and in the termination message.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;

/// Where Kubernetes looks for the reason of an exit, unless the pod says otherwise.
pub const TERMINATION_LOG: &str = "/dev/termination-log";

/// Kubernetes keeps 4,096 bytes of a container's termination message; ours is one sentence.
const TERMINATION_LIMIT: usize = 4096;

static TERMINATION_PATH: OnceLock<PathBuf> = OnceLock::new();

/// How a process ends: a code and, when it is not a success, one sentence (what, value, remedy).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", message.as_deref().unwrap_or("done"))]
pub struct Exit {
    /// 0 done, 1 failed at run time, 2 wrong usage, 78 wrong configuration; init-waitfor adds its own.
    pub code: u8,
    /// The sentence for stderr and the termination message.
    pub message: Option<String>,
    /// A machine-readable termination message that replaces the sentence there.
    pub termination: Option<String>,
}

impl Exit {
    /// Code 0: everything asked for was done.
    pub fn done() -> Self {
        Self::code(0)
    }

    /// A bare code with nothing more to say.
    pub fn code(code: u8) -> Self {
        Self { code, message: None, termination: None }
    }

    /// A code with its sentence.
    pub fn with(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: Some(message.into()), termination: None }
    }

    /// Code 1: failed at run time.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::with(1, message)
    }

    /// Code 2: wrong usage.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::with(2, message)
    }

    /// Code 78 (`EX_CONFIG`): wrong configuration.
    pub fn config(message: impl Into<String>) -> Self {
        Self::with(78, message)
    }

    /// Sets what goes to the termination message instead of the sentence.
    #[must_use]
    pub fn termination(mut self, text: impl Into<String>) -> Self {
        self.termination = Some(text.into());
        self
    }
}

/// Remembers where the termination message goes; the first call wins.
pub fn set_termination_log(path: PathBuf) {
    let _ = TERMINATION_PATH.set(path);
}

/// Ends `main`: prints the sentence, writes the termination message, gives the code.
#[expect(clippy::print_stderr, reason = "the last word must not depend on the log level")]
pub fn finish(result: Result<(), Exit>) -> ExitCode {
    let Err(exit) = result else { return ExitCode::SUCCESS };
    if let Some(message) = &exit.message {
        eprintln!("{}", message.trim_end());
    }
    let last = exit.termination.as_ref().or(exit.message.as_ref().filter(|_| exit.code != 0));
    if let Some(text) = last {
        write_termination(TERMINATION_PATH.get().map_or(Path::new(TERMINATION_LOG), PathBuf::as_path), text);
    }
    ExitCode::from(exit.code)
}

/// Writes into an existing file only: the kubelet makes it, and outside of a pod nothing should appear in `/dev`.
fn write_termination(path: &Path, text: &str) {
    use std::io::Write;

    let end = (0..=text.len().min(TERMINATION_LIMIT)).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).truncate(true);
    if path != Path::new(TERMINATION_LOG) {
        // Asked for by name: then it may be made.
        options.create(true);
    }
    // A failure here has nobody left to be told to: the sentence is on stderr already.
    let _ = options.open(path).and_then(|mut file| file.write_all(&text.as_bytes()[..end]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut_at_a_character_boundary() {
        let dir = std::env::temp_dir().join(format!("podkit-exit-{}", std::process::id()));
        let text = "é".repeat(3000);
        write_termination(&dir, &text);
        let written = std::fs::read_to_string(&dir).unwrap();
        std::fs::remove_file(&dir).unwrap();
        assert_eq!(written.len(), TERMINATION_LIMIT);
        assert!(text.starts_with(&written));
    }

    #[test]
    fn an_exit_shows_its_sentence() {
        assert_eq!(Exit::failed("no room").to_string(), "no room");
        assert_eq!(Exit::done().to_string(), "done");
    }
}
