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

/// pressly/goose#191, sqlalchemy/alembic#633, amacneil/dbmate#596: replicas that migrate at once. With real Django: `real/django.rs`.
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
        // Other tests have theirs, in other databases.
        let held = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
                    WHERE l.locktype = 'advisory' AND d.datname = current_database()";
        assert_eq!(server.sql(&name, held), "0");
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
    eventually("the first command is dead", || ended(&pid).then_some(()));
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

/// flyway/flyway#1654, #3497, #3682, #3854; golang-migrate/migrate#960; hexpm/hexpm#1817; ThomWright/postgres-migrations#36.
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

/// A shell that dies of SIGTERM leaves its migration running, which then runs without the lock.
#[test]
fn a_lost_lock_ends_what_the_command_has_started() {
    let Some(server) = Postgres::shared() else { return };
    let (pod, url) = (PodDir::new(), server.database("r_tree"));
    let pid = pod.join("pid");
    // In a session of its own, deaf to SIGTERM.
    let inner = format!(
        "trap '' TERM; echo $$ > {0}.new; mv {0}.new {0}; while :; do sleep 0.05; done",
        pid.display()
    );
    let script = format!("setsid sh -c \"{}\" & wait", inner.replace('$', "\\$"));
    let run = migrate(&url, &["--", "sh", "-c", &script]).spawn();
    eventually("the command runs", || pid.exists().then_some(()));
    let holder = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'r_tree' AND application_name LIKE 'init-waitfor/%'";
    assert_eq!(server.sql("postgres", holder), "t");
    run.wait_exit().expect_code(86);
    let pid = pod.lines("pid").remove(0);
    assert!(!Path::new("/proc").join(&pid).exists() || ended(&pid), "{pid} lives");
}

fn ended(pid: &str) -> bool {
    !std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// In a container init-waitfor is process 1: whatever the command has started dies with it, and the lock is free.
/// (liquibase/liquibase#1311, knex/knex#1217 and others: rows of locks that outlive a killed pod.)
#[test]
fn a_killed_pod_leaves_nothing_behind() {
    let Some(server) = Postgres::shared() else { return };
    if Proc::new("unshare").args(["--pid", "--fork", "true"]).run().code() != Some(0) {
        testkit::skip_or_fail("a killed pod: unshare --pid is not allowed here");
        return;
    }
    let (pod, url) = (PodDir::new(), server.database("r_pod"));
    let beat = pod.join("beat");
    let script = format!("setsid sh -c 'while :; do echo x >> {}; sleep 0.05; done' & wait", beat.display());
    let run = Proc::new("unshare")
        .args([
            "--pid",
            "--fork",
            "--kill-child",
            env!("CARGO_BIN_EXE_init-waitfor"),
            "migrate",
            "--",
            "sh",
            "-c",
            &script,
        ])
        .env("WAITFOR_DB", &url)
        .spawn();
    eventually("the command's child works", || (pod.lines("beat").len() > 2).then_some(()));
    run.sigkill();
    // The next pod.
    migrate(&url, &["--lock-timeout", "20s", "--", "true"]).run().expect_code(0);
    assert_eq!(server.sql("r_pod", "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"), "0");
    let beats = eventually("it has stopped", || {
        let before = pod.lines("beat").len();
        std::thread::sleep(std::time::Duration::from_millis(500));
        (pod.lines("beat").len() == before).then_some(before)
    });
    assert!(beats > 2);
}

/// roerohan/wait-for-it#8, clarketm/wait-for-it#3 (the command's own code), jwilder/dockerize#12 and #126 (signals).
#[test]
fn streams_and_process_group_are_the_callers() {
    let Some(server) = MariaDb::shared() else { return };
    let url = server.database("r_streams");
    let run =
        migrate(&url, &["--", "sh", "-c", "cut -d' ' -f5 /proc/$$/stat; cat; exit 3"]).with_stdin().spawn();
    let group = std::fs::read_to_string(format!("/proc/{}/stat", run.pid())).unwrap();
    let group = group.rsplit(')').next().unwrap().split_whitespace().nth(2).unwrap().to_owned();
    run.wait_line(Stream::Stdout, "our process group", |line| line == group);
    run.write_stdin("through stdin\n");
    run.wait_line(Stream::Stdout, "what was sent", |line| line == "through stdin");
    run.close_stdin();
    run.wait_exit().expect_code(3);
    // Signals beside SIGTERM go on, too.
    for (name, signal) in [
        ("HUP", rustix::process::Signal::HUP),
        ("USR1", rustix::process::Signal::USR1),
        ("QUIT", rustix::process::Signal::QUIT),
    ] {
        let script = format!("trap 'exit 9' {name}; echo up; while :; do sleep 0.05; done");
        let run = migrate(&url, &["--", "sh", "-c", &script]).spawn();
        run.wait_line(Stream::Stdout, "up", |line| line == "up");
        run.signal(signal);
        run.wait_exit().expect_code(9);
    }
}

/// A replica that fails does not spoil it for the others: the next one runs it again. (Rails' own lock fails the losers at once:
/// DFE-Digital/apply-for-teacher-training#1058, Freika/dawarich#3429.)
#[test]
fn a_run_that_died_is_repeated() {
    let Some(server) = Postgres::shared() else { return };
    let (pod, url) = (PodDir::new(), server.database("r_again"));
    let good = script(server, "r_again", &pod.join("runs"));
    let script =
        format!("mkdir {} 2>/dev/null && {{ sleep 0.3; kill -9 $$; }}; {good}", pod.join("first").display());
    let replicas: Vec<_> =
        (0..4).map(|_| migrate(&url, &["--at", "1", "--", "sh", "-c", &script]).spawn()).collect();
    let mut codes: Vec<_> = replicas.iter().map(|replica| replica.wait_exit().code()).collect();
    codes.sort();
    assert_eq!(codes, [Some(0), Some(0), Some(0), Some(137)]);
    assert_eq!(pod.lines("runs"), ["run"]);
}

/// Each layer has its own code, so that a Job's `podFailurePolicy` can tell them apart (prisma/orm#26306).
#[test]
fn the_gates_codes_before_and_after_the_command() {
    let Some(server) = Postgres::shared() else { return };
    let url = server.database("r_gate");
    let never = ["--", "sh", "-c", "echo it ran"];
    let case = |sql: &str, goal: [&str; 2], code: i32, word: &str| {
        server.sql("r_gate", sql);
        let done = migrate(&url, &goal).args(never).run();
        done.expect_code(code).expect_stderr(word);
        assert!(!done.stdout().contains("it ran"), "{}", done.stdout());
    };
    let make = "CREATE TABLE schema_migrations (version bigint PRIMARY KEY, dirty boolean NOT NULL); INSERT INTO schema_migrations VALUES (7, false)";
    case(make, ["--at", "7"], 0, "nothing to migrate");
    case("SELECT 1", ["--at", "6"], 82, "is at 7, wanted 6");
    case("UPDATE schema_migrations SET dirty = true", ["--at", "8"], 80, "repair it by hand");
    server.sql("r_gate", "UPDATE schema_migrations SET dirty = false");
    migrate(&url, &["--at", "8", "--", "true"])
        .run()
        .expect_code(81)
        .expect_stderr("ended with 0, but golang-migrate is at 7");
    let too_far = format!(
        "PGPASSWORD='{}' psql -h 127.0.0.1 -p {} -U postgres -d r_gate -qc 'UPDATE schema_migrations SET version = 9'",
        crate::servers::PASSWORD,
        server.port
    );
    migrate(&url, &["--at", "8", "--", "sh", "-c", &too_far]).run().expect_code(82);
    let dirty = too_far.replace("version = 9", "dirty = true");
    migrate(&url, &["--at", "10", "--", "sh", "-c", &dirty]).run().expect_code(80);
}

/// `GET_LOCK` that was killed gives NULL or an error: neither is a lock. (sqlx on MariaDB takes the NULL of a negative timeout for one.)
#[test]
fn a_lock_that_could_not_be_tried_is_not_held() {
    let Some(server) = MariaDb::shared() else { return };
    let url = server.database("r_null");
    let holder = migrate(&url, &["--", "sh", "-c", "echo up; sleep 600"]).spawn();
    holder.wait_line(Stream::Stdout, "up", |line| line == "up");
    let waiting = migrate(&url, &["--max-interval", "200ms", "--", "echo", "second"]).spawn();
    waiting.wait_log("it waits", |line| line["message"] == "another replica holds the lock");
    let asking =
        "SELECT id FROM information_schema.processlist WHERE db = 'r_null' AND info LIKE 'SELECT GET_LOCK%'";
    let mut killed = 0;
    eventually("three questions are killed", || {
        let id = server.sql("", asking);
        if let Some(id) = id.lines().next()
            && server.try_sql("", &format!("KILL QUERY {id}")).is_ok()
        {
            killed += 1;
        }
        (killed >= 3).then_some(())
    });
    assert!(waiting.lines(Stream::Stdout).is_empty());
    holder.sigkill();
    waiting.wait_exit().expect_code(0).expect_stdout("second");
}

/// prisma/web#1596, prisma/orm#27636, #8038; rails/rails#31190, #32622: advisory locks through PgBouncer hold nothing, or leak.
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

/// CockroachDB has the function and no lock behind it; here a function of that name stands before PostgreSQL's own.
#[test]
fn a_lock_that_is_none_is_refused() {
    let Some(server) = Postgres::shared() else { return };
    let url = server.database("r_none");
    server.sql("r_none", "CREATE SCHEMA fake; CREATE FUNCTION fake.pg_try_advisory_lock(bigint) RETURNS boolean LANGUAGE sql AS 'SELECT true'");
    let url = format!("{url}?options=-c%20search_path%3Dfake,pg_catalog");
    let done = migrate(&url, &["--", "echo", "ran"]).run();
    done.expect_code(87).expect_stderr("holds none");
    assert_eq!(done.stdout(), "");
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
