//! A bad upstream under load, while configurations change: nothing is executed twice that must not be, what can be saved is saved,
//! and nothing leaks.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::common::start_config;
use testkit::fake::{Answer, FakeHttp, Reply};
use testkit::http::{self, Connection, Request};
use testkit::{PodDir, eventually};

const TIME: Duration = Duration::from_secs(5);

/// What goes wrong, by the number in the request's id.
fn fault(n: u64) -> Answer {
    match n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58 {
        0 => Answer::AnswerLost,
        1 => Answer::Close,
        2 => Answer::Reset,
        3 => Answer::Status(503),
        4 => Answer::HalfBody,
        5 => Answer::after(Duration::from_millis(30), Answer::Ok),
        6 => Answer::Raw(b"not http at all\r\n\r\n".to_vec()),
        7..=20 => Answer::ThenClose(Duration::from_micros(n % 3000)),
        _ => Answer::Reply(Reply::new(200, vec![b'x'; usize::try_from(n % 5000).unwrap()])),
    }
}

#[derive(Default)]
struct Tally {
    posts: Vec<String>,
    answered: u64,
    broken: u64,
}

fn load(addr: std::net::SocketAddr, thread: u64, stop: &AtomicBool) -> Tally {
    let mut tally = Tally::default();
    let mut client = None;
    let mut n = thread * 1_000_000;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        let id = format!("{n}");
        let request = match n % 3 {
            0 => Request::new("POST", "/").body("once").header("x-n", &id),
            1 => Request::new("PUT", "/").body("as often as you like").header("x-n", &id),
            _ => Request::new("GET", "/").header("x-n", &id),
        };
        if n.is_multiple_of(3) {
            tally.posts.push(id);
        }
        let connection = client.get_or_insert_with(|| Connection::open(addr).unwrap());
        match connection.send(&request).and_then(|()| connection.receive(&request)) {
            Ok(response) => {
                tally.answered += 1;
                assert!(
                    response.status < 400 || response.status >= 500,
                    "{} {}",
                    response.status,
                    response.text()
                );
                if response.header("connection") == Some("close") {
                    client = None;
                }
            }
            // Half a body is a broken connection; anything else would be a lie.
            Err(_) => {
                tally.broken += 1;
                client = None;
            }
        }
    }
    tally
}

#[test]
fn a_bad_upstream_under_load() {
    let upstream = FakeHttp::start();
    upstream.decide(|r| Some(fault(r.header("x-n").and_then(|n| n.parse().ok()).unwrap_or(0))));
    let pod = PodDir::new();
    let text = |n: u64| {
        format!(
            "listeners: [{{http: '127.0.0.1:0', to: bad}}]\nupstreams:\n  bad: {{url: 'http://{}', pool: {{max_idle: {}}}}}\naccess_log: off\n",
            upstream.addr(),
            20 + n
        )
    };
    let map = pod.config_map("config", &[("proxy.yaml", &text(0))]);
    let proxy = start_config(&map.join("proxy.yaml"));
    let addr = proxy.http();
    let before = proxy.descriptors();
    let stop = AtomicBool::new(false);
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let stop = &stop;
        let load: Vec<_> = (1..=4).map(|thread| scope.spawn(move || load(addr, thread, stop))).collect();
        let started = Instant::now();
        let mut n = 0;
        while started.elapsed() < TIME {
            std::thread::sleep(Duration::from_millis(500));
            n += 1;
            map.swap(&[("proxy.yaml", &text(n))]);
            if n.is_multiple_of(4) {
                upstream.reset_all();
            }
        }
        stop.store(true, Ordering::Relaxed);
        load.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let (answered, broken) = tallies.iter().fold((0, 0), |sum, t| (sum.0 + t.answered, sum.1 + t.broken));
    let posts: Vec<_> = tallies.iter().flat_map(|tally| &tally.posts).collect();
    let mut arrived: HashMap<String, usize> = HashMap::new();
    for request in upstream.requests() {
        *arrived.entry(request.header("x-n").unwrap_or_default().to_owned()).or_default() += 1;
    }
    let twice = posts.iter().filter(|id| arrived.get(**id).is_some_and(|count| *count > 1)).count();
    println!("answered {answered}, broken {broken}, POSTs {}, arrived twice {twice}", posts.len());
    assert_eq!(twice, 0);
    assert!(answered > 200, "{answered}");
    // One answer in 64 is half a body, and connections were reset under answers.
    assert!(broken * 10 < answered, "{broken} of {answered}");
    assert_eq!(http::get(proxy.admin(), "/livez").status, 200);
    eventually("nothing is left open", || {
        let now = proxy.descriptors();
        let status = proxy.status();
        let open = status["gauges"]["open_client_connections"].as_u64();
        let carried = status["upstreams"][0]["in_flight"].as_i64();
        (now <= before + 8 && open == Some(0) && carried == Some(0)).then_some(())
    });
    proxy.end();
}
