//! What is said on a plain connection before TLS begins, for servers that demand it and apps that know nothing of it.

pub mod ldap;
pub mod mysql;
pub mod postgres;
pub mod text;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::config::StartTls;
use crate::upstream::io::Plain;

/// PostgreSQL's SSLRequest (<https://www.postgresql.org/docs/current/protocol-message-formats.html>).
pub const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// Asks the server for TLS. The stream comes back ready for the handshake, with what the app has to hear first (a greeting).
///
/// MySQL is not among these: there the app speaks first, see [`mysql`].
///
/// # Errors
/// What the server said instead.
pub async fn ask(mut stream: Plain, how: Option<StartTls>) -> Result<(Plain, Vec<u8>), String> {
    match how {
        None | Some(StartTls::Mysql) => Ok((stream, Vec::new())),
        Some(StartTls::Smtp) => text::smtp(stream).await,
        Some(StartTls::Imap) => text::imap(stream).await,
        Some(StartTls::Pop3) => text::pop3(stream).await,
        Some(StartTls::Ldap) => ldap::ask(stream).await,
        Some(StartTls::Postgres) => {
            stream.write_all(&SSL_REQUEST).await.map_err(|error| format!("broke off: {error}"))?;
            let mut answer = [0];
            stream
                .read_exact(&mut answer)
                .await
                .map_err(|error| format!("gave no answer to SSLRequest: {error}"))?;
            match answer[0] {
                b'S' => Ok((stream, Vec::new())),
                b'N' => Err("does not offer TLS (answered N to SSLRequest)".to_owned()),
                other => Err(format!("answered {other:#04x} to SSLRequest")),
            }
        }
    }
}

/// PostgreSQL's GSSENCRequest.
const GSS_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 48];

/// Tells an app that asks for encryption that there is none on this side: it speaks plainly to localhost. What it says next is
/// left in `head`.
///
/// # Errors
/// When the app breaks off.
pub async fn decline(stream: &mut Plain, head: &mut Vec<u8>) -> std::io::Result<()> {
    // An app asks at most for both kinds of encryption, one after the other.
    for _ in 0..3 {
        while head.len() < 8 {
            if stream.read_buf(head).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        if head[..8] != SSL_REQUEST && head[..8] != GSS_REQUEST {
            return Ok(());
        }
        head.drain(..8);
        stream.write_all(b"N").await?;
    }
    Err(std::io::Error::other("the app asks for encryption again and again"))
}
