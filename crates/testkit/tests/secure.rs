//! Certificates, TLS and HTTP/2 against real clients.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use testkit::fake::{FakeH2, FakeHttp, FakeTcp, H2Reply, TcpAnswer};
use testkit::{Identity, PodDir, TestCa, TlsShim};

fn client(ca: &TestCa, identity: Option<&Identity>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.pem().as_bytes()).expect("a certificate")).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    Arc::new(match identity {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let cert = CertificateDer::from_pem_slice(own.cert.as_bytes()).expect("a certificate");
            let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).expect("a key");
            builder.with_client_auth_cert(vec![cert], key).expect("an identity")
        }
    })
}

fn talk(addr: SocketAddr, config: &Arc<ClientConfig>, name: &'static str) -> std::io::Result<String> {
    let connection = ClientConnection::new(Arc::clone(config), name.try_into().expect("a name"));
    let stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(testkit::timeout()))?;
    let mut stream = StreamOwned::new(connection.map_err(std::io::Error::other)?, stream);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn tls_in_front_of_a_plain_fake() {
    let (ca, other, fake) = (TestCa::new(), TestCa::new(), FakeHttp::echo());
    let shim = TlsShim::to(fake.addr(), &ca.server(&["localhost", "127.0.0.1"]));
    let (trusting, stranger) = (client(&ca, None), client(&other, None));
    for name in ["localhost", "127.0.0.1"] {
        assert!(talk(shim.addr(), &trusting, name).expect("an answer").starts_with("HTTP/1.1 200"));
    }
    let told = |config, name| talk(shim.addr(), config, name).expect_err("a refusal").to_string();
    assert!(told(&trusting, "elsewhere").contains("not valid for name"));
    assert!(told(&stranger, "localhost").contains("UnknownIssuer"));
    shim.renew(&ca.server_for(&["localhost"], -1));
    assert!(told(&trusting, "localhost").contains("expired"));
    assert_eq!((shim.handshakes(), fake.count()), (2, 2));
    testkit::eventually("failed handshakes are counted", || (shim.failures() == 3).then_some(()));
}

#[test]
fn mutual_tls_asks_for_a_certificate() {
    let (ca, fake) = (TestCa::new(), FakeHttp::echo());
    let shim = TlsShim::mutual(fake.addr(), &ca.server(&["localhost"]), &ca);
    let own = client(&ca, Some(&ca.client("shipper")));
    assert!(talk(shim.addr(), &own, "localhost").expect("an answer").starts_with("HTTP/1.1 200"));
    assert!(talk(shim.addr(), &client(&ca, None), "localhost").is_err());
    let pod = PodDir::new();
    let (cert, _) = ca.client("shipper").write(&pod, "tls");
    assert_eq!(cert, pod.join("tls/tls.crt"));
}

#[test]
fn the_upstream_may_be_gone() {
    let (ca, fake) = (TestCa::new(), FakeTcp::start(TcpAnswer::Echo));
    let shim = TlsShim::to(fake.addr(), &ca.server(&["localhost"]));
    fake.down();
    assert!(talk(shim.addr(), &client(&ca, None), "localhost").is_err());
}

#[test]
fn http2_with_trailers_and_goaway() {
    let fake = FakeH2::with(|request| H2Reply::grpc(0, Some(&request.body)));
    fake.goaway_after(2);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(fake.addr()).await.expect("connect");
        let (mut client, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .expect("h2");
        let connection = tokio::spawn(connection);
        for _ in 0..2 {
            let request =
                Request::post("http://x/grpc.health.v1.Health/Check").body(Full::new(Bytes::from("abc")));
            let answer = client.send_request(request.expect("a request")).await.expect("an answer");
            let collected = answer.into_body().collect().await.expect("a body");
            assert_eq!(collected.trailers().expect("trailers")["grpc-status"], "0");
            assert_eq!(collected.to_bytes(), &b"\0\0\0\0\x03abc"[..]);
        }
        let ended = tokio::time::timeout(testkit::timeout(), connection).await.expect("GOAWAY");
        ended.expect("no panic").expect("a clean end");
    });
    assert_eq!((fake.count(), fake.accepted()), (2, 1));
    assert_eq!(fake.requests()[0].target, "/grpc.health.v1.Health/Check");
}
