//! fetch --refresh: a sidecar that keeps what it fetched current.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use testkit::fake::{Answer, FakeHttp, Reply};
use testkit::{PodDir, Proc, Running, eventually, http, metrics};

use crate::once::{archive, file};
use crate::waitfor;

struct Kept {
    pod: PodDir,
    http: FakeHttp,
}

impl Kept {
    fn new() -> Self {
        let kept = Kept { pod: PodDir::new(), http: FakeHttp::start() };
        kept.pod.mkdir("v");
        kept
    }

    /// This content, with an ETag that is honoured.
    fn serve(&self, tag: &str, body: impl AsRef<[u8]>) {
        let (tag, body) = (format!("\"{tag}\""), body.as_ref().to_owned());
        self.http.decide(move |request| {
            let reply = if request.header("if-none-match") == Some(&tag) {
                Reply::new(304, "").header("etag", &tag)
            } else {
                Reply::new(200, &body).header("etag", &tag)
            };
            Some(reply.into())
        });
    }

    fn proc(&self, args: &[&str]) -> Proc {
        waitfor()
            .args(["fetch", &self.http.url("/a")])
            .arg(self.link())
            .env("WAITFOR_REFRESH", "200ms")
            .env("WAITFOR_INTERVAL", "50ms")
            .env("WAITFOR_ADMIN", "127.0.0.1:0")
            .args(args)
    }

    fn link(&self) -> PathBuf {
        self.pod.join("v/data")
    }

    /// Whole ones; a download that is under way has a name with a dot.
    fn versions(&self) -> usize {
        let entries = std::fs::read_dir(self.pod.join("v/.data.trees")).unwrap().flatten();
        entries.filter(|entry| !entry.file_name().to_string_lossy().starts_with('.')).count()
    }
}

fn start(proc: &Proc) -> (Running, SocketAddr) {
    let running = proc.spawn();
    let admin = running.wait_ready().addr("admin");
    (running, admin)
}

fn total(admin: SocketAddr, name: &str) -> f64 {
    metrics::metrics(admin).value(&format!("init_waitfor_{name}"))
}

#[test]
fn a_file_is_swapped_when_it_changes_and_asked_for_by_condition() {
    let kept = Kept::new();
    kept.serve("1", "one");
    let (running, admin) = start(&kept.proc(&["--mode", "0640"]));
    assert_eq!(std::fs::read(kept.link()).unwrap(), b"one");
    assert!(kept.link().symlink_metadata().unwrap().is_symlink());
    // Relative, so that it leads there wherever the volume is mounted.
    assert!(std::fs::read_link(kept.link()).unwrap().starts_with(".data.trees"));
    eventually("an answer of 304", || (total(admin, "fetch_unchanged_total") > 1.0).then_some(()));
    assert_eq!(total(admin, "fetch_swaps_total"), 1.0);
    assert_eq!(total(admin, "fetch_received_bytes_total"), 3.0);
    for n in 2..6 {
        kept.serve(&n.to_string(), format!("content {n}"));
        let wanted = format!("content {n}");
        eventually("the new content", || {
            (std::fs::read(kept.link()).ok()? == wanted.as_bytes()).then_some(())
        });
    }
    eventually("old versions gone", || (kept.versions() <= 2).then_some(()));
    assert_eq!(http::get(admin, "/readyz").status, 200);
    assert_eq!(http::get(admin, "/livez").status, 200);
    let status = eventually("five swaps counted", || {
        let status = http::get(admin, "/statusz").json();
        (status["totals"]["swaps"] == 5).then_some(status)
    });
    assert!(status["gauges"]["last_success_unix_seconds"].as_f64().unwrap() > 1.7e9);
    assert!(http::get(admin, "/").text().contains("<html"));
    let probe = |args: &[&str]| waitfor().args(["probe", "--admin", &admin.to_string()]).args(args).run();
    probe(&["--ready"]).expect_code(0);
    probe(&[]).expect_code(0);
    running.sigterm();
    running.wait_exit().expect_code(0);
    probe(&[]).expect_code(1);
}

#[test]
fn failures_keep_what_is_there_and_a_restart_is_ready_with_it() {
    let kept = Kept::new();
    kept.serve("1", "one");
    let (running, admin) = start(&kept.proc(&[]));
    for answer in [Answer::Status(500), Answer::Status(404), Answer::Reset, Answer::HalfBody] {
        let before = total(admin, "fetch_failures_total");
        kept.http.decide(move |_| Some(answer.clone()));
        eventually("a failure", || (total(admin, "fetch_failures_total") > before + 1.0).then_some(()));
        assert_eq!(std::fs::read(kept.link()).unwrap(), b"one");
        assert_eq!(http::get(admin, "/readyz").status, 200);
    }
    assert!(!http::get(admin, "/statusz").json()["fetch"][0]["error"].as_str().unwrap().is_empty());
    running.sigkill();
    // Half a version and half a swap of a process that was killed.
    kept.pod.write("v/.data.trees/.download.1.00000000", "half");
    kept.pod.write("v/.data.trees/0123-half/file", "half");
    let (running, _) = start(&kept.proc(&[]));
    assert_eq!(std::fs::read(kept.link()).unwrap(), b"one");
    kept.serve("2", "two");
    eventually("the new content", || (std::fs::read(kept.link()).ok()? == b"two").then_some(()));
    eventually("leftovers gone", || {
        let left =
            [".download.1.00000000", "0123-half"].map(|name| kept.pod.join("v/.data.trees").join(name));
        (kept.versions() == 2 && !left.iter().any(|path| path.exists())).then_some(())
    });
    // Who removes the link gets it back, although the server has nothing new.
    std::fs::remove_file(kept.link()).unwrap();
    eventually("the link again", || (std::fs::read(kept.link()).ok()? == b"two").then_some(()));
    running.sigterm();
    running.wait_exit().expect_code(0);
}

#[test]
fn readiness_waits_for_the_first_content_and_not_for_ever() {
    let kept = Kept::new();
    kept.http.always(Answer::Status(503));
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let waiting = kept.proc(&["--admin", &free.to_string()]).spawn();
    eventually("unready", || {
        let answer = http::try_send(free, &http::Request::new("GET", "/readyz")).ok()?;
        (answer.status == 503 && answer.text().contains("content")).then_some(())
    });
    kept.serve("1", "one");
    waiting.wait_ready();
    waiting.sigterm();
    waiting.wait_exit().expect_code(0);

    let none = Kept::new();
    none.http.always(Answer::Status(404));
    none.proc(&[]).run().expect_code(1).expect_stderr("404");
    none.http.always(Answer::Status(503));
    none.proc(&["--timeout", "1s"]).run().expect_code(124).expect_stderr("503");
    // SIGTERM before there is anything is a clean end, too.
    let before = none.http.count();
    let waiting = none.proc(&[]).spawn();
    eventually("asked", || (none.http.count() > before).then_some(()));
    waiting.sigterm();
    waiting.wait_exit().expect_code(0);
}

#[test]
fn archives_are_swapped_whole() {
    let kept = Kept::new();
    let version =
        |n: usize| archive(&[file("a", n.to_string().as_bytes()), file("b", n.to_string().as_bytes())]);
    kept.serve("0", version(0));
    let (running, _) = start(&kept.proc(&["--extract", "--refresh", "100ms"]));
    let mut seen = std::collections::BTreeSet::new();
    for n in 1..8 {
        kept.serve(&n.to_string(), version(n));
        eventually("the new version", || {
            // As a reader does that opens the link once; the version before the current one is still whole.
            let tree = kept.pod.join("v").join(std::fs::read_link(kept.link()).unwrap());
            let (a, b) = (std::fs::read(tree.join("a")).unwrap(), std::fs::read(tree.join("b")).unwrap());
            assert_eq!(a, b);
            seen.insert(a.clone());
            (a == n.to_string().as_bytes()).then_some(())
        });
    }
    assert!(seen.len() >= 7);
    // An archive that is refused changes nothing.
    kept.serve("bad", archive(&[file("../x", b"")]));
    running.wait_log("a refusal", |line| line["reason"].as_str().unwrap_or("").contains("leads out"));
    assert_eq!(std::fs::read(kept.link().join("a")).unwrap(), b"7");
    assert!(kept.versions() <= 2);
    running.sigterm();
    running.wait_exit().expect_code(0);
}

#[test]
fn one_process_per_link_and_no_link_over_something_else() {
    let kept = Kept::new();
    kept.serve("1", "one");
    let (running, _) = start(&kept.proc(&[]));
    kept.proc(&[]).run().expect_code(1).expect_stderr("another init-waitfor");
    running.sigterm();
    running.wait_exit().expect_code(0);
    let other = Kept::new();
    other.pod.write("v/data", "precious");
    other.proc(&[]).run().expect_code(1).expect_stderr("is no link");
    assert_eq!(other.pod.read("v/data").unwrap(), b"precious");
}

#[test]
fn a_new_configuration_is_taken_over_and_a_token_read_again() {
    let kept = Kept::new();
    let token = kept.pod.write("token", "s3cret-one");
    kept.http.decide(|request| {
        let body = format!("{} {}", request.path(), request.header("authorization").unwrap_or("none"));
        Some(Reply::new(200, body).into())
    });
    let config = |path: &str| {
        format!(
            "fetch:\n  url: {}\n  dest: {}\n  refresh: 200ms\n  bearer: {{file: {}}}\n",
            kept.http.url(path),
            kept.link().display(),
            token.display()
        )
    };
    let map = kept.pod.config_map("conf", &[("c.yaml", &config("/one"))]);
    let proc = waitfor().arg("--config").arg(map.join("c.yaml")).args(["fetch", "--admin", "127.0.0.1:0"]);
    let (running, _) = start(&proc);
    let shows = |wanted: &str| {
        eventually(wanted, || (std::fs::read(kept.link()).ok()? == wanted.as_bytes()).then_some(()));
    };
    shows("/one Bearer s3cret-one");
    kept.pod.write("token", "s3cret-two");
    shows("/one Bearer s3cret-two");
    map.swap(&[("c.yaml", &config("/two"))]);
    shows("/two Bearer s3cret-two");
    map.swap(&[("c.yaml", "fetch: {refrsh: 1s}")]);
    running.wait_log("refused", |line| line["message"].as_str().unwrap_or("").contains("refused"));
    std::thread::sleep(Duration::from_millis(300));
    shows("/two Bearer s3cret-two");
    running.sigterm();
    let done = running.wait_exit();
    done.expect_code(0);
    assert!(!done.stderr().contains("s3cret"), "{}", done.stderr());
}
