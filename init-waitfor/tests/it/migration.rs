//! The migration gate: which tool, which version, dirty or running, and nothing ever written.

use testkit::{Exited, PodDir};

use crate::servers::{MariaDb, Postgres};
use crate::waitfor;

pub(crate) fn gate(url: &str, args: &[&str]) -> Exited {
    // Long enough for a first answer on a slow machine; what is final ends at once.
    let proc = waitfor().env("WAITFOR_DB", url).env("WAITFOR_TIMEOUT", "2s").args([
        "migration",
        "--attempt-timeout",
        "20s",
    ]);
    let done = proc.args(args).run();
    assert!(!done.stderr().contains("S3cret"), "{}", done.stderr());
    done
}

/// (tool, statements, the version that it is at, one before, one after)
pub(crate) type Fixture = (&'static str, &'static str, &'static str, &'static str, &'static str);

/// Tables as the tools make them, with the sources named in `migration/tool.rs`.
pub(crate) const TABLES: &[Fixture] = &[
    (
        "flyway",
        "CREATE TABLE flyway_schema_history (installed_rank INT NOT NULL PRIMARY KEY, version VARCHAR(50), description VARCHAR(200) NOT NULL, \
         type VARCHAR(20) NOT NULL, script VARCHAR(1000) NOT NULL, checksum INT, installed_by VARCHAR(100) NOT NULL, \
         installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, execution_time INT NOT NULL, success BOOLEAN NOT NULL); \
         INSERT INTO flyway_schema_history VALUES (1, '1', 'a', 'SQL', 'V1__a.sql', 1, 'u', CURRENT_TIMESTAMP, 1, true), \
         (2, '1.9', 'b', 'SQL', 'V1_9__b.sql', 1, 'u', CURRENT_TIMESTAMP, 1, true), (3, '1.10', 'c', 'SQL', 'V1_10__c.sql', 1, 'u', CURRENT_TIMESTAMP, 1, true), \
         (4, NULL, 'r', 'SQL', 'R__r.sql', 1, 'u', CURRENT_TIMESTAMP, 1, true)",
        "1.10",
        "1.9",
        "1.11",
    ),
    (
        "golang-migrate",
        "CREATE TABLE schema_migrations (version BIGINT NOT NULL PRIMARY KEY, dirty BOOLEAN NOT NULL); INSERT INTO schema_migrations VALUES (12, false)",
        "12",
        "9",
        "13",
    ),
    (
        "django",
        "CREATE TABLE django_migrations (id INT PRIMARY KEY, app VARCHAR(255) NOT NULL, name VARCHAR(255) NOT NULL, applied TIMESTAMP NOT NULL); \
         INSERT INTO django_migrations VALUES (1, 'auth', '0012_x', CURRENT_TIMESTAMP), (2, 'shop', '0001_initial', CURRENT_TIMESTAMP), (3, 'shop', '0002_more', CURRENT_TIMESTAMP)",
        "shop.0002_more",
        "shop.0001_initial",
        "shop.0003_x",
    ),
    (
        "rails",
        "CREATE TABLE schema_migrations (version VARCHAR(255) NOT NULL PRIMARY KEY); INSERT INTO schema_migrations VALUES ('20260101000000'), ('20260201000000'); \
         CREATE TABLE ar_internal_metadata (key_ VARCHAR(20))",
        "20260201000000",
        "20260101000000",
        "20260301000000",
    ),
    (
        "sqlx",
        "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description VARCHAR(99) NOT NULL, installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, \
         success BOOLEAN NOT NULL, checksum VARCHAR(99) NOT NULL, execution_time BIGINT NOT NULL); \
         INSERT INTO _sqlx_migrations VALUES (1, 'a', CURRENT_TIMESTAMP, true, 'x', 5), (2, 'b', CURRENT_TIMESTAMP, true, 'x', 5)",
        "2",
        "1",
        "3",
    ),
    (
        "prisma",
        "CREATE TABLE _prisma_migrations (id VARCHAR(36) PRIMARY KEY, checksum VARCHAR(64) NOT NULL, finished_at TIMESTAMP NULL, migration_name VARCHAR(255) NOT NULL, \
         logs TEXT, rolled_back_at TIMESTAMP NULL, started_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, applied_steps_count INTEGER NOT NULL DEFAULT 0); \
         INSERT INTO _prisma_migrations (id, checksum, finished_at, migration_name) VALUES ('a', 'x', CURRENT_TIMESTAMP, '20260101_init'), ('b', 'x', CURRENT_TIMESTAMP, '20260201_more')",
        "20260201_more",
        "20260101_init",
        "20260301_x",
    ),
    (
        "liquibase",
        "CREATE TABLE databasechangelog (ID VARCHAR(255) NOT NULL, AUTHOR VARCHAR(255) NOT NULL, FILENAME VARCHAR(255) NOT NULL, DATEEXECUTED TIMESTAMP NOT NULL, \
         ORDEREXECUTED INT NOT NULL, EXECTYPE VARCHAR(10) NOT NULL, MD5SUM VARCHAR(35), TAG VARCHAR(255)); \
         INSERT INTO databasechangelog VALUES ('01', 'me', 'c.xml', CURRENT_TIMESTAMP, 1, 'EXECUTED', NULL, NULL), ('02', 'me', 'c.xml', CURRENT_TIMESTAMP, 2, 'MARK_RAN', NULL, NULL)",
        "02",
        "01",
        "03",
    ),
    (
        "diesel",
        "CREATE TABLE __diesel_schema_migrations (version VARCHAR(50) PRIMARY KEY, run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP); \
         INSERT INTO __diesel_schema_migrations (version) VALUES ('20260101000000'), ('20260201000000')",
        "20260201000000",
        "20260101000000",
        "20260301000000",
    ),
    (
        "goose",
        "CREATE TABLE goose_db_version (id INT PRIMARY KEY, version_id BIGINT NOT NULL, is_applied BOOLEAN NOT NULL, tstamp TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP); \
         INSERT INTO goose_db_version VALUES (1, 0, true, CURRENT_TIMESTAMP), (2, 1, true, CURRENT_TIMESTAMP), (3, 2, true, CURRENT_TIMESTAMP), (4, 3, true, CURRENT_TIMESTAMP), (5, 3, false, CURRENT_TIMESTAMP)",
        "2",
        "1",
        "3",
    ),
    (
        "knex",
        "CREATE TABLE knex_migrations (id INT PRIMARY KEY, name VARCHAR(255), batch INTEGER, migration_time TIMESTAMP NULL); \
         INSERT INTO knex_migrations VALUES (1, '20260101_a.js', 1, CURRENT_TIMESTAMP), (2, '20260201_b.js', 1, CURRENT_TIMESTAMP)",
        "20260201_b.js",
        "20260101_a.js",
        "20260301_c.js",
    ),
    (
        "atlas",
        "CREATE TABLE atlas_schema_revisions (version VARCHAR(255) PRIMARY KEY, description VARCHAR(255) NOT NULL, type BIGINT NOT NULL DEFAULT 2, applied BIGINT NOT NULL DEFAULT 0, \
         total BIGINT NOT NULL DEFAULT 0, executed_at TIMESTAMP NULL, execution_time BIGINT NOT NULL, error TEXT, error_stmt TEXT, hash VARCHAR(255) NOT NULL); \
         INSERT INTO atlas_schema_revisions (version, description, applied, total, execution_time, hash) VALUES ('20260101', 'a', 2, 2, 1, 'h'), ('20260201', 'b', 1, 1, 1, 'h')",
        "20260201",
        "20260101",
        "20260301",
    ),
    (
        "refinery",
        "CREATE TABLE refinery_schema_history (version INT PRIMARY KEY, name VARCHAR(255), applied_on VARCHAR(255), checksum VARCHAR(255)); \
         INSERT INTO refinery_schema_history VALUES (1, 'a', 'x', 'y'), (2, 'b', 'x', 'y')",
        "2",
        "1",
        "3",
    ),
    (
        "efcore",
        "CREATE TABLE __EFMigrationsHistory (MigrationId VARCHAR(150) NOT NULL PRIMARY KEY, ProductVersion VARCHAR(32) NOT NULL); \
         INSERT INTO __EFMigrationsHistory VALUES ('20260101120000_Init', '9.0.0'), ('20260201120000_More', '9.0.0')",
        "20260201120000_More",
        "20260101120000_Init",
        "20260301120000_X",
    ),
    (
        "sequelize",
        "CREATE TABLE SequelizeMeta (name VARCHAR(255) NOT NULL PRIMARY KEY); INSERT INTO SequelizeMeta VALUES ('20260101-a.js'), ('20260201-b.js')",
        "20260201-b.js",
        "20260101-a.js",
        "20260301-c.js",
    ),
    (
        "typeorm",
        "CREATE TABLE migrations (id INT PRIMARY KEY, timestamp BIGINT NOT NULL, name VARCHAR(255) NOT NULL); \
         INSERT INTO migrations VALUES (1, 1700000000000, 'A1700000000000'), (2, 1700000000001, 'B1700000000001')",
        "1700000000001",
        "1700000000000",
        "1700000000002",
    ),
    (
        "laravel",
        "CREATE TABLE migrations (id INT PRIMARY KEY, migration VARCHAR(255) NOT NULL, batch INT NOT NULL); \
         INSERT INTO migrations VALUES (1, '2026_01_01_000000_a', 1), (2, '2026_02_01_000000_b', 1)",
        "2026_02_01_000000_b",
        "2026_01_01_000000_a",
        "2026_03_01_000000_c",
    ),
    (
        "ecto",
        "CREATE TABLE schema_migrations (version BIGINT PRIMARY KEY, inserted_at TIMESTAMP NULL); INSERT INTO schema_migrations VALUES (20260101000000, NULL), (20260201000000, NULL)",
        "20260201000000",
        "20260101000000",
        "20260301000000",
    ),
    (
        "yoyo",
        "CREATE TABLE _yoyo_migration (migration_hash VARCHAR(64) PRIMARY KEY, migration_id VARCHAR(255), applied_at_utc TIMESTAMP NULL); \
         INSERT INTO _yoyo_migration VALUES ('a', '0001.a', NULL), ('b', '0002.b', NULL)",
        "0002.b",
        "0001.a",
        "0003.c",
    ),
    (
        "node-pg-migrate",
        "CREATE TABLE pgmigrations (id INT PRIMARY KEY, name VARCHAR(255) NOT NULL, run_on TIMESTAMP NOT NULL); \
         INSERT INTO pgmigrations VALUES (1, '1700000000000_a', CURRENT_TIMESTAMP), (2, '1700000000001_b', CURRENT_TIMESTAMP)",
        "1700000000001_b",
        "1700000000000_a",
        "1700000000002_c",
    ),
    (
        "dbmate",
        "CREATE TABLE schema_migrations (version VARCHAR(128) PRIMARY KEY); INSERT INTO schema_migrations VALUES ('20260101000000'), ('20260201000000')",
        "20260201000000",
        "20260101000000",
        "20260301000000",
    ),
    (
        "drizzle",
        "CREATE TABLE __drizzle_migrations (id INT PRIMARY KEY, hash VARCHAR(99) NOT NULL, created_at BIGINT); INSERT INTO __drizzle_migrations VALUES (1, 'a', 1700000000000), (2, 'b', 1700000000001)",
        "1700000000001",
        "1700000000000",
        "1700000000002",
    ),
];

/// All questions in one run, each as a target, asked once: what `status -o json` says of each.
pub(crate) fn answers(url: &str, questions: &[&str]) -> Vec<serde_json::Value> {
    let pod = PodDir::new();
    let targets: String = questions
        .iter()
        .enumerate()
        .map(|(n, question)| format!("  - {{target: '${{DB}}', name: q{n}, migration: {{{question}}}}}\n"))
        .collect();
    let config = pod.write("w.yaml", format!("targets:\n{targets}"));
    let done = waitfor()
        .env("DB", url)
        .arg("--config")
        .arg(config)
        .args(["status", "-o", "json", "--attempt-timeout", "30s"])
        .run();
    let told: serde_json::Value =
        serde_json::from_str(&done.stdout()).unwrap_or_else(|_| done.fail("no JSON"));
    told["targets"].as_array().unwrap().clone()
}

/// (gate options, state, a word of the detail)
pub(crate) fn ask_all(url: &str, questions: &[(String, &str, &str)]) {
    let texts: Vec<&str> = questions.iter().map(|(question, ..)| question.as_str()).collect();
    let told = answers(url, &texts);
    assert_eq!(told.len(), questions.len());
    for ((question, state, word), target) in questions.iter().zip(told) {
        let detail = target["detail"].as_str().unwrap();
        assert!(
            target["state"] == *state && detail.contains(word),
            "{question}: wanted {state}, {word:?}, got {target}"
        );
    }
}

/// The detail of one question.
pub(crate) fn detail(url: &str, question: &str) -> String {
    answers(url, &[question])[0]["detail"].as_str().unwrap().to_owned()
}

/// kubernetes/kubernetes#106802, groundnuty/k8s-wait-for#50, bitnami/charts#29847: the version is what counts, not a Job that may be gone.
/// constructorfabric/insight#1394, chatwoot/charts#206, archestra-ai/archestra#4663: in an upgrade the old pods answer, the version does not lie.
fn three_versions(url: &str, tool: &str, at: &str, before: &str, after: &str) {
    let pod = PodDir::new();
    let all = pod.write("all", format!("# the image's\n{before}\n{at}\n"));
    let more = pod.write("more", format!("{before}\n{at}\n{after}\n"));
    let next = format!("next is {after}");
    ask_all(
        url,
        &[
            (format!("at: '{at}'"), "ready", tool),
            (format!("at_least: '{at}'"), "ready", at),
            (format!("at_least: '{before}'"), "ready", tool),
            (format!("at_least: '{after}'"), "not yet", "wanted at least"),
            (format!("at: '{before}'"), "failed", at),
            (format!("at: '{before}', allow_ahead: true"), "ready", "allowed"),
            (format!("at: '{after}'"), "not yet", at),
            (format!("manifest: {}", all.display()), "ready", tool),
            (format!("manifest: {}", more.display()), "not yet", &next),
        ],
    );
}

#[test]
fn every_tool_on_postgres() {
    let Some(server) = Postgres::shared() else { return };
    for (tool, statements, at, before, after) in TABLES {
        let name = format!("m_{}", tool.replace('-', "_"));
        let url = server.database(&name);
        // No table yet: nothing applied, and none made by asking.
        ask_all(&url, &[(format!("at: '{at}'"), "not yet", "nothing applied yet")]);
        assert_eq!(server.sql(&name, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), "0");
        server.sql(&name, statements);
        three_versions(&url, tool, at, before, after);
    }
}

#[test]
fn every_tool_on_mariadb() {
    let Some(server) = MariaDb::shared() else { return };
    for (tool, statements, at, before, after) in TABLES.iter().filter(|(tool, ..)| *tool != "node-pg-migrate")
    {
        let name = format!("m_{}", tool.replace('-', "_"));
        let url = server.database(&name);
        ask_all(&url, &[(format!("at: '{at}'"), "not yet", "nothing applied yet")]);
        server.sql(&name, statements);
        three_versions(&url, tool, at, before, after);
    }
}

#[test]
fn every_tool_on_sqlite() {
    let Some(_) = crate::servers::program("sqlite3", "sqlite3") else { return };
    for (tool, statements, at, before, after) in TABLES.iter().filter(|(tool, ..)| *tool != "node-pg-migrate")
    {
        let pod = PodDir::new();
        let file = pod.join("app.db");
        let url = format!("sqlite://{}", file.display());
        // No file, then no table yet: nothing applied, and nothing made by asking.
        ask_all(&url, &[(format!("at: '{at}'"), "not yet", "no such file")]);
        pod.write("app.db", "");
        ask_all(&url, &[(format!("at: '{at}'"), "not yet", "nothing applied yet")]);
        assert_eq!(std::fs::metadata(&file).unwrap().len(), 0);
        crate::servers::sqlite(&file, statements);
        three_versions(&url, tool, at, before, after);
    }
}

#[test]
fn tables_in_mixed_case_and_under_other_names() {
    let Some(server) = Postgres::shared() else { return };
    let url = server.database("m_case");
    server.sql("m_case", "CREATE TABLE \"__EFMigrationsHistory\" (\"MigrationId\" varchar(150) PRIMARY KEY, \"ProductVersion\" varchar(32) NOT NULL); INSERT INTO \"__EFMigrationsHistory\" VALUES ('20260101120000_Init', '9')");
    gate(&url, &["--at", "20260101120000_Init"]).expect_code(0).expect_stderr("efcore");
    server.sql("m_case", "CREATE SCHEMA history; CREATE TABLE history.alembic_ids (version_num varchar(32) PRIMARY KEY); INSERT INTO history.alembic_ids VALUES ('abc123')");
    gate(&url, &["--table", "history.alembic_ids", "--at", "abc123"]).expect_code(0).expect_stderr("alembic");
    server.sql("m_case", "CREATE TABLE \"SequelizeMeta\" (name varchar(255) PRIMARY KEY); INSERT INTO \"SequelizeMeta\" VALUES ('1-a.js')");
    let done = gate(&url, &["--at", "1-a.js"]);
    done.expect_code(78).expect_stderr("efcore").expect_stderr("sequelize");
    gate(&url, &["--tool", "sequelize", "--at", "1-a.js"]).expect_code(0);
    server.sql("m_case", "CREATE SCHEMA drizzle; CREATE TABLE drizzle.__drizzle_migrations (id serial PRIMARY KEY, hash text NOT NULL, created_at bigint); INSERT INTO drizzle.__drizzle_migrations (hash, created_at) VALUES ('x', 17)");
    gate(&url, &["--tool", "drizzle", "--at", "17"]).expect_code(0);
}

/// A typing error must not open the gate: no number is more than no number.
#[test]
fn what_is_no_version_is_said_at_once() {
    let Some(server) = Postgres::shared() else { return };
    let url = server.database("m_words");
    server.sql("m_words", "CREATE TABLE goose_db_version (id int PRIMARY KEY, version_id bigint, is_applied boolean, tstamp timestamp); INSERT INTO goose_db_version VALUES (1, 0, true, now()), (2, 3, true, now())");
    for version in ["add_users", "v3", "three"] {
        let done = gate(&url, &["--at-least", version]);
        done.expect_code(78).expect_stderr("is no version of goose, whose versions are numbers");
        gate(&url, &["--at", version]).expect_code(78);
    }
    gate(&url, &["--at-least", "00003_add_users.sql"]).expect_code(0);
    gate(&url, &["--at", "00004_more"]).expect_code(81);
    for key in ["--at", "--at-least"] {
        gate(&url, &[key, ""]).expect_code(78).expect_stderr("is empty, so any schema would do");
    }
    let done = waitfor()
        .args(["migrate", "--db", &url, "--at-least", "three", "--", "touch", "/nonexistent/x"])
        .run();
    done.expect_code(78).expect_stderr("is no version of goose");
}

/// Prisma's `schema`, pgx's `search_path` and golang-migrate's `x-migrations-table` say where the history is.
#[test]
fn schemas_and_tables_that_the_url_names() {
    let Some(server) = Postgres::shared() else { return };
    let url = server.database("m_places");
    server.sql("m_places", "CREATE SCHEMA shop; CREATE TABLE shop._prisma_migrations (id varchar(36) PRIMARY KEY, checksum varchar(64), finished_at timestamptz, migration_name varchar(255) NOT NULL, logs text, rolled_back_at timestamptz, started_at timestamptz NOT NULL DEFAULT now(), applied_steps_count int NOT NULL DEFAULT 0)");
    server.sql("m_places", "INSERT INTO shop._prisma_migrations (id, finished_at, migration_name) VALUES ('a', now(), '20260101_init')");
    gate(&format!("{url}?schema=shop"), &["--at", "20260101_init"]).expect_code(0).expect_stderr("prisma");
    gate(&format!("{url}?search_path=\"$user\",shop"), &["--at", "20260101_init"]).expect_code(0);
    gate(&url, &["--at", "20260101_init"]).expect_code(81).expect_stderr("no table of any known tool");
    server.sql("m_places", "CREATE TABLE done (version bigint PRIMARY KEY, dirty boolean NOT NULL); INSERT INTO done VALUES (3, false)");
    let named = format!("{url}?x-migrations-table=done&sslmode=disable");
    gate(&named, &["--at", "3"]).expect_code(0).expect_stderr("golang-migrate");
}

#[test]
fn dirty_is_80_and_running_is_told_apart_by_the_tools_own_lock() {
    let Some(server) = Postgres::shared() else { return };
    let url = server.database("m_dirty");
    server.sql("m_dirty", "CREATE TABLE schema_migrations (version bigint PRIMARY KEY, dirty boolean NOT NULL); INSERT INTO schema_migrations VALUES (3, true)");
    let done = gate(&url, &["--at", "3"]);
    done.expect_code(80).expect_stderr("nobody is running it");
    // golang-migrate's key for this database and table, held by a session of its own.
    let held = std::thread::spawn(move || {
        server.sql(
            "m_dirty",
            &format!(
                "SELECT pg_advisory_lock({}), pg_sleep(4)",
                golang_key("public\0schema_migrations\0m_dirty")
            ),
        )
    });
    testkit::eventually("the lock is held", || {
        (server.sql("m_dirty", "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == "1")
            .then_some(())
    });
    gate(&url, &["--at", "3"]).expect_code(81).expect_stderr("runs now (backend");
    held.join().unwrap();
    gate(&url, &["--at", "3"]).expect_code(80);
    server.sql("m_dirty", "UPDATE schema_migrations SET dirty = false");
    gate(&url, &["--at", "3"]).expect_code(0);
}

/// CRC-32 times golang-migrate's salt, computed here a second time.
fn golang_key(text: &str) -> u32 {
    let mut table = [0_u32; 256];
    for (n, entry) in table.iter_mut().enumerate() {
        *entry = (0..8)
            .fold(u32::try_from(n).unwrap(), |c, _| if c & 1 == 1 { 0xedb8_8320 ^ (c >> 1) } else { c >> 1 });
    }
    let crc =
        text.bytes().fold(u32::MAX, |c, byte| table[((c ^ u32::from(byte)) & 0xff) as usize] ^ (c >> 8));
    (!crc).wrapping_mul(1_486_364_155)
}

#[test]
fn failed_rows_of_flyway_prisma_and_atlas() {
    let Some(server) = MariaDb::shared() else { return };
    let url = server.database("m_failed");
    server.sql("m_failed", TABLES[0].1);
    server.sql("m_failed", "INSERT INTO flyway_schema_history VALUES (5, '2', 'd', 'SQL', 'V2__d.sql', 1, 'u', DEFAULT, 1, false)");
    gate(&url, &["--at", "2"]).expect_code(80).expect_stderr("V2__d.sql");
    let url = server.database("m_failed2");
    server.sql("m_failed2", TABLES[5].1);
    server.sql("m_failed2", "INSERT INTO _prisma_migrations (id, checksum, migration_name, logs) VALUES ('c', 'x', '20260301_bad', 'syntax error')");
    gate(&url, &["--at", "20260301_bad"]).expect_code(80).expect_stderr("20260301_bad");
}

#[test]
fn directories_of_files() {
    let Some(server) = Postgres::shared() else { return };
    let url = server.database("m_dirs");
    server.sql("m_dirs", TABLES[0].1);
    let pod = PodDir::new();
    for name in ["V1__a.sql", "V1_9__b.sql", "sub/V1_10__c.sql", "R__r.sql", "README.md"] {
        pod.write(format!("sql/{name}"), "");
    }
    let dir = pod.join("sql");
    let dir = dir.to_str().unwrap();
    gate(&url, &["--dir", dir]).expect_code(0).expect_stderr("has all 3");
    pod.write("sql/V2__d.sql", "");
    gate(&url, &["--dir", dir]).expect_code(81).expect_stderr("has 3 of 4, next is 2");
    std::fs::remove_file(pod.join("sql/V2__d.sql")).unwrap();
    std::fs::remove_file(pod.join("sql/sub/V1_10__c.sql")).unwrap();
    gate(&url, &["--dir", dir]).expect_code(82).expect_stderr("1.10");
    gate(&url, &["--dir", dir, "--allow-ahead"]).expect_code(0);
    gate(&url, &["--dir", "/nonexistent"]).expect_code(124).expect_stderr("/nonexistent");
}

#[test]
fn alembic_by_its_graph() {
    let Some(server) = Postgres::shared() else { return };
    let url = server.database("m_alembic");
    server.sql("m_alembic", "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY); INSERT INTO alembic_version VALUES ('b2')");
    let pod = PodDir::new();
    for (revision, parents) in [("a1", "None"), ("b2", "'a1'"), ("c3", "'a1'"), ("d4", "('b2', 'c3')")] {
        pod.write(
            format!("versions/{revision}_x.py"),
            format!("\"\"\"x\"\"\"\nrevision = '{revision}'\ndown_revision = {parents}\n"),
        );
    }
    let dir = pod.join("versions");
    let dir = dir.to_str().unwrap();
    gate(&url, &["--at", "b2"]).expect_code(0);
    gate(&url, &["--dir", dir]).expect_code(81).expect_stderr("2 of 4 revisions");
    gate(&url, &["--at-least", "a1", "--dir", dir]).expect_code(0);
    gate(&url, &["--at-least", "c3", "--dir", dir]).expect_code(81);
    server.sql("m_alembic", "UPDATE alembic_version SET version_num = 'd4'");
    gate(&url, &["--dir", dir]).expect_code(0);
    server.sql("m_alembic", "UPDATE alembic_version SET version_num = 'e5'");
    gate(&url, &["--dir", dir]).expect_code(82).expect_stderr("e5");
}

#[test]
fn wrong_usage_and_a_database_that_is_down() {
    gate("postgres://u:S3cret@127.0.0.1:1/x", &["--at", "1"]).expect_code(124).expect_stderr("refused");
    gate("postgres://u@127.0.0.1:1/x", &[]).expect_code(2);
    gate("oracle://u@127.0.0.1:1/x", &["--at", "1"]).expect_code(2);
    gate("postgres://u@127.0.0.1:1/x", &["--at", "1", "--tool", "flywya"])
        .expect_code(78)
        .expect_stderr("flyway");
    gate("postgres://u@127.0.0.1:1/x", &["--at", "1", "--dir", "/x"])
        .expect_code(78)
        .expect_stderr("several");
}

#[test]
fn as_a_target_of_a_file_after_the_database() {
    let Some(server) = Postgres::shared() else { return };
    let url = server.database("m_file");
    server.sql("m_file", TABLES[1].1);
    let pod = PodDir::new();
    let text = "targets:\n  - {name: db, target: '${DB}'}\n  - {name: schema, target: '${DB}', after: [db], migration: {at_least: '12'}}\n";
    let done = waitfor()
        .env("DB", &url)
        .arg("--config")
        .arg(pod.write("w.yaml", text))
        .args(["-o", "json", "--attempt-timeout", "20s"])
        .run();
    done.expect_code(0).expect_stdout("golang-migrate is at 12");
}
