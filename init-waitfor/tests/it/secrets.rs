//! No secret leaves the process: not in any mode, stream, file, or command line of a child.

use testkit::fake::{Answer, FakeHttp};
use testkit::{PodDir, Proc};

const SECRET: &str = "s3cr3t-Pa55";

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
            "timeout: 300ms\ntargets:\n  - target: {url}\n    http: {{headers: {{X-Api-Key: {SECRET}}}}}\n"
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
    // It was sent, all the same.
    let request = http.requests().into_iter().next().unwrap();
    assert!(request.header("authorization").unwrap().starts_with("Basic "));
}
