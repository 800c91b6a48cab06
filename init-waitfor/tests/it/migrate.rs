//! The migration runner: once for all replicas, whatever dies in between.

use std::path::Path;

use testkit::{PodDir, Proc, Stream, eventually};

use crate::servers::{MariaDb, Postgres, directory, free_port, give, listening, program, start};
use crate::waitfor;

fn migrate(url: &str, args: &[&str]) -> Proc {
    waitfor().env("WAITFOR_DB", url).args(["migrate", "--attempt-timeout", "20s"]).args(args)
}

/// A shell command that makes golang-migrate's table and counts its runs. It takes its time, so that a second one would overlap.
fn script(server: &Postgres, database: &str, runs: &Path) -> String {
    format!(
        "set -e; export PGPASSWORD='{}'; echo run >> {}; sleep 0.5; psql -h 127.0.0.1 -p {} -U postgres -d {database} -q -v ON_ERROR_STOP=1 \
         -c 'CREATE TABLE schema_migrations (version bigint PRIMARY KEY, dirty boolean NOT NULL); INSERT INTO schema_migrations VALUES (1, false)'",
        crate::servers::PASSWORD,
        runs.display(),
        server.port
    )
}

#[test]
fn five_replicas_migrate_once_and_all_end_with_0() {
    let Some(server) = Postgres::shared() else { return };
    for round in 0..3 {
        let (pod, name) = (PodDir::new(), format!("r_five{round}"));
        let url = server.database(&name);
        let script = script(server, &name, &pod.join("runs"));
        let replicas: Vec<_> =
            (0..5).map(|_| migrate(&url, &["--at", "1", "--", "sh", "-c", &script]).spawn()).collect();
        for replica in &replicas {
            replica.wait_exit().expect_code(0);
        }
        assert_eq!(pod.lines("runs"), ["run"]);
        // Later replicas find it done.
        migrate(&url, &["--at", "1", "--", "sh", "-c", &script])
            .run()
            .expect_code(0)
            .expect_stderr("nothing to migrate");
        assert_eq!(pod.lines("runs"), ["run"]);
        assert_eq!(server.sql(&name, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"), "0");
    }
}

#[test]
fn without_a_gate_every_replica_runs_in_turn() {
    let Some(server) = MariaDb::shared() else { return };
    let (pod, url) = (PodDir::new(), server.database("r_turns"));
    let log = pod.join("log");
    let script = format!("echo begin >> {0}; sleep 0.3; echo end >> {0}", log.display());
    let replicas: Vec<_> = (0..4).map(|_| migrate(&url, &["--", "sh", "-c", &script]).spawn()).collect();
    for replica in &replicas {
        replica.wait_exit().expect_code(0);
    }
    let lines = pod.lines("log");
    assert_eq!(lines.len(), 8);
    assert!(lines.chunks(2).all(|pair| pair == ["begin", "end"]), "{lines:?}");
}

#[test]
fn a_killed_holder_takes_its_command_along_and_the_next_one_goes_on() {
    let Some(server) = Postgres::shared() else { return };
    let (pod, url) = (PodDir::new(), server.database("r_killed"));
    let pid = pod.join("pid");
    let script = format!("echo $$ >> {}; exec sleep 600", pid.display());
    let first = migrate(&url, &["--", "sh", "-c", &script]).spawn();
    eventually("the command runs", || (pod.lines("pid").len() == 1).then_some(()));
    let second = migrate(&url, &["--", "echo", "second"]).spawn();
    second.wait_log("it waits", |line| line["message"] == "another replica holds the lock");
    first.sigkill();
    second.wait_exit().expect_code(0).expect_stdout("second");
    let pid = pod.lines("pid").remove(0);
    eventually("the first command is dead", || {
        let alive =
            std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
        (!alive).then_some(())
    });
}

#[test]
fn a_lost_lock_ends_the_command_with_86() {
    let Some(server) = Postgres::shared() else { return };
    let (pod, url) = (PodDir::new(), server.database("r_lost"));
    let script = format!(
        "trap 'echo term > {}; exit 0' TERM; echo up; while :; do sleep 0.05; done",
        pod.join("mark").display()
    );
    let run = migrate(&url, &["--", "sh", "-c", &script]).spawn();
    run.wait_line(Stream::Stdout, "the command is up", |line| line == "up");
    let holder = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'r_lost' AND application_name LIKE 'init-waitfor/%'";
    assert_eq!(server.sql("postgres", holder), "t");
    run.wait_exit().expect_code(86).expect_stderr("the session that held the lock died");
    assert_eq!(pod.lines("mark"), ["term"]);
}

#[test]
fn the_commands_code_signals_and_streams_pass_through() {
    let Some(server) = Postgres::shared() else { return };
    let url = server.database("r_codes");
    migrate(&url, &["--", "sh", "-c", "echo out; echo err >&2; exit 7"])
        .run()
        .expect_code(7)
        .expect_stdout("out")
        .expect_stderr("err");
    migrate(&url, &["--", "sh", "-c", "kill -9 $$"]).run().expect_code(137);
    migrate(&url, &["--", "/nonexistent/tool"]).run().expect_code(127);
    let run = migrate(&url, &["--", "sh", "-c", "trap 'exit 5' TERM; echo up; while :; do sleep 0.05; done"])
        .spawn();
    run.wait_line(Stream::Stdout, "up", |line| line == "up");
    run.sigterm();
    run.wait_exit().expect_code(5);
    // It ended with 0 and did nothing.
    migrate(&url, &["--at", "1", "--", "true"]).run().expect_code(81).expect_stderr("ended with 0, but");
}

#[test]
fn a_lock_that_stays_taken_is_83_and_sigterm_while_waiting_143() {
    let Some(server) = MariaDb::shared() else { return };
    let url = server.database("r_timeout");
    let holder = migrate(&url, &["--", "sh", "-c", "echo up; sleep 600"]).spawn();
    holder.wait_line(Stream::Stdout, "up", |line| line == "up");
    migrate(&url, &["--lock-timeout", "500ms", "--", "true"])
        .run()
        .expect_code(83)
        .expect_stderr("--lock-timeout");
    // Another name is another lock.
    migrate(&url, &["--lock-name", "other", "--", "true"]).run().expect_code(0);
    let waiting = migrate(&url, &["--", "true"]).spawn();
    waiting.wait_log("it waits", |line| line["message"] == "another replica holds the lock");
    waiting.sigterm();
    waiting.wait_exit().expect_code(143);
    holder.sigterm();
    holder.wait_exit().expect_code(143);
}

#[test]
fn a_waiting_replica_does_not_hold_up_create_index_concurrently() {
    let Some(server) = Postgres::shared() else { return };
    let url = server.database("r_cic");
    server.sql("r_cic", "CREATE TABLE t (a int)");
    let script = format!(
        "echo up; sleep 1; PGPASSWORD='{}' psql -h 127.0.0.1 -p {} -U postgres -d r_cic -q -v ON_ERROR_STOP=1 -c \"SET statement_timeout = '20s'\" -c 'CREATE INDEX CONCURRENTLY i ON t (a)'",
        crate::servers::PASSWORD,
        server.port
    );
    let holder = migrate(&url, &["--", "sh", "-c", &script]).spawn();
    holder.wait_line(Stream::Stdout, "up", |line| line == "up");
    let waiting: Vec<_> = (0..3).map(|_| migrate(&url, &["--", "true"]).spawn()).collect();
    holder.wait_exit().expect_code(0);
    for replica in waiting {
        replica.wait_exit().expect_code(0);
    }
    assert_eq!(server.sql("r_cic", "SELECT indisvalid FROM pg_index WHERE indexrelid = 'i'::regclass"), "t");
}

#[test]
fn a_transaction_pooler_is_refused_with_87() {
    let (Some(server), Some(pgbouncer)) = (Postgres::shared(), program("pgbouncer", "pgbouncer")) else {
        return;
    };
    server.database("r_pooled");
    let dir = directory("postgres");
    let port = free_port();
    let config = format!(
        "[databases]\nr_pooled = host=127.0.0.1 port={} user=postgres password='{}'\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
         auth_type = any\npool_mode = transaction\n",
        server.port,
        crate::servers::PASSWORD
    );
    let file = dir.join("pgbouncer.ini");
    std::fs::write(&file, config).unwrap();
    give(&file, "postgres");
    start("postgres", &pgbouncer, &dir, [file]);
    listening(port);
    let url = format!("postgres://postgres@127.0.0.1:{port}/r_pooled");
    migrate(&url, &["--", "true"]).run().expect_code(87).expect_stderr("pooler");
    // Asking for a version through it is fine.
    waitfor().args(["status", &url]).run().expect_code(0);
}

#[test]
fn wrong_usage_and_an_unreachable_database() {
    migrate("postgres://u:S3cret-pw@127.0.0.1:1/x", &["--timeout", "700ms", "--", "true"])
        .run()
        .expect_code(124)
        .expect_stderr("refused");
    migrate("postgres://u@127.0.0.1:1/x", &[]).run().expect_code(2);
    let Some(server) = Postgres::shared() else { return };
    let url = format!("postgres://postgres:S3cret-pw@127.0.0.1:{}/postgres", server.port);
    let done = migrate(&url, &["--fail-fast", "auth", "--", "true"]).run();
    done.expect_code(84);
    assert!(!done.stderr().contains("S3cret-pw"));
}
