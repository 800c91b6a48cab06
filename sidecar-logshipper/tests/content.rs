//! What lines become on their way: other character sets, joined traces, shapes, bodies.

mod common;

use common::{Pod, count, stop};
use serde_json::{Value, json};
use testkit::fake::{FakeBulk, FakeHttp};
use testkit::{Proc, Running, eventually};

/// A shipper with one sink from a configuration file.
fn configured(pod: &Pod, sink: Value, more: Value) -> Running {
    let mut config = json!({"read": [pod.log("*.log")], "state": pod.dir.join("state"), "sinks": [sink]});
    config.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
    let config = pod.dir.write("c.yaml", config.to_string());
    Proc::new(env!("CARGO_BIN_EXE_sidecar-logshipper"))
        .json_logs()
        .args(["--admin", "127.0.0.1:0", "--config"])
        .arg(config)
        .env("POD_NAME", "shop-1")
        .spawn()
}

fn delivered(shipper: &Running, lines: f64) {
    eventually("delivered", || (count(shipper, "lines_delivered_total") == lines).then_some(()));
}

fn json_lines(sink: &FakeHttp) -> Vec<Value> {
    sink.lines().iter().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

// fluent-bit#10435, loki#3425: what does not fit the expected text is neither dropped nor garbled.
#[test]
fn utf_16_and_other_character_sets_become_utf_8() {
    let utf16 = |text: &str| -> Vec<u8> {
        format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect()
    };
    let (pod, sink) = (Pod::new(), FakeHttp::start());
    pod.append("w.log", utf16("erste Zeile é\r\n{\"a\":\"ਊ\"}\r\nlast"));
    pod.append("u.log", b"\xef\xbb\xbfmarked\n");
    let shipper = pod.shipper("*.log", &sink.url("/")).spawn();
    delivered(&shipper, 3.0);
    stop(&shipper);
    let mut lines = json_lines(&sink);
    lines.sort_by_key(|line| line["message"].to_string());
    assert_eq!(lines[0]["message"], "erste Zeile é");
    assert_eq!(lines[1]["message"], "last", "without a newline, at the end");
    assert_eq!(lines[2]["message"], "marked", "without the byte order mark");
    assert_eq!(lines[3], json!({"a": "ਊ"}), "a JSON line passes");

    let pod = Pod::new();
    pod.append("j.log", b"\x93\xfa\x96\x7b\nbad \x81\n");
    let out = pod.shipper("*.log", "stdout").args(["--encoding", "shift_jis", "--once"]).run();
    assert_eq!(out.expect_code(0).stdout_lines(), ["日本", "bad \u{fffd}"]);
}

#[test]
fn a_trace_is_one_line_and_what_is_idle_goes() {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    let trace = "failed\njava.lang.IllegalStateException: no\n\tat a.B.c(B.java:1)\nCaused by: x.YException: z\n\t... 1 more";
    pod.append("app.log", format!("one\n{trace}\n"));
    let args = ["--multiline", "java", "python", "--multiline-idle", "100ms"];
    let shipper = pod.shipper("*.log", &common::bulk_url(&sink)).args(args).spawn();
    common::wait_docs(&sink, 2);
    assert_eq!(common::messages(&sink), ["one", trace]);
    pod.append("app.log", "Traceback (most recent call last):\n  File \"a.py\", line 1\nValueError: x");
    stop(&shipper);
    let last = common::messages(&sink).pop().expect("a document");
    assert_eq!(last, "Traceback (most recent call last):\n  File \"a.py\", line 1\nValueError: x");
    assert_eq!(sink.doc_count(), 3);
    assert_eq!(sink.docs()[1].source["log.offset"], 4);
}

#[test]
fn a_start_pattern_joins_and_nothing_is_lost_in_a_restart() {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    let event = |n: usize| format!("2026-{n}\n  {{\n  \"n\": {n}\n}}");
    let shipper = |pod: &Pod| {
        pod.shipper("*.log", &common::bulk_url(&sink)).args(["--multiline-start", "^2026-"]).spawn()
    };
    let mut running = shipper(&pod);
    for n in 0..40 {
        // Cut in the middle, so that every kill finds an event that is not complete.
        let text = event(n) + "\n";
        let (first, second) = text.split_at(12);
        pod.append("app.log", first);
        if n % 10 == 5 {
            running.wait_ready();
            running.sigkill();
            running = shipper(&pod);
        }
        pod.append("app.log", second);
    }
    running.wait_ready();
    stop(&running);
    let mut got = common::messages(&sink);
    got.sort();
    got.dedup();
    let mut expected: Vec<String> = (0..40).map(event).collect();
    expected.sort();
    // An event that had no more lines for its idle time may be there in two pieces, never in none.
    let missing: Vec<_> = expected.iter().filter(|event| !got.contains(event)).collect();
    assert!(missing.is_empty(), "{missing:?} of {got:?}");
}

#[test]
fn json_printed_over_several_lines_becomes_one_document() {
    let (pod, sink) = (Pod::new(), FakeHttp::start());
    pod.append("app.log", "{\n  \"a\": 1,\n  \"b\": \"x\"\n}\n{\n  \"a\": 2\n}\n");
    let shipper = pod.shipper("*.log", &sink.url("/")).args(["--multiline-start", r"^\{"]).spawn();
    eventually("read", || (count(&shipper, "lines_delivered_total") >= 1.0).then_some(()));
    stop(&shipper);
    assert_eq!(json_lines(&sink), [json!({"a": 1, "b": "x"}), json!({"a": 2})]);
}

#[test]
fn json_lines_get_what_they_do_not_say() {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    pod.append("app.log", "{\"n\":1.50,\"host\":\"mine\"}\nplain\n");
    let args = ["--format", "merge", "--field", "team=shop"];
    let shipper = pod.shipper("*.log", &common::bulk_url(&sink)).args(args).spawn();
    common::wait_docs(&sink, 2);
    stop(&shipper);
    let doc = &sink.docs()[0].source;
    assert_eq!((&doc["team"], &doc["host"], &doc["log.offset"]), (&json!("shop"), &json!("mine"), &json!(0)));
    assert!(doc["@timestamp"].is_string() && doc["host.name"].is_null(), "{doc}");
    assert!(sink.requests()[0].text().contains("\"n\":1.50,"), "spliced, not written anew");
    assert_eq!(sink.docs()[1].source["message"], "plain");
}

#[test]
fn json_lines_may_be_kept_as_a_text() {
    let pod = Pod::new();
    let line = r#"{"a":"\"é","message":"its own"}"#;
    pod.append("app.log", format!("{line}\n"));
    for (format, field) in [("ecs", "message"), ("otel", "Body")] {
        let run = Proc::new(env!("CARGO_BIN_EXE_sidecar-logshipper"))
            .args(["--once", "--to", "stdout", "--format", format, "--read"])
            .arg(pod.log("*.log"))
            .run();
        let wrapped: Value = serde_json::from_str(&run.expect_code(0).stdout_lines()[0]).expect("JSON");
        assert_eq!(wrapped[field], line);
    }
}

#[test]
fn the_shape_of_opentelemetry() {
    let (pod, sink) = (Pod::new(), FakeHttp::start());
    pod.append("app.log", "plain\n");
    let shipper = pod.shipper("*.log", &sink.url("/")).args(["--format", "otel"]).spawn();
    delivered(&shipper, 1.0);
    stop(&shipper);
    let line = &json_lines(&sink)[0];
    assert_eq!((&line["Body"], &line["Resource"]["k8s.pod.name"]), (&json!("plain"), &json!("shop-1")));
    assert_eq!(line["Attributes"]["log.file.position"], 0);
    assert!(line["ObservedTimestamp"].as_str().is_some_and(|nanos| nanos.len() == 19), "{line}");
}

#[test]
fn an_http_sink_may_want_an_array() {
    let (pod, sink) = (Pod::new(), FakeHttp::start());
    pod.append("app.log", "{\"a\":1}\nplain\n");
    let shipper =
        configured(&pod, json!({"to": sink.url("/in"), "body": "array", "compression": "gzip"}), json!({}));
    delivered(&shipper, 2.0);
    stop(&shipper);
    let request = &sink.requests()[0];
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("content-encoding"), Some("gzip"));
    let body: Value = serde_json::from_slice(&request.decoded()).expect("JSON");
    assert_eq!((&body[0], &body[1]["message"]), (&json!({"a": 1}), &json!("plain")));
}

#[test]
fn otlp_in_json() {
    let (pod, sink) = (Pod::new(), FakeHttp::start());
    sink.always(testkit::fake::Reply::json(
        200,
        &json!({"partialSuccess": {"rejectedLogRecords": "1", "errorMessage": "no"}}),
    ));
    pod.append(
        "app.log",
        "{\"@timestamp\":\"2026-01-01T00:00:00Z\",\"log.level\":\"warn\",\"message\":\"x\"}\n",
    );
    pod.append("app.log", b"bad \xff\n");
    let shipper =
        configured(&pod, json!({"to": format!("otlp+http://{}", sink.addr()), "body": "json"}), json!({}));
    eventually("one refused", || (count(&shipper, "dead_letters_total") >= 1.0).then_some(()));
    stop(&shipper);
    let request = &sink.requests()[0];
    assert_eq!((request.path(), request.header("content-type")), ("/v1/logs", Some("application/json")));
    let resource = &request.json()["resourceLogs"][0];
    let attributes = resource["resource"]["attributes"].as_array().expect("attributes").clone();
    assert!(attributes.contains(&json!({"key": "k8s.pod.name", "value": {"stringValue": "shop-1"}})));
    let records = resource["scopeLogs"][0]["logRecords"].as_array().expect("records").clone();
    assert_eq!((&records[0]["severityNumber"], &records[0]["severityText"]), (&json!(13), &json!("WARN")));
    assert_eq!(records[0]["timeUnixNano"], "1767225600000000000");
    assert_eq!(records[1]["body"], json!({"bytesValue": "YmFkIP8="}));
    assert_eq!(records[1]["attributes"][0]["key"], "log.file.path");
    assert_eq!(pod.dead_letters().len(), 2, "which one is not said: both are kept");
}

#[test]
fn an_index_with_a_date_and_a_pipeline() {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    pod.append("app.log", "{\"@timestamp\":\"2026-01-31T23:30:00-01:00\",\"n\":1}\n{\"@timestamp\":\"2026-02-02T00:00:00Z\",\"n\":2}\n");
    let to = format!("elasticsearch+http://{}/logs-app-%Y.%m.%d?pipeline=geo", sink.addr());
    let shipper = pod.shipper("*.log", &to).spawn();
    common::wait_docs(&sink, 2);
    stop(&shipper);
    let indexes: Vec<_> = sink.docs().into_iter().map(|doc| doc.index).collect();
    assert_eq!(indexes, ["logs-app-2026.02.01", "logs-app-2026.02.02"], "in UTC");
    let target = sink.requests()[0].target.clone();
    assert!(target.starts_with("/_bulk?pipeline=geo&"), "{target}");
}

#[test]
fn a_proxy_is_asked_when_it_is_configured_and_for_what_is_not_here() {
    let (pod, proxy) = (Pod::new(), FakeHttp::start());
    pod.append("app.log", "{}\n");
    let through = format!("http://user:pw@{}", proxy.addr());
    // Nobody resolves this name but the proxy.
    let sink = json!({"to": "http://logs.invalid:8080/in", "proxy": through});
    let shipper = configured(&pod, sink, json!({}));
    delivered(&shipper, 1.0);
    stop(&shipper);
    let request = &proxy.requests()[0];
    assert_eq!(request.target, "http://logs.invalid:8080/in", "absolute form");
    assert_eq!(request.header("proxy-authorization"), Some("Basic dXNlcjpwdw=="));

    let (pod, proxy, sink) = (Pod::new(), FakeHttp::start(), FakeHttp::start());
    pod.append("app.log", "{}\n");
    let proxy_url = format!("http://{}", proxy.addr());
    let shipper = pod
        .shipper("*.log", "http://logs.invalid/in")
        .args(["--to", &sink.url("/here")])
        .env("HTTP_PROXY", &proxy_url)
        .spawn();
    delivered(&shipper, 2.0);
    stop(&shipper);
    assert_eq!((proxy.count(), sink.count()), (1, 1), "what is on this machine is asked directly");
}

#[test]
fn requests_are_compressed_with_zstd() {
    let (pod, sink) = (Pod::new(), FakeHttp::start());
    pod.append("app.log", common::lines(0, 5000));
    let args = ["--format", "raw", "--compression", "zstd"];
    let shipper = pod.shipper("*.log", &sink.url("/")).args(args).spawn();
    delivered(&shipper, 5000.0);
    stop(&shipper);
    let mut text = Vec::new();
    for request in sink.requests() {
        assert_eq!(request.header("content-encoding"), Some("zstd"));
        text.extend(zstd::decode_all(&request.body[..]).expect("zstd"));
    }
    assert_eq!(String::from_utf8_lossy(&text), common::lines(0, 5000));
}

#[test]
fn zst_files_are_read_on_request() {
    let pod = Pod::new();
    pod.append("a.log.zst", zstd::encode_all(&b"one\ntwo\n"[..], 3).expect("packs"));
    let run = pod.shipper("*.zst", "stdout").args(["--once", "--packed"]).run();
    assert_eq!(run.expect_code(0).stdout_lines(), ["one", "two"]);
}

#[test]
fn settings_that_do_not_go_together_are_named() {
    let pod = Pod::new();
    let config = json!({
        "read": ["*.log"], "encoding": "klingon", "multiline": ["java"], "multiline_start": "(",
        "sinks": [
            {"to": "elasticsearch+http://h:9200/logs-%y", "body": "json"},
            {"to": "http://h/", "body": "array", "format": "raw", "proxy": "socks5://p:1"},
        ],
    });
    let config = pod.dir.write("c.yaml", config.to_string());
    let run =
        Proc::new(env!("CARGO_BIN_EXE_sidecar-logshipper")).args(["--check", "--config"]).arg(config).run();
    run.expect_code(78);
    for problem in [
        "\"klingon\" is no character set",
        "multiline: is given together with multiline_start",
        "multiline_start: is no pattern",
        "\"%y\" is no part of a date",
        "this sink has no body \"json\"",
        "raw lines are no JSON array",
        "is no HTTP proxy",
    ] {
        run.expect_stderr(problem);
    }
}

/// What the runtimes of these languages print when nobody catches an error.
const TRACES: [(&str, &str); 8] = [
    (
        "java",
        "failed\njava.lang.IllegalStateException: no\n\tat a.B.c(B.java:1)\nCaused by: x.YException: z\n\t... 1 more",
    ),
    (
        "python",
        "failed\nTraceback (most recent call last):\n  File \"a.py\", line 1, in <module>\nValueError: x\n\nDuring handling of the above exception, another exception occurred:\n\nTraceback (most recent call last):\n  File \"a.py\", line 3, in <module>\nKeyError: 'y'",
    ),
    (
        "go",
        "panic: index out of range [5] with length 3\n\ngoroutine 1 [running]:\nmain.main()\n\t/app/main.go:7 +0x1d\nexit status 2",
    ),
    (
        "dotnet",
        "Unhandled exception. System.InvalidOperationException: outer\n ---> System.IO.IOException: inner\n   at Shop.Cart.Load(String id) in /src/Cart.cs:line 12\n   --- End of inner exception stack trace ---\n   at Shop.Program.Main(String[] args)",
    ),
    (
        "ruby",
        "app.rb:3:in 'Cart#total': no price (RuntimeError)\n\tfrom app.rb:7:in 'block in <main>'\n\tfrom app.rb:9:in '<main>'",
    ),
    (
        "php",
        "PHP Fatal error:  Uncaught RuntimeException: no in /app/a.php:3\nStack trace:\n#0 /app/b.php(7): load()\n#1 {main}\n  thrown in /app/a.php on line 3",
    ),
    (
        "node",
        "TypeError: x is not a function\n    at main (/app/index.js:3:1)\n    at node:internal/main:1:1 {\n  code: 'EX'\n}",
    ),
    (
        "rust",
        "thread 'main' panicked at src/main.rs:2:5:\nexplicit panic\nstack backtrace:\n   0: rust_begin_unwind\n             at /rustc/lib.rs:1:1",
    ),
];

#[test]
fn each_languages_trace_is_one_line_and_no_other_languages_is() {
    for (language, trace) in TRACES {
        for preset in [language, "all"] {
            let pod = Pod::new();
            pod.append("app.log", format!("12:00 before\n{trace}\n12:01 after\n"));
            let args = ["--once", "--format", "ecs", "--multiline", preset];
            let run = pod.shipper("*.log", "stdout").args(args).run();
            let said: Vec<String> = run
                .expect_code(0)
                .stdout_lines()
                .iter()
                .map(|line| {
                    serde_json::from_str::<Value>(line).expect("JSON")["message"]
                        .as_str()
                        .unwrap_or_default()
                        .to_owned()
                })
                .collect();
            assert_eq!(said, ["12:00 before", trace, "12:01 after"], "{preset}");
        }
    }
}

#[test]
fn a_joined_event_ends_at_its_most_lines_and_bytes() {
    let pod = Pod::new();
    pod.append("app.log", format!("> a\n{}", "b\n".repeat(9)));
    let events = |args: &[&str]| {
        let run = Proc::new(env!("CARGO_BIN_EXE_sidecar-logshipper"))
            .args(["--once", "--to", "stdout", "--format", "ecs", "--multiline-start", "^>", "--read"])
            .arg(pod.log("*.log"))
            .args(args)
            .run();
        run.expect_code(0).stdout_lines().len()
    };
    assert_eq!(events(&[]), 1);
    assert_eq!(events(&["--multiline-lines", "5"]), 2);
    pod.append("app.log", "c".repeat(100) + "\n" + &"d".repeat(100) + "\n");
    assert_eq!((events(&[]), events(&["--multiline-bytes", "110"])), (1, 3));
}

#[test]
fn what_the_downward_api_says_is_with_each_line() {
    let pod = Pod::new();
    pod.append("app.log", "one\n");
    let variables = [
        ("POD_NAME", "kubernetes.pod.name", "k8s.pod.name"),
        ("POD_UID", "kubernetes.pod.uid", "k8s.pod.uid"),
        ("POD_IP", "kubernetes.pod.ip", "k8s.pod.ip"),
        ("POD_NAMESPACE", "kubernetes.namespace", "k8s.namespace.name"),
        ("NODE_NAME", "kubernetes.node.name", "k8s.node.name"),
        ("CONTAINER_NAME", "kubernetes.container.name", "k8s.container.name"),
    ];
    for (format, shape) in [("ecs", 1), ("otel", 2)] {
        let mut shipper = Proc::new(env!("CARGO_BIN_EXE_sidecar-logshipper"))
            .args(["--to", "stdout", "--once", "--format", format, "--field", "team=shop", "--read"])
            .arg(pod.log("*.log"));
        for (name, ..) in variables {
            shipper = shipper.env(name, format!("the \"{name}\""));
        }
        let run = shipper.run();
        let line: Value = serde_json::from_str(&run.expect_code(0).stdout_lines()[0]).expect("JSON");
        let place = if shape == 1 { &line } else { &line["Resource"] };
        for (name, ecs, otel) in variables {
            let field = if shape == 1 { ecs } else { otel };
            assert_eq!(place[field], format!("the \"{name}\""), "{field} in {line}");
        }
        assert_eq!(place["team"], "shop");
    }
}
