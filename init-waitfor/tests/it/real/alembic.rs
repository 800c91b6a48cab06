//! Alembic, from PyPI: the table holds heads only, the directory holds the graph.

use std::path::Path;

use testkit::Proc;

use super::{Base, Engine, python, run};

const INI: &str = "[alembic]\nscript_location = %(here)s/migrations\n";
const ENV: &str = r#"
import os
from alembic import context
from sqlalchemy import create_engine
with create_engine(os.environ["DATABASE_URL"]).connect() as connection:
    context.configure(connection=connection, target_metadata=None)
    with context.begin_transaction():
        context.run_migrations()
"#;

fn revision(site: &Path, id: &str, down: &str, more: &str) {
    let text = format!(
        "\"\"\"of a test\n\nRevision ID: {id}\n\"\"\"\nfrom typing import Sequence, Union\nfrom alembic import op\n\nrevision: str = '{id}'\n\
         down_revision: Union[str, Sequence[str], None] = {down}\n{more}\n\n\ndef upgrade() -> None:\n    op.execute('CREATE TABLE t_{id} (a INT)')\n\n\ndef downgrade() -> None:\n    op.execute('DROP TABLE t_{id}')\n"
    );
    std::fs::write(site.join(format!("migrations/versions/{id}_x.py")), text).unwrap();
}

#[test]
fn heads_branches_and_merges() {
    let Some(python) = python() else { return };
    for base in Base::each("alembic", &[Engine::Postgres, Engine::MariaDb, Engine::Sqlite]) {
        base.pod.write("site/alembic.ini", INI);
        base.pod.write("site/migrations/env.py", ENV);
        let site = base.pod.join("site");
        base.pod.mkdir("site/migrations/versions");
        revision(&site, "aaa111", "None", "");
        revision(&site, "bbb222", "'aaa111'", "");
        revision(&site, "ccc333", "'aaa111'", "");
        let url = base.tool_url("postgresql+psycopg2", "mysql+pymysql", "sqlite:///");
        let alembic = |args: &[&str]| {
            run(Proc::new(&python)
                .args(["-m", "alembic"])
                .args(args)
                .current_dir(&site)
                .env("DATABASE_URL", &url))
        };
        let dir = format!("dir: {}", site.display());
        base.ask(&[(dir.clone(), "not yet", "nothing applied yet")]);
        alembic(&["upgrade", "bbb222"]);
        base.ask(&[
            ("at: bbb222".into(), "ready", "alembic is at bbb222"),
            ("at: bbb".into(), "ready", "alembic is at bbb222"),
            ("at: ccc333".into(), "not yet", "is at bbb222"),
            (dir.clone(), "not yet", "2 of 3 revisions"),
            (format!("{dir}, at_least: aaa111"), "ready", "is at bbb222"),
            (format!("{dir}, at_least: ccc333"), "not yet", "wanted at least ccc333"),
        ]);
        // Two heads at once: one row for each.
        alembic(&["upgrade", "heads"]);
        base.ask(&[
            (dir.clone(), "ready", "all 3 revisions"),
            (format!("{dir}, at_least: ccc333"), "ready", "ccc333"),
        ]);
        revision(&site, "ddd444", "('bbb222', 'ccc333')", "");
        base.ask(&[(dir.clone(), "not yet", "3 of 4 revisions")]);
        alembic(&["upgrade", "head"]);
        base.ask(&[
            (dir.clone(), "ready", "is at ddd444, all 4 revisions"),
            ("at: ddd444".into(), "ready", "ddd444"),
        ]);
        // A branch of its own that another one depends on.
        revision(&site, "eee555", "None", "branch_labels = ('side',)");
        revision(&site, "fff666", "'ddd444'", "depends_on: Union[str, Sequence[str], None] = 'eee555'");
        base.ask(&[(dir.clone(), "not yet", "4 of 6 revisions")]);
        alembic(&["upgrade", "fff666"]);
        base.ask(&[(dir.clone(), "ready", "all 6 revisions")]);
        // The image of yesterday.
        std::fs::remove_file(site.join("migrations/versions/fff666_x.py")).unwrap();
        base.ask(&[
            (dir.clone(), "failed", "is at fff666"),
            (format!("{dir}, allow_ahead: true"), "ready", "allowed"),
        ]);
    }
}
