//! The backend as it runs: it is the judge of the demo, so it is judged itself.

use std::net::SocketAddr;

use testkit::{PodDir, Proc, Running, eventually, http};

struct Backend {
    running: Running,
    orders: SocketAddr,
    elasticsearch: SocketAddr,
}

fn start(dir: &PodDir) -> Backend {
    let running = Proc::new(env!("CARGO_BIN_EXE_demo-backend"))
        .args(["--orders", "127.0.0.1:0", "--elasticsearch", "127.0.0.1:0", "--store"])
        .arg(dir.join("store"))
        .spawn();
    let ready = running.wait_ready();
    Backend { orders: ready.addr("orders"), elasticsearch: ready.addr("elasticsearch"), running }
}

fn bulk(ids: &[&str]) -> String {
    ids.iter().map(|id| format!("{{\"create\":{{}}}}\n{{\"message\":\"x line={id}\"}}\n")).collect()
}

#[test]
fn records_are_counted_once_and_also_over_a_kill() {
    let dir = PodDir::new();
    let backend = start(&dir);
    let answer =
        http::post(backend.elasticsearch, "/logs-a-b/_bulk", bulk(&["ln-1-a-1", "ln-1-a-2", "ln-1-a-1"]));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["errors"], false);
    backend.running.sigkill();
    let backend = start(&dir);
    http::post(backend.elasticsearch, "/logs-a-b/_bulk", bulk(&["ln-1-a-2", "ln-1-a-3"]));
    let stats = http::get(backend.orders, "/stats").json();
    assert_eq!((&stats["lines_distinct"], &stats["lines_duplicate"]), (&3.into(), &2.into()));
}

#[test]
fn an_outage_refuses_and_then_ends() {
    let dir = PodDir::new();
    let backend = start(&dir);
    assert_eq!(http::post(backend.orders, "/outage?seconds=0.5", "").status, 200);
    let request = http::Request::new("POST", "/logs-a-b/_bulk").body(bulk(&["ln-1-a-1"]));
    let mut refused = 0;
    eventually("the end of the outage", || match http::try_send(backend.elasticsearch, &request) {
        Ok(answer) if answer.status == 200 => Some(()),
        _ => {
            refused += 1;
            None
        }
    });
    assert!(refused > 0, "nothing was refused");
    assert_eq!(http::get(backend.orders, "/stats").json()["lines_distinct"], 1);
    assert_eq!(http::post(backend.orders, "/outage?seconds=soon", "").status, 400);
}

#[test]
fn orders_are_told_apart_and_fail_when_asked() {
    let dir = PodDir::new();
    let backend = start(&dir);
    let order = http::Request::new("POST", "/orders").header("x-request-id", "rq-1").body("{}");
    let first = http::send(backend.orders, &order);
    assert_eq!((first.status, first.header("x-request-id")), (201, Some("rq-1")));
    assert_eq!(http::send(backend.orders, &order).status, 200);
    assert_eq!(http::get(backend.orders, "/stock/3?fail").status, 500);
    let stats = http::get(backend.orders, "/stats").json();
    assert_eq!((&stats["orders_distinct"], &stats["orders_repeated"]), (&1.into(), &1.into()));
    backend.running.sigterm();
    backend.running.wait_exit().expect_code(0);
}
