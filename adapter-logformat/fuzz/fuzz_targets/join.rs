#![no_main]
//! Runs of lines become events, and no byte is lost: however the run is cut, the same lines are counted.

use std::sync::Arc;

use adapter_logformat::{
    config::{Config, Stream as Written},
    lane::{Counts, Lane, Stream},
};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for (from, multiline) in [("auto", "auto"), ("cri", "auto"), ("docker", "auto"), ("csv", "^a"), ("mysql-slow", "^#")] {
        let written = Written {
            from: Some(from.to_owned()),
            multiline: Some(multiline.to_owned()),
            ..Written::default()
        };
        let Ok(stream) = Stream::compile(&written, &Config::default()) else { continue };
        let mut lane = Lane::new(Arc::new(stream), None);
        let (mut counts, mut out) = (Counts::default(), Vec::new());
        let used = lane.lines(bytes, false, &mut counts, &mut out);
        assert!(used <= bytes.len());
        lane.lines(&bytes[used..], true, &mut counts, &mut out);
        assert!(counts.balanced());
        let lines = bytes.split(|b| *b == b'\n').count() as u64 - u64::from(bytes.is_empty() || bytes.ends_with(b"\n"));
        assert_eq!(counts.lines, lines);
    }
});
