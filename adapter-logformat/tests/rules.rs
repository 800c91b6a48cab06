//! Filters and redaction: what is left out is counted by name, what is taken out is nowhere.

mod common;

use common::{adapter, metric, records};
use testkit::{PodDir, eventually};

#[test]
fn filters_are_counted_by_name_and_the_sum_balances() {
    let pod = PodDir::new();
    let config = pod.write(
        "adapter.yaml",
        format!(
            "from: json\nin: ['{dir}/app.log']\nout: {dir}/out/records.log\nschema: flat\nfilters:\n  - {{name: probes, field: path, matches: ^/healthz}}\n  - {{name: noise, below: info}}\n",
            dir = pod.path().display()
        ),
    );
    pod.write(
        "app.log",
        "{\"path\":\"/healthz\"}\n{\"level\":\"debug\",\"path\":\"/a\"}\n{\"level\":\"info\",\"path\":\"/b\"}\n{\"path\":\"/c\"}\nno json\n",
    );
    let running =
        adapter().args(["--config", config.to_str().expect("text"), "--admin", "127.0.0.1:0"]).spawn();
    eventually("five lines", || (metric(&running, "lines_read_total") == 5.0).then_some(()));
    assert_eq!(metric(&running, "records_written_total"), 3.0);
    assert_eq!(metric(&running, "lines_filtered_total"), 2.0);
    let metrics = testkit::metrics::metrics(running.wait_ready().addr("admin"));
    for name in ["probes", "noise"] {
        assert_eq!(metrics.get("adapter_logformat_records_filtered_total", &[("filter", name)]), Some(1.0));
    }
    let left: Vec<_> =
        records(&pod.join("out")).iter().map(|r| r["path"].as_str().map(str::to_owned)).collect();
    assert_eq!(left, [Some("/b".to_owned()), Some("/c".to_owned()), None]);
}

#[test]
fn what_is_redacted_is_in_no_field_and_not_in_the_raw_line() {
    let pod = PodDir::new();
    let config = pod.write("adapter.yaml", "redact: [emails, cards, tokens, ips, {pattern: 'ORD-[0-9]+'}]\n");
    let running = adapter().args(["--config", config.to_str().expect("text")]).with_stdin().spawn();
    running.write_stdin(
        "{\"msg\":\"bob@shop.example paid\",\"card\":4111111111111111,\"password\":\"hunter22\",\"order\":\"ORD-77\"}\n192.0.2.7 - - [21/Nov/2026:12:24:10 +0000] \"GET /?token=abcdef HTTP/1.1\" 200 5 \"-\" \"-\"\n",
    );
    running.close_stdin();
    let exited = running.wait_exit();
    exited.expect_code(0);
    let out = exited.stdout();
    for secret in ["bob@", "411111", "hunter22", "ORD-77", "192.0.2.7", "abcdef"] {
        assert!(!out.contains(secret), "{secret}: {out}");
    }
    let records: Vec<serde_json::Value> =
        out.lines().map(|line| serde_json::from_str(line).expect("a record")).collect();
    assert_eq!(records[0]["app.card"], "************1111");
    assert_eq!(records[1]["source.ip"], "192.0.2.0");
    assert_eq!(records[1]["http.response.status_code"], 200);
}

#[test]
fn wrong_rules_say_what_to_write() {
    let pod = PodDir::new();
    let config = pod.write(
        "adapter.yaml",
        "filters:\n  - {name: a}\n  - {name: b, line: '('}\n  - {line: x}\nredact:\n  - {pattern: 'x*'}\n",
    );
    let refused = adapter().args(["--check", "--config", config.to_str().expect("text")]).run();
    refused.expect_code(78);
    for text in ["everything would be left out", "filters[1].line", "filters[2].name", "match everywhere"] {
        refused.expect_stderr(text);
    }
}

/// What comes out of `input` with this configuration.
fn converted(config: &str, input: &str) -> Vec<serde_json::Value> {
    let pod = PodDir::new();
    let config = pod.write("adapter.yaml", config);
    let running = adapter()
        .args(["--config", config.to_str().expect("text")])
        .env("LOG_KEY", "a key of the test")
        .with_stdin()
        .spawn();
    running.write_stdin(input);
    running.close_stdin();
    let exited = running.wait_exit();
    exited.expect_code(0);
    let records = exited.stdout();
    records.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

#[test]
fn fields_are_dropped_renamed_copied_added_converted_and_expanded() {
    let records = converted(
        "from: json
edit:
  - drop: app.noise
  - drop: app.user.session
  - rename: {from: app.usr, to: user.name}
  - rename: {from: app.sev, to: log.level}
  - copy: {from: app.req, to: http.request.id}
  - add: {field: labels.tier, value: gold}
  - add: {field: app.kept, value: no}
  - convert: {field: app.port, to: int}
  - convert: {field: app.big, to: text}
  - convert: {field: app.ok, to: bool}
  - convert: {field: app.ratio, to: float}
  - expand: app.payload
",
        r#"{"msg":"m","noise":1,"user":{"id":7,"session":"s"},"usr":"bob","sev":"warning","req":"r-1","kept":"yes","port":"08080","big":12345678901234567890,"ok":"yes","ratio":".5","payload":"{\"a\":[1,{\"b\":12345678901234567890}],\"a\":2}"}
{"msg":"n","port":"http"}
"#,
    );
    let first = &records[0];
    assert!(first.get("app.noise").is_none());
    assert_eq!(first["app.user"], serde_json::json!({"id": 7}));
    assert_eq!(first["user.name"], "bob");
    assert!(first.get("app.usr").is_none());
    assert_eq!(first["log.level"], "warn");
    assert_eq!((&first["http.request.id"], &first["app.req"]), (&"r-1".into(), &"r-1".into()));
    assert_eq!(first["labels.tier"], "gold");
    assert_eq!(first["app.kept"], "yes", "what the line has stays");
    assert_eq!(first["app.port"], 8080);
    assert_eq!(first["app.big"], "12345678901234567890");
    assert_eq!(first["app.ok"], true);
    assert_eq!(first["app.ratio"], 0.5);
    assert_eq!(first["app.payload"], serde_json::json!({"a": 2}), "a key given twice keeps its last value");
    assert_eq!(records[1]["app.port"], "http", "what does not fit stays");
}

#[test]
fn what_is_masked_in_a_field_is_not_in_the_raw_line() {
    let config = "redact_key: {env: LOG_KEY}
edit:
  - mask: app.card
  - hash: app.user.mail
  - network: {field: source.ip, v4: 16}
  - mask: app.number
";
    let records = converted(
        config,
        r#"{"msg":"paid","card":"4111-1111","user":{"mail":"bob@shop.example","n":1},"number":55512}
192.0.2.7 - - [21/Nov/2026:12:24:10 +0000] "GET /a HTTP/1.1" 200 5 "-" "-"
{"msg":"again","user":{"mail":"bob@shop.example"}}
"#,
    );
    let text = format!("{records:?}");
    for secret in ["4111", "bob@", "192.0.2.7", "55512"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    assert_eq!(records[0]["app.card"], "***");
    assert_eq!(records[0]["app.number"], "***");
    let mail = &records[0]["app.user"]["mail"];
    assert_eq!(mail.as_str().map(str::len), Some(16));
    assert_eq!(*mail, records[2]["app.user"]["mail"], "equal values stay equal");
    let original = records[0]["event.original"].as_str().expect("the raw line");
    let original: serde_json::Value = serde_json::from_str(original).expect("still JSON");
    assert_eq!(original["card"], "***");
    assert_eq!(original["user"]["mail"], *mail);
    assert_eq!(
        (&records[1]["source.ip"], &records[1]["source.address"]),
        (&"192.0.0.0".into(), &"192.0.0.0".into())
    );
    assert!(records[1]["message"].as_str().is_some_and(|line| line.starts_with("192.0.0.0 - - [")));
}

#[test]
fn a_hash_without_a_key_and_a_wrong_edit_are_refused() {
    let pod = PodDir::new();
    let config = pod.write(
        "adapter.yaml",
        "edit:\n  - hash: user.name\n  - rename: {from: a, to: tags}\n  - network: {field: source.ip, v4: 33}\nredact: [{hash: emails}]\n",
    );
    let refused = adapter().args(["--check", "--config", config.to_str().expect("text")]).run();
    refused.expect_code(78).expect_stderr("needs redact_key");
    let config = pod.write("other.yaml", "edit:\n  - add: {field: message, value: x}\nmetrics:\n  - {name: a-b}\n  - {name: h, kind: histogram}\n");
    let refused = adapter().args(["--check", "--config", config.to_str().expect("text")]).run();
    refused.expect_code(78);
    for text in ["edit[0]", "metrics[0].name", "metrics[1].field"] {
        refused.expect_stderr(text);
    }
}

#[test]
fn metrics_are_made_from_fields() {
    let pod = PodDir::new();
    let config = pod.write(
        "adapter.yaml",
        format!(
            "from: nginx\nin: ['{dir}/access.log']\nout: {dir}/out/records.log\nfilters: [{{name: probes, field: url.original, matches: ^/healthz}}]\nmax_series: 3\nmetrics:\n  - {{name: requests, labels: {{class: 'http.response.status_code:class', method: http.request.method}}}}\n  - {{name: sent_bytes, kind: histogram, field: http.response.body.bytes, buckets: [100, 1000]}}\n",
            dir = pod.path().display()
        ),
    );
    let line = |path: &str, status: u32, bytes: u32, method: &str| {
        format!(
            "192.0.2.7 - - [21/Nov/2026:12:24:10 +0000] \"{method} {path} HTTP/1.1\" {status} {bytes} \"-\" \"-\"\n"
        )
    };
    let text = [
        line("/a", 200, 50, "GET"),
        line("/healthz", 204, 500, "GET"),
        line("/b", 503, 5000, "GET"),
        line("/c", 404, 5, "PUT"),
    ];
    pod.write("access.log", text.concat());
    let running =
        adapter().args(["--config", config.to_str().expect("text"), "--admin", "127.0.0.1:0"]).spawn();
    eventually("four lines", || (metric(&running, "lines_read_total") == 4.0).then_some(()));
    let metrics = testkit::metrics::metrics(running.wait_ready().addr("admin"));
    let of =
        |name: &str, labels: &[(&str, &str)]| metrics.get(&format!("adapter_logformat_log_{name}"), labels);
    assert_eq!(
        of("requests_total", &[("class", "2xx"), ("method", "GET")]),
        Some(2.0),
        "filtered lines count, too"
    );
    assert_eq!(of("requests_total", &[("class", "5xx"), ("method", "GET")]), Some(1.0));
    assert_eq!(of("sent_bytes_bucket", &[("le", "100.0")]), Some(2.0));
    // Three series are enough: the fourth went to `other`.
    assert_eq!(of("requests_total", &[("class", "other"), ("method", "other")]), Some(1.0));
    assert_eq!(metric(&running, "log_series_refused_total"), 1.0);
}

#[test]
fn test_reads_a_sample_as_its_stream_joins_lines_and_names_the_filter() {
    let pod = PodDir::new();
    let log = pod.write("app.log", "{\"level\":\"debug\",\"msg\":\"a\"}\nERROR gone\njava.io.IOException: gone\n\tat a.B.c(B.java:7)\nINFO back\n");
    let config = pod.write(
        "adapter.yaml",
        format!(
            "streams:\n  - {{in: [/elsewhere/access.log], from: nginx}}\n  - {{in: ['{}/*.log'], from: auto}}\nfilters: [{{name: noise, below: info}}]\n",
            pod.path().display()
        ),
    );
    let log = log.to_str().expect("text").to_owned();
    let shown = adapter().args(["test", "--config", config.to_str().expect("text"), &log]).run();
    shown.expect_code(0);
    shown.expect_stdout(&format!("{log}:1: json\n  left out by the filter noise\n"));
    shown.expect_stdout(&format!("{log}:2-4: plain\n"));
    shown.expect_stdout(&format!("{log}:5: plain\n"));
    shown.expect_stdout("5 lines: 2 records read (2 plain), 0 with a part that could not be read, 0 not read; 2 lines joined, 1 left out");
}

#[cfg(not(feature = "vrl"))]
#[test]
fn programs_are_refused_where_they_are_not_built_in() {
    let pod = testkit::PodDir::new();
    let config = pod.write("adapter.yaml", "vrl: .a = 1\n");
    let checked = common::adapter().args(["--check", "--config", config.to_str().expect("text")]).run();
    checked
        .expect_code(78)
        .expect_stderr("vrl: is not in this build; build it with")
        .expect_stderr("--features vrl");
}
