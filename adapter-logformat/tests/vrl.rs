//! Programs in VRL: what they change, what they drop, what happens when they fail. Only with the cargo feature `vrl`.

mod common;

use common::{adapter, following, metric, records};
use testkit::{PodDir, eventually};

const PROGRAM: &str = r#"
if .path == "/healthz" { abort }
.team = if starts_with(string!(.service), "shop") { "checkout" } else { "other" }
del(.secret)
.took_ms = to_int!(.took_ms)
"#;

fn lines() -> String {
    [
        r#"{"level":"info","msg":"one","service":"shop-api","secret":"x","took_ms":"12","id":123456789012345678901234}"#,
        r#"{"level":"info","msg":"probe","service":"shop-api","path":"/healthz"}"#,
        r#"{"level":"info","msg":"two","service":"billing","took_ms":"soon"}"#,
    ]
    .map(|line| format!("{line}\n"))
    .concat()
}

fn config(pod: &PodDir, vrl: &str) -> String {
    let text = format!("schema: flat\nfrom: json\noriginal: failed\n{vrl}");
    pod.write("adapter.yaml", text).to_str().expect("text").to_owned()
}

#[test]
fn a_program_changes_and_drops_records_and_all_of_them_are_counted() {
    let pod = PodDir::new();
    let program = pod.write("rules.vrl", PROGRAM);
    let config = config(&pod, &format!("vrl: {{file: {}}}\n", program.display()));
    pod.write("app.log", lines());
    let running = following(&pod, &["--config", &config]).spawn();
    running.wait_ready();
    eventually("both records", || (records(&pod.join("out")).len() == 2).then_some(()));
    let found = records(&pod.join("out"));
    assert_eq!((&found[0]["team"], &found[0]["took_ms"]), (&"checkout".into(), &12.into()));
    assert_eq!(found[0].get("secret"), None);
    // A failed program leaves the record as it was, and says so.
    assert_eq!((&found[1]["took_ms"], found[1].get("team")), (&"soon".into(), None));
    assert!(found[1]["tags"].as_array().is_some_and(|tags| tags.iter().any(|tag| tag == "partial")));
    let text = std::fs::read_to_string(pod.join("out/records.log")).expect("the output");
    assert!(text.contains("\"id\":123456789012345678901234"), "what it left alone is as it was: {text}");
    assert_eq!(metric(&running, "lines_read_total"), 3.0);
    assert_eq!(metric(&running, "records_written_total"), 2.0);
    assert_eq!(metric(&running, "lines_filtered_total"), 1.0);
    assert_eq!(metric(&running, "records_partial_total"), 1.0);
    let admin = running.wait_ready().addr("admin");
    let metrics = testkit::http::get(admin, "/metrics").text().to_string();
    assert!(metrics.contains("adapter_logformat_records_filtered_total{filter=\"vrl\"} 1"), "{metrics}");
    assert_eq!(testkit::http::get(admin, "/statusz").json()["balanced"], true);
    running.sigterm();
    running.wait_exit().expect_code(0).expect_stderr("the vrl program failed");
}

#[test]
fn a_program_stands_in_the_configuration_and_test_shows_what_it_does() {
    let pod = PodDir::new();
    let config = config(&pod, "vrl: |\n  if .msg == \"x\" { abort }\n  .message = upcase!(.message)\n");
    let log = pod.write("sample.log", lines());
    let shown = adapter().args(["test", "--config", &config, log.to_str().expect("text")]).run();
    shown.expect_code(0);
    shown.expect_stdout("\"message\":\"PROBE\"");
}

#[test]
fn what_cannot_work_is_refused_at_the_start() {
    let pod = PodDir::new();
    for (vrl, said) in [
        ("vrl: |\n  .a = 1\n  .b = now()\n", "now is left out"),
        ("vrl: |\n  .a = 1\n  .b = nothing()\n", "line 2: "),
        ("vrl: .a = 1\nschema: otlp\n", "choose another schema"),
        ("vrl: .a = 1\nfilters: [{name: vrl, below: info}]\n", "what abort counts under"),
    ] {
        let text = format!("from: json\n{vrl}");
        let config = pod.write("adapter.yaml", text);
        let checked = adapter().args(["--check", "--config", config.to_str().expect("text")]).run();
        checked.expect_code(78).expect_stderr(said);
    }
    let config = pod.write("adapter.yaml", "vrl: {file: /nonexistent/rules.vrl}\n");
    let config = config.to_str().expect("text");
    adapter().args(["--check", "--config", config]).run().expect_code(0);
    adapter().args(["--config", config]).run().expect_code(78).expect_stderr("/nonexistent/rules.vrl");
}
