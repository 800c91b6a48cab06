//! The properties that every format has to have, and lines that once broke one.

mod alike;
mod proof;
mod requests;

use super::*;
use crate::{
    config::{self, Config},
    decode::FORMATS,
    encode::{Original, Schema},
    rules::{self, Edit},
};
use proof::{pairs, recover, strict};
use proptest::prelude::*;

fn lane(from: &str, schema: Schema, original: Original) -> Lane {
    let config = Config { schema, original, ..Config::default() };
    let stream = config::Stream { from: Some(from.to_owned()), ..config::Stream::default() };
    Lane::new(Arc::new(Stream::compile(&stream, &config).expect("compiles")), Some("/var/log/x"))
}

fn convert(lane: &mut Lane, line: &[u8]) -> (String, Counts) {
    let (mut counts, mut out) = (Counts::default(), Vec::new());
    lane.line(line, None, &mut counts, &mut out);
    assert!(counts.balanced());
    (String::from_utf8(out).expect("records are UTF-8"), counts)
}

fn check_all(line: &[u8]) {
    let line: Vec<u8> = line.iter().copied().filter(|b| *b != b'\n').collect();
    let names = FORMATS.iter().filter(|e| !e.needs_pattern()).map(|e| e.name);
    for name in std::iter::once("auto").chain(names) {
        for schema in Schema::ALL {
            // What an envelope adds does not depend on the format.
            let own = matches!(schema, Schema::Ecs | Schema::Otel | Schema::Flat);
            if own || matches!(name, "auto" | "json" | "nginx" | "syslog") {
                check(name, schema, &line);
            }
        }
    }
}

fn check(name: &str, schema: Schema, line: &[u8]) {
    let bare = line.strip_suffix(b"\r").unwrap_or(line);
    let (text, counts) = convert(&mut lane(name, schema, Original::Always), line);
    assert_eq!(counts.records, 1);
    assert_eq!(text.bytes().filter(|b| *b == b'\n').count(), 1, "{text:?}");
    let recovered = recover(text.trim_end_matches('\n'), schema);
    assert_eq!(recovered.as_deref(), Some(bare), "{name} {schema:?} {text}");
    let (text, _) = convert(&mut lane(name, schema, Original::Failed), line);
    let text = text.trim_end_matches('\n');
    if schema == Schema::Logfmt {
        pairs(text)
    } else {
        strict(text)
    };
}

fn json_like() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        Just("msg"),
        Just("message"),
        Just("time"),
        Just("level"),
        Just("a"),
        Just("a.b"),
        Just("a_"),
        Just("tags"),
        Just("error"),
        Just("ecs.version"),
        Just("event.original"),
        Just("\\u0061"),
        Just("host"),
        Just("pid"),
        Just("v"),
        Just("name"),
        Just("status"),
        Just(""),
        Just("."),
        Just("@timestamp"),
        Just("event.severity"),
        Just("fields"),
        Just("t")
    ];
    let leaf = prop_oneof![
        Just("1".to_owned()),
        Just("\"x\"".to_owned()),
        Just("null".to_owned()),
        Just("\"\\x22\"".to_owned()),
        Just("[\"t\",\"t\"]".to_owned()),
        Just("12345678901234567890123".to_owned()),
        Just("NaN".to_owned()),
        Just("1e999".to_owned()),
        Just("\"2026-11-21T12:24:10Z\"".to_owned()),
        Just("\"warn\"".to_owned()),
        Just("\"\\ud800\"".to_owned())
    ];
    let value = leaf.prop_recursive(3, 12, 4, move |inner| {
        let key =
            prop_oneof![Just("message"), Just("type"), Just("k"), Just("stack"), Just("line"), Just("file")];
        prop::collection::vec((key, inner), 0..4).prop_map(|members| {
            let body: Vec<_> = members.iter().map(|(k, v)| format!("\"{k}\":{v}")).collect();
            format!("{{{}}}", body.join(","))
        })
    });
    prop::collection::vec((key, value), 0..9).prop_map(|members| {
        let body: Vec<_> = members.iter().map(|(k, v)| format!("\"{k}\":{v}")).collect();
        format!("{{{}}}", body.join(","))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_become_one_valid_record_that_holds_them(line in prop::collection::vec(any::<u8>(), 0..200)) {
        check_all(&line);
    }

    #[test]
    fn damaged_lines_of_known_formats_do_too(
        which in 0..FORMATS.len(), cut in 0usize..200, at in 0usize..200, byte in any::<u8>()
    ) {
        let mut line = FORMATS[which].example.as_bytes().to_vec();
        line.truncate(cut.max(1));
        let at = at % line.len();
        line[at] = byte;
        check_all(&line);
    }

    #[test]
    fn edits_leave_valid_records(line in json_like(), hit in any::<bool>()) {
        let name = |name: &str| name.to_owned();
        let pair = |from: &str, to: &str| rules::FromTo { from: name(from), to: name(to) };
        let edit = vec![
            Edit::Rename(pair("app.a", "labels.a")),
            Edit::Rename(pair("app.t", if hit { "app.v" } else { "message" })),
            Edit::Copy(pair("app.name", "log.level")),
            Edit::Copy(pair("app.a.b", "app.a_")),
            Edit::Add(rules::Add { field: name("labels.k"), value: config::Scalar::Int(1) }),
            Edit::Convert(rules::Convert { field: name("app.v"), to: rules::Kind::Text }),
            Edit::Expand(name("app.fields")),
            Edit::Mask(name("app.error.message")),
            Edit::Mask(name("app.status")),
            Edit::Drop(name("app.fields.k")),
        ];
        for schema in [Schema::Ecs, Schema::Flat, Schema::Otel, Schema::Gelf, Schema::Gcp] {
            let config = Config { schema, edit: edit.clone(), ..Config::default() };
            let stream = config::Stream { from: Some("json".to_owned()), ..config::Stream::default() };
            let stream = Stream::compile(&stream, &config);
            // Where names have no prefix, some of the targets are the schema's own.
            let Ok(stream) = stream else { continue };
            let (text, _) = convert(&mut Lane::new(Arc::new(stream), None), line.as_bytes());
            strict(text.trim_end_matches('\n'));
        }
    }

    #[test]
    fn any_object_does_too(line in json_like()) {
        check_all(line.as_bytes());
    }
}

#[test]
fn lines_inside_of_envelopes_are_read_and_whatever_they_hold_is_text() {
    for line in [
        &br#"{"log":"{\"a\":\"\ud800\"}\n","stream":"stdout","time":"2026-11-21T12:24:10Z"}"#[..],
        br#"{"log":"\xff\u001b[31mx\n","stream":"stderr","time":"2026-11-21T12:24:10Z","attrs":{"a":1,"a":2}}"#,
        br#"{"__REALTIME_TIMESTAMP":"1795263850123456","MESSAGE":[104,255,10],"A":"\ud800"}"#,
        br#"{"__REALTIME_TIMESTAMP":"1795263850123456","MESSAGE":"k=v msg=\"\xff\" x=1"}"#,
        br#"{"__REALTIME_TIMESTAMP":"1","MESSAGE":null}"#,
    ] {
        check_all(line);
    }
    let (text, _) = convert(
        &mut lane("auto", Schema::Flat, Original::Failed),
        br#"{"log":"{\"level\":\"warn\",\"msg\":\"low\"}\n","stream":"stdout","time":"2026-11-21T12:24:10Z"}"#,
    );
    let record = strict(&text);
    assert_eq!((&record["level"], &record["message"]), (&"warn".into(), &"low".into()));
}

#[test]
fn keys_that_collide_move_aside() {
    let (text, _) = convert(
        &mut lane("json", Schema::Ecs, Original::Failed),
        br#"{"msg":"m","a":1,"a.b":2,"":3,"x..y":4}"#,
    );
    let record = strict(&text);
    assert_eq!(record["app.a_"], 1);
    assert_eq!(record["app.a.b"], 2);
    assert_eq!(record["app._"], 3);
    assert_eq!(record["app.x__y"], 4);
    let (text, _) = convert(
        &mut lane("json", Schema::Flat, Original::Failed),
        br#"{"msg":"m","message":"n","original":"o","message_":1}"#,
    );
    let record = strict(&text);
    assert_eq!(record["message"], "m");
    assert_eq!(record["message__"], "n");
    assert_eq!(record["message_"], 1);
    assert_eq!(record["original_"], "o");
}

#[test]
fn a_refused_line_goes_out_whole_and_marked() {
    let (text, counts) =
        convert(&mut lane("nginx", Schema::Ecs, Original::Always), b"GET / is not an access log");
    let record = strict(&text);
    assert_eq!(record["message"], "GET / is not an access log");
    assert_eq!(record["tags"], serde_json::json!(["unparsed"]));
    assert_eq!(record["error.message"], "nginx: no time in brackets");
    assert_eq!(counts.unparsed, 1);
}

#[test]
fn a_bad_field_costs_only_itself() {
    let line = b"192.0.2.7 - - [21/Nov/2026:12:24:10 +0000] \"\\x16\\x03\\x01\" 400 150 \"-\" \"-\"";
    let (text, counts) = convert(&mut lane("nginx", Schema::Ecs, Original::Always), line);
    let record = strict(&text);
    assert_eq!(record["http.response.status_code"], 400);
    assert_eq!(record["source.ip"], "192.0.2.7");
    assert_eq!(record["tags"], serde_json::json!(["partial"]));
    assert_eq!((counts.partial, counts.unparsed), (1, 0));
}

#[test]
fn a_trace_names_its_exception_also_after_the_format_is_known() {
    let mut lane = lane("auto", Schema::Flat, Original::Failed);
    let (mut counts, mut out) = (Counts::default(), Vec::new());
    let line = "2026-11-21T12:24:10.123Z  INFO 31 --- [           main] com.example.Shop : up\n";
    lane.lines(line.repeat(64).as_bytes(), true, &mut counts, &mut out);
    assert_eq!(lane.format(), "auto: spring-boot");
    for (text, class, message) in [
        (
            "2026-11-21T12:24:10.123Z ERROR 31 --- [           main] com.example.Shop : failed\njava.lang.IllegalStateException: no\n\tat a.B.c(B.java:3)\n",
            "java.lang.IllegalStateException",
            "no",
        ),
        (
            "ERROR:shop:failed\nTraceback (most recent call last):\n  File \"a.py\", line 1, in <module>\n    1/0\nZeroDivisionError: division by zero\n",
            "ZeroDivisionError",
            "division by zero",
        ),
        (
            "Traceback (most recent call last):\n  File \"a.py\", line 1, in <module>\nshop.errors.NoStock: none left\n",
            "shop.errors.NoStock",
            "none left",
        ),
    ] {
        out.clear();
        lane.lines(text.as_bytes(), true, &mut counts, &mut out);
        let record = strict(std::str::from_utf8(&out).expect("one record").trim_end());
        assert_eq!((&record["error_type"], &record["error"]), (&class.into(), &message.into()), "{text}");
    }
    assert!(counts.balanced());
}

#[test]
fn an_object_over_several_lines_is_one_record() {
    let stream = config::Stream { from: Some("elasticsearch".to_owned()), ..config::Stream::default() };
    let config = Config { schema: Schema::Ecs, ..Config::default() };
    let mut lane = Lane::new(Arc::new(Stream::compile(&stream, &config).expect("compiles")), None);
    let (mut counts, mut out) = (Counts::default(), Vec::new());
    let text = "{\"type\": \"server\", \"timestamp\": \"2026-11-21T12:24:10,560Z\", \"level\": \"ERROR\", \"component\": \"o.e.Node\", \"message\": \"failed\" ,\n\"stacktrace\": [\"java.lang.Exception: no\",\n\"at org.elasticsearch.Node.start(Node.java:3)\"] }\n";
    lane.lines(text.as_bytes(), true, &mut counts, &mut out);
    assert_eq!(out.iter().filter(|b| **b == b'\n').count(), 1);
    let record = strict(std::str::from_utf8(&out).expect("one record").trim_end());
    assert_eq!((&record["log.level"], &record["message"]), (&"error".into(), &"failed".into()));
    assert_eq!((counts.records, counts.joined, counts.unparsed), (1, 2, 0));
}

#[test]
fn a_line_with_a_hundred_thousand_fields_goes_out_as_it_is() {
    let pairs = |separator: &str, quote: &str, mark: &str| {
        let pair = |n: u32| format!("{quote}k{n}{quote}{mark}1");
        (0..100_000).map(pair).collect::<Vec<_>>().join(separator)
    };
    let parameters = (0..100_000).map(|n| format!("k{n}=\"1\"")).collect::<Vec<_>>().join(" ");
    for (format, line) in [
        ("json", format!("{{{}}}", pairs(",", "\"", ":"))),
        ("logfmt", pairs(" ", "", "=")),
        ("syslog", format!("<34>1 2026-11-21T12:24:10Z h a 1 - [x {}] m", parameters)),
        ("cef", format!("CEF:0|a|b|1|2|n|3|{}", pairs(" ", "", "="))),
    ] {
        // Compared with each other, so many names would take minutes.
        let (text, counts) = convert(&mut lane(format, Schema::Flat, Original::Always), line.as_bytes());
        assert!(counts.records == 1 && text.len() > line.len(), "{format}");
        assert_eq!(counts.unparsed, 1, "{format}");
        assert!(
            strict(text.trim_end())["parse_error"].as_str().is_some_and(|e| e.contains("1024")),
            "{format}"
        );
    }
    let (text, counts) =
        convert(&mut lane("json", Schema::Flat, Original::Failed), br#"{"msg":"m","a":1,"b":2}"#);
    assert_eq!((counts.unparsed, strict(text.trim_end())["b"].as_i64()), (0, Some(2)));
}
