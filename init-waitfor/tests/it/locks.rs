//! Dirty, or running now? A second session holds each tool's own lock, as the tool would, and the gate says so.
//!
//! golang-migrate#282, #430, #678, #518; prisma's P3009 (umami-software/umami#2645, #3536, langfuse/langfuse-k8s#253): a failed migration
//! is not mended by restarting, so it ends the wait; one that runs does not.

use testkit::Proc;

use crate::migration::{TABLES, ask_all, detail};
use crate::servers::{MariaDb, Postgres, SqlSession};

/// A number that a tool computes from names, computed here by another program.
fn number(python: &str) -> String {
    let done = Proc::new("python3").args(["-c", &format!("import zlib\ndef java(t):\n    h = 0\n    for c in t: h = (31 * h + ord(c)) & 0xffffffff\n    return h - (1 << 32) if h >> 31 else h\nprint({python})")]).run();
    done.expect_code(0);
    done.stdout().trim().to_owned()
}

fn table(tool: &str) -> &'static str {
    TABLES.iter().find(|(name, ..)| *name == tool).unwrap().1
}

/// A tool's history with a last migration that has begun, and its lock.
struct Case {
    tool: &'static str,
    /// After the fixture of the tool.
    unfinished: &'static str,
    wanted: &'static str,
    /// (state, word) while nobody holds the lock.
    free: (&'static str, &'static str),
    /// Python for the key or name.
    key: String,
}

fn case(
    tool: &'static str,
    unfinished: &'static str,
    wanted: &'static str,
    free: (&'static str, &'static str),
    key: &str,
) -> Case {
    Case { tool, unfinished, wanted, free, key: key.to_owned() }
}

const FLYWAY: &str = "INSERT INTO flyway_schema_history VALUES (5, '2', 'd', 'SQL', 'V2__d.sql', 1, 'u', CURRENT_TIMESTAMP, 1, false)";
const GOLANG: &str = "UPDATE schema_migrations SET dirty = true";
const PRISMA: &str =
    "INSERT INTO _prisma_migrations (id, checksum, migration_name) VALUES ('c', 'x', '20260301_x')";
const ATLAS: &str = "INSERT INTO atlas_schema_revisions (version, description, applied, total, execution_time, hash) VALUES ('20260301', 'c', 1, 3, 1, 'h')";
const SQLX: &str = "INSERT INTO _sqlx_migrations VALUES (3, 'c', CURRENT_TIMESTAMP, false, 'x', -1)";
const FAILED: (&str, &str) = ("failed", "nobody is running it");
const BEHIND: (&str, &str) = ("not yet", "wanted at least");

fn check(case: &Case, url: &str, hold: impl FnOnce(&str) -> SqlSession, free_again: bool) {
    let question = || format!("tool: {}, at_least: '{}'", case.tool, case.wanted);
    ask_all(url, &[(question(), case.free.0, case.free.1)]);
    let held = hold(&number(&case.key));
    ask_all(url, &[(question(), "not yet", "runs now (")]);
    drop(held);
    if free_again {
        testkit::eventually("the lock is free", || {
            (!detail(url, &question()).contains("runs now")).then_some(())
        });
        ask_all(url, &[(question(), case.free.0, case.free.1)]);
    }
}

#[test]
fn advisory_locks_on_postgres() {
    let Some(server) = Postgres::shared() else { return };
    let name = "l_advisory";
    for case in [
        case("flyway", FLYWAY, "2", FAILED, "77431708279161 + java('\"public\".\"flyway_schema_history\"')"),
        // By the library, and by the command line tool, whose database begins with the slash of its URL.
        case(
            "golang-migrate",
            GOLANG,
            "12",
            FAILED,
            &format!("zlib.crc32(b'public\\0schema_migrations\\0{name}') * 1486364155 % 2**32"),
        ),
        case(
            "golang-migrate",
            GOLANG,
            "12",
            FAILED,
            &format!("zlib.crc32(b'public\\0schema_migrations\\0/{name}') * 1486364155 % 2**32"),
        ),
        case("prisma", PRISMA, "20260301_x", FAILED, "72707369"),
        case("atlas", ATLAS, "20260301", FAILED, "2686470616"),
        // sqlx-cli takes no lock, so a free one proves nothing.
        case(
            "sqlx",
            SQLX,
            "3",
            ("not yet", "running or failed"),
            &format!("0x3d32ad9e * zlib.crc32(b'{name}')"),
        ),
        case("goose", "", "9", BEHIND, "zlib.crc32(b'goose')"),
        case("node-pg-migrate", "", "1800000000000_z", BEHIND, "7241865325823964"),
    ] {
        server.database(name);
        server.sql(name, table(case.tool));
        if !case.unfinished.is_empty() {
            server.sql(name, case.unfinished);
        }
        let hold = |key: &str| {
            let session = server.session(name);
            session.tell(&format!("SELECT pg_advisory_lock({key})"));
            session
        };
        check(&case, &server.url(name), hold, true);
        testkit::eventually("nobody is connected", || {
            server.try_sql("postgres", &format!("DROP DATABASE {name}")).ok()
        });
    }
}

#[test]
fn named_locks_on_mariadb() {
    let Some(server) = MariaDb::shared() else { return };
    let name = "l_named";
    for case in [
        case(
            "flyway",
            FLYWAY,
            "2",
            FAILED,
            &format!("'Flyway-%d' % java('`{name}`.`flyway_schema_history`')"),
        ),
        case(
            "golang-migrate",
            GOLANG,
            "12",
            FAILED,
            &format!("zlib.crc32(b'{name}:schema_migrations') * 1486364155 % 2**32"),
        ),
        case("prisma", PRISMA, "20260301_x", FAILED, "'prisma_migrate'"),
        case("atlas", ATLAS, "20260301", FAILED, "'atlas_migrate_execute'"),
        case(
            "sqlx",
            SQLX,
            "3",
            ("not yet", "running or failed"),
            &format!("'%x' % (0x3d32ad9e * zlib.crc32(b'{name}'))"),
        ),
        case("rails", "", "20260301000000", BEHIND, &format!("2053462845 * zlib.crc32(b'{name}')")),
    ] {
        server.database(name);
        server.sql(name, table(case.tool));
        if !case.unfinished.is_empty() {
            server.sql(name, case.unfinished);
        }
        let hold = |key: &str| {
            let session = server.session(name);
            session.tell(&format!("SELECT GET_LOCK('{key}', 5)"));
            session
        };
        check(&case, &server.url(name), hold, true);
        server.sql("", &format!("DROP DATABASE {name}"));
    }
}

/// Ecto's lock is named after a module of the app; it is found by what the server says of it, or by the replica that waits for it.
#[test]
fn ectos_lock_under_a_name_that_only_the_app_knows() {
    let Some(server) = MariaDb::shared() else { return };
    let url = server.database("l_ecto");
    server.sql("l_ecto", table("ecto"));
    let question = || "tool: ecto, at_least: '20260301000000'".to_owned();
    ask_all(&url, &[(question(), BEHIND.0, BEHIND.1)]);
    let holder = server.session("l_ecto");
    holder.tell("SELECT GET_LOCK('ecto_Shop.Repo', 5)");
    ask_all(&url, &[(question(), "not yet", "runs now (connection")]);
    // Who may not look into performance_schema sees it once a second replica waits.
    server.sql(
        "",
        "CREATE USER ecto_seer IDENTIFIED BY 'only-selects'; GRANT PROCESS ON *.* TO ecto_seer; \
         GRANT SELECT ON l_ecto.* TO ecto_seer",
    );
    let seer = format!("mysql://ecto_seer:only-selects@127.0.0.1:{}/l_ecto", server.port);
    ask_all(&seer, &[(question(), BEHIND.0, BEHIND.1)]);
    let second = server.session("l_ecto");
    second.begin("SELECT GET_LOCK('ecto_Shop.Repo', 60)");
    testkit::eventually("a replica waits", || {
        detail(&seer, &question()).contains("runs now (connection").then_some(())
    });
    drop((holder, second));
    testkit::eventually("the lock is free", || {
        (!detail(&url, &question()).contains("runs now")).then_some(())
    });
    let elsewhere = server.session("mysql");
    elsewhere.tell("SELECT GET_LOCK('ecto_Other.Repo', 5)");
    ask_all(&url, &[(question(), BEHIND.0, BEHIND.1)]);
}

/// EF Core (Npgsql) and Ecto lock the table itself; Django and Alembic have no lock, but their transaction shows.
#[test]
fn locks_on_the_table_and_open_transactions_on_postgres() {
    let Some(server) = Postgres::shared() else { return };
    for (tool, wanted, statement, word) in [
        (
            "efcore",
            "20260301120000_X",
            "LOCK TABLE __efmigrationshistory IN ACCESS EXCLUSIVE MODE",
            "has locked its table: runs now (backend",
        ),
        (
            "ecto",
            "20260301000000",
            "LOCK TABLE schema_migrations IN SHARE UPDATE EXCLUSIVE MODE",
            "runs now (backend",
        ),
        (
            "django",
            "shop.0003_x",
            "INSERT INTO django_migrations VALUES (9, 'shop', '0003_x', now())",
            "runs now (backend",
        ),
    ] {
        let name = format!("l_table_{tool}");
        let url = server.database(&name);
        server.sql(&name, table(tool));
        let question = || format!("at_least: '{wanted}'");
        ask_all(&url, &[(question(), "not yet", "wanted at least")]);
        let session = server.session(&name);
        session.tell("BEGIN");
        session.tell(statement);
        ask_all(&url, &[(question(), "not yet", word)]);
        ask_all(&url, &[(question(), "not yet", "some tool from 127.0.0.1")]);
        session.tell("COMMIT");
        let (state, word) = if tool == "django" { ("ready", "shop.0003_x") } else { BEHIND };
        ask_all(&url, &[(question(), state, word)]);
    }
}

/// liquibase/liquibase#1311, spinnaker/spinnaker#6625, camunda/camunda#48343; knex/knex#1217, #2502, #5086: the row of a killed pod.
/// (tool, its lock, the row while it is held, wanted, who)
const ROWS: [(&str, &str, &str, &str, &str); 4] = [
    (
        "liquibase",
        "CREATE TABLE databasechangeloglock (ID INT NOT NULL PRIMARY KEY, LOCKED BOOLEAN NOT NULL, LOCKGRANTED TIMESTAMP NULL, LOCKEDBY VARCHAR(255)); \
         INSERT INTO databasechangeloglock VALUES (1, false, NULL, NULL)",
        "UPDATE databasechangeloglock SET LOCKED = true, LOCKGRANTED = '2026-01-02 10:00:00', LOCKEDBY = 'web-7f (10.0.0.5)'",
        "03",
        "is held by web-7f (10.0.0.5) since 2026-01-02 10:00:00",
    ),
    (
        "knex",
        "CREATE TABLE knex_migrations_lock (idx INT PRIMARY KEY, is_locked INT); INSERT INTO knex_migrations_lock VALUES (1, 0)",
        "UPDATE knex_migrations_lock SET is_locked = 1",
        "20260301_c.js",
        "the row in knex_migrations_lock",
    ),
    (
        "yoyo",
        "CREATE TABLE yoyo_lock (locked INT DEFAULT 1, ctime TIMESTAMP NULL, pid INT NOT NULL, PRIMARY KEY (locked))",
        "INSERT INTO yoyo_lock VALUES (1, '2026-01-02 10:00:00', 4711)",
        "0003.c",
        "process 4711 since 2026-01-02 10:00:00",
    ),
    (
        "goose",
        "CREATE TABLE goose_lock (lock_id BIGINT PRIMARY KEY, locked BOOLEAN NOT NULL, locked_at TIMESTAMP NULL, locked_by VARCHAR(255), lease_expires_at TIMESTAMP NULL, updated_at TIMESTAMP NULL); \
         INSERT INTO goose_lock (lock_id, locked, locked_by) VALUES (1, false, NULL)",
        "UPDATE goose_lock SET locked = true, locked_at = '2026-01-02 10:00:00', locked_by = 'web-7f', lease_expires_at = '2037-01-01 00:00:00'",
        "9",
        "is held by web-7f since 2026-01-02 10:00:00",
    ),
];

/// Free; held while someone is connected; held and nobody is.
fn rows(make: impl Fn(&str) -> (String, SqlSession), sql: impl Fn(&str, &str)) {
    for (tool, lock, held, wanted, who) in ROWS {
        let name = format!("l_row_{tool}");
        let (url, session) = make(&name);
        sql(&name, table(tool));
        sql(&name, lock);
        let question = || format!("at_least: '{wanted}'");
        ask_all(&url, &[(question(), "not yet", "wanted at least")]);
        session.tell(held);
        ask_all(
            &url,
            &[
                (question(), "not yet", who),
                (question(), "not yet", "if nobody migrates now, a killed pod has left it"),
            ],
        );
        drop(session);
        testkit::eventually("nobody is connected", || {
            detail(&url, &question()).contains("left behind by a killed pod").then_some(())
        });
        ask_all(&url, &[(question(), "not yet", who)]);
    }
    // A lease that has run out is none.
    let name = "l_row_goose";
    sql(name, "UPDATE goose_lock SET lease_expires_at = '2026-01-02 10:00:30'");
}

#[test]
fn lock_rows_on_postgres() {
    let Some(server) = Postgres::shared() else { return };
    rows(
        |name| (server.database(name), server.session(name)),
        |name, statement| {
            server.sql(name, statement);
        },
    );
    ask_all(&server.url("l_row_goose"), &[("at_least: '9'".to_owned(), "not yet", "wanted at least 9")]);
    let done = crate::migration::gate(&server.url("l_row_liquibase"), &["--at-least", "03"]);
    done.expect_code(80).expect_stderr("liquibase release-locks");
}

#[test]
fn lock_rows_on_mariadb() {
    let Some(server) = MariaDb::shared() else { return };
    rows(
        |name| (server.database(name), server.session(name)),
        |name, statement| {
            server.sql(name, statement);
        },
    );
    ask_all(&server.url("l_row_goose"), &[("at_least: '9'".to_owned(), "not yet", "wanted at least 9")]);
    // Without the right to see other users' sessions, nobody can say that there are none.
    server.sql("", "CREATE USER seer IDENTIFIED BY 'only-selects'; GRANT SELECT ON *.* TO seer");
    let url = format!("mysql://seer:only-selects@127.0.0.1:{}/l_row_knex", server.port);
    ask_all(
        &url,
        &[(
            "at_least: 20260301_c.js".to_owned(),
            "not yet",
            "if nobody migrates now, a killed pod has left it",
        )],
    );
}
