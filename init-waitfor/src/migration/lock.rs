//! Who holds a tool's own lock: that tells "running now" from "left unfinished".
//!
//! Three kinds: locks of a session, which are gone when it is; locks on the history table itself (PostgreSQL shows them); rows in a table
//! of locks, which stay behind when their pod is killed.

use tokio::time::Instant;

use super::detect::Place;
use super::keys::{advisory_keys, lock_names};
use super::rows;
use super::tool::Tool;
use crate::sql::{Dsn, Engine, Session, literal};
use crate::wire::Trouble;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// A session has it now; says who. `blocks` when the history cannot even be read meanwhile.
    Someone {
        who: String,
        blocks: bool,
    },
    /// A row says so: a migration at work, or what a killed one has left. `stale` when nobody else is connected at all.
    Row {
        who: String,
        stale: bool,
    },
    Nobody,
    /// The tool takes no lock that others can see.
    Unknown,
}

pub(super) async fn holder(
    session: &mut Session,
    dsn: &Dsn,
    place: &Place,
    until: Instant,
) -> Result<Holder, Trouble> {
    let (someone, knows) = match dsn.engine {
        Engine::Postgres => {
            let keys = advisory_keys(place, &dsn.database);
            (postgres(session, place, &keys, until).await?, !keys.is_empty())
        }
        Engine::MySql => {
            let mut names = lock_names(place, &dsn.database);
            let knows = !names.is_empty();
            if place.tool == Tool::Ecto {
                names = ecto_names(session, until).await?;
            }
            (mysql(session, &names, until).await?, knows)
        }
        Engine::Sqlite => (None, false),
    };
    if let Some(someone) = someone {
        return Ok(someone);
    }
    if let Some(row) = rows::held(session, dsn, place, until).await? {
        return Ok(row);
    }
    // sqlx as a library locks, sqlx-cli does not: a free lock proves nothing.
    Ok(if knows && place.tool != Tool::Sqlx { Holder::Nobody } else { Holder::Unknown })
}

/// Advisory locks, and locks on the history table that a reader does not take: of a transaction that writes to it, of `LOCK TABLE` (EF
/// Core, Ecto). Not those of autovacuum, which has no user.
async fn postgres(
    session: &mut Session,
    place: &Place,
    keys: &[i64],
    until: Instant,
) -> Result<Option<Holder>, Trouble> {
    // No tool uses the smallest number, and an empty list is no SQL.
    let keys: Vec<String> = [i64::MIN + 1].iter().chain(keys).map(i64::to_string).collect();
    // A key of one bigint is shown in two halves, with objsubid 1.
    let sql = format!(
        "SELECT l.pid, a.application_name, host(a.client_addr), l.mode FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid) \
         WHERE l.granted AND l.pid <> pg_backend_pid() AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
         AND ((l.locktype = 'advisory' AND l.objsubid = 1 AND ((l.classid::bigint << 32) | l.objid::bigint) IN ({})) \
         OR (l.locktype = 'relation' AND l.relation = to_regclass({})::oid AND a.usesysid IS NOT NULL \
         AND l.mode IN ('RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'))) \
         ORDER BY l.mode = 'AccessExclusiveLock' DESC LIMIT 1",
        keys.join(", "),
        literal(Engine::Postgres, &place.quoted(Engine::Postgres))
    );
    let rows = match session.query(&sql, until).await {
        Ok(rows) => rows,
        // A database that speaks the protocol and has other catalogues.
        Err(trouble) if trouble.state.is_some() && trouble.code.is_none() => return Ok(None),
        Err(trouble) => return Err(trouble),
    };
    Ok(rows.first().map(|row| {
        let text = |at: usize| row.get(at).cloned().flatten().filter(|text| !text.is_empty());
        let rest: Vec<String> = [text(1), text(2)].into_iter().flatten().collect();
        let who = format!("backend {} {}", text(0).unwrap_or_default(), rest.join(" from "));
        let blocks = text(3).as_deref() == Some("AccessExclusiveLock");
        Holder::Someone { who: who.trim_end().to_owned(), blocks }
    }))
}

async fn mysql(session: &mut Session, names: &[String], until: Instant) -> Result<Option<Holder>, Trouble> {
    for name in names {
        let sql = format!("SELECT IS_USED_LOCK({})", literal(Engine::MySql, name));
        if let Some(id) = session.value(&sql, until).await? {
            // Ours to see only with the right PROCESS, or when it is the same user.
            let sql =
                format!("SELECT CONCAT(user, '@', host) FROM information_schema.processlist WHERE id = {id}");
            let who = session.value(&sql, until).await.ok().flatten();
            let who = who.map_or_else(String::new, |who| format!(" {who}"));
            return Ok(Some(Holder::Someone { who: format!("connection {id}{who}"), blocks: false }));
        }
    }
    Ok(None)
}

/// Ecto's name ends with its repository's module (`ecto_Shop.Repo`), which only the app knows. The server says who has such a lock (MySQL 8 by
/// default, others with `performance_schema`), or whom a replica waits for. On MariaDB the lock is none: `GET_LOCK(…, -1)` gives NULL there.
async fn ecto_names(session: &mut Session, until: Instant) -> Result<Vec<String>, Trouble> {
    const HELD: &str = "SELECT DISTINCT l.object_name FROM performance_schema.metadata_locks l \
        JOIN performance_schema.threads t ON t.thread_id = l.owner_thread_id WHERE l.object_type = 'USER LEVEL LOCK' \
        AND l.lock_status = 'GRANTED' AND l.object_name LIKE 'ecto\\_%' AND t.processlist_db = DATABASE()";
    const WAITED_FOR: &str = "SELECT info FROM information_schema.processlist \
        WHERE db = DATABASE() AND info LIKE 'SELECT GET_LOCK(_ecto\\_%'";
    let mut names = Vec::new();
    for sql in [HELD, WAITED_FOR] {
        match session.query(sql, until).await {
            Ok(rows) => names.extend(rows.into_iter().flatten().flatten().map(|text| {
                // A name, or a statement with the name in quotes.
                text.split(['\'', '"']).nth(1).map_or_else(|| text.clone(), str::to_owned)
            })),
            // A server without these tables, or a user who may not see them.
            Err(Trouble { state: Some(_), .. }) => {}
            Err(trouble) => return Err(trouble),
        }
    }
    Ok(names)
}
