//! Just enough of two databases' protocols to log in and ask: text in, rows of text out. And SQLite's files.
//!
//! The protocols are written by hand because a gate needs one login and a few SELECTs, which the drivers of the ecosystem answer with megabytes.

mod dsn;
mod mysql;
mod mysql_auth;
mod postgres;
mod sqlite;

pub(crate) use dsn::decode;
pub use dsn::{Dsn, Engine, TlsMode, database_argument};
pub use mysql::MySql;
pub use postgres::Postgres;
pub use sqlite::{BUSY, CUT_OFF, MISSING, Sqlite};

use tokio::time::Instant;

use crate::report::Redactor;
use crate::wire::{Reach, Trouble};

/// One row; `None` is NULL.
pub type Row = Vec<Option<String>>;

/// More rows than any history has. What comes after them is read and dropped, so that a careless `query=` does not fill the memory.
pub(crate) const MOST_ROWS: usize = 100_000;

/// A session with one of the databases.
#[derive(Debug)]
pub enum Session {
    Postgres(Postgres),
    MySql(MySql),
    Sqlite(Sqlite),
}

impl Session {
    /// Connects and logs in, all until `reach.until`.
    ///
    /// # Errors
    /// What the network or the server said.
    pub async fn open(reach: Reach<'_>, dsn: &Dsn, redactor: &Redactor) -> Result<Self, Trouble> {
        let password = dsn.password(redactor)?;
        Ok(match dsn.engine {
            Engine::Postgres => Session::Postgres(Postgres::open(reach, dsn, password.as_deref()).await?),
            Engine::MySql => Session::MySql(MySql::open(reach, dsn, password.as_deref()).await?),
            Engine::Sqlite => Session::Sqlite(Sqlite::new(dsn.file())),
        })
    }

    /// Runs one statement in autocommit and returns its rows.
    ///
    /// # Errors
    /// The server's error with its SQLSTATE or number in `state`.
    pub async fn query(&mut self, sql: &str, until: Instant) -> Result<Vec<Row>, Trouble> {
        match self {
            Session::Postgres(session) => session.query(sql, until).await,
            Session::MySql(session) => session.query(sql, until).await,
            Session::Sqlite(session) => session.query(sql, until).await,
        }
    }

    /// The first column of the first row.
    ///
    /// # Errors
    /// As [`Session::query`].
    pub async fn value(&mut self, sql: &str, until: Instant) -> Result<Option<String>, Trouble> {
        let rows = self.query(sql, until).await?;
        Ok(rows.into_iter().next().and_then(|row| row.into_iter().next()).flatten())
    }

    /// The server's version as it says it.
    pub fn version(&self) -> &str {
        match self {
            Session::Postgres(session) => session.version(),
            Session::MySql(session) => session.version(),
            Session::Sqlite(_) => sqlite::version(),
        }
    }
}

/// A string as a literal. Backslashes are doubled for MySQL only, where they escape.
pub fn literal(engine: Engine, text: &str) -> String {
    let text = text.replace('\'', "''");
    match engine {
        Engine::Postgres | Engine::Sqlite => format!("'{text}'"),
        Engine::MySql => format!("'{}'", text.replace('\\', "\\\\")),
    }
}

/// An identifier in quotes.
pub fn identifier(engine: Engine, name: &str) -> String {
    match engine {
        Engine::Postgres | Engine::Sqlite => format!("\"{}\"", name.replace('"', "\"\"")),
        Engine::MySql => format!("`{}`", name.replace('`', "``")),
    }
}
