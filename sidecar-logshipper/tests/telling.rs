//! What it tells about itself: every metric that the README names, exact; and `/statusz` with the page over it.

mod common;

use std::collections::BTreeSet;

use common::{Pod, bulk_url, count, lines, status, stop, wait_docs};
use serde_json::{Value, json};
use testkit::fake::{Answer, FakeBulk, FakeHttp};
use testkit::metrics::metrics;
use testkit::{eventually, http};

const README: &str = include_str!("../README.md");
const PREFIX: &str = "sidecar_logshipper_";

/// The names in the table of the README, without their suffix.
fn documented() -> BTreeSet<String> {
    let table =
        README.split("## Metrics").nth(1).and_then(|text| text.split("\n## ").next()).expect("a table");
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let names = rows.flat_map(|row| row.split('|').nth(1).unwrap_or_default().split('`').skip(1).step_by(2));
    names.map(|name| name.trim_end_matches("_total").to_owned()).collect()
}

#[test]
fn the_metrics_are_those_of_the_readme() {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    pod.append("app.log", "one\n");
    let shipper = pod.shipper("app.log", &bulk_url(&sink)).spawn();
    wait_docs(&sink, 1);
    let page = metrics(shipper.wait_ready().addr("admin"));
    let own = |sink: bool| -> BTreeSet<String> {
        let samples = page.samples.iter().filter(|sample| sample.labels.contains_key("sink") == sink);
        samples
            .filter_map(|sample| sample.name.strip_prefix(PREFIX))
            .map(|name| name.trim_end_matches("_total").to_owned())
            .collect()
    };
    let documented = documented();
    let missing: Vec<_> =
        documented.iter().filter(|name| !own(true).contains(*name) && !own(false).contains(*name)).collect();
    assert!(missing.is_empty(), "in the README only: {missing:?}");
    let unknown: Vec<_> = own(true).into_iter().filter(|name| !documented.contains(name)).collect();
    assert!(unknown.is_empty(), "not in the README: {unknown:?}");
    for name in documented {
        assert!(
            page.help.get(&format!("{PREFIX}{name}")).is_some_and(|help| help.len() > 5),
            "{name} has no help"
        );
    }
    stop(&shipper);
}

#[test]
fn what_is_counted_is_exact() {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    let number = |doc: &testkit::fake::Doc| {
        doc.source["message"].as_str().and_then(|m| m.strip_prefix("line ")?.parse::<u32>().ok())
    };
    sink.refuse(400, "document_parsing_exception", move |doc| number(doc).is_some_and(|n| n < 3));
    sink.next([Answer::AnswerLost]);
    let text = [lines(0, 100).as_bytes(), b"odd \xff\n", "y".repeat(250).as_bytes(), b"\n"].concat();
    pod.append("app.log", &text);
    let args = ["--max-line", "100", "--batch-lines", "1000", "--requests", "1"];
    let shipper = pod.shipper("app.log", &bulk_url(&sink)).args(args).spawn();
    // A hundred lines, an odd one, and one in three parts; three of them refused.
    let items = 104.0;
    eventually("all are settled", || (count(&shipper, "lag_bytes") == 0.0).then_some(()));
    pod.dir.rename("logs/app.log", "logs/app.log.1");
    pod.append("app.log", "next\n");
    wait_docs(&sink, 102);
    pod.dir.truncate("logs/app.log", 0);
    pod.append("app.log", "n\n");
    wait_docs(&sink, 103);
    let settled = || count(&shipper, "lag_bytes") == 0.0 && count(&shipper, "files") == 2.0;
    eventually("all are settled", || settled().then_some(()));
    let sent: usize = sink.requests().iter().map(|request| request.body.len()).sum();
    for (name, value) in [
        ("lines_read_total", items + 2.0),
        ("bytes_read_total", (text.len() + 5 + 2) as f64),
        ("lines_delivered_total", items - 3.0 + 2.0),
        ("dead_letters_total", 3.0),
        ("lines_not_utf8_total", 1.0),
        ("line_parts_total", 3.0),
        ("lines_joined_total", 0.0),
        ("answers_lost_total", 1.0),
        // What the lost answer had taken, and it alone.
        ("lines_known_total", items - 3.0),
        ("requests_total", sink.count() as f64),
        ("retries_total", 1.0),
        ("batch_splits_total", 0.0),
        ("bytes_sent_total", sent as f64),
        ("renames_total", 1.0),
        ("truncations_total", 1.0),
        ("lost_bytes_total", 0.0),
        ("lost_files_total", 0.0),
        ("in_flight_bytes", 0.0),
        ("lag_seconds", 0.0),
        ("checkpoint_failures_total", 0.0),
        ("checkpoint_damaged_total", 0.0),
        ("config_reload_failures_total", 0.0),
    ] {
        assert_eq!(count(&shipper, name), value, "{name}");
    }
    assert!(count(&shipper, "checkpoint_saves_total") > 0.0);
    stop(&shipper);
}

#[test]
fn joined_lines_are_counted_with_what_they_belong_to() {
    let (pod, sink) = (Pod::new(), FakeHttp::start());
    pod.append("app.log", "> a\nb\nc\n> d\n");
    let args = ["--multiline-start", "^>", "--multiline-idle", "100ms"];
    let shipper = pod.shipper("app.log", &sink.url("/")).args(args).spawn();
    eventually("both", || (count(&shipper, "lines_delivered_total") == 2.0).then_some(()));
    assert_eq!((count(&shipper, "lines_read_total"), count(&shipper, "lines_joined_total")), (2.0, 2.0));
    stop(&shipper);
}

#[test]
fn the_status_shows_each_file_and_each_sink() {
    let (pod, sink, dead) = (Pod::new(), FakeBulk::start(), FakeHttp::start());
    dead.always(Answer::Status(503));
    pod.append("a.log", lines(0, 10));
    pod.append("b.log", lines(10, 20));
    let shipper = pod.shipper("*.log", &bulk_url(&sink)).args(["--to", &dead.url("/x")]).spawn();
    let admin = shipper.wait_ready().addr("admin");
    wait_docs(&sink, 30);
    let find = |list: &str, is: &dyn Fn(&Value) -> bool| -> Option<Value> {
        status(&shipper)[list].as_array().into_iter().flatten().find(|one| is(one)).cloned()
    };
    let name =
        |of: &str| find("sinks", &|sink| sink["name"].as_str().is_some_and(|name| name.starts_with(of)));
    let waits = |sink: &Value| sink["state"] == "retrying" && sink["lag_bytes"] == 230;
    let shown = eventually("the dead one is shown", || name("http-").filter(waits));
    assert!(shown["problem"].as_str().is_some_and(|why| why.starts_with("503")), "{shown}");
    assert_eq!(
        (&shown["delivered"], &shown["lost_bytes"], &shown["dead_letters"]),
        (&json!(0), &json!(0), &json!(0))
    );
    assert!(shown["retries"].as_u64() > Some(0) && shown["in_flight_bytes"].as_u64() > Some(230), "{shown}");
    let well =
        |sink: &Value| sink["delivered"] == 30 && sink["lag_bytes"] == 0 && sink["state"] == "following";
    let shown = eventually("the other has all", || name("elasticsearch-").filter(well));
    assert!(shown["problem"].is_null(), "{shown}");
    let file = |path: &str, sink: &str| {
        let path = pod.log(path).display().to_string();
        find("files", &|file| {
            file["path"] == path && file["sink"].as_str().is_some_and(|name| name.starts_with(sink))
        })
    };
    let behind = eventually("seconds pass", || {
        file("b.log", "http-").filter(|file| file["lag_seconds"].as_u64() > Some(0))
    });
    assert_eq!(
        (&behind["offset"], &behind["size"], &behind["lag_bytes"]),
        (&json!(0), &json!(160), &json!(160)),
        "{behind}"
    );
    let read = file("b.log", "elasticsearch-").expect("it is there");
    assert_eq!(
        (&read["offset"], &read["lag_bytes"], &read["lag_seconds"], &read["state"]),
        (&json!(160), &json!(0), &json!(0), &json!("following")),
        "{read}"
    );
    let whole = status(&shipper);
    assert_eq!(
        (&whole["totals"]["lines_read"], &whole["totals"]["lines_delivered"], &whole["gauges"]["lag_bytes"]),
        (&json!(60), &json!(30), &json!(230))
    );
    eventually("also as a metric", || (count(&shipper, "lag_seconds") > 0.0).then_some(()));
    let page = http::get(admin, "/");
    assert!(
        page.header("content-type").is_some_and(|kind| kind.starts_with("text/html"))
            && page.text().contains("/statusz")
    );
    assert_eq!(http::get(admin, "/livez").status, 200);
    dead.always(Answer::Ok);
    eventually("both have all", || (status(&shipper)["totals"]["lines_delivered"] == 60).then_some(()));
    stop(&shipper);
}

/// Only a program on this machine may change what it does, and only by POST.
#[test]
fn asking_changes_nothing() {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    pod.append("app.log", "one\n");
    let shipper = pod.shipper("app.log", &bulk_url(&sink)).spawn();
    let admin = shipper.wait_ready().addr("admin");
    wait_docs(&sink, 1);
    let ask = |request: http::Request| http::send(admin, &request).status;
    assert_eq!(ask(http::Request::new("GET", "/drain")), 404);
    assert_eq!(
        ask(http::Request::new("POST", "/drain").header("Origin", "http://evil.example")),
        403,
        "a web page"
    );
    assert_eq!(ask(http::Request::new("POST", "/quit")), 404);
    assert_eq!(ask(http::Request::new("POST", "/drain")), 202);
    assert!(shipper.is_running());
    stop(&shipper);
}
