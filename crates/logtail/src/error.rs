use std::path::PathBuf;

/// Why a [`crate::Tail`] or [`crate::Store`] could not be opened. What goes wrong with a single file later is no
/// error: it is logged, counted in [`crate::Totals`], and tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the pattern {pattern:?} is not a glob: {reason}; escape special characters as '[*]'")]
    Pattern { pattern: String, reason: String },
    #[error("no files to read: give at least one pattern, such as '/var/log/app/*.log'")]
    NoPattern,
    #[error(
        "the working directory cannot be found, so {pattern:?} has no meaning: {source}; write an absolute path"
    )]
    NoWorkingDirectory { pattern: String, source: std::io::Error },
    #[error("positions cannot be kept at {}: {source}; {remedy}", path.display())]
    State { path: PathBuf, source: std::io::Error, remedy: &'static str },
}
