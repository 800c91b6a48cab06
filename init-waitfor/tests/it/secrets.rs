//! No secret leaves the process: not in any mode, stream, file, or command line of a child.

use testkit::fake::{Answer, FakeHttp, FakeTcp, Reply, TcpAnswer};
use testkit::{PodDir, Proc, Running, Stream};

const SECRET: &str = "s3cr3t-Pa55";

/// wait4x/wait4x#177; initium prints userinfo three times in an error.
#[test]
fn a_password_in_a_url_is_printed_nowhere() {
    let http = FakeHttp::start();
    http.always(Answer::Status(403));
    let pod = PodDir::new();
    let log = pod.join("termination");
    let url = format!("http://app:{SECRET}@{}/x?access_token={SECRET}", http.addr());
    let refused = format!("http://app:{SECRET}@127.0.0.1:1/");
    let config = pod.write(
        "waitfor.yaml",
        format!(
            "timeout: 300ms\ntargets:\n  - target: {url}\n    http: {{headers: {{X-Api-Key: {SECRET}}}, body: 'password={SECRET}'}}\n"
        ),
    );
    let bad = pod.write("bad.yaml", format!("targets:\n  - target: htpp://app:{SECRET}@db/\n    name: ''\n"));
    let config = config.to_str().unwrap();
    let modes: Vec<Vec<&str>> = vec![
        vec!["--timeout", "300ms", &url],
        vec!["--timeout", "300ms", &refused],
        vec!["--timeout", "300ms", "-o", "json", &url, &refused],
        vec!["--timeout", "300ms", "-q", &url],
        vec!["--timeout", "300ms", "--log-level", "trace", &url, &refused],
        vec!["--log-format", "text", "--timeout", "300ms", &url],
        vec!["status", &url],
        vec!["status", "-o", "json", &url],
        vec!["explain", &url],
        vec!["--config", config],
        vec!["--config", config, "--print-config"],
        vec!["--config", config, "--check"],
        vec!["--config", bad.to_str().unwrap()],
        vec!["--check", &url],
        vec![
            "--print-config",
            "--http-body",
            "pw=s3cr3t-Pa55",
            "--http-header",
            "X: s3cr3t-Pa55",
            "http://a/",
        ],
        vec!["htpp://app:s3cr3t-Pa55@db/"],
        // Not encoded: a reader of URLs takes the password's end for a path.
        vec!["postgres://app:x@s3cr3t-Pa55/y@db/x"],
        vec!["postgres://app:x@y/s3cr3t-Pa55@db/x"],
        vec!["--timeout", "300ms", "--http-header", "X-Session-Token: s3cr3t-Pa55", "http://127.0.0.1:1/"],
        vec![
            "--fail-fast",
            "auth",
            "--http-header",
            "Authorization: Bearer s3cr3t-Pa55",
            "--timeout",
            "300ms",
            &url,
        ],
        vec!["--timeout", "300ms", "exec:sh -c 'echo $PW >&2; exit 1'", &url],
    ];
    for mode in modes {
        for terminal in [false, true] {
            let mut proc = Proc::new(env!("CARGO_BIN_EXE_init-waitfor")).env("PW", SECRET);
            proc = proc.arg("--termination-log").arg(&log).args(&mode);
            let done = if terminal { proc.on_terminal().run() } else { proc.run() };
            for (place, text) in [
                ("stdout", done.stdout()),
                ("stderr", done.stderr()),
                ("termination message", std::fs::read_to_string(&log).unwrap_or_default()),
            ] {
                assert!(!text.contains(SECRET), "{place} of {mode:?}:\n{text}");
            }
        }
    }
    // Nor did it get into a file that was not there before.
    for (name, text) in files(&pod) {
        assert!(
            !text.contains(SECRET) || ["waitfor.yaml", "bad.yaml"].contains(&name.as_str()),
            "{name}:\n{text}"
        );
    }
    // It was sent, all the same.
    let request = http.requests().into_iter().next().unwrap();
    assert!(request.header("authorization").unwrap().starts_with("Basic "));
}

fn files(pod: &PodDir) -> Vec<(String, String)> {
    let entries = std::fs::read_dir(pod.path()).unwrap().flatten();
    let read = |path: std::path::PathBuf| {
        String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
    };
    entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), read(entry.path()))).collect()
}

fn clean(done: &testkit::Exited, log: &std::path::Path, what: &str) {
    for (place, text) in [
        ("stdout", done.stdout()),
        ("stderr", done.stderr()),
        ("termination message", std::fs::read_to_string(log).unwrap_or_default()),
    ] {
        assert!(!text.contains(SECRET), "{place} of {what}:\n{text}");
    }
}

/// wait4x/wait4x#177: passwords in logs; KitStream/initium prints userinfo in every error.
#[test]
fn servers_that_repeat_the_password_are_not_repeated() {
    let pod = PodDir::new();
    let log = pod.join("termination");
    let secret = pod.write("secret", format!("{SECRET}\n"));
    let say = |text: String| FakeTcp::start(TcpAnswer::Greet(text.into_bytes()));
    let postgres = {
        let fields = format!("SFATAL\0C28P01\0Mpassword {SECRET} for app is wrong\0\0");
        let length = u32::try_from(fields.len() + 4).unwrap().to_be_bytes();
        FakeTcp::start(TcpAnswer::Greet([b"E", &length[..], fields.as_bytes()].concat()))
    };
    let redis = say(format!("-WRONGPASS {SECRET} is wrong\r\n"));
    let nats = say(format!("INFO {{}}\r\n-ERR 'Authorization Violation {SECRET}'\r\n"));
    let memcached = say(format!("ERROR {SECRET}\r\n"));
    let echo = FakeTcp::start(TcpAnswer::Echo);
    let http = FakeHttp::start();
    http.always(
        Reply::new(302, "").header("location", &format!("https://u:{SECRET}@h/{SECRET}?token={SECRET}")),
    );
    let servers = [
        (format!("postgres://app@{}/app?sslmode=disable", postgres.addr()), 84),
        (format!("redis://app@{}", redis.addr()), 84),
        (format!("nats://app@{}", nats.addr()), 84),
        (format!("memcached://{}", memcached.addr()), 124),
        (format!("amqp://app@{}", echo.addr()), 124),
        (format!("mqtt://app@{}", echo.addr()), 124),
        (format!("mongodb://app@{}/x", echo.addr()), 124),
        (format!("kafka://app@{}?sasl=plain", echo.addr()), 124),
        (format!("mysql://app@{}/x", echo.addr()), 124),
        (http.url("/"), 124),
    ];
    for (target, code) in servers {
        for (source, name) in [("file", secret.to_str().unwrap()), ("env", "PW")] {
            let more = if target.starts_with("http") { ", http: {status: '200'}" } else { "" };
            // A refusal ends it at once; everything else ends by its timeout, however fast the machine.
            let time = if code == 84 { "20s" } else { "700ms" };
            let config = format!(
                "timeout: {time}\nattempt_timeout: {time}\nfail_fast: auth\ntargets:\n  - {{target: '{target}', password: {{{source}: {name}}}{more}}}\n"
            );
            let config = pod.write("w.yaml", config);
            for mode in [&["-o", "json"][..], &["--log-level", "trace"], &["status"]] {
                let proc = Proc::new(env!("CARGO_BIN_EXE_init-waitfor")).env("PW", SECRET);
                let done =
                    proc.arg("--termination-log").arg(&log).arg("--config").arg(&config).args(mode).run();
                done.expect_code(if mode[0] == "status" { 1 } else { code });
                clean(&done, &log, &format!("{target} {mode:?}"));
            }
        }
    }
}

#[test]
fn the_other_subcommands_keep_it_too() {
    let (pod, http) = (PodDir::new(), FakeHttp::start());
    let log = pod.join("termination");
    http.always(Answer::Status(403));
    let dest = pod.join("dest").display().to_string();
    let database = format!("postgres://app:{SECRET}@127.0.0.1:1/app");
    let broken = format!("postgres://app:{SECRET}/x@127.0.0.1:1/app");
    let url = format!("http://app:{SECRET}@{}/file?token={SECRET}", http.addr());
    let gone = format!("http://app:{SECRET}@127.0.0.1:1/file");
    let wait = ["--timeout", "400ms"];
    for args in [
        vec!["migration", "--db", &database, "--at", "1"],
        vec!["migration", "--db", &database, "--at", "1", "-o", "json"],
        vec!["migration", "--db", &broken, "--at", "1"],
        vec!["migrate", "--db", &database, "--at", "1", "--lock-timeout", "300ms", "--", "true"],
        vec!["migrate", "--db", &broken, "--", "true"],
        vec!["status", &database, &broken],
        vec![&broken],
        vec!["fetch", &url, &dest],
        vec!["fetch", &gone, &dest],
        vec!["explain", &url],
    ] {
        let proc = Proc::new(env!("CARGO_BIN_EXE_init-waitfor")).arg("--termination-log").arg(&log);
        let done = proc.args(wait).args(&args).run();
        // An address needs no lookup; everything else must have had something to complain about.
        assert_eq!(done.code() == Some(0), args[0] == "explain", "{args:?}");
        clean(&done, &log, &format!("{args:?}"));
    }
    // From the environment, as a manifest should have it.
    let proc = Proc::new(env!("CARGO_BIN_EXE_init-waitfor")).env("WAITFOR_DB", &database);
    let done = proc.arg("--termination-log").arg(&log).args(wait).args(["migration", "--at", "1"]).run();
    done.expect_code(124);
    clean(&done, &log, "WAITFOR_DB");
    for (name, text) in files(&pod) {
        assert!(!text.contains(SECRET), "{name}:\n{text}");
    }
}

#[test]
fn children_do_not_have_it_on_their_command_line() {
    let (pod, http) = (PodDir::new(), FakeHttp::start());
    http.always(Answer::Status(503));
    let secret = pod.write("secret", SECRET);
    // All processes of our group but init-waitfor itself, and whatever they started.
    let script = pod.write("look", "for p in /proc/[0-9]*; do case \"$(cut -d' ' -f5 $p/stat 2>/dev/null)\" in $$) tr '\\0' ' ' < $p/cmdline; echo; esac; done > \"$1\" 2>/dev/null; echo looked; exit 1\n");
    let seen = pod.join("seen");
    let config = format!(
        "targets:\n  - {{target: '{}', password: {{file: {}}}}}\n  - {{target: 'exec:', command: [sh, {}, {}]}}\n",
        http.url("/").replace("://", "://app@"),
        secret.display(),
        script.display(),
        seen.display()
    );
    let run: Running = Proc::new(env!("CARGO_BIN_EXE_init-waitfor"))
        .args(["-o", "json", "--config"])
        .arg(pod.write("w.yaml", config))
        .spawn();
    run.wait_line(Stream::Stdout, "the command has looked", |line| line.contains("exit 1: looked"));
    run.sigterm();
    run.wait_exit().expect_code(143);
    let seen = std::fs::read_to_string(seen).unwrap();
    assert!(seen.contains("look"), "it has seen itself: {seen}");
    assert!(!seen.contains(SECRET), "{seen}");
}
