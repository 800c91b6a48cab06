//! The long form of `chaos.rs`: upstreams that die, stall, reset mid-body, answer garbage, change address and swap certificates, while
//! reloads happen and proxies are ended by SIGTERM under load. `cargo xtask soak proxy --minutes 30`.

mod common;

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use common::Proxy;
use testkit::fake::{Answer, FakeHttp, Received, Reply};
use testkit::http::{self, Connection, Request};
use testkit::{PodDir, Shim, TestCa, TlsShim, eventually};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A small generator, so that a seed says everything (Steele and others, SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

/// What a flaky endpoint does with one request in ten.
fn fault(n: u64) -> Option<Answer> {
    Some(match n % 70 {
        0 => Answer::Reset,
        10 => Answer::Close,
        20 => Answer::HalfBody,
        30 => Answer::Status(503),
        40 => Answer::Raw(b"this is no HTTP\r\n\r\n".to_vec()),
        50 => Answer::ThenClose(Duration::from_millis(2)),
        60 => Answer::SlowHead(Duration::from_millis(1)),
        _ => return None,
    })
}

fn echo(request: &Received) -> Reply {
    let id = request.header("x-id").unwrap_or("-").to_owned();
    Reply::new(200, format!("{id} {}", request.body.len()))
}

#[derive(Default)]
struct Tally {
    right: AtomicU64,
    /// Answers that are no answer to the request: never allowed.
    wrong: AtomicU64,
    failed_get: AtomicU64,
    failed_post: AtomicU64,
}

/// Sends requests until told to stop. A GET may fail only as an answer that says so, or where a body broke off.
fn load(addr: &Mutex<SocketAddr>, thread: u64, stop: &AtomicBool, tally: &Tally) {
    let mut kept: Option<(SocketAddr, Connection)> = None;
    let mut n = 0u64;
    while !stop.load(Relaxed) {
        n += 1;
        let id = format!("{thread}-{n}");
        let post = n.is_multiple_of(5);
        let mut request = Request::new(if post { "POST" } else { "GET" }, "/x").header("x-id", &id);
        if post {
            request = request.body(vec![b'b'; usize::try_from(n * 37 % 8000).unwrap()]);
        }
        let now = *addr.lock().unwrap();
        if kept.as_ref().is_none_or(|(known, _)| *known != now) {
            kept = Connection::open(now).ok().map(|connection| (now, connection));
        }
        // The fakes remember every request: half an hour of it has to fit into memory.
        std::thread::sleep(Duration::from_millis(15));
        let Some((_, connection)) = &mut kept else {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        let answered = connection.send(&request).and_then(|()| connection.receive(&request));
        let failed = if post { &tally.failed_post } else { &tally.failed_get };
        match answered {
            Ok(response) if response.status == 200 && response.text().starts_with(&format!("{id} ")) => {
                tally.right.fetch_add(1, Relaxed);
                if response.header("connection") == Some("close") {
                    kept = None;
                }
            }
            Ok(response) if response.status == 200 => drop(tally.wrong.fetch_add(1, Relaxed)),
            Ok(response) => {
                failed.fetch_add(1, Relaxed);
                if response.header("connection") == Some("close") {
                    kept = None;
                }
            }
            Err(_) => {
                failed.fetch_add(1, Relaxed);
                kept = None;
            }
        }
    }
}

fn descriptors(proxy: &Proxy) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", proxy.running.pid())).map_or(0, Iterator::count)
}

fn resident_kb(proxy: &Proxy) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.running.pid())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|text| text.parse().ok()).unwrap_or(0)
}

#[test]
#[ignore = "minutes long: cargo xtask soak proxy"]
fn nothing_is_lost_mixed_up_or_leaked() {
    let (seed, minutes) = (number("SOAK_SEED", 1), number("SOAK_MINUTES", 1));
    println!("seed {seed}, {minutes} min");
    let mut dice = Dice(seed);
    let pod = PodDir::new();
    let (ca, good) = (TestCa::new(), FakeHttp::with(echo));
    let flaky = FakeHttp::with(echo);
    let count = AtomicU64::new(0);
    flaky.decide(move |_| fault(count.fetch_add(1, Relaxed)));
    let (shim, spare) = (Shim::to(flaky.addr()), FakeHttp::with(echo));
    let tls = TlsShim::to(good.addr(), &ca.server(&["localhost"]));
    pod.write("ca.pem", ca.pem());
    let listed = |third: SocketAddr| format!("{}\n{}\n{third}\n", shim.addr(), good.addr());
    let file = pod.write("endpoints", listed(spare.addr()));
    let config = |round: u64| {
        format!(
            "# {round}
listeners:
  - http: 127.0.0.1:0
    to: up
    routes: [{{path: /tls, to: secure}}]
access_log: off
shutdown_grace: 10s
upstreams:
  up:
    endpoints_file: {}
    timeouts: {{connect: 500ms, first_byte: 2s, idle: 5s}}
    retry: {{attempts: 3, statuses: [503], on_reset: true, hedge_after: {}ms}}
    breaker: {{base: 100ms, max: 1s}}
  secure: {{url: 'https://localhost:{}', tls: {{ca: {}}}}}
",
            file.display(),
            150 + round % 2,
            tls.addr().port(),
            pod.join("ca.pem").display()
        )
    };
    let path = pod.write("proxy.yaml", config(0));
    let mut proxy = common::start_config(&path);
    let addr = Mutex::new(proxy.http());
    let (stop, tally) = (AtomicBool::new(false), Tally::default());
    let (mut rounds, mut restarts) = (0u64, 0u64);
    let mut baseline: Option<(usize, u64)> = None;
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (addr, stop, tally) = (&addr, &stop, &tally);
            scope.spawn(move || load(addr, thread, stop, tally));
        }
        let until = Instant::now() + Duration::from_secs(60 * minutes);
        while Instant::now() < until {
            rounds += 1;
            match dice.roll(9) {
                0 => drop(pod.write("proxy.yaml", config(rounds))),
                1 => drop(pod.write("proxy.yaml", "listeners: [{http: nonsense}]\n")),
                2 => shim.cut(),
                3 => {
                    shim.stall();
                    std::thread::sleep(Duration::from_millis(dice.roll(1500)));
                    shim.resume();
                }
                4 => {
                    shim.down();
                    std::thread::sleep(Duration::from_millis(dice.roll(1000)));
                    shim.up();
                }
                5 => drop(pod.write(
                    "endpoints",
                    listed(if rounds.is_multiple_of(2) { spare.addr() } else { good.addr() }),
                )),
                6 => {
                    tls.renew(&ca.server(&["localhost"]));
                    let response = http::get(*addr.lock().unwrap(), "/tls");
                    assert!(response.status == 200 || response.status >= 500, "{}", response.status);
                }
                7 => shim.cut_after_from_server(dice.roll(20_000)),
                // One in nine, and not before the last proxy is warm: another one takes over, the old one drains under load.
                _ if dice.roll(3) == 0 => {
                    let next = common::start_config(&pod.write("proxy.yaml", config(rounds)));
                    *addr.lock().unwrap() = next.http();
                    let old = std::mem::replace(&mut proxy, next);
                    old.end();
                    restarts += 1;
                    baseline = None;
                }
                _ => {}
            }
            std::thread::sleep(Duration::from_millis(200 + dice.roll(600)));
            let now = (descriptors(&proxy), resident_kb(&proxy));
            let first = *baseline.get_or_insert(now);
            assert!(now.0 < first.0 + 400, "descriptors grow: {first:?} to {now:?} in round {rounds}");
            assert!(now.1 < first.1 + 60_000, "memory grows: {first:?} to {now:?} kB in round {rounds}");
        }
        stop.store(true, Relaxed);
    });
    let sum = |counter: &AtomicU64| counter.load(Relaxed);
    let (right, wrong) = (sum(&tally.right), sum(&tally.wrong));
    let (gets, posts) = (sum(&tally.failed_get), sum(&tally.failed_post));
    println!(
        "{rounds} rounds, {restarts} restarts: {right} right, {wrong} wrong, failed {gets} GET and {posts} POST"
    );
    assert_eq!(wrong, 0, "an answer belongs to its request");
    assert!(right > 500 * minutes, "it was under load: {right}");
    // Half a body cannot be saved, and a stalled endpoint costs its share; nearly all the rest can.
    assert!(gets * 20 < right, "too many GETs failed: {gets} of {right}");
    // No POST was executed twice, on any endpoint.
    let mut seen = std::collections::HashMap::new();
    for request in [&good, &flaky, &spare].iter().flat_map(|fake| fake.requests()) {
        if request.method == "POST" && request.executed {
            *seen.entry(request.header("x-id").unwrap_or("-").to_owned()).or_insert(0u32) += 1;
        }
    }
    let twice: Vec<_> = seen.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "executed twice: {twice:?}");
    eventually("nothing is left open", || {
        (proxy.status()["gauges"]["open_client_connections"] == 0).then_some(())
    });
    proxy.end();
}
