//! By hand, and what is said about wrong input.

mod common;

use common::{Pod, lines, stop};
use testkit::fake::FakeHttp;
use testkit::{Proc, Stream, eventually};

fn shipper() -> Proc {
    Proc::new(env!("CARGO_BIN_EXE_sidecar-logshipper"))
}

#[test]
fn a_wrong_flag_is_usage_and_a_wrong_value_is_configuration() {
    shipper().args(["--raed", "x"]).run().expect_code(2).expect_stderr("--read");
    shipper().run().expect_code(78).expect_stderr("nothing to read").expect_stderr("no sink");
    shipper()
        .args(["--read", "/x/[", "--to", "ftp://h", "stdout", "stdout", "--check"])
        .run()
        .expect_code(78)
        .expect_stderr("is not a glob")
        .expect_stderr("no known kind of sink")
        .expect_stderr("stdout is named twice");
    shipper()
        .args(["--read", "x", "--to", "stdout", "--batch-age", "3"])
        .run()
        .expect_code(2)
        .expect_stderr("write 3s");
}

// What is written where it is read goes round for ever.
#[test]
fn what_would_be_read_again_is_refused() {
    let check = |args: &[&str]| shipper().args(["--read", "/x/**", "--check"]).args(args).run();
    let again = "would be read again";
    check(&["--to", "file:///x/out.log"]).expect_code(78).expect_stderr(again);
    check(&["--to", "stdout", "--state", "/x/state"]).expect_code(78).expect_stderr(again);
    check(&["--to", "stdout", "--dead-letter", "/x/dead"]).expect_code(78).expect_stderr(again);
    check(&["--to", "stdout", "--state", "/x/state", "--exclude", "/x/state/**"]).expect_code(0);
    check(&["--to", "http://h/", "--requests", "0", "--timeout", "0s"])
        .expect_code(78)
        .expect_stderr("requests: 0 would send nothing")
        .expect_stderr("timeout: 0 leaves no time");
}

#[test]
fn once_without_a_file_says_so() {
    let pod = Pod::new();
    pod.shipper("*.txt", "stdout").arg("--once").run().expect_code(0).expect_stderr("no file matches");
}

#[test]
fn all_problems_of_a_file_are_told_with_their_place() {
    let pod = Pod::new();
    let config =
        pod.dir.write("c.yaml", "raed: [x]\nto: [stdout]\nsinks:\n  - to: nowhere\n    batch_byte: 3\n");
    let run = shipper().arg("--config").arg(&config).arg("--check").run();
    let place = |rest: &str| format!("{}:{rest}", config.display());
    run.expect_code(78)
        .expect_stderr(&place("1:1: raed: unknown key; did you mean \"read\"?"))
        .expect_stderr(&place("4:5: sinks[0].to: \"nowhere\" is no sink"))
        .expect_stderr(&place("5:5: sinks[0].batch_byte: unknown key; did you mean \"batch_bytes\"?"));
    let run = shipper().args(["--read", "*.log", "--to", "stdot"]).run();
    run.expect_code(78).expect_stderr("\"stdot\" is no sink; did you mean \"stdout\"?");
}

#[test]
fn stdout_is_a_better_tail() {
    let pod = Pod::new();
    pod.append("a.log", lines(0, 2));
    let tail = pod.shipper("*.log", "stdout").spawn();
    tail.wait_line(Stream::Stdout, "line 1", |line| line == "line 1");
    pod.dir.rename("logs/a.log", "logs/a.log.1");
    pod.append("a.log", "new\n");
    pod.append("b.log", "other\n");
    tail.wait_line(Stream::Stdout, "new", |line| line == "new");
    tail.wait_line(Stream::Stdout, "other", |line| line == "other");
    tail.sigterm();
    assert_eq!(tail.wait_exit().stdout_lines().len(), 4);
}

#[test]
fn once_reads_all_there_is_and_ends() {
    let pod = Pod::new();
    pod.append("a.log", "one\ntwo without newline");
    let run = shipper().arg("--read").arg(pod.log("*.log")).args(["--to", "stdout", "--once"]).run();
    run.expect_code(0);
    assert_eq!(run.stdout_lines(), ["one", "two without newline"]);
}

#[test]
fn compressed_files_are_read_on_request() {
    let pod = Pod::new();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, b"one\ntwo\n").expect("packs");
    pod.append("a.log.gz", gzip.finish().expect("packs"));
    let run =
        shipper().arg("--read").arg(pod.log("*.gz")).args(["--to", "stdout", "--once", "--packed"]).run();
    run.expect_code(0);
    assert_eq!(run.stdout_lines(), ["one", "two"]);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let pod = Pod::new();
    pod.append("a.log", lines(0, 500_000));
    let binary = env!("CARGO_BIN_EXE_sidecar-logshipper");
    let command = format!(
        "set -o pipefail; {binary} --read '{}' --to stdout --once | head -1",
        pod.log("a.log").display()
    );
    Proc::new("bash").args(["-c", &command]).run().expect_code(0);
}

#[test]
fn a_directory_that_is_missing_or_closed_is_said_and_found_later() {
    let (pod, sink) = (Pod::new(), FakeHttp::start());
    let shipper = pod.shipper("later/*.log", &sink.url("/")).args(["--format", "raw"]).spawn();
    shipper.wait_ready();
    shipper.wait_log("it is named", |log| log["path"].as_str().is_some_and(|path| path.ends_with("later")));
    let problems = common::status(&shipper)["problems"].clone();
    assert!(problems[0]["path"].as_str().is_some_and(|path| path.ends_with("later")), "{problems}");
    pod.append("later/a.log", "found\n");
    eventually("found", || (sink.lines() == ["found"]).then_some(()));
    stop(&shipper);
}

#[test]
fn what_cannot_be_read_is_said_and_read_when_it_can() {
    use std::os::unix::fs::PermissionsExt;
    let (pod, sink) = (Pod::new(), FakeHttp::start());
    pod.append("closed.log", "now\n");
    pod.append("open.log", "at once\n");
    let mode = |name: &str, mode: u32| {
        std::fs::set_permissions(pod.log(name), std::fs::Permissions::from_mode(mode)).expect("sets rights");
    };
    mode("closed.log", 0o000);
    if std::fs::read(pod.log("closed.log")).is_ok()
        && Proc::new("setpriv").arg("--version").run().code() != Some(0)
    {
        return testkit::skip_or_fail("an unreadable file: root reads everything, and there is no setpriv");
    }
    // Root reads everything: the shipper runs as nobody.
    for name in ["", "logs"] {
        std::fs::set_permissions(pod.dir.join(name), std::fs::Permissions::from_mode(0o777))
            .expect("sets rights");
    }
    let binary = env!("CARGO_BIN_EXE_sidecar-logshipper");
    let copy = pod.dir.join("shipper");
    std::fs::copy(binary, &copy).expect("copies where nobody may run it");
    let run = Proc::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&copy)
        .args(["--log-format", "json", "--format", "raw", "--admin", "127.0.0.1:0", "--read"])
        .arg(pod.log("*.log"))
        .args(["--to", &sink.url("/")])
        .spawn();
    run.wait_ready();
    eventually("the open one is read", || (sink.lines() == ["at once"]).then_some(()));
    run.wait_log("the closed one is named", |log| {
        log["path"].as_str().is_some_and(|path| path.ends_with("closed.log")) && log["level"] == "WARN"
    });
    mode("closed.log", 0o644);
    eventually("both are read", || (sink.lines().len() == 2).then_some(()));
    stop(&run);
}

#[test]
fn a_port_in_use_and_a_state_that_is_no_directory_end_with_a_sentence() {
    let pod = Pod::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let addr = taken.local_addr().expect("has an address").to_string();
    let message = pod.dir.join("termination");
    let run = shipper()
        .args(["--admin", &addr, "--read", "x", "--to", "stdout", "--termination-log"])
        .arg(&message)
        .run();
    run.expect_code(1).expect_stderr(&addr);
    assert!(std::fs::read_to_string(&message).expect("written").contains(&addr));
    let file = pod.dir.write("file", "");
    shipper()
        .args(["--admin", "off", "--read", "x", "--to", "stdout", "--state"])
        .arg(file)
        .run()
        .expect_code(1)
        .expect_stderr("mount a writable volume");
}

#[test]
fn what_a_stranger_types_first_is_told_what_to_write() {
    let read = ["--check", "--read", "/var/log/app/*.log"];
    for (args, told) in [
        (&["--to", "loki://h:3100"][..], "write loki+http://h:3100 or loki+https://h:3100"),
        (&["--to", "elasticsearch://h:9200/a"], "write elasticsearch+http://h:9200/a or"),
        (&["--to", "https+otlp://h"], "write otlp+http://h or otlp+https://h"),
        (&["--to", "syslog://h:514"], "write syslog+tcp://h:514"),
        (&["--to", "tcp://h:514"], "write syslog+tcp://h:514"),
        (&["--to", "fluent://h"], "write for example fluent://host:24224"),
        (&["--to", "/tmp/out.log"], "write file:///tmp/out.log"),
        (&["--to", "elasticsearch+http://h:9200/Logs"], "\"Logs\" can be no index; write lowercase letters"),
        (&["--to", "stdout", "--exclude", "{"], "exclude[0]: the pattern \"{\" is not a glob"),
        (&["--to", "stdout", "--read", ""], "read[1]: is empty; write a glob"),
        (&["--to", "stdout", "--multiline-start", ""], "multiline_start: is empty"),
    ] {
        shipper().args(read).args(args).run().expect_code(78).expect_stderr(told);
    }
    let run = shipper().args(read).args(["--to", "stdout", "--batch-lines", "many"]).run();
    run.expect_code(2).expect_stderr("\"many\" is no whole number; write for example 2");
    let run = shipper().args(["drain", "--admin", "127.0.0.1:1"]).run();
    run.expect_code(1).expect_stderr("no shipper answers at 127.0.0.1:1").expect_stderr("write --admin ADDR");
    let pod = Pod::new();
    let run = shipper().args(["positions", "--state"]).arg(pod.log("")).run();
    run.expect_code(0).expect_stdout("nothing is saved there");
}

#[test]
fn a_directory_as_a_file_is_told_what_to_write() {
    let pod = Pod::new();
    pod.append("app.log", "one\n");
    let run = |read: &str, to: &str| shipper().args(["--once", "--read", read, "--to", to]).run();
    let logs = pod.dir.join("logs").display().to_string();
    run(&logs, "stdout")
        .expect_code(0)
        .expect_stderr(&format!("write {logs}/*"))
        .expect_stderr("no file matches");
    let app = format!("{logs}/app.log");
    run(&app, &format!("file://{logs}")).expect_code(1).expect_stderr("write the name of a file in it");
    let raw = shipper().args(["--once", "--multiline", "java", "--read", &app, "--to", "stdout"]).run();
    raw.expect_code(0).expect_stderr("no lines are joined");
}

#[test]
fn a_setting_that_would_change_nothing_is_refused() {
    let pod = Pod::new();
    let check = |text: &str| {
        let config = pod.dir.write("c.yaml", format!("read: [/var/log/app/*.log]\n{text}"));
        shipper().args(["--check", "--config"]).arg(config).run()
    };
    for (sink, told) in [
        ("to: stdout, headers: {a: b}", "sinks[0].headers: has no effect on this sink"),
        ("to: stdout, auth: {bearer: {env: X}}", "sinks[0].auth: has no effect"),
        ("to: stdout, compression: gzip", "sinks[0].compression: has no effect"),
        ("to: 'fluent://h:1', proxy: 'http://p:1'", "sinks[0].proxy: has no effect"),
        ("to: 'http://h/', labels: {a: b}", "sinks[0].labels: has no effect"),
        ("to: 'http://h/', tls: {ca: /ca.pem}", "sinks[0].tls: has no effect on this sink; write https"),
        ("to: 'syslog+tcp://h:1', tls: {ca: /ca.pem}", "sinks[0].tls: has no effect"),
        ("to: 'https://h/', tls: {cert: /c.pem}", "sinks[0].tls: has only one of cert and key"),
        ("to: 'http://h/', headers: {'a b': c}", "sinks[0].headers: \"a b\" is no header"),
        ("url: 'http://h/'", "sinks[0].to: is missing; write stdout, or a URL"),
        (
            "to: 'http://h/', auth: {token: {env: X}}",
            "auth.token: unknown key; known here: basic, bearer, api_key, splunk",
        ),
        ("to: 'http://h/', auth: {bearer: abc}", "auth.bearer: is a text; write {file: …} or {env: …}"),
        ("to: 'http://h/', batch_age: 3", "sinks[0].batch_age: 3 has no unit; write 3s or 3ms"),
    ] {
        check(&format!("sinks:\n  - {{{sink}}}\n")).expect_code(78).expect_stderr(told);
    }
    let run = check("to: [stdout]\nbatch_age: 3\n");
    run.expect_code(78).expect_stderr(":3:12: batch_age: 3 has no unit");
    assert_eq!(run.stderr().lines().count(), 1, "and nothing else is wrong: {}", run.stderr());
    // What stands at the top is for those that have a use for it.
    check("compression: gzip\nto: [stdout, 'http://h/']\n").expect_code(0);
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let pod = Pod::new();
    pod.append("app.log", "one\n");
    let config = format!("read: [{}]\nto: [stdout]\nformat: otel\nonce: true\n", pod.log("*.log").display());
    let config = pod.dir.write("c.yaml", config);
    let line = |environment: Option<&str>, flag: Option<&str>| {
        let mut shipper =
            shipper().arg("--config").arg(&config).env("LOGSHIPPER_STATE", pod.dir.join("state"));
        if let Some(format) = environment {
            shipper = shipper.env("LOGSHIPPER_FORMAT", format);
        }
        let shipper = shipper.args(flag.into_iter().flat_map(|format| ["--format", format]));
        let line = shipper.run().expect_code(0).stdout_lines().concat();
        std::fs::remove_dir_all(pod.dir.join("state")).expect("the environment's directory was used");
        line
    };
    assert!(line(None, None).contains("\"Body\":\"one\""));
    assert!(line(Some("ecs"), None).contains("\"message\":\"one\""));
    assert_eq!(line(Some("ecs"), Some("raw")), "one");
}
