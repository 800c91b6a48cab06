//! Files → a file: rotation on both sides, kill -9, drain, and the count that balances.

mod common;

use std::time::Duration;

use common::{adapter, assert_exactly_once, following, ids, lines, metric, records, wait_for_ids};
use testkit::http::get;
use testkit::{PodDir, eventually};

#[test]
fn follows_through_rotation_and_rotates_its_own_output() {
    let pod = PodDir::new();
    pod.write("app.log", lines(0, 1000));
    let running = following(&pod, &["--out-max-size", "200KiB", "--out-keep", "50"]).spawn();
    running.wait_ready();
    for turn in 1..5 {
        pod.append("app.log", lines(turn * 1000, turn * 1000 + 500));
        pod.rename("app.log", format!("app.log.{turn}"));
        pod.append("app.log", lines(turn * 1000 + 500, turn * 1000 + 1000));
        wait_for_ids(&pod, turn * 1000 + 1000);
    }
    running.sigterm();
    running.wait_exit().expect_code(0);
    assert_exactly_once(&pod, 5000);
    assert!(pod.join("out/records.log.2").exists(), "the output was rotated");
    for entry in std::fs::read_dir(pod.join("out")).expect("the output") {
        let about = entry.and_then(|e| e.metadata()).expect("a file");
        assert!(about.len() <= 2 << 20, "bounded: one batch at most beyond the size, {}", about.len());
    }
}

#[test]
fn killed_again_and_again_every_line_is_there_once() {
    let pod = PodDir::new();
    let mut written = 0;
    let mut seed = 0x9e37_79b9_u64;
    for round in 0..12 {
        // Enough that a kill meets a write in progress.
        pod.append("app.log", lines(written, written + 20_000));
        written += 20_000;
        if round % 4 == 2 {
            pod.rename("app.log", format!("app.log.{round}"));
        }
        let running = following(&pod, &["--out-max-size", "3MiB", "--out-keep", "100"]).spawn();
        running.wait_ready();
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::sleep(Duration::from_millis(seed >> 40 & 63));
        running.sigkill();
    }
    let running = following(&pod, &["--out-max-size", "3MiB", "--out-keep", "100"]).spawn();
    wait_for_ids(&pod, written);
    assert_eq!(metric(&running, "torn_records_total"), 0.0);
    running.sigterm();
    running.wait_exit().expect_code(0);
    assert_exactly_once(&pod, written);
}

#[test]
fn a_drain_reads_to_the_end_and_an_unterminated_line_too() {
    let pod = PodDir::new();
    pod.write("app.log", lines(0, 50_000));
    let running = following(&pod, &[]).spawn();
    running.wait_ready();
    pod.append("app.log", lines(50_000, 50_001).trim_end());
    running.sigterm();
    running.wait_exit().expect_code(0);
    assert_exactly_once(&pod, 50_001);
}

#[test]
fn a_restart_goes_on_where_it_stopped() {
    let pod = PodDir::new();
    for round in 0..3 {
        pod.append("app.log", lines(round * 100, round * 100 + 100));
        let running = following(&pod, &[]).spawn();
        wait_for_ids(&pod, round * 100 + 100);
        running.sigterm();
        running.wait_exit().expect_code(0);
    }
    assert_exactly_once(&pod, 300);
}

#[test]
fn the_numbers_balance_and_the_page_has_them() {
    let pod = PodDir::new();
    pod.write("app.log", format!("{}no json\n\n{{\"id\":1e5\n", lines(0, 10)));
    let running = following(&pod, &[]).spawn();
    let admin = running.wait_ready().addr("admin");
    let metrics = eventually("13 lines", || {
        let metrics = testkit::metrics::metrics(admin);
        (metrics.value("adapter_logformat_lines_read_total") == 13.0).then_some(metrics)
    });
    let of = |name: &str| metrics.value(&format!("adapter_logformat_{name}_total"));
    assert_eq!(of("lines_read"), of("records_written") + of("lines_joined") + of("lines_filtered"));
    assert_eq!(of("records_unparsed"), 3.0);
    assert_eq!(metrics.get("adapter_logformat_records_read_total", &[("format", "json")]), Some(10.0));
    let status = eventually("the file in the status", || {
        let status = get(admin, "/statusz").json();
        (status["files"][0]["lag_bytes"] == 0).then_some(status)
    });
    assert_eq!(status["totals"]["lines_read"], 13);
    assert_eq!(status["balanced"], true);
    assert_eq!(status["files"][0]["format"], "json");
    assert_eq!(get(admin, "/readyz").status, 200);
    assert_eq!(get(admin, "/livez").status, 200);
    let probe = adapter().args(["probe", "--ready", "--admin", &admin.to_string()]).run();
    probe.expect_code(0);
}

#[test]
fn each_stream_has_its_own_format_and_fields_and_a_reload_changes_them() {
    let pod = PodDir::new();
    let config = |service: &str| {
        format!(
            "schema: ecs\nout: {out}\nstate: {state}\nstreams:\n  - in: [\"{dir}/access*.log\"]\n    from: nginx\n    fields: {{service.name: {service}}}\n  - in: [\"{dir}/app*.log\"]\n    from: logfmt\n    fields: {{labels.tier: 2}}\n",
            out = pod.join("out/records.log").display(),
            state = pod.join("state").display(),
            dir = pod.path().display(),
        )
    };
    pod.write(
        "access.log",
        "192.0.2.7 - - [21/Nov/2026:12:24:10 +0000] \"GET / HTTP/1.1\" 200 5 \"-\" \"-\"\n",
    );
    pod.write("app.log", "level=info msg=hi\n");
    let map = pod.config_map("config", &[("adapter.yaml", &config("shop"))]);
    let running = adapter()
        .args(["--config", map.join("adapter.yaml").to_str().expect("text"), "--admin", "127.0.0.1:0"])
        .spawn();
    running.wait_ready();
    let find = |key: &str, value: serde_json::Value| {
        eventually(&format!("{key}: {value}"), || {
            records(&pod.join("out")).into_iter().find(|r| r[key] == value)
        })
    };
    let access = find("service.name", "shop".into());
    assert_eq!(access["http.response.status_code"], 200);
    assert_eq!(access["log.file.path"], pod.join("access.log").to_str().expect("text"));
    assert_eq!(find("labels.tier", 2.into())["message"], "hi");
    map.swap(&[("adapter.yaml", "streams: [{in: [], form: x}]\n")]);
    running.wait_log("the refusal", |line| line["message"].as_str().is_some_and(|m| m.contains("refused")));
    map.swap(&[("adapter.yaml", &config("store"))]);
    running.wait_log("the reload", |line| line["message"] == "following with the new configuration");
    pod.append(
        "access.log",
        "192.0.2.7 - - [21/Nov/2026:12:24:11 +0000] \"GET /b HTTP/1.1\" 404 5 \"-\" \"-\"\n",
    );
    assert_eq!(find("service.name", "store".into())["url.original"], "/b");
    assert_eq!(records(&pod.join("out")).len(), 3);
}

#[test]
fn detection_is_per_file_and_shown() {
    let pod = PodDir::new();
    pod.write("app.log", lines(0, 40));
    pod.write("app2.log", "ts=2026-11-21T12:24:10Z level=info id=40 msg=hi\n".repeat(40));
    let running = following(&pod, &["--from", "auto"]).spawn();
    let admin = running.wait_ready().addr("admin");
    eventually("both formats", || {
        let status = get(admin, "/statusz").json();
        let formats: Vec<_> = status["files"]
            .as_array()?
            .iter()
            .filter_map(|f| f["format"].as_str().map(str::to_owned))
            .collect();
        (formats.contains(&"auto: json".to_owned()) && formats.contains(&"auto: logfmt".to_owned()))
            .then_some(())
    });
    wait_for_ids(&pod, 80);
    assert_eq!(ids(&pod)[&40], 40);
}
