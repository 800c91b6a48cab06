//! Random input for everything that reads bytes of strangers: framing, PROXY protocol headers, format strings. `cargo xtask test --full`
//! runs them in earnest (PROPTEST_CASES).

use ambassador_proxy::access::Format;
use ambassador_proxy::listen::framing::{Found, Framing};
use ambassador_proxy::proxy_header;
use proptest::prelude::*;

/// Pieces that requests are made of, and pieces that they should not be made of.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    const PIECES: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\n",
        b"POST /x?y HTTP/1.1\r\n",
        b"OPTIONS * HTTP/1.1\r\n",
        b"GET / HTTP/1.0\r\n",
        b"Host: a\r\n",
        b"Host: a\r\n\r\n",
        b"Content-Length: 3\r\n",
        b"Content-Length: 0\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: upgrade\r\n",
        b"Upgrade: websocket\r\n",
        b"X: y\r\n",
        b"X:\r\n",
        b"\r\n",
        b"abc",
        b"3\r\nabc\r\n",
        b"0\r\n\r\n",
        b"0\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b"\0",
        b":",
        b";",
        b",",
        b"chunked",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b" HTTP/1.1",
        b"/",
        b"Content-Length: 3\r\n\r\nabc",
        b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"\xff",
        b"a",
    ];
    prop_oneof![
        9 => proptest::sample::select(PIECES).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>(), 0..6),
    ]
}

fn message() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(piece(), 0..14).prop_map(|pieces| pieces.concat())
}

/// What passes, and how it ends.
fn scan(bytes: &[u8], cuts: &[usize]) -> (Vec<u8>, bool) {
    let (mut framing, mut held, mut passed) = (Framing::default(), Vec::new(), Vec::new());
    let mut at = 0;
    let ends = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect::<std::collections::BTreeSet<_>>();
    for end in ends.into_iter().chain([bytes.len()]) {
        held.extend_from_slice(&bytes[at.min(end)..end]);
        at = end;
        let (good, found) = framing.scan(&held);
        assert!(good <= held.len());
        passed.extend(held.drain(..good));
        match found {
            Found::Good => {}
            Found::Wait => return (passed, true),
            Found::Refused(_) | Found::Broken(_) => return (passed, false),
        }
    }
    (passed, true)
}

proptest! {
    #[test]
    fn pieces_make_no_difference_to_framing(bytes in message(), cuts in proptest::collection::vec(any::<usize>(), 0..6)) {
        let (whole, fine) = scan(&bytes, &[]);
        let (parts, fine_too) = scan(&bytes, &cuts);
        prop_assert_eq!(fine, fine_too);
        prop_assert!(bytes.starts_with(&parts));
        // A malformed body may be refused whole while its head is still here; otherwise the same bytes pass.
        if fine {
            prop_assert_eq!(whole, parts);
        } else {
            prop_assert!(parts.starts_with(&whole));
        }
    }

    /// What passes is what another parser reads: each head whole, with the same length.
    #[test]
    fn what_passes_parses(bytes in message()) {
        let (passed, _) = scan(&bytes, &[]);
        let mut rest = &passed[..];
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix(b"\r\n") {
                rest = after;
                continue;
            }
            let mut headers = [httparse::EMPTY_HEADER; 120];
            let mut request = httparse::Request::new(&mut headers);
            let parsed = request.parse(rest);
            let Ok(httparse::Status::Complete(head)) = parsed else {
                prop_assert!(false, "{:?}: {}", parsed, rest.escape_ascii());
                return Ok(());
            };
            let values = |name: &str| -> Vec<_> {
                request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value).collect()
            };
            let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
            prop_assert!(lengths.len() + codings.len() <= 1, "two readings: {}", rest.escape_ascii());
            if !codings.is_empty() {
                // Chunks are the scanner's own business; `framing.rs` judges them with a second parser.
                return Ok(());
            }
            let length = lengths.first().map_or(0, |value| std::str::from_utf8(value).unwrap().parse::<usize>().unwrap());
            rest = rest.get(head + length.min(rest.len() - head)..).unwrap_or_default();
        }
    }

    #[test]
    fn proxy_headers_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0..3u8) {
        let prefix: &[u8] = match kind {
            0 => b"",
            1 => b"PROXY ",
            _ => b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0",
        };
        let bytes = [prefix, &bytes].concat();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (mut stream, mut rest) = (&bytes[..], Vec::new());
        let read = runtime.block_on(proxy_header::read(&mut stream, &mut rest));
        if read.is_ok() {
            prop_assert!(bytes.ends_with(&[&rest, stream].concat()), "what follows a header is kept");
        }
    }

    #[test]
    fn format_strings_never_panic(text in "[$%{}():?a-zA-Z_0-9 \"\\\\]{0,40}") {
        if let Err(why) = Format::parse(&text) {
            prop_assert!(!why.is_empty());
        }
    }
}
