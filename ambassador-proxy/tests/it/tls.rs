//! TLS towards upstreams, its files and credentials while they change, and a database that demands TLS.

use crate::common;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use crate::common::start_config;
use testkit::fake::{FakeHttp, FakeTcp, TcpAnswer};
use testkit::http::{self, Connection, Request};
use testkit::{PodDir, TestCa, TlsShim, eventually};

#[test]
fn an_unknown_authority_is_refused_and_named() {
    let (ca, other, pod) = (TestCa::new(), TestCa::new(), PodDir::new());
    let upstream = FakeHttp::echo();
    let shim = TlsShim::to(upstream.addr(), &ca.server(&["localhost"]));
    pod.write("other.pem", other.pem());
    pod.write("ca.pem", ca.pem());
    let config = |ca: &str, name: &str| {
        let tls = format!("ca: {}, server_name: {name}", pod.join(ca).display());
        format!(
            "listeners: [{{http: '127.0.0.1:0', to: up}}]\nupstreams:\n  up: {{url: 'https://localhost:{}', tls: {{{tls}}}}}\n",
            shim.addr().port()
        )
    };
    for (file, name) in [("other.pem", "localhost"), ("ca.pem", "other.example.com")] {
        let proxy = start_config(&pod.write("proxy.yaml", config(file, name)));
        let response = http::get(proxy.http(), "/");
        assert_eq!(response.status, 503);
        let status = response.header("proxy-status").unwrap();
        assert!(status.contains("error=tls_certificate_error"), "{status}");
    }
    assert_eq!(upstream.count(), 0);
    let proxy = start_config(&pod.write("proxy.yaml", config("ca.pem", "localhost")));
    let echo = http::get(proxy.http(), "/").json();
    assert_eq!(echo["headers"]["host"], format!("localhost:{}", shim.addr().port()));
    // The server shows a renewed certificate of the same authority.
    shim.renew(&ca.server(&["localhost"]));
    assert_eq!(http::get(proxy.http(), "/").status, 200);
}

#[test]
fn a_client_certificate_is_shown_and_a_rotated_one_is_taken_over() {
    let (ca, clients, pod) = (TestCa::new(), TestCa::new(), PodDir::new());
    let stranger = TestCa::new();
    let upstream = FakeHttp::echo();
    let shim = TlsShim::mutual(upstream.addr(), &ca.server(&["localhost"]), &clients);
    pod.write("ca.pem", ca.pem());
    let (bad, good) = (stranger.client("pod"), clients.client("pod"));
    let map = pod.config_map("tls", &[("tls.crt", &bad.cert), ("tls.key", &bad.key)]);
    let text = format!(
        "listeners: [{{http: '127.0.0.1:0', to: up}}]\nupstreams:\n  up:\n    url: https://localhost:{}\n    tls: {{ca: {}, cert: {}, key: {}}}\n",
        shim.addr().port(),
        pod.join("ca.pem").display(),
        map.join("tls.crt").display(),
        map.join("tls.key").display()
    );
    let proxy = start_config(&pod.write("proxy.yaml", text));
    assert!(http::get(proxy.http(), "/").status >= 500, "the server does not know that authority");
    // First half a swap (a key that does not fit): what was loaded before stays. Then the whole pair.
    map.swap(&[("tls.crt", &good.cert), ("tls.key", &bad.key)]);
    eventually("the half pair is noticed", || {
        proxy.status()["upstreams"][0]["problem"]
            .as_str()
            .is_some_and(|why| why.contains("certificate"))
            .then_some(())
    });
    map.swap(&[("tls.crt", &good.cert), ("tls.key", &good.key)]);
    eventually("the new certificate is shown", || (http::get(proxy.http(), "/").status == 200).then_some(()));
    assert!(proxy.status()["upstreams"][0]["problem"].is_null());
}

#[test]
fn credentials_are_added_and_rotate_and_never_show() {
    let (upstream, pod) = (FakeHttp::echo(), PodDir::new());
    let map = pod.config_map("token", &[("token", "first-token\n")]);
    pod.write("password", "s3cret");
    let text = format!(
        "listeners:
  - http: 127.0.0.1:0
    to: bearer
    routes:
      - {{path: /basic, to: basic}}
      - {{path: /key, to: key}}
      - {{path: /missing, to: missing}}
upstreams:
  bearer: {{url: 'http://{0}', credentials: {{bearer: {{file: {token}}}}}}}
  basic: {{url: 'http://{0}', credentials: {{basic: {{user: app, password: {{file: {password}}}}}}}}}
  key: {{url: 'http://{0}', credentials: {{api_key: {{header: x-api-key, value: {{env: TEST_API_KEY}}}}}}}}
  missing: {{url: 'http://{0}', credentials: {{bearer: {{file: /nonexistent/token}}}}}}
",
        upstream.addr(),
        token = map.join("token").display(),
        password = pod.join("password").display()
    );
    let config = pod.write("proxy.yaml", text);
    let proxy =
        common::start_with(&["--config", config.to_str().unwrap()], |proc| proc.env("TEST_API_KEY", "k-123"));
    let sent = |path: &str, header: &str| {
        let request = Request::new("GET", path).header("Authorization", "Bearer of-the-app");
        http::send(proxy.http(), &request).json()["headers"][header].as_str().unwrap_or_default().to_owned()
    };
    eventually("the files are read", || (sent("/", "authorization") == "Bearer first-token").then_some(()));
    assert_eq!(sent("/basic", "authorization"), "Basic YXBwOnMzY3JldA==");
    assert_eq!(sent("/key", "x-api-key"), "k-123");
    let missing = http::get(proxy.http(), "/missing");
    assert_eq!((missing.status, missing.json()["fault"].clone()), (503, "proxy".into()));
    map.swap(&[("token", "second-token")]);
    eventually("the rotated token is used", || {
        (sent("/", "authorization") == "Bearer second-token").then_some(())
    });
    let admin = http::get(proxy.admin(), "/statusz").text() + &http::get(proxy.admin(), "/metrics").text();
    proxy.running.sigterm();
    let exited = proxy.running.wait_exit();
    let shown = admin + &exited.stdout() + &exited.stderr();
    for secret in ["first-token", "second-token", "s3cret", "k-123"] {
        assert!(!shown.contains(secret), "{secret} was shown");
    }
}

/// A database that insists on SSLRequest, then hands the connection to a TLS end.
fn database(tls: std::net::SocketAddr) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let Ok(mut client) = client else { return };
            std::thread::spawn(move || {
                let mut request = [0; 8];
                client.read_exact(&mut request).unwrap();
                assert_eq!(request, [0, 0, 0, 8, 4, 210, 22, 47], "SSLRequest comes first");
                client.write_all(b"S").unwrap();
                let server = TcpStream::connect(tls).unwrap();
                let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Write);
                });
                let _ = std::io::copy(&mut &server, &mut &client);
                let _ = client.shutdown(std::net::Shutdown::Write);
            });
        }
    });
    addr
}

#[test]
fn an_app_without_tls_reaches_a_postgres_that_demands_it() {
    let (ca, pod) = (TestCa::new(), PodDir::new());
    let server = FakeTcp::start(TcpAnswer::Echo);
    let shim = TlsShim::to(server.addr(), &ca.server(&["localhost"]));
    let database = database(shim.addr());
    pod.write("ca.pem", ca.pem());
    let text = format!(
        "listeners: [{{tcp: '127.0.0.1:0', to: db}}]\nupstreams:\n  db: {{url: 'tls://localhost:{}', tls: {{ca: {}, starttls: postgres}}}}\n",
        database.port(),
        pod.join("ca.pem").display()
    );
    let proxy = start_config(&pod.write("proxy.yaml", text));
    let startup = b"\0\0\0\x10\0\x03\0\0user\0x\0\0";
    // libpq with sslmode=prefer asks first, and is told that localhost has none.
    for ask_first in [false, true] {
        let mut client = Connection::open(proxy.tcp()).unwrap();
        if ask_first {
            client.write(&[0, 0, 0, 8, 4, 210, 22, 47]).unwrap();
            assert_eq!(client.read(1).unwrap(), b"N");
        }
        client.write(startup).unwrap();
        assert_eq!(client.read(startup.len()).unwrap(), startup);
    }
    assert_eq!(shim.handshakes(), 2);
}

#[test]
fn plain_tcp_in_tls_out() {
    let (ca, pod) = (TestCa::new(), PodDir::new());
    let server = FakeTcp::start(TcpAnswer::EchoAtEnd);
    let shim = TlsShim::to(server.addr(), &ca.server(&["localhost"]));
    pod.write("ca.pem", ca.pem());
    let text = format!(
        "listeners: [{{tcp: '127.0.0.1:0', to: db}}]\nupstreams:\n  db: {{url: 'tls://localhost:{}', tls: {{ca: {}}}}}\n",
        shim.addr().port(),
        pod.join("ca.pem").display()
    );
    let proxy = start_config(&pod.write("proxy.yaml", text));
    let mut client = Connection::open(proxy.tcp()).unwrap();
    let data = vec![42; 1 << 20];
    client.write(&data).unwrap();
    client.finish().unwrap();
    assert!(client.read_to_end().unwrap() == data);
}
