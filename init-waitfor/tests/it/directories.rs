//! `--dir`: the migration files of every tool, as each of them lays them out, against its table.

use testkit::PodDir;

use crate::migration::{TABLES, ask_all};
use crate::servers::{Postgres, program, sqlite};

/// (tool, the files that are applied, one that is not, files that are no migrations)
type Layout = (&'static str, &'static [&'static str], &'static str, &'static [&'static str]);

const LAYOUTS: &[Layout] = &[
    (
        "flyway",
        &["V1__a.sql", "deep/V1_9__b.sql", "V1.10__c.java"],
        "V2__d.sql",
        &["R__r.sql", "U1_9__b.sql", "README.md"],
    ),
    ("golang-migrate", &["000009_a.up.sql", "000012_b.up.sql"], "000013_c.up.sql", &["000012_b.down.sql"]),
    ("rails", &["20260101000000_a.rb", "20260201000000_b.rb"], "20260301000000_c.rb", &["schema.rb"]),
    ("sqlx", &["1_a.sql", "2_b.up.sql"], "3_c.sql", &["2_b.down.sql"]),
    (
        "prisma",
        &["20260101_init/migration.sql", "20260201_more/migration.sql"],
        "20260301_x/migration.sql",
        &["migration_lock.toml"],
    ),
    (
        "diesel",
        &["2026-01-01-000000_a/up.sql", "2026-02-01-000000_b/up.sql"],
        "2026-03-01-000000_c/up.sql",
        &["2026-01-01-000000_a/down.sql"],
    ),
    ("goose", &["00001_a.sql", "00002_b.go"], "00003_c.sql", &["00002_b_test.go"]),
    ("knex", &["20260101_a.js", "20260201_b.js"], "20260301_c.js", &["types.d.ts", "notes.txt"]),
    (
        "efcore",
        &["20260101120000_Init.cs", "20260201120000_More.cs"],
        "20260301120000_X.cs",
        &["20260101120000_Init.Designer.cs", "AppModelSnapshot.cs"],
    ),
    ("atlas", &["20260101_a.sql", "20260201_b.sql"], "20260301_c.sql", &["atlas.sum"]),
    ("dbmate", &["20260101000000_a.sql", "20260201000000_b.sql"], "20260301000000_c.sql", &["schema.txt"]),
    ("refinery", &["V1__a.sql", "V2__b.rs"], "V3__c.sql", &["mod.rs"]),
    (
        "typeorm",
        &["1700000000000-A.ts", "1700000000001-B.ts"],
        "1700000000002-C.ts",
        &["1700000000001-B.d.ts"],
    ),
    ("sequelize", &["20260101-a.js", "20260201-b.js"], "20260301-c.js", &["x.d.ts"]),
    (
        "laravel",
        &["2026_01_01_000000_a.php", "2026_02_01_000000_b.php"],
        "2026_03_01_000000_c.php",
        &["x.txt"],
    ),
    ("ecto", &["20260101000000_a.exs", "20260201000000_b.exs"], "20260301000000_c.exs", &[".formatter.exs"]),
    ("yoyo", &["0001.a.sql", "0002.b.py"], "0003.c.sql", &["0001.a.rollback.sql", "__init__.py"]),
    ("node-pg-migrate", &["1700000000000_a.js", "1700000000001_b.sql"], "1700000000002_c.js", &["x.txt"]),
];

#[test]
fn of_every_tool_whose_files_are_its_versions() {
    let Some(_) = program("sqlite3", "sqlite3") else { return };
    for (tool, done, next, others) in LAYOUTS {
        let pod = PodDir::new();
        // node-pg-migrate knows PostgreSQL only; its files are read alike.
        sqlite(&pod.join("app.db"), TABLES.iter().find(|(name, ..)| name == tool).unwrap().1);
        let url = format!("sqlite://{}", pod.join("app.db").display());
        for file in done.iter().chain(*others) {
            pod.write(format!("m/{file}"), "-- a migration");
        }
        let wanted = format!("tool: {tool}, dir: {}", pod.join("m").display());
        ask_all(&url, &[(wanted.clone(), "ready", "has all")]);
        pod.write(format!("m/{next}"), "-- a migration");
        ask_all(&url, &[(wanted.clone(), "not yet", "next is")]);
        // An image from before the last one.
        for file in [next, done.last().unwrap()] {
            std::fs::remove_file(pod.join(format!("m/{file}"))).unwrap();
        }
        ask_all(&url, &[(wanted.clone(), "failed", "which is not among the")]);
        ask_all(&url, &[(format!("{wanted}, allow_ahead: true"), "ready", "which is allowed")]);
    }
}

#[test]
fn drizzles_journal() {
    let Some(server) = Postgres::shared() else { return };
    let url = server.database("d_drizzle");
    server.sql("d_drizzle", "CREATE SCHEMA drizzle; CREATE TABLE drizzle.__drizzle_migrations (id serial PRIMARY KEY, hash text NOT NULL, created_at bigint); INSERT INTO drizzle.__drizzle_migrations (hash, created_at) VALUES ('x', 1700000000000)");
    let pod = PodDir::new();
    let journal = |entries: &str| {
        pod.write("m/meta/_journal.json", format!("{{\"version\": \"7\", \"entries\": [{entries}]}}"))
    };
    journal("{\"idx\": 0, \"when\": 1700000000000, \"tag\": \"0000_a\"}");
    let wanted = format!("dir: {}", pod.join("m").display());
    ask_all(&url, &[(wanted.clone(), "ready", "drizzle has all 1")]);
    journal("{\"idx\": 0, \"when\": 1700000000000}, {\"idx\": 1, \"when\": 1700000000009}");
    ask_all(&url, &[(wanted, "not yet", "next is 1700000000009")]);
}

/// Liquibase: the DDL of CreateDatabaseChangeLogTableGenerator.java; Liquibase itself is not installable here.
#[test]
fn liquibase_changelogs() {
    let Some(server) = Postgres::shared() else { return };
    let url = server.database("d_liquibase");
    let make = "CREATE TABLE databasechangelog (id VARCHAR(255) NOT NULL, author VARCHAR(255) NOT NULL, filename VARCHAR(255) NOT NULL, dateexecuted TIMESTAMP NOT NULL, \
                orderexecuted INT NOT NULL, exectype VARCHAR(10) NOT NULL, md5sum VARCHAR(35), description VARCHAR(255), comments VARCHAR(255), tag VARCHAR(255), \
                liquibase VARCHAR(20), contexts VARCHAR(255), labels VARCHAR(255), deployment_id VARCHAR(10))";
    server.sql("d_liquibase", make);
    let row = |order: u32, id: &str, file: &str, tag: &str| {
        let insert = format!(
            "INSERT INTO databasechangelog (id, author, filename, dateexecuted, orderexecuted, exectype, tag) VALUES ('{id}', 'me@example.com', 'classpath:db/changelog/{file}', now(), {order}, 'EXECUTED', {tag})"
        );
        server.sql("d_liquibase", &insert);
    };
    // Ids that no order can be read from, the same one in two files.
    row(1, "9", "a.xml", "NULL");
    row(2, "10", "a.xml", "'v1'");
    row(3, "9", "b.yaml", "NULL");
    let pod = PodDir::new();
    let set = |id: &str, more: &str| {
        format!("<changeSet id=\"{id}\" author=\"me@example.com\" {more}><sql>SELECT 1</sql></changeSet>")
    };
    let log = |sets: &[String]| {
        format!(
            "<?xml version=\"1.0\"?><databaseChangeLog xmlns=\"http://www.liquibase.org/xml/ns/dbchangelog\">{}</databaseChangeLog>",
            sets.concat()
        )
    };
    let first = [
        set("9", ""),
        set("10", ""),
        set("oracle-only", "dbms=\"oracle\""),
        set("test-data", "contextFilter=\"test\""),
    ];
    pod.write("r/db/changelog/a.xml", log(&first));
    pod.write(
        "r/db/changelog/b.yaml",
        "databaseChangeLog:\n  - changeSet: {id: 9, author: me@example.com}\n",
    );
    pod.write("r/db/changelog/master.xml", "<databaseChangeLog><include file=\"db/changelog/a.xml\"/><includeAll path=\"db\"/></databaseChangeLog>");
    pod.write("r/application.yaml", "spring: {}\n");
    let dir = pod.join("r");
    let wanted = format!("dir: {}", dir.display());
    ask_all(
        &url,
        &[
            (wanted.clone(), "ready", "liquibase has all"),
            ("at: b.yaml::9::me@example.com".into(), "ready", "is at"),
            ("at: '10'".into(), "failed", "b.yaml::9::me@example.com, wanted 10"),
            ("at_least: v1".into(), "ready", "has v1"),
            ("at_least: v2".into(), "not yet", "wanted at least v2"),
            ("at_least: a.xml::10::me@example.com".into(), "ready", "has a.xml"),
        ],
    );
    pod.write(
        "r/db/changelog/c.sql",
        "--liquibase formatted sql\n\n--changeset me@example.com:11 splitStatements:false\nSELECT 1;\n",
    );
    ask_all(&url, &[(wanted.clone(), "not yet", "next is db/changelog/c.sql::11::me@example.com")]);
    row(4, "11", "c.sql", "NULL");
    ask_all(&url, &[(wanted.clone(), "ready", "has all")]);
    row(5, "12", "d.sql", "NULL");
    ask_all(
        &url,
        &[
            (wanted.clone(), "failed", "d.sql::12"),
            (format!("{wanted}, allow_ahead: true"), "ready", "allowed"),
        ],
    );
    pod.write("r/db/changelog/broken.xml", "<databaseChangeLog><changeSet id=");
    ask_all(&url, &[(wanted, "not yet", "broken.xml is no changelog")]);
}

/// What a baseline covers was there before the tool; its files may still be in the image.
#[test]
fn baselines_of_flyway_and_atlas() {
    let Some(server) = Postgres::shared() else { return };
    let url = server.database("d_baseline");
    let pod = PodDir::new();
    for file in ["f/V1__a.sql", "f/V2__b.sql", "f/V3__c.sql", "a/1_a.sql", "a/2_b.sql", "a/3_c.sql"] {
        pod.write(file, "");
    }
    server.sql("d_baseline", "CREATE TABLE flyway_schema_history (installed_rank INT PRIMARY KEY, version VARCHAR(50), type VARCHAR(20), script VARCHAR(1000), success BOOLEAN); \
        INSERT INTO flyway_schema_history VALUES (1, '2', 'BASELINE', '<< Flyway Baseline >>', true)");
    server.sql("d_baseline", "CREATE TABLE atlas_schema_revisions (version VARCHAR(255) PRIMARY KEY, type BIGINT, applied BIGINT, total BIGINT, error TEXT, hash VARCHAR(255)); \
        INSERT INTO atlas_schema_revisions VALUES ('2', 1, 0, 0, NULL, '')");
    let question = |tool: &str, dir: &str| format!("tool: {tool}, dir: {}", pod.join(dir).display());
    let ask = |state: &str, word: &str| {
        ask_all(&url, &[(question("flyway", "f"), state, word), (question("atlas", "a"), state, word)]);
    };
    ask("not yet", "has 2 of 3, next is 3");
    server.sql("d_baseline", "INSERT INTO flyway_schema_history VALUES (2, '3', 'SQL', 'V3__c.sql', true); INSERT INTO atlas_schema_revisions VALUES ('3', 2, 1, 1, NULL, '')");
    ask("ready", "has all 3");
}
