//! install, write, fetch.

use std::os::unix::fs::PermissionsExt as _;

use testkit::fake::{Answer, FakeHttp, Reply};
use testkit::{PodDir, Proc};

use crate::waitfor;

#[test]
fn install_copies_a_binary_that_runs() {
    let pod = PodDir::new();
    let dir = pod.mkdir("bin");
    waitfor().arg("install").arg(&dir).run().expect_code(0);
    let copy = dir.join("init-waitfor");
    assert_eq!(copy.metadata().unwrap().permissions().mode() & 0o777, 0o755);
    Proc::new(&copy).args(["--hosts", "/dev/null", "exec:true"]).run().expect_code(0);
    // Again, over itself, and under another name in a directory that is not there yet.
    waitfor().arg("install").arg(&dir).run().expect_code(0);
    waitfor().arg("install").arg(pod.join("new/dir/gate")).run().expect_code(0);
    assert!(pod.join("new/dir/gate").exists());
    // Also over one that is running, which goes on.
    let running = Proc::new(&copy).args(["--timeout", "0", "-q", "file:///nonexistent/x"]).spawn();
    waitfor().arg("install").arg(&dir).run().expect_code(0);
    Proc::new(&copy).args(["exec:true"]).run().expect_code(0);
    assert!(running.is_running());
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
    running.sigkill();
    let done = waitfor().args(["install", "/proc/nonexistent/x"]).run();
    done.expect_code(1).expect_stderr("cannot install to").expect_stderr("writable volume");
}

#[test]
fn write_fills_a_template() {
    let pod = PodDir::new();
    let template = pod.write("t", "host=${HOST}\nport=${PORT:-5432}\nliteral=$${X} $host\n");
    let run = |dest: &str, mode: &str| {
        let proc = waitfor().env("HOST", "db").arg("write").arg(&template).arg(pod.join(dest));
        proc.args(["--mode", mode]).run()
    };
    run("out/app.conf", "0640").expect_code(0);
    assert_eq!(pod.lines("out/app.conf"), ["host=db", "port=5432", "literal=${X} $host"]);
    assert_eq!(pod.join("out/app.conf").metadata().unwrap().permissions().mode() & 0o777, 0o640);
    let done = waitfor().arg("write").arg(&template).arg(pod.join("out/app.conf")).run();
    done.expect_code(1).expect_stderr("line 1: environment variable HOST is not set");
    // The old file is still whole, and nothing else is left behind.
    assert_eq!(pod.lines("out/app.conf").len(), 3);
    assert_eq!(std::fs::read_dir(pod.join("out")).unwrap().count(), 1);
    let done = waitfor().env("HOST", "x").arg("write").arg(&template).arg(pod.join("out")).run();
    done.expect_code(1).expect_stderr("is a directory");
    waitfor()
        .env("HOST", "x")
        .arg("write")
        .arg(&template)
        .arg("-")
        .run()
        .expect_code(0)
        .expect_stdout("host=x");
}

#[test]
fn fetch_brings_a_whole_and_checked_file() {
    let (pod, http) = (PodDir::new(), FakeHttp::start());
    let dest = pod.join("data/model.bin");
    let fetch = |args: &[&str]| {
        let url = http.url("/model.bin").replace("http://", "http://u:s3cret-pw@");
        let done = waitfor()
            .args(["fetch", "--timeout", "20s", "--max-interval", "200ms", &url])
            .arg(&dest)
            .args(args)
            .run();
        assert!(!done.stderr().contains("s3cret-pw"), "{}", done.stderr());
        done
    };
    http.next([Answer::Status(503), Answer::Reset]);
    http.always(Reply::new(200, "hello\n"));
    // echo hello | sha256sum
    let sum = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
    fetch(&["--sha256", sum, "--mode", "0600"]).expect_code(0);
    assert_eq!(pod.read("data/model.bin").unwrap(), b"hello\n");
    assert_eq!(dest.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    // What is refused leaves the old file whole, and nothing beside it.
    http.always(Reply::new(200, "other\n"));
    fetch(&["--sha256", sum]).expect_code(1).expect_stderr("has SHA-256");
    fetch(&["--max-size", "3"]).expect_code(1).expect_stderr("--max-size 3");
    http.always(Answer::Status(404));
    fetch(&[]).expect_code(1).expect_stderr("404");
    assert_eq!(pod.read("data/model.bin").unwrap(), b"hello\n");
    assert_eq!(std::fs::read_dir(pod.join("data")).unwrap().count(), 1);
    fetch(&["--sha256", "abc"]).expect_code(2).expect_stderr("64 hexadecimal digits");
}
