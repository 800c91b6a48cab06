//! Sinks that take a connection and then say nothing, also while the pod ends.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Pod, assert_exact, bulk_url, count, lines, stop, wait_docs};
use serde_json::json;
use testkit::fake::{Answer, FakeBulk, FakeH2, FakeHttp, OnConnect, Reply};
use testkit::{Proc, TestCa, TlsShim, eventually};

// fluent-bit#5960, vector#5414, beats#49756: SIGTERM while a request waits for its answer. The sink is well again; the grace is the usual one.
#[test]
fn a_request_that_hangs_at_sigterm_is_sent_again_in_time() {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    sink.next([Answer::Hang]);
    pod.append("app.log", lines(0, 1000));
    let shipper = pod.shipper("app.log", &bulk_url(&sink)).spawn();
    eventually("it is asked", || (sink.count() == 1).then_some(()));
    pod.append("app.log", lines(1000, 10));
    stop(&shipper);
    assert_exact(&sink, 1010);
}

// The same: what hangs for ever ends with the grace, says what is left, and the next start sends it.
#[test]
fn a_sink_that_hangs_for_ever_does_not_keep_the_pod() {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    sink.connections(OnConnect::Stall);
    pod.append("app.log", lines(0, 1000));
    let shipper = pod.shipper("app.log", &bulk_url(&sink)).spawn();
    eventually("it is connected", || (sink.accepted() > 0).then_some(()));
    shipper.sigterm();
    shipper.wait_exit().expect_code(1).expect_stderr("not delivered within --shutdown-grace: 8890 bytes for");
    sink.connections(OnConnect::Serve);
    let shipper = pod.shipper("app.log", &bulk_url(&sink)).spawn();
    wait_docs(&sink, 1000);
    stop(&shipper);
    assert_exact(&sink, 1000);
}

// fluent-bit#1903, #3581, loki#8519, rsyslog#3618: stuck until a restart, by way of a connection that is dead without anyone knowing.
#[test]
fn a_connection_of_http_2_that_has_gone_silent_is_left() {
    let (silent, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (deaf, end) = (Arc::clone(&silent), Arc::clone(&over));
    // The whole first connection stands still, as behind a router that has forgotten it; others pass.
    let sink = FakeH2::with(move |request| {
        while request.connection == 0 && deaf.load(Ordering::Relaxed) && !end.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(10));
        }
        Reply::json(200, &json!({})).into()
    });
    let (pod, ca) = (Pod::new(), TestCa::new());
    let shim = TlsShim::alpn(sink.addr(), &ca.server(&["localhost"]), &["h2"]);
    let config = json!({
        "read": [pod.log("*.log")], "state": pod.dir.join("state"), "timeout": "500ms",
        "sinks": [{
            "to": format!("https://localhost:{}/in", shim.addr().port()),
            "tls": {"ca": pod.dir.write("ca.pem", ca.pem())},
        }],
    });
    let config = pod.dir.write("c.yaml", config.to_string());
    let shipper = Proc::new(env!("CARGO_BIN_EXE_sidecar-logshipper"))
        .json_logs()
        .args(["--admin", "127.0.0.1:0", "--config"])
        .arg(config)
        .spawn();
    let delivered = |lines: f64| (count(&shipper, "lines_delivered_total") == lines).then_some(());
    pod.append("app.log", lines(0, 10));
    eventually("delivered over the first", || delivered(10.0));
    silent.store(true, Ordering::Relaxed);
    pod.append("app.log", lines(10, 10));
    eventually("delivered over another", || delivered(20.0));
    assert!(count(&shipper, "answers_lost_total") >= 1.0);
    stop(&shipper);
    over.store(true, Ordering::Relaxed);
}

// A Service that has moved is found: names are asked for at every connection.
#[test]
fn a_name_is_looked_up_again_for_every_connection() {
    use testkit::fake::FakeDns;
    let (pod, dns, sink) = (Pod::new(), FakeDns::start(), FakeHttp::start());
    let resolv = pod.dir.write("resolv.conf", dns.resolv_conf(""));
    let hosts = pod.dir.write("hosts", "");
    // Nobody listens there.
    dns.records("logs.example", "A", &["127.0.0.9"]);
    pod.append("app.log", lines(0, 10));
    let to = format!("http://logs.example:{}/", sink.addr().port());
    let shipper = pod
        .shipper("app.log", &to)
        .args(["--format", "raw"])
        .env("PODKIT_RESOLV_CONF", resolv)
        .env("PODKIT_HOSTS", hosts)
        .spawn();
    eventually("refused there", || (count(&shipper, "retries_total") > 0.0).then_some(()));
    assert_eq!(sink.count(), 0);
    dns.records("logs.example", "A", &["127.0.0.1"]);
    eventually("delivered where it is now", || (sink.lines().len() == 10).then_some(()));
    stop(&shipper);
}
