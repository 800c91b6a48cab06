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
