//! What changes in a head on its way: hop-by-hop headers go, an id comes.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::fields::name::{
    CONNECTION, HOST, KEEP_ALIVE, Named as _, PROXY_CONNECTION, REQUEST_ID, TE, TRANSFER_ENCODING, UPGRADE,
    bit,
};
use crate::fields::{Ask, Headers};

/// The headers that concern one connection, `Connection` apart. Most messages have none of them.
const HOP: u64 =
    bit("keep-alive") | bit("proxy-connection") | bit("transfer-encoding") | bit("upgrade") | bit("te");

/// Takes away what concerns only the connection it came on (RFC 9110, 7.6.1). Returns the protocol asked for with `Upgrade`, if
/// `Connection` says so too.
pub fn strip_hop_by_hop(headers: &mut Headers) -> Option<HeaderValue> {
    let mut upgrade = None;
    if headers.has(&CONNECTION) {
        let mut named = Vec::new();
        let mut asks = false;
        headers.each(&CONNECTION, |value| {
            // All that nearly every answer says there.
            if KEEP_ALIVE.is(value) {
                return;
            }
            for token in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                asks |= token.eq_ignore_ascii_case(b"upgrade");
                if !protected(token) {
                    named.extend(HeaderName::from_bytes(token).ok());
                }
            }
        });
        if asks {
            upgrade = headers.value(&UPGRADE);
        }
        headers.remove(&CONNECTION);
        named.iter().for_each(|name| headers.remove(name));
    }
    if !headers.may_have(HOP) {
        return upgrade;
    }
    // `TE: trailers` is what gRPC insists on; every other coding concerns only this hop.
    let trailers = headers.says(&TE, b"trailers");
    for name in [&KEEP_ALIVE, &PROXY_CONNECTION, &TRANSFER_ENCODING, &UPGRADE, &TE] {
        headers.remove(name);
    }
    if trailers {
        headers.set(&TE, HeaderValue::from_static("trailers"));
    }
    upgrade
}

/// `Connection` must not be a way to take away what the request needs (a known attack). Some of its words are no names.
fn protected(token: &[u8]) -> bool {
    // By length first: there is one of these tokens with nearly every answer.
    let names: &[&[u8]] = match token.len() {
        2 => &[b"te"],
        4 => &[b"host"],
        5 => &[b"close"],
        6 => &[b"cookie"],
        7 => &[b"upgrade", b"trailer"],
        10 => &[b"keep-alive"],
        12 => &[b"content-type", b"x-request-id"],
        13 => &[b"authorization"],
        14 => &[b"content-length"],
        _ => &[],
    };
    names.iter().any(|name| token.eq_ignore_ascii_case(name))
}

/// The seconds of `Keep-Alive: timeout=N`.
pub fn keep_alive_timeout(headers: &Headers) -> Option<u64> {
    let value = headers.text(&KEEP_ALIVE)?;
    value.split(',').find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("timeout").then(|| value.trim().parse().ok())?
    })
}

/// Sees to it that a request has an id: the one it brought, if that is sane, or a new one.
pub fn request_id(headers: &mut Headers) {
    let sane = |id: &[u8]| (1..=128).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic);
    if !headers.get(&REQUEST_ID).is_some_and(sane) {
        headers.set(&REQUEST_ID, new_id());
    }
}

/// 128 random bits in the form of a UUID, version 4 (RFC 9562).
fn new_id() -> HeaderValue {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    /// Where each byte is written.
    const AT: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    let bits = fastrand::u128(..) & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let mut text = [b'-'; 36];
    for (at, byte) in AT.into_iter().zip(bits.to_be_bytes()) {
        (text[at], text[at + 1]) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
    }
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

/// HTTP/2 may split cookies; HTTP/1 wants one line (RFC 9113, 8.2.3).
pub fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(http::header::COOKIE).iter().nth(1).is_none() {
        return;
    }
    let all: Vec<_> = headers.get_all(http::header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
        headers.insert(http::header::COOKIE, joined);
    }
}

/// The host a request is for, from its target or its Host header.
pub fn host(ask: &Ask) -> Option<&str> {
    ask.uri.authority().map(http::uri::Authority::as_str).or_else(|| ask.headers.text(&HOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &str)]) -> Headers {
        let map: HeaderMap = list
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        map.into()
    }

    #[test]
    fn hop_by_hop_headers_go() {
        let mut map = headers(&[
            ("connection", "close, X-Mine, Host"),
            ("x-mine", "1"),
            ("host", "a"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("te", "gzip, trailers"),
            ("upgrade", "h2c"),
            ("accept", "*/*"),
        ]);
        assert_eq!(strip_hop_by_hop(&mut map), None);
        let mut left: Vec<_> =
            map.map().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        left.sort_unstable();
        assert_eq!(left, [("accept", "*/*"), ("host", "a"), ("te", "trailers")]);
    }

    #[test]
    fn an_upgrade_needs_both_headers() {
        let mut map = headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]);
        assert_eq!(strip_hop_by_hop(&mut map).unwrap(), "websocket");
        let mut map = headers(&[("upgrade", "websocket")]);
        assert_eq!(strip_hop_by_hop(&mut map), None);
    }

    #[test]
    fn ids_are_kept_when_sane_and_made_otherwise() {
        let mut map = headers(&[("x-request-id", "abc-1")]);
        request_id(&mut map);
        assert_eq!(map.text(&REQUEST_ID), Some("abc-1"));
        for bad in ["a b", "", &"x".repeat(129)] {
            let mut map = headers(&[("x-request-id", bad)]);
            request_id(&mut map);
            let id = map.text(&REQUEST_ID).unwrap();
            assert_eq!(id.len(), 36);
            assert_eq!(id.as_bytes()[14], b'4');
            assert!(b"89ab".contains(&id.as_bytes()[19]));
            assert!(
                id.bytes().enumerate().all(|(i, b)| (b == b'-') == matches!(i, 8 | 13 | 18 | 23)),
                "{id}"
            );
        }
    }

    #[test]
    fn keep_alive_is_read() {
        assert_eq!(keep_alive_timeout(&headers(&[("keep-alive", "timeout=5, max=100")])), Some(5));
        assert_eq!(keep_alive_timeout(&headers(&[("keep-alive", "max=100")])), None);
    }

    #[test]
    fn cookies_are_joined() {
        let mut map = HeaderMap::new();
        map.append("cookie", "a=1".parse().unwrap());
        map.append("cookie", "b=2".parse().unwrap());
        join_cookies(&mut map);
        assert_eq!(map["cookie"], "a=1; b=2");
    }
}
