//! yoyo-migrations, from PyPI.

use testkit::Proc;

use super::{Base, Engine, python, run};

#[test]
fn applied_behind_and_ahead() {
    let Some(python) = python() else { return };
    for base in Base::each("yoyo", &[Engine::Postgres, Engine::MariaDb, Engine::Sqlite]) {
        base.pod.write("m/0001.first.sql", "CREATE TABLE first (a INT)");
        base.pod.write("m/0001.first.rollback.sql", "DROP TABLE first");
        base.pod.write("m/0002.second.py", "from yoyo import step\n__depends__ = {'0001.first'}\nsteps = [step('CREATE TABLE second (a INT)')]\n");
        let url = base.tool_url("postgresql", "mysql", "sqlite:///");
        let dir = base.pod.join("m");
        let apply = |args: &[&str]| {
            let proc = Proc::new(&python).args([
                "-m",
                "yoyo",
                "apply",
                "--batch",
                "--no-config-file",
                "--database",
                &url,
            ]);
            run(proc.args(args).arg(&dir).current_dir(base.pod.path()))
        };
        let wanted = format!("dir: {}", dir.display());
        base.ask(&[(wanted.clone(), "not yet", "nothing applied yet")]);
        apply(&["--revision", "0001.first"]);
        base.ask(&[
            ("at: 0001.first".into(), "ready", "yoyo is at 0001.first"),
            (wanted.clone(), "not yet", "next is 0002.second"),
        ]);
        apply(&[]);
        base.ask(&[
            (wanted.clone(), "ready", "yoyo has all 2"),
            ("at_least: 0001.first".into(), "ready", "yoyo has 0001.first"),
            ("at: 0001.first".into(), "failed", "is at 0002.second"),
        ]);
        std::fs::remove_file(dir.join("0002.second.py")).unwrap();
        base.ask(&[(wanted.clone(), "failed", "0002.second")]);
        // The row that a killed run leaves (there is no session that held it any more).
        base.sql("INSERT INTO yoyo_lock (locked, ctime, pid) VALUES (1, '2026-01-01 10:00:00', 4711)");
        base.ask(&[
            ("at_least: 0003.third".into(), "not yet", "killed pod"),
            ("at_least: 0003.third".into(), "not yet", "held by process 4711 since 2026-01-01 10:00:00"),
        ]);
    }
}
