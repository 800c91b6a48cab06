//! The server's first message to an app that does not know of the TLS on its way.
//!
//! Over TLS PostgreSQL offers SCRAM-SHA-256-PLUS, which binds the login to the channel. libpq takes that offer on a plain
//! connection for an attack and gives up ("server offered SCRAM-SHA-256-PLUS authentication over a non-SSL connection"), so it is taken
//! out of the list: the channel ends here, and the app could not bind to it. Format:
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html>, AuthenticationSASL.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What is bound to the TLS channel.
const BOUND: &[u8] = b"SCRAM-SHA-256-PLUS";
/// AuthenticationSASL.
const SASL: [u8; 4] = [0, 0, 0, 10];
/// A list of mechanisms is far shorter; anything longer passes as it is. Also the buffer for what the app says.
const LONGEST: usize = 4096;

/// Passes on what the app says until the server has answered, and then that answer.
///
/// # Errors
/// When one side breaks off.
pub async fn first_answer<A, S>(app: &mut A, server: &mut S) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut answer, mut said) = (Vec::new(), vec![0; LONGEST]);
    while !is_whole(&answer) {
        tokio::select! {
            read = server.read_buf(&mut answer) => {
                if read? == 0 {
                    break;
                }
            }
            read = app.read(&mut said) => {
                let count = read?;
                if count == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                server.write_all(&said[..count]).await?;
            }
        }
    }
    app.write_all(&unbound(answer)).await
}

/// Whether the first message is there, or is none of those that are looked at.
fn is_whole(answer: &[u8]) -> bool {
    match (answer.first(), answer.get(1..5)) {
        (None, _) => false,
        (Some(b'R'), None) => false,
        (Some(b'R'), Some(length)) => {
            let length = length.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
            length > LONGEST || answer.len() > length
        }
        _ => true,
    }
}

/// The message without the bound mechanism; whatever follows it stays.
fn unbound(answer: Vec<u8>) -> Vec<u8> {
    let is_offer = answer.first() == Some(&b'R') && answer.get(5..9) == Some(&SASL);
    let length =
        answer.get(1..5).map_or(0, |l| l.iter().fold(0_usize, |l, byte| l << 8 | usize::from(*byte)));
    let (Some(list), true) = (answer.get(9..=length), is_offer) else { return answer };
    let kept: Vec<&[u8]> =
        list.split(|byte| *byte == 0).filter(|name| !name.is_empty() && *name != BOUND).collect();
    // Nothing else on offer: the app is to say itself that it cannot do that.
    if kept.is_empty() {
        return answer;
    }
    let mut names: Vec<u8> = kept.iter().flat_map(|name| [name, &b"\0"[..]]).flatten().copied().collect();
    names.push(0);
    let Ok(shorter) = u32::try_from(names.len() + 8) else { return answer };
    let mut message = vec![b'R'];
    message.extend(shorter.to_be_bytes());
    message.extend(SASL);
    message.extend(names);
    message.extend(&answer[length + 1..]);
    message
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    fn offer(names: &str) -> Vec<u8> {
        let length = u32::try_from(8 + names.len() + 1).unwrap();
        [b"R", &length.to_be_bytes()[..], &SASL, names.as_bytes(), b"\0"].concat()
    }

    #[test]
    fn only_what_is_bound_to_the_channel_goes() {
        let plain = offer("SCRAM-SHA-256\0");
        assert_eq!(unbound(offer("SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0")), plain);
        assert_eq!(
            unbound([offer("SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0"), b"more".to_vec()].concat()),
            [plain.clone(), b"more".to_vec()].concat()
        );
        for other in [
            plain,
            offer("SCRAM-SHA-256-PLUS\0"),
            b"R\0\0\0\x08\0\0\0\0".to_vec(),
            b"E\0\0\0\x05x".to_vec(),
            b"R\0".to_vec(),
            Vec::new(),
        ] {
            assert_eq!(unbound(other.clone()), other);
        }
    }

    #[tokio::test]
    async fn the_app_says_the_rest_first_and_the_answer_comes_in_pieces() {
        let ((mut app, mut near), (mut far, mut server)) = (duplex(64), duplex(64));
        let talk = async {
            app.write_all(b"startup").await.unwrap();
            let mut got = [0; 7];
            server.read_exact(&mut got).await.unwrap();
            for byte in offer("SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0") {
                server.write_all(&[byte]).await.unwrap();
            }
            let mut got = vec![0; offer("SCRAM-SHA-256\0").len()];
            app.read_exact(&mut got).await.unwrap();
            got
        };
        let (done, got) = tokio::join!(first_answer(&mut near, &mut far), talk);
        done.unwrap();
        assert_eq!(got, offer("SCRAM-SHA-256\0"));
    }
}
