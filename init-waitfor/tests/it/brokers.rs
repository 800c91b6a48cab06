//! Message brokers, caches and gRPC: logins against real servers, MongoDB and Kafka byte by byte from their specifications.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use testkit::fake::{FakeH2, FakeTcp, H2Reply, TcpAnswer};

use crate::servers::{directory, free_port, give, listening, program, start};
use crate::waitfor;

fn status(target: &str, code: i32, word: &str) {
    let done = waitfor().args(["status", "--attempt-timeout", "20s", target]).run();
    done.expect_code(code).expect_stdout(word);
}

fn refused(target: &str) {
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
    let done = waitfor().args(["--timeout", "120s", &format!("amqp://app:rabbit-pw@127.0.0.1:{port}")]).run();
    if done.code() != Some(0) {
        done.fail(&std::fs::read_to_string(dir.join("log")).unwrap_or_default());
    }
    status(&format!("amqp://app:rabbit-pw@127.0.0.1:{port}/missing"), 1, "missing");
    refused(&format!("amqp://app:wrong-pw@127.0.0.1:{port}"));
}

/// A server of one answer per request, each with its length in front, for byte-level fakes.
fn scripted(answer: impl Fn(&[u8]) -> Vec<u8> + Send + 'static, length_at: usize, little: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            loop {
                let mut head = [0; 4];
                if stream.read_exact(&mut head).is_err() {
                    break;
                }
                let size = if little { u32::from_le_bytes(head) } else { u32::from_be_bytes(head) };
                let mut rest = vec![0; size as usize - length_at];
                if stream.read_exact(&mut rest).is_err() || stream.write_all(&answer(&rest)).is_err() {
                    break;
                }
            }
        }
    });
    port
}

#[test]
fn mongodb_by_its_specification() {
    let document = |fields: &[u8]| {
        let length = u32::try_from(fields.len() + 5).unwrap().to_le_bytes();
        [&length[..], fields, &[0]].concat()
    };
    let serve = move |fields: &'static [u8]| {
        scripted(
            move |request| {
                // OP_MSG, no flags, one section of kind 0 with {hello: 1, $db: "admin"}.
                assert_eq!(request[8..12], 2013_u32.to_le_bytes());
                assert!(
                    request[17..].starts_with(b"\x1f\0\0\0\x10hello\0\x01\0\0\0\x02$db\0\x06\0\0\0admin\0\0")
                );
                let body = [&[0_u8; 5][..], &document(fields)].concat();
                let length = u32::try_from(body.len() + 16).unwrap().to_le_bytes();
                [&length[..], &[9, 0, 0, 0, 1, 0, 0, 0], &2013_u32.to_le_bytes(), &body].concat()
            },
            4,
            true,
        )
    };
    let port = serve(b"\x08isWritablePrimary\0\x01\x02setName\0\x04\0\0\0rs0\0\x01ok\0\0\0\0\0\0\0\xf0\x3f");
    status(&format!("mongodb://127.0.0.1:{port}"), 0, "hello from a primary");
    status(&format!("mongodb://127.0.0.1:{port}?replica-set=rs0&role=primary"), 0, "ready");
    status(&format!("mongodb://127.0.0.1:{port}?replica-set=rs1"), 1, "is in replica set rs0");
    status(&format!("mongodb://127.0.0.1:{port}?role=secondary"), 1, "is primary");
    let port = serve(b"\x08isWritablePrimary\0\0\x08secondary\0\0\x01ok\0\0\0\0\0\0\0\xf0\x3f");
    status(&format!("mongodb://127.0.0.1:{port}"), 1, "neither");
    let port = serve(b"\x02errmsg\0\x05\0\0\0nope\0\x01ok\0\0\0\0\0\0\0\0\0");
    status(&format!("mongodb://127.0.0.1:{port}"), 1, "nope");
}

#[test]
fn kafka_by_its_specification() {
    let serve = |error: i16, partitions: i32| {
        scripted(
            move |request| {
                let key = i16::from_be_bytes([request[0], request[1]]);
                let id = &request[4..8];
                let body: Vec<u8> = match key {
                    18 => [&0_i16.to_be_bytes()[..], &0_i32.to_be_bytes()].concat(),
                    3 => {
                        // Version 4, one topic, and the broker may not make it.
                        assert_eq!(request[2..4], [0, 4]);
                        assert!(request.ends_with(b"\0\0\0\x01\0\x06orders\0"), "{request:?}");
                        [
                            &[0, 0, 0, 0][..],
                            &1_i32.to_be_bytes(),
                            &[0, 0, 0, 1, 0, 1, b'h', 0, 0, 0x23, 0x84, 0xff, 0xff],
                            &[0xff, 0xff, 0, 0, 0, 1],
                            &1_i32.to_be_bytes(),
                            &error.to_be_bytes(),
                            b"\0\x06orders\0",
                            &partitions.to_be_bytes(),
                        ]
                        .concat()
                    }
                    other => panic!("request {other}"),
                };
                let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
                [&length[..], id, &body].concat()
            },
            0,
            false,
        )
    };
    status(&format!("kafka://127.0.0.1:{}", serve(0, 1)), 0, "ApiVersions answered");
    status(&format!("kafka://127.0.0.1:{}?topic=orders", serve(0, 3)), 0, "topic orders with 3 partitions");
    status(&format!("kafka://127.0.0.1:{}?topic=orders", serve(3, 0)), 1, "no topic orders");
    status(&format!("kafka://127.0.0.1:{}?topic=orders", serve(5, 0)), 1, "no leader");
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
