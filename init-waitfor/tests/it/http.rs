//! HTTP: statuses, bodies, redirects, broken servers, TLS.

use std::time::Duration;

use testkit::fake::{Answer, FakeHttp, Reply};
use testkit::{PodDir, eventually};

use crate::waitfor;

#[test]
fn unavailable_and_then_ready() {
    let http = FakeHttp::start();
    http.next([Answer::Status(503), Answer::Status(503), Answer::Status(200)]);
    let done = waitfor().args(["-o", "json", "--max-interval", "300ms", &http.url("/healthz")]).run();
    done.expect_code(0).expect_stdout("503").expect_stdout("\"attempts\":3");
}

/// wait4x: without a wanted status, every status is fine.
#[test]
fn errors_of_every_kind_are_not_ready() {
    for (answer, word) in [
        (Answer::Status(404), "404"),
        (Answer::Status(500), "500"),
        (Answer::Reset, "reset"),
        (Answer::Close, "closed"),
        (Answer::Hang, "in time"),
    ] {
        let http = FakeHttp::start();
        http.always(answer);
        let done = waitfor().args(["status", "--attempt-timeout", "1s", &http.url("/")]).run();
        done.expect_code(1).expect_stdout(word);
    }
    let http = FakeHttp::start();
    http.down();
    waitfor().args(["status", &http.url("/")]).run().expect_code(1).expect_stdout("refused");
}

/// KitStream/initium: `--http-status 404` can never match.
#[test]
fn status_sets_also_with_errors_that_are_wanted() {
    let http = FakeHttp::start();
    for (status, set, code) in [
        (404, "404", 0),
        (404, "200-299,401", 1),
        (401, "200-299,401", 0),
        (204, "2xx", 0),
        (302, "200", 1),
        (500, "5xx", 0),
    ] {
        http.always(Answer::Status(status));
        waitfor().args(["--http-status", set, "status", &http.url("/")]).run().expect_code(code);
    }
}

#[test]
fn redirects_are_an_answer_unless_followed() {
    let http = FakeHttp::start();
    let to = http.url("/there");
    http.decide(move |request| {
        Some(match request.path() {
            "/here" => Reply::new(302, "").header("location", &to).into(),
            "/loop" => Reply::new(302, "").header("location", "/loop").into(),
            _ => Answer::Status(503),
        })
    });
    waitfor().args(["status", &http.url("/here")]).run().expect_code(0).expect_stdout("302");
    let done = waitfor().args(["--http-redirects", "3", "status", &http.url("/here")]).run();
    done.expect_code(1).expect_stdout("503");
    let done = waitfor().args(["--http-redirects", "3", "status", &http.url("/loop")]).run();
    done.expect_code(1).expect_stdout("too many redirects");
}

/// wait4x: the request's body is gone after the first attempt.
#[test]
fn method_headers_and_body_go_out_at_every_attempt() {
    let http = FakeHttp::start();
    http.next([Answer::Status(503), Answer::Status(200)]);
    let args =
        ["--http-method", "POST", "--http-header", "X-Probe: yes", "--http-header", "Accept: text/plain"];
    let done = waitfor().args(args).args(["--http-body", "ping", &http.url("/query?x=1")]).run();
    done.expect_code(0);
    let requests = http.requests();
    assert_eq!(requests.len(), 2);
    for request in requests {
        assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/query?x=1"));
        assert_eq!((request.header("x-probe"), request.header("accept")), (Some("yes"), Some("text/plain")));
        assert_eq!(request.body, b"ping");
    }
}

/// wait4x: of two expectations the second sees an empty body.
#[test]
fn bodies_by_expression_and_by_jsonpath() {
    let http = FakeHttp::start();
    http.always(Reply::new(200, r#"{"status":"UP","components":{"db":{"status":"DOWN"}}}"#));
    for (args, code) in [
        (["--http-match", "\"UP\""], 0),
        (["--http-match", "^UP$"], 1),
        (["--http-json", "$.status=UP"], 0),
        (["--http-json", "$.components.db.status=UP"], 1),
        (["--http-json", "$.missing"], 1),
    ] {
        waitfor().args(args).args(["status", &http.url("/")]).run().expect_code(code);
    }
    let both = ["--http-match", "UP", "--http-json", "$.status"];
    waitfor().args(both).args(["status", &http.url("/")]).run().expect_code(0);
}

#[test]
fn a_slow_answer_counts_within_the_attempts_time() {
    let http = FakeHttp::start();
    http.always(Answer::After(Duration::from_millis(600), Box::new(Answer::Status(200))));
    waitfor().args(["--attempt-timeout", "30s", &http.url("/")]).run().expect_code(0);
}

#[test]
fn a_body_without_end_is_read_up_to_its_limit() {
    let (pod, http) = (PodDir::new(), FakeHttp::start());
    http.always(Reply::new(200, "x".repeat(3 << 20)));
    let config =
        format!("targets:\n  - target: {}\n    http: {{match: 'x{{3}}', max_body: 64KiB}}\n", http.url("/"));
    let config = pod.write("waitfor.yaml", config);
    waitfor().arg("--config").arg(config).run().expect_code(0);
}

#[test]
fn a_secret_header_is_read_at_each_attempt() {
    let (pod, http) = (PodDir::new(), FakeHttp::start());
    let token = pod.write("token", "Bearer old-token-value\n");
    http.decide(|request| {
        let good = request.header("authorization") == Some("Bearer new-token-value");
        Some(Answer::Status(if good { 200 } else { 401 }))
    });
    let config = format!(
        "max_interval: 300ms\ntargets:\n  - target: {}\n    http: {{headers: {{Authorization: {{file: {}}}}}}}\n",
        http.url("/"),
        token.display()
    );
    let wait = waitfor().arg("--config").arg(pod.write("waitfor.yaml", config)).spawn();
    eventually("the first attempt", || (http.count() > 0).then_some(()));
    pod.write("token", "Bearer new-token-value\n");
    let done = wait.wait_exit();
    done.expect_code(0);
    assert!(!done.stderr().contains("token-value"));
}

#[test]
fn a_refused_login_has_its_own_code() {
    let http = FakeHttp::start();
    http.always(Answer::Status(401));
    let done = waitfor().args(["--timeout", "3s", &http.url("/")]).run();
    done.expect_code(84).expect_stderr("401");
    let done = waitfor().args(["--fail-fast", "auth", &http.url("/")]).run();
    done.expect_code(84).expect_stderr("cannot become ready");
}

/// wait4x: inverted, any error counts as "down".
#[test]
fn not_http_needs_an_answer() {
    let http = FakeHttp::start();
    let target = format!("not:{}", http.url("/"));
    for (answer, code) in [
        (Answer::Status(200), 1),
        (Answer::Status(503), 0),
        (Answer::Hang, 1),
        (Answer::Close, 1),
        (Answer::Reset, 1),
    ] {
        http.always(answer);
        waitfor().args(["--attempt-timeout", "1500ms", "status", &target]).run().expect_code(code);
    }
    http.down();
    waitfor().args(["status", &target]).run().expect_code(0).expect_stdout("connection refused");
}

#[test]
fn what_we_send_is_for_whom_we_asked() {
    let (first, other) = (FakeHttp::start(), FakeHttp::start());
    let to = other.url("/elsewhere");
    first.decide(move |request| {
        let reply = |status, to: &str| Some(Reply::new(status, "").header("location", to).into());
        match request.path() {
            "/same" => reply(302, "/there"),
            "/other" => reply(307, &to),
            _ => None,
        }
    });
    let run = |path: &str| {
        let url = first.url(path).replace("://", "://app:url-pw@");
        let args = ["--http-redirects", "2", "--http-header", "X-Api-Key: k3y", "--http-method", "POST"];
        waitfor().args(args).args(["--http-body", "ping", "status", &url]).run().expect_code(0);
    };
    run("/same");
    let there = first.requests().pop().unwrap();
    assert_eq!((there.path(), there.method.as_str(), there.body.len()), ("/there", "GET", 0));
    assert_eq!(there.header("x-api-key"), Some("k3y"));
    assert!(there.header("authorization").is_some());
    run("/other");
    let elsewhere = other.requests().pop().unwrap();
    assert_eq!((elsewhere.path(), elsewhere.method.as_str()), ("/elsewhere", "POST"));
    assert_eq!(elsewhere.body, b"ping");
    assert_eq!((elsewhere.header("x-api-key"), elsewhere.header("authorization")), (None, None));
}
