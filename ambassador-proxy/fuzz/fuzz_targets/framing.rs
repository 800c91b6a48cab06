#![no_main]

use ambassador_proxy::listen::framing::{Found, Framing};

/// What passes, and whether nothing was refused.
fn scan(bytes: &[u8], step: usize) -> (Vec<u8>, bool) {
    let (mut framing, mut held, mut passed) = (Framing::default(), Vec::new(), Vec::new());
    for piece in bytes.chunks(step.max(1)) {
        held.extend_from_slice(piece);
        let (good, found) = framing.scan(&held);
        passed.extend(held.drain(..good));
        match found {
            Found::Good => {}
            Found::Wait => return (passed, true),
            Found::Refused(_) | Found::Broken(_) => return (passed, false),
        }
    }
    (passed, true)
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((step, bytes)) = bytes.split_first() else { return };
    let (whole, fine) = scan(bytes, usize::MAX);
    let (parts, fine_too) = scan(bytes, usize::from(*step % 16) + 1);
    assert_eq!(fine, fine_too, "the cuts change nothing");
    assert!(bytes.starts_with(&parts));
    if fine {
        assert_eq!(whole, parts);
    } else {
        // A malformed body may be refused whole while its head is still here; otherwise the same bytes pass.
        assert!(parts.starts_with(&whole));
    }
    let mut rest = &whole[..];
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(b"\r\n") {
            rest = after;
            continue;
        }
        let mut headers = [httparse::EMPTY_HEADER; 128];
        let mut request = httparse::Request::new(&mut headers);
        let Ok(httparse::Status::Complete(head)) = request.parse(rest) else {
            panic!("what passes parses: {}", rest.escape_ascii());
        };
        let values = |name: &str| -> Vec<&[u8]> {
            let of = request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
            of.map(|header| header.value).collect()
        };
        let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
        assert!(lengths.len() + codings.len() <= 1, "one reading: {}", rest.escape_ascii());
        if !codings.is_empty() {
            return;
        }
        let length = lengths.first().map_or(0, |value| std::str::from_utf8(value).unwrap().parse::<usize>().unwrap());
        rest = rest.get(head.saturating_add(length)..).unwrap_or_default();
    }
});
