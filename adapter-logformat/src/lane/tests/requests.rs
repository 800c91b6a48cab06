//! Export requests of OTLP: a line with many records.

use super::{convert, lane};
use crate::encode::{Original, Schema};
use crate::lane::Counts;
use serde_json::{Value, json};

/// As the collector's file exporter writes them (field order and all).
const REQUEST: &str = r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},"scopeLogs":[{"scope":{"name":"shop.orders","version":"1.2"},"logRecords":[{"timeUnixNano":"1795263850123000000","observedTimeUnixNano":"1795263850200000000","severityNumber":17,"severityText":"Error","body":{"stringValue":"order refused"},"attributes":[{"key":"order.id","value":{"intValue":"9007199254740993"}}],"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f067aa0ba902b7"},{"body":{"stringValue":"order accepted"}}]}]},{"scopeLogs":[{"logRecords":[{"timeUnixNano":"1795263851000000000","body":{"kvlistValue":{"values":[]}}}]}]}]}"#;

fn records(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn each_record_of_a_request_is_a_record() {
    for from in ["auto", "json"] {
        let (text, counts) = convert(&mut lane(from, Schema::Ecs, Original::Failed), REQUEST.as_bytes());
        let records = records(&text);
        assert_eq!((counts.lines, counts.records, counts.unparsed), (3, 3, 0), "{text}");
        let first = json!([
            records[0]["@timestamp"],
            records[0]["log.level"],
            records[0]["message"],
            records[0]["service.name"],
            records[0]["log.logger"],
            records[0]["trace.id"],
        ]);
        let expected = json!([
            "2026-11-21T12:24:10.123Z",
            "error",
            "order refused",
            "shop",
            "shop.orders",
            "4bf92f3577b34da6a3ce929d0e0e4736"
        ]);
        assert_eq!(first, expected, "{text}");
        assert!(text.contains("9007199254740993"), "exact: {text}");
        assert_eq!(records[1]["message"], "order accepted");
        assert_eq!(records[1]["service.name"], "shop", "what it shares with the first");
        assert_eq!(records[2]["@timestamp"], "2026-11-21T12:24:11.000Z");
        assert!(records[2].get("service.name").is_none(), "nothing of the other resource");
    }
}

#[test]
fn what_the_schema_otlp_writes_is_read_again() {
    let lines = r#"{"level":"warn","time":"2026-11-21T12:24:10.123Z","msg":"one","count":3}
{"level":"info","time":"2026-11-21T12:24:11.123Z","msg":"two","nested":{"a":[1,2]}}
"#;
    let direct = |schema, bytes: &[u8]| {
        let (mut counts, mut out) = (Counts::default(), Vec::new());
        lane("json", schema, Original::Failed).lines(bytes, true, &mut counts, &mut out);
        String::from_utf8(out).expect("UTF-8")
    };
    let request = direct(Schema::Otlp, lines.as_bytes());
    let (once, twice) = (direct(Schema::Ecs, lines.as_bytes()), direct(Schema::Ecs, request.as_bytes()));
    for (a, b) in records(&once).iter().zip(records(&twice)) {
        for field in ["@timestamp", "log.level", "message"] {
            assert_eq!(a[field], b[field], "{request}\n{twice}");
        }
    }
    assert_eq!(records(&once).len(), records(&twice).len());
}

#[test]
fn a_request_that_is_none_is_an_object_like_others() {
    let line = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{}}]}],"mine":true}]}"#;
    let (text, counts) = convert(&mut lane("json", Schema::Ecs, Original::Always), line.as_bytes());
    assert_eq!((counts.lines, counts.records), (1, 1));
    assert_eq!(records(&text)[0]["app.resourceLogs"][0]["mine"], true);
}
