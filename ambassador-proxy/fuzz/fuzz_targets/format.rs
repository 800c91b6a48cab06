#![no_main]

use ambassador_proxy::access::{Format, Record};
use ambassador_proxy::fields::Headers;
use http::{HeaderMap, HeaderName, HeaderValue};

/// A request whose every text is the client's.
fn record(text: &str, captured: ambassador_proxy::access::format::Captured) -> Record {
    Record {
        http: true,
        host: Some(text.to_owned()),
        status: 200,
        flags: vec!["timeout"],
        error: Some(text.to_owned()),
        upstream: Some("orders".into()),
        endpoint: Some("10.0.0.1:80".into()),
        attempts: 1,
        bytes: (1, 2),
        id: HeaderValue::from_bytes(text.as_bytes()).ok(),
        connect: std::time::Duration::from_micros(15),
        took: std::time::Duration::from_micros(4200),
        trace: HeaderValue::from_bytes(text.as_bytes()).ok(),
        captured,
        ..Record::new(
            std::time::SystemTime::UNIX_EPOCH.try_into().unwrap(),
            "127.0.0.1:8080".into(),
            text.into(),
            "HTTP/1.1",
        )
    }
}

libfuzzer_sys::fuzz_target!(|input: (&str, &str, &[u8])| {
    let (written, text, value) = input;
    let Ok(format) = Format::parse(written) else { return };
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(value) {
        for name in ["x-id", "user-agent", "a"] {
            headers.insert(HeaderName::from_static(name), value.clone());
        }
    }
    let headers = Headers::from(headers);
    let mut captured = format.request(&headers);
    format.answer(&headers, &mut captured);
    let mut out = Vec::new();
    format.write(&record(text, captured), &mut out);
    assert_eq!(out.last(), Some(&b'\n'));
    // Line ends of the operator's own are the operator's; a client makes none.
    let ends = written.bytes().filter(|byte| *byte == b'\n').count();
    assert!(out.iter().filter(|byte| **byte == b'\n').count() <= ends + 1, "{}", out.escape_ascii());
});
