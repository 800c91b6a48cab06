//! The PROXY protocol, versions 1 and 2 (<https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::config::ProxyProtocol;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest text header, by the specification.
const LONGEST: usize = 107;

/// The header for a connection from `source` to `target`; without addresses it says "unknown".
pub fn write(version: ProxyProtocol, source: Option<SocketAddr>, target: Option<SocketAddr>) -> Vec<u8> {
    let pair = match (source, target) {
        (Some(source), Some(target)) => Some((source, target)),
        _ => None,
    };
    match version {
        ProxyProtocol::V1 => match pair {
            Some((source, target)) if source.is_ipv4() == target.is_ipv4() => {
                let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
                let (from, to) = (source.port(), target.port());
                format!("PROXY {family} {} {} {from} {to}\r\n", source.ip(), target.ip()).into_bytes()
            }
            _ => b"PROXY UNKNOWN\r\n".to_vec(),
        },
        ProxyProtocol::V2 => {
            let mut out = SIGNATURE.to_vec();
            match pair {
                Some((SocketAddr::V4(source), SocketAddr::V4(target))) => {
                    out.extend_from_slice(&[0x21, 0x11, 0, 12]);
                    out.extend_from_slice(&source.ip().octets());
                    out.extend_from_slice(&target.ip().octets());
                    out.extend_from_slice(&source.port().to_be_bytes());
                    out.extend_from_slice(&target.port().to_be_bytes());
                }
                Some((SocketAddr::V6(source), SocketAddr::V6(target))) => {
                    out.extend_from_slice(&[0x21, 0x21, 0, 36]);
                    out.extend_from_slice(&source.ip().octets());
                    out.extend_from_slice(&target.ip().octets());
                    out.extend_from_slice(&source.port().to_be_bytes());
                    out.extend_from_slice(&target.port().to_be_bytes());
                }
                _ => out.extend_from_slice(&[0x20, 0, 0, 0]),
            }
            out
        }
    }
}

/// Reads a header. What comes after it is left in `rest`. `None` means that the header names no address.
///
/// # Errors
/// When there is none, or it is malformed.
pub async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    rest: &mut Vec<u8>,
) -> io::Result<Option<SocketAddr>> {
    loop {
        if let Some((length, source)) = parse(rest)? {
            rest.drain(..length);
            return Ok(source);
        }
        if stream.read_buf(rest).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The length of the header and the source it names; `None` when there is not all of it yet.
fn parse(bytes: &[u8]) -> io::Result<Option<(usize, Option<SocketAddr>)>> {
    let bad = |what: &str| {
        Err(io::Error::new(io::ErrorKind::InvalidData, format!("no PROXY protocol header: {what}")))
    };
    let seen = bytes.len().min(SIGNATURE.len());
    if bytes[..seen] == SIGNATURE[..seen] {
        let Some(&[version, family, high, low]) = bytes.get(12..16) else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if version >> 4 != 2 || length > 4096 {
            return bad("version or length");
        }
        let Some(body) = bytes.get(16..16 + length) else { return Ok(None) };
        let source = match (version & 0xf, family, body) {
            (0, ..) => None,
            (1, 0x11, [a, b, c, d, _, _, _, _, high, low, ..]) => {
                let port = u16::from_be_bytes([*high, *low]);
                Some(SocketAddr::new(Ipv4Addr::new(*a, *b, *c, *d).into(), port))
            }
            (1, 0x21, body) if body.len() >= 36 => {
                let mut octets = [0; 16];
                octets.copy_from_slice(&body[..16]);
                Some(SocketAddr::new(Ipv6Addr::from(octets).into(), u16::from_be_bytes([body[32], body[33]])))
            }
            (1, 0x11 | 0x21, _) => return bad("too short for its addresses"),
            (1, ..) => None,
            _ => return bad("unknown command"),
        };
        return Ok(Some((16 + length, source)));
    }
    let start = b"PROXY ";
    let seen = bytes.len().min(start.len());
    if bytes[..seen] != start[..seen] {
        return bad("it begins otherwise");
    }
    let Some(end) = bytes.iter().take(LONGEST).position(|byte| *byte == b'\n') else {
        return if bytes.len() >= LONGEST { bad("no line end") } else { Ok(None) };
    };
    let line = std::str::from_utf8(&bytes[..end]).ok().and_then(|line| line.strip_suffix('\r'));
    let Some(line) = line else { return bad("no CRLF") };
    let fields: Vec<_> = line.split(' ').collect();
    let source = match fields[..] {
        ["PROXY", "UNKNOWN", ..] => None,
        ["PROXY", "TCP4" | "TCP6", source, target, from, to] => {
            let parsed =
                (source.parse::<IpAddr>(), target.parse::<IpAddr>(), from.parse(), to.parse::<u16>());
            let (Ok(source), Ok(_), Ok(port), Ok(_)) = parsed else { return bad("addresses") };
            Some(SocketAddr::new(source, port))
        }
        _ => return bad("fields"),
    };
    Ok(Some((end + 1, source)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(v6: bool) -> (Option<SocketAddr>, Option<SocketAddr>) {
        let text = if v6 { ["[2001:db8::1]:5", "[::1]:6"] } else { ["10.1.2.3:5", "127.0.0.1:6"] };
        (text[0].parse().ok(), text[1].parse().ok())
    }

    #[tokio::test]
    async fn what_is_written_is_read_also_in_single_bytes() {
        for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
            for (source, target) in [pair(false), pair(true), (None, None)] {
                let mut bytes = write(version, source, target);
                bytes.extend_from_slice(b"rest");
                for length in 0..bytes.len() - 4 {
                    assert!(parse(&bytes[..length]).unwrap().is_none(), "{version:?} {length}");
                }
                let (mut stream, mut rest) = (&bytes[..], Vec::new());
                assert_eq!(read(&mut stream, &mut rest).await.unwrap(), source);
                rest.extend_from_slice(stream);
                assert_eq!(rest, b"rest");
            }
        }
    }

    #[test]
    fn what_is_malformed_is_refused() {
        let long = format!("PROXY TCP4 {}", "1".repeat(200));
        for bad in [
            "GET / HTTP/1.1\r\n",
            "PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n",
            "PROXY TCP4 1.2.3.4\r\n",
            "PROXY \n",
            &long,
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
        let mut short = SIGNATURE.to_vec();
        short.extend_from_slice(&[0x21, 0x11, 0, 2, 1, 1]);
        assert!(parse(&short).is_err());
    }
}
