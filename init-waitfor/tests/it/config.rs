//! Wrong usage and wrong configuration: all problems, each with what to write.

use testkit::PodDir;

use crate::waitfor;

#[test]
fn wrong_usage_is_2() {
    for (args, word) in [
        (vec!["--timeoot", "5s", "tcp://a:1"], "--timeout"),
        (vec!["--timeout", "5", "tcp://a:1"], "write 5s or 5ms"),
        (vec!["tpc://a:1"], "did you mean tcp://"),
        (vec!["db:5432"], "write tcp://db:5432"),
        (vec!["tcp://db"], "no port"),
        (vec!["tcp://a:1,b:2"], "several hosts"),
        (vec!["wait", "tcp://a:1"], "name the target alone"),
        (vec!["expalin", "db"], "did you mean the subcommand explain"),
        (vec!["postgres://app:pa/ss@db/x"], "write %2F for /"),
        (vec!["kafka://a:1?sasl=plain"], "sasl without a user"),
        (vec!["kafka://u:p@a:1?sasl=gssapi"], "scram-sha-512"),
        (vec!["mongodb://a/?authMechanism=GSSAPI"], "only SCRAM-SHA-256"),
        (vec!["tcp://db:99999"], "no port"),
        (vec!["tls://db:1?min-dyas=3"], "did you mean \"min-days\""),
        (vec!["dns://a?type=X"], "one of A, AAAA"),
        (vec!["http://"], "host"),
        (vec!["file://relative"], "absolute path"),
        (vec!["exec:"], "names no command"),
        (vec!["file:///x?match=("], "match"),
        (vec!["--any", "--min", "2", "tcp://a:1"], "--min"),
        (vec![], "nothing to wait for"),
        (vec!["write", "a"], "DEST"),
        (vec!["--http-status", "abc", "http://a/"], "set of statuses"),
        (vec!["--http-match", "(", "http://a/"], "http.match"),
        (vec!["--http-match-header", "X: (", "http://a/"], "http.match_headers"),
        (vec!["--http-json", "status", "http://a/"], "write for example $.status"),
    ] {
        let done = waitfor().args(&args).run();
        let code = done.code();
        assert!(code == Some(2) || (code == Some(78) && args[0].starts_with("--http")), "{args:?}: {code:?}");
        done.expect_stderr(word);
    }
}

const BAD: &str = "\
timeuot: 5m
attempt_timeout: 0
require: {min: 9}
targets:
  - target: tcp://db:5432
    name: db
    afetr: [x]
  - target: dbb
    after: [dbx]
  - target: tcp://a:1
    name: db
    http: {status: 200-99}
  - target: http://a/
    http: {status: 200-99}
";

#[test]
fn every_problem_of_a_file_at_once_with_its_place() {
    let pod = PodDir::new();
    let file = pod.write("waitfor.yaml", BAD);
    let done = waitfor().arg("--config").arg(&file).arg("--check").run();
    done.expect_code(78);
    let text = done.stderr();
    for word in [
        "waitfor.yaml:1:1: ",
        "did you mean",
        "attempt_timeout",
        "require",
        "afetr",
        "has no scheme",
        "no target is named",
        "two targets",
        "only for http://",
        "is no set of statuses",
    ] {
        assert!(text.contains(word), "{word:?} in\n{text}");
    }
}

#[test]
fn check_touches_nothing() {
    let pod = PodDir::new();
    let mark = pod.join("mark");
    let file = pod.write("waitfor.yaml", format!("targets:\n  - target: 'exec:touch {}'\n", mark.display()));
    waitfor().arg("--config").arg(file).arg("--check").run().expect_code(0).expect_stdout("valid");
    assert!(!mark.exists());
}

#[test]
fn circles_are_found() {
    let pod = PodDir::new();
    let text = "targets:\n  - {target: 'dns://a', name: a, after: [b]}\n  - {target: 'dns://b', name: b, after: [a]}\n";
    let done = waitfor().arg("--config").arg(pod.write("waitfor.yaml", text)).run();
    done.expect_code(78).expect_stderr("waits for itself");
}

#[test]
fn missing_and_unreadable_files() {
    let done = waitfor().args(["--config", "/nonexistent/waitfor.yaml"]).run();
    done.expect_code(78).expect_stderr("/nonexistent/waitfor.yaml").expect_stderr("--config");
    let pod = PodDir::new();
    waitfor().arg("--config").arg(pod.path()).run().expect_code(78);
    waitfor()
        .arg("--config")
        .arg(pod.write("latin1.yaml", b"a: \xff\n"))
        .run()
        .expect_code(78)
        .expect_stderr("UTF-8");
}

#[test]
fn variables_environment_and_flags() {
    let pod = PodDir::new();
    let file = pod
        .write("waitfor.yaml", "timeout: 9s\ntargets:\n  - target: tcp://${DB_HOST:-127.0.0.1}:${DB_PORT}\n");
    let run = |flag: &[&str]| {
        let proc = waitfor().env("DB_PORT", "1").env("WAITFOR_TIMEOUT", "8s").arg("--config").arg(&file);
        proc.args(flag).arg("--print-config").run()
    };
    run(&[]).expect_code(0).expect_stdout("timeout: 8s").expect_stdout("tcp://127.0.0.1:1");
    run(&["--timeout", "7s"]).expect_code(0).expect_stdout("timeout: 7s");
    waitfor().arg("--config").arg(&file).run().expect_code(78).expect_stderr("DB_PORT");
}

#[test]
fn switches_in_the_environment() {
    for (value, word) in [
        ("1", "any"),
        ("true", "any"),
        ("yes", "any"),
        ("on", "any"),
        ("0", "all"),
        ("false", "all"),
        ("no", "all"),
    ] {
        let done = waitfor().env("WAITFOR_ANY", value).args(["--print-config", "tcp://a:1"]).run();
        done.expect_code(0).expect_stdout(&format!("require: {word}"));
    }
    waitfor().env("WAITFOR_ANY", "perhaps").args(["--print-config", "tcp://a:1"]).run().expect_code(2);
}

#[test]
fn targets_of_file_and_command_line_count_together() {
    let pod = PodDir::new();
    let file = pod.write("waitfor.yaml", "targets:\n  - target: tcp://127.0.0.1:1\n");
    let done = waitfor().arg("--config").arg(file).args(["status", "exec:true"]).run();
    done.expect_code(1).expect_stdout("exec:true").expect_stdout("tcp://127.0.0.1:1");
}

#[test]
fn schema_completions_and_version() {
    let done = waitfor().arg("--print-schema").run();
    let schema: serde_json::Value = serde_json::from_str(&done.expect_code(0).stdout()).unwrap();
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
    assert!(schema["properties"]["targets"].is_object());
    waitfor().args(["--completions", "bash"]).run().expect_code(0).expect_stdout("init-waitfor");
    waitfor().arg("--version").run().expect_code(0).expect_stdout(env!("CARGO_PKG_VERSION"));
    let done = waitfor().arg("--help").run();
    done.expect_code(0).expect_stdout("WAITFOR_TIMEOUT").expect_stdout("dns://name").expect_stdout("124");
}

/// ph4r5h4d/wait4it#46, #231; vishnubob/wait-for-it#79: targets of several kinds, and a file that holds them.
#[test]
fn every_kind_of_target_in_one_file() {
    let (pod, tcp) = (PodDir::new(), testkit::fake::FakeTcp::start(testkit::fake::TcpAnswer::Echo));
    let (dns, http) = (testkit::fake::FakeDns::start(), testkit::fake::FakeHttp::start());
    dns.records("orders.example", "A", &["10.0.0.1"]);
    let socket = pod.join("s");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let text = format!(
        "\
timeout: 20s
targets:
  - {{name: name, target: 'dns://orders.example?type=A'}}
  - {{name: port, target: 'tcp://{}', after: [name]}}
  - {{name: socket, target: 'unix://{}'}}
  - {{name: page, target: '{}', http: {{status: 2xx, headers: {{X-Probe: 'yes'}}, match_headers: {{content-length: ''}}}}}}
  - {{name: file, target: 'file://{}'}}
  - {{name: command, target: 'exec:', command: [test, -d, /]}}
  - {{name: gone, target: 'not:tcp://127.0.0.1:1', after: [port, page]}}
",
        tcp.addr(),
        socket.display(),
        http.url("/"),
        pod.path().display()
    );
    let conf = pod.write("resolv.conf", dns.resolv_conf(""));
    let proc = waitfor().arg("--resolv-conf").arg(conf).arg("--config").arg(pod.write("waitfor.yaml", text));
    let done = proc.args(["-o", "json"]).run();
    let end: serde_json::Value =
        serde_json::from_str(done.expect_code(0).stdout_lines().last().unwrap()).unwrap();
    assert_eq!(end["ready"], 7);
}

/// cilium/cilium#6230, openshift/cluster-dns-operator#65: a gate without an end hides its reason.
#[test]
fn there_is_an_end_unless_one_says_no() {
    let done = waitfor().args(["--print-config", "tcp://a:1"]).run();
    done.expect_code(0).expect_stdout("timeout: 5m").expect_stdout("attempt_timeout: 3s");
    waitfor()
        .args(["-t", "9s", "--print-config", "tcp://a:1"])
        .run()
        .expect_code(0)
        .expect_stdout("timeout: 9s");
    waitfor()
        .args(["-t", "0", "--print-config", "tcp://a:1"])
        .run()
        .expect_code(0)
        .expect_stdout("timeout: \"0\"");
}
