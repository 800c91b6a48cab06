//! stdin → stdout for the formats of servers and loggers, against golden files; `golden/more/README.md` says where the inputs come from.

mod common;

use common::adapter;
use testkit::golden;

/// Reads a fixture as a format and compares the records; gives them.
fn check(fixture: &str, flags: &[&str]) -> Vec<serde_json::Value> {
    let input = std::fs::read(format!("tests/golden/more/{fixture}.log")).expect("the fixture");
    let before = jiff::Timestamp::now().to_string();
    let running = adapter().args(flags).args(["--schema", "ecs"]).with_stdin().spawn();
    running.write_stdin(&input);
    running.close_stdin();
    let exited = running.wait_exit();
    exited.expect_code(0);
    let mut records = Vec::new();
    let mut text = String::new();
    for line in exited.stdout_lines() {
        let record: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
        // A line that names no time has the time of reading, which no golden file can know.
        let time = record["@timestamp"].as_str().expect("every record has a time");
        let read = format!("{{\"@timestamp\":\"{time}\"");
        let known = time < &before[..19];
        text.push_str(&if known {
            line.clone()
        } else {
            line.replace(&read, "{\"@timestamp\":\"(when it was read)\"")
        });
        text.push('\n');
        records.push(record);
    }
    golden(format!("tests/golden/more/{fixture}.ecs.jsonl"), &text);
    records
}

/// How many records hold a line that could not be read.
fn unparsed(records: &[serde_json::Value]) -> usize {
    let marked =
        |r: &&serde_json::Value| r["tags"].as_array().is_some_and(|t| t.iter().any(|t| t == "unparsed"));
    records.iter().filter(marked).count()
}

macro_rules! formats {
    ($($name:ident $fixture:literal $from:literal $count:literal,)*) => {$(
        #[test]
        fn $name() {
            let records = check($fixture, &["--from", $from]);
            assert_eq!((records.len(), unparsed(&records)), ($count, 0));
        }
    )*};
}

formats! {
    auditd "auditd" "auditd" 8,
    aws_alb "aws-alb" "aws-alb" 2,
    aws_cloudfront "aws-cloudfront" "aws-cloudfront" 3,
    aws_elb "aws-elb" "aws-elb" 2,
    aws_s3 "aws-s3" "aws-s3" 2,
    aws_vpc_flow "aws-vpc-flow" "aws-vpc-flow" 4,
    caddy "caddy" "caddy" 4,
    cef "cef" "cef" 2,
    csv "csv" "csv" 4,
    docker "docker" "docker" 4,
    elasticsearch "elasticsearch" "elasticsearch" 5,
    envoy "envoy" "envoy" 3,
    etcd "etcd" "etcd" 11,
    haproxy "haproxy" "haproxy" 12,
    icinga "icinga" "icinga" 5,
    ingress_nginx "ingress-nginx" "ingress-nginx" 3,
    istio "istio" "istio" 2,
    journald "journald" "journald" 2,
    kafka "kafka" "kafka" 5,
    key_value "key-value" "key-value" 2,
    loggers_json "loggers-json" "json" 8,
    ltsv "ltsv" "ltsv" 2,
    mongodb "mongodb" "mongodb" 5,
    postgresql "postgresql" "postgresql" 20,
    postgresql_csv "postgresql-csv" "postgresql-csv" 17,
    postgresql_json "postgresql-json" "json" 5,
    python "python" "python" 15,
    rails "rails" "rails" 14,
    redis "redis" "redis" 13,
    servers_json "servers-json" "json" 6,
    spring_boot "spring-boot" "spring-boot" 4,
    tomcat "tomcat" "tomcat" 4,
    traefik "traefik" "traefik" 4,
    w3c "w3c" "w3c" 8,
    zap "zap" "zap" 3,
    zookeeper "zookeeper" "zookeeper" 10,
}

#[test]
fn mysql_error() {
    let records = check("mysql-error", &["--from", "mysql-error"]);
    assert_eq!(unparsed(&records), 0);
}

#[test]
fn mysql_slow() {
    let records = check("mysql-slow", &["--from", "mysql-slow"]);
    assert_eq!(unparsed(&records), 0);
    assert_eq!(records.last().expect("records")["message"], "select *\n  from orders;");
}

#[test]
fn rabbitmq() {
    let records = check("rabbitmq", &["--from", "rabbitmq"]);
    assert_eq!((records.len(), unparsed(&records)), (10, 0));
}

macro_rules! patterns {
    ($($name:ident $fixture:literal $from:literal $unparsed:literal $pattern:expr,)*) => {$(
        #[test]
        fn $name() {
            let records = check($fixture, &["--from", $from, "--pattern", $pattern]);
            assert_eq!(unparsed(&records), $unparsed);
        }
    )*};
}

patterns! {
    log_format_of_haproxy "haproxy-pattern" "haproxy" 0 r#"%ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %{+Q}r %ID %{+Q}[capture.req.hdr(0)] %hr"#,
    format_string_of_envoy "envoy-pattern" "envoy" 0 r#"%START_TIME(%Y-%m-%d %H:%M:%S.%3f)% %REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %DURATION%ms agent="%REQ(USER-AGENT)%" up=%UPSTREAM_HOST% route=%ROUTE_NAME% from=%DOWNSTREAM_REMOTE_ADDRESS%\n"#,
    log_line_prefix_of_postgresql "postgresql-pattern" "postgresql" 0 "%t [%p-%l] %e db=%d,user=%u,app=%a,client=%h ",
    format_string_of_python "python-pattern" "python" 0 "{asctime} {levelname:<8} {process} [{threadName}] {name}:{lineno} {message}",
    pattern_of_logback "logback" "logback" 0 "%d{ISO8601} [%thread] %-5level %logger{36} [%mdc] - %msg%n%ex",
    a_regular_expression "regex" "regex" 1 r"^(?<time>\S+)\|(?<level>[A-Z]+)\|(?<logger>\w+)\|(?<message>.*)\|(?<client_ip>[\d.]+)$",
    a_grok_expression "grok" "grok" 0 "%{COMBINEDAPACHELOG} %{NUMBER:request_time:float}",
    named_columns "tsv" "tsv" 0 "time,level,message",
}

#[test]
fn auto_reads_what_is_unambiguous_as_its_format_does() {
    for fixture in [
        "auditd",
        "aws-alb",
        "aws-elb",
        "aws-s3",
        "cef",
        "docker",
        "envoy",
        "haproxy",
        "ingress-nginx",
        "istio",
        "journald",
        "ltsv",
        "redis",
        "traefik",
        "zookeeper",
    ] {
        let input = std::fs::read(format!("tests/golden/more/{fixture}.log")).expect("the fixture");
        let records = |from: &str| {
            let running = adapter()
                .args(["--from", from, "--schema", "flat", "--multiline", "off"])
                .with_stdin()
                .spawn();
            running.write_stdin(&input);
            running.close_stdin();
            let lines = running.wait_exit().stdout_lines();
            let mut records: Vec<serde_json::Value> =
                lines.iter().map(|l| serde_json::from_str(l).expect("a record")).collect();
            for record in &mut records {
                // The name of the format stands in what could not be read.
                record["parse_error"] = serde_json::Value::Null;
                record["time"] = serde_json::Value::Null;
            }
            records
        };
        for (named, found) in records(fixture).into_iter().zip(records("auto")) {
            // Connects and notices of HAProxy are text to anybody else.
            if named["message"].as_str().is_none_or(|m| !m.starts_with("Connect from")) {
                assert_eq!(named, found, "{fixture}");
            }
        }
    }
}

#[test]
fn patterns_that_cannot_be_read_are_refused_with_their_place() {
    for (from, pattern, part) in [
        ("logback", "%d{qq} %m%n", "is no letter of a date pattern"),
        ("logback", "%m %thread %m", "at byte 0: the message ends at no certain place"),
        ("logback", "%d %zzz", "'%zzz' is no word"),
        ("python", "%(message)s %(extra)s", "at byte 0"),
        ("haproxy", "%ci%cp", "nothing separates"),
        ("haproxy", "%zz", "is no variable of a log-format"),
        ("envoy", "%START_TIME", "without the '%' that ends"),
        ("envoy", "%REQ(USER-AGENT)% %RESPONSE_CODE%", "put it in quotes"),
        ("postgresql", "%a %p ", "may hold blanks"),
        ("postgresql", "%y", "is no escape of log_line_prefix"),
        ("grok", "%{IPORHSOT:x}", "did you mean %{IPORHOST}?"),
        ("regex", "(?=x)(?<a>x)", "look-around"),
        ("regex", "abc", "takes nothing over"),
    ] {
        adapter()
            .args(["--check", "--from", from, "--pattern", pattern])
            .run()
            .expect_code(78)
            .expect_stderr(part);
    }
    for from in ["regex", "grok", "logback"] {
        adapter().args(["--check", "--from", from]).run().expect_code(78).expect_stderr("needs one");
    }
}
