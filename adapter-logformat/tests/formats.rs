//! stdin → stdout, every format in every schema, against golden files that somebody has looked at.

use testkit::{Proc, golden};

/// A line that names no time is given the time of reading, which no golden file can know.
fn without_clock(record: &str, reference: &str) -> String {
    serde_json::from_str::<serde_json::Value>(record).expect("a record is JSON");
    for head in ["{\"@timestamp\":\"", "{\"time\":\"", "{\"ObservedTimestamp\":\""] {
        let Some(rest) = record.strip_prefix(head) else { continue };
        let (time, rest) = rest.split_once('"').expect("the time ends");
        if head.contains("Observed") || time >= reference {
            return format!("{head}(when it was read)\"{rest}");
        }
    }
    record.to_owned()
}

fn convert(from: &str, schema: &str, input: &[u8]) -> String {
    convert_with(&["--from", from], schema, input)
}

fn convert_with(from: &[&str], schema: &str, input: &[u8]) -> String {
    let started = jiff_now();
    let running = Proc::new(env!("CARGO_BIN_EXE_adapter-logformat"))
        .args(from)
        .args(["--schema", schema])
        .with_stdin()
        .spawn();
    running.write_stdin(input);
    running.close_stdin();
    let exited = running.wait_exit();
    exited.expect_code(0);
    let lines: Vec<_> =
        exited.stdout_lines().iter().map(|line| without_clock(line, &started) + "\n").collect();
    assert_eq!(
        lines.len(),
        input.split(|b| *b == b'\n').count() - usize::from(input.ends_with(b"\n")),
        "one record per line"
    );
    lines.concat()
}

/// The present as records write it; fixtures are older.
fn jiff_now() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    jiff::Timestamp::from_second(now.as_secs().try_into().expect("fits"))
        .expect("a time")
        .to_string()
        .trim_end_matches('Z')
        .to_owned()
}

fn check(from: &str) {
    let input = std::fs::read(format!("tests/golden/{from}.log")).expect("the fixture");
    for schema in ["ecs", "otel", "flat"] {
        let records = convert(from, schema, &input);
        let records = if matches!(from, "klog" | "syslog") { without_year(&records) } else { records };
        golden(format!("tests/golden/{from}.{schema}.jsonl"), &records);
    }
}

/// These formats have lines without a year, which get the nearest one: another one next year.
fn without_year(records: &str) -> String {
    let mut masked = String::new();
    for record in records.lines() {
        let from = record
            .find(":\"20")
            .or_else(|| record.find("Timestamp\":\"1").map(|at| at + 10))
            .map(|at| at + 2);
        let width = if record.contains("Timestamp\":\"1") { 19 } else { 4 };
        match from.filter(|at| *at < 40) {
            Some(at) => masked.push_str(&format!("{}(year){}\n", &record[..at], &record[at + width..])),
            None => masked.push_str(&format!("{record}\n")),
        }
    }
    masked
}

#[test]
fn nginx() {
    check("nginx");
}

#[test]
fn a_log_format_of_nginx() {
    let pattern = "$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent \"$http_referer\" \"$http_user_agent\" \"$http_x_forwarded_for\" rt=$request_time uct=\"$upstream_connect_time\" id=$request_id";
    let input = std::fs::read("tests/golden/nginx-pattern.log").expect("the fixture");
    let records = convert_with(&["--from", "nginx", "--pattern", pattern], "ecs", &input);
    assert!(!records.contains("unparsed"));
    golden("tests/golden/nginx-pattern.ecs.jsonl", &records);
}

#[test]
fn a_log_format_of_apache() {
    let pattern = "%t %a %D %{ms}T %>s %B \\\"%r\\\" \\\"%{User-agent}i\\\" %k %X";
    let input = std::fs::read("tests/golden/apache-pattern.log").expect("the fixture");
    let records = convert_with(&["--from", "apache", "--pattern", pattern], "flat", &input);
    assert!(!records.contains("unparsed"));
    golden("tests/golden/apache-pattern.flat.jsonl", &records);
}

#[test]
fn an_ambiguous_pattern_is_refused_with_its_place() {
    let check = |from: &str, pattern: &str| {
        testkit::Proc::new(env!("CARGO_BIN_EXE_adapter-logformat"))
            .args(["--check", "--from", from, "--pattern", pattern])
            .run()
    };
    check("nginx", "$remote_addr$status").expect_code(78).expect_stderr("at byte 0: nothing separates");
    check("nginx", "$status $request $bytes_sent").expect_code(78).expect_stderr("at byte 8");
    check("apache", "%h %y").expect_code(78).expect_stderr("'%y' is no directive");
    check("json", "x").expect_code(78).expect_stderr("takes no pattern");
    check("nginx", "$remote_addr [$time_local] $status").expect_code(0);
}

#[test]
fn apache() {
    check("apache");
}

#[test]
fn apache_error() {
    check("apache-error");
}

#[test]
fn nginx_error() {
    check("nginx-error");
}

#[test]
fn json() {
    check("json");
}

#[test]
fn logfmt() {
    check("logfmt");
}

#[test]
fn syslog() {
    check("syslog");
}

#[test]
fn klog() {
    check("klog");
}

#[test]
fn cri() {
    check("cri");
}

#[test]
fn plain() {
    check("plain");
}

#[test]
fn auto_reads_each_fixture_as_its_format_does() {
    for from in ["nginx", "nginx-error", "apache-error", "json", "syslog", "klog", "cri"] {
        let input = std::fs::read(format!("tests/golden/{from}.log")).expect("the fixture");
        let named = convert(from, "ecs", &input);
        let found = convert("auto", "ecs", &input);
        for (named, found) in named.lines().zip(found.lines()) {
            // What the format refuses, auto passes on as text, without a mark.
            if !named.contains("\"unparsed\"") {
                assert_eq!(
                    named.replace(&format!("\"{from}: "), "\""),
                    found.replace(&format!("\"{from}: "), "\"")
                );
            }
        }
    }
}

#[test]
fn formats_lists_what_from_takes() {
    let listed = Proc::new(env!("CARGO_BIN_EXE_adapter-logformat")).arg("formats").run();
    listed.expect_code(0);
    for name in [
        "auto",
        "nginx",
        "nginx-error",
        "apache",
        "apache-error",
        "json",
        "logfmt",
        "syslog",
        "klog",
        "cri",
        "plain",
    ] {
        assert!(listed.stdout_lines().iter().any(|line| line.split(' ').next() == Some(name)), "{name}");
    }
}

#[test]
fn test_shows_where_reading_stopped() {
    let shown = Proc::new(env!("CARGO_BIN_EXE_adapter-logformat"))
        .args(["test", "--from", "nginx", "--failed", "tests/golden/klog.log"])
        .run();
    shown.expect_code(1);
    shown.expect_stdout("tests/golden/klog.log:1: not read as nginx: no time in brackets");
    shown.expect_stdout("^ here");
    shown.expect_stdout("5 lines: 0 records read (), 0 with a part that could not be read, 5 not read; 0 lines joined, 0 left out");
}
