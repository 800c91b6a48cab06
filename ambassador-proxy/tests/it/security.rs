//! Signatures, tokens, pinned names, CONNECT and header rules: what an upstream demands and the app knows nothing of.

use crate::common;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::common::start_config;
use testkit::fake::{FakeHttp, FakeTcp, Reply, TcpAnswer};
use testkit::http::{self, Connection, Request};
use testkit::{PodDir, TestCa, TlsShim, eventually};

fn header(proxy: &common::Proxy, path: &str, name: &str) -> String {
    http::get(proxy.http(), path).json()["headers"][name].as_str().unwrap_or_default().to_owned()
}

/// envoyproxy/gateway#8780, envoyproxy/envoy#21851: client credentials, fetched ahead of expiry.
#[test]
fn tokens_are_fetched_ahead_of_their_expiry_and_kept_through_an_outage() {
    let (upstream, pod) = (FakeHttp::echo(), PodDir::new());
    let count = Arc::new(AtomicUsize::new(0));
    let issued = count.clone();
    let server = FakeHttp::with(move |request| {
        // "app id" and "s&cret" are form-encoded before they are joined.
        let known = request.header("authorization") == Some("Basic YXBwK2lkOnMlMjZjcmV0");
        if !known || request.text() != "grant_type=client_credentials&scope=read+write" {
            return Reply::new(401, "{\"error\":\"invalid_client\"}");
        }
        let n = issued.fetch_add(1, Ordering::SeqCst) + 1;
        Reply::new(200, format!("{{\"access_token\":\"t-{n}\",\"token_type\":\"Bearer\",\"expires_in\":3}}"))
    });
    pod.write("secret", "s&cret");
    let text = format!(
        "listeners: [{{http: '127.0.0.1:0', to: up}}]
upstreams:
  up:
    url: http://{}
    credentials:
      oauth2: {{token_url: 'http://{}/token', client_id: app id, client_secret: {{file: {}}}, scope: read write}}
",
        upstream.addr(),
        server.addr(),
        pod.join("secret").display()
    );
    let proxy = start_config(&pod.write("proxy.yaml", text));
    eventually("the first token", || (header(&proxy, "/", "authorization") == "Bearer t-1").then_some(()));
    eventually("the next one, unasked", || {
        (header(&proxy, "/", "authorization") == "Bearer t-2").then_some(())
    });
    server.down();
    eventually("the outage is told", || {
        proxy.status()["upstreams"][0]["problem"]
            .as_str()
            .is_some_and(|why| why.contains("OAuth 2.0"))
            .then_some(())
    });
    eventually("an expired token is not sent", || {
        let response = http::get(proxy.http(), "/");
        (response.status == 503 && response.json()["fault"] == "proxy").then_some(())
    });
    server.up();
    eventually("a token again", || {
        header(&proxy, "/", "authorization").starts_with("Bearer t-").then_some(())
    });
    let shown = http::get(proxy.admin(), "/statusz").text();
    proxy.running.sigterm();
    let exited = proxy.running.wait_exit();
    let shown = shown + &exited.stdout() + &exited.stderr();
    assert!(!shown.contains("s&cret") && !shown.contains("Bearer t-"), "{shown}");
}

#[test]
fn requests_are_signed_for_aws_and_by_rfc_9421() {
    let (upstream, pod) = (FakeHttp::echo(), PodDir::new());
    let text = format!(
        "listeners:
  - http: 127.0.0.1:0
    to: aws
    routes: [{{path: /hmac, to: hmac}}, {{path: /s3, to: s3}}]
upstreams:
  aws: {{url: 'http://{0}', credentials: {{aws: {{region: eu-central-1, service: es, access_key_id: {{env: ID}}, secret_access_key: {{env: SECRET}}, session_token: {{env: SESSION}}}}}}}}
  s3: {{url: 'http://{0}', credentials: {{aws: {{region: eu-central-1, service: s3, access_key_id: {{env: ID}}, secret_access_key: {{env: SECRET}}}}}}}}
  hmac: {{url: 'http://{0}', credentials: {{hmac: {{key: {{env: SECRET}}, key_id: pod-1}}}}}}
",
        upstream.addr()
    );
    let config = pod.write("proxy.yaml", text);
    let proxy = common::start_with(&["--config", config.to_str().unwrap()], |proc| {
        proc.env("ID", "AKIDEXAMPLE").env("SECRET", "very-secret").env("SESSION", "session-1")
    });
    eventually("the keys are read", || (http::get(proxy.http(), "/").status == 200).then_some(()));
    let signed = http::post(proxy.http(), "/a?b=c", "a body").json();
    let headers = &signed["headers"];
    let text = headers["authorization"].as_str().unwrap();
    assert!(text.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"), "{text}");
    assert!(
        text.contains("/eu-central-1/es/aws4_request, SignedHeaders=host;x-amz-date;x-amz-security-token, "),
        "{text}"
    );
    assert_eq!(headers["x-amz-security-token"], "session-1");
    assert_eq!(upstream.requests().last().unwrap().text(), "a body");
    let big = Request::new("POST", "/").body(vec![b'x'; (1 << 20) + 1]);
    assert_eq!(http::send(proxy.http(), &big).status, 413);
    let large = vec![b'y'; 300_000];
    assert_eq!(http::post(proxy.http(), "/s3/x", &large).status, 200);
    let request = upstream.requests().pop().unwrap();
    assert_eq!(
        request.header("x-amz-content-sha256"),
        Some("UNSIGNED-PAYLOAD"),
        "S3 takes bodies as a stream"
    );
    assert_eq!(request.body.len(), 300_000);
    let echo = http::get(proxy.http(), "/hmac/x?q=1").json();
    let input = echo["headers"]["signature-input"].as_str().unwrap();
    assert!(input.starts_with("proxy=(\"@method\" \"@authority\" \"@path\" \"@query\");created="), "{input}");
    assert!(input.ends_with(";keyid=\"pod-1\";alg=\"hmac-sha256\""), "{input}");
    proxy.running.sigterm();
    let exited = proxy.running.wait_exit();
    assert!(!(exited.stdout() + &exited.stderr()).contains("very-secret"));
}

#[test]
fn only_a_certificate_with_the_pinned_name_will_do() {
    let (ca, pod, upstream) = (TestCa::new(), PodDir::new(), FakeHttp::echo());
    let shim = TlsShim::to(upstream.addr(), &ca.server(&["workload.example.com", "localhost"]));
    pod.write("ca.pem", ca.pem());
    let config = |san: &str| {
        format!(
            "listeners: [{{http: '127.0.0.1:0', to: up}}]\nupstreams:\n  up: {{url: 'https://localhost:{}', tls: {{ca: {}, san: [{san}]}}}}\n",
            shim.addr().port(),
            pod.join("ca.pem").display()
        )
    };
    for (san, status) in
        [("workload.example.com", 200), ("other, localhost", 200), ("other.example.com", 503)]
    {
        let proxy = start_config(&pod.write("proxy.yaml", config(san)));
        let response = http::get(proxy.http(), "/");
        assert_eq!(response.status, status, "{san}");
        if status == 503 {
            assert!(response.header("proxy-status").unwrap().contains("tls_certificate_error"));
        }
    }
    // Pins replace the check of the name, never that of the authority.
    pod.write("ca.pem", TestCa::new().pem());
    let proxy = start_config(&pod.write("proxy.yaml", config("workload.example.com")));
    assert_eq!(http::get(proxy.http(), "/").status, 503);
}

#[test]
fn connect_reaches_what_is_listed_and_nothing_else() {
    let (listed, other, pod) =
        (FakeTcp::start(TcpAnswer::Echo), FakeTcp::start(TcpAnswer::Echo), PodDir::new());
    let text = format!("listeners: [{{http: '127.0.0.1:0', connect: ['{}']}}]\n", listed.addr());
    let proxy = start_config(&pod.write("proxy.yaml", text));
    let ask = |target: &str| format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    let mut client = Connection::open(proxy.http()).unwrap();
    // Bytes right behind the head are the tunnel's, not HTTP.
    client.write((ask(&listed.addr().to_string()) + "\x16\x03\x01").as_bytes()).unwrap();
    let answer = client.read(15).unwrap();
    assert_eq!(answer, b"HTTP/1.1 200 OK");
    client.write(b"more").unwrap();
    client.finish().unwrap();
    let rest = client.read_to_end().unwrap();
    assert!(rest.ends_with(b"\r\n\r\n\x16\x03\x01more"), "{}", rest.escape_ascii());
    for target in [
        other.addr().to_string(),
        "169.254.169.254:80".to_owned(),
        format!("localhost:{}", listed.addr().port()),
    ] {
        let mut client = Connection::open(proxy.http()).unwrap();
        client.write(ask(&target).as_bytes()).unwrap();
        let text = String::from_utf8(client.read_to_end().unwrap()).unwrap();
        assert!(
            text.starts_with("HTTP/1.1 403") && text.contains("error=http_request_denied"),
            "{target}: {text}"
        );
    }
    assert_eq!(other.accepted(), 0);
    assert_eq!(http::get(proxy.http(), "/").status, 404, "and it is no way in for other requests");
    let line =
        proxy.wait_log("it is logged", |line| line["method"] == "CONNECT" && line["flags"] == "upgraded");
    assert_eq!((&line["bytes_to_upstream"], &line["bytes_to_client"]), (&7.into(), &7.into()));
}

#[test]
fn rules_change_answers_too() {
    let pod = PodDir::new();
    let upstream = FakeHttp::with(|_| Reply::new(200, "x").header("server", "old/1.0").header("x-keep", "1"));
    let text = format!(
        "listeners: [{{http: '127.0.0.1:0', to: up}}]\nupstreams:\n  up: {{url: 'http://{}', response_headers: {{set: {{x-frame-options: DENY}}, remove: [server]}}}}\n",
        upstream.addr()
    );
    let proxy = start_config(&pod.write("proxy.yaml", text));
    let response = http::get(proxy.http(), "/");
    let get = |name: &str| response.header(name);
    assert_eq!((get("server"), get("x-frame-options"), get("x-keep")), (None, Some("DENY"), Some("1")));
}

/// A request that asks for HTTP/2 by Upgrade would get past every route and rule.
#[test]
fn an_upgrade_to_h2c_is_not_passed_on() {
    let upstream = FakeHttp::echo();
    let proxy = common::start(&["--http", &format!("127.0.0.1:0=http://{}", upstream.addr())]);
    let request = Request::new("GET", "/")
        .header("Connection", "Upgrade, HTTP2-Settings")
        .header("Upgrade", "h2c")
        .header("HTTP2-Settings", "AAMAAABkAAQAAP__");
    let echo = http::send(proxy.http(), &request).json();
    assert!(echo["headers"]["upgrade"].is_null() && echo["headers"]["http2-settings"].is_null(), "{echo}");
    // And the connection goes on as HTTP.
    let mut client = Connection::open(proxy.http()).unwrap();
    for _ in 0..2 {
        client.send(&request).unwrap();
        assert_eq!(client.receive(&request).unwrap().status, 200);
    }
}
