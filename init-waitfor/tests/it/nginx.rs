//! HTTP and TLS against Debian's nginx: what a real server says where a fake says what we think.

use std::path::PathBuf;

use testkit::{Identity, PodDir, Proc, TestCa, eventually};

use crate::servers::{directory, free_port, give, listening, program, start};
use crate::waitfor;

/// One nginx with an end for each story.
struct Nginx {
    dir: PathBuf,
    ca: TestCa,
    plain: u16,
    /// HTTP/2 without TLS.
    h2c: u16,
    /// A good certificate, HTTP/2 by ALPN.
    tls: u16,
    expired: u16,
    /// A certificate for another host.
    other: u16,
    /// Asks for a client's certificate.
    mutual: u16,
}

impl Nginx {
    fn start() -> Option<Self> {
        let program = program("nginx", "nginx-light")?;
        let (dir, ca) = (directory("www-data"), TestCa::new());
        let [plain, h2c, tls, expired, other, mutual] = std::array::from_fn(|_| free_port());
        let server = Nginx { dir, ca, plain, h2c, tls, expired, other, mutual };
        server.write("ca.pem", server.ca.pem());
        server.identity("good", &server.ca.server_for(&["app.example", "127.0.0.1"], 20));
        server.identity("expired", &server.ca.server_for(&["127.0.0.1"], -1));
        server.identity("other", &server.ca.server(&["other.example"]));
        server.write("nginx.conf", &server.configuration());
        let args = ["-e", "stderr", "-p", &server.path(""), "-c", &server.path("nginx.conf")];
        start("www-data", &program, &server.dir, args.map(str::to_owned));
        listening(server.plain);
        Some(server)
    }

    fn configuration(&self) -> String {
        let dir = self.dir.display();
        let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|name| format!("  {name}_temp_path {dir}/{name};\n"))
            .collect();
        let end = |port: u16, identity: &str, more: &str| {
            format!(
                "  server {{ listen 127.0.0.1:{port} ssl http2; ssl_certificate {dir}/{identity}.crt; ssl_certificate_key {dir}/{identity}.key; {more} return 200 'tls'; }}\n"
            )
        };
        [
            format!("daemon off; master_process off; pid {dir}/pid; error_log stderr;\nevents {{}}\nhttp {{\n  access_log off;\n{paths}"),
            format!("  server {{ listen 127.0.0.1:{}; listen unix:{dir}/s.sock;\n", self.plain),
            "    location /json { default_type application/json; add_header X-State 'ready to serve'; return 200 '{\"status\":\"UP\"}'; }\n".to_owned(),
            "    location /login { return 302 https://login.example/?state=t0p-s3cret; }\n".to_owned(),
            "    location ~ ^/status/(?<code>404|503)$ { if ($code = 404) { return 404; } return 503; }\n".to_owned(),
            "    location / { if ($request_method = POST) { return 201; } return 200 'plain'; }\n  }\n".to_owned(),
            format!("  server {{ listen 127.0.0.1:{} http2; return 200 'h2c'; }}\n", self.h2c),
            end(self.tls, "good", ""),
            end(self.expired, "expired", ""),
            end(self.other, "other", ""),
            end(self.mutual, "good", &format!("ssl_client_certificate {dir}/ca.pem; ssl_verify_client on;")),
            "}\n".to_owned(),
        ]
        .concat()
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.join(name), text).unwrap();
        give(&self.dir.join(name), "www-data");
    }

    fn identity(&self, name: &str, identity: &Identity) {
        self.write(&format!("{name}.crt"), &identity.cert);
        self.write(&format!("{name}.key"), &identity.key);
    }

    fn trusting(&self) -> Proc {
        waitfor().args(["--tls-ca", &self.path("ca.pem"), "--attempt-timeout", "20s"])
    }

    fn status(&self, target: &str, code: i32, word: &str) {
        self.trusting().args(["status", target]).run().expect_code(code).expect_stdout(word);
    }
}

#[test]
fn chains_names_and_dates() {
    let Some(nginx) = Nginx::start() else { return };
    let (tls, expired, other) = (nginx.tls, nginx.expired, nginx.other);
    nginx.status(&format!("https://127.0.0.1:{tls}/"), 0, "200 OK by HTTP/2.0");
    nginx.status(&format!("tls://127.0.0.1:{tls}?min-days=10"), 0, "valid for");
    nginx.status(&format!("tls://127.0.0.1:{tls}?min-days=60"), 1, "wanted 60");
    nginx.status(&format!("tls://127.0.0.1:{tls}?server-name=app.example"), 0, "valid for");
    for (target, word) in [
        (format!("https://127.0.0.1:{expired}/"), "certificate: expired"),
        (format!("tls://127.0.0.1:{expired}"), "certificate: expired"),
        (format!("https://127.0.0.1:{other}/"), "other.example"),
        (format!("tls://127.0.0.1:{other}"), "not valid for 127.0.0.1, only for"),
    ] {
        nginx.status(&target, 1, word);
        // A bad certificate is an answer.
        nginx.status(&format!("not:{target}"), 0, word);
    }
    nginx.status(&format!("tls://127.0.0.1:{other}?server-name=other.example"), 0, "valid for");
    // Nobody knows this authority but us.
    for target in [format!("https://127.0.0.1:{tls}/"), format!("tls://127.0.0.1:{tls}")] {
        waitfor().args(["status", &target]).run().expect_code(1).expect_stdout("--tls-ca");
        waitfor().args(["--tls-insecure", "status", &target]).run().expect_code(0);
    }
    nginx.status(&format!("tls://127.0.0.1:{}", nginx.plain), 1, "does not speak TLS");
}

#[test]
fn client_certificates_also_where_the_servers_is_not_looked_at() {
    let Some(nginx) = Nginx::start() else { return };
    let (pod, url) = (PodDir::new(), format!("https://127.0.0.1:{}/", nginx.mutual));
    nginx.status(&url, 1, "400 Bad Request");
    let (cert, key) = nginx.ca.client("gate").write(&pod, "client");
    let ours = |proc: Proc| proc.arg("--tls-cert").arg(&cert).arg("--tls-key").arg(&key);
    ours(nginx.trusting()).args(["status", &url]).run().expect_code(0);
    // wait4x: --insecure-skip-tls-verify loses the client's certificate.
    ours(waitfor().arg("--tls-insecure")).args(["status", &url]).run().expect_code(0);
    // Somebody else's certificate.
    let (cert, key) = TestCa::new().client("gate").write(&pod, "other");
    let proc = nginx.trusting().arg("--tls-cert").arg(cert).arg("--tls-key").arg(key);
    proc.args(["status", &url]).run().expect_code(1).expect_stdout("400 Bad Request");
}

#[test]
fn an_authority_that_is_exchanged_while_we_wait_counts_at_the_next_attempt() {
    let Some(nginx) = Nginx::start() else { return };
    let pod = PodDir::new();
    let ca = pod.write("ca.pem", TestCa::new().pem());
    let url = format!("https://127.0.0.1:{}/", nginx.tls);
    let wait = waitfor().arg("--tls-ca").arg(ca).args(["--max-interval", "200ms", &url]).spawn();
    wait.wait_log("the wrong authority", |line| {
        line["reason"].as_str().unwrap_or("").contains("certificate: ")
    });
    pod.write("ca.pem", nginx.ca.pem());
    wait.wait_exit().expect_code(0);
}

#[test]
fn http_of_all_kinds() {
    let Some(nginx) = Nginx::start() else { return };
    let url = |path: &str| format!("http://127.0.0.1:{}{path}", nginx.plain);
    let run = |args: &[&str], path: &str, code: i32, word: &str| {
        waitfor().args(args).args(["status", &url(path)]).run().expect_code(code).expect_stdout(word);
    };
    run(&[], "/", 0, "200 OK by HTTP/1.1");
    // initium: a wanted 4xx or 5xx never matches; wait4x: any status at all is fine.
    run(&["--http-status", "404"], "/status/404", 0, "404");
    run(&["--http-status", "5xx"], "/status/503", 0, "503");
    run(&[], "/status/503", 1, "503 Service Unavailable");
    run(&["--http-method", "HEAD"], "/json", 0, "200 OK");
    run(&["--http-method", "POST", "--http-body", "x", "--http-status", "201"], "/", 0, "201");
    // wait4x: the second look at the body sees nothing; the case of header names counts.
    run(&["--http-match", "UP", "--http-json", "$.status=UP", "--http-match", "UP"][..4], "/json", 0, "200");
    run(
        &["--http-match-header", "x-STATE: ^ready", "--http-match-header", "content-type"],
        "/json",
        0,
        "200",
    );
    run(
        &["--http-match-header", "X-State: ^done"],
        "/json",
        1,
        "x-state: ready to serve does not match ^done",
    );
    run(&["--http-match-header", "X-Missing"], "/json", 1, "there is no header x-missing");
    // A redirect is the answer; the tokens in it stay out of the log.
    let done = waitfor().args(["--http-status", "200", "status", &url("/login")]).run();
    done.expect_code(1).expect_stdout("302 Found, redirects to https://login.example/");
    assert!(!done.stdout().contains("t0p-s3cret"));
    let h2c = format!("http://127.0.0.1:{}/", nginx.h2c);
    waitfor().args(["--http2", "status", &h2c]).run().expect_code(0).expect_stdout("by HTTP/2.0");
    waitfor().args(["status", &h2c]).run().expect_code(1);
    let socket = nginx.path("s.sock");
    let done = waitfor().args(["--http-unix-socket", &socket, "status", "http://app/json"]).run();
    done.expect_code(0).expect_stdout("200 OK");
    waitfor().args(["status", &format!("unix://{socket}")]).run().expect_code(0);
    let done = waitfor().args(["--http-unix-socket", "/nonexistent/s", "status", "http://app/"]).run();
    done.expect_code(1).expect_stdout("/nonexistent/s");
    eventually("still there", || {
        (waitfor().args(["status", &url("/")]).run().code() == Some(0)).then_some(())
    });
}
