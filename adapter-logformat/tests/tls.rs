//! Syslog over TLS (RFC 5425), from rustls and from openssl: counted messages, mutual TLS, renewed certificates, handshakes that never end.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use common::{adapter, metric, records};
use podkit::tls::{TlsOptions, client_config};
use rustls::{ClientConnection, StreamOwned};
use testkit::{Identity, PodDir, Proc, Running, TestCa, eventually, skip_or_fail};

type Client = StreamOwned<ClientConnection, TcpStream>;

/// Takes syslog over TLS, with these options behind the files' names.
fn listening(pod: &PodDir, identity: &Identity, options: &str) -> Proc {
    let (cert, key) = identity.write(pod, "tls");
    let input = format!("tls://127.0.0.1:0?cert={}&key={}{options}", cert.display(), key.display());
    adapter()
        .args(["--from", "syslog", "--schema", "flat", "--admin", "127.0.0.1:0", "--in", &input])
        .args(["--out", pod.join("out/records.log").to_str().expect("text")])
}

fn message(id: u32) -> String {
    format!("<34>1 2026-11-21T12:24:10Z web1 app 7 ID{id} - message {id}")
}

fn counted(message: &str) -> String {
    format!("{} {message}", message.len())
}

/// A connection of a client that trusts `ca`, and shows a certificate when it has one. The handshake is done, or its error is given.
fn connect(pod: &PodDir, at: SocketAddr, ca: &TestCa, own: Option<&Identity>) -> std::io::Result<Client> {
    let mut options = TlsOptions { ca: Some(pod.write("client/ca.crt", ca.pem())), ..TlsOptions::default() };
    if let Some((cert, key)) = own.map(|own| own.write(pod, "client")) {
        (options.cert, options.key) = (Some(cert), Some(key));
    }
    let config = client_config(&options, &[]).expect("a configuration");
    let connection = ClientConnection::new(config, "localhost".try_into().expect("a name"));
    let stream = TcpStream::connect(at)?;
    stream.set_read_timeout(Some(testkit::timeout()))?;
    let mut client = StreamOwned::new(connection.expect("a client"), stream);
    while client.conn.is_handshaking() {
        client.conn.complete_io(&mut client.sock)?;
    }
    Ok(client)
}

/// Sends and says goodbye.
fn send(mut client: Client, text: &str) {
    client.write_all(text.as_bytes()).expect("sends");
    client.conn.send_close_notify();
    client.flush().expect("sends");
    // The other side's goodbye: everything has been taken.
    assert_eq!(client.read(&mut [0; 8]).expect("a goodbye"), 0);
}

fn wait_lines(running: &Running, count: f64) {
    eventually(&format!("{count} lines"), || (metric(running, "lines_read_total") >= count).then_some(()));
}

fn failures(running: &Running, reason: &str) -> f64 {
    let name = format!("adapter_logformat_tls_failures_total{{reason=\"{reason}\"}}");
    let text = testkit::http::get(running.wait_ready().addr("admin"), "/metrics").text().to_string();
    let line = text.lines().find_map(|line| line.strip_prefix(&name)).unwrap_or("0");
    line.trim().parse().expect("a number")
}

fn stop(running: &Running) {
    running.sigterm();
    running.wait_exit().expect_code(0);
}

fn ids(pod: &PodDir) -> Vec<String> {
    let of = |r: &serde_json::Value| r["msgid"].as_str().expect("an id").to_owned();
    let mut ids: Vec<_> = records(&pod.join("out")).iter().map(of).collect();
    ids.sort();
    ids
}

#[test]
fn counted_messages_over_tls() {
    let (pod, ca) = (PodDir::new(), TestCa::new());
    let running = listening(&pod, &ca.server(&["localhost"]), "").spawn();
    let at = running.wait_ready().addr("listening");
    let long = format!("{} and\na second line, {}", message(1), "x".repeat(100_000));
    let text = [counted(&long), counted(&message(2))].concat();
    send(connect(&pod, at, &ca, None).expect("connects"), &text);
    // As lines, too, which is what many senders do on TLS; and an end that nobody announced ends the last one.
    let mut client = connect(&pod, at, &ca, None).expect("connects");
    client.write_all(format!("{}\n{}", message(3), message(4)).as_bytes()).expect("sends");
    client.flush().expect("sends");
    drop(client);
    wait_lines(&running, 4.0);
    assert_eq!(metric(&running, "records_unparsed_total"), 0.0);
    stop(&running);
    assert_eq!(ids(&pod), ["ID1", "ID2", "ID3", "ID4"]);
    let found = records(&pod.join("out"));
    let first = found.iter().find(|r| r["msgid"] == "ID1").expect("the first");
    assert!(first["message"].as_str().is_some_and(|m| m.len() > 100_000 && m.contains("and\na second")));
}

#[test]
fn openssl_is_a_client_like_any_other() {
    let (pod, ca) = (PodDir::new(), TestCa::new());
    let running = listening(&pod, &ca.server(&["localhost"]), "").spawn();
    let at = running.wait_ready().addr("listening").to_string();
    let trusted = pod.write("ca.crt", ca.pem());
    for (id, version) in [(1, "-tls1_2"), (2, "-tls1_3")] {
        let client = Command::new("openssl")
            .args(["s_client", "-connect", &at, "-servername", "localhost", "-verify_return_error", "-quiet"])
            .args([version, "-no_ign_eof", "-CAfile", trusted.to_str().expect("text")])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut client) = client else { return skip_or_fail("no openssl here") };
        let mut stdin = client.stdin.take().expect("a pipe");
        stdin.write_all(counted(&message(id)).as_bytes()).expect("sends");
        drop(stdin);
        assert!(client.wait().expect("ends").success(), "{version}");
        wait_lines(&running, f64::from(id));
    }
    stop(&running);
    assert_eq!(ids(&pod), ["ID1", "ID2"]);
}

#[test]
fn mutual_tls_lets_in_whom_the_authority_knows() {
    let (pod, ca, clients, stranger) = (PodDir::new(), TestCa::new(), TestCa::new(), TestCa::new());
    let known = pod.write("clients.crt", clients.pem());
    let options = format!("&client-ca={}", known.display());
    let running = listening(&pod, &ca.server(&["localhost"]), &options).spawn();
    let at = running.wait_ready().addr("listening");
    send(connect(&pod, at, &ca, Some(&clients.client("web1"))).expect("connects"), &counted(&message(1)));
    for own in [None, Some(stranger.client("web1"))] {
        // With TLS 1.3 the client is through before it is refused: what it sends meanwhile is not taken.
        let refused = connect(&pod, at, &ca, own.as_ref()).and_then(|mut client| {
            client.write_all(counted(&message(2)).as_bytes())?;
            client.flush()?;
            client.read(&mut [0; 8])
        });
        assert!(refused.is_err(), "{refused:?}");
    }
    eventually("refusals are counted", || (failures(&running, "handshake") == 2.0).then_some(()));
    stop(&running);
    assert_eq!(ids(&pod), ["ID1"]);
}

#[test]
fn renewed_certificates_are_taken_over_and_broken_ones_are_not() {
    let (pod, old, new) = (PodDir::new(), TestCa::new(), TestCa::new());
    let running = listening(&pod, &old.server(&["localhost"]), "").spawn();
    let at = running.wait_ready().addr("listening");
    let mut open = connect(&pod, at, &old, None).expect("connects");
    pod.write("tls/tls.crt", "no certificate\n");
    eventually("the broken one is counted", || (failures(&running, "certificate") >= 1.0).then_some(()));
    send(connect(&pod, at, &old, None).expect("the old one is in force"), &counted(&message(1)));
    new.server(&["localhost"]).write(&pod, "tls");
    eventually("the new one is in force", || {
        connect(&pod, at, &new, None).ok().map(|client| send(client, &counted(&message(2))))
    });
    assert!(connect(&pod, at, &old, None).is_err(), "the old one is not");
    // Who was connected stays so.
    open.write_all(counted(&message(3)).as_bytes()).expect("sends");
    open.flush().expect("sends");
    wait_lines(&running, 3.0);
    stop(&running);
    assert_eq!(ids(&pod), ["ID1", "ID2", "ID3"]);
}

#[test]
fn a_handshake_that_never_ends_gives_its_place_back() {
    let (pod, ca) = (PodDir::new(), TestCa::new());
    let running = listening(&pod, &ca.server(&["localhost"]), "&max-connections=1").spawn();
    let at = running.wait_ready().addr("listening");
    let silent = TcpStream::connect(at).expect("connects");
    // No TLS at all: refused at once, once it is its turn.
    let mut plain = TcpStream::connect(at).expect("connects");
    plain.write_all(counted(&message(1)).as_bytes()).expect("sends");
    send(connect(&pod, at, &ca, None).expect("connects in the end"), &counted(&message(2)));
    assert_eq!((failures(&running, "timeout"), failures(&running, "handshake")), (1.0, 1.0));
    drop((silent, plain));
    wait_lines(&running, 1.0);
    stop(&running);
    assert_eq!(ids(&pod), ["ID2"]);
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let (pod, ca) = (PodDir::new(), TestCa::new());
    let (one, other) = (ca.server(&["localhost"]), ca.server(&["localhost"]));
    let mixed = Identity { cert: one.cert, key: other.key };
    listening(&pod, &mixed, "").run().expect_code(1).expect_stderr("the key that belongs to it");
    adapter()
        .args(["--in", "tls://127.0.0.1:0?cert=/nonexistent/tls.crt&key=/nonexistent/tls.key"])
        .args(["--out", pod.join("out/records.log").to_str().expect("text"), "--admin", "127.0.0.1:0"])
        .run()
        .expect_code(1)
        .expect_stderr("/nonexistent/tls.crt");
    // Files are looked at when it starts, not when its configuration is checked.
    let input = "tls://:6514?cert=/nonexistent/tls.crt&key=/nonexistent/tls.key";
    adapter().args(["--check", "--in", input]).run().expect_code(0);
    adapter().args(["--check", "--in", "tls://:6514"]).run().expect_code(78).expect_stderr("has no cert");
}
