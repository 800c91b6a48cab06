//! MongoDB and Kafka, which Debian does not have: fakes written byte by byte from their specifications.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use crate::brokers::{refused, status};
use crate::scram::{Kind, ScramServer};
use crate::waitfor;

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
                if stream.read_exact(&mut rest).is_err() {
                    break;
                }
                let answer = answer(&rest);
                // Nothing to say: hang up.
                if answer.is_empty() || stream.write_all(&answer).is_err() {
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

/// What a Kafka broker answers, byte by byte from the protocol guide: ApiVersions 0, Metadata 4, SaslHandshake 1, SaslAuthenticate 0.
struct Kafka {
    controller: i32,
    error: i16,
    /// The leaders of its partitions; -1 is none.
    leaders: &'static [i32],
    login: Option<(&'static str, ScramServer)>,
}

impl Kafka {
    fn topic(error: i16, leaders: &'static [i32]) -> Self {
        Kafka { controller: 1, error, leaders, login: None }
    }

    fn serve(self) -> u16 {
        let logged_in = std::sync::atomic::AtomicBool::new(self.login.is_none());
        scripted(
            move |request| {
                use std::sync::atomic::Ordering::Relaxed;

                let key = i16::from_be_bytes([request[0], request[1]]);
                let (id, body) = (&request[4..8], &request[22..]);
                let body: Vec<u8> = match key {
                    18 => {
                        logged_in.store(self.login.is_none(), Relaxed);
                        [&0_i16.to_be_bytes()[..], &0_i32.to_be_bytes()].concat()
                    }
                    // A broker that wants a login hangs up on whoever has none.
                    3 if !logged_in.load(Relaxed) => return Vec::new(),
                    3 => self.metadata(request),
                    17 => self.handshake(body),
                    36 => {
                        let answer = self.authenticate(&body[4..]);
                        let text = answer.as_deref().unwrap_or_default();
                        logged_in.store(text.is_empty() && answer.is_ok() || text.starts_with("v="), Relaxed);
                        let length = u32::try_from(text.len()).unwrap().to_be_bytes();
                        match answer {
                            Ok(_) => [&[0, 0, 0xff, 0xff][..], &length, text.as_bytes()].concat(),
                            Err(_) => b"\x00\x3a\x00\x0cno such user\0\0\0\0".to_vec(),
                        }
                    }
                    other => panic!("request {other}"),
                };
                let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
                [&length[..], id, &body].concat()
            },
            0,
            false,
        )
    }

    fn metadata(&self, request: &[u8]) -> Vec<u8> {
        // Version 4, at most one topic, and the broker may not make it.
        assert_eq!(request[2..4], [0, 4]);
        let head = [
            &[0, 0, 0, 0][..],
            &1_i32.to_be_bytes(),
            &[0, 0, 0, 1, 0, 1, b'h', 0, 0, 0x23, 0x84, 0xff, 0xff],
            &[0xff, 0xff],
            &self.controller.to_be_bytes(),
        ]
        .concat();
        if request.ends_with(b"\0\0\0\0\0") {
            return [&head[..], &0_i32.to_be_bytes()].concat();
        }
        assert!(request.ends_with(b"\0\0\0\x01\0\x06orders\0"), "{request:?}");
        let count = u32::try_from(self.leaders.len()).unwrap().to_be_bytes();
        let mut answer =
            [&head[..], &1_i32.to_be_bytes(), &self.error.to_be_bytes(), b"\0\x06orders\0", &count].concat();
        for leader in self.leaders {
            answer.extend([0, 0, 0, 0, 0, 0]);
            answer.extend(leader.to_be_bytes());
            // One replica, none in sync.
            answer.extend([0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0]);
        }
        answer
    }

    fn handshake(&self, body: &[u8]) -> Vec<u8> {
        let Some((mechanism, _)) = self.login else { return b"\x00\x22\0\0\0\0".to_vec() };
        let error: u8 = if &body[2..] == mechanism.as_bytes() { 0 } else { 33 };
        let length = u8::try_from(mechanism.len()).unwrap();
        [&[0, error, 0, 0, 0, 1, 0, length][..], mechanism.as_bytes()].concat()
    }

    fn authenticate(&self, bytes: &[u8]) -> Result<String, &'static str> {
        let (mechanism, server) = self.login.as_ref().ok_or("no login here")?;
        if *mechanism != "PLAIN" {
            return server.answer(bytes);
        }
        let wanted = format!("\0{}\0{}", server.user, server.password);
        if bytes == wanted.as_bytes() { Ok(String::new()) } else { Err("wrong") }
    }
}

#[test]
fn kafka_by_its_specification() {
    let broker = |kafka: Kafka| format!("kafka://127.0.0.1:{}", kafka.serve());
    status(&broker(Kafka::topic(0, &[])), 0, "1 brokers, a controller");
    status(&broker(Kafka { controller: -1, ..Kafka::topic(0, &[]) }), 1, "no controller yet");
    let topic = |error, leaders| format!("{}?topic=orders", broker(Kafka::topic(error, leaders)));
    status(&topic(0, &[1, 1, 2]), 0, "topic orders with 3 partitions");
    status(&topic(3, &[]), 1, "no topic orders");
    status(&topic(5, &[]), 1, "0 of 0 partitions have a leader");
    status(&topic(0, &[1, -1]), 1, "1 of 2 partitions have a leader");
    status(&topic(7, &[]), 1, "error 7");
}

#[test]
fn kafka_logins() {
    for (mechanism, sha512) in [("PLAIN", false), ("SCRAM-SHA-256", false), ("SCRAM-SHA-512", true)] {
        let serve = || {
            let login = Some((
                mechanism,
                ScramServer::new("app", "kafka-pw", if sha512 { Kind::Sha512 } else { Kind::Sha256 }),
            ));
            Kafka { login, ..Kafka::topic(0, &[1]) }.serve()
        };
        let option = format!("topic=orders&sasl={}", mechanism.to_lowercase());
        status(&format!("kafka://app:kafka-pw@127.0.0.1:{}?{option}", serve()), 0, "topic orders with 1");
        refused(&format!("kafka://app:wrong-pw@127.0.0.1:{}?{option}", serve()));
        refused(&format!("kafka://other:kafka-pw@127.0.0.1:{}?{option}", serve()));
        refused(&format!("kafka://app@127.0.0.1:{}?{option}", serve()));
        status(&format!("kafka://127.0.0.1:{}", serve()), 1, "it may want TLS (kafkas://) or a login");
    }
    let serve = |mechanism| {
        let login = Some((mechanism, ScramServer::new("app", "kafka-pw", Kind::Sha512)));
        Kafka { login, ..Kafka::topic(0, &[1]) }.serve()
    };
    // Without TLS and without a wish, the mechanism that does not show the password.
    status(&format!("kafka://app:kafka-pw@127.0.0.1:{}", serve("SCRAM-SHA-512")), 0, "1 brokers");
    let other = format!("kafka://app:kafka-pw@127.0.0.1:{}", serve("PLAIN"));
    status(&other, 1, "the broker does not take SCRAM-SHA-512; it offers PLAIN");
    let none = format!("kafka://app:kafka-pw@127.0.0.1:{}", Kafka::topic(0, &[1]).serve());
    status(&none, 1, "wants no login");
}

#[test]
fn mongodb_logins() {
    fn document(fields: &[u8]) -> Vec<u8> {
        [&u32::try_from(fields.len() + 5).unwrap().to_le_bytes()[..], fields, &[0]].concat()
    }
    /// `payload: BinData(…)` of a command.
    fn payload(request: &[u8]) -> &[u8] {
        let key = b"\x05payload\0";
        let at = request.windows(key.len()).position(|part| part == key).expect("a payload") + key.len();
        let length = u32::from_le_bytes(request[at..at + 4].try_into().unwrap()) as usize;
        &request[at + 5..at + 5 + length]
    }
    let serve = |skips_the_empty_round: bool, kind: Kind| {
        // For SHA-1 what the specification makes of it: md5("app:mongo:mongo-pw"), by another program.
        let password = if kind == Kind::Sha1 { "6f38115f92d8b9ad20518efe31665292" } else { "mongo-pw" };
        let server = ScramServer::new("app", password, kind);
        let ok = b"\x01ok\0\0\0\0\0\0\0\xf0\x3f";
        scripted(
            move |request| {
                let command = &request[17 + 4..];
                let fields = if command.starts_with(b"\x10hello\0") {
                    [&b"\x08isWritablePrimary\0\x01"[..], ok].concat()
                } else {
                    let mut unknown = false;
                    if command.starts_with(b"\x10saslStart\0") {
                        let offers =
                            |mechanism: &[u8]| command.windows(mechanism.len()).any(|part| part == mechanism);
                        let newer = offers(b"\x02mechanism\0\x0e\0\0\0SCRAM-SHA-256\0");
                        assert!(newer || offers(b"\x02mechanism\0\x0c\0\0\0SCRAM-SHA-1\0"));
                        unknown = newer == (kind == Kind::Sha1);
                        let database = b"\x02$db\0\x05\0\0\0shop\0";
                        assert!(command.windows(database.len()).any(|part| part == database));
                    } else {
                        assert!(
                            command
                                .starts_with(b"\x10saslContinue\0\x01\0\0\0\x10conversationId\0\x07\0\0\0")
                        );
                    }
                    let said = payload(command);
                    let answer = match said {
                        _ if unknown => Err("another mechanism"),
                        [] => Ok(String::new()),
                        said => server.answer(said),
                    };
                    match answer {
                        Err(_) => b"\x01ok\0\0\0\0\0\0\0\0\0\x02errmsg\0\x17\0\0\0Authentication failed.\0\x10code\0\x12\0\0\0".to_vec(),
                        Ok(text) => {
                            let done = text.is_empty() || skips_the_empty_round && text.starts_with("v=");
                            let length = u32::try_from(text.len()).unwrap().to_le_bytes();
                            [
                                &b"\x10conversationId\0\x07\0\0\0\x08done\0"[..],
                                &[u8::from(done)],
                                b"\x05payload\0",
                                &length,
                                &[0],
                                text.as_bytes(),
                                ok,
                            ]
                            .concat()
                        }
                    }
                };
                let body = [&[0_u8; 5][..], &document(&fields)].concat();
                let length = u32::try_from(body.len() + 16).unwrap().to_le_bytes();
                [&length[..], &[9, 0, 0, 0, 1, 0, 0, 0], &2013_u32.to_le_bytes(), &body].concat()
            },
            4,
            true,
        )
    };
    for (skips, kind) in [(true, Kind::Sha256), (false, Kind::Sha256), (true, Kind::Sha1)] {
        let target = |user: &str| {
            format!(
                "mongodb://{user}@127.0.0.1:{}/other?authSource=shop&retryWrites=true",
                serve(skips, kind)
            )
        };
        status(&target("app:mongo-pw"), 0, "hello from a primary, logged in");
        refused(&target("app:wrong-pw"));
        refused(&target("who:mongo-pw"));
        refused(&target("app"));
    }
    let wish = format!(
        "mongodb://app:mongo-pw@127.0.0.1:{}/?authSource=shop&authMechanism=",
        serve(true, Kind::Sha1)
    );
    status(&format!("{wish}SCRAM-SHA-1"), 0, "logged in");
    refused(&format!("{wish}SCRAM-SHA-256"));
    let other = waitfor().args(["status", "mongodb://a:b@c/?authMechanism=PLAIN"]).run();
    other.expect_code(2).expect_stderr("is not spoken");
    let several = waitfor().args(["status", "mongodb://a:27017,b:27017/shop"]).run();
    several.expect_code(2).expect_stderr("write one target for each, with --any");
}

/// camptocamp/docker-odoo-project#5, virtualcommons/port-of-mars#864, docker-library/postgres#146, #880: the port is open long before the
/// server is. The state is gone before a test can look, so its messages, from PostgreSQL's list of error codes.
#[test]
fn a_postgresql_that_starts_or_is_full_is_not_ready() {
    for (state, words) in [
        ("57P03", "the database system is starting up"),
        ("57P03", "the database system is not yet accepting connections"),
        ("57P01", "terminating connection due to administrator command"),
        ("53300", "sorry, too many clients already"),
    ] {
        let fields = format!("SFATAL\0VFATAL\0C{state}\0M{words}\0\0");
        let length = u32::try_from(fields.len() + 4).unwrap().to_be_bytes();
        let message = [b"E", &length[..], fields.as_bytes()].concat();
        let tcp = testkit::fake::FakeTcp::start(testkit::fake::TcpAnswer::Greet(message));
        let target = format!("postgres://app:pw@{}/app?sslmode=disable", tcp.addr());
        status(&target, 1, &format!("{words} ({state})"));
        let done = waitfor().args(["--fail-fast", "auth", "--timeout", "600ms", &target]).run();
        done.expect_code(124);
    }
}
