//! What changes in a head on its way: hop-by-hop headers go, an id comes.

use http::header::{CONNECTION, HOST, HeaderName, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue};

/// The header that names a request across services.
pub static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Takes away what concerns only the connection it came on (RFC 9110, 7.6.1). Returns the protocol asked for with `Upgrade`, if
/// `Connection` says so too.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let mut upgrade = None;
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderValue> = headers.get_all(CONNECTION).iter().cloned().collect();
        headers.remove(CONNECTION);
        for value in named {
            for token in value.as_bytes().split(|byte| *byte == b',') {
                let token = token.trim_ascii();
                if token.eq_ignore_ascii_case(b"upgrade") {
                    upgrade = headers.get(UPGRADE).cloned();
                } else if !protected(token)
                    && let Ok(name) = HeaderName::from_bytes(token)
                {
                    headers.remove(name);
                }
            }
        }
    }
    // `TE: trailers` is what gRPC insists on; every other coding concerns only this hop.
    let trailers = headers.get_all(TE).iter().any(|value| {
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    });
    for name in [&KEEP_ALIVE, &PROXY_CONNECTION, &TRANSFER_ENCODING, &UPGRADE, &TE] {
        headers.remove(name);
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    upgrade
}

/// `Connection` must not be a way to take away what the request needs (a known attack).
fn protected(token: &[u8]) -> bool {
    const ENDS: [&str; 8] =
        ["host", "content-length", "content-type", "authorization", "cookie", "close", "te", "x-request-id"];
    ENDS.iter().any(|name| token.eq_ignore_ascii_case(name.as_bytes()))
        || token.eq_ignore_ascii_case(TRAILER.as_str().as_bytes())
}

/// The seconds of `Keep-Alive: timeout=N`.
pub fn keep_alive_timeout(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(&KEEP_ALIVE)?.to_str().ok()?;
    value.split(',').find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("timeout").then(|| value.trim().parse().ok())?
    })
}

/// The request's id: the one it brought, if it is sane, or a new one.
pub fn request_id(headers: &mut HeaderMap) -> HeaderValue {
    if let Some(id) = headers.get(&REQUEST_ID) {
        let bytes = id.as_bytes();
        if (1..=128).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic) {
            return id.clone();
        }
    }
    let id = new_id();
    headers.insert(REQUEST_ID.clone(), id.clone());
    id
}

/// 128 random bits in the form of a UUID, version 4 (RFC 9562).
fn new_id() -> HeaderValue {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut bits = fastrand::u128(..) & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let mut text = [b'-'; 36];
    for (i, byte) in text.iter_mut().enumerate() {
        if !matches!(i, 8 | 13 | 18 | 23) {
            bits = bits.rotate_left(4);
            *byte = HEX[usize::from(bits.to_le_bytes()[0] & 0xf)];
        }
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
pub fn host<'a>(uri: &'a http::Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    uri.authority().map(http::uri::Authority::as_str).or_else(|| headers.get(HOST)?.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        list.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
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
            map.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
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
        assert_eq!(request_id(&mut map), "abc-1");
        for bad in ["a b", "", &"x".repeat(129)] {
            let mut map = headers(&[("x-request-id", bad)]);
            let id = request_id(&mut map);
            assert_eq!(id.len(), 36);
            assert_eq!(id.as_bytes()[14], b'4');
            assert!(b"89ab".contains(&id.as_bytes()[19]));
            assert_eq!(map["x-request-id"], id);
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
