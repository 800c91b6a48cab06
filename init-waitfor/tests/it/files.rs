//! Files and commands.

use std::time::Duration;

use testkit::{PodDir, eventually};

use crate::waitfor;

#[test]
fn a_file_that_appears_late() {
    let pod = PodDir::new();
    let path = pod.join("ready");
    let wait = waitfor().args(["--max-interval", "300ms", &format!("file://{}", path.display())]).spawn();
    wait.wait_log("missing", |line| line["reason"] == "no such file");
    pod.write("ready", "");
    wait.wait_exit().expect_code(0);
}

#[test]
fn size_and_content() {
    let pod = PodDir::new();
    let path = pod.write("state", "phase: done\n");
    for (options, code) in [
        ("", 0),
        ("?min-size=12", 0),
        ("?min-size=1KiB", 1),
        ("?match=^phase:%20(done|skipped)", 0),
        ("?match=failed", 1),
    ] {
        waitfor().args(["status", &format!("file://{}{options}", path.display())]).run().expect_code(code);
    }
    let done = waitfor().args(["status", &format!("file://{}/below", path.display())]).run();
    done.expect_code(1).expect_stdout("no directory");
    // A directory exists, too.
    waitfor().args(["status", &format!("file://{}", pod.path().display())]).run().expect_code(0);
}

#[test]
fn stable_waits_until_nobody_writes_any_more() {
    let pod = PodDir::new();
    let path = pod.write("dump", "a");
    let target = format!("file://{}?stable=400ms", path.display());
    let wait = waitfor().args(["-o", "json", "--interval", "50ms", &target]).spawn();
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(100));
        assert!(wait.is_running(), "it changed less than 400 ms ago");
        pod.append("dump", "b");
    }
    wait.wait_exit().expect_code(0).expect_stdout("11 bytes");
}

#[test]
fn commands_and_their_codes() {
    for (command, code, word) in [
        ("exec:true", 0, "exit 0"),
        ("exec:sh -c 'echo no such table >&2; exit 3'", 1, "exit 3: no such table"),
        ("not:exec:false", 0, "exit 1"),
        ("exec:/nonexistent/tool", 1, "no such command"),
        // A command that cannot be run is an error, not a "no".
        ("not:exec:/nonexistent/tool", 1, "no such command"),
        ("exec:sh -c 'kill -9 $$'", 1, "signal 9"),
    ] {
        waitfor().args(["status", command]).run().expect_code(code).expect_stdout(word);
    }
}

#[test]
fn a_command_that_hangs_is_killed_with_its_whole_group() {
    let pod = PodDir::new();
    let pids = pod.join("pids");
    let script = format!("sleep 600 & echo $! >> {0}; echo $$ >> {0}; wait", pids.display());
    let done =
        waitfor().args(["status", "--attempt-timeout", "700ms", &format!("exec:sh -c '{script}'")]).run();
    done.expect_code(1).expect_stdout("killed");
    gone(&pod);
}

#[test]
fn a_stopped_wait_takes_its_commands_along() {
    let pod = PodDir::new();
    let script = format!("sleep 600 & echo $! >> {0}; echo $$ >> {0}; wait", pod.join("pids").display());
    let wait = waitfor().args(["--attempt-timeout", "60s", &format!("exec:sh -c '{script}'")]).spawn();
    eventually("the command runs", || (pod.lines("pids").len() == 2).then_some(()));
    wait.sigterm();
    wait.wait_exit().expect_code(143);
    gone(&pod);
}

/// Waits until no process of the list is left (dead and not yet reaped is gone, too).
fn gone(pod: &PodDir) {
    let pids = pod.lines("pids");
    assert_eq!(pids.len(), 2);
    eventually("the group is gone", || {
        let alive = pids.iter().any(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
        });
        (!alive).then_some(())
    });
}
