//! Who asks: each kind of credentials, from files that rotate.

mod common;

use common::{Pod, count, lines, status, stop};
use serde_json::{Value, json};
use testkit::fake::{FakeHttp, Reply};
use testkit::{Proc, eventually};

/// Its name, its setting with a file of the secret, and the header that a secret makes.
type Kind = (&'static str, fn(&str) -> Value, fn(&str) -> String);

#[test]
fn each_kind_is_read_at_every_request() {
    let kinds: [Kind; 4] = [
        (
            "basic",
            |file| json!({"basic": {"user": "shop", "password": {"file": file}}}),
            |secret| {
                use base64::Engine as _;
                format!(
                    "Basic {}",
                    base64::engine::general_purpose::STANDARD.encode(format!("shop:{secret}"))
                )
            },
        ),
        ("bearer", |file| json!({"bearer": {"file": file}}), |secret| format!("Bearer {secret}")),
        ("api_key", |file| json!({"api_key": {"file": file}}), |secret| format!("ApiKey {secret}")),
        ("splunk", |file| json!({"splunk": {"file": file}}), |secret| format!("Splunk {secret}")),
    ];
    for (kind, auth, header) in kinds {
        let (pod, sink) = (Pod::new(), FakeHttp::start());
        let map = pod.dir.config_map("secret", &[("key", "first\n")]);
        let config = json!({
            "read": [pod.log("*.log")], "state": pod.dir.join("state"),
            "sinks": [{"to": sink.url("/"), "auth": auth(&map.join("key").display().to_string())}],
        });
        let config = pod.dir.write("c.yaml", config.to_string());
        let shipper = Proc::new(env!("CARGO_BIN_EXE_sidecar-logshipper"))
            .json_logs()
            .args(["--admin", "127.0.0.1:0", "--config"])
            .arg(config)
            .spawn();
        for (round, secret) in ["first", "second"].into_iter().enumerate() {
            map.swap(&[("key", secret)]);
            pod.append("app.log", lines(round, 1));
            eventually("delivered", || {
                (count(&shipper, "lines_delivered_total") > round as f64).then_some(())
            });
            let requests = sink.requests();
            let sent = requests.last().and_then(|request| request.header("authorization"));
            assert_eq!(sent, Some(header(secret).as_str()), "{kind}");
        }
        stop(&shipper);
    }
}

#[test]
fn a_server_that_repeats_them_makes_nobody_see_them() {
    let (pod, sink) = (Pod::new(), FakeHttp::start());
    let answers = [401, 400].map(|status| {
        move |request: &testkit::fake::Received| {
            Some(
                Reply::new(status, format!("who is {:?}, shop:s3cret-one?", request.header("authorization")))
                    .into(),
            )
        }
    });
    let password = pod.dir.write("password", "s3cret-one\n");
    let config = json!({
        "read": [pod.log("*.log")], "state": pod.dir.join("state"),
        "sinks": [{"to": sink.url("/"), "auth": {"basic": {"user": "shop", "password": {"file": password}}}}],
    });
    let config = pod.dir.write("c.yaml", config.to_string());
    sink.decide(answers[0]);
    pod.append("app.log", lines(0, 1));
    let shipper = Proc::new(env!("CARGO_BIN_EXE_sidecar-logshipper"))
        .json_logs()
        .args(["--admin", "127.0.0.1:0", "--config"])
        .arg(config)
        .spawn();
    let shown =
        eventually("it is shown", || status(&shipper)["sinks"][0]["problem"].as_str().map(str::to_owned));
    assert_eq!(shown, "401 who is Some(\"Basic ***\"), shop:***?");
    sink.decide(answers[1]);
    eventually("buried", || (pod.dead_letters().len() == 1).then_some(()));
    assert_eq!(pod.dead_letters()[0]["reason"], "400 who is Some(\"Basic ***\"), shop:***?");
    shipper.sigterm();
    let exited = shipper.wait_exit();
    let secret = ["s3cret-one", "c2hvcDpzM2NyZXQtb25l"].iter().any(|secret| exited.stderr().contains(secret));
    assert!(!secret && exited.stderr().contains("***"), "{}", exited.stderr());
}
