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
use std::time::Duration;

use common::{Mode, Pod, bulk_url, count};
use fastrand::Rng;
use testkit::fake::{Answer, FakeBulk, FakeHttp, Received};
use testkit::{Running, eventually_within};

/// Debian's libfaketime: the clock of one process, in a file.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
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
    let mut all = Tally::default();
    for life in 0..schedules {
        let seed = seed.wrapping_add(life);
        println!("seed {seed}");
        all.add(&live(seed));
        if life % 50 == 49 || life + 1 == schedules {
            println!("{} lives: {all:?}", life + 1);
        }
    }
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
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.lines += other.lines;
        self.kills += other.kills;
        self.rotations += other.rotations;
        self.twice += other.twice;
        self.ids_again += other.ids_again;
        self.dead += other.dead;
    }
}

struct Life {
    rng: Rng,
    pod: Pod,
    bulk: FakeBulk,
    http: FakeHttp,
    mode: Mode,
    glob: &'static str,
    shipper: Running,
    /// Lines written so far.
    next: usize,
    /// The first half of the line `next` stands in the log.
    begun: bool,
    kills: usize,
    /// Answers lost, as the processes that have ended counted them.
    lost_answers: f64,
    rotations: usize,
    clock: Option<PathBuf>,
    disk: Option<testkit::Tmpfs>,
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
        let glob = if rng.bool() { "app.log" } else { "app.log*" };
        let clock = Path::new(FAKETIME).exists().then(|| pod.dir.write("clock", "+0\n"));
        let disk = pod.dir.small_tmpfs("state", 64 * 1024);
        let shipper = start(&pod, &bulk, &http, glob, clock.as_deref());
        // What is rotated before the first start is complete is not read, by design.
        shipper.wait_ready();
        Self {
            rng,
            pod,
            bulk,
            http,
            mode,
            glob,
            shipper,
            next: 0,
            begun: false,
            kills: 0,
            lost_answers: 0.0,
            rotations: 0,
            clock,
            disk,
        }
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
                "connections reset".into()
            }
            17 => {
                let ms = self.rng.u64(1..300);
                self.shipper.sigstop();
                std::thread::sleep(Duration::from_millis(ms));
                self.shipper.sigcont();
                format!("stopped for {ms} ms")
            }
            18 => {
                self.both(true);
                let ms = self.rng.u64(1..400);
                std::thread::sleep(Duration::from_millis(ms));
                self.both(false);
                format!("sinks down for {ms} ms")
            }
            19 | 20 => {
                self.shipper.sigkill();
                self.kills += 1;
                self.restart();
                "kill -9".into()
            }
            21 => {
                // The app has ended and so has its last line; half of one would be sent as a part.
                self.end_line();
                self.shipper.wait_ready();
                let lost = count(&self.shipper, "answers_lost_total");
                self.shipper.sigterm();
                self.shipper.wait_exit();
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

    fn append(&self, text: &str) {
        self.pod.append("app.log", text);
    }

    fn write(&mut self) -> String {
        let lines = self.rng.usize(1..400);
        let mut all = String::new();
        for _ in 0..lines {
            let line = text(self.next);
            all.push_str(if self.begun { &line[4..] } else { &line });
            all.push('\n');
            self.begun = false;
            self.next += 1;
        }
        if self.rng.u32(0..4) == 0 {
            // The beginning of the next line, whose rest comes whenever it comes.
            all.push_str(&text(self.next)[..4]);
            self.begun = true;
        }
        self.append(&all);
        format!("{lines} lines{}", if self.begun { " and a half" } else { "" })
    }

    fn end_line(&mut self) {
        if self.begun {
            self.append(&format!("{}\n", &text(self.next)[4..]));
            self.begun = false;
            self.next += 1;
        }
    }

    /// A writer ends its line before its log is rotated: what it begins in one file it does not end in another.
    fn rotate(&mut self) -> String {
        let log = self.pod.log("app.log");
        self.end_line();
        if !log.exists() {
            return "nothing to rotate".into();
        }
        self.rotations += 1;
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
        format!("{:?}", self.mode)
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
        if let Some(clock) = &self.clock {
            fs::write(clock, format!("{seconds:+}\n")).expect("writes");
        }
        let log = self.pod.log("app.log");
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
        format!("disk full for {ms} ms")
    }

    fn restart(&mut self) {
        self.shipper = start(&self.pod, &self.bulk, &self.http, self.glob, self.clock.as_deref());
    }

    fn end(mut self, seed: u64, history: &[String]) -> Tally {
        self.end_line();
        let told = |what: &str| {
            format!("{what}\nseed {seed}, {:?} by {}:\n{}", self.mode, self.glob, history.join("\n"))
        };
        let poison = usize::from(self.next > POISON);
        self.shipper.wait_ready();
        let lost_here = || count(&self.shipper, "answers_lost_total");
        // Pauses between tries grow to 30 s; this is what a preStop hook does about them.
        let admin = self.shipper.wait_ready().addr("admin").to_string();
        let drain = testkit::Proc::new(env!("CARGO_BIN_EXE_sidecar-logshipper"));
        let drained = drain.args(["drain", "--quiet", "1s", "--within", "50s", "--admin", &admin]).run();
        let arrived = || {
            let http = tally(&self.http.lines());
            let wanted = self.next - poison;
            // By what they say: a line may be there under two ids.
            let bulk = tally(&common::messages(&self.bulk));
            (http.len() >= wanted && bulk.len() >= wanted).then_some(())
        };
        let limit = Duration::from_secs(60);
        let waited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually_within(limit, "all lines", arrived);
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
        // What was read, not saved, and then copied by the rotation before the next start is another file with other ids.
        let copied = self.mode == Mode::CopyTruncate && self.kills > 0;
        assert!(copied || bulk.values().all(|times| *times == 1), "{}", told("an id came twice"));
        let lost_answers = self.lost_answers + lost_here();
        let twice = http.values().filter(|times| **times > 1).count();
        assert!(
            twice == 0 || self.kills > 0 || lost_answers > 0.0,
            "{}",
            told(&format!("{twice} twice without a reason"))
        );
        assert!(count(&self.shipper, "lost_bytes_total") == 0.0, "{}", told("bytes were counted as lost"));
        self.shipper.sigterm();
        let exited = self.shipper.wait_exit();
        assert_eq!(exited.code(), Some(0), "{}", told(&exited.stderr()));
        let dead = dead_letters(&self.pod, self.disk.as_ref());
        assert!(
            dead.iter().all(|line| line.contains(&format!("{:?}", text(POISON)))),
            "{}",
            told(&format!("{dead:?}"))
        );
        assert!(dead.len() >= 2 * poison, "{}", told(&format!("the poison is not kept: {dead:?}")));
        Tally {
            lines: self.next,
            kills: self.kills,
            rotations: self.rotations,
            twice,
            ids_again: self.bulk.duplicates(),
            dead: dead.len(),
        }
    }
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

fn start(pod: &Pod, bulk: &FakeBulk, http: &FakeHttp, glob: &str, clock: Option<&Path>) -> Running {
    let config = serde_json::json!({
        "read": [pod.log(glob)],
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
