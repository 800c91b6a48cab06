//! The sink for S3, against a fake that checks each signature by the specification ("Authenticating Requests: Using Query Parameters",
//! Amazon S3 API reference) and keeps objects by name.
#![cfg(feature = "s3")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::{digest, hmac};
use common::{Pod, count, lines, stop};
use serde_json::json;
use testkit::fake::{Answer, FakeHttp, Received, Reply};
use testkit::http::{self, Response};
use testkit::{Proc, eventually, eventually_within, skip_or_fail};

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sign(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

/// Whether the query of a presigned URL is what the secret makes of this request.
fn is_signed(request: &Received) -> bool {
    let (path, query) = request.target.split_once('?').expect("a query");
    let mut pairs: Vec<(&str, &str)> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
    pairs.sort_unstable();
    let value = |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    let signature = value("X-Amz-Signature").expect("a signature");
    let date = value("X-Amz-Date").expect("a date");
    let credential = value("X-Amz-Credential").expect("a credential").replace("%2F", "/");
    let scope = credential.split_once('/').expect("a scope").1.to_owned();
    let canonical: Vec<String> = pairs
        .iter()
        .filter(|(name, _)| *name != "X-Amz-Signature")
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(value("X-Amz-SignedHeaders"), Some("host"));
    let host = request.header("host").expect("a host");
    let request =
        format!("{}\n{path}\n{}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD", request.method, canonical.join("&"));
    let digest = hex(digest::digest(&digest::SHA256, request.as_bytes()).as_ref());
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{digest}");
    let mut key = format!("AWS4{SECRET}").into_bytes();
    for part in scope.split('/') {
        key = sign(&key, part);
    }
    hex(&sign(&key, &text)) == signature
}

type Objects = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

fn bucket() -> (FakeHttp, Objects) {
    let objects = Objects::default();
    let kept = Arc::clone(&objects);
    let fake = FakeHttp::with(move |request| {
        if request.method != "PUT" || !is_signed(request) {
            return Reply::new(403, "SignatureDoesNotMatch");
        }
        let path = request.path().to_owned();
        kept.lock().expect("locks").insert(path, request.decoded());
        Reply::new(200, "")
    });
    (fake, objects)
}

fn shipper(pod: &Pod, sink: &FakeHttp) -> Proc {
    let secret = pod.dir.write("secret", SECRET);
    let config = json!({
        "read": [pod.log("*.log")], "state": pod.dir.join("state"), "compression": "gzip",
        "sinks": [{
            "to": format!("s3+http://{}/logs/shop/%Y/%m/%d/?region=eu-central-1", sink.addr()),
            "auth": {"basic": {"user": "AKIAIOSFODNN7EXAMPLE", "password": {"file": secret}}},
            "batch_age": "100ms",
        }],
    });
    let config = pod.dir.write("c.yaml", config.to_string());
    Proc::new(env!("CARGO_BIN_EXE_sidecar-logshipper"))
        .json_logs()
        .args(["--admin", "127.0.0.1:0", "--config"])
        .arg(config)
}

#[test]
fn each_batch_is_an_object_and_a_repeated_one_the_same() {
    let (pod, (sink, objects)) = (Pod::new(), bucket());
    sink.next([Answer::Status(503), Answer::AnswerLost]);
    pod.append("app.log", "{\"@timestamp\":\"2026-01-31T23:59:58Z\",\"n\":1}\nplain\n");
    let running = shipper(&pod, &sink).spawn();
    eventually("delivered", || (count(&running, "lines_delivered_total") == 2.0).then_some(()));
    stop(&running);
    let objects = objects.lock().expect("locks").clone();
    assert_eq!(objects.len(), 1, "the lost answer made no second one: {:?}", objects.keys());
    let (name, body) = objects.iter().next().expect("an object");
    assert!(name.starts_with("/logs/shop/2026/01/31/20260131T235958Z-"), "{name}");
    assert!(name.ends_with(".ndjson.gz"), "{name}");
    let text = String::from_utf8(body.clone()).expect("text");
    assert_eq!(text.lines().count(), 2);
    assert!(text.starts_with("{\"@timestamp\":\"2026-01-31T23:59:58Z\",\"n\":1}\n"), "{text}");
}

/// Python's moto, which many test their S3 clients against, if `cargo xtask test --full` has set it up.
struct Moto {
    child: Child,
    addr: SocketAddr,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Moto {
    fn start() -> Option<Self> {
        let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/xtask/venv/bin/moto_server");
        // Its port is taken in between only by bad luck.
        let addr =
            TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
        let child = Command::new(ours)
            .args(["-H", "127.0.0.1", "-p", &addr.port().to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let moto = Self { child, addr };
        eventually_within(Duration::from_secs(60), "moto answers", || {
            TcpStream::connect(addr).ok().map(drop)
        });
        Some(moto)
    }

    /// As the owner of the bucket: moto asks who it is, and takes any signature.
    fn ask(&self, method: &str, target: &str) -> Response {
        let owner = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20260101/us-east-1/s3/aws4_request, \
                     SignedHeaders=host, Signature=0";
        http::send(self.addr, &http::Request::new(method, target).header("authorization", owner))
    }
}

#[test]
fn a_server_of_others_keeps_each_batch_as_an_object() {
    let Some(moto) = Moto::start() else {
        return skip_or_fail("moto is not here (xtask/requirements-full.txt)");
    };
    assert_eq!(moto.ask("PUT", "/logs").status, 200);
    let pod = Pod::new();
    let secret = pod.dir.write("secret", SECRET);
    let config = json!({
        "read": [pod.log("*.log")], "state": pod.dir.join("state"), "batch_lines": 40,
        "sinks": [{
            "to": format!("s3+http://{}/logs/a b/?region=us-east-1", moto.addr),
            "format": "raw",
            "auth": {"basic": {"user": "AKIAIOSFODNN7EXAMPLE", "password": {"file": secret}}},
        }],
    });
    pod.append("app.log", lines(0, 100));
    let config = pod.dir.write("c.yaml", config.to_string());
    Proc::new(env!("CARGO_BIN_EXE_sidecar-logshipper"))
        .args(["--once", "--config"])
        .arg(config)
        .run()
        .expect_code(0);
    let listed = moto.ask("GET", "/logs?list-type=2").text();
    let keys: Vec<&str> =
        listed.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next()).collect();
    assert_eq!(keys.len(), 3, "{listed}");
    let mut all = String::new();
    for key in keys {
        assert!(key.starts_with("a b/") && key.ends_with(".ndjson"), "{key}");
        let object = moto.ask("GET", &format!("/logs/{}", key.replace(' ', "%20")));
        assert_eq!(object.status, 200, "{key}");
        all.push_str(&object.text());
    }
    let got: BTreeSet<&str> = all.lines().collect();
    assert_eq!((got.len(), all.lines().count()), (100, 100), "{all}");
    assert!((0..100).all(|n| got.contains(format!("line {n}").as_str())));
}

#[test]
fn a_wrong_secret_waits_and_everything_arrives_when_it_is_right() {
    let (pod, (sink, objects)) = (Pod::new(), bucket());
    pod.append("app.log", lines(0, 50));
    let proc = shipper(&pod, &sink);
    pod.dir.write("secret", "wrong");
    let running = proc.spawn();
    eventually("refused", || (count(&running, "retries_total") > 1.0).then_some(()));
    assert!(objects.lock().expect("locks").is_empty());
    pod.dir.write("secret", SECRET);
    eventually("delivered", || (count(&running, "lines_delivered_total") == 50.0).then_some(()));
    stop(&running);
    assert!(pod.dead_letters().is_empty(), "no line is at fault");
}

#[test]
fn the_example_is_accepted() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/config/sidecar-logshipper-s3.yaml");
    let shipper = testkit::Proc::new(env!("CARGO_BIN_EXE_sidecar-logshipper"));
    shipper.args(["--check", "--config", example]).run().expect_code(0);
}
