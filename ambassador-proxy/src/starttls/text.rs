//! STARTTLS in protocols of lines: SMTP (RFC 3207), IMAP (RFC 9051, 6.2.1) and POP3 (RFC 2595, 4).
//!
//! Nothing the server said before TLS is trusted afterwards, except the greeting that the app waits for: RFC 3207, 4.2. Bytes
//! behind the server's last plain line would be an injection, and end the connection.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A server that says more than this before TLS is none.
const MOST: usize = 16 << 10;

/// SMTP: greeting, EHLO, STARTTLS. The app hears the greeting.
pub(super) async fn smtp<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> Result<(S, Vec<u8>), String> {
    let mut lines = Lines::default();
    let greeting = lines.reply(&mut stream).await?;
    expect(&greeting, b"220", "its greeting")?;
    say(&mut stream, b"EHLO localhost\r\n").await?;
    let offers = lines.reply(&mut stream).await?;
    expect(&offers, b"250", "EHLO")?;
    let offered = offers
        .split(|byte| *byte == b'\n')
        .any(|line| line.get(4..).is_some_and(|word| word.trim_ascii().eq_ignore_ascii_case(b"STARTTLS")));
    if !offered {
        return Err("does not offer STARTTLS".to_owned());
    }
    say(&mut stream, b"STARTTLS\r\n").await?;
    expect(&lines.reply(&mut stream).await?, b"220", "STARTTLS")?;
    lines.empty()?;
    Ok((stream, greeting))
}

/// IMAP: greeting, STARTTLS. The app hears a greeting without capabilities: those before TLS do not count.
pub(super) async fn imap<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> Result<(S, Vec<u8>), String> {
    let mut lines = Lines::default();
    let greeting = lines.line(&mut stream).await?;
    expect(&greeting, b"* OK", "its greeting")?;
    say(&mut stream, b"p1 STARTTLS\r\n").await?;
    loop {
        let line = lines.line(&mut stream).await?;
        if line.starts_with(b"* ") {
            continue;
        }
        expect(&line, b"p1 OK", "STARTTLS")?;
        lines.empty()?;
        return Ok((stream, b"* OK ready\r\n".to_vec()));
    }
}

/// POP3: greeting, STLS. The app hears the greeting.
pub(super) async fn pop3<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> Result<(S, Vec<u8>), String> {
    let mut lines = Lines::default();
    let greeting = lines.line(&mut stream).await?;
    expect(&greeting, b"+OK", "its greeting")?;
    say(&mut stream, b"STLS\r\n").await?;
    expect(&lines.line(&mut stream).await?, b"+OK", "STLS")?;
    lines.empty()?;
    Ok((stream, greeting))
}

async fn say(stream: &mut (impl AsyncWrite + Unpin), line: &[u8]) -> Result<(), String> {
    stream.write_all(line).await.map_err(|error| format!("broke off: {error}"))
}

fn expect(said: &[u8], wanted: &[u8], to: &str) -> Result<(), String> {
    if said.starts_with(wanted) {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&said[..said.len().min(200)]).trim().to_owned();
    Err(format!("answered {said:?} to {to}"))
}

/// Lines as they come; bytes behind the last one stay.
#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    read: usize,
}

impl Lines {
    async fn line(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, String> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.bytes) {
                return Ok(self.bytes.drain(..=end).collect());
            }
            if self.read > MOST {
                return Err("says too much before TLS".to_owned());
            }
            match stream.read_buf(&mut self.bytes).await {
                Ok(0) => return Err("closed the connection before TLS".to_owned()),
                Ok(n) => self.read += n,
                Err(error) => return Err(format!("broke off before TLS: {error}")),
            }
        }
    }

    /// A reply of SMTP: `250-…` lines up to one with a space.
    async fn reply(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, String> {
        let mut whole = Vec::new();
        loop {
            let line = self.line(stream).await?;
            whole.extend_from_slice(&line);
            if line.get(3) != Some(&b'-') {
                return Ok(whole);
            }
        }
    }

    fn empty(&self) -> Result<(), String> {
        if self.bytes.is_empty() { Ok(()) } else { Err("sent more behind its answer to STARTTLS".to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that says `says` piece by piece, each after a line from us but the first.
    async fn server(says: &[&str]) -> (tokio::io::DuplexStream, tokio::task::JoinHandle<String>) {
        let (ours, mut theirs) = tokio::io::duplex(4096);
        let says: Vec<String> = says.iter().map(|&text| text.to_owned()).collect();
        let heard = tokio::spawn(async move {
            let mut heard = String::new();
            for (i, text) in says.iter().enumerate() {
                if i > 0 {
                    let mut buffer = [0; 256];
                    let n = theirs.read(&mut buffer).await.unwrap();
                    heard.push_str(&String::from_utf8_lossy(&buffer[..n]));
                }
                theirs.write_all(text.as_bytes()).await.unwrap();
            }
            heard
        });
        (ours, heard)
    }

    #[tokio::test]
    async fn smtp_is_asked_after_ehlo() {
        let (stream, heard) =
            server(&["220-mx\r\n220 ready\r\n", "250-mx\r\n250-SIZE 1\r\n250 starttls\r\n", "220 go\r\n"])
                .await;
        assert_eq!(smtp(stream).await.unwrap().1, b"220-mx\r\n220 ready\r\n");
        assert_eq!(heard.await.unwrap(), "EHLO localhost\r\nSTARTTLS\r\n");
    }

    #[tokio::test]
    async fn imap_is_asked_at_once() {
        let (stream, heard) =
            server(&["* OK [CAPABILITY STARTTLS LOGINDISABLED] hi\r\n", "* X\r\np1 OK go\r\n"]).await;
        assert_eq!(imap(stream).await.unwrap().1, b"* OK ready\r\n");
        assert_eq!(heard.await.unwrap(), "p1 STARTTLS\r\n");
    }

    #[tokio::test]
    async fn pop3_is_asked_after_its_greeting() {
        let (stream, heard) = server(&["+OK ready <1@mx>\r\n", "+OK go\r\n"]).await;
        assert_eq!(pop3(stream).await.unwrap().1, b"+OK ready <1@mx>\r\n");
        assert_eq!(heard.await.unwrap(), "STLS\r\n");
        for says in
            [&["-ERR no\r\n"][..], &["+OK\r\n", "-ERR unknown\r\n"], &["+OK\r\n", "+OK\r\n+OK injected\r\n"]]
        {
            let (stream, _) = server(says).await;
            assert!(pop3(stream).await.is_err(), "{says:?}");
        }
    }

    #[tokio::test]
    async fn no_tls_is_an_error_and_so_is_an_injection() {
        for says in [
            &["554 no\r\n"][..],
            &["220 hi\r\n", "250 mx\r\n"],
            &["220 hi\r\n", "250 STARTTLS\r\n", "454 not now\r\n"],
            &["220 hi\r\n", "250 STARTTLS\r\n", "220 go\r\n250 injected\r\n"],
            &["220 hi\r\n", "250-STARTTLS\r\n"],
        ] {
            let (stream, _) = server(says).await;
            assert!(smtp(stream).await.is_err(), "{says:?}");
        }
    }
}
