//! Sinks behind a proxy that opens tunnels.

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use common::Pod;
use serde_json::{Value, json};
use testkit::fake::FakeHttp;
use testkit::{Proc, TestCa, TlsShim};

/// An HTTP proxy that knows CONNECT: leads to `to`, whatever it is asked for, and keeps what it was asked.
fn tunnel(to: std::net::SocketAddr) -> (std::net::SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let addr = listener.local_addr().expect("has an address");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let asks = Arc::clone(&asked);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let asks = Arc::clone(&asks);
            std::thread::spawn(move || -> std::io::Result<()> {
                let (mut client, mut head) = (client, Vec::new());
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte)? == 1 {
                    head.push(byte[0]);
                }
                asks.lock().expect("locks").push(String::from_utf8_lossy(&head).into_owned());
                let mut server = TcpStream::connect(to)?;
                client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
                let (mut from, mut back) = (client.try_clone()?, server.try_clone()?);
                std::thread::spawn(move || std::io::copy(&mut from, &mut back));
                std::io::copy(&mut server, &mut client)?;
                client.shutdown(std::net::Shutdown::Both)
            });
        }
    });
    (addr, asked)
}

// The certificate is the sink's, not the proxy's; and what NO_PROXY names is asked directly.
#[test]
fn https_goes_through_a_proxy_without_being_opened_there() {
    let (pod, sink, ca) = (Pod::new(), FakeHttp::start(), TestCa::new());
    let shim = TlsShim::to(sink.addr(), &ca.server(&["logs.invalid", "localhost"]));
    let (proxy, asked) = tunnel(shim.addr());
    pod.append("app.log", "{}\n");
    let config = |name: &str, to: String, extra: Value| {
        let mut sink = json!({"name": name, "to": to, "tls": {"ca": pod.dir.write("ca.pem", ca.pem())}});
        sink.as_object_mut().expect("an object").extend(extra.as_object().cloned().unwrap_or_default());
        sink
    };
    let sinks = json!([
        // Nobody resolves this name but the proxy.
        config(
            "configured",
            "https://logs.invalid/in".into(),
            json!({"proxy": format!("http://user:pw@{proxy}")})
        ),
        config("environment", "https://logs.invalid/in".into(), json!({})),
        config("direct", format!("https://localhost:{}/in", shim.addr().port()), json!({})),
    ]);
    let config = json!({"read": [pod.log("*.log")], "sinks": sinks}).to_string();
    let run = Proc::new(env!("CARGO_BIN_EXE_sidecar-logshipper"))
        .args(["--once", "--config"])
        .arg(pod.dir.write("c.yaml", config))
        .env("HTTPS_PROXY", format!("http://{proxy}"))
        .env("NO_PROXY", "localhost")
        .run();
    run.expect_code(0);
    assert_eq!(sink.count(), 3);
    let asked = asked.lock().expect("locks");
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked.iter().all(|head| head.starts_with("CONNECT logs.invalid:443 HTTP/1.1\r\n")), "{asked:?}");
    let logins =
        asked.iter().filter(|head| head.to_lowercase().contains("proxy-authorization: basic dxnlcjpwdw=="));
    assert_eq!(logins.count(), 1, "{asked:?}");
}
