//! An open port is not readiness: logins and queries against real PostgreSQL, MariaDB and Redis.

use testkit::PodDir;
use testkit::fake::{FakeTcp, TcpAnswer};

use crate::servers::{MariaDb, PASSWORD, Postgres, directory, free_port, listening, program, start};
use crate::waitfor;

fn status(target: &str, code: i32, word: &str) {
    let done = waitfor().args(["status", "--attempt-timeout", "20s", target]).run();
    done.expect_code(code).expect_stdout(word);
    assert!(!done.stdout().contains(PASSWORD) && !done.stdout().contains("pg-S3cret"), "{}", done.stdout());
}

#[test]
fn postgres_login_query_and_role() {
    let Some(server) = Postgres::shared() else { return };
    let url = server.database("checks");
    status(&url, 0, "PostgreSQL 1");
    status(&format!("{url}?role=primary"), 0, "ready");
    status(&format!("{url}?role=replica"), 1, "is a primary, wanted a replica");
    status(
        &format!("{url}?query=SELECT%20count(*)%20FROM%20pg_class%20WHERE%20relname=%27nope%27&expect=0"),
        0,
        "ready",
    );
    status(&format!("{url}?query=SELECT%201%20WHERE%20false"), 1, "gives no row");
    status(&format!("{url}?query=SELECT%20*%20FROM%20missing"), 1, "does not exist");
    status(&format!("{url}?sslmode=require"), 1, "does not offer TLS");
    status(&server.url("no_such_database"), 1, "does not exist (3D000)");
    let socket = format!(
        "postgres://postgres:{}@localhost:{}/checks?host={}",
        PASSWORD.replace('/', "%2F"),
        server.port,
        server.dir.display()
    );
    status(&socket, 0, "PostgreSQL 1");
}

#[test]
fn a_wrong_password_is_84() {
    let Some(server) = Postgres::shared() else { return };
    let url = format!("postgres://postgres:wrong-one@127.0.0.1:{}/postgres", server.port);
    let done = waitfor().args(["--timeout", "1s", &url]).run();
    done.expect_code(84).expect_stderr("28P01");
    assert!(!done.stderr().contains("wrong-one"));
    waitfor().args(["--fail-fast", "auth", "--timeout", "0", &url]).run().expect_code(84);
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", server.port);
    waitfor().args(["--fail-fast", "auth", &url]).run().expect_code(84).expect_stderr("wants a password");
    // From the variable that PostgreSQL's own tools read, and from a secret.
    waitfor().env("PGPASSWORD", PASSWORD).args(["status", &url]).run().expect_code(0);
    let pod = PodDir::new();
    let secret = pod.write("pw", format!("{PASSWORD}\n"));
    let config = format!("targets:\n  - target: {url}\n    password: {{file: {}}}\n", secret.display());
    waitfor().arg("--config").arg(pod.write("w.yaml", config)).arg("status").run().expect_code(0);
}

#[test]
fn md5_and_cleartext_logins() {
    let Some(server) = Postgres::shared() else { return };
    let hba = server.dir.join("data/pg_hba.conf");
    let old = std::fs::read_to_string(&hba).unwrap();
    let lines = "host all by_md5 127.0.0.1/32 md5\nhost all by_text 127.0.0.1/32 password\nhost all nobody 127.0.0.1/32 reject\n";
    std::fs::write(&hba, format!("{lines}{old}")).unwrap();
    let make = "SET password_encryption = 'md5'; CREATE USER by_md5 PASSWORD 'one-two'; CREATE USER by_text PASSWORD 'one-two'; CREATE USER nobody; SELECT pg_reload_conf()";
    server.sql("postgres", make);
    testkit::eventually("the new rules", || {
        let url = format!("postgres://by_md5:one-two@127.0.0.1:{}/postgres", server.port);
        (waitfor().args(["status", &url]).run().code() == Some(0)).then_some(())
    });
    status(&format!("postgres://by_text:one-two@127.0.0.1:{}/postgres", server.port), 0, "ready");
    status(&format!("postgres://by_md5:wrong@127.0.0.1:{}/postgres", server.port), 1, "28P01");
    status(&format!("postgres://nobody@127.0.0.1:{}/postgres", server.port), 1, "28000");
}

#[test]
fn mariadb_login_query_and_role() {
    let Some(server) = MariaDb::shared() else { return };
    let url = server.database("checks");
    status(&url, 0, "MariaDB 10.");
    status(&format!("{url}?role=primary"), 0, "ready");
    status(&format!("{url}?role=replica"), 1, "wanted a replica");
    status(&format!("{url}?query=SELECT%20NULL"), 0, "ready");
    status(&format!("{url}?query=SELECT%202&expect=3"), 1, "gives 2, wanted 3");
    status(&format!("{url}?query=SELECT%20*%20FROM%20missing"), 1, "doesn't exist");
    status(&server.url("no_such_database"), 1, "Unknown database");
    let url = format!("mysql://app:wrong@127.0.0.1:{}/", server.port);
    waitfor().args(["--timeout", "1s", &url]).run().expect_code(84).expect_stderr("1045");
    status(&format!("mysql://root@localhost/?socket={}", server.dir.join("s").display()), 0, "MariaDB 10.");
}

#[test]
fn redis_password_role_and_key() {
    let Some(redis) = program("redis-server", "redis-server") else { return };
    let (port, replica) = (free_port(), free_port());
    let dir = directory("redis");
    let text = port.to_string();
    start(
        "redis",
        &redis,
        &dir,
        ["--port", &text, "--requirepass", "red-is-pw", "--save", "", "--bind", "127.0.0.1"],
    );
    listening(port);
    status(&format!("redis://:red-is-pw@127.0.0.1:{port}"), 0, "PONG, master");
    status(&format!("redis://default:red-is-pw@127.0.0.1:{port}/2?role=master"), 0, "PONG, master");
    status(&format!("redis://:red-is-pw@127.0.0.1:{port}?exists=seeded"), 1, "no key seeded");
    status(&format!("redis://127.0.0.1:{port}"), 1, "NOAUTH");
    waitfor().args(["--timeout", "1s", &format!("redis://:wrong-pw@127.0.0.1:{port}")]).run().expect_code(84);
    let dir = directory("redis");
    let text = replica.to_string();
    let args = ["--port", &text, "--replicaof", "127.0.0.1 1", "--save", "", "--bind", "127.0.0.1"];
    start("redis", &redis, &dir, args);
    listening(replica);
    status(&format!("redis://127.0.0.1:{replica}?role=master"), 1, "is a slave, wanted a master");
    status(&format!("redis://127.0.0.1:{replica}?role=replica"), 0, "PONG, slave");
}

#[test]
fn a_loading_redis_is_not_ready() {
    let tcp =
        FakeTcp::start(TcpAnswer::Send(b"-LOADING Redis is loading the dataset in memory\r\n".to_vec()));
    status(&format!("redis://{}", tcp.addr()), 1, "LOADING");
}

/// camptocamp/docker-odoo-project#5, virtualcommons/port-of-mars#864, docker-library/postgres#146 and #880: the port is open, and the server
/// says that it is starting. The bytes are those of PostgreSQL's ErrorResponse.
#[test]
fn a_postgres_that_is_starting_up_is_not_ready() {
    let mut error = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0".to_vec();
    let length = u32::try_from(error.len() + 4).unwrap().to_be_bytes();
    error.splice(0..0, [&b"E"[..], &length].concat());
    let tcp = FakeTcp::start(TcpAnswer::Send(error));
    let url = format!("postgres://u:p@{}/x?sslmode=disable", tcp.addr());
    status(&url, 1, "the database system is starting up (57P03)");
    waitfor().args(["--timeout", "700ms", "--fail-fast", "auth", &url]).run().expect_code(124);
    // A definite no: `not:` may build on it.
    status(&format!("not:{url}"), 0, "ready");
}

#[test]
fn other_servers_on_the_port_are_not_ready() {
    for banner in
        [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"", b"\x00\x00\x00\x00", b"+OK\r\n", b"SSH-2.0-x\r\n"]
    {
        let tcp = FakeTcp::start(TcpAnswer::Send(banner.to_vec()));
        for scheme in ["postgres://u:p@", "mysql://u:p@", "redis://"] {
            waitfor()
                .args(["status", "--attempt-timeout", "2s", &format!("{scheme}{}", tcp.addr())])
                .run()
                .expect_code(1);
        }
    }
    let tcp = FakeTcp::start(TcpAnswer::Hang);
    for scheme in ["postgres://u:p@", "mysql://u:p@", "redis://"] {
        let done = waitfor()
            .args(["status", "--attempt-timeout", "500ms", &format!("{scheme}{}", tcp.addr())])
            .run();
        done.expect_code(1).expect_stdout("in time");
    }
}
