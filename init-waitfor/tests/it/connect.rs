//! Ports and sockets.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use testkit::PodDir;
use testkit::fake::{FakeDns, FakeTcp, TcpAnswer};

use crate::waitfor;

#[test]
fn a_port_that_opens_late() {
    let tcp = FakeTcp::start(TcpAnswer::Echo);
    tcp.down();
    let wait = waitfor().args(["--max-interval", "300ms", &format!("tcp://{}", tcp.addr())]).spawn();
    wait.wait_log("refused", |line| line["reason"].as_str().unwrap_or("").contains("connection refused"));
    tcp.up();
    wait.wait_exit().expect_code(0);
}

#[test]
fn a_dead_first_address_does_not_hide_the_second() {
    // IPv6 is tried first; nobody listens there, as with a service that binds IPv4 only.
    let (pod, dns, tcp) = (PodDir::new(), FakeDns::start(), FakeTcp::start(TcpAnswer::Echo));
    dns.records("app.example", "AAAA", &["::1"]);
    dns.records("app.example", "A", &["127.0.0.1"]);
    let conf = pod.write("resolv.conf", dns.resolv_conf(""));
    let target = format!("tcp://app.example:{}", tcp.addr().port());
    waitfor().arg("--resolv-conf").arg(conf).args(["status", &target]).run().expect_code(0);
}

/// KitStream/initium: only the first address is tried.
#[test]
fn a_silent_first_address_does_not_hide_the_second() {
    let (pod, dns) = (PodDir::new(), FakeDns::start());
    // The same port on two addresses: one with a full queue (which drops what comes), one that accepts.
    let good = TcpListener::bind("127.0.0.3:0").unwrap();
    let port = good.local_addr().unwrap().port();
    let silent = TcpListener::bind(("127.0.0.2", port)).unwrap();
    let address = silent.local_addr().unwrap();
    let mut queue = Vec::new();
    while let Ok(stream) =
        std::net::TcpStream::connect_timeout(&address, std::time::Duration::from_millis(300))
    {
        queue.push(stream);
        assert!(queue.len() < 10_000, "the queue never fills");
    }
    dns.records("app.example", "A", &["127.0.0.2", "127.0.0.3"]);
    let conf = pod.write("resolv.conf", dns.resolv_conf(""));
    let done =
        waitfor().arg("--resolv-conf").arg(conf).args(["status", &format!("tcp://app.example:{port}")]).run();
    done.expect_code(0).expect_stdout(&format!("127.0.0.3:{port} accepts"));
}

/// jeffbski/wait-on#109, #137, #155; bahmutov/start-server-and-test#356: `localhost` was one family only, the listener the other.
#[test]
fn localhost_means_both_families() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let Ok(listener) = TcpListener::bind(address) else {
            testkit::skip_or_fail("a listener on ::1: there is no IPv6 here");
            continue;
        };
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Enough of HTTP for one answer; whoever only connects leaves at once.
                let _ = std::io::Read::read(&mut &stream, &mut [0; 2048]);
                let _ =
                    std::io::Write::write_all(&mut &stream, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
            }
        });
        // Also with a hosts file that knows one family, as Debian's containers have it.
        let pod = PodDir::new();
        let hosts = pod.write("hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost\n");
        for targets in [format!("tcp://localhost:{port}"), format!("http://localhost:{port}/")] {
            waitfor().args(["status", &targets]).run().expect_code(0);
            let proc = testkit::Proc::new(env!("CARGO_BIN_EXE_init-waitfor")).arg("--hosts").arg(&hosts);
            proc.args(["status", &targets]).run().expect_code(0);
        }
    }
}

/// KitStream/initium: only the first address of a name is tried; over HTTP, too.
#[test]
fn http_goes_to_whichever_address_answers() {
    let (pod, dns) = (PodDir::new(), FakeDns::start());
    let http = testkit::fake::FakeHttp::start();
    dns.records("app.example", "AAAA", &["::1"]);
    dns.records("app.example", "A", &["127.0.0.2", "127.0.0.1"]);
    let conf = pod.write("resolv.conf", dns.resolv_conf(""));
    let url = format!("http://app.example:{}/", http.addr().port());
    let proc = || waitfor().arg("--resolv-conf").arg(&conf);
    proc().args(["status", &url]).run().expect_code(0);
    http.down();
    // Every address is named, because each of them was asked.
    let done = proc().args(["status", &url]).run();
    for address in ["[::1]:", "127.0.0.2:", "127.0.0.1:", "connection refused"] {
        done.expect_code(1).expect_stdout(address);
    }
}

#[test]
fn not_tcp_waits_until_nobody_listens() {
    let tcp = FakeTcp::start(TcpAnswer::Echo);
    let target = format!("not:tcp://{}", tcp.addr());
    let wait = waitfor().args(["--max-interval", "300ms", &target]).spawn();
    wait.wait_log("still there", |line| line["reason"].as_str().unwrap_or("").contains("still there"));
    tcp.down();
    wait.wait_exit().expect_code(0);
}

#[test]
fn a_socket_file_without_a_listener_is_not_ready() {
    let pod = PodDir::new();
    let path = pod.join("app.sock");
    let target = format!("unix://{}", path.display());
    waitfor().args(["status", &target]).run().expect_code(1).expect_stdout("no such socket");
    let listener = UnixListener::bind(&path).unwrap();
    waitfor().args(["status", &target]).run().expect_code(0);
    drop(listener);
    waitfor().args(["status", &target]).run().expect_code(1).expect_stdout("nobody accepts");
}
