#![no_main]
//! Redaction, edits and filters: the record stays strict, every line is accounted for, and what was to be hidden is nowhere.

mod common;

#[cfg(fuzzing)]
use libfuzzer_sys::fuzz_target;

use std::{cell::RefCell, collections::HashMap, sync::Arc};

use adapter_logformat::{
    config::{Config, Stream as Written},
    lane::{Counts, Lane, Stream},
};
use common::How;

const FROM: &[&str] = &["json", "logfmt", "nginx", "auto", "syslog", "plain"];

const RULES: &str = r#"{
    "redact": ["emails", "cards", "tokens", {"networks": {"v4": 16, "v6": 32}}, {"pattern": "QX[0-9]"}],
    "edit": [
        {"rename": {"from": "app.a", "to": "labels.a"}},
        {"rename": {"from": "app.t", "to": "message"}},
        {"copy": {"from": "app.name", "to": "log.level"}},
        {"copy": {"from": "app.a.b", "to": "app.a_"}},
        {"add": {"field": "labels.k", "value": 1}},
        {"convert": {"field": "app.v", "to": "int"}},
        {"convert": {"field": "http.response.status_code", "to": "text"}},
        {"expand": "app.fields"},
        {"mask": "app.error.message"},
        {"mask": "url.original"},
        {"network": {"field": "source.ip", "v4": 8, "v6": 16}},
        {"drop": "app.fields.k"}
    ],
    "filters": [
        {"name": "word", "line": "zz"},
        {"name": "level", "below": "info"},
        {"name": "some", "field": "app.id", "keep_one_of": 3}
    ]
}"#;

const SEEDS: &[&str] = &[
    r#"{"a":1,"t":"x","name":"warn","a.b":2,"v":"17","fields":"{\"k\":1,\"l\":[2]}","error":{"message":"no"},"id":7,"msg":"QX1 bob@example.com 4111 1111 1111 1111"}"#,
    "level=debug msg=\"zz\" a=1 t=2 v=3.5 fields={}",
    "192.0.2.7 - bob [21/Nov/2026:12:24:10 +0000] \"GET /a?token=abc HTTP/1.1\" 200 5 \"-\" \"QX2\"",
    "<34>1 2026-11-21T12:24:10.003Z web1 sshd 711 ID47 [a b=\"QX3\"] Authorization: Bearer abcdefghijklmnop 2001:db8::1",
];

fn seeds() -> Vec<Vec<u8>> {
    let each = |place: usize| {
        SEEDS
            .iter()
            .flat_map(move |text| [0, 2, 128].map(|how| [&[place as u8, how], text.as_bytes()].concat()))
    };
    (0..FROM.len()).flat_map(each).collect()
}

fuzz_target!(init: common::save(seeds), |bytes: &[u8]| {
    let [which, how, lines @ ..] = bytes else { return };
    let (from, look) = (FROM[usize::from(*which) % FROM.len()], How::of(*how));
    thread_local!(static STREAMS: RefCell<HashMap<(&'static str, u8), Option<Arc<Stream>>>> = RefCell::default());
    let stream = STREAMS.with_borrow_mut(|streams| {
        let compile = || {
            let rules: Config = serde_json::from_str(RULES).expect("rules");
            let config = Config { schema: look.schema, original: look.original, ..rules };
            let written = Written { from: Some(from.to_owned()), ..Written::default() };
            // Where names have no prefix, some of the targets are the schema's own.
            Stream::compile(&written, &config).ok().map(Arc::new)
        };
        streams.entry((from, *how)).or_insert_with(compile).clone()
    });
    let Some(stream) = stream else { return };
    let mut lane = Lane::new(stream, None);
    let (mut counts, mut out, mut filtered) = (Counts::default(), Vec::new(), Vec::new());
    lane.lines(lines, true, &mut counts, &mut out);
    lane.take_filtered(&mut filtered);
    assert!(counts.balanced());
    assert_eq!(counts.lines, common::lines_of(lines).count() as u64);
    let text = std::str::from_utf8(&out).expect("records are UTF-8");
    for record in text.lines() {
        common::valid(record, look.schema);
        // Where the line has no escapes that hide it from redaction, and no base64, whose letters may be those by chance.
        let hidden = lines.contains(&b'\\') || lines.contains(&0x1b) || record.contains("_base64\"");
        let shown = record.as_bytes().windows(3).any(|w| w.starts_with(b"QX") && w[2].is_ascii_digit());
        assert!(hidden || !shown, "{record}");
    }
});
