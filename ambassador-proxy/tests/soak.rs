//! The long form of `chaos.rs`: upstreams that die, stall, reset mid-body, answer garbage, change address and swap certificates, while
//! reloads happen and proxies are ended by SIGTERM under load. `cargo xtask soak proxy --minutes 30`.
//!
//! Two proxies have the same troubles. One lives from the beginning to the end and must not grow; the other is ended again and again, and
//! its successor takes over while the load goes on. Three upstreams:
//!
//! - `/safe`: everything that happens there can be saved for a GET (connections cut, refused, closed while idle; 503), so no GET may fail;
//! - `/tls`: the same over TLS, whose server renews its certificate, also by another CA that has been trusted a moment before;
//! - `/flaky`: also halves of bodies, garbage, stalls. Something fails there; answers are right or say that they are not.

mod common;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use common::Proxy;
use testkit::fake::{Answer, FakeHttp, Received, Reply};
use testkit::http::{Connection, Request};
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

/// What the flaky endpoint does with one request in ten.
fn flaky(n: u64) -> Option<Answer> {
    Some(match n % 90 {
        0 => Answer::Reset,
        10 => Answer::Close,
        20 => Answer::HalfBody,
        30 => Answer::Status(503),
        40 => Answer::Raw(b"this is no HTTP\r\n\r\n".to_vec()),
        50 => Answer::ThenClose(Duration::from_millis(2)),
        60 => Answer::SlowHead(Duration::from_millis(1)),
        70 => Answer::AnswerLost,
        80 => Answer::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello".to_vec()),
        _ => return None,
    })
}

/// What can always be saved for a GET: of no answer there is a beginning when its connection breaks.
fn savable(n: u64) -> Option<Answer> {
    Some(match n % 60 {
        0 => Answer::Status(503),
        20 => Answer::ThenClose(Duration::from_millis(1)),
        40 => Answer::ThenClose(Duration::ZERO),
        _ => return None,
    })
}

fn echo(request: &Received) -> Reply {
    let id = request.header("x-id").unwrap_or("-").to_owned();
    Reply::new(200, format!("{id} {}", request.body.len()))
}

fn server(faults: fn(u64) -> Option<Answer>) -> FakeHttp {
    let (server, count) = (FakeHttp::with(echo), AtomicU64::new(0));
    server.decide(move |_| faults(count.fetch_add(1, Relaxed)));
    server
}

#[derive(Default)]
struct Tally {
    right: AtomicU64,
    /// Answers that are no answer to the request: never allowed.
    wrong: AtomicU64,
    failed_get: AtomicU64,
    failed_post: AtomicU64,
    /// GETs that found their kept connection closed and were sent again by the client, as clients do (RFC 9112, 9.3.1).
    again: AtomicU64,
    /// The first failures of GETs, to look at.
    why: Mutex<Vec<String>>,
}

impl Tally {
    fn failed(&self, post: bool, what: impl FnOnce() -> String) {
        if post {
            self.failed_post.fetch_add(1, Relaxed);
        } else if self.failed_get.fetch_add(1, Relaxed) < 20 {
            self.why.lock().unwrap().push(what());
        }
    }
}

/// One client: requests to one path until told to stop. When its proxy hands over, it goes on at the next one.
fn load(name: &str, path: &str, addr: &Mutex<SocketAddr>, stop: &AtomicBool, tally: &Tally) {
    let mut kept: Option<(SocketAddr, Connection)> = None;
    let mut n = 0u64;
    while !stop.load(Relaxed) {
        n += 1;
        let id = format!("{name}-{n}");
        let post = n.is_multiple_of(5);
        let mut request = Request::new(if post { "POST" } else { "GET" }, path).header("x-id", &id);
        if post {
            request = request.body(vec![b'b'; usize::try_from(n * 37 % 8000).unwrap()]);
        }
        // The fakes remember every request: half an hour of it has to fit into memory.
        std::thread::sleep(Duration::from_millis(75));
        let now = *addr.lock().unwrap();
        if kept.as_ref().is_none_or(|(known, _)| *known != now) {
            match Connection::open(now) {
                Ok(connection) => kept = Some((now, connection)),
                Err(error) => tally.failed(post, || format!("{id}: the proxy is not there: {error}")),
            }
        }
        let Some((_, connection)) = &mut kept else { continue };
        let mut answered = connection.send(&request).and_then(|()| connection.receive(&request));
        // The proxy that is ended closes what nobody uses; that and a request may cross. The other one never closes.
        if let Err(error) = &answered
            && error.kind() == std::io::ErrorKind::UnexpectedEof
            && path != "/flaky"
            && name.starts_with('1')
            && !post
        {
            tally.again.fetch_add(1, Relaxed);
            let to = *addr.lock().unwrap();
            answered = Connection::open(to).and_then(|mut fresh| {
                let answered = fresh.send(&request).and_then(|()| fresh.receive(&request));
                kept = Some((to, fresh));
                answered
            });
        }
        match answered {
            Ok(response) => {
                if response.status != 200 {
                    let status = response.header("proxy-status").unwrap_or("-").to_owned();
                    tally.failed(post, || format!("{id}: {} {status}", response.status));
                } else if response.text().starts_with(&format!("{id} ")) {
                    tally.right.fetch_add(1, Relaxed);
                } else {
                    tally.wrong.fetch_add(1, Relaxed);
                }
                if response.header("connection") == Some("close") {
                    kept = None;
                }
            }
            Err(error) => {
                tally.failed(post, || format!("{id}: {error}"));
                kept = None;
            }
        }
    }
}

fn resident_kb(proxy: &Proxy) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.running.pid())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Everything outside of the proxies.
struct World {
    pod: PodDir,
    cas: [TestCa; 2],
    flaky: FakeHttp,
    safe: FakeHttp,
    spare: FakeHttp,
    shims: [Shim; 2],
    tls: TlsShim,
}

impl World {
    fn new() -> Self {
        let (flaky, safe, spare) = (server(flaky), server(savable), FakeHttp::with(echo));
        let shims = [Shim::to(flaky.addr()), Shim::to(safe.addr())];
        let (pod, cas) = (PodDir::new(), [TestCa::new(), TestCa::new()]);
        let tls = TlsShim::to(safe.addr(), &cas[0].server(&["localhost"]));
        let world = Self { pod, cas, flaky, safe, spare, shims, tls };
        world.pod.write("ca.pem", world.cas[0].pem());
        world.move_to(true);
        world
    }

    /// The third endpoint changes its address.
    fn move_to(&self, spare: bool) {
        let third = if spare { &self.spare } else { &self.safe };
        for (name, shim) in ["flaky", "safe"].iter().zip(&self.shims) {
            self.pod.write(name, format!("{}\n{}\n", shim.addr(), third.addr()));
        }
    }

    fn config(&self, round: u64) -> String {
        let (pod, port) = (&self.pod, self.tls.addr().port());
        format!(
            "# {round}
listeners:
  - http: 127.0.0.1:0
    routes: [{{path: /tls, to: tls}}, {{path: /safe, to: safe}}]
    to: flaky
access_log: off
shutdown_grace: 20s
workers: 2
upstreams:
  flaky:
    endpoints_file: {}
    timeouts: {{connect: 500ms, first_byte: 2s, idle: 5s}}
    retry: {{attempts: 3, statuses: [503], on_reset: true, hedge_after: {}ms}}
    breaker: {{base: 100ms, max: 1s}}
  safe:
    endpoints_file: {}
    # A busy machine makes everybody slow; that is no fault to be counted.
    timeouts: {{connect: 10s, first_byte: 2m}}
    retry: {{attempts: 4, statuses: [503], on_reset: true}}
    breaker: {{base: 100ms, max: 1s}}
  tls:
    url: https://localhost:{port}
    tls: {{ca: {}}}
    timeouts: {{connect: 10s, first_byte: 2m}}
    retry: {{attempts: 4, statuses: [503], on_reset: true}}
",
            pod.join("flaky").display(),
            150 + round % 2,
            pod.join("safe").display(),
            pod.join("ca.pem").display()
        )
    }

    /// The server's certificate comes from another CA, which clients have come to trust beforehand, as in any careful change.
    fn swap_certificate(&self, round: u64) {
        let (old, new) = (
            &self.cas[usize::from(round.is_multiple_of(2))],
            &self.cas[usize::from(!round.is_multiple_of(2))],
        );
        self.pod.write("ca.pem", format!("{}{}", old.pem(), new.pem()));
        std::thread::sleep(Duration::from_millis(2500));
        self.tls.renew(&new.server(&["localhost"]));
    }

    /// One thing that happens.
    fn happens(&self, round: u64, dice: &mut Dice) {
        let pause = Duration::from_millis(dice.roll(1000));
        match dice.roll(9) {
            0 => drop(self.pod.write("proxy.yaml", self.config(round))),
            1 => drop(self.pod.write("proxy.yaml", "listeners: [{http: nonsense}]\n")),
            2 => self.shims.iter().for_each(Shim::cut),
            3 => {
                self.shims[0].stall();
                std::thread::sleep(pause);
                self.shims[0].resume();
            }
            4 => {
                self.shims.iter().for_each(Shim::down);
                std::thread::sleep(pause);
                self.shims.iter().for_each(Shim::up);
            }
            5 => self.move_to(round.is_multiple_of(2)),
            6 => self.swap_certificate(round),
            7 => self.shims[0].cut_after_from_server(dice.roll(20_000)),
            _ => self.shims[0].cut_after_to_server(dice.roll(20_000)),
        }
    }
}

/// SIGTERM under load: the app goes on for a while, as apps do while they drain, and nothing of what it asks for is lost.
fn hand_over(proxy: &mut Proxy, addr: &Mutex<SocketAddr>, path: &std::path::Path) {
    proxy.running.sigterm();
    std::thread::sleep(Duration::from_millis(1500));
    assert!(proxy.running.is_running(), "it stays while the app needs it");
    let next = common::start_config(path);
    *addr.lock().unwrap() = next.http();
    let old = std::mem::replace(proxy, next);
    old.running.wait_exit().expect_code(0);
}

#[test]
#[ignore = "minutes long: cargo xtask soak proxy"]
fn nothing_is_lost_mixed_up_or_leaked() {
    let (seed, minutes) = (number("SOAK_SEED", 1), number("SOAK_MINUTES", 1));
    println!("seed {seed}, {minutes} min");
    let (mut dice, world) = (Dice(seed), World::new());
    let good = world.pod.write("good.yaml", world.config(0));
    let path = world.pod.write("proxy.yaml", world.config(0));
    let (steady, mut ended) = (common::start_config(&path), common::start_config(&good));
    let before = (steady.descriptors(), resident_kb(&steady));
    let addrs = [Mutex::new(steady.http()), Mutex::new(ended.http())];
    let stop = AtomicBool::new(false);
    let tallies: HashMap<&str, Tally> =
        ["/flaky", "/safe", "/tls"].map(|path| (path, Tally::default())).into_iter().collect();
    let (mut rounds, mut restarts) = (0u64, 0u64);
    let mut warm: Option<u64> = None;
    std::thread::scope(|scope| {
        for (which, addr) in addrs.iter().enumerate() {
            for (path, tally) in &tallies {
                let stop = &stop;
                scope.spawn(move || load(&format!("{which}{}", &path[1..]), path, addr, stop, tally));
            }
        }
        let began = Instant::now();
        let length = Duration::from_secs(60 * minutes);
        let rounds_done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            while began.elapsed() < length {
                rounds += 1;
                world.happens(rounds, &mut dice);
                if rounds.is_multiple_of(12) {
                    hand_over(&mut ended, &addrs[1], &good);
                    restarts += 1;
                }
                std::thread::sleep(Duration::from_millis(200 + dice.roll(600)));
                if warm.is_none() && began.elapsed() > length / 5 {
                    warm = Some(resident_kb(&steady));
                }
                let open = steady.descriptors();
                assert!(open < before.0 + 100, "descriptors grow: {} to {open} in round {rounds}", before.0);
            }
        }));
        // Also after a failure, or the load would go on for ever.
        stop.store(true, Relaxed);
        rounds_done.unwrap();
    });
    let sum = |counter: &AtomicU64| counter.load(Relaxed);
    println!("{rounds} rounds, {restarts} restarts");
    for (path, tally) in &tallies {
        let (right, wrong) = (sum(&tally.right), sum(&tally.wrong));
        let (gets, posts) = (sum(&tally.failed_get), sum(&tally.failed_post));
        let again = sum(&tally.again);
        println!(
            "{path}: {right} right, {wrong} wrong, failed {gets} GET and {posts} POST; {again} sent again"
        );
        tally.why.lock().unwrap().iter().for_each(|why| println!("    {why}"));
    }
    eventually("nothing is left open", || {
        let status = steady.status();
        let carried =
            status["upstreams"].as_array().unwrap().iter().map(|up| up["in_flight"].as_i64().unwrap());
        let open = status["gauges"]["open_client_connections"] == 0;
        // Kept connections to upstreams go after four seconds without use.
        (open && carried.sum::<i64>() == 0 && steady.descriptors() <= before.0 + 4).then_some(())
    });
    let (warm, after) = (warm.unwrap_or(before.1), resident_kb(&steady));
    println!(
        "memory {} kB at the start, {warm} kB after a fifth, {after} kB at the end; {} descriptors, {} at the end",
        before.1,
        before.0,
        steady.descriptors()
    );
    assert!(after < warm + 4096, "memory grows: {warm} to {after} kB");
    // No POST was executed twice, on any endpoint.
    let mut seen = HashMap::new();
    for request in [&world.flaky, &world.safe, &world.spare].iter().flat_map(|fake| fake.requests()) {
        if request.method == "POST" && request.executed {
            *seen.entry(request.header("x-id").unwrap_or("-").to_owned()).or_insert(0u32) += 1;
        }
    }
    let twice: Vec<_> = seen.iter().filter(|(_, times)| **times > 1).collect();
    println!("{} POSTs executed, {} of them twice", seen.len(), twice.len());
    assert!(twice.is_empty(), "executed twice: {twice:?}");
    assert!(seen.len() as u64 > 10 * minutes, "there were POSTs: {}", seen.len());
    for (path, tally) in &tallies {
        assert_eq!(sum(&tally.wrong), 0, "{path}: an answer belongs to its request");
        assert!(sum(&tally.right) > 20 * minutes, "{path}: it was under load: {}", sum(&tally.right));
        if *path != "/flaky" {
            assert_eq!(sum(&tally.failed_get), 0, "{path}: every GET could be saved");
        }
    }
    // Half a body cannot be saved, and a stalled endpoint costs its share; nearly all the rest can.
    let flaky = &tallies["/flaky"];
    assert!(sum(&flaky.failed_get) * 20 < sum(&flaky.right), "too many GETs failed");
    steady.end();
    ended.end();
}
