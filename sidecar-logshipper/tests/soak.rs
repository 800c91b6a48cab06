//! Random lives of a shipper: what is written, how the log is rotated, when the process is killed, stopped or ended, how two sinks fail, when
//! the disk of the positions is full and where the clock jumps are all decided by a seed. Whatever happens, at the end:
//!
//! - every line is in both sinks, and no other; nothing was counted as lost;
//! - Elasticsearch, which gets ids, has none twice;
//! - the NDJSON sink has one twice only if a process was killed, or an answer was lost and counted.
//!
//! A few lives are in every run of the tests; `cargo xtask soak shipper --schedules 1000 --seed N` makes it long.

mod common;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use common::{Mode, Pod, bulk_url, count};
use fastrand::Rng;
use testkit::fake::{Answer, Doc, FakeBulk, FakeHttp, Received};
use testkit::{Running, eventually_within};

/// Debian's libfaketime: the clock of one process, in a file.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
/// Several lives at a time on a busy machine take their time.
const LONG: Duration = Duration::from_secs(120);
const LOGS: [&str; 2] = ["app.log", "other.log"];
/// A line of this number is refused by both sinks, for good.
const POISON: usize = 97;

#[test]
fn a_few_random_lives() {
    let seed = number("SOAK_SEED", 1);
    for life in 0..4 {
        live(seed.wrapping_add(life));
    }
}

#[test]
#[ignore = "as long as SOAK_SCHEDULES says"]
#[allow(clippy::print_stdout, reason = "progress for people")]
fn soak() {
    let (seed, schedules) = (number("SOAK_SEED", 1), number("SOAK_SCHEDULES", 100));
    let (next, all) = (AtomicU64::new(0), Mutex::new(Tally::default()));
    let failed = Mutex::new(Vec::new());
    // A life mostly waits: several at a time.
    std::thread::scope(|scope| {
        for _ in 0..number("SOAK_JOBS", 4) {
            scope.spawn(|| {
                loop {
                    let life = next.fetch_add(1, Ordering::Relaxed);
                    if life >= schedules {
                        break;
                    }
                    let seed = seed.wrapping_add(life);
                    match std::panic::catch_unwind(|| live(seed)) {
                        Ok(tally) => all.lock().expect("locks").add(&tally),
                        Err(_) => failed.lock().expect("locks").push(seed),
                    }
                    if life % 50 == 49 {
                        println!("{} lives: {:?}", life + 1, all.lock().expect("locks"));
                    }
                }
            });
        }
    });
    let (all, failed) = (all.into_inner().expect("locks"), failed.into_inner().expect("locks"));
    println!("{schedules} lives: {all:#?}");
    assert!(failed.is_empty(), "seeds that failed: {failed:?}");
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What happened in all lives.
#[derive(Debug, Default)]
struct Tally {
    lines: usize,
    kills: usize,
    rotations: usize,
    twice: usize,
    ids_again: usize,
    dead: usize,
    /// What was done to the shipper and its sinks, by kind.
    done: BTreeMap<String, usize>,
    /// What it counted of that, by metric; what a killed process counted is not in it.
    felt: Felt,
}

type Felt = BTreeMap<&'static str, f64>;

/// What this process has counted so far; it is about to end.
fn feel(felt: &mut Felt, shipper: &Running) {
    for name in FELT {
        *felt.entry(name).or_default() += count(shipper, name);
    }
}

/// The metrics that show whether a fault was one.
const FELT: [&str; 6] = [
    "checkpoint_failures_total",
    "retries_total",
    "batch_splits_total",
    "answers_lost_total",
    "dead_letters_total",
    "truncations_total",
];

impl Tally {
    fn add(&mut self, other: &Self) {
        self.lines += other.lines;
        self.kills += other.kills;
        self.rotations += other.rotations;
        self.twice += other.twice;
        self.ids_again += other.ids_again;
        self.dead += other.dead;
        for (kind, times) in &other.done {
            *self.done.entry(kind.clone()).or_default() += times;
        }
        for (&name, times) in &other.felt {
            *self.felt.entry(name).or_default() += times;
        }
    }
}

struct Life {
    rng: Rng,
    pod: Pod,
    bulk: FakeBulk,
    http: FakeHttp,
    mode: Mode,
    globs: [&'static str; LOGS.len()],
    shipper: Running,
    /// Lines written so far.
    next: usize,
    /// The number of the line whose first half stands in each log.
    begun: [Option<usize>; LOGS.len()],
    kills: usize,
    /// Answers lost, as the processes that have ended counted them.
    lost_answers: f64,
    rotations: usize,
    clock: Option<PathBuf>,
    disk: Option<testkit::Tmpfs>,
    done: BTreeMap<String, usize>,
    felt: Felt,
}

fn live(seed: u64) -> Tally {
    let mut life = Life::new(seed);
    let steps = life.rng.usize(10..40);
    let mut history = Vec::new();
    for _ in 0..steps {
        history.push(life.step());
    }
    life.end(seed, &history)
}

fn text(n: usize) -> String {
    format!("line {n}")
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let (pod, bulk, http) = (Pod::new(), FakeBulk::start(), FakeHttp::start());
        bulk.refuse(400, "document_parsing_exception", |doc| {
            doc.source["message"].as_str().is_some_and(|line| line == text(POISON))
        });
        let most = if rng.bool() { 90 } else { usize::MAX };
        refuse(&http, most);
        bulk.decide(move |request| too_many(request, most.saturating_mul(2)));
        let mode = if rng.bool() { Mode::Rename } else { Mode::CopyTruncate };
        let globs = if rng.bool() { LOGS } else { ["app.log*", "other.log*"] };
        let clock = Path::new(FAKETIME).exists().then(|| pod.dir.write("clock", "+0\n"));
        let disk = pod.dir.small_tmpfs("state", 64 * 1024);
        let shipper = start(&pod, &bulk, &http, &globs, clock.as_deref());
        // What is rotated before the first start is complete is not read, by design.
        shipper.wait_ready();
        Self {
            rng,
            pod,
            bulk,
            http,
            mode,
            globs,
            shipper,
            next: 0,
            begun: [None; LOGS.len()],
            kills: 0,
            lost_answers: 0.0,
            rotations: 0,
            clock,
            disk,
            done: BTreeMap::new(),
            felt: Felt::new(),
        }
    }

    fn note(&mut self, kind: impl Into<String>) {
        *self.done.entry(kind.into()).or_default() += 1;
    }

    fn step(&mut self) -> String {
        match self.rng.u32(0..26) {
            0..8 => self.write(),
            8..12 => self.rotate(),
            12..14 => self.fail_bulk(),
            14..16 => self.fail_http(),
            16 => {
                self.bulk.reset_all();
                self.http.reset_all();
                self.note("connections reset");
                "connections reset".into()
            }
            17 => {
                let ms = self.rng.u64(1..300);
                self.shipper.sigstop();
                std::thread::sleep(Duration::from_millis(ms));
                self.shipper.sigcont();
                self.note("SIGSTOP");
                format!("stopped for {ms} ms")
            }
            18 => {
                self.both(true);
                let ms = self.rng.u64(1..400);
                std::thread::sleep(Duration::from_millis(ms));
                self.both(false);
                self.note("refusing");
                format!("sinks down for {ms} ms")
            }
            19 | 20 => {
                self.shipper.sigkill();
                self.kills += 1;
                self.note("kill -9");
                self.restart();
                "kill -9".into()
            }
            21 => {
                // The app has ended and so has its last line; half of one would be sent as a part.
                self.end_lines();
                self.shipper.wait_ready();
                let lost = count(&self.shipper, "answers_lost_total");
                feel(&mut self.felt, &self.shipper);
                self.note("SIGTERM");
                self.shipper.sigterm();
                self.shipper.wait_exit_within(LONG);
                // What was under way when the grace was over may have arrived.
                self.lost_answers += lost + 1.0;
                self.restart();
                "SIGTERM".into()
            }
            22 => self.jump(),
            23 => self.fill_disk(),
            _ => {
                let ms = self.rng.u64(1..150);
                std::thread::sleep(Duration::from_millis(ms));
                format!("quiet for {ms} ms")
            }
        }
    }

    fn append(&self, log: usize, text: &str) {
        self.pod.append(LOGS[log], text);
    }

    fn write(&mut self) -> String {
        let log = self.rng.usize(0..LOGS.len());
        let lines = self.rng.usize(1..400);
        let mut all = String::new();
        for _ in 0..lines {
            if let Some(begun) = self.begun[log].take() {
                all.push_str(&text(begun)[4..]);
            } else {
                all.push_str(&text(self.next));
                self.next += 1;
            }
            all.push('\n');
        }
        if self.rng.u32(0..4) == 0 {
            // The beginning of the next line, whose rest comes whenever it comes.
            all.push_str(&text(self.next)[..4]);
            self.begun[log] = Some(self.next);
            self.next += 1;
        }
        self.append(log, &all);
        format!("{}: {lines} lines{}", LOGS[log], if self.begun[log].is_some() { " and a half" } else { "" })
    }

    fn end_line(&mut self, log: usize) {
        if let Some(begun) = self.begun[log].take() {
            self.append(log, &format!("{}\n", &text(begun)[4..]));
        }
    }

    fn end_lines(&mut self) {
        (0..LOGS.len()).for_each(|log| self.end_line(log));
    }

    /// A writer ends its line before its log is rotated: what it begins in one file it does not end in another.
    fn rotate(&mut self) -> String {
        let which = self.rng.usize(0..LOGS.len());
        let log = self.pod.log(LOGS[which]);
        self.end_line(which);
        if !log.exists() {
            return "nothing to rotate".into();
        }
        self.rotations += 1;
        self.note(format!("{:?}", self.mode));
        let name = |n: usize| format!("{}.{n}", log.display());
        for n in (1..60).rev() {
            let _ = fs::rename(name(n), name(n + 1));
        }
        match self.mode {
            Mode::Rename => fs::rename(&log, name(1)).expect("renames"),
            Mode::CopyTruncate => {
                fs::copy(&log, name(1)).expect("copies");
                OpenOptions::new().write(true).open(&log).expect("opens").set_len(0).expect("cuts");
            }
        }
        format!("{}: {:?}", LOGS[which], self.mode)
    }

    fn both(&self, down: bool) {
        if down {
            self.bulk.down();
            self.http.down();
        } else {
            self.bulk.up();
            self.http.up();
        }
    }

    fn answer(&mut self) -> Answer {
        let answer = self.any_answer();
        let text = format!("{answer:?}");
        self.note(if let Answer::After(..) = answer { "slow" } else { &text });
        answer
    }

    fn any_answer(&mut self) -> Answer {
        match self.rng.u32(0..9) {
            0 => Answer::Status(503),
            1 => Answer::RetryAfter(429, 0),
            2 => Answer::Status(500),
            3 => Answer::Reset,
            4 => Answer::AnswerLost,
            5 => Answer::Close,
            6 => Answer::Hang,
            7 => Answer::HalfBody,
            _ => Answer::After(Duration::from_millis(self.rng.u64(1..200)), Box::new(Answer::Ok)),
        }
    }

    fn fail_bulk(&mut self) -> String {
        if self.rng.bool() {
            let every = self.rng.usize(2..20);
            self.note("429 for items");
            self.bulk.throttle_once(move |doc| {
                let line = doc.source["message"].as_str().unwrap_or_default();
                line.rsplit(' ').next().and_then(|n| n.parse::<usize>().ok()).is_some_and(|n| n % every == 0)
            });
            return format!("429 for every {every}th document");
        }
        let answers: Vec<Answer> = (0..self.rng.usize(1..4)).map(|_| self.answer()).collect();
        let text = format!("bulk: {answers:?}");
        self.bulk.next(answers);
        text
    }

    fn fail_http(&mut self) -> String {
        let answers: Vec<Answer> = (0..self.rng.usize(1..4)).map(|_| self.answer()).collect();
        let text = format!("http: {answers:?}");
        self.http.next(answers);
        text
    }

    /// The clock of the shipper, and the time stamp of the log.
    fn jump(&mut self) -> String {
        let seconds = self.rng.i64(-100_000..100_000);
        self.note("clock jump");
        if let Some(clock) = &self.clock {
            fs::write(clock, format!("{seconds:+}\n")).expect("writes");
        }
        let log = self.pod.log(LOGS[self.rng.usize(0..LOGS.len())]);
        if let Ok(file) = OpenOptions::new().append(true).open(log) {
            let base = std::time::SystemTime::now();
            let there = Duration::from_secs(seconds.unsigned_abs());
            let time = if seconds < 0 { base - there } else { base + there };
            file.set_modified(time).expect("sets the time");
        }
        format!("clock {seconds:+} s")
    }

    fn fill_disk(&mut self) -> String {
        let Some(disk) = &self.disk else { return "no disk to fill".into() };
        let ballast = disk.join("ballast");
        if let Ok(mut file) = fs::File::create(&ballast) {
            // Fails when it is full, which is what it is for.
            let _ = file.write_all(&[0; 128 * 1024]);
        }
        let ms = self.rng.u64(50..500);
        std::thread::sleep(Duration::from_millis(ms));
        let _ = fs::remove_file(ballast);
        self.note("disk full");
        format!("disk full for {ms} ms")
    }

    fn restart(&mut self) {
        self.shipper = start(&self.pod, &self.bulk, &self.http, &self.globs, self.clock.as_deref());
    }

    fn end(mut self, seed: u64, history: &[String]) -> Tally {
        self.end_lines();
        let told = |what: &str| {
            format!("{what}\nseed {seed}, {:?} by {:?}:\n{}", self.mode, self.globs, history.join("\n"))
        };
        let poison = usize::from(self.next > POISON);
        self.shipper.wait_ready();
        let lost_here = || count(&self.shipper, "answers_lost_total");
        // Pauses between tries grow to 30 s; this is what a preStop hook does about them.
        let admin = self.shipper.wait_ready().addr("admin").to_string();
        let drain = testkit::Proc::new(env!("CARGO_BIN_EXE_sidecar-logshipper"));
        let drain = drain.args(["drain", "--quiet", "1s", "--within", "100s", "--admin", &admin]).spawn();
        let drained = drain.wait_exit_within(LONG);
        let arrived = || {
            let http = tally(&self.http.lines());
            let wanted = self.next - poison;
            // By what they say: a line may be there under two ids.
            let bulk = tally(&common::messages(&self.bulk));
            (http.len() >= wanted && bulk.len() >= wanted).then_some(())
        };
        let waited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually_within(LONG, "all lines", arrived);
        }));
        let http = tally(&self.http.lines());
        let bulk = tally(&common::messages(&self.bulk));
        for (name, got) in [("http", &http), ("bulk", &bulk)] {
            let missing: Vec<String> = (0..self.next)
                .filter(|n| *n != POISON)
                .map(text)
                .filter(|line| !got.contains_key(line))
                .collect();
            assert!(missing.is_empty(), "{}", told(&format!("{name}: missing {missing:?}")));
            let others: Vec<&String> = got
                .keys()
                .filter(|line| {
                    !line.strip_prefix("line ").is_some_and(|n| n.parse().is_ok_and(|n: usize| n < self.next))
                })
                .collect();
            assert!(others.is_empty(), "{}", told(&format!("{name}: never written: {others:?}")));
        }
        assert!(waited.is_ok() && drained.code() == Some(0), "{}", told(&drained.stderr()));
        let again: Vec<&String> =
            bulk.iter().filter(|(_, times)| **times > 1).map(|(line, _)| line).collect();
        assert!(again.is_empty(), "{}", told(&format!("under two ids: {again:?}")));
        let lost_answers = self.lost_answers + lost_here();
        let twice = http.values().filter(|times| **times > 1).count();
        assert!(
            twice == 0 || self.kills > 0 || lost_answers > 0.0,
            "{}",
            told(&format!("{twice} twice without a reason"))
        );
        assert!(count(&self.shipper, "lost_bytes_total") == 0.0, "{}", told("bytes were counted as lost"));
        feel(&mut self.felt, &self.shipper);
        self.shipper.sigterm();
        let exited = self.shipper.wait_exit_within(LONG);
        assert_eq!(exited.code(), Some(0), "{}", told(&exited.stderr()));
        let dead = dead_letters(&self.pod, self.disk.as_ref());
        assert!(
            dead.iter().all(|line| line.contains(&format!("{:?}", text(POISON)))),
            "{}",
            told(&format!("{dead:?}"))
        );
        assert!(dead.len() >= 2 * poison, "{}", told(&format!("the poison is not kept: {dead:?}")));
        // By more than an hour: what the shipper took for the time of a line.
        let here = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs() / 3600);
        let far = |doc: &Doc| hours(&doc.source).is_some_and(|hours| hours.abs_diff(here) > 1);
        if self.bulk.docs().iter().any(far) {
            self.felt.insert("lives_with_another_time", 1.0);
        }
        Tally {
            lines: self.next,
            kills: self.kills,
            rotations: self.rotations,
            twice,
            ids_again: self.bulk.duplicates(),
            dead: dead.len(),
            done: self.done,
            felt: self.felt,
        }
    }
}

/// The time of a document, in hours since 1970.
fn hours(source: &serde_json::Value) -> Option<u64> {
    let time: jiff::Timestamp = source["@timestamp"].as_str()?.parse().ok()?;
    u64::try_from(time.as_second() / 3600).ok()
}

fn dead_letters(pod: &Pod, disk: Option<&testkit::Tmpfs>) -> Vec<String> {
    let path =
        disk.map_or_else(|| pod.dir.join("state"), |disk| disk.path().to_owned()).join("dead-letter.ndjson");
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// A request with more lines than this is too large.
fn too_many(request: &Received, most: usize) -> Option<Answer> {
    (request.text().lines().count() > most).then_some(Answer::Status(413))
}

fn refuse(http: &FakeHttp, most: usize) {
    http.decide(move |request| {
        let poison = request.text().lines().any(|line| line == text(POISON));
        too_many(request, most).or(poison.then_some(Answer::Status(400)))
    });
}

fn start(pod: &Pod, bulk: &FakeBulk, http: &FakeHttp, globs: &[&str], clock: Option<&Path>) -> Running {
    let config = serde_json::json!({
        "read": globs.iter().map(|glob| pod.log(glob)).collect::<Vec<_>>(),
        "state": pod.dir.join("state"),
        "timeout": "1s",
        "shutdown_grace": "2s",
        "batch_lines": 200,
        "idle_line": "10m",
        "sinks": [{"to": bulk_url(bulk)}, {"to": http.url("/in"), "format": "raw"}],
    });
    let config = pod.dir.write("c.yaml", config.to_string());
    let mut proc = testkit::Proc::new(env!("CARGO_BIN_EXE_sidecar-logshipper"))
        .json_logs()
        .args(["--admin", "127.0.0.1:0", "--config"])
        .arg(config);
    if let Some(clock) = clock {
        proc = proc
            .env("LD_PRELOAD", FAKETIME)
            .env("FAKETIME_TIMESTAMP_FILE", clock)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }
    proc.spawn()
}

/// How often each line came.
fn tally(lines: &[String]) -> BTreeMap<String, usize> {
    lines.iter().fold(BTreeMap::new(), |mut tally, line| {
        *tally.entry(line.clone()).or_default() += 1;
        tally
    })
}
