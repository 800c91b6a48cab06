//! What every target checks: any line becomes exactly one record of valid UTF-8 JSON, in every schema.

use std::sync::Arc;

use adapter_logformat::{
    config::{Config, Stream as Written},
    encode::Schema,
    lane::{Counts, Lane, Stream},
};

/// Reads the input's lines as each of the formats.
pub fn check(formats: &[&str], bytes: &[u8]) {
    for from in formats {
        for schema in [Schema::Ecs, Schema::Otel, Schema::Flat] {
            let config = Config { schema, ..Config::default() };
            let written = Written { from: Some((*from).to_owned()), ..Written::default() };
            let Ok(stream) = Stream::compile(&written, &config) else { continue };
            let mut lane = Lane::new(Arc::new(stream), Some("/var/log/x"));
            let (mut counts, mut out) = (Counts::default(), Vec::new());
            for line in bytes.split(|b| *b == b'\n') {
                lane.line(line, None, &mut counts, &mut out);
            }
            assert!(counts.balanced());
            let text = std::str::from_utf8(&out).expect("records are UTF-8");
            assert_eq!(text.lines().count() as u64, counts.records);
            for record in text.lines() {
                serde_json::from_str::<serde_json::Value>(record).expect("a record is JSON");
            }
        }
    }
}
