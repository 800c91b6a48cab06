//! The fake DNS server, asked over real sockets.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use testkit::fake::{DnsAnswer, FakeDns};

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
    message
}

/// The first datagram that comes back, whatever it is; `None` when nothing comes.
fn udp(dns: &FakeDns, query: &Message, patience: Duration) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    socket.set_read_timeout(Some(patience)).expect("a timeout");
    socket.send_to(&query.to_vec().expect("encode"), dns.addr()).expect("send");
    let mut buffer = [0; 4096];
    let count = socket.recv(&mut buffer).ok()?;
    Some(buffer[..count].to_vec())
}

fn ask(dns: &FakeDns, name: &str, kind: RecordType) -> Message {
    let query = query(name, kind);
    let answer = udp(dns, &query, testkit::timeout()).expect("an answer");
    let answer = Message::from_vec(&answer).expect("a message");
    assert_eq!(answer.metadata.id, query.metadata.id);
    answer
}

fn ask_tcp(dns: &FakeDns, name: &str, kind: RecordType) -> Message {
    let mut stream = TcpStream::connect(dns.addr()).expect("connect");
    stream.set_read_timeout(Some(testkit::timeout())).expect("a timeout");
    let query = query(name, kind).to_vec().expect("encode");
    let length = u16::try_from(query.len()).expect("short").to_be_bytes();
    stream.write_all(&[&length[..], &query].concat()).expect("send");
    let mut length = [0; 2];
    stream.read_exact(&mut length).expect("a length");
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).expect("a message");
    Message::from_vec(&answer).expect("a message")
}

fn data(message: &Message) -> Vec<String> {
    message.answers.iter().map(|record| format!("{} {}", record.ttl, record.data)).collect()
}

#[test]
fn records_change_while_it_runs() {
    let dns = FakeDns::start();
    dns.records("db.default.svc", "A", &["10.0.0.1", "10.0.0.2"]);
    assert_eq!(data(&ask(&dns, "DB.default.svc.", RecordType::A)), ["30 10.0.0.1", "30 10.0.0.2"]);
    dns.set("db.default.svc.", "A", DnsAnswer::Records { ttl: 1, data: vec!["10.0.0.3".into()] });
    assert_eq!(data(&ask(&dns, "db.default.svc.", RecordType::A)), ["1 10.0.0.3"]);
    let nodata = ask(&dns, "db.default.svc.", RecordType::AAAA);
    assert_eq!((nodata.metadata.response_code, nodata.answers.len()), (ResponseCode::NoError, 0));
    dns.remove("db.default.svc", "A");
    let gone = ask(&dns, "db.default.svc.", RecordType::A);
    assert_eq!(gone.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(dns.names(), ["db.default.svc"; 4]);
    assert_eq!(dns.questions()[2].kind, "AAAA");
}

#[test]
fn every_type_and_a_chain_of_aliases() {
    let dns = FakeDns::start();
    dns.records("x", "SRV", &["0 10 5432 db.x."]);
    dns.records("x", "MX", &["10 mail.x."]);
    dns.records("x", "TXT", &["\"two words\""]);
    assert_eq!(data(&ask(&dns, "x.", RecordType::SRV)), ["30 0 10 5432 db.x."]);
    assert_eq!(data(&ask(&dns, "x.", RecordType::MX)), ["30 10 mail.x."]);
    assert_eq!(data(&ask(&dns, "x.", RecordType::TXT)), ["30 two words"]);
    dns.records("a", "CNAME", &["b."]);
    dns.records("b", "CNAME", &["c."]);
    dns.records("c", "A", &["10.0.0.9"]);
    assert_eq!(data(&ask(&dns, "a.", RecordType::A)), ["30 b.", "30 c.", "30 10.0.0.9"]);
    assert_eq!(data(&ask(&dns, "a.", RecordType::CNAME)), ["30 b."]);
}

#[test]
fn failures_have_their_codes() {
    let dns = FakeDns::start();
    for (answer, code) in [
        (DnsAnswer::ServFail, ResponseCode::ServFail),
        (DnsAnswer::Refused, ResponseCode::Refused),
        (DnsAnswer::NxDomain, ResponseCode::NXDomain),
        (DnsAnswer::NoData, ResponseCode::NoError),
        (DnsAnswer::after(Duration::from_millis(5), DnsAnswer::ServFail), ResponseCode::ServFail),
    ] {
        dns.all(Some(answer));
        assert_eq!(ask(&dns, "any.", RecordType::A).metadata.response_code, code);
    }
    dns.all(Some(DnsAnswer::Garbage(b"\x00".to_vec())));
    assert_eq!(udp(&dns, &query("any.", RecordType::A), testkit::timeout()), Some(vec![0]));
    dns.all(Some(DnsAnswer::Silent));
    assert_eq!(udp(&dns, &query("any.", RecordType::A), Duration::from_millis(50)), None);
    dns.all(None);
    assert_eq!(ask(&dns, "any.", RecordType::A).metadata.response_code, ResponseCode::NXDomain);
}

#[test]
fn truncated_over_udp_is_whole_over_tcp() {
    let dns = FakeDns::start();
    dns.set("big", "A", DnsAnswer::truncated(DnsAnswer::records(["10.0.0.1"])));
    let short = ask(&dns, "big.", RecordType::A);
    assert!(short.metadata.truncation && short.answers.is_empty());
    assert_eq!(data(&ask_tcp(&dns, "big.", RecordType::A)), ["30 10.0.0.1"]);
    assert_eq!(dns.questions().iter().map(|question| question.over_tcp).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn a_forgery_comes_first() {
    let dns = FakeDns::start();
    dns.set("x", "A", DnsAnswer::Forged(Box::new(DnsAnswer::records(["10.0.0.1"]))));
    let query = query("x.", RecordType::A);
    let first = udp(&dns, &query, testkit::timeout()).expect("a message");
    assert_ne!(Message::from_vec(&first).expect("a message").metadata.id, query.metadata.id);
    assert!(dns.resolv_conf("search a").starts_with("nameserver 127.0.0.1:"));
}
