//! The shop as it runs: what it counts must be what it wrote and sent.

use std::time::Duration;

use serde_json::Value;
use testkit::{PodDir, Proc, eventually, http};

fn shop(dir: &PodDir, orders: &str) -> Proc {
    Proc::new(env!("CARGO_BIN_EXE_demo-app"))
        .args(["--listen", "127.0.0.1:0", "--orders", orders, "--logs"])
        .arg(dir.join("logs"))
}

/// An orders service that takes everything.
fn orders() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("its address").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer_all(stream));
        }
    });
    addr
}

fn answer_all(mut stream: std::net::TcpStream) {
    use std::io::{BufRead, BufReader, Read, Write};
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    loop {
        let (mut id, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("x-request-id: ") {
                value.clone_into(&mut id);
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().expect("a length");
            }
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let answer = format!("HTTP/1.1 200 OK\r\nx-request-id: {id}\r\ncontent-length: 2\r\n\r\n{{}}");
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn lines_on_disk(dir: &PodDir) -> u64 {
    let logs = std::fs::read_dir(dir.join("logs")).expect("the log folder");
    let paths = logs.map(|entry| entry.expect("an entry").path());
    let texts =
        paths.filter(|path| path.extension().is_some_and(|e| e == "log")).map(std::fs::read_to_string);
    texts.map(|text| text.expect("a log").lines().count() as u64).sum()
}

fn report(stdout: &[String]) -> Value {
    serde_json::from_str(stdout.last().expect("a report")).expect("JSON")
}

#[test]
fn the_report_is_what_the_files_hold() {
    let dir = PodDir::new();
    let running = shop(&dir, &orders()).args(["--rate", "200"]).spawn();
    let addr = running.wait_ready().addr("http");
    let many = |count: u64| {
        let stats = http::get(addr, "/stats").json();
        (stats["requests_answered"].as_u64() >= Some(count)).then_some(())
    };
    eventually("fifty answers", || many(50));
    assert_eq!(http::post(addr, "/rotate", "").status, 200);
    eventually("a hundred answers", || many(100));
    running.sigterm();
    let exited = running.wait_exit();
    let report = report(&exited.expect_code(0).stdout_lines());
    let report = &report["report"];
    assert_eq!(report["lines_written"].as_u64(), Some(lines_on_disk(&dir)));
    assert_eq!(report["requests_sent"], report["requests_answered"]);
    assert_eq!(report["requests_failed"], 0);
    assert_eq!(report["rotations"], 1);
}

#[test]
fn a_killed_shop_knows_its_counts_when_it_comes_back() {
    let dir = PodDir::new();
    let command = shop(&dir, &orders()).args(["--rate", "500"]);
    let running = command.spawn();
    let addr = running.wait_ready().addr("http");
    let many = || (http::get(addr, "/stats").json()["requests_answered"].as_u64() >= Some(50)).then_some(());
    eventually("fifty answers", many);
    running.sigkill();
    let running = command.spawn();
    running.wait_ready();
    running.sigterm();
    let exited = running.wait_exit();
    let report = report(&exited.expect_code(0).stdout_lines());
    let count = |name: &str| report["report"][name].as_u64().expect("a count");
    assert_eq!(count("starts"), 2);
    assert_eq!(count("lines_written"), lines_on_disk(&dir));
    assert_eq!(count("requests_sent"), count("requests_answered") + count("requests_failed"));
}

#[test]
fn without_orders_the_shop_says_so_and_counts_it() {
    let dir = PodDir::new();
    let running = shop(&dir, "127.0.0.1:1").spawn();
    let addr = running.wait_ready().addr("http");
    assert_eq!(http::get(addr, "/product/1").status, 502);
    assert_eq!(http::get(addr, "/product/77").status, 404);
    assert_eq!(http::get(addr, "/stats").json()["requests_failed"], 1);
    running.sigterm();
    let exited = running.wait_exit_within(Duration::from_secs(20));
    let report = report(&exited.expect_code(0).stdout_lines());
    assert_eq!(report["failures"].as_array().map(Vec::len), Some(1));
    let app: Vec<String> = dir.lines("logs/app.log");
    assert!(app.iter().any(|line| line.contains("level=error")), "{app:?}");
}

#[test]
fn a_folder_that_cannot_be_used_ends_it_with_a_sentence() {
    let dir = PodDir::new();
    dir.write("logs", "a file where the folder should be");
    shop(&dir, "127.0.0.1:1").run().expect_code(1).expect_stderr("cannot use the log directory");
}
