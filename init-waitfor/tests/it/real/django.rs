//! Django, from PyPI: its table, its graph of migrations, and five replicas that start at once.

use std::path::{Path, PathBuf};

use testkit::{PodDir, Proc};

use super::{Base, Engine, python, run};
use crate::servers::{MariaDb, Postgres};
use crate::waitfor;

const SETTINGS: &str = r#"
import os
from urllib.parse import urlsplit, unquote
url = urlsplit(os.environ["DATABASE_URL"])
kinds = {"postgres": "postgresql", "mysql": "mysql", "sqlite": "sqlite3"}
if url.scheme == "mysql":
    import pymysql
    pymysql.version_info = (2, 2, 7, "final", 0)
    pymysql.install_as_MySQLdb()
DATABASES = {"default": {
    "ENGINE": "django.db.backends." + kinds[url.scheme],
    "NAME": url.path if url.scheme == "sqlite" else url.path[1:],
    "USER": url.username, "PASSWORD": unquote(url.password or ""), "HOST": url.hostname, "PORT": url.port,
}}
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "shop"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
SECRET_KEY = "of a test"
"#;

/// As `startproject` makes it, and it counts its runs.
const MANAGE: &str = r#"
import os, sys
if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
    if "RUNS" in os.environ:
        open(os.environ["RUNS"], "a").write("run\n")
    from django.core.management import execute_from_command_line
    execute_from_command_line(sys.argv)
"#;

fn migration(dependencies: &str, operations: &str) -> String {
    format!(
        "from django.db import migrations, models\n\n\nclass Migration(migrations.Migration):\n    dependencies = [{dependencies}]\n\n    operations = [\n        {operations}\n    ]\n"
    )
}

/// A project with an app `shop` of two migrations, the second of which takes its time.
fn project(pod: &PodDir) -> PathBuf {
    pod.write("site/manage.py", MANAGE);
    pod.write("site/settings.py", SETTINGS);
    pod.write("site/shop/__init__.py", "");
    pod.write("site/shop/models.py", "");
    pod.write("site/shop/migrations/__init__.py", "");
    pod.write(
        "site/shop/migrations/0001_initial.py",
        migration("", "migrations.CreateModel(name='Order', fields=[('id', models.BigAutoField(primary_key=True)), ('name', models.CharField(max_length=9))]),"),
    );
    pod.write(
        "site/shop/migrations/0002_more.py",
        migration(
            "('shop', '0001_initial')",
            "migrations.RunPython(lambda apps, editor: __import__('time').sleep(0.3)),\n        migrations.AddField('Order', 'paid', models.BooleanField(default=False)),",
        ),
    );
    pod.join("site")
}

fn manage(python: &Path, site: &Path, url: &str, args: &[&str]) -> Proc {
    Proc::new(python).arg("manage.py").args(args).current_dir(site).env("DATABASE_URL", url)
}

/// IFRCGo/go-api#1926, johnpooch/diplicity-react#995 (DuplicateTable when replicas migrate at once), ory/k8s#247, nautobot/helm-charts#744.
fn five_replicas(python: &Path, site: &Path, url: &str) {
    let pod = PodDir::new();
    let replica = || {
        waitfor()
            .env("WAITFOR_DB", url)
            .env("DATABASE_URL", url)
            .env("RUNS", pod.join("runs"))
            .current_dir(site)
            .args(["migrate", "--attempt-timeout", "20s", "--dir", ".", "--"])
            .arg(python)
            .args(["manage.py", "migrate"])
    };
    let replicas: Vec<_> = (0..5).map(|_| replica().spawn()).collect();
    for replica in &replicas {
        replica.wait_exit().expect_code(0);
    }
    assert_eq!(pod.lines("runs"), ["run"]);
    // The next deployment with the same migrations.
    replica().run().expect_code(0).expect_stderr("nothing to migrate");
    assert_eq!(pod.lines("runs"), ["run"]);
}

const ONCE: &str = "SELECT CASE WHEN count(*) > 10 AND count(*) = count(DISTINCT concat(app, '.', name)) THEN 'once' ELSE 'twice' END FROM django_migrations";

#[test]
fn five_replicas_on_an_empty_postgres_ten_times() {
    let (Some(python), Some(server)) = (python(), Postgres::shared()) else { return };
    let pod = PodDir::new();
    let site = project(&pod);
    for round in 0..10 {
        let name = format!("dj_five{round}");
        five_replicas(&python, &site, &server.database(&name));
        assert_eq!(server.sql(&name, ONCE), "once");
        assert_eq!(server.sql(&name, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"), "0");
    }
}

#[test]
fn five_replicas_on_an_empty_mariadb_ten_times() {
    let (Some(python), Some(server)) = (python(), MariaDb::shared()) else { return };
    let pod = PodDir::new();
    let site = project(&pod);
    for round in 0..10 {
        let name = format!("dj_five{round}");
        five_replicas(&python, &site, &server.database(&name));
        assert_eq!(server.sql(&name, ONCE), "once");
    }
}

#[test]
fn five_replicas_on_sqlite() {
    let Some(python) = python() else { return };
    let pod = PodDir::new();
    let site = project(&pod);
    for round in 0..3 {
        five_replicas(&python, &site, &format!("sqlite://{}", pod.join(format!("db{round}")).display()));
    }
}

#[test]
fn behind_at_and_ahead_by_the_graph_on_postgres() {
    behind_at_and_ahead(Engine::Postgres);
}

#[test]
fn behind_at_and_ahead_by_the_graph_on_mariadb() {
    behind_at_and_ahead(Engine::MariaDb);
}

#[test]
fn behind_at_and_ahead_by_the_graph_on_sqlite() {
    behind_at_and_ahead(Engine::Sqlite);
}

fn behind_at_and_ahead(engine: Engine) {
    let (Some(python), Some(base)) = (python(), Base::new("dj_states", engine)) else { return };
    let site = project(&base.pod);
    let url = base.tool_url("postgres", "mysql", "sqlite://");
    let migrate = |args: &[&str]| run(manage(&python, &site, &url, args));
    let dir = format!("dir: {}", site.display());
    base.ask(&[(dir.clone(), "not yet", "nothing applied yet")]);
    migrate(&["migrate", "shop", "0001"]);
    base.ask(&[
        (dir.clone(), "not yet", "has 1 of 2, next is shop.0002_more"),
        ("at: shop.0001_initial".into(), "ready", "django is at shop.0001_initial"),
        ("at_least: shop.0002_more".into(), "not yet", "wanted at least"),
    ]);
    migrate(&["migrate"]);
    base.ask(&[
        (dir.clone(), "ready", "django has all 2"),
        ("at: shop.0001_initial".into(), "failed", "is at shop.0002_more"),
        ("at_least: shop.0001_initial".into(), "ready", "has shop.0001_initial"),
        ("at_least: auth.0012_alter_user_first_name_max_length".into(), "ready", "has auth.0012"),
    ]);
    branches_and_squashes(&base, &site, &migrate);
    // Back again: an old image sees a newer schema.
    let merge = site.join("shop/migrations/0003_merge.py");
    let text = std::fs::read(&merge).unwrap();
    std::fs::remove_file(&merge).unwrap();
    base.ask(&[
        (dir.clone(), "failed", "shop.0003_merge"),
        (format!("{dir}, allow_ahead: true"), "ready", "allowed"),
    ]);
    std::fs::write(&merge, text).unwrap();
    migrate_check_agrees(&base, &python, &site, &url);
}

/// Two branches of an app, their merge, and a squash of what was applied before.
fn branches_and_squashes(base: &Base, site: &Path, migrate: &dyn Fn(&[&str]) -> testkit::Exited) {
    let dir = format!("dir: {}", site.display());
    let write =
        |name: &str, text: String| std::fs::write(site.join("shop/migrations").join(name), text).unwrap();
    write("0002_other.py", migration("('shop', '0001_initial')", "migrations.RunSQL('SELECT 1'),"));
    write("0003_merge.py", migration("('shop', '0002_more'), ('shop', '0002_other')", ""));
    base.ask(&[
        (dir.clone(), "not yet", "has 2 of 4, next is shop.0002_other"),
        // By its name it would come before 0002_other; the graph knows that it does not.
        (format!("{dir}, at_least: shop.0002_other"), "not yet", "wanted at least shop.0002_other"),
    ]);
    migrate(&["migrate"]);
    base.ask(&[
        (dir.clone(), "ready", "has all 4"),
        (format!("{dir}, at_least: shop.0002_other"), "ready", "has shop.0002_other"),
        (format!("{dir}, at_least: shop.0001_initial"), "ready", "has shop.0001_initial"),
    ]);
    // A squash of the first two: done, though its own row is not there (Django writes it at the next migrate).
    let squash = migration("", "").replace(
        "    dependencies",
        "    replaces = [\n        ('shop', '0001_initial'),\n        ('shop', '0002_more'),\n    ]\n\n    dependencies",
    );
    write("0001_squashed_0002_more.py", squash);
    base.ask(&[(dir.clone(), "ready", "has all 3")]);
    std::fs::remove_file(site.join("shop/migrations/0001_squashed_0002_more.py")).unwrap();
    base.ask(&[(dir, "ready", "has all 4")]);
}

/// Django's own word: `migrate --check` ends with 1 when something is to do. (prisma/orm#26306: it ends with 1 as well when the database
/// is not there, so that nobody can tell; ours are 81 and 124.)
fn migrate_check_agrees(base: &Base, python: &Path, site: &Path, url: &str) {
    manage(python, site, url, &["migrate", "--check"]).run().expect_code(0);
    std::fs::write(site.join("shop/migrations/0004_next.py"), migration("('shop', '0003_merge')", ""))
        .unwrap();
    manage(python, site, url, &["migrate", "--check"]).run().expect_code(1);
    base.ask(&[(format!("dir: {}", site.display()), "not yet", "next is shop.0004_next")]);
    let nowhere = match base.engine {
        Engine::Sqlite => "sqlite:///nonexistent/app.db".to_owned(),
        _ => url.replace(&base.port.to_string(), "1"),
    };
    manage(python, site, &nowhere, &["migrate", "--check"]).run().expect_code(1);
}
