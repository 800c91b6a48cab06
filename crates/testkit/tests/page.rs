//! The status page in a real browser: what it shows, that hostile names stay text, how it looks.
//!
//! Slow and in need of Chromium, so only with `cargo test -p testkit --test page -- --ignored`.
//! The pictures are in `target/tmp/pages`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use testkit::fake::{Answer, FakeHttp, Reply};
use testkit::{PodDir, Proc, skip_or_fail};

const PAGE: &str = include_str!("../../podkit/src/admin/page.html");
/// At least as strict as the header that the admin port sends with it.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'";

/// Serves the page and a `/statusz` that goes on by one second with every look.
fn site(status: impl Fn(u64) -> Value + Send + Sync + 'static) -> FakeHttp {
    let looks = AtomicU64::new(0);
    FakeHttp::with(move |request| match request.path() {
        "/" => Reply::new(200, PAGE)
            .header("content-type", "text/html; charset=utf-8")
            .header("content-security-policy", POLICY),
        "/statusz" => Reply::json(200, &status(looks.fetch_add(1, Ordering::Relaxed))),
        _ => Reply::new(404, ""),
    })
}

fn shipper(looks: u64) -> Value {
    let waves = [200, 230, 250, 240, 210, 180, 160, 170];
    let read: u64 = (0..looks).map(|n| waves[usize::try_from(n % 8).unwrap_or(0)]).sum();
    json!({
        "name": "sidecar-logshipper", "version": "0.1.0", "state": "running", "ready": true, "uptime_seconds": 7260 + looks,
        "totals": {"lines_read": read, "lines_acknowledged": read - read % 200, "bytes_read": read * 143, "retries": 2},
        "gauges": {"lag_bytes": 12_345_678, "oldest_unsent_seconds": 0.25},
        "files": [
            {"path": "/var/log/app/access.log", "state": "following", "lag_bytes": 0},
            {"path": "/var/log/app/<img src=x onerror=\"document.title='owned'\">.log", "state": "following", "lag_bytes": 512},
            {"path": "/var/log/app/\u{202e}gpj.exe", "state": "rotated", "lag_bytes": 0},
        ],
        "sinks": [
            {"to": "elasticsearch+http://es:9200/logs", "state": "down", "error": "connection refused"},
            {"to": "stdout", "state": "ok", "error": null},
        ],
        "__proto__": [{"constructor": 1}],
    })
}

struct Browser {
    program: &'static str,
    profile: PodDir,
}

impl Browser {
    fn find() -> Option<Self> {
        let found = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"]
            .into_iter()
            .find(|path| Path::new(path).exists());
        if found.is_none() {
            skip_or_fail("the status page in a browser: there is no Chromium");
        }
        Some(Self { program: found?, profile: PodDir::new() })
    }

    fn command(&self, site: &FakeHttp, seconds: u32, options: &[&str]) -> Proc {
        let profile = format!("--user-data-dir={}", self.profile.path().display());
        Proc::new(self.program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", &profile])
            .arg(format!("--virtual-time-budget={}", seconds * 1000))
            .args(options)
            .arg(site.url("/"))
    }

    /// The document after so many seconds of its own time.
    fn document(&self, site: &FakeHttp, seconds: u32) -> String {
        self.command(site, seconds, &["--dump-dom"]).run().expect_code(0).stdout()
    }

    fn picture(&self, site: &FakeHttp, name: &str, size: &str, dark: bool) {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("pages");
        std::fs::create_dir_all(&folder).expect("create the folder");
        let path = folder.join(format!("{name}.png"));
        let _ = std::fs::remove_file(&path);
        let scheme = format!("--blink-settings=preferredColorScheme={}", u8::from(!dark));
        let (file, size) = (format!("--screenshot={}", path.display()), format!("--window-size={size}"));
        self.command(site, 125, &[&scheme, &file, &size]).run().expect_code(0);
        let picture = std::fs::read(&path).expect("a picture");
        assert!(picture.starts_with(b"\x89PNG"), "{} is not a picture", path.display());
    }
}

#[track_caller]
fn shows(document: &str, text: &str) {
    assert!(document.contains(text), "the page does not show {text:?}:\n{document}");
}

#[test]
#[ignore = "slow, needs Chromium: cargo test -p testkit --test page -- --ignored"]
fn shows_numbers_rates_and_states_and_keeps_hostile_names_as_text() {
    let Some(browser) = Browser::find() else { return };
    let document = browser.document(&site(shipper), 10);
    let body = document.split("<script>").next().expect("the part before the script");
    for text in [
        "sidecar-logshipper",
        "● ready",
        "up 2 h 1 min",
        "<dt>Lines read</dt>",
        "/s</dd>",
        "11.8 MiB",
        "250 ms",
        "<path class=\"curve\"",
        "<path class=\"curve second\"",
        "<span class=\"word bad\">✕ down</span>",
        "<span class=\"word ok\">● following</span>",
        "/var/log/app/&lt;img src=x onerror=\"document.title='owned'\"&gt;.log",
        "/var/log/app/\\u{202e}gpj.exe",
        "scope=\"col\"",
    ] {
        shows(body, text);
    }
    assert!(!body.contains("<img") && !document.contains("<title>owned"), "{body}");
    assert!(!body.contains('\u{202e}'), "a direction mark reached the page");
    assert!(body.contains("<div id=\"stale\" hidden"), "the banner is up though all is well");
}

#[test]
#[ignore = "slow, needs Chromium: cargo test -p testkit --test page -- --ignored"]
fn says_when_there_is_no_answer() {
    let Some(browser) = Browser::find() else { return };
    let site = site(shipper);
    let after = AtomicU64::new(0);
    site.decide(move |request| {
        let failing = request.path() == "/statusz" && after.fetch_add(1, Ordering::Relaxed) >= 3;
        failing.then_some(Answer::Status(503))
    });
    let document = browser.document(&site, 10);
    shows(&document, "No answer (HTTP 503)");
    shows(&document, "The last answer came");
    shows(&document, "✕ no answer");
    shows(&document, "<dt>Lines read</dt>");
}

#[test]
#[ignore = "slow, needs Chromium: cargo test -p testkit --test page -- --ignored"]
fn takes_whatever_statusz_may_say() {
    let Some(browser) = Browser::find() else { return };
    for status in [
        json!({}),
        json!([]),
        json!(null),
        json!({"name": 1, "totals": [], "gauges": null, "ready": "maybe", "files": [], "x": {"y": {"z": 1}}, "l": [1, [2], {"a": 1}]}),
        json!({"name": "n".repeat(5000), "totals": {"only": 1e300}, "files": [{"a": {"b": 1}}, {"c": [1, 2]}]}),
    ] {
        let told = status.to_string();
        let document = browser.document(&site(move |_| status.clone()), 4);
        let calm = document.contains("<div id=\"stale\" hidden");
        assert!(calm, "{} breaks the page:\n{document}", &told[..told.len().min(200)]);
    }
}

#[test]
#[ignore = "slow, needs Chromium: cargo test -p testkit --test page -- --ignored"]
fn has_its_picture_taken() {
    let Some(browser) = Browser::find() else { return };
    browser.picture(&site(shipper), "wide-light", "1280,1000", false);
    browser.picture(&site(shipper), "wide-dark", "1280,1000", true);
    browser.picture(&site(shipper), "narrow-light", "390,1500", false);
}
