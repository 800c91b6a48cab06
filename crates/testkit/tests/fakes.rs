//! The fakes against the kit's own client: each scripted fault looks to a client as its name says.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use testkit::fake::{Answer, FakeBulk, FakeHttp, FakeTcp, OnConnect, Reply, TcpAnswer};
use testkit::http::{self, Connection, Request};

const MOMENT: Duration = Duration::from_millis(2);

fn ndjson(body: &str) -> Request {
    Request::new("POST", "/logs/_bulk").header("Content-Type", "application/x-ndjson").body(body)
}

fn statuses(answer: &Value) -> Vec<i64> {
    let items = answer["items"].as_array().expect("items");
    items.iter().map(|item| item["create"]["status"].as_i64().expect("a status")).collect()
}

#[test]
fn bulk_tells_the_fate_of_each_document() {
    let sink = FakeBulk::start();
    sink.refuse(400, "document_parsing_exception", |doc| doc.source["bad"] == true);
    sink.throttle_once(|doc| doc.source["n"] == 3);
    let body = concat!(
        "{\"create\":{\"_id\":\"1\"}}\n{\"n\":1}\n",
        "{\"create\":{\"_id\":\"2\"}}\n{\"n\":2,\"bad\":true}\n",
        "{\"create\":{\"_id\":\"3\",\"_index\":\"other\"}}\n{\"n\":3}\n",
    );
    let first = http::send(sink.addr(), &ndjson(body)).json();
    assert_eq!(first["errors"], true);
    assert_eq!(statuses(&first), [201, 400, 429]);
    assert_eq!(first["items"][2]["create"]["error"]["type"], "es_rejected_execution_exception");
    let second = http::send(sink.addr(), &ndjson(body)).json();
    assert_eq!(statuses(&second), [409, 400, 201]);
    assert_eq!((sink.doc_count(), sink.duplicates()), (2, 1));
    assert_eq!(sink.docs()[1].index, "other");
    assert_eq!(sink.docs()[0].source, json!({"n": 1}));
}

#[test]
fn bulk_reads_gzip_and_refuses_malformed_requests_whole() {
    let sink = FakeBulk::start();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(b"{\"create\":{}}\n{\"a\":1}\n").expect("gzip");
    let request = ndjson("").header("Content-Encoding", "gzip").body(gzip.finish().expect("gzip"));
    assert_eq!(statuses(&http::send(sink.addr(), &request).json()), [201]);

    let status = |request: &Request| http::send(sink.addr(), request).status;
    assert_eq!(status(&ndjson("{\"create\":{}}\n{\"a\":1}")), 400);
    assert_eq!(status(&ndjson("{\"create\":{}}\n{\"a\":1}\n{\"crea\n")), 400);
    assert_eq!(status(&Request::new("POST", "/_bulk").body("{}\n")), 406);
    assert_eq!(sink.doc_count(), 1);
    sink.only_create();
    let answer = http::send(sink.addr(), &ndjson("{\"index\":{}}\n{\"a\":1}\n")).json();
    assert_eq!(answer["items"][0]["index"]["status"], 400);
    assert_eq!(http::get(sink.addr(), "/").header("x-elastic-product"), Some("Elasticsearch"));
}

#[test]
fn answers_come_in_the_order_of_the_script() {
    let fake = FakeHttp::start();
    fake.next([Answer::RetryAfter(503, 7), Answer::after(MOMENT, Answer::Status(429))]);
    fake.decide(|request| (request.path() == "/own").then(|| Reply::new(418, "tea").into()));
    let post = |path| http::post(fake.addr(), path, "one\ntwo\n");
    assert_eq!(post("/own").text(), "tea");
    assert_eq!(post("/x").header("retry-after"), Some("7"));
    assert_eq!(post("/x").status, 429);
    assert_eq!(post("/x").status, 200);
    assert_eq!(fake.count(), 4);
    assert_eq!(fake.lines(), ["one", "two"]);
}

#[test]
fn faults_look_like_their_names() {
    let fake = FakeHttp::echo();
    let ask = |answer: Answer| {
        fake.next([answer]);
        http::try_send(fake.addr(), &Request::new("POST", "/").header("x-request-id", "7").body("abc"))
    };
    let kind = |answer| ask(answer).expect_err("a fault").kind();
    assert_eq!(kind(Answer::Reset), ErrorKind::ConnectionReset);
    assert_eq!(kind(Answer::Close), ErrorKind::UnexpectedEof);
    assert_eq!(fake.executions("x-request-id", "7"), 0);
    assert_eq!(kind(Answer::AnswerLost), ErrorKind::ConnectionReset);
    assert_eq!(fake.executions("x-request-id", "7"), 1);
    assert!(matches!(kind(Answer::HalfBody), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof));
    assert_eq!(ask(Answer::SlowHead(MOMENT)).expect("slow").json()["body"], "abc");
    assert_eq!(ask(Answer::SlowBody(MOMENT)).expect("slow").header("x-request-id"), Some("7"));
    let pieces = vec![b"a".to_vec(), b"bc".to_vec()];
    assert_eq!(ask(Answer::Stream(pieces, MOMENT)).expect("chunks").text(), "abc");
    let raw = b"HTTP/1.1 200 OK\r\nbroken\r\n\r\n".to_vec();
    assert_eq!(kind(Answer::Raw(raw)), ErrorKind::InvalidData);
}

#[test]
fn keep_alive_until_it_closes_without_reading() {
    let fake = FakeHttp::echo();
    fake.next([Answer::Ok, Answer::ThenClose(MOMENT)]);
    let mut connection = Connection::open(fake.addr()).expect("connect");
    let request = Request::new("GET", "/");
    for _ in 0..2 {
        connection.send(&request).expect("send");
        assert_eq!(connection.receive(&request).expect("an answer").status, 200);
    }
    assert!(connection.read_to_end().expect("closed").is_empty());
    assert_eq!((fake.accepted(), fake.count()), (1, 2));
    testkit::eventually("no connection is open", || (fake.open_connections() == 0).then_some(()));
}

#[test]
fn an_upgraded_connection_echoes() {
    let fake = FakeHttp::echo();
    fake.next([Answer::Upgrade]);
    let mut connection = Connection::open(fake.addr()).expect("connect");
    let request = Request::new("GET", "/").header("Connection", "Upgrade").header("Upgrade", "websocket");
    connection.write(&[&request.to_bytes(), &b"early"[..]].concat()).expect("send");
    assert_eq!(connection.receive(&request).expect("101").status, 101);
    connection.write(b" late").expect("send");
    assert_eq!(connection.read(10).expect("echo"), b"early late");
    connection.finish().expect("half-close");
    assert!(connection.read_to_end().expect("closed").is_empty());
}

#[test]
fn connections_can_fail_before_a_request_is_read() {
    let fake = FakeHttp::start();
    fake.next_connections([OnConnect::ResetAfter(MOMENT), OnConnect::CloseAfter(MOMENT), OnConnect::Serve]);
    let get = || http::try_send(fake.addr(), &Request::new("GET", "/"));
    assert!(get().is_err());
    assert!(get().is_err());
    assert_eq!(get().expect("served").status, 200);
    fake.connections(OnConnect::Stall);
    let mut stalled = Connection::open(fake.addr()).expect("connect");
    stalled.send(&Request::new("GET", "/")).expect("send");
    fake.down();
    assert!(stalled.read_to_end().is_err());
    assert_eq!(get().expect_err("down").kind(), ErrorKind::ConnectionRefused);
    fake.connections(OnConnect::Serve);
    fake.up();
    assert_eq!(get().expect("up again").status, 200);
}

#[test]
fn tcp_answers() {
    let fake = FakeTcp::start(TcpAnswer::EchoAtEnd);
    let talk = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(fake.addr()).expect("connect");
        stream.set_read_timeout(Some(testkit::timeout())).expect("a timeout");
        stream.write_all(bytes).expect("write");
        stream.shutdown(Shutdown::Write).expect("half-close");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).map(|_| answer)
    };
    assert_eq!(talk(b"abc").expect("an echo"), b"abc");
    fake.always(TcpAnswer::Greet(b"hi ".to_vec()));
    assert_eq!(talk(b"abc").expect("an echo"), b"hi abc");
    fake.always(TcpAnswer::Send(b"bye".to_vec()));
    assert_eq!(talk(b"").expect("the bytes"), b"bye");
    fake.always(TcpAnswer::ResetAfter(2));
    assert_eq!(talk(b"abc").expect_err("reset").kind(), ErrorKind::ConnectionReset);
    assert_eq!(fake.received(), b"abcabcab");
    assert_eq!(fake.accepted(), 4);
}
