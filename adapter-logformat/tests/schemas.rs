//! Every schema, from the same lines, against golden files that somebody has looked at.

use testkit::{PodDir, Proc, golden};

const LINES: &str = r#"192.0.2.7 - bob [21/Nov/2026:12:24:10 +0000] "GET /orders?id=7 HTTP/1.1" 503 512 "https://shop.example/" "curl/8.5.0 \x22q\x22"
{"time":"2026-11-21T12:24:10.120Z","level":"warn","msg":"slow \"order\"","logger":"shop","caller":"orders.go:7","trace_id":"0af7651916cd43dd8448eb211c80319c","span_id":"b7ad6b7169203331","duration_ms":1500,"id":12345678901234567890,"ok":true,"none":null,"list":[1,"x"],"user":{"id":7,"name":"bob"},"a b":1}
<11>1 2026-11-21T12:24:10.003Z web1 shop 711 ID47 [meta@32473 seq="1"] disk full
"#;

#[test]
fn each_schema_as_it_should_look() {
    let pod = PodDir::new();
    for schema in ["ecs", "ecs8", "otel", "otlp", "flat", "logfmt", "gelf", "gcp", "datadog", "splunk"] {
        // GELF's host is the machine's where the line names none.
        let host = if schema == "gelf" { "host" } else { "deployment" };
        let config = pod.write(
            "adapter.yaml",
            format!("schema: {schema}\noriginal: failed\nmultiline: 'off'\nfields: {{{host}: a1}}\n"),
        );
        let running = Proc::new(env!("CARGO_BIN_EXE_adapter-logformat"))
            .args(["--config", config.to_str().expect("text")])
            .with_stdin()
            .spawn();
        running.write_stdin(LINES);
        running.close_stdin();
        let exited = running.wait_exit();
        exited.expect_code(0);
        let out = exited.stdout();
        // When it was read is in OTLP beside when it was said.
        let out = match schema {
            "otlp" => {
                let mut request: serde_json::Value = serde_json::from_str(&out).expect("one request");
                let records = request["resourceLogs"][0]["scopeLogs"][0]["logRecords"].as_array_mut();
                for record in records.expect("records") {
                    let read = record.as_object_mut().and_then(|r| r.shift_remove("observedTimeUnixNano"));
                    assert!(read.is_some_and(|time| time.as_str().is_some_and(|t| t.len() == 19)));
                }
                serde_json::to_string_pretty(&request).expect("JSON") + "\n"
            }
            _ => out.to_string(),
        };
        golden(format!("tests/golden/schemas/{schema}.txt"), &out);
    }
}
