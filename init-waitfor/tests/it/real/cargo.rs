//! sqlx-cli, diesel_cli and refinery_cli. To build them takes minutes, so the usual run reads what they have left in databases (`dumps/`,
//! each with the tool's version and the command), and `cargo xtask test --full` runs them.

use std::path::PathBuf;

use testkit::{Proc, skip_or_fail};

use super::{Base, Engine, run, xtask};

/// What differs between the three.
struct Tool {
    name: &'static str,
    /// Two migrations that the tool applies, and one that is not there yet.
    files: [&'static str; 2],
    next: &'static str,
    versions: [&'static str; 3],
    /// (engine, what the tool has left after both)
    dumps: [(Engine, &'static str); 3],
}

const TOOLS: [Tool; 3] = [
    Tool {
        name: "sqlx",
        files: ["20260101000000_first.sql", "20260201000000_second.sql"],
        next: "20260301000000_third.sql",
        versions: ["20260101000000", "20260201000000", "20260301000000"],
        dumps: [
            (Engine::Postgres, include_str!("dumps/sqlx-postgres.sql")),
            (Engine::MariaDb, include_str!("dumps/sqlx-mariadb.sql")),
            (Engine::Sqlite, include_str!("dumps/sqlx-sqlite.sql")),
        ],
    },
    Tool {
        name: "diesel",
        files: ["2026-01-01-000000_first/up.sql", "2026-02-01-000000_second/up.sql"],
        next: "2026-03-01-000000_third/up.sql",
        versions: ["20260101000000", "20260201000000", "20260301000000"],
        dumps: [
            (Engine::Postgres, include_str!("dumps/diesel-postgres.sql")),
            (Engine::MariaDb, include_str!("dumps/diesel-mariadb.sql")),
            (Engine::Sqlite, include_str!("dumps/diesel-sqlite.sql")),
        ],
    },
    Tool {
        name: "refinery",
        files: ["V1__first.sql", "V2__second.sql"],
        next: "V3__third.sql",
        versions: ["1", "2", "3"],
        dumps: [
            (Engine::Postgres, include_str!("dumps/refinery-postgres.sql")),
            (Engine::MariaDb, include_str!("dumps/refinery-mariadb.sql")),
            (Engine::Sqlite, include_str!("dumps/refinery-sqlite.sql")),
        ],
    },
];

impl Tool {
    fn write(&self, base: &Base, count: usize) -> PathBuf {
        for (file, table) in self.files.iter().zip(["first", "second"]).take(count) {
            base.pod.write(format!("m/{file}"), format!("CREATE TABLE {table} (a INT);\n"));
        }
        base.pod.join("m")
    }

    /// Both are applied: what the gate says to every question.
    fn states(&self, base: &Base) {
        let dir = self.write(base, 2);
        let wanted = format!("dir: {}", dir.display());
        let [first, second, third] = self.versions;
        base.ask(&[
            (wanted.clone(), "ready", &format!("{} has all 2", self.name)),
            (format!("at: '{second}'"), "ready", &format!("{} is at {second}", self.name)),
            (format!("at: '{first}'"), "failed", "wanted"),
            (format!("at_least: '{first}'"), "ready", "is at"),
            (format!("at_least: '{third}'"), "not yet", "wanted at least"),
        ]);
        base.pod.write(format!("m/{}", self.next), "CREATE TABLE third (a INT);\n");
        base.ask(&[(wanted.clone(), "not yet", "has 2 of 3")]);
        for file in [self.next, self.files[1]] {
            std::fs::remove_file(dir.join(file)).unwrap();
        }
        base.ask(&[(wanted, "failed", "which is not among the 1 known")]);
    }

    /// The real tool applies what is in `m`.
    fn apply(&self, program: &PathBuf, base: &Base) {
        let dir = base.pod.join("m");
        let url = match self.name {
            // A file that is not there is made only on request.
            "sqlx" => {
                base.tool_url("postgres", "mysql", "sqlite://")
                    + if base.engine == Engine::Sqlite { "?mode=rwc" } else { "" }
            }
            _ => base.tool_url("postgres", "mysql", if self.name == "refinery" { "sqlite://" } else { "" }),
        };
        if self.name == "refinery" && base.engine == Engine::Sqlite && !base.pod.join("app.db").exists() {
            // It makes no file.
            base.pod.write("app.db", "");
        }
        let proc = Proc::new(program).env("DATABASE_URL", &url).current_dir(base.pod.path());
        run(match self.name {
            "sqlx" => proc.args(["migrate", "run", "--source"]).arg(dir),
            "diesel" => proc.args(["migration", "run", "--migration-dir"]).arg(dir),
            _ => proc.args(["migrate", "-e", "DATABASE_URL", "-p"]).arg(dir),
        });
    }
}

#[test]
fn what_the_tools_have_left() {
    for tool in &TOOLS {
        for (engine, dump) in tool.dumps {
            let Some(base) = Base::new(&format!("dump_{}", tool.name), engine) else { continue };
            base.ask(&[(format!("at: '{}'", tool.versions[0]), "not yet", "nothing applied yet")]);
            base.sql(dump);
            tool.states(&base);
        }
    }
}

#[test]
#[ignore = "the tools take minutes to build: cargo xtask test --full"]
fn the_tools_themselves() {
    for tool in &TOOLS {
        let program = xtask().join("tools/bin").join(tool.name);
        if !program.exists() {
            skip_or_fail(&format!("no {}: cargo xtask test --full builds it", program.display()));
            return;
        }
        for base in
            Base::each(&format!("cargo_{}", tool.name), &[Engine::Postgres, Engine::MariaDb, Engine::Sqlite])
        {
            let dir = tool.write(&base, 1);
            base.ask(&[(format!("dir: {}", dir.display()), "not yet", "nothing applied yet")]);
            tool.apply(&program, &base);
            base.ask(&[(format!("dir: {}", dir.display()), "ready", "has all 1")]);
            let dir = tool.write(&base, 2);
            base.ask(&[(format!("dir: {}", dir.display()), "not yet", "has 1 of 2")]);
            tool.apply(&program, &base);
            tool.states(&base);
            if tool.name == "sqlx" && base.engine == Engine::MariaDb {
                half_done(&program, &base);
            }
        }
    }
}

/// MariaDB has no transactions for DDL: sqlx leaves a row that has not succeeded. Its command takes no lock, so it might run still.
fn half_done(program: &PathBuf, base: &Base) {
    base.pod.write("m/20260201000000_second.sql", "CREATE TABLE second (a INT);\n");
    base.pod.write("m/20260401000000_bad.sql", "CREATE TABLE half (a INT);\nSELECT nonsense;\n");
    let sqlx = Proc::new(program)
        .env("DATABASE_URL", base.tool_url("postgres", "mysql", ""))
        .args(["migrate", "run", "--source"]);
    assert_ne!(sqlx.arg(base.pod.join("m")).run().code(), Some(0));
    base.ask(&[("at_least: '20260401000000'".to_owned(), "not yet", "running or failed")]);
}
