//! SQLite: a file, opened to read for each statement and closed again, so that nobody waits for us.
//! <https://www.sqlite.org/wal.html#read_only_databases>, <https://www.sqlite.org/uri.html>
//!
//! Nothing is written, and no file is made beside the database: a `-wal` or `-shm` of another user's would lock the app out.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, InterruptHandle, OpenFlags, ffi};
use tokio::time::Instant;

use super::{MOST_ROWS, Row};
use crate::migrate::FileLock;
use crate::wire::Trouble;

/// What stays in the URI of a file.
const KEPT: AsciiSet = NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_');

/// [`Trouble::state`] of a file that is not there.
pub const MISSING: &str = "missing";
/// Of one that someone writes to now.
pub const BUSY: &str = "busy";
/// Of one whose last transaction was cut off; the next writer repairs it.
pub const CUT_OFF: &str = "cut off";

/// How long SQLite itself tries for a lock: a writer's commit takes milliseconds.
const PATIENCE: Duration = Duration::from_millis(250);

/// A database file, and the lock beside it when we migrate.
#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    pub(crate) held: Option<FileLock>,
}

type Interrupt = Arc<Mutex<Option<InterruptHandle>>>;

impl Sqlite {
    pub(super) fn new(path: PathBuf) -> Self {
        Sqlite { path, held: None }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// On a thread of its own: a file on a hung mount must not hold up anything else.
    pub(super) async fn query(&mut self, sql: &str, until: Instant) -> Result<Vec<Row>, Trouble> {
        let interrupt = Interrupt::default();
        let (path, sql, handle) = (self.path.clone(), sql.to_owned(), Arc::clone(&interrupt));
        let work = tokio::task::spawn_blocking(move || rows(&path, &sql, &handle));
        match tokio::time::timeout_at(until, work).await {
            Ok(done) => done.unwrap_or_else(|error| Err(Trouble::unknown("file", error.to_string()))),
            Err(_) => {
                if let Some(handle) = interrupt.lock().ok().and_then(|mut slot| slot.take()) {
                    handle.interrupt();
                }
                Err(Trouble::unknown("file", format!("{} was not read in time", self.path.display())))
            }
        }
    }
}

pub(super) fn version() -> &'static str {
    rusqlite::version()
}

fn rows(path: &Path, sql: &str, interrupt: &Interrupt) -> Result<Vec<Row>, Trouble> {
    // A database at rest may come into use while it is read: then once more, with its locks.
    for _ in 0..3 {
        let at_rest = is_at_rest(path)?;
        let answer = ask(path, sql, at_rest, interrupt);
        if !at_rest || !beside(path, "-wal").exists() {
            return answer;
        }
    }
    Err(Trouble::no("busy", format!("{} is opened and closed by someone again and again", path.display()))
        .state(BUSY))
}

/// In the mode with a write-ahead log, but without that log: closed by everyone. Such a file can only be read with a new log beside
/// it, or as one that nobody changes. An error when there is no file.
fn is_at_rest(path: &Path) -> Result<bool, Trouble> {
    let mut head = [0_u8; 20];
    let read = std::fs::File::open(path).and_then(|file| {
        if file.metadata()?.is_dir() {
            return Err(std::io::ErrorKind::IsADirectory.into());
        }
        file.take(20).read(&mut head)
    });
    match read {
        // Bytes 18 and 19: the versions of the format to write and to read; 2 is the write-ahead log.
        Ok(_) => Ok(head[18] == 2 && !beside(path, "-wal").exists()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Trouble::no("file", format!("no such file: {}", path.display())).state(MISSING))
        }
        Err(error) => Err(Trouble::unknown("file", format!("{}: {error}", path.display()))),
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

fn ask(path: &Path, sql: &str, at_rest: bool, interrupt: &Interrupt) -> Result<Vec<Row>, Trouble> {
    let trouble = |error: rusqlite::Error| explain(path, &error);
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(uri(path, at_rest), flags).map_err(trouble)?;
    connection.busy_timeout(PATIENCE).map_err(trouble)?;
    if let Ok(mut slot) = interrupt.lock() {
        *slot = Some(connection.get_interrupt_handle());
    }
    let mut statement = connection.prepare(sql).map_err(trouble)?;
    let columns = statement.column_count();
    let mut found = statement.query([]).map_err(trouble)?;
    let mut rows = Vec::new();
    while rows.len() < MOST_ROWS
        && let Some(row) = found.next().map_err(trouble)?
    {
        let values = (0..columns).map(|at| row.get_ref(at).map(text));
        rows.push(values.collect::<Result<Row, _>>().map_err(trouble)?);
    }
    Ok(rows)
}

fn text(value: ValueRef<'_>) -> Option<String> {
    match value {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Real(number) => Some(number.to_string()),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
    }
}

/// `file:/data/app.db`, with what means something in a URI written in hexadecimal.
fn uri(path: &Path, at_rest: bool) -> String {
    use std::os::unix::ffi::OsStrExt as _;

    let mut uri = "file:".to_owned();
    let mut bytes = path.as_os_str().as_bytes();
    // Two slashes would begin the name of a host.
    while bytes.starts_with(b"//") {
        bytes = &bytes[1..];
    }
    uri.extend(percent_encode(bytes, &KEPT));
    if at_rest {
        uri.push_str("?immutable=1");
    }
    uri
}

fn explain(path: &Path, error: &rusqlite::Error) -> Trouble {
    let logged = beside(path, "-wal").exists();
    let path = path.display();
    let (code, message) = match error {
        rusqlite::Error::SqliteFailure(failure, message) => (Some(*failure), message.clone()),
        rusqlite::Error::SqlInputError { error, msg, .. } => (Some(*error), Some(msg.clone())),
        _ => (None, None),
    };
    let message = message.unwrap_or_else(|| error.to_string());
    let Some(code) = code else { return Trouble::unknown("query", message) };
    match (code.code, code.extended_code) {
        (_, ffi::SQLITE_READONLY_ROLLBACK) => {
            let why =
                format!("{path}: a transaction was cut off (there is a -journal); the next writer undoes it");
            Trouble::unknown("busy", why).state(CUT_OFF)
        }
        (ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked, _) => {
            Trouble::no("busy", format!("{path} is locked: someone writes to it now")).state(BUSY)
        }
        (ErrorCode::CannotOpen, _) if logged => Trouble::unknown(
            "file",
            format!(
                "{path}: its write-ahead log cannot be read from here ({message}); mount the volume writable, or let the app close it"
            ),
        ),
        (ErrorCode::NotADatabase, _) => {
            Trouble::unknown("file", format!("{path} is no SQLite database (or an encrypted one)"))
        }
        // No such table or column, a wrong statement, an attempt to write.
        (ErrorCode::Unknown | ErrorCode::ReadOnly, _) => {
            Trouble::unknown("query", message).state(code.extended_code.to_string())
        }
        _ => Trouble::unknown("file", format!("{path}: {message}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_no_options() {
        assert_eq!(
            uri(Path::new("/a b/c?mode=rwc#%.db"), true),
            "file:/a%20b/c%3Fmode%3Drwc%23%25.db?immutable=1"
        );
        assert_eq!(uri(Path::new("rel/x.db"), false), "file:rel/x.db");
        assert_eq!(uri(Path::new("///data/x.db"), false), "file:/data/x.db");
    }
}
