//! The wait as a whole: how many, how long, and what comes after.

use std::os::unix::fs::PermissionsExt as _;

use testkit::fake::{FakeTcp, TcpAnswer};
use testkit::{PodDir, Proc, eventually};

use crate::waitfor;

fn open() -> (FakeTcp, String) {
    let tcp = FakeTcp::start(TcpAnswer::Echo);
    let target = format!("tcp://{}", tcp.addr());
    (tcp, target)
}

/// Nobody listens on port 1.
const CLOSED: &str = "tcp://127.0.0.1:1";

#[test]
fn all_any_and_some() {
    let (_a, first) = open();
    let (_b, second) = open();
    for (args, code) in [
        (vec![first.as_str(), &second], 0),
        (vec![first.as_str(), CLOSED], 124),
        (vec!["--any", first.as_str(), CLOSED], 0),
        (vec!["--any", CLOSED], 124),
        (vec!["--min", "2", &first, &second, CLOSED], 0),
        (vec!["--min", "3", &first, &second, CLOSED], 124),
    ] {
        waitfor().args(["--timeout", "1s"]).args(args).run().expect_code(code);
    }
}

#[test]
fn a_timeout_names_the_target_and_the_last_reason() {
    let pod = PodDir::new();
    let log = pod.join("termination");
    let done = Proc::new(env!("CARGO_BIN_EXE_init-waitfor"))
        .arg("--termination-log")
        .arg(&log)
        .args(["--timeout", "900ms", CLOSED, "file:///nonexistent/file"])
        .run();
    done.expect_code(124)
        .expect_stderr(CLOSED)
        .expect_stderr("127.0.0.1:1 connection refused")
        .expect_stderr("no such file");
    let message = std::fs::read_to_string(log).unwrap();
    assert!(message.len() <= 2048 && !message.contains('\n'), "{message}");
    let message: serde_json::Value = serde_json::from_str(&message).unwrap();
    assert_eq!(message["reason"], "timeout");
    assert_eq!(message["code"], 124);
    assert_eq!(message["target"], CLOSED);
    assert_eq!(message["error"], "127.0.0.1:1 connection refused");
    assert!(message["attempts"].as_u64().unwrap() >= 2);
    assert_eq!(message["also"][0]["error"], "no such file");
}

#[test]
fn the_termination_message_stays_short() {
    let pod = PodDir::new();
    let log = pod.join("termination");
    let targets = (0..60).map(|n| format!("file:///nonexistent/{n}-{}", "ü".repeat(300)));
    let done = Proc::new(env!("CARGO_BIN_EXE_init-waitfor"))
        .arg("--termination-log")
        .arg(&log)
        .args(["--timeout", "300ms", "-q"])
        .args(targets)
        .run();
    done.expect_code(124);
    let message = std::fs::read(log).unwrap();
    assert!(message.len() <= 2048, "{}", message.len());
    serde_json::from_slice::<serde_json::Value>(&message).unwrap();
}

/// roerohan/wait-for-it#8, clarketm/wait-for-it#3; initium, wait4x: the command's code is lost, and wait4x gives it no stdin.
#[test]
fn the_command_replaces_the_process_and_keeps_its_code() {
    let (_tcp, target) = open();
    let wait = waitfor()
        .args([&target, "--", "sh", "-c", "echo pid $$; read line; echo got $line; exit 7"])
        .with_stdin();
    let wait = wait.spawn();
    let line = wait.wait_line(testkit::Stream::Stdout, "the pid", |line| line.starts_with("pid "));
    assert_eq!(line, format!("pid {}", wait.pid()));
    wait.write_stdin("hello\n");
    wait.wait_exit().expect_code(7).expect_stdout("got hello");
}

/// KitStream/initium: SIGTERM ends the parent, the command goes on as an orphan.
#[test]
fn signals_reach_the_command_as_they_were() {
    let (_tcp, target) = open();
    // SIGPIPE is default again, nothing more is blocked or ignored than without the gate.
    let look = ["sh", "-c", "grep -E '^Sig(Blk|Ign)' /proc/self/status"];
    let direct = Proc::new(look[0]).args(&look[1..]).run();
    let gated = waitfor().args([&target, "--"]).args(look).run();
    assert_eq!(gated.expect_code(0).stdout(), direct.stdout());
    let run = waitfor()
        .args([
            &target,
            "--",
            "sh",
            "-c",
            "trap 'echo caught; exit 5' TERM; echo up; while :; do sleep 0.05; done",
        ])
        .spawn();
    run.wait_line(testkit::Stream::Stdout, "up", |line| line == "up");
    run.sigterm();
    run.wait_exit().expect_code(5).expect_stdout("caught");
}

#[test]
fn commands_that_cannot_be_run() {
    let (_tcp, target) = open();
    let pod = PodDir::new();
    let plain = pod.write("plain", "no program");
    waitfor()
        .args([&target, "--", "/nonexistent/app"])
        .run()
        .expect_code(127)
        .expect_stderr("no such command");
    let done = waitfor().args([&target, "--"]).arg(plain).run();
    done.expect_code(126).expect_stderr("cannot be run");
    // A script in an image without a shell.
    let script = pod.write("script", "#!/nonexistent/sh\n");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let done = waitfor().args([&target, "--"]).arg(script).run();
    done.expect_code(127).expect_stderr("is there, but not what it starts with");
}

#[test]
fn the_command_does_not_run_when_the_wait_fails() {
    let pod = PodDir::new();
    let mark = pod.join("ran");
    waitfor().args(["--timeout", "300ms", CLOSED, "--", "touch"]).arg(&mark).run().expect_code(124);
    assert!(!mark.exists());
}

#[test]
fn sigterm_ends_a_wait_with_143_and_sigint_with_130() {
    for (interrupt, code) in [(false, 143), (true, 130)] {
        let wait = waitfor().args(["--timeout", "0", CLOSED]).spawn();
        wait.wait_log("an attempt", |line| line["message"] == "not yet");
        if interrupt {
            wait.sigint()
        } else {
            wait.sigterm()
        }
        wait.wait_exit().expect_code(code).expect_stderr("still waiting for tcp://127.0.0.1:1");
    }
}

#[test]
fn after_holds_targets_back() {
    let (pod, (tcp, target)) = (PodDir::new(), open());
    let first = pod.join("first");
    let config = format!(
        "max_interval: 200ms\ntargets:\n  - {{target: 'file://{}', name: first}}\n  - {{target: '{target}', name: second, after: [first]}}\n",
        first.display()
    );
    let wait = waitfor().arg("--config").arg(pod.write("waitfor.yaml", config)).spawn();
    wait.wait_log("the first is tried", |line| line["on"] == "first" && line["message"] == "not yet");
    assert_eq!(tcp.accepted(), 0);
    pod.write("first", "");
    wait.wait_exit().expect_code(0);
    assert!(tcp.accepted() > 0);
}

#[test]
fn a_second_obstacle_is_told_and_looked_at_soon() {
    let pod = PodDir::new();
    let path = pod.join("state");
    let target = format!("file://{}?match=done", path.display());
    let wait = waitfor().args(["--max-interval", "300ms", &target]).spawn();
    wait.wait_log("missing", |line| line["reason"] == "no such file");
    pod.write("state", "busy");
    wait.wait_log("other content", |line| line["reason"].as_str().unwrap_or("").contains("no match"));
    pod.write("state", "done");
    let done = wait.wait_exit();
    done.expect_code(0);
    // One line per change, not one per attempt.
    let told = done.logs().iter().filter(|line| line["reason"] == "no such file").count();
    assert_eq!(told, 1);
}

/// jwilder/dockerize#12, #126: signals and PID 1.
#[test]
fn it_works_as_process_one() {
    let pod = PodDir::new();
    let ran = pod.join("ran");
    // A process namespace of its own needs rights that a test may not have.
    let try_it = Proc::new("unshare").args(["--pid", "--fork", "true"]).run();
    if try_it.code() != Some(0) {
        testkit::skip_or_fail("init-waitfor as PID 1: unshare --pid is not allowed here");
        return;
    }
    let script = format!("[ $$ = 1 ] && touch {}", ran.display());
    let done = Proc::new("unshare")
        .args(["--pid", "--fork", env!("CARGO_BIN_EXE_init-waitfor"), "exec:true", "--", "sh", "-c", &script])
        .run();
    done.expect_code(0);
    eventually("the command ran as PID 1", || ran.exists().then_some(()));
}

/// KitStream/initium, docker-compose-wait: one target after the other, so that one slow one hides all the others.
#[test]
fn targets_are_tried_at_the_same_time() {
    let pod = PodDir::new();
    let (a, b) = (pod.join("a").display().to_string(), pod.join("b").display().to_string());
    // Each waits for what the other does, within one attempt.
    let script = |own: &str, other: &str| {
        format!(
            "exec:sh -c 'touch {own}; i=0; while [ ! -e {other} ] && [ $i -lt 600 ]; do sleep 0.05; i=$((i+1)); done; test -e {other}'"
        )
    };
    let done = waitfor()
        .args([
            "-o",
            "json",
            "--attempt-timeout",
            "60s",
            "--timeout",
            "60s",
            &script(&a, &b),
            &script(&b, &a),
        ])
        .run();
    let end: serde_json::Value =
        serde_json::from_str(done.expect_code(0).stdout_lines().last().unwrap()).unwrap();
    for target in end["targets"].as_array().unwrap() {
        assert_eq!(target["attempts"], 1, "{end}");
    }
}

#[test]
fn what_is_hopeless_ends_the_wait_at_once_when_the_rest_is_not_enough() {
    let http = testkit::fake::FakeHttp::start();
    http.always(testkit::fake::Answer::Status(401));
    let (_tcp, open) = open();
    let hopeless = http.url("/");
    let run = |args: &[&str]| waitfor().args(["--fail-fast", "auth"]).args(args).run();
    // With no end of its own, the wait must end by itself.
    let done = run(&["--timeout", "0", &hopeless, CLOSED]);
    done.expect_code(84).expect_stderr("cannot become ready (0 of 2 targets ready): http://");
    let done = run(&["--timeout", "0", "--min", "2", &hopeless, &hopeless, CLOSED]);
    done.expect_code(84).expect_stderr("targets ready, 2 needed)");
    // One is enough, and one is left: it goes on waiting, or is done.
    run(&["--timeout", "4s", "--any", &hopeless, CLOSED]).expect_code(84).expect_stderr("not ready after");
    run(&["--timeout", "0", "--any", &hopeless, &open]).expect_code(0);
    run(&["--timeout", "0", "--min", "1", &hopeless, &open]).expect_code(0);
    // What waits for something hopeless is hopeless.
    let pod = PodDir::new();
    let config = format!(
        "timeout: 0\nfail_fast: auth\nrequire: any\ntargets:\n  - {{target: '{hopeless}', name: api}}\n  - {{target: '{CLOSED}', name: db, after: [api]}}\n"
    );
    let done = waitfor().arg("--config").arg(pod.write("waitfor.yaml", config)).run();
    done.expect_code(84).expect_stderr("db: waits for api");
}

#[test]
fn how_many_of_how_many() {
    let (_tcp, open) = open();
    let run = |args: &[&str]| waitfor().args(["--timeout", "3s"]).args(args).run();
    run(&[&open, CLOSED]).expect_code(124).expect_stderr("(1 of 2 targets ready): tcp://127.0.0.1:1");
    run(&["--min", "2", &open, CLOSED, CLOSED])
        .expect_code(124)
        .expect_stderr("(1 of 3 targets ready, 2 needed)");
    let done = run(&[CLOSED]);
    done.expect_code(124);
    assert!(!done.stderr().contains("targets ready"), "one target needs no counting");
}

#[test]
fn an_attempt_longer_than_the_wait_still_gives_its_reason() {
    let tcp = FakeTcp::start(TcpAnswer::Hang);
    let target = format!("memcached://{}", tcp.addr());
    let done = waitfor().args(["--timeout", "2s", "--attempt-timeout", "60s", &target]).run();
    done.expect_code(124).expect_stderr("no reply in time");
}

/// The table of the README; 80 to 83, 86 and 87 belong to databases, 85 to Jobs.
#[test]
fn the_exit_codes() {
    let (_tcp, open) = open();
    let http = testkit::fake::FakeHttp::start();
    http.always(testkit::fake::Answer::Status(401));
    let refused = http.url("/");
    let pod = PodDir::new();
    let plain = pod.write("plain", "no program").display().to_string();
    let bad = pod.write("bad.yaml", "targets: 5\n").display().to_string();
    for (args, code) in [
        (vec![open.as_str()], 0),
        (vec!["status", CLOSED], 1),
        (vec!["explain", "--attempt-timeout", "1s", "dns://nothing.invalid?server=127.0.0.1:1"], 1),
        (vec!["--nonsense"], 2),
        (vec![], 2),
        (vec!["--config", &bad], 78),
        (vec!["--min", "2", CLOSED], 78),
        (vec!["--timeout", "4s", &refused], 84),
        (vec!["--timeout", "300ms", CLOSED], 124),
        (vec![open.as_str(), "--", &plain], 126),
        (vec![open.as_str(), "--", "/nonexistent/app"], 127),
        (vec![open.as_str(), "--", "sh", "-c", "exit 7"], 7),
        (vec![open.as_str(), "--", "sh", "-c", "exit 124"], 124),
    ] {
        waitfor().args(&args).run().expect_code(code);
    }
    // Replaced by its command, the process itself ends by the signal: 128+n for a shell and for the kubelet.
    let done = waitfor().args([&open, "--", "sh", "-c", "kill -9 $$"]).run();
    assert_eq!(done.signal(), Some(9));
}

/// jwilder/dockerize#118: a line for each attempt floods the log.
#[test]
fn a_log_line_for_each_change_and_not_for_each_attempt() {
    let done =
        waitfor().args(["--timeout", "3s", "--interval", "10ms", "--max-interval", "20ms", CLOSED]).run();
    done.expect_code(124);
    assert_eq!(done.logs().iter().filter(|line| line["message"] == "not yet").count(), 1);
    let attempts = done.stderr();
    let attempts = attempts.split(" attempts)").next().and_then(|text| text.rsplit('(').next());
    assert!(attempts.and_then(|count| count.parse::<u32>().ok()).unwrap() > 5, "{}", done.stderr());
}
