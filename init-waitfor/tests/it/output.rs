//! What people and programs see.

use testkit::fake::{FakeTcp, TcpAnswer};
use testkit::{PodDir, Stream};

use crate::{plain, waitfor};

#[test]
fn json_events_on_stdout() {
    let tcp = FakeTcp::start(TcpAnswer::Echo);
    let done = waitfor().args(["-o", "json", &format!("tcp://{}", tcp.addr()), "exec:true"]).run();
    done.expect_code(0);
    let events: Vec<serde_json::Value> =
        done.stdout_lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events[0]["event"], "start");
    assert_eq!(events[0]["required"], 2);
    let states = events.iter().filter(|event| event["event"] == "state").count();
    assert_eq!(states, 2);
    let end = events.last().unwrap();
    assert_eq!((&end["event"], &end["result"], &end["code"]), (&"end".into(), &"ready".into(), &0.into()));
    assert!(end["time"].as_str().unwrap().ends_with('Z'));
    assert_eq!(done.stderr(), "");
}

#[test]
fn quiet_tells_only_failures() {
    let done = waitfor().args(["-q", "exec:true"]).run();
    done.expect_code(0);
    assert_eq!((done.stdout(), done.stderr()), (String::new(), String::new()));
    waitfor()
        .args(["-q", "--timeout", "200ms", "exec:false"])
        .run()
        .expect_code(124)
        .expect_stderr("exec:false");
}

#[test]
fn a_terminal_shows_one_line_per_target() {
    let pod = PodDir::new();
    let target = format!("file://{}", pod.join("go").display());
    let run = plain().on_terminal().args(["--max-interval", "200ms", &target, "exec:true"]).spawn();
    run.wait_line(Stream::Stdout, "progress", |line| line.contains("no such file"));
    pod.write("go", "");
    let done = run.wait_exit();
    done.expect_code(0).expect_stdout("✓").expect_stdout("ready: 2 of 2");
    assert!(done.stdout().contains("\x1b[2A"), "redraws in place");
}

#[test]
fn no_color_means_none() {
    let done = plain().on_terminal().env("NO_COLOR", "1").args(["exec:true"]).run();
    done.expect_code(0);
    assert!(!done.stdout().contains("\x1b[32m"));
}

#[test]
fn status_is_a_table_or_json() {
    let done = waitfor().args(["status", "exec:true", "exec:false"]).run();
    done.expect_code(1);
    let lines = done.stdout_lines();
    assert!(
        lines[0].starts_with("TARGET") && lines[1].contains("ready") && lines[2].contains("not yet"),
        "{lines:?}"
    );
    waitfor().args(["--any", "status", "exec:true", "exec:false"]).run().expect_code(0);
    let done = waitfor().args(["status", "-o", "json", "exec:true"]).run();
    let told: serde_json::Value = serde_json::from_str(&done.expect_code(0).stdout()).unwrap();
    assert_eq!(told["ready"], true);
    assert_eq!(told["targets"][0]["state"], "ready");
}

#[test]
fn terminal_escapes_of_servers_do_not_get_through() {
    let done = waitfor().args(["status", "exec:sh -c 'printf \"\\033[31mred\\007\" >&2; exit 1'"]).run();
    done.expect_code(1).expect_stdout("red");
    assert!(!done.stdout().contains('\x1b') && !done.stdout().contains('\x07'));
}

/// Programs read these: the README's table of events.
#[test]
fn events_keep_their_names_and_keys() {
    let done = waitfor().args(["-o", "json", "--timeout", "3s", "exec:true", "tcp://127.0.0.1:1"]).run();
    let events: Vec<serde_json::Value> =
        done.expect_code(124).stdout_lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let keys =
        |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    let of = |name: &str, state: &str| {
        let wanted = |event: &&serde_json::Value| {
            event["event"] == name && (state.is_empty() || event["state"] == state)
        };
        keys(events.iter().find(wanted).unwrap_or_else(|| panic!("no {name} {state}: {events:?}")))
    };
    assert_eq!(of("start", ""), "event time targets required");
    assert_eq!(of("state", "ready"), "event time target state attempts found");
    assert_eq!(of("state", "waiting"), "event time target state attempts reason");
    assert_eq!(of("end", ""), "event time elapsed_ms ready targets result code");
    let end = events.last().unwrap();
    assert_eq!((&end["result"], &end["code"], &end["ready"]), (&"timeout".into(), &124.into(), &1.into()));
    assert_eq!(keys(&end["targets"][1]), "target state attempts reason");
}

#[test]
fn quiet_is_quiet_on_a_terminal_too() {
    let done = plain().on_terminal().args(["-q", "exec:true"]).run();
    assert_eq!(done.expect_code(0).stdout().trim(), "");
}

#[test]
fn a_reader_that_leaves_does_not_stop_the_gate() {
    let pod = PodDir::new();
    let mark = pod.join("ran");
    let line = format!(
        "{} --hosts /dev/null -o json exec:true exec:false --any -- touch {} | true",
        env!("CARGO_BIN_EXE_init-waitfor"),
        mark.display()
    );
    testkit::Proc::new("sh").args(["-c", &line]).run().expect_code(0);
    testkit::eventually("the command ran", || mark.exists().then_some(()));
}

#[test]
fn servers_that_talk_too_much() {
    let tcp = FakeTcp::start(TcpAnswer::Greet([b"-ERR ", &[b'x'; 1 << 20][..], b"\r\n"].concat()));
    let (pod, target) = (PodDir::new(), format!("redis://{}", tcp.addr()));
    let log = pod.join("termination");
    let done = testkit::Proc::new(env!("CARGO_BIN_EXE_init-waitfor"))
        .arg("--termination-log")
        .arg(&log)
        .args(["--timeout", "4s", &target])
        .run();
    done.expect_code(124).expect_stderr("ERR xxx");
    assert!(done.stderr().len() < 20_000, "{} bytes", done.stderr().len());
    assert!(std::fs::read(log).unwrap().len() <= 2048);
}
