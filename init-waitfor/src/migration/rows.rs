//! Locks that are rows: Liquibase, Knex, yoyo, goose (its table of leases), EF Core on SQLite. A killed pod leaves its row behind, and the
//! tool then waits for it, or refuses to run, for ever.

use tokio::time::Instant;

use super::detect::{LockTable, Place};
use super::lock::Holder;
use super::tool::Tool;
use crate::sql::{Dsn, Engine, Session};
use crate::wire::Trouble;

/// A lock table and how its row reads.
struct Kind {
    table: &'static str,
    /// Says that the lock is held; absent when the row itself does.
    flag: Option<&'static str>,
    who: &'static str,
    when: &'static str,
    /// Ends the lock by itself.
    expires: Option<&'static str>,
    remedy: &'static str,
}

fn kind(tool: Tool) -> Option<Kind> {
    let kind = match tool {
        // liquibase-standard: CreateDatabaseChangeLogLockTableGenerator.java
        Tool::Liquibase => Kind {
            table: "databasechangeloglock",
            flag: Some("locked"),
            who: "lockedby",
            when: "lockgranted",
            expires: None,
            remedy: "liquibase release-locks",
        },
        // knex/lib/migrations/migrate/table-creator.js
        Tool::Knex => Kind {
            table: "knex_migrations_lock",
            flag: Some("is_locked"),
            who: "",
            when: "",
            expires: None,
            remedy: "knex migrate:unlock",
        },
        // yoyo/backends/base.py
        Tool::Yoyo => Kind {
            table: "yoyo_lock",
            flag: Some("locked"),
            who: "pid",
            when: "ctime",
            expires: None,
            remedy: "yoyo break-lock",
        },
        // pressly/goose: lock/internal/store
        Tool::Goose => Kind {
            table: "goose_lock",
            flag: Some("locked"),
            who: "locked_by",
            when: "locked_at",
            expires: Some("lease_expires_at"),
            remedy: "wait for the end of its lease",
        },
        // efcore: SqliteHistoryRepository.cs
        Tool::EfCore => Kind {
            table: "__efmigrationslock",
            flag: None,
            who: "",
            when: "timestamp",
            expires: None,
            remedy: "DELETE FROM \"__EFMigrationsLock\"",
        },
        _ => return None,
    };
    Some(kind)
}

/// Names of lock tables, in lower case.
pub(super) fn tables() -> impl Iterator<Item = &'static str> {
    Tool::ALL.into_iter().filter_map(kind).map(|kind| kind.table)
}

pub(super) async fn held(
    session: &mut Session,
    dsn: &Dsn,
    place: &Place,
    until: Instant,
) -> Result<Option<Holder>, Trouble> {
    let Some(kind) = kind(place.tool) else { return Ok(None) };
    // Knex names it after its own table.
    let own = format!("{}_lock", place.table);
    let fits = |name: &str| name.eq_ignore_ascii_case(kind.table) || name.eq_ignore_ascii_case(&own);
    let Some(table) = place.locks.iter().find(|table| table.schema == place.schema && fits(&table.table))
    else {
        return Ok(None);
    };
    let column = |name: &str| table.column(dsn.engine, name);
    let live = kind.expires.filter(|_| dsn.engine != Engine::Sqlite).map_or_else(String::new, |expires| {
        format!(" WHERE {0} IS NULL OR {0} > CURRENT_TIMESTAMP", column(expires))
    });
    let flag = kind.flag.map_or_else(|| "1".to_owned(), &column);
    let sql = format!(
        "SELECT {flag}, {}, {} FROM {}{live} LIMIT 10",
        column(kind.who),
        column(kind.when),
        table.quoted(dsn.engine)
    );
    let rows = match session.query(&sql, until).await {
        Ok(rows) => rows,
        // Gone since, or not ours to read: no news.
        Err(trouble) if trouble.state.is_some() && trouble.code.is_none() => return Ok(None),
        Err(trouble) => return Err(trouble),
    };
    // A bit of MySQL comes as a byte.
    let taken = |text: &str| !matches!(text, "0" | "f" | "false" | "FALSE" | "\0" | "");
    let Some(row) = rows.into_iter().find(|row| row.first().and_then(Option::as_deref).is_some_and(taken))
    else {
        return Ok(None);
    };
    let text = |at: usize| row.get(at).cloned().flatten().filter(|text| !text.is_empty());
    let mut who = format!("the row in {}", table.table);
    let by = if place.tool == Tool::Yoyo { "process " } else { "" };
    who.extend(text(1).map(|text| format!(" is held by {by}{text}")));
    who.extend(text(2).map(|text| format!(" since {text}")));
    let stale = alone(session, dsn, until).await?;
    if stale {
        who.push_str(", but nobody else is connected: left behind by a killed pod");
    } else {
        who.push_str("; if nobody migrates now, a killed pod has left it behind");
    }
    Ok(Some(Holder::Row { who: format!("{who} ({})", kind.remedy), stale }))
}

/// No other session in this database: whoever wrote the row is gone. `false` when that cannot be seen.
async fn alone(session: &mut Session, dsn: &Dsn, until: Instant) -> Result<bool, Trouble> {
    let sql = match dsn.engine {
        Engine::Postgres => {
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() \
             AND usesysid IS NOT NULL AND application_name NOT LIKE 'init-waitfor/%'"
        }
        // Without the right PROCESS only our own user's sessions are shown.
        Engine::MySql => {
            "SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID() \
             HAVING (SELECT COUNT(*) FROM information_schema.user_privileges WHERE privilege_type = 'PROCESS' \
             AND grantee = CONCAT('''', REPLACE(CURRENT_USER(), '@', '''@'''), '''')) > 0"
        }
        Engine::Sqlite => return Ok(false),
    };
    match session.value(sql, until).await {
        Ok(count) => Ok(count.as_deref() == Some("0")),
        Err(trouble) if trouble.state.is_some() => Ok(false),
        Err(trouble) => Err(trouble),
    }
}

impl LockTable {
    fn quoted(&self, engine: Engine) -> String {
        use crate::sql::identifier;

        format!("{}.{}", identifier(engine, &self.schema), identifier(engine, &self.table))
    }

    fn column(&self, engine: Engine, name: &str) -> String {
        let real = self.columns.iter().find(|column| column.eq_ignore_ascii_case(name));
        real.map_or_else(|| "NULL".to_owned(), |column| crate::sql::identifier(engine, column))
    }
}
