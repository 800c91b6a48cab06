//! `unix:///path`: someone accepts on a unix socket. A socket file alone may be left over from a dead process.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;

use super::{Attempt, Verdict};
use crate::target::{Parts, Query, Wrong};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unix {
    path: PathBuf,
}

impl Unix {
    pub(super) fn parse(parts: &Parts<'_>) -> Result<Self, Wrong> {
        let (path, query) = parts.query();
        Query::parse(query, &[])?;
        Ok(Unix { path: absolute(path, "unix:///run/app.sock")? })
    }

    pub(super) async fn check(&self, attempt: &Attempt<'_>) -> Verdict {
        match tokio::time::timeout_at(attempt.until, tokio::net::UnixStream::connect(&self.path)).await {
            Ok(Ok(_)) => Verdict::ready("accepts"),
            Ok(Err(error)) => match error.kind() {
                ErrorKind::NotFound => Verdict::no("missing", "no such socket"),
                ErrorKind::ConnectionRefused => {
                    Verdict::no("connect", "the socket is there, nobody accepts on it")
                }
                _ => Verdict::unknown("connect", error.to_string()),
            },
            Err(_) => Verdict::unknown("connect", "nobody accepts in time"),
        }
    }
}

/// The path of a `scheme:///path`.
pub(super) fn absolute(path: &str, example: &str) -> Result<PathBuf, Wrong> {
    if path.len() < 2 || !path.starts_with('/') {
        return Err(Wrong::new(
            format!("{path:?} is no absolute path"),
            format!("write for example {example}"),
        ));
    }
    // Percent signs are rare in paths, but a `?` can be written no other way.
    let bytes: Vec<u8> = percent_decode_str(path).collect();
    Ok(PathBuf::from(OsString::from_vec(bytes)))
}
