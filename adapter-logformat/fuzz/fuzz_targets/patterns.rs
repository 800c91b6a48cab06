#![no_main]
//! Format strings and expressions: the first line is one, the rest are lines to read with it. Refused or compiled, nothing panics, and what was
//! compiled keeps to what every format has to.

mod common;

#[cfg(fuzzing)]
use libfuzzer_sys::fuzz_target;

use std::sync::Arc;

use adapter_logformat::{config::Stream as Written, lane::Stream};
use common::How;

const FORMATS: &[&str] = &[
    "nginx",
    "apache",
    "haproxy",
    "envoy",
    "istio",
    "logback",
    "python",
    "postgresql",
    "grok",
    "regex",
    "csv",
    "tsv",
];

/// Patterns as they are written, with a line each.
const SEEDS: &[(&str, &str)] = &[
    (
        "nginx",
        "$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent rt=$request_time urt=\"$upstream_response_time\"\n192.0.2.7 - - [21/Nov/2026:12:24:10 +0000] \"GET / HTTP/1.1\" 200 5 rt=0.1 urt=\"0.1, 0.2\"",
    ),
    (
        "nginx",
        "{\"t\":\"$time_iso8601\",\"s\":$status,\"u\":\"$request_uri\"}\n{\"t\":\"2026-11-21T12:24:10+00:00\",\"s\":200,\"u\":\"/\"}",
    ),
    (
        "apache",
        "%v:%p %h %l %u %t \"%r\" %>s %O \"%{Referer}i\" \"%{User-Agent}i\" %D %{ms}T\nshop:80 192.0.2.7 - - [21/Nov/2026:12:24:10 +0000] \"GET / HTTP/1.1\" 200 5 \"-\" \"-\" 12 1",
    ),
    ("apache", "%{%Y-%m-%d %T}t.%{msec_frac}t %a %{X-Id}o\n2026-11-21 12:24:10.123 192.0.2.7 7"),
    (
        "haproxy",
        "%ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %CC %CS %tsc %ac/%fc/%bc/%sc/%rc %sq/%bq %hr %hs %{+Q}r\n192.0.2.7:5 [21/Nov/2026:12:24:10.123] f b/s 0/0/1/2/3 200 5 - - ---- 1/1/0/0/0 0/0 {a|b} {} \"GET / HTTP/1.1\"",
    ),
    (
        "envoy",
        "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %DURATION%\n[2026-11-21T12:24:10.123Z] \"GET / HTTP/1.1\" 200 3",
    ),
    ("istio", "[%START_TIME(%Y/%m/%dT%H:%M:%S.%3f)%] %UPSTREAM_HOST%\n[2026/11/21T12:24:10.123] 10.0.0.3:80"),
    (
        "logback",
        "%d{yyyy-MM-dd HH:mm:ss,SSS} [%thread] %-5level %logger{36} %X{id} - %msg%n%ex\n2026-11-21 12:24:10,123 [main] INFO  a.B 7 - started",
    ),
    (
        "logback",
        "%d{ISO8601} %p [%t] %c{1}:%L %M - %m%n\n2026-11-21 12:24:10,123 INFO [main] B:7 run - started",
    ),
    (
        "python",
        "%(asctime)s %(levelname)-8s %(name)s:%(lineno)d %(message)s\n2026-11-21 12:24:10,123 WARNING  shop:7 low",
    ),
    ("python", "{asctime} {levelname:<8} {message}\n2026-11-21 12:24:10,123 WARNING  low"),
    ("python", "$asctime ${levelname} $message\n2026-11-21 12:24:10,123 WARNING low"),
    (
        "postgresql",
        "%m [%p] %q%u@%d %h %c %l %x \n2026-11-21 12:24:10.123 UTC [7] a@b ::1 6b.7 1 0 LOG:  hello",
    ),
    (
        "grok",
        "%{TIMESTAMP_ISO8601:time} %{LOGLEVEL:level} %{NOTSPACE:job} took %{NUMBER:took_ms:float}: %{GREEDYDATA:message}\n2026-11-21T12:24:10Z INFO a took 3.5: done",
    ),
    (
        "grok",
        "%{COMBINEDAPACHELOG}\n192.0.2.7 - - [21/Nov/2026:12:24:10 +0000] \"GET / HTTP/1.1\" 200 5 \"-\" \"-\"",
    ),
    ("regex", "(?P<time>\\S+) (?P<level>[A-Z]+) (?P<message>.*)\n2026-11-21T12:24:10Z INFO started"),
    ("csv", "time,level,message\n2026-11-21T12:24:10Z,info,\"a, \"\"b\"\"\""),
    ("tsv", "time\tlevel\tmessage\n2026-11-21T12:24:10Z\tinfo\ta"),
];

fn seeds() -> Vec<Vec<u8>> {
    let seed = |(name, text): &(&str, &str)| {
        let place = FORMATS.iter().position(|format| format == name).expect("a format") as u8;
        [0, 2, 128].map(|how| [&[place, how], text.as_bytes()].concat())
    };
    SEEDS.iter().flat_map(seed).collect()
}

fuzz_target!(init: common::save(seeds), |bytes: &[u8]| {
    let [which, how, text @ ..] = bytes else { return };
    let end = text.iter().position(|b| *b == b'\n').unwrap_or(text.len());
    let Ok(pattern) = std::str::from_utf8(&text[..end]) else { return };
    let how = How::of(*how);
    let written = Written {
        from: Some(FORMATS[usize::from(*which) % FORMATS.len()].to_owned()),
        pattern: Some(pattern.to_owned()),
        ..Written::default()
    };
    match Stream::compile(&written, &how.config()) {
        Ok(stream) => common::read(Arc::new(stream), how, text.get(end + 1..).unwrap_or_default()),
        Err(reason) => assert!(!reason.is_empty(), "a refusal says why"),
    }
});
