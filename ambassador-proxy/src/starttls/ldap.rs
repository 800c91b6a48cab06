//! LDAP: the StartTLS extended operation (RFC 4511, 4.14), in BER (section 5.1: definite lengths).

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// `LDAPMessage { 1, ExtendedRequest { "1.3.6.1.4.1.1466.20037" } }`.
const REQUEST: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";
/// An answer is far below.
const MOST: usize = 16 << 10;

/// Asks for TLS. The server speaks second in LDAP: there is nothing for the app to hear.
///
/// Exactly one message is read: bytes behind it belong to TLS, and an injection among them fails the handshake.
///
/// # Errors
/// What the server said instead.
pub(super) async fn ask<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> Result<(S, Vec<u8>), String> {
    let broken = |error: std::io::Error| format!("broke off before TLS: {error}");
    stream.write_all(REQUEST).await.map_err(broken)?;
    let mut message = vec![0; 2];
    stream.read_exact(&mut message).await.map_err(broken)?;
    // A long length says first how many bytes it has.
    let more = if message[1] & 0x80 == 0 { 0 } else { usize::from(message[1] & 0x7f) };
    if message[0] != 0x30 || more > 4 {
        return Err("answered something that is no LDAP to StartTLS".to_owned());
    }
    message.resize(2 + more, 0);
    stream.read_exact(&mut message[2..]).await.map_err(broken)?;
    let length = if more == 0 {
        usize::from(message[1])
    } else {
        message[2..].iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
    };
    if length > MOST {
        return Err("says too much before TLS".to_owned());
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.map_err(broken)?;
    match code(&body) {
        Some(0) => Ok((stream, Vec::new())),
        Some(code) => Err(format!("answered code {code} to StartTLS")),
        None => Err("answered something that is no LDAP to StartTLS".to_owned()),
    }
}

/// The result code of an ExtendedResponse to message 1.
fn code(message: &[u8]) -> Option<u8> {
    let rest = message.strip_prefix(b"\x02\x01\x01\x78")?;
    let (first, rest) = rest.split_first()?;
    let skip = if first & 0x80 == 0 { 0 } else { usize::from(first & 0x7f) };
    match rest.get(skip..)? {
        [0x0a, 1, code, ..] => Some(*code),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answered(answer: &[u8]) -> Result<Vec<u8>, String> {
        let (ours, mut theirs) = tokio::io::duplex(4096);
        theirs.write_all(answer).await.unwrap();
        let (mut stream, heard) = ask(ours).await?;
        assert!(heard.is_empty());
        let mut request = vec![0; REQUEST.len()];
        theirs.read_exact(&mut request).await.unwrap();
        assert_eq!(request, REQUEST);
        drop(theirs);
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        Ok(rest)
    }

    #[tokio::test]
    async fn a_yes_is_read_to_its_end_and_no_further() {
        // As OpenLDAP and Active Directory say it: short and long lengths.
        let short = b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00\x16\x03";
        assert_eq!(answered(short).await.unwrap(), b"\x16\x03");
        let long =
            b"\x30\x84\x00\x00\x00\x10\x02\x01\x01\x78\x84\x00\x00\x00\x07\x0a\x01\x00\x04\x00\x04\x00";
        assert_eq!(answered(long).await.unwrap(), b"");
    }

    #[tokio::test]
    async fn a_no_and_what_is_no_ldap_are_errors() {
        let no = answered(b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x02\x04\x00\x04\x00").await.unwrap_err();
        assert!(no.contains("code 2"), "{no}");
        for bad in
            [&b"HTTP/1.1 400\r\n"[..], b"\x30\x89\x01", b"\x30\x03\x02\x01\x02", b"\x30\x84\xff\xff\xff\xff"]
        {
            assert!(answered(bad).await.is_err(), "{bad:?}");
        }
    }
}
