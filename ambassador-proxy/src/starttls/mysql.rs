//! MySQL and MariaDB: TLS is asked for in the middle of the login, which the app has to begin.
//!
//! `greeting ─▶ app` (without the offer of TLS) · `app's login ─▶` SSLRequest, TLS, then the login. Because SSLRequest is a packet of its
//! own, sequence numbers differ by one on the two sides until the login is over. Packets as documented at
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase.html>.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// `CLIENT_SSL`.
const SSL: u32 = 0x0800;
/// `CLIENT_COMPRESS`, and zstd's: compressed packets would hide the end of the login.
const COMPRESS: u32 = 0x20 | (1 << 26);
/// A packet of a login is far below.
const MOST: usize = 64 << 10;
/// Packets of a login at most: a few of any plugin's exchange.
const PACKETS: usize = 40;

/// A packet: its sequence number and its content.
#[derive(Debug)]
pub struct Packet {
    number: u8,
    body: Vec<u8>,
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// Reads one packet.
///
/// # Errors
/// What reading said, or that it is no packet of a login.
pub async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Packet> {
    let mut head = [0; 4];
    from.read_exact(&mut head).await?;
    let length = usize::from(head[0]) | usize::from(head[1]) << 8 | usize::from(head[2]) << 16;
    if length == 0 || length > MOST {
        return Err(bad("it is no packet of a MySQL login"));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).await?;
    Ok(Packet { number: head[3], body })
}

/// Writes one packet.
///
/// # Errors
/// What writing said.
pub async fn write(to: &mut (impl AsyncWrite + Unpin), packet: &Packet) -> io::Result<()> {
    let length = packet.body.len().to_le_bytes();
    let mut bytes = vec![length[0], length[1], length[2], packet.number];
    bytes.extend_from_slice(&packet.body);
    to.write_all(&bytes).await?;
    to.flush().await
}

impl Packet {
    /// An error of the server in place of a greeting or an answer.
    fn is_error(&self) -> bool {
        self.body.first() == Some(&0xff)
    }

    fn is_ok(&self) -> bool {
        self.body.first() == Some(&0)
    }

    /// Where the lower two bytes of a greeting's capabilities are: after the version, its end, 4 bytes of id, 8 of salt, a filler.
    fn capabilities_at(&self) -> Option<usize> {
        let end = memchr::memchr(0, self.body.get(1..)?)? + 1;
        let at = end + 1 + 4 + 8 + 1;
        (self.body.first() == Some(&10) && self.body.len() >= at + 2).then_some(at)
    }
}

/// What the app is shown: the server's greeting without TLS and compression.
///
/// # Errors
/// A server that greets with an error, or offers no TLS.
pub fn shown(greeting: &mut Packet) -> Result<(), String> {
    if greeting.is_error() {
        let text = greeting.body.get(3..).unwrap_or_default();
        return Err(format!("refused the connection: {}", String::from_utf8_lossy(text)));
    }
    let at = greeting.capabilities_at().ok_or("does not greet as MySQL does")?;
    let low = u16::from_le_bytes([greeting.body[at], greeting.body[at + 1]]);
    if u32::from(low) & SSL == 0 {
        return Err("does not offer TLS (its greeting has no CLIENT_SSL)".to_owned());
    }
    let hide = !(SSL | COMPRESS);
    let [a, b, c, d] = hide.to_le_bytes();
    greeting.body[at] &= a;
    greeting.body[at + 1] &= b;
    // The upper two bytes: behind the character set and the status.
    if let Some([low, high]) = greeting.body.get_mut(at + 5..at + 7) {
        *low &= c;
        *high &= d;
    }
    Ok(())
}

/// The SSLRequest for an app's login, and the login as it has to be sent after it.
///
/// # Errors
/// A login that asks for what was not offered.
pub fn request(mut login: Packet) -> io::Result<(Packet, Packet)> {
    let body = &mut login.body;
    let capabilities = match body.get(..4) {
        Some([a, b, c, d]) if body.len() >= 32 => u32::from_le_bytes([*a, *b, *c, *d]),
        _ => return Err(bad("the app's login is no packet of protocol 4.1")),
    };
    if capabilities & SSL != 0 {
        return Err(bad("the app asks for TLS, which ends here; let it connect without"));
    }
    body[..4].copy_from_slice(&(capabilities | SSL).to_le_bytes());
    let ask = Packet { number: login.number, body: body[..32].to_vec() };
    login.number = login.number.wrapping_add(1);
    Ok((ask, login))
}

/// What the app is told when the way to the server broke in the middle of its login (`CR_SSL_CONNECTION_ERROR`).
pub fn error(why: &str) -> Packet {
    let mut body = vec![0xff];
    body.extend(2026u16.to_le_bytes());
    body.extend_from_slice(b"#08S01ambassador-proxy: ");
    body.extend_from_slice(&why.as_bytes()[..why.len().min(400)]);
    Packet { number: 2, body }
}

/// Carries the rest of the login, with the sequence numbers each side expects, until the server says yes or no.
///
/// # Errors
/// When a side breaks off or speaks something else.
pub async fn log_in(
    app: &mut (impl AsyncRead + AsyncWrite + Unpin),
    server: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> io::Result<()> {
    for _ in 0..PACKETS {
        // Either may speak next: some plugins answer twice in a row. They never speak at once, so a packet that has begun is not cut.
        tokio::select! {
            biased;
            packet = read(server) => {
                let mut packet = packet?;
                packet.number = packet.number.wrapping_sub(1);
                write(app, &packet).await?;
                if packet.is_ok() || packet.is_error() {
                    return Ok(());
                }
            }
            first = app.read_u8() => {
                let mut packet = read(&mut (&[first?][..]).chain(&mut *app)).await?;
                packet.number = packet.number.wrapping_add(1);
                write(server, &packet).await?;
            }
        }
    }
    Err(bad("the login does not end"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeting(capabilities: u32) -> Packet {
        let [a, b, c, d] = capabilities.to_le_bytes();
        let mut body = b"\x0a8.0.1\0\x01\0\0\0saltsalt\0".to_vec();
        body.extend([a, b, 33, 2, 0, c, d, 21]);
        Packet { number: 0, body }
    }

    #[test]
    fn the_app_is_shown_no_tls() {
        let mut packet = greeting(SSL | COMPRESS | 0x0200 | 1 << 19);
        shown(&mut packet).unwrap();
        let at = packet.capabilities_at().unwrap();
        let body = &packet.body;
        assert_eq!(
            u32::from_le_bytes([body[at], body[at + 1], body[at + 5], body[at + 6]]),
            0x0200 | 1 << 19
        );
        assert!(shown(&mut greeting(0x0200)).unwrap_err().contains("does not offer TLS"));
        let mut error = Packet { number: 0, body: b"\xff\x10\x04Too many connections".to_vec() };
        assert!(shown(&mut error).unwrap_err().contains("Too many connections"));
        assert!(shown(&mut Packet { number: 0, body: b"220 mx".to_vec() }).is_err());
    }

    #[test]
    fn the_login_follows_its_request() {
        let mut body = vec![0; 40];
        body[..4].copy_from_slice(&0x0200u32.to_le_bytes());
        let (ask, login) = request(Packet { number: 1, body: body.clone() }).unwrap();
        assert_eq!((ask.number, ask.body.len(), login.number, login.body.len()), (1, 32, 2, 40));
        assert_eq!(ask.body[..4], (0x0200u32 | SSL).to_le_bytes());
        assert_eq!(login.body[..4], ask.body[..4]);
        body[..4].copy_from_slice(&SSL.to_le_bytes());
        assert!(request(Packet { number: 1, body }).is_err());
    }
}
