//! init-waitfor: nobody starts before what it needs is there.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};

use testkit::fake::{FakeHttp, Reply};
use testkit::{PodDir, Proc};

use super::get;
use crate::kubelet::Kubelet;
use crate::postgres::{PASSWORD, Postgres};
use crate::world::World;

pub(crate) fn services() {
    let (world, server) = (World::new(), FakeHttp::start());
    let mut pod = Kubelet::new("wait-for-services.yaml", &world);
    pod.start_with(|name, pod| {
        // Each gate sees its name missing first, and says so; then somebody creates the Service.
        if let Some(service) = name.strip_prefix("init-") {
            pod.wait_stderr(name, "NXDOMAIN");
            world.service(service, 80, server.addr());
        }
    });
    pod.assert_start_order();
    assert_eq!((pod.starts("init-myservice"), pod.starts("init-mydb"), pod.starts("app")), (1, 1, 1));
    pod.stop();
    pod.assert_end_order();
}

pub(crate) fn fetch() {
    let site = Arc::new(Mutex::new(archive("first")));
    let served = Arc::clone(&site);
    let server = FakeHttp::with(move |request| match request.path() {
        "/web.conf" => Reply::new(200, "server { listen 8080; root /content/site; }\n"),
        "/site.tar.gz" => Reply::new(200, &*served.lock().unwrap()),
        _ => Reply::new(404, ""),
    });
    let world = World::new();
    world.service("content", 80, server.addr());
    // Nobody has the content yet: the pod waits for it.
    server.down();
    let mut pod = Kubelet::new("fetch-content.yaml", &world);
    pod.start_with(|name, pod| {
        if name == "conf" {
            pod.wait_stderr(name, "not yet");
            server.up();
        }
    });
    pod.assert_start_order();
    let mode =
        std::fs::metadata(pod.volumes.path("conf").join("web.conf")).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    assert_eq!(get(8080, "/").text(), "first");
    // A new version appears whole; a server that is gone changes nothing.
    *site.lock().unwrap() = archive("second");
    pod.until("the second version is served", |_| (get(8080, "/").text() == "second").then_some(()));
    server.down();
    pod.crash("site");
    assert_eq!(get(8080, "/").text(), "second");
    pod.stop();
    pod.assert_end_order();
}

/// A site of one page.
fn archive(page: &str) -> Vec<u8> {
    let dir = PodDir::new();
    dir.write("site/index.html", page);
    let tar = Proc::new("tar").args(["-czf", "site.tar.gz", "-C", "site", "."]).current_dir(dir.path()).run();
    tar.expect_code(0);
    dir.read("site.tar.gz").expect("an archive")
}

pub(crate) fn schema() {
    let Some(postgres) = Postgres::start(None) else { return };
    let world = World::new();
    world.service("orders-db", 5432, postgres.addr());
    world.put_secret("orders-db", &[("password", PASSWORD)]);
    postgres.sql("postgres", &format!("CREATE ROLE reports LOGIN PASSWORD '{PASSWORD}'"));
    postgres.sql("postgres", "CREATE DATABASE orders OWNER reports");
    // The other team's Django has made its table and applied the first migration; the second comes later.
    let applied = |name: &str| {
        let sql = "INSERT INTO django_migrations (app, name, applied) VALUES ('orders', ";
        postgres.sql("orders", &format!("{sql}'{name}', now())"));
    };
    postgres.sql("orders", DJANGO);
    postgres.sql("orders", "GRANT SELECT ON django_migrations TO reports");
    applied("0001_initial");
    let mut pod = Kubelet::new("wait-for-schema.yaml", &world);
    pod.start_with(|name, pod| {
        if name == "init-waitfor" {
            pod.wait_stderr(name, "0001_initial");
            applied("0002_discount");
        }
    });
    pod.assert_start_order();
    pod.stop();
    pod.assert_end_order();
}

pub(crate) fn migrate() {
    let Some(postgres) = Postgres::start(None) else { return };
    let world = World::new();
    world.service("shop-db", 5432, postgres.addr());
    world.put_secret("shop-db", &[("password", PASSWORD)]);
    postgres.sql("postgres", &format!("CREATE ROLE shop LOGIN PASSWORD '{PASSWORD}'"));
    postgres.sql("postgres", "CREATE DATABASE shop OWNER shop");
    // The app's image: a migrator that fails when two of it run at once, and the files it brings.
    world.program("python", PYTHON);
    for name in ["0001_initial", "0002_more"] {
        world.program(&format!("app/orders/migrations/{name}.py"), "class Migration: pass\n");
    }
    // Three replicas, one after the other up to their app: the network of this test has each port once. That their
    // migrators also meet is in init-waitfor's own tests, with five of them at once.
    for _ in 0..3 {
        let mut pod = Kubelet::new("migrate-postgres.yaml", &world);
        pod.start();
        pod.assert_start_order();
        pod.stop();
        pod.assert_end_order();
    }
    assert_eq!(postgres.sql("shop", "SELECT count(*) FROM django_migrations"), "2");
    assert_eq!(postgres.sql("shop", "SELECT count(*) FROM runs"), "1", "the migrator ran once");
    // A pod that is killed while it migrates leaves no lock behind: the next one migrates.
    postgres.sql("shop", "DROP TABLE django_migrations, runs");
    let mut killed = Kubelet::new("migrate-postgres.yaml", &world);
    postgres.sql("shop", "CREATE TABLE slow ()");
    killed.start_until("migrate", || {
        (postgres.sql("shop", "SELECT to_regclass('runs')") == "runs").then_some(())
    });
    killed.kill_all();
    postgres.sql("shop", "DROP TABLE slow; DROP TABLE runs; DROP TABLE IF EXISTS django_migrations");
    let mut next = Kubelet::new("migrate-postgres.yaml", &world);
    next.start();
    assert_eq!(postgres.sql("shop", "SELECT count(*) FROM django_migrations"), "2");
    next.stop();
}

const DJANGO: &str = "CREATE TABLE django_migrations (id bigserial PRIMARY KEY, app varchar(255) NOT NULL, name varchar(255) NOT NULL, applied timestamptz NOT NULL)";

/// `python manage.py migrate` of the app; `python -m http.server` is the real one.
const PYTHON: &str = r#"#!/bin/sh
if [ "$1" != manage.py ]; then exec /usr/bin/python3 "$@"; fi
sql() { for psql in /usr/lib/postgresql/*/bin/psql; do :; done; "$psql" -v ON_ERROR_STOP=1 -Atq "$WAITFOR_DB" -c "$1"; }
set -e
sql "CREATE TABLE runs (); INSERT INTO runs DEFAULT VALUES"
if [ "$(sql "SELECT to_regclass('slow')")" = slow ]; then sleep 60; fi
sql "CREATE TABLE django_migrations (id bigserial PRIMARY KEY, app varchar(255) NOT NULL, name varchar(255) NOT NULL, applied timestamptz NOT NULL)"
for name in 0001_initial 0002_more; do
  sleep 0.2
  sql "INSERT INTO django_migrations (app, name, applied) VALUES ('orders', '$name', now())"
done
"#;
