//! The admin port as the kubelet, a scraper, a person and a stranger see it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use podkit::admin::{Admin, Context, Reply};
use podkit::process::Pod;
use podkit::{App, Exit, probe};

const APP: App = App { name: "some-tool", env_prefix: "SOME_" };

/// Serves an admin port on loopback and asks it from another thread, as a blocking client would.
fn serving(ask: impl FnOnce(SocketAddr, &Pod) + Send + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let pod = Pod::detached(&APP, Duration::from_secs(1));
        let admin = Admin::bind(Some("127.0.0.1:0"), 1).await.unwrap().unwrap();
        let addr = admin.addr();
        tokio::spawn(admin.serve(Context {
            ready: pod.ready.clone(),
            pulse: pod.pulse.clone(),
            metrics: pod.metrics.clone(),
            status: pod.status.clone(),
            shutdown: pod.shutdown.clone(),
        }));
        tokio::task::spawn_blocking(move || ask(addr, &pod)).await.unwrap();
    });
}

fn raw(addr: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn get(addr: SocketAddr, path: &str) -> (u16, String) {
    probe::request(addr, "GET", path).unwrap()
}

#[test]
fn readiness_is_a_latch_and_the_probe_asks_it() {
    serving(|addr, pod| {
        let latch = pod.ready.latch("listening");
        assert_eq!(get(addr, "/readyz"), (503, "waiting for: listening\n".into()));
        let ask = |ready| probe::run(&probe::ProbeArgs { ready }, Some(&addr.to_string()), 1);
        assert!(ask(true).unwrap_err().message.unwrap().contains("waiting for: listening"));
        assert_eq!(ask(false), Ok(()));
        latch.release();
        assert_eq!(get(addr, "/readyz"), (200, "ok\n".into()));
        assert_eq!(ask(true), Ok(()));
    });
}

#[test]
fn metrics_are_openmetrics_with_the_tools_prefix() {
    serving(|addr, _| {
        let answer = raw(addr, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert!(answer.contains("application/openmetrics-text; version=1.0.0"), "{answer}");
        for name in [
            "some_tool_build_info{version=",
            "some_tool_process_resident_memory_bytes ",
            "some_tool_process_cpu_seconds_total ",
        ] {
            assert!(answer.contains(name), "{name} not in {answer}");
        }
        assert!(answer.trim_end().ends_with("# EOF"), "{answer}");
    });
}

#[test]
fn status_is_json_and_follows_the_drain() {
    serving(|addr, pod| {
        pod.status.provide(|| serde_json::json!({"totals": {"lines": 7}}));
        let status = || serde_json::from_str::<serde_json::Value>(&get(addr, "/statusz").1).unwrap();
        assert_eq!(status()["name"], "some-tool");
        assert_eq!(status()["totals"]["lines"], 7);
        assert_eq!(status()["state"], "running");
        pod.shutdown.begin();
        assert_eq!(status()["state"], "draining");
        assert!(get(addr, "/").1.contains("<html"));
    });
}

#[test]
fn only_a_post_acts_and_not_one_of_a_web_page() {
    serving(|addr, pod| {
        pod.status.action("/drain", |query| Reply::accepted(format!("draining {query}\n")));
        assert_eq!(get(addr, "/drain").0, 404);
        let post = |header: &str| {
            raw(
                addr,
                &format!(
                    "POST /drain?now=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n{header}\r\n"
                ),
            )
        };
        assert!(post("").starts_with("HTTP/1.1 202"), "{}", post(""));
        assert!(post("").ends_with("draining now=1\n"));
        assert!(post("Origin: http://evil.example\r\n").starts_with("HTTP/1.1 403"));
        assert!(
            raw(addr, "DELETE / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                .starts_with("HTTP/1.1 405")
        );
        assert!(raw(addr, "nonsense\r\n\r\n").starts_with("HTTP/1.1 400"));
    });
}

#[test]
fn a_port_in_use_is_named_with_the_remedy() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let exit = runtime.block_on(Admin::bind(Some(&addr), 1)).unwrap_err();
    assert_eq!(exit.code, 1);
    let message = exit.message.unwrap();
    assert!(message.contains(&addr) && message.contains("--admin"), "{message}");
    assert_eq!(runtime.block_on(Admin::bind(Some("nine"), 9104)).unwrap_err().code, 2);
    assert!(matches!(runtime.block_on(Admin::bind(Some("off"), 9104)), Ok::<_, Exit>(None)));
}
