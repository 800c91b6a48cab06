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
