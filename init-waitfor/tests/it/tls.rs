//! Certificates: whom we trust, for which name, for how long.

use testkit::fake::{Answer, FakeHttp};
use testkit::{PodDir, Proc, TestCa, TlsShim};

use crate::waitfor;

fn trusting(pod: &PodDir, ca: &TestCa) -> Proc {
    waitfor().arg("--tls-ca").arg(pod.write("ca.pem", ca.pem()))
}

#[test]
fn chain_name_and_days_left() {
    let (pod, ca, http) = (PodDir::new(), TestCa::new(), FakeHttp::start());
    let shim = TlsShim::to(http.addr(), &ca.server_for(&["localhost", "127.0.0.1"], 20));
    let at = format!("127.0.0.1:{}", shim.addr().port());
    let status = |target: &str, code: i32, word: &str| {
        trusting(&pod, &ca).args(["status", target]).run().expect_code(code).expect_stdout(word);
    };
    status(&format!("tls://{at}"), 0, "certificate valid for");
    status(&format!("tls://{at}?min-days=10"), 0, "valid");
    status(&format!("tls://{at}?min-days=40"), 1, "wanted 40");
    status(&format!("tls://{at}?server-name=other.example"), 1, "certificate: ");
    status(&format!("not:tls://{at}?min-days=40"), 0, "wanted 40");
    // Without the CA: an unknown authority; with --tls-insecure anyone.
    waitfor().args(["status", &format!("tls://{at}")]).run().expect_code(1).expect_stdout("certificate: ");
    waitfor().args(["--tls-insecure", "status", &format!("tls://{at}")]).run().expect_code(0);
    status(&format!("tls://{}", http.addr()), 1, "TLS");
}

#[test]
fn an_expired_certificate_is_not_ready() {
    let (pod, ca, http) = (PodDir::new(), TestCa::new(), FakeHttp::start());
    let shim = TlsShim::to(http.addr(), &ca.server_for(&["127.0.0.1"], -1));
    for target in [
        format!("tls://127.0.0.1:{}", shim.addr().port()),
        format!("https://127.0.0.1:{}/", shim.addr().port()),
    ] {
        trusting(&pod, &ca).args(["status", &target]).run().expect_code(1).expect_stdout("expired");
    }
}

#[test]
fn https_with_a_private_authority_and_a_client_certificate() {
    let (pod, ca, http) = (PodDir::new(), TestCa::new(), FakeHttp::start());
    http.always(Answer::Status(200));
    let shim = TlsShim::to(http.addr(), &ca.server(&["127.0.0.1"]));
    let url = format!("https://127.0.0.1:{}/", shim.addr().port());
    trusting(&pod, &ca).args(["status", &url]).run().expect_code(0);
    waitfor().args(["status", &url]).run().expect_code(1).expect_stdout("certificate: ");
    waitfor().args(["--tls-insecure", "status", &url]).run().expect_code(0);

    let shim = TlsShim::mutual(http.addr(), &ca.server(&["127.0.0.1"]), &ca);
    let url = format!("https://127.0.0.1:{}/", shim.addr().port());
    trusting(&pod, &ca).args(["status", &url]).run().expect_code(1);
    let (cert, key) = ca.client("gate").write(&pod, "client");
    let proc = trusting(&pod, &ca).arg("--tls-cert").arg(cert).arg("--tls-key").arg(key);
    proc.args(["status", &url]).run().expect_code(0);
}

#[test]
fn a_certificate_file_may_arrive_late() {
    let (pod, ca, http) = (PodDir::new(), TestCa::new(), FakeHttp::start());
    http.always(Answer::Status(200));
    let shim = TlsShim::to(http.addr(), &ca.server(&["127.0.0.1"]));
    let url = format!("https://127.0.0.1:{}/", shim.addr().port());
    let wait =
        waitfor().arg("--tls-ca").arg(pod.join("late.pem")).args(["--max-interval", "300ms", &url]).spawn();
    wait.wait_log("the file is missing", |line| line["reason"].as_str().unwrap_or("").contains("late.pem"));
    pod.write("late.pem", ca.pem());
    wait.wait_exit().expect_code(0);
}

#[test]
fn protocols_that_begin_with_tls() {
    use testkit::fake::{FakeH2, FakeTcp, H2Reply, TcpAnswer};

    let (pod, ca) = (PodDir::new(), TestCa::new());
    let identity = ca.server(&["127.0.0.1"]);
    let redis = FakeTcp::start(TcpAnswer::Greet(b"+PONG\r\n*1\r\n$6\r\nmaster\r\n".to_vec()));
    let mqtt = FakeTcp::start(TcpAnswer::Greet(vec![0x20, 2, 0, 0]));
    let memcached = FakeTcp::start(TcpAnswer::Hang);
    let grpc = FakeH2::with(|_| H2Reply::grpc(0, Some(&[8, 1])));
    let shims = [
        TlsShim::to(redis.addr(), &identity),
        TlsShim::to(mqtt.addr(), &identity),
        TlsShim::alpn(grpc.addr(), &identity, &["h2"]),
    ];
    for (scheme, shim) in ["rediss", "mqtts", "grpcs"].iter().zip(&shims) {
        let target = format!("{scheme}://{}", shim.addr());
        trusting(&pod, &ca).args(["status", &target]).run().expect_code(0);
        let done = waitfor().args(["status", &target]).run();
        done.expect_code(1).expect_stdout("signed by an authority that is not trusted here");
        // TLS in front of a server that speaks in plain text, and a server that does not speak at all.
        let plain = format!("{scheme}://{}", mqtt.addr());
        trusting(&pod, &ca).args(["status", "--attempt-timeout", "2s", &plain]).run().expect_code(1);
        let silent = format!("{scheme}://{}", memcached.addr());
        trusting(&pod, &ca).args(["status", "--attempt-timeout", "1s", &silent]).run().expect_code(1);
    }
}
