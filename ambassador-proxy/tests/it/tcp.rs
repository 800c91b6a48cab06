//! TCP listeners.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use crate::common::{nowhere, start, start_config};
use testkit::fake::{FakeTcp, TcpAnswer};
use testkit::http::Connection;
use testkit::{PodDir, Shim, eventually};

fn connect(addr: std::net::SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(testkit::timeout())).unwrap();
    stream
}

#[test]
fn bytes_go_both_ways_and_half_closes_are_passed_on() {
    let database = FakeTcp::start(TcpAnswer::EchoAtEnd);
    let proxy = start(&["--tcp", &format!("127.0.0.1:0={}", database.addr())]);
    let mut client = connect(proxy.tcp());
    let data: Vec<u8> = (0..3_000_000u32).map(|i| i.to_le_bytes()[0]).collect();
    client.write_all(&data).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut back = Vec::new();
    client.read_to_end(&mut back).unwrap();
    assert!(back == data);
    drop(client);
    let line = proxy.wait_log("it is logged", |line| line["protocol"] == "TCP");
    assert_eq!(
        (&line["bytes_to_upstream"], &line["bytes_to_client"]),
        (&3_000_000.into(), &3_000_000.into())
    );
    assert_eq!(line["endpoint"], database.addr().to_string());
    proxy.end();
}

#[test]
fn a_banner_comes_first_and_a_close_reaches_the_client() {
    let server = FakeTcp::start(TcpAnswer::Send(b"220 hello\r\n".to_vec()));
    let proxy = start(&["--tcp", &format!("127.0.0.1:0={}", server.addr())]);
    let mut text = String::new();
    connect(proxy.tcp()).read_to_string(&mut text).unwrap();
    assert_eq!(text, "220 hello\r\n");
}

#[test]
fn a_reset_is_a_reset_and_not_a_clean_end() {
    let server = FakeTcp::start(TcpAnswer::ResetAfter(4));
    let proxy = start(&["--tcp", &format!("127.0.0.1:0={}", server.addr())]);
    let mut client = connect(proxy.tcp());
    client.write_all(b"12345678").unwrap();
    let mut back = Vec::new();
    let result = client.read_to_end(&mut back);
    assert_eq!(result.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    let dead = start(&["--tcp", &format!("127.0.0.1:0={}", nowhere())]);
    let result = connect(dead.tcp()).read_to_end(&mut back);
    assert_eq!(result.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    let line = dead.wait_log("the failure is logged", |line| line["protocol"] == "TCP");
    assert!(line["flags"].as_str().unwrap().contains("connection_refused"), "{line}");
}

#[test]
fn many_connections_at_once_and_none_is_left() {
    let server = FakeTcp::start(TcpAnswer::Echo);
    let proxy = start(&["--tcp", &format!("127.0.0.1:0={}", server.addr())]);
    let mut clients: Vec<_> = (0..200).map(|_| connect(proxy.tcp())).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.write_all(&n.to_be_bytes()).unwrap();
    }
    for (n, client) in clients.iter_mut().enumerate() {
        let mut back = [0; 8];
        client.read_exact(&mut back).unwrap();
        assert_eq!(back, n.to_be_bytes());
    }
    drop(clients);
    eventually("all are closed", || {
        (proxy.status()["gauges"]["open_client_connections"] == 0 && server.open_connections() == 0)
            .then_some(())
    });
}

#[test]
fn silence_ends_a_connection_when_asked() {
    let server = FakeTcp::start(TcpAnswer::Hang);
    let pod = PodDir::new();
    let text = format!(
        "listeners: [{{tcp: '127.0.0.1:0', to: quiet}}]\nupstreams:\n  quiet: {{url: 'tcp://{}', timeouts: {{idle: 200ms}}}}\n",
        server.addr()
    );
    let proxy = start_config(&pod.write("proxy.yaml", text));
    let mut client = connect(proxy.tcp());
    client.write_all(b"hello?").unwrap();
    assert!(client.read(&mut [0; 8]).is_err());
    let line = proxy.wait_log("it is logged", |line| line["protocol"] == "TCP");
    assert_eq!(line["flags"], "timeout");
}

#[test]
fn a_silent_endpoint_costs_a_quarter_of_a_second() {
    // The shim accepts nothing while it is down; the other endpoint is raced after 250 ms, and a refusal at once.
    let server = FakeTcp::start(TcpAnswer::Echo);
    let shim = Shim::to(server.addr());
    shim.down();
    let pod = PodDir::new();
    let text = format!(
        "listeners: [{{tcp: '127.0.0.1:0', to: two}}]\nupstreams:\n  two: {{url: 'tcp://{a}', endpoints: ['{a}', '{b}']}}\n",
        a = shim.addr(),
        b = server.addr()
    );
    let proxy = start_config(&pod.write("proxy.yaml", text));
    for _ in 0..20 {
        let mut client = connect(proxy.tcp());
        client.write_all(b"ping").unwrap();
        let mut back = [0; 4];
        client.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"ping");
    }
}

#[test]
fn the_proxy_protocol_in_and_out() {
    let server = FakeTcp::start(TcpAnswer::Echo);
    let pod = PodDir::new();
    for (version, want) in [
        ("v1", &b"PROXY TCP4 10.1.2.3 127.0.0.1 5 "[..]),
        ("v2", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x0a\x01\x02\x03"),
    ] {
        let text = format!(
            "listeners: [{{tcp: '127.0.0.1:0', to: db, proxy_protocol: true}}]\nupstreams:\n  db: {{url: 'tcp://{}', proxy_protocol: {version}}}\n",
            server.addr()
        );
        let proxy = start_config(&pod.write("proxy.yaml", text));
        let mut client = connect(proxy.tcp());
        client.write_all(b"PROXY TCP4 10.1.2.3 127.0.0.1 5 6\r\nhello").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut back = Vec::new();
        client.read_to_end(&mut back).unwrap();
        assert!(back.starts_with(want) && back.ends_with(b"hello"), "{version}: {back:?}");
    }
}

#[test]
fn unix_sockets_in_and_out() {
    let pod = PodDir::new();
    let (near, far) = (pod.join("near.sock"), pod.join("far.sock"));
    let server = FakeTcp::start(TcpAnswer::Echo);
    let outer = start(&["--tcp", &format!("unix://{}={}", far.display(), server.addr())]);
    let inner = start(&["--tcp", &format!("unix://{}=unix://{}", near.display(), far.display())]);
    let mut client = Connection::open(near.clone()).unwrap();
    client.write(b"through two sockets").unwrap();
    assert_eq!(client.read(19).unwrap(), b"through two sockets");
    drop(client);
    // A killed proxy leaves its socket file; the next one replaces it.
    inner.running.sigkill();
    assert!(near.exists());
    let again = start(&["--tcp", &format!("unix://{}=unix://{}", near.display(), far.display())]);
    let mut client = Connection::open(near.clone()).unwrap();
    client.write(b"again").unwrap();
    assert_eq!(client.read(5).unwrap(), b"again");
    drop(client);
    again.end();
    assert!(!near.exists(), "it removes what it made");
    std::thread::sleep(Duration::from_millis(1));
    outer.end();
}
