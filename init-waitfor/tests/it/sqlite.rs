//! SQLite: read without being written to, in every state that a file can be in; and the runner with its lock beside the file.

use std::path::Path;

use testkit::{PodDir, Proc, Running, Stream, eventually};

use crate::migration::{ask_all, gate};
use crate::servers::{program, sqlite};
use crate::waitfor;

const GOLANG: &str = "CREATE TABLE schema_migrations (version uint64, dirty bool); INSERT INTO schema_migrations VALUES (1, false)";

fn url(file: &Path) -> String {
    format!("sqlite://{}", file.display())
}

fn files(pod: &PodDir) -> Vec<String> {
    let list = std::fs::read_dir(pod.path()).unwrap().flatten();
    let mut names: Vec<String> = list.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| name.starts_with("app"));
    names.sort();
    names
}

/// Python with a connection that stays open until it is killed: `before` is run, "ready" is printed.
fn holder(file: &Path, before: &str) -> Running {
    let script = format!(
        "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1], isolation_level=None)\n{before}\nprint('ready', flush=True)\nsys.stdin.read()"
    );
    let run = Proc::new("python3").args(["-c", &script]).arg(file).with_stdin().spawn();
    run.wait_line(Stream::Stdout, "it holds the file", |line| line == "ready");
    run
}

#[test]
fn a_closed_database_with_a_write_ahead_log_is_read_and_left_alone() {
    let Some(_) = program("sqlite3", "sqlite3") else { return };
    let pod = PodDir::new();
    let file = pod.join("app.db");
    sqlite(&file, &format!("PRAGMA journal_mode = WAL; {GOLANG}"));
    assert_eq!(files(&pod), ["app.db"]);
    let before = std::fs::read(&file).unwrap();
    gate(&url(&file), &["--at", "1"]).expect_code(0).expect_stderr("golang-migrate is at 1");
    // A -wal of ours would belong to our user, and the app could not write to it.
    assert_eq!(files(&pod), ["app.db"]);
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[test]
fn what_is_in_the_write_ahead_log_counts() {
    let Some(_) = program("sqlite3", "sqlite3") else { return };
    let pod = PodDir::new();
    let file = pod.join("app.db");
    sqlite(&file, &format!("PRAGMA journal_mode = WAL; {GOLANG}"));
    let app = holder(
        &file,
        "c.execute('PRAGMA wal_autocheckpoint = 0'); c.execute('UPDATE schema_migrations SET version = 2')",
    );
    gate(&url(&file), &["--at", "2"]).expect_code(0);
    assert_eq!(files(&pod), ["app.db", "app.db-shm", "app.db-wal"]);
    // Killed: the log is there, nobody has it open. It is still the truth.
    app.sigkill();
    gate(&url(&file), &["--at", "2"]).expect_code(0);
    assert_eq!(sqlite(&file, "SELECT version FROM schema_migrations"), "2");
}

#[test]
fn a_writer_is_waited_for() {
    let Some(_) = program("sqlite3", "sqlite3") else { return };
    let pod = PodDir::new();
    let file = pod.join("app.db");
    sqlite(&file, GOLANG);
    let app = holder(&file, "c.execute('BEGIN EXCLUSIVE')");
    gate(&url(&file), &["--at", "1"]).expect_code(81).expect_stderr("someone writes to it now");
    let wait = waitfor()
        .env("WAITFOR_DB", url(&file))
        .args(["migration", "--at", "1", "--max-interval", "300ms"])
        .spawn();
    wait.wait_log("it waits", |line| line["reason"].as_str().unwrap_or("").contains("locked"));
    app.sigkill();
    wait.wait_exit().expect_code(0);
}

#[test]
fn a_transaction_that_was_cut_off_is_for_the_next_writer() {
    let Some(_) = program("sqlite3", "sqlite3") else { return };
    let pod = PodDir::new();
    let file = pod.join("app.db");
    sqlite(&file, &format!("{GOLANG}; CREATE TABLE t (a TEXT)"));
    // Spilled to the file before its commit, so that the journal is needed to undo it.
    let app = holder(
        &file,
        "c.execute('PRAGMA cache_size = 1'); c.execute('BEGIN'); [c.execute('INSERT INTO t VALUES (?)', ('x' * 3000,)) for _ in range(200)]",
    );
    app.sigkill();
    assert_eq!(files(&pod), ["app.db", "app.db-journal"]);
    gate(&url(&file), &["--at", "1"]).expect_code(80).expect_stderr("the next writer undoes it");
    assert_eq!(files(&pod), ["app.db", "app.db-journal"]);
    // The runner lets the command do it.
    let command = format!("sqlite3 {} \"UPDATE schema_migrations SET version = 2\"", file.display());
    migrate(&file, &["--at", "2", "--", "sh", "-c", &command]).run().expect_code(0);
    gate(&url(&file), &["--at", "2"]).expect_code(0);
}

#[test]
fn urls_as_the_frameworks_have_them() {
    let Some(_) = program("sqlite3", "sqlite3") else { return };
    let pod = PodDir::new();
    sqlite(&pod.join("app.db"), GOLANG);
    let path = pod.path().display();
    for url in [
        format!("sqlite:///{path}/app.db"),
        format!("sqlite3:{path}/app.db"),
        format!("file:{path}/app.db?connection_limit=1"),
        format!("file://{path}/app.db"),
        "sqlite:app.db".to_owned(),
        "sqlite://app.db?mode=ro".to_owned(),
        "file:./app.db".to_owned(),
        // SQLAlchemy's three slashes: there is no /app.db.
        "sqlite+pysqlite:///app.db".to_owned(),
        "sqlite:///app.db".to_owned(),
    ] {
        let done = waitfor()
            .env("WAITFOR_DB", &url)
            .args(["migration", "--at", "1", "--timeout", "20s"])
            .current_dir(pod.path())
            .run();
        assert_eq!(done.code(), Some(0), "{url}: {}", done.stderr());
    }
    for bad in ["sqlite::memory:", "sqlite://", "sqlite:///x?moed=ro"] {
        waitfor().args(["migration", "--at", "1", "--db", bad]).run().expect_code(2);
    }
}

#[test]
fn as_a_target_with_a_query() {
    let Some(_) = program("sqlite3", "sqlite3") else { return };
    let pod = PodDir::new();
    let file = pod.join("app.db");
    let status = |query: &str, code: i32, word: &str| {
        let target = format!("{}{query}", url(&file));
        waitfor().args(["status", &target]).run().expect_code(code).expect_stdout(word);
    };
    status("", 1, "no such file");
    assert_eq!(files(&pod), Vec::<String>::new());
    sqlite(&file, &format!("{GOLANG}; CREATE TABLE seeded (name TEXT); INSERT INTO seeded VALUES ('ü')"));
    status("", 0, "ready");
    status("?query=SELECT%20name%20FROM%20seeded&expect=ü", 0, "ready");
    status("?query=SELECT%20name%20FROM%20seeded&expect=x", 1, "gives ü, wanted x");
    status("?query=SELECT%20*%20FROM%20missing", 1, "no such table");
    status("?query=DELETE%20FROM%20seeded", 1, "readonly");
    status("?query=SELECT%201%20FROM%20seeded%20WHERE%20false", 1, "gives no row");
    assert_eq!(sqlite(&file, "SELECT count(*) FROM seeded"), "1");
    waitfor().args(["status", &format!("{}?role=primary", url(&file))]).run().expect_code(2);
    pod.write("app.db", "this is a text and no database, and it is long enough for a header of one: 100 bytes in all, and more");
    status("", 1, "no SQLite database");
    waitfor().args(["status", &url(pod.path())]).run().expect_code(1);
}

#[test]
fn dirty_and_locked_rows() {
    let Some(_) = program("sqlite3", "sqlite3") else { return };
    let pod = PodDir::new();
    let file = pod.join("app.db");
    // golang-migrate's lock on SQLite is inside of its process: it cannot be told whether it runs.
    sqlite(
        &file,
        "CREATE TABLE schema_migrations (version uint64, dirty bool); INSERT INTO schema_migrations VALUES (3, true)",
    );
    gate(&url(&file), &["--at", "3"]).expect_code(80).expect_stderr("running or failed");
    // What says of itself that it has failed needs no lock to be believed.
    for (name, make) in [
        (
            "app3.db",
            "CREATE TABLE flyway_schema_history (installed_rank INT PRIMARY KEY, version VARCHAR(50), type VARCHAR(20), script VARCHAR(1000), success BOOLEAN); \
            INSERT INTO flyway_schema_history VALUES (1, '3', 'SQL', 'V3__c.sql', 0)",
        ),
        (
            "app4.db",
            "CREATE TABLE _prisma_migrations (id TEXT PRIMARY KEY, finished_at DATETIME, migration_name TEXT, logs TEXT, rolled_back_at DATETIME, started_at DATETIME); \
            INSERT INTO _prisma_migrations VALUES ('a', NULL, '3', 'syntax error', NULL, NULL)",
        ),
        (
            "app5.db",
            "CREATE TABLE atlas_schema_revisions (version TEXT PRIMARY KEY, type INT, applied INT, total INT, error TEXT, hash TEXT); \
            INSERT INTO atlas_schema_revisions VALUES ('3', 2, 1, 2, 'no such table', 'h')",
        ),
    ] {
        let file = pod.join(name);
        sqlite(&file, make);
        gate(&url(&file), &["--at", "3"]).expect_code(80).expect_stderr("has failed");
    }
    // efcore: SqliteHistoryRepository.cs, CreateLockTableCommand; the row stays when the process is killed (dotnet/efcore#38958).
    let file = pod.join("app2.db");
    sqlite(
        &file,
        "CREATE TABLE \"__EFMigrationsHistory\" (\"MigrationId\" TEXT NOT NULL PRIMARY KEY, \"ProductVersion\" TEXT NOT NULL); \
         CREATE TABLE \"__EFMigrationsLock\" (\"Id\" INTEGER NOT NULL PRIMARY KEY, \"Timestamp\" TEXT NOT NULL); \
         INSERT INTO \"__EFMigrationsLock\" VALUES (1, '2026-01-01 10:00:00')",
    );
    ask_all(
        &url(&file),
        &[(
            "at: x".to_owned(),
            "not yet",
            "since 2026-01-01 10:00:00; if nobody migrates now, a killed pod has left it",
        )],
    );
}

fn migrate(file: &Path, args: &[&str]) -> Proc {
    waitfor().env("WAITFOR_DB", url(file)).args(["migrate", "--attempt-timeout", "20s"]).args(args)
}

/// Makes golang-migrate's table and counts its runs; a second one would overlap.
fn script(pod: &PodDir) -> String {
    format!(
        "set -e; echo run >> {}; sleep 0.5; sqlite3 -bail {} '{}'",
        pod.join("runs").display(),
        pod.join("app.db").display(),
        "CREATE TABLE schema_migrations (version uint64, dirty bool); INSERT INTO schema_migrations VALUES (1, false)"
    )
}

#[test]
fn five_replicas_migrate_once_and_all_end_with_0() {
    let Some(_) = program("sqlite3", "sqlite3") else { return };
    for _ in 0..10 {
        let pod = PodDir::new();
        let (file, script) = (pod.join("app.db"), script(&pod));
        let replicas: Vec<_> =
            (0..5).map(|_| migrate(&file, &["--at", "1", "--", "sh", "-c", &script]).spawn()).collect();
        for replica in &replicas {
            replica.wait_exit().expect_code(0);
        }
        assert_eq!(pod.lines("runs"), ["run"]);
        migrate(&file, &["--at", "1", "--", "sh", "-c", &script])
            .run()
            .expect_code(0)
            .expect_stderr("nothing to migrate");
    }
}

#[test]
fn without_a_gate_every_replica_runs_in_turn() {
    let pod = PodDir::new();
    let file = pod.join("app.db");
    let script = format!("echo begin >> {0}; sleep 0.3; echo end >> {0}", pod.join("log").display());
    let replicas: Vec<_> = (0..4).map(|_| migrate(&file, &["--", "sh", "-c", &script]).spawn()).collect();
    for replica in &replicas {
        replica.wait_exit().expect_code(0);
    }
    let lines = pod.lines("log");
    assert_eq!(lines.len(), 8);
    assert!(lines.chunks(2).all(|pair| pair == ["begin", "end"]), "{lines:?}");
}

#[test]
fn a_killed_holder_leaves_no_lock_and_a_lost_one_is_86() {
    let pod = PodDir::new();
    let file = pod.join("app.db");
    let holder = migrate(&file, &["--", "sh", "-c", "echo up; exec sleep 600"]).spawn();
    holder.wait_line(Stream::Stdout, "up", |line| line == "up");
    migrate(&file, &["--lock-timeout", "300ms", "--", "true"]).run().expect_code(83);
    migrate(&file, &["--lock-name", "other", "--", "true"]).run().expect_code(0);
    let second =
        migrate(&file, &["--", "sh", "-c", "echo up; trap 'exit 0' TERM; while :; do sleep 0.05; done"])
            .spawn();
    second.wait_log("it waits", |line| line["message"] == "another replica holds the lock");
    holder.sigkill();
    second.wait_line(Stream::Stdout, "up", |line| line == "up");
    std::fs::remove_file(pod.join("app.db.init-waitfor.lock")).unwrap();
    second.wait_exit().expect_code(86).expect_stderr("removed or replaced");
}

#[test]
fn a_directory_that_is_not_there_yet_is_waited_for() {
    let pod = PodDir::new();
    let file = pod.join("volume/app.db");
    migrate(&file, &["--timeout", "400ms", "--", "true"])
        .run()
        .expect_code(124)
        .expect_stderr("its directory must be there");
    let wait = migrate(&file, &["--max-interval", "200ms", "--", "true"]).spawn();
    wait.wait_log("it waits", |line| line["reason"].as_str().unwrap_or("").contains("lock file"));
    pod.mkdir("volume");
    wait.wait_exit().expect_code(0);
    eventually("the lock file", || pod.join("volume/app.db.init-waitfor.lock").exists().then_some(()));
}
