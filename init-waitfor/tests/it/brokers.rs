//! Message brokers, caches and gRPC: logins against real servers.

use testkit::fake::{FakeH2, FakeTcp, H2Reply, TcpAnswer};

use crate::servers::{directory, free_port, give, listening, program, start};
use crate::waitfor;

pub(crate) fn status(target: &str, code: i32, word: &str) {
    let done = waitfor().args(["status", "--attempt-timeout", "20s", target]).run();
    done.expect_code(code).expect_stdout(word);
}

pub(crate) fn refused(target: &str) {
    let done = waitfor().args(["--fail-fast", "auth", "--timeout", "60s", target]).run();
    done.expect_code(84);
    assert!(!done.stderr().contains("wrong-pw"));
}

#[test]
fn nats() {
    let Some(nats) = program("nats-server", "nats-server") else { return };
    let (port, dir) = (free_port(), directory("nobody"));
    let text = port.to_string();
    start("nobody", &nats, &dir, ["-a", "127.0.0.1", "-p", &text, "--user", "app", "--pass", "nats-pw"]);
    listening(port);
    status(&format!("nats://app:nats-pw@127.0.0.1:{port}"), 0, "NATS 2.");
    refused(&format!("nats://app:wrong-pw@127.0.0.1:{port}"));
    let port = free_port();
    start(
        "nobody",
        &nats,
        &directory("nobody"),
        ["-a", "127.0.0.1", "-p", &port.to_string(), "--auth", "tok-en-1"],
    );
    listening(port);
    status(&format!("nats://tok-en-1@127.0.0.1:{port}"), 0, "answers");
    refused(&format!("nats://127.0.0.1:{port}"));
}

#[test]
fn mosquitto() {
    let Some(mosquitto) = program("mosquitto", "mosquitto") else { return };
    let Some(passwd) = program("mosquitto_passwd", "mosquitto") else { return };
    let (port, dir) = (free_port(), directory("mosquitto"));
    let passwords = dir.join("passwords");
    let done = std::process::Command::new(passwd)
        .args(["-b", "-c"])
        .arg(&passwords)
        .args(["app", "mqtt-pw"])
        .output()
        .unwrap();
    assert!(done.status.success());
    give(&passwords, "mosquitto");
    let config = dir.join("conf");
    std::fs::write(
        &config,
        format!("listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {}\n", passwords.display()),
    )
    .unwrap();
    give(&config, "mosquitto");
    start("mosquitto", &mosquitto, &dir, ["-c".into(), config.into_os_string()]);
    listening(port);
    status(&format!("mqtt://app:mqtt-pw@127.0.0.1:{port}"), 0, "CONNACK");
    refused(&format!("mqtt://app:wrong-pw@127.0.0.1:{port}"));
    refused(&format!("mqtt://127.0.0.1:{port}"));
}

#[test]
fn memcached() {
    let Some(memcached) = program("memcached", "memcached") else { return };
    let port = free_port();
    start(
        "nobody",
        &memcached,
        &directory("nobody"),
        ["-l", "127.0.0.1", "-p", &port.to_string(), "-U", "0"],
    );
    listening(port);
    status(&format!("memcached://127.0.0.1:{port}"), 0, "memcached 1.");
}

/// A shell, a virtual machine and a port mapper: the first one's death does not end the others.
struct Erlang {
    group: u32,
    epmd_port: u16,
}

impl Drop for Erlang {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_raw(i32::try_from(self.group).unwrap()).unwrap();
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        // It refuses while a node is registered, which ends with its connection.
        testkit::eventually("the port mapper ends", || {
            let mut kill = std::process::Command::new("epmd");
            let done = kill.args(["-port", &self.epmd_port.to_string(), "-kill"]).output().ok()?;
            let text =
                String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
            (text.contains("Killed") || text.contains("Cannot connect")).then_some(())
        });
    }
}

#[test]
fn rabbitmq() {
    let Some(server) = program("rabbitmq-server", "rabbitmq-server") else { return };
    let (port, dir) = (free_port(), directory("rabbitmq"));
    let config = dir.join("rabbitmq.conf");
    let epmd_port = free_port();
    std::fs::write(&config, format!("listeners.tcp.1 = 127.0.0.1:{port}\ndefault_pass = rabbit-pw\ndefault_user = app\nloopback_users = none\n")).unwrap();
    give(&config, "rabbitmq");
    let variables = [
        format!("RABBITMQ_NODENAME=test{port}@localhost"),
        format!("RABBITMQ_DIST_PORT={}", free_port()),
        format!("RABBITMQ_MNESIA_BASE={}", dir.join("mnesia").display()),
        format!("RABBITMQ_LOG_BASE={}", dir.display()),
        format!("RABBITMQ_CONFIG_FILE={}", config.display()),
        format!("RABBITMQ_ENABLED_PLUGINS_FILE={}", dir.join("plugins").display()),
        format!("HOME={}", dir.display()),
        "ERL_EPMD_ADDRESS=127.0.0.1".to_owned(),
        format!("ERL_EPMD_PORT={epmd_port}"),
    ];
    let mut args: Vec<std::ffi::OsString> = variables.iter().map(Into::into).collect();
    args.push(server.into_os_string());
    let _ends =
        Erlang { group: start("rabbitmq", std::path::Path::new("/usr/bin/env"), &dir, args), epmd_port };
    // The gate itself waits for it: an open port is minutes away from readiness on a slow machine.
    let done = waitfor().args(["--timeout", "120s", &format!("amqp://app:rabbit-pw@127.0.0.1:{port}")]);
    let done = done.spawn().wait_exit_within(std::time::Duration::from_secs(150));
    if done.code() != Some(0) {
        done.fail(&std::fs::read_to_string(dir.join("log")).unwrap_or_default());
    }
    status(&format!("amqp://app:rabbit-pw@127.0.0.1:{port}/missing"), 1, "missing");
    refused(&format!("amqp://app:wrong-pw@127.0.0.1:{port}"));
}

#[test]
fn redis_users_databases_and_a_server_that_loads() {
    let Some(redis) = program("redis-server", "redis-server") else { return };
    let port = free_port();
    let text = port.to_string();
    let rules = ["app", "on", ">acl-pw", "~*", "+ping", "+role", "+select", "+exists"];
    let user: Vec<&str> = std::iter::once("--user").chain(rules).collect();
    let mut args = vec!["--port", &text, "--save", "", "--bind", "127.0.0.1", "--user", "default", "off"];
    args.extend(user);
    start("redis", &redis, &directory("redis"), args);
    listening(port);
    status(&format!("redis://app:acl-pw@127.0.0.1:{port}/3?role=master"), 0, "PONG, master");
    status(&format!("redis://app:acl-pw@127.0.0.1:{port}/99"), 1, "DB index is out of range");
    refused(&format!("redis://app:wrong-pw@127.0.0.1:{port}"));
    refused(&format!("redis://127.0.0.1:{port}"));
    // A real one in the state is gone before a test can look, so its sentence from networking.c.
    let loading = TcpAnswer::Send(b"-LOADING Redis is loading the dataset in memory\r\n".to_vec());
    let loading = FakeTcp::start(loading);
    let wait = waitfor().args(["--max-interval", "200ms", &format!("redis://{}", loading.addr())]).spawn();
    wait.wait_log("it loads", |line| line["reason"].as_str().unwrap_or("").contains("LOADING"));
    loading.always(TcpAnswer::Greet(b"+PONG\r\n*1\r\n$6\r\nmaster\r\n".to_vec()));
    wait.wait_exit().expect_code(0);
}

#[test]
fn grpc_health() {
    let answers = FakeH2::with(|request| match (request.path(), request.body.get(5..).unwrap_or_default()) {
        ("/grpc.health.v1.Health/Check", b"") => H2Reply::grpc(0, Some(&[8, 1])),
        ("/grpc.health.v1.Health/Check", b"\x0a\x04shop") => H2Reply::grpc(0, Some(&[8, 1])),
        ("/grpc.health.v1.Health/Check", b"\x0a\x04down") => H2Reply::grpc(0, Some(&[8, 2])),
        _ => H2Reply::grpc(5, None),
    });
    let at = answers.addr();
    status(&format!("grpc://{at}"), 0, "SERVING");
    status(&format!("grpc://{at}/shop"), 0, "SERVING");
    status(&format!("grpc://{at}/down"), 1, "NOT_SERVING");
    status(&format!("grpc://{at}/other"), 1, "no service");
    let tcp = FakeTcp::start(TcpAnswer::Send(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()));
    let done = waitfor().args(["status", "--attempt-timeout", "3s", &format!("grpc://{}", tcp.addr())]).run();
    done.expect_code(1);
    waitfor().args(["status", "grpc://127.0.0.1:1"]).run().expect_code(1).expect_stdout("refused");
}

#[test]
fn nonsense_and_silence_on_every_port() {
    let schemes = ["amqp", "nats", "mqtt", "memcached", "mongodb", "kafka", "grpc"];
    for banner in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        let tcp = FakeTcp::start(TcpAnswer::Send(banner.to_vec()));
        let targets: Vec<String> =
            schemes.iter().map(|scheme| format!("{scheme}://{}", tcp.addr())).collect();
        let done = waitfor().args(["status", "--any", "--attempt-timeout", "2s"]).args(targets).run();
        done.expect_code(1);
    }
    let tcp = FakeTcp::start(TcpAnswer::Hang);
    let targets: Vec<String> = schemes.iter().map(|scheme| format!("{scheme}://{}", tcp.addr())).collect();
    waitfor()
        .args(["status", "--any", "--attempt-timeout", "500ms"])
        .args(targets)
        .run()
        .expect_code(1)
        .expect_stdout("in time");
}
