//! `postgres://…`, `mysql://…` and `sqlite://…`: a login (or a readable file), a SELECT, and if wanted the right role and the right result.

use super::{Attempt, Verdict};
use crate::config::TargetConfig;
use crate::sql::{Dsn, Engine, Session};
use crate::target::Wrong;
use crate::wire::{Reach, Trouble};

#[derive(Debug)]
pub struct Sql {
    pub dsn: Dsn,
    role: Option<Role>,
    query: String,
    /// The first column of the first row must be this; without it, there must be a row.
    expect: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Primary,
    Replica,
}

impl Sql {
    pub(super) fn new(text: &str, entry: &TargetConfig) -> Result<Self, Wrong> {
        let own = ["role", "query", "expect"];
        let dsn = Dsn::parse(text, entry.password.as_ref(), entry.tls.as_ref(), &own)?;
        let role = match dsn.query.get("role").or_else(|| dsn.query.get("target_session_attrs")) {
            Some("primary" | "master" | "read-write") => Some(Role::Primary),
            Some("replica" | "slave" | "standby" | "secondary" | "read-only") => Some(Role::Replica),
            None | Some("any" | "prefer-standby") => None,
            Some(other) => {
                return Err(Wrong::new(format!("role={other}"), "write role=primary or role=replica"));
            }
        };
        // `SELECT 1` does not touch a SQLite file at all.
        let plain =
            if dsn.engine == Engine::Sqlite { "SELECT count(*) FROM sqlite_schema" } else { "SELECT 1" };
        if role.is_some() && dsn.engine == Engine::Sqlite {
            return Err(Wrong::new("role= is not for sqlite://", "take it out"));
        }
        let query = dsn.query.get("query").unwrap_or(plain).to_owned();
        let expect = dsn.query.get("expect").map(str::to_owned);
        Ok(Sql { dsn, role, query, expect })
    }

    pub(super) async fn check(&self, attempt: &Attempt<'_>) -> Verdict {
        self.attempt(attempt).await.unwrap_or_else(Verdict::from)
    }

    async fn attempt(&self, attempt: &Attempt<'_>) -> Result<Verdict, Trouble> {
        let reach = Reach { resolver: attempt.resolver, until: attempt.until };
        let mut session = Session::open(reach, &self.dsn, attempt.redactor).await?;
        if let Some(role) = self.role {
            let sql = match self.dsn.engine {
                Engine::Postgres => "SELECT pg_is_in_recovery()::int",
                Engine::MySql | Engine::Sqlite => "SELECT @@global.read_only",
            };
            let is = match session.value(sql, attempt.until).await?.as_deref() {
                Some("0") => Role::Primary,
                _ => Role::Replica,
            };
            if is != role {
                return Ok(Verdict::no("role", format!("is a {is:?}, wanted a {role:?}").to_lowercase()));
            }
        }
        let rows = match session.query(&self.query, attempt.until).await {
            Ok(rows) => rows,
            // The server has understood and says no: no such table, no right, a wrong statement.
            Err(trouble) if trouble.state.is_some() && trouble.code.is_none() => {
                return Ok(Verdict::no("query", trouble.reason));
            }
            Err(trouble) => return Err(trouble),
        };
        let value = rows.first().and_then(|row| row.first()).cloned();
        match (&self.expect, value) {
            (_, None) => Ok(Verdict::no("result", "the query gives no row")),
            (Some(expect), Some(value)) if value.as_deref() != Some(expect) => {
                let value = value.map_or_else(|| "NULL".to_owned(), |text| text.chars().take(80).collect());
                Ok(Verdict::no("result", format!("the query gives {value}, wanted {expect}")))
            }
            _ => {
                let version = session.version();
                let name = match self.dsn.engine {
                    Engine::Postgres => "PostgreSQL",
                    Engine::MySql if version.contains("MariaDB") => "MariaDB",
                    Engine::MySql => "MySQL",
                    Engine::Sqlite => "SQLite",
                };
                Ok(Verdict::ready(format!("{name} {version} answers")))
            }
        }
    }
}
