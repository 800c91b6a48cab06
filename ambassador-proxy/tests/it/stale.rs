//! The race every pool has: the upstream closes a kept connection while a request is on its way to it.

use crate::common;
use std::time::Duration;

use crate::common::start;
use testkit::fake::{Answer, FakeHttp};
use testkit::http::{Connection, Request};

const REQUESTS: usize = 1500;

/// Sends requests one after the other to an upstream that closes 0 to 4 ms after each answer. Returns failures.
fn run(method: &str, proxy: &common::Proxy) -> usize {
    let mut client = Connection::open(proxy.http()).unwrap();
    let mut failed = 0;
    for n in 0..REQUESTS {
        let mut request = Request::new(method, "/").header("x-n", &format!("{method}-{n}"));
        if method == "POST" {
            request = request.body("pay once");
        }
        client.send(&request).unwrap();
        let response = client.receive(&request).unwrap();
        failed += usize::from(response.status != 200);
    }
    failed
}

#[test]
fn no_get_fails_hardly_a_post_does_and_nothing_is_executed_twice() {
    let upstream = FakeHttp::start();
    upstream.decide(|request| {
        let n: u64 = request.header("x-n").and_then(|n| n.rsplit('-').next()?.parse().ok()).unwrap_or(0);
        Some(Answer::ThenClose(Duration::from_micros(n * 2654435761 % 4001)))
    });
    let proxy = start(&[
        "--http",
        &format!("127.0.0.1:0=http://{}", upstream.addr()),
        "--workers",
        "1",
        "--access-log",
        "off",
    ]);
    let gets = run("GET", &proxy);
    // A proxy of its own: after what happened to the GETs the first one would not trust a kept connection with a POST.
    let other = start(&[
        "--http",
        &format!("127.0.0.1:0=http://{}", upstream.addr()),
        "--workers",
        "1",
        "--access-log",
        "off",
    ]);
    let posts = run("POST", &other);
    let twice = (0..REQUESTS)
        .flat_map(|n| [format!("GET-{n}"), format!("POST-{n}")])
        .filter(|n| n.starts_with("POST") && upstream.executions("x-n", n) > 1)
        .count();
    let replays = proxy.metrics().sum_of("ambassador_proxy_retries_total", &[("cause", "stale_connection")]);
    println!(
        "of {REQUESTS} each: GET failures {gets}, POST failures {posts}, executed twice {twice}, replays {replays}"
    );
    assert_eq!((gets, twice), (0, 0));
    assert!(posts * 100 <= REQUESTS, "{posts} of {REQUESTS} POSTs failed");
    assert!(replays > 0.0, "the race did not happen");
}

#[test]
fn a_post_that_reached_the_upstream_is_never_repeated() {
    let upstream = FakeHttp::start();
    let proxy = start(&["--http", &format!("127.0.0.1:0=http://{}", upstream.addr()), "--workers", "1"]);
    let mut client = Connection::open(proxy.http()).unwrap();
    let mut send = |method: &str, answer: Answer| {
        upstream.next([answer]);
        let request = Request::new(method, "/").header("x-n", "1").body("x");
        client.send(&request).unwrap();
        client.receive(&request).unwrap().status
    };
    assert_eq!(send("POST", Answer::Ok), 200);
    let before = upstream.executions("x-n", "1");
    assert_eq!(send("POST", Answer::AnswerLost), 502);
    assert_eq!(upstream.executions("x-n", "1"), before + 1, "executed once, and nobody knows: not again");
    // After that, a POST takes a new connection, for a minute.
    let connections = upstream.accepted();
    assert_eq!(send("POST", Answer::Ok), 200);
    assert_eq!(send("POST", Answer::Ok), 200);
    assert_eq!(upstream.accepted(), connections + 2);
    // What may be repeated is, once: on the kept connection, then on a new one.
    assert_eq!(send("PUT", Answer::AnswerLost), 200);
}
