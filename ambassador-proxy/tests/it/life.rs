//! Life in a pod: start, reload, drain, kill, and the subcommands around it.

use std::time::Duration;

use crate::common::{Proxy, command, nowhere, start, start_config};
use testkit::fake::{Answer, FakeHttp, FakeTcp, TcpAnswer};
use testkit::http::{self, Connection, Request};
use testkit::{PodDir, Stream, eventually};

#[test]
fn a_port_in_use_is_an_error_that_names_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    for workers in ["1", "2"] {
        let flag = format!("{addr}=http://x");
        let exited = command().args(["--admin", "127.0.0.1:0", "--workers", workers, "--http", &flag]).run();
        exited.expect_code(1).expect_stderr(&format!("{addr} is in use by another process of this pod"));
    }
    let other = start(&["--http", "127.0.0.1:0=http://x", "--workers", "2"]);
    let flag = format!("{}=http://x", other.http());
    command().args(["--admin", "127.0.0.1:0", "--workers", "2", "--http", &flag]).run().expect_code(1);
}

#[test]
fn while_draining_it_goes_on_accepting_until_nothing_is_open() {
    let upstream = FakeHttp::start();
    let proxy =
        start(&["--http", &format!("127.0.0.1:0=http://{}", upstream.addr()), "--shutdown-grace", "30s"]);
    let mut kept = Connection::open(proxy.http()).unwrap();
    let request = Request::new("GET", "/");
    kept.send(&request).unwrap();
    assert_eq!(kept.receive(&request).unwrap().header("connection"), None);
    upstream.next([Answer::after(Duration::from_millis(1200), Answer::Ok)]);
    kept.send(&request).unwrap();
    eventually("it is under way", || (upstream.count() == 2).then_some(()));
    proxy.running.sigterm();
    eventually("it drains", || (proxy.status()["state"] == "draining").then_some(()));
    let last_words = http::get(proxy.http(), "/last-words");
    assert_eq!((last_words.status, last_words.header("connection")), (200, Some("close")));
    let response = kept.receive(&request).unwrap();
    assert_eq!((response.status, response.header("connection")), (200, Some("close")));
    proxy.running.wait_exit().expect_code(0).expect_stderr("no connection is open");
}

#[test]
fn an_idle_connection_does_not_hold_the_drain_and_a_busy_one_only_for_the_grace() {
    let upstream = FakeHttp::start();
    let proxy =
        start(&["--http", &format!("127.0.0.1:0=http://{}", upstream.addr()), "--shutdown-grace", "60s"]);
    let mut idle = Connection::open(proxy.http()).unwrap();
    let request = Request::new("GET", "/");
    idle.send(&request).unwrap();
    idle.receive(&request).unwrap();
    let silent = Connection::open(proxy.http()).unwrap();
    proxy.running.sigterm();
    proxy.running.wait_exit_within(Duration::from_secs(30)).expect_code(0);
    drop((idle, silent));

    let server = FakeTcp::start(TcpAnswer::Echo);
    let proxy = start(&["--tcp", &format!("127.0.0.1:0={}", server.addr()), "--shutdown-grace", "1500ms"]);
    let mut held = Connection::open(proxy.tcp()).unwrap();
    held.write(b"x").unwrap();
    held.read(1).unwrap();
    proxy.running.sigterm();
    proxy.running.wait_exit().expect_code(0).expect_stderr("with connections open");
}

#[test]
fn killed_and_started_again_it_serves_at_once() {
    let upstream = FakeHttp::start();
    let proxy = start(&["--http", &format!("127.0.0.1:0=http://{}", upstream.addr())]);
    let addr = proxy.http();
    let mut open = Connection::open(addr).unwrap();
    let request = Request::new("GET", "/");
    open.send(&request).unwrap();
    open.receive(&request).unwrap();
    proxy.running.sigkill();
    let again = start(&["--http", &format!("{addr}=http://{}", upstream.addr())]);
    assert_eq!(http::get(again.http(), "/").status, 200);
    again.end();
}

#[test]
fn a_reload_loses_no_connection_and_a_bad_one_changes_nothing() {
    let (one, two) = (FakeHttp::echo(), FakeHttp::echo());
    let extra = nowhere();
    let pod = PodDir::new();
    let text =
        |to: &str, more: &str| format!("listeners:\n  - {{http: '127.0.0.1:0', to: 'http://{to}'}}\n{more}");
    let first = text(&one.addr().to_string(), "");
    let map = pod.config_map("config", &[("proxy.yaml", &first)]);
    let proxy = start_config(&map.join("proxy.yaml"));
    let mut client = Connection::open(proxy.http()).unwrap();
    let mut ask = || {
        let request = Request::new("GET", "/");
        client.send(&request).unwrap();
        client.receive(&request).unwrap().json()["headers"]["host"].as_str().unwrap().to_owned()
    };
    assert_eq!(ask(), one.addr().to_string());
    let more = format!("  - {{tcp: '{extra}', to: '{}'}}\n", one.addr());
    map.swap(&[("proxy.yaml", &text(&two.addr().to_string(), &more))]);
    eventually("the same connection reaches the new upstream", || {
        (ask() == two.addr().to_string()).then_some(())
    });
    eventually("the new listener is there", || Connection::open(extra).is_ok().then_some(()));
    map.swap(&[("proxy.yaml", "listeners:\n  - {htp: '127.0.0.1:1'}\n")]);
    eventually("the bad one is counted", || {
        (proxy.metrics().value("ambassador_proxy_config_reload_failures_total") == 1.0).then_some(())
    });
    assert_eq!(ask(), two.addr().to_string());
    map.swap(&[("proxy.yaml", &text(&one.addr().to_string(), ""))]);
    eventually("back to the first", || (ask() == one.addr().to_string()).then_some(()));
    eventually("the listener is gone", || Connection::open(extra).is_err().then_some(()));
    drop(client);
    proxy.end();
}

#[test]
fn requests_under_way_survive_many_reloads() {
    let upstream = FakeHttp::start();
    let pod = PodDir::new();
    let text = |n: u32| {
        format!(
            "listeners: [{{http: '127.0.0.1:0', to: up}}]\nupstreams:\n  up: {{url: 'http://{}', pool: {{max_idle: {}}}}}\n",
            upstream.addr(),
            10 + n
        )
    };
    let map = pod.config_map("config", &[("proxy.yaml", &text(0))]);
    let proxy = start_config(&map.join("proxy.yaml"));
    let addr = proxy.http();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let load: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = Connection::open(addr).unwrap();
                    let mut count = 0;
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        let request = Request::new("POST", "/").body("x");
                        client.send(&request).unwrap();
                        assert_eq!(client.receive(&request).unwrap().status, 200);
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        let reloads = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for n in 1..=5 {
                map.swap(&[("proxy.yaml", &text(n))]);
                let want = usize::try_from(n).unwrap();
                eventually("it is taken over", || {
                    let lines = proxy.running.lines(Stream::Stderr);
                    let taken = lines.iter().filter(|line| line.contains("configuration reloaded")).count();
                    (taken >= want).then_some(())
                });
            }
        }));
        // Also after a failure, or the load would go on for ever.
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        reloads.unwrap();
        let sent: usize = load.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(upstream.count(), sent, "each arrived once");
    });
}

fn subcommand(proxy: &Proxy, args: &[&str]) -> testkit::Exited {
    command().args(args).args(["--admin", &proxy.admin().to_string()]).run()
}

#[test]
fn probe_wait_quit_and_explain() {
    let proxy = start(&["--http", "127.0.0.1:0=http://no-such-name.invalid"]);
    subcommand(&proxy, &["probe"]).expect_code(0);
    subcommand(&proxy, &["probe", "--ready"]).expect_code(0);
    subcommand(&proxy, &["wait"]).expect_code(0);
    assert!(http::get(proxy.admin(), "/quit").status >= 400, "GET changes nothing");
    assert_eq!(proxy.status()["state"], "running");
    subcommand(&proxy, &["quit"]).expect_code(0);
    proxy.running.wait_exit().expect_code(0);
    command().args(["wait", "--timeout", "200ms", "--admin", &nowhere().to_string()]).run().expect_code(1);
    let explain =
        ["--http", "127.0.0.1:8080=https://api.example.com/v1", "explain", "POST", "http://127.0.0.1:8080/x"];
    let exited = command().args(explain).run();
    exited.expect_code(0).expect_stdout("api.example.com:443").expect_stdout("POST /v1/x");
}

#[test]
fn a_tap_shows_heads_and_no_secret() {
    let upstream = FakeHttp::echo();
    let proxy = start(&["--http", &format!("127.0.0.1:0=http://{}", upstream.addr())]);
    let admin = proxy.admin().to_string();
    let tap = command().args(["tap", "-n", "2", "--timeout", "20s", "--admin", &admin]).spawn();
    let request =
        Request::new("GET", "/x?token=hush").header("Authorization", "Bearer hush").header("x-team", "a");
    let stop = std::sync::atomic::AtomicBool::new(false);
    let exited = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = http::try_send(proxy.http(), &request);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let deadline = std::time::Instant::now() + testkit::timeout();
        while tap.is_running() && std::time::Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        tap.wait_exit()
    });
    exited.expect_code(0).expect_stdout("> GET /x?token=*** HTTP/1.1").expect_stdout("x-team: a");
    exited.expect_stdout("authorization: ***").expect_stdout("< 200 OK").expect_stdout("= 200 in ");
    assert!(!exited.stdout().contains("hush"));
    assert!(http::get(proxy.admin(), "/tap?n=1").status >= 400, "GET changes nothing");
}

#[test]
fn wrong_flags_and_keys_say_what_to_write() {
    command().args(["--http", "127.0.0.1:8080"]).run().expect_code(2).expect_stderr("LISTEN=TARGET");
    command().args(["--htp", "x"]).run().expect_code(2).expect_stderr("--http");
    command().run().expect_code(78).expect_stderr("there is nothing to listen on");
    command()
        .args(["--http", "0.0.0.0:8080=http://x", "--check"])
        .run()
        .expect_code(78)
        .expect_stderr("reachable from outside");
    command().args(["--http", "0.0.0.0:8080=http://x", "--check", "--expose"]).run().expect_code(0);
    let pod = PodDir::new();
    let bad = pod.write(
        "bad.yaml",
        "listeners:\n  - http: 127.0.0.1:8080\n    to: ordres\n  - http: localhost\n    to: ftp://x\nupstreams:\n  orders:\n    url: http://u:secret@x\n    timeouts: {conect: 1s}\n    retry: {attempts: 0}\n",
    );
    let exited = command().args(["--check", "--config"]).arg(&bad).run();
    exited.expect_code(78);
    for part in [
        "conect",
        "did you mean",
        "connect",
        ":3:",
        "is no address to listen on",
        "ftp",
        "carries a user or password",
        "attempts",
    ] {
        exited.expect_stderr(part);
    }
    assert!(!exited.stderr().contains("secret@"), "a password is never shown");
    for (form, code) in [("off", 0), ("'off'", 0), ("text", 0), ("true", 78), ("jsn", 78)] {
        let text =
            format!("access_log: {form}\nlisteners:\n  - {{http: '127.0.0.1:8080', to: 'http://x'}}\n");
        command().args(["--check", "--config"]).arg(pod.write("log.yaml", text)).run().expect_code(code);
    }
    let good =
        pod.write("good.yaml", "listeners:\n  - {http: '127.0.0.1:8080', to: 'https://api.example.com'}\n");
    command().args(["--check", "--config"]).arg(&good).run().expect_code(0);
    command()
        .args(["--print-config", "--config"])
        .arg(&good)
        .run()
        .expect_code(0)
        .expect_stdout("api.example.com");
    command().args(["--print-schema"]).run().expect_code(0).expect_stdout("first_byte");
}
