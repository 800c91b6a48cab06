//! From the file to each sink, and what happens when a sink is not well.

mod common;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Pod, assert_exact, bulk_url, count, lines, messages, status, stop, wait_docs};
use serde_json::json;
use testkit::fake::{Answer, FakeBulk, FakeHttp};
use testkit::{TestCa, TlsShim, eventually, http};

#[test]
fn lines_reach_elasticsearch_with_their_origin() {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    sink.only_create();
    pod.append("app.log", "hello \"world\"\n");
    let shipper = pod.shipper("*.log", &bulk_url(&sink)).args(["--field", "team=shop"]).spawn();
    wait_docs(&sink, 1);
    let doc = &sink.docs()[0];
    assert_eq!(doc.index, "logs-app-default");
    assert_eq!(doc.source["message"], "hello \"world\"");
    assert_eq!(doc.source["kubernetes.pod.name"], "shop-1");
    assert_eq!(doc.source["team"], "shop");
    assert_eq!(doc.source["log.file.path"], pod.log("app.log").display().to_string());
    stop(&shipper);
}

#[test]
fn what_the_adapter_wrote_passes_byte_for_byte() {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    let line =
        r#"{"@timestamp":"2026-01-01T00:00:00.000Z",  "n":1.0e2,"message":"é\u00e9","z":9007199254740993}"#;
    pod.append("app.log", format!("{line}\n"));
    let shipper = pod.shipper("*.log", &bulk_url(&sink)).spawn();
    wait_docs(&sink, 1);
    stop(&shipper);
    assert!(sink.requests()[0].text().contains(&format!("\n{line}\n")), "{}", sink.requests()[0].text());
}

#[test]
fn ndjson_by_post_with_gzip() {
    let (pod, sink) = (Pod::new(), FakeHttp::start());
    pod.append("app.log", lines(0, 3));
    let shipper =
        pod.shipper("*.log", &sink.url("/in?x=1")).args(["--compression", "gzip", "--format", "raw"]).spawn();
    eventually("three lines", || (sink.lines().len() == 3).then_some(()));
    assert_eq!(sink.lines(), ["line 0", "line 1", "line 2"]);
    let request = &sink.requests()[0];
    assert_eq!(request.header("content-encoding"), Some("gzip"));
    assert_eq!(
        (request.target.as_str(), request.header("content-type")),
        ("/in?x=1", Some("application/x-ndjson"))
    );
    stop(&shipper);
}

#[test]
fn each_sink_gets_every_line_and_a_dead_one_holds_back_nobody() {
    let (pod, sink, dead) = (Pod::new(), FakeBulk::start(), FakeHttp::start());
    dead.always(Answer::Status(503));
    let out = pod.dir.join("out.log");
    pod.append("app.log", lines(0, 100));
    let shipper = pod
        .shipper("*.log", &bulk_url(&sink))
        .args(["--to", &dead.url("/"), &format!("file://{}", out.display())])
        .spawn();
    wait_docs(&sink, 100);
    eventually("the file has all", || (pod.dir.lines("out.log").len() == 100).then_some(()));
    let sinks = status(&shipper)["sinks"].clone();
    assert_eq!(sinks.as_array().map(Vec::len), Some(3));
    let of_dead = || {
        let sinks = status(&shipper)["sinks"].clone();
        sinks.as_array().into_iter().flatten().find(|sink| sink["retries"] != 0).cloned()
    };
    let shown = eventually("it is shown", || of_dead().filter(|sink| sink["state"] == "retrying"));
    assert!(shown["problem"].as_str().is_some_and(|why| why.contains("503")), "{shown}");
    dead.always(Answer::Ok);
    eventually("the dead one has all", || (dead.lines().len() >= 100).then_some(()));
    stop(&shipper);
    assert_exact(&sink, 100);
}

// vector#2968, #140, #11359, #25799, fluent-bit#6342, #1029, beats#45707: 429 inside a 200. vector#19320, #26293: wrong counters.
#[test]
fn refused_items_are_tried_again_or_buried_one_by_one() {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    let number =
        |doc: &testkit::fake::Doc| doc.source["message"].as_str().and_then(|m| m[5..].parse::<u32>().ok());
    sink.throttle_once(move |doc| number(doc).is_some_and(|n| n % 10 == 3));
    sink.refuse(400, "document_parsing_exception", move |doc| number(doc).is_some_and(|n| n % 100 == 7));
    pod.append("app.log", lines(0, 1000));
    let shipper = pod.shipper("*.log", &bulk_url(&sink)).spawn();
    wait_docs(&sink, 990);
    eventually("ten dead letters", || (pod.dead_letters().len() == 10).then_some(()));
    assert_eq!(count(&shipper, "dead_letters_total"), 10.0);
    eventually("990 delivered", || (count(&shipper, "lines_delivered_total") == 990.0).then_some(()));
    let letter = &pod.dead_letters()[0];
    assert_eq!(letter["document"]["message"], "line 7");
    assert!(
        letter["reason"].as_str().is_some_and(|why| why.contains("document_parsing_exception")),
        "{letter}"
    );
    stop(&shipper);
    assert_eq!((sink.doc_count(), sink.duplicates()), (990, 0));
}

// fluent-bit#4905, #3495, loki#1199, #3425, #963, logstash-output-elasticsearch#1225: one record that is refused for ever.
#[test]
fn a_poison_line_is_found_by_halving_and_the_rest_arrives() {
    let pod = Pod::new();
    let sink = FakeHttp::start();
    sink.decide(|request| request.text().contains("poison").then_some(Answer::Status(400)));
    pod.append("app.log", format!("{}poison\n{}", lines(0, 20), lines(20, 20)));
    let shipper = pod.shipper("*.log", &sink.url("/")).args(["--format", "raw"]).spawn();
    let taken = || -> Vec<String> {
        let requests = sink.requests();
        requests
            .iter()
            .filter(|r| r.executed)
            .flat_map(|r| r.text().lines().map(str::to_owned).collect::<Vec<_>>())
            .collect()
    };
    eventually("forty lines", || (taken().len() == 40).then_some(()));
    eventually("one dead letter", || (pod.dead_letters().len() == 1).then_some(()));
    assert_eq!(pod.dead_letters()[0]["line"], "poison");
    stop(&shipper);
}

#[test]
fn a_request_that_is_too_large_is_sent_in_halves() {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    sink.decide(|request| (request.body.len() > 20_000).then_some(Answer::Status(413)));
    pod.append("app.log", lines(0, 1000));
    let shipper = pod.shipper("*.log", &bulk_url(&sink)).spawn();
    wait_docs(&sink, 1000);
    assert!(count(&shipper, "batch_splits_total") > 0.0);
    stop(&shipper);
    assert_exact(&sink, 1000);
}

#[test]
fn a_lost_answer_is_counted_and_makes_no_duplicate() {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    sink.next([Answer::AnswerLost, Answer::RetryAfter(503, 1), Answer::Reset]);
    pod.append("app.log", lines(0, 50));
    let shipper = pod.shipper("*.log", &bulk_url(&sink)).spawn();
    eventually("50 delivered", || (count(&shipper, "lines_delivered_total") == 50.0).then_some(()));
    assert!(count(&shipper, "answers_lost_total") >= 1.0);
    assert!(count(&shipper, "lines_known_total") >= 1.0);
    stop(&shipper);
    assert_exact(&sink, 50);
}

#[test]
fn a_server_that_hangs_is_given_up_after_its_time() {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    sink.next([Answer::Hang]);
    pod.append("app.log", lines(0, 5));
    let shipper = pod.shipper("*.log", &bulk_url(&sink)).args(["--timeout", "300ms"]).spawn();
    wait_docs(&sink, 5);
    stop(&shipper);
    assert_exact(&sink, 5);
}

#[test]
fn credentials_are_sent_and_shown_nowhere() {
    let (pod, sink) = (Pod::new(), FakeHttp::start());
    let token = pod.dir.write("token", "s3cret-one\n");
    let config = json!({
        "read": [pod.log("*.log")], "state": pod.dir.join("state"),
        "sinks": [{"to": sink.url("/"), "auth": {"bearer": {"file": token}}, "headers": {"x-tenant": "a"}}],
    });
    let config = pod.dir.write("shipper.yaml", config.to_string());
    let binary = env!("CARGO_BIN_EXE_sidecar-logshipper");
    let shipper = testkit::Proc::new(binary)
        .json_logs()
        .args(["--admin", "127.0.0.1:0", "--config"])
        .arg(&config)
        .spawn();
    shipper.wait_ready();
    pod.append("app.log", "one\n");
    eventually("one request", || (sink.count() == 1).then_some(()));
    let request = &sink.requests()[0];
    assert_eq!(request.header("authorization"), Some("Bearer s3cret-one"));
    assert_eq!(request.header("x-tenant"), Some("a"));
    pod.dir.write("token", "s3cret-two");
    pod.append("app.log", "two\n");
    eventually("another request", || (sink.count() == 2).then_some(()));
    assert_eq!(sink.requests()[1].header("authorization"), Some("Bearer s3cret-two"));
    shipper.sigterm();
    assert!(!shipper.wait_exit().stderr().contains("s3cret"));
    let printed = testkit::Proc::new(binary).arg("--config").arg(&config).arg("--print-config").run();
    assert!(!printed.stdout().contains("s3cret"), "{}", printed.stdout());
}

#[test]
fn certificates_rotate_on_both_sides_without_a_restart() {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    let (old, new, clients) = (TestCa::new(), TestCa::new(), TestCa::new());
    let shim = TlsShim::mutual(sink.addr(), &old.server(&["localhost"]), &clients);
    let identity = |ca: &TestCa| ca.client("shipper").write(&pod.dir, "tls");
    // Of an authority that the server does not know.
    let (cert, key) = identity(&TestCa::new());
    let ca = pod.dir.write("ca.pem", old.pem());
    let config = json!({
        "read": [pod.log("*.log")], "state": pod.dir.join("state"),
        "sinks": [{
            "to": format!("elasticsearch+https://localhost:{}/logs", shim.addr().port()),
            "tls": {"ca": ca, "cert": cert, "key": key},
        }],
    });
    let config = pod.dir.write("c.yaml", config.to_string());
    let shipper = testkit::Proc::new(env!("CARGO_BIN_EXE_sidecar-logshipper"))
        .json_logs()
        .args(["--admin", "127.0.0.1:0", "--config"])
        .arg(config)
        .spawn();
    let retries = || count(&shipper, "retries_total");
    pod.append("app.log", lines(0, 10));
    eventually("refused as a stranger", || (retries() > 0.0).then_some(()));
    identity(&clients);
    wait_docs(&sink, 10);
    shim.renew(&new.server(&["localhost"]));
    sink.reset_all();
    let before = retries();
    pod.append("app.log", lines(10, 10));
    eventually("not trusted", || (retries() > before).then_some(()));
    assert_eq!(sink.doc_count(), 10);
    pod.dir.write("ca.pem", new.pem());
    wait_docs(&sink, 20);
    stop(&shipper);
    assert_exact(&sink, 20);
}

#[test]
fn retry_after_is_waited_for() {
    let (pod, sink) = (Pod::new(), FakeHttp::start());
    let times = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&times);
    sink.decide(move |_| {
        let mut times = seen.lock().expect("locks");
        times.push(Instant::now());
        (times.len() == 1).then_some(Answer::RetryAfter(429, 2))
    });
    pod.append("app.log", lines(0, 3));
    let shipper = pod.shipper("*.log", &sink.url("/")).spawn();
    eventually("delivered", || (sink.lines().len() == 3).then_some(()));
    let times = times.lock().expect("locks").clone();
    // Not sooner; how much later is the machine's.
    assert!(times[1] - times[0] >= Duration::from_secs(2), "{times:?}");
    stop(&shipper);
}

// fluent-bit#370, #10435, #9990, tigera/operator#5054: one long line, and the file is abandoned.
#[test]
fn invalid_utf8_and_a_line_of_100_mb_arrive_whole() {
    use base64::Engine as _;
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    pod.append("app.log", b"a\xff\xfe\x00b\n");
    let long: Vec<u8> = (0..100 << 20).map(|n: u32| b'a' + (n % 23) as u8).collect();
    pod.append("long.log", [&long[..], b"\nafter\n"].concat());
    let shipper = pod.shipper("*.log", &bulk_url(&sink)).spawn();
    wait_docs(&sink, 102);
    stop(&shipper);
    let docs = sink.docs();
    let odd = docs.iter().find(|doc| doc.source["message_base64"].is_string()).expect("the odd line");
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(odd.source["message_base64"].as_str().unwrap_or_default());
    assert_eq!(bytes.expect("base64"), b"a\xff\xfe\x00b");
    let mut parts: Vec<_> = docs.iter().filter(|doc| doc.source["log.part"].is_number()).collect();
    parts.sort_by_key(|doc| doc.source["log.part"].as_u64());
    let whole: String = parts.iter().map(|doc| doc.source["message"].as_str().unwrap_or_default()).collect();
    assert!(whole.as_bytes() == long, "{} parts with {} bytes", parts.len(), whole.len());
    assert!(messages(&sink).contains(&"after".to_owned()));
}

#[test]
fn the_admin_port_tells_what_is_going_on() {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    sink.down();
    pod.append("app.log", lines(0, 10));
    let shipper = pod.shipper("*.log", &bulk_url(&sink)).spawn();
    let admin = shipper.wait_ready().addr("admin");
    assert_eq!(http::get(admin, "/readyz").status, 200, "a dead sink never makes the pod unready");
    eventually("lag is seen", || (count(&shipper, "lag_bytes") == 70.0).then_some(()));
    eventually("retries are counted", || (count(&shipper, "retries_total") > 0.0).then_some(()));
    let file = status(&shipper)["files"][0].clone();
    assert_eq!((&file["offset"], &file["size"], &file["lag_bytes"]), (&json!(0), &json!(70), &json!(70)));
    sink.up();
    wait_docs(&sink, 10);
    eventually("no lag", || (status(&shipper)["files"][0]["offset"] == 70).then_some(()));
    let probe = testkit::Proc::new(env!("CARGO_BIN_EXE_sidecar-logshipper"))
        .args(["probe", "--ready", "--admin", &admin.to_string()])
        .run();
    probe.expect_code(0);
    stop(&shipper);
}

#[test]
fn a_new_configuration_is_taken_over_and_a_wrong_one_is_not() {
    let (pod, first, second) = (Pod::new(), FakeHttp::start(), FakeHttp::start());
    let yaml = |to: &str| {
        format!(
            "read: [{}]\nstate: {}\nto: [{to}]\nformat: raw\n",
            pod.log("*.log").display(),
            pod.dir.join("state").display()
        )
    };
    let map = pod.dir.config_map("config", &[("shipper.yaml", &yaml(&first.url("/")))]);
    let shipper = testkit::Proc::new(env!("CARGO_BIN_EXE_sidecar-logshipper"))
        .json_logs()
        .args(["--admin", "127.0.0.1:0", "--config"])
        .arg(map.join("shipper.yaml"))
        .spawn();
    shipper.wait_ready();
    pod.append("app.log", "one\n");
    eventually("the first has it", || (first.lines() == ["one"]).then_some(()));
    map.swap(&[("shipper.yaml", "raed: []\n")]);
    eventually("refused", || (count(&shipper, "config_reload_failures_total") == 1.0).then_some(()));
    // Valid, and yet nothing can be written there.
    map.swap(&[("shipper.yaml", &yaml("file:///proc/nowhere/out.log"))]);
    eventually("refused", || (count(&shipper, "config_reload_failures_total") == 2.0).then_some(()));
    pod.append("app.log", "still\n");
    eventually("the first goes on", || (first.lines() == ["one", "still"]).then_some(()));
    map.swap(&[("shipper.yaml", &yaml(&second.url("/")))]);
    eventually("the second has everything", || (second.lines() == ["one", "still"]).then_some(()));
    pod.append("app.log", "two\n");
    eventually("and what is new", || (second.lines() == ["one", "still", "two"]).then_some(()));
    assert_eq!(first.lines(), ["one", "still"]);
    stop(&shipper);
}
