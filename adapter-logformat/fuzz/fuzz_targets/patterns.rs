#![no_main]
//! The first line is a format string, the rest are lines to read with it.

use adapter_logformat::{
    decode::{Context, Decoder, FORMATS},
    record::Record,
    time::{Clock, Time},
};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (pattern, lines) = text.split_once('\n').unwrap_or((text, ""));
    // The zone's rules are fuzzed elsewhere.
    let config = adapter_logformat::config::timezone(None).expect("UTC");
    let mut cx = Context::new(Clock::new(config, Time::default()));
    for entry in FORMATS {
        let Ok(decoder) = Decoder::new(entry.name, Some(pattern)) else { continue };
        for line in lines.split('\n') {
            let _ = decoder.decode(line.as_bytes(), &mut cx, &mut Record::default());
        }
    }
});
