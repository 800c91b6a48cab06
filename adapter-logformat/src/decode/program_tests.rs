use super::*;
use crate::decode::{apache_pattern, nginx, nginx_pattern, template};
use crate::time::{Clock, Time};
use proptest::prelude::*;

fn cx() -> Context {
    Context::new(Clock::new(jiff::tz::TimeZone::UTC, Time::default()))
}

const COMBINED: &str = r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent""#;

fn shown(record: &Record<'_>) -> String {
    format!("{:?} {:?} {:?}", record.time, record.partial, record.fields())
}

#[test]
fn combined_as_a_pattern_reads_what_the_hand_made_decoder_reads() {
    let program = nginx_pattern::compile(COMBINED).expect("compiles");
    for line in include_str!("../../tests/golden/nginx.log").lines() {
        let (mut by_hand, mut by_program) = (Record::default(), Record::default());
        nginx::decode(line.as_bytes(), &mut cx(), &mut by_hand).expect("reads");
        program.decode(line.as_bytes(), &mut cx(), &mut by_program).expect("reads");
        let sorted = |record: &Record<'_>| {
            let mut fields: Vec<_> = record.fields().iter().map(|f| format!("{f:?}")).collect();
            fields.sort();
            (record.time, record.partial, fields)
        };
        assert_eq!(sorted(&by_hand), sorted(&by_program), "{line}");
    }
}

#[test]
fn what_cannot_be_told_apart_is_refused_with_its_place() {
    for (pattern, at) in [
        ("$remote_addr$status", 0),
        ("$status $request $body_bytes_sent", 8),
        ("$status $http_user_agent $body_bytes_sent", 8),
        ("no variables", 0),
        ("$status ${open", 8),
        ("$status $ x", 8),
    ] {
        assert_eq!(nginx_pattern::compile(pattern).err().map(|e| e.at), Some(at), "{pattern}");
    }
    for (pattern, at) in [("%h%u", 0), ("%h %r %b", 3), ("%{Referer", 0), ("%", 0), ("%h %y", 3)] {
        assert_eq!(apache_pattern::compile(pattern).err().map(|e| e.at), Some(at), "{pattern}");
    }
}

#[test]
fn lists_of_upstreams_hold_blanks() {
    let program =
        nginx_pattern::compile("$upstream_response_time $upstream_addr $request_time").expect("compiles");
    let line = b"0.001, 0.002 : 0.003 192.0.2.1:80, 192.0.2.2:80 : 192.0.2.3:80 0.250";
    let mut record = Record::default();
    program.decode(line, &mut cx(), &mut record).expect("reads");
    assert!(shown(&record).contains("Duration(250000000)"), "{}", shown(&record));
    assert_eq!(record.fields().len(), 3);
}

#[test]
fn the_rest_of_an_open_format_may_be_missing_or_longer() {
    let program = template::compile("<time> <status><.> <pid> <x>", "t").expect("compiles");
    for (line, fields) in [
        ("2026-11-21T12:24:10Z 200", 1),
        ("2026-11-21T12:24:10Z 200 7", 2),
        ("2026-11-21T12:24:10Z 200 7 y", 3),
    ] {
        let mut record = Record::default();
        program.decode(line.as_bytes(), &mut cx(), &mut record).expect("reads");
        assert_eq!(record.fields().len(), fields, "{line}");
    }
}

proptest! {
    #[test]
    fn patterns_never_panic(pattern in "[$%a-z_{}\" \\[\\]>!,0-9\\\\]{0,40}", line in prop::collection::vec(any::<u8>(), 0..80)) {
        for program in [nginx_pattern::compile(&pattern), apache_pattern::compile(&pattern)].into_iter().flatten() {
            let _ = program.decode(&line, &mut cx(), &mut Record::default());
        }
    }

    #[test]
    fn no_compiler_panics_and_what_they_compile_reads_anything(
        pattern in "[%$a-zA-Z(){}\\[\\]<>:+\"' .\\-_@0-9]{0,48}", line in prop::collection::vec(any::<u8>(), 0..80)
    ) {
        for entry in crate::decode::FORMATS {
            if let Ok(decoder) = crate::decode::Decoder::new(entry.name, Some(&pattern)) {
                let _ = decoder.decode(&line, &mut cx(), &mut Record::default());
            }
        }
    }

    #[test]
    fn lines_never_panic(line in "[-0-9a-z \"\\[\\]:/+,.\\\\]{0,120}") {
        let program = nginx_pattern::compile(COMBINED).expect("compiles");
        let _ = program.decode(line.as_bytes(), &mut cx(), &mut Record::default());
    }
}

#[test]
fn a_time_in_a_pattern_has_the_zone_that_the_pattern_names() {
    let berlin = || {
        Context::new(Clock::new(jiff::tz::TimeZone::get("Europe/Berlin").expect("bundled"), Time::default()))
    };
    let want = |text: &str| text.parse::<jiff::Timestamp>().expect("a time").as_second();
    for (pattern, line, time) in [
        ("%d{yyyy-MM-dd HH:mm:ss} %m", "2026-07-01 12:24:10 x", "2026-07-01T10:24:10Z"),
        ("%d{yyyy-MM-dd HH:mm:ss, UTC} %m", "2026-07-01 12:24:10 x", "2026-07-01T12:24:10Z"),
        (
            "%d{yyyy-MM-dd HH:mm:ss,SSS, America/New_York} %m",
            "2026-07-01 12:24:10,000 x",
            "2026-07-01T16:24:10Z",
        ),
        ("%d{\"yyyy-MM-dd HH:mm:ss,SSS\", GMT+3} %m", "2026-07-01 12:24:10,000 x", "2026-07-01T09:24:10Z"),
        ("%d{yyyy-MM-dd HH:mm:ss,SSS}{UTC} %m", "2026-07-01 12:24:10,000 x", "2026-07-01T12:24:10Z"),
        ("%d{ISO8601}{UTC} %m", "2026-07-01T12:24:10,000 x", "2026-07-01T12:24:10Z"),
    ] {
        let program = crate::decode::java_pattern::compile(pattern).expect("compiles");
        let mut record = Record::default();
        program.decode(line.as_bytes(), &mut berlin(), &mut record).expect("reads");
        assert_eq!(record.time.map(|t| t.seconds), Some(want(time)), "{pattern}");
    }
    assert!(crate::decode::java_pattern::compile("%d{HH:mm:ss}{Mars/Olympus} %m").is_err());
    let program =
        crate::decode::envoy::compile("%START_TIME(%Y-%m-%d %H:%M:%S)% %RESPONSE_CODE%").expect("compiles");
    let mut record = Record::default();
    program.decode(b"2026-07-01 12:24:10 200", &mut berlin(), &mut record).expect("reads");
    assert_eq!(record.time.map(|t| t.seconds), Some(want("2026-07-01T12:24:10Z")));
}
