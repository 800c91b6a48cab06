//! A lock that is as long as a session: advisory on PostgreSQL, `GET_LOCK` on MySQL and MariaDB, `flock` beside SQLite. Tried again and again,
//! never waited for: a session that waits in a blocking `pg_advisory_lock` holds a snapshot, which `CREATE INDEX
//! CONCURRENTLY` of the lock's holder waits for, and neither gets on.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use tokio::time::Instant;

use super::flock::FileLock;
use crate::sql::{Engine, Session, literal};
use crate::wire::Trouble;

/// Which lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    number: i64,
    name: String,
    /// As given: for a file's name.
    given: String,
}

impl Key {
    /// Of a database and a name; the same for every replica and every version of this program.
    pub fn new(database: &str, name: &str) -> Self {
        let hash = digest(&SHA256, format!("init-waitfor\0migrate\0{database}\0{name}").as_bytes());
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&hash.as_ref()[..8]);
        let number = i64::from_be_bytes(bytes);
        // GET_LOCK is server-wide, and MySQL takes at most 64 characters.
        Key {
            number,
            name: format!("init-waitfor-{:016x}", u64::from_be_bytes(bytes)),
            given: name.to_owned(),
        }
    }
}

/// A pooler in transaction mode gives each transaction some session, so the server's process is not the one of the start-up.
pub(super) async fn behind_a_pooler(session: &mut Session, until: Instant) -> Result<bool, Trouble> {
    let (sql, known) = match session {
        Session::Postgres(session) => ("SELECT pg_backend_pid()", i64::from(session.backend_pid())),
        Session::MySql(session) => ("SELECT CONNECTION_ID()", i64::from(session.connection_id())),
        Session::Sqlite(_) => return Ok(false),
    };
    let real = session.value(sql, until).await?.and_then(|text| text.parse::<i64>().ok());
    Ok(real != Some(known))
}

/// An idle session must not be ended for being idle.
pub(super) async fn prepare(session: &mut Session, until: Instant) -> Result<(), Trouble> {
    let statements: &[&str] = match session {
        Session::Postgres(_) => &["SET idle_session_timeout = 0", "SET statement_timeout = 0"],
        Session::MySql(_) => &["SET SESSION wait_timeout = 31536000"],
        Session::Sqlite(_) => &[],
    };
    for sql in statements {
        match session.query(sql, until).await {
            // Before PostgreSQL 14 there was no such limit.
            Ok(_) | Err(Trouble { state: Some(_), .. }) => {}
            Err(trouble) => return Err(trouble),
        }
    }
    Ok(())
}

pub(super) async fn try_take(session: &mut Session, key: &Key, until: Instant) -> Result<bool, Trouble> {
    let sql = match session {
        Session::Postgres(_) => format!("SELECT pg_try_advisory_lock({})::int", key.number),
        // Not negative: MariaDB answers NULL to that, at once. Not longer than an attempt.
        Session::MySql(_) => {
            let left = until.saturating_duration_since(Instant::now());
            let wait = u8::from(left > Duration::from_secs(2));
            format!("SELECT GET_LOCK({}, {wait})", literal(Engine::MySql, &key.name))
        }
        Session::Sqlite(session) => {
            session.held = FileLock::try_take(&FileLock::path(session.path(), &key.given))?;
            return Ok(session.held.is_some());
        }
    };
    match session.value(&sql, until).await?.as_deref() {
        Some("1") => Ok(true),
        Some("0") => Ok(false),
        // NULL of GET_LOCK: killed, out of memory, a timeout that it does not understand. Not ours, in any case.
        _ => Err(Trouble::unknown("lock", "the server could not try the lock")),
    }
}

/// Whether the server holds what it has just given. CockroachDB says yes to every advisory lock, for compatibility, and holds none.
pub(super) async fn is_real(session: &mut Session, until: Instant) -> Result<bool, Trouble> {
    let Session::Postgres(_) = session else { return Ok(true) };
    let sql =
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid()";
    Ok(session.value(sql, until).await?.is_none_or(|count| count != "0"))
}

/// Whether the lock is there still: the session answers, the file is in its place.
pub(super) async fn holds(session: &mut Session, until: Instant) -> Result<(), Trouble> {
    match session {
        Session::Sqlite(session) if session.held.as_ref().is_some_and(FileLock::is_ours) => Ok(()),
        Session::Sqlite(_) => Err(Trouble::unknown("lock", "the lock file was removed or replaced")),
        session => session.query("SELECT 1", until).await.map(|_| ()),
    }
}

/// Best effort: the end of the session releases it in any case.
pub(super) async fn release(session: &mut Session, key: &Key, until: Instant) {
    let sql = match session {
        Session::Postgres(_) => format!("SELECT pg_advisory_unlock({})", key.number),
        Session::MySql(_) => format!("SELECT RELEASE_LOCK({})", literal(Engine::MySql, &key.name)),
        Session::Sqlite(session) => {
            session.held = None;
            return;
        }
    };
    let _ = session.query(&sql, until).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_stable_and_particular() {
        let key = Key::new("app", "default");
        assert_eq!(key, Key::new("app", "default"));
        assert_ne!(key.number, Key::new("app", "other").number);
        assert_ne!(key.number, Key::new("ap", "pdefault").number);
        assert!(key.name.len() <= 64);
    }
}
