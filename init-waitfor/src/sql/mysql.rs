//! The MySQL and MariaDB protocol: handshake version 10, login, text queries.
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_PROTOCOL.html>

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::time::Instant;

use super::mysql_auth::{self, Step};
use super::{Dsn, MOST_ROWS, Row, TlsMode};
use crate::wire::{Reach, Trouble, Wire};

const LONG_PASSWORD: u32 = 1;
const CONNECT_WITH_DB: u32 = 1 << 3;
const PROTOCOL_41: u32 = 1 << 9;
const SSL: u32 = 1 << 11;
const TRANSACTIONS: u32 = 1 << 13;
const SECURE_CONNECTION: u32 = 1 << 15;
const PLUGIN_AUTH: u32 = 1 << 19;
const CONNECT_ATTRS: u32 = 1 << 20;
/// utf8mb4_general_ci: known by every version of both.
const UTF8MB4: u8 = 45;
const MAX_PACKET: usize = (1 << 24) - 1;

/// A logged-in session.
#[derive(Debug)]
pub struct MySql {
    wire: Wire,
    sequence: u8,
    version: String,
    connection_id: u32,
}

struct Greeting {
    version: String,
    connection_id: u32,
    capabilities: u32,
    nonce: Vec<u8>,
    plugin: String,
}

impl MySql {
    pub(super) async fn open(reach: Reach<'_>, dsn: &Dsn, password: Option<&str>) -> Result<Self, Trouble> {
        let wire = match &dsn.socket {
            Some(path) => Wire::unix(reach, path).await?,
            None => Wire::tcp(reach, &dsn.at).await?,
        };
        let mut session = MySql { wire, sequence: 0, version: String::new(), connection_id: 0 };
        let greeting = read_greeting(&session.packet().await?)?;
        session.version.clone_from(&greeting.version);
        session.connection_id = greeting.connection_id;
        let mut flags =
            LONG_PASSWORD | PROTOCOL_41 | TRANSACTIONS | SECURE_CONNECTION | PLUGIN_AUTH | CONNECT_ATTRS;
        if !dsn.database.is_empty() {
            flags |= CONNECT_WITH_DB;
        }
        flags &= greeting.capabilities | PROTOCOL_41 | SECURE_CONNECTION;
        let secured = session.secure(dsn, &greeting, flags).await?;
        if secured {
            flags |= SSL;
        }
        session.log_in(dsn, &greeting, flags, password.unwrap_or_default(), secured).await?;
        Ok(session)
    }

    /// Goes on in TLS as far as wanted and offered.
    async fn secure(&mut self, dsn: &Dsn, greeting: &Greeting, flags: u32) -> Result<bool, Trouble> {
        if dsn.tls == TlsMode::Off || dsn.socket.is_some() {
            return Ok(false);
        }
        if greeting.capabilities & SSL == 0 {
            return match dsn.tls {
                TlsMode::Prefer => Ok(false),
                _ => Err(Trouble::no("tls", "the server does not offer TLS, which sslmode asks for")),
            };
        }
        let mut out = BytesMut::new();
        put_head(&mut out, flags | SSL);
        self.send(&out).await?;
        let (options, name) = dsn.tls_for_handshake()?;
        let until = Instant::now() + std::time::Duration::from_secs(3600);
        let plain = std::mem::replace(&mut self.wire, Wire::closed(until));
        self.wire = plain.into_tls(&options, name, &[]).await?;
        Ok(true)
    }

    async fn log_in(
        &mut self,
        dsn: &Dsn,
        greeting: &Greeting,
        flags: u32,
        password: &str,
        secured: bool,
    ) -> Result<(), Trouble> {
        // On a unix socket nobody else listens.
        let private = secured || dsn.socket.is_some();
        let mut plugin = greeting.plugin.clone();
        let mut nonce = greeting.nonce.clone();
        let answer = mysql_auth::first(&plugin, password, &nonce, private)?;
        let mut out = BytesMut::new();
        put_head(&mut out, flags);
        put_string(&mut out, &dsn.user);
        out.put_u8(u8::try_from(answer.len()).unwrap_or(0));
        out.put_slice(&answer);
        if flags & CONNECT_WITH_DB != 0 {
            put_string(&mut out, &dsn.database);
        }
        if flags & PLUGIN_AUTH != 0 {
            put_string(&mut out, &plugin);
        }
        if flags & CONNECT_ATTRS != 0 {
            let mut attributes = BytesMut::new();
            for text in ["program_name", "init-waitfor"] {
                attributes.put_u8(u8::try_from(text.len()).unwrap_or(0));
                attributes.put_slice(text.as_bytes());
            }
            out.put_u8(u8::try_from(attributes.len()).unwrap_or(0));
            out.put_slice(&attributes);
        }
        self.send(&out).await?;
        // A login takes a handful of rounds; more is a server that leads us in circles.
        for _ in 0..8 {
            let packet = self.packet().await?;
            match packet.first().copied() {
                Some(0x00) => return Ok(()),
                Some(0xff) => return Err(server_error(&packet)),
                Some(0xfe) => {
                    let mut rest = packet.slice(1..);
                    plugin = take_string(&mut rest);
                    nonce = rest.strip_suffix(&[0]).unwrap_or(&rest).to_vec();
                    let answer = mysql_auth::first(&plugin, password, &nonce, private)?;
                    self.send(&answer).await?;
                }
                Some(0x01) => match mysql_auth::next(&plugin, &packet[1..], password, &nonce, private)? {
                    Step::Wait => {}
                    Step::Send(bytes) => self.send(&bytes).await?,
                },
                _ => return Err(Trouble::unknown("reply", "this is not MySQL")),
            }
        }
        Err(Trouble::auth("the login does not come to an end"))
    }

    pub(super) async fn query(&mut self, sql: &str, until: Instant) -> Result<Vec<Row>, Trouble> {
        self.wire.until(until);
        self.sequence = 0;
        let mut out = BytesMut::with_capacity(sql.len() + 1);
        out.put_u8(0x03);
        out.put_slice(sql.as_bytes());
        self.send(&out).await?;
        let head = self.packet().await?;
        match head.first().copied() {
            Some(0x00) => return Ok(Vec::new()),
            Some(0xff) => return Err(server_error(&head)),
            Some(0xfb) | None => return Err(Trouble::unknown("reply", "this is not an answer to a query")),
            Some(_) => {}
        }
        // Column definitions and their end: names and types do not matter, everything is text.
        while !is_eof(&self.packet().await?) {}
        let mut rows = Vec::new();
        loop {
            let packet = self.packet().await?;
            if is_eof(&packet) {
                return Ok(rows);
            }
            if packet.first() == Some(&0xff) {
                return Err(server_error(&packet));
            }
            let row = read_row(packet).ok_or_else(|| Trouble::unknown("reply", "a row is cut short"))?;
            if rows.len() < MOST_ROWS {
                rows.push(row);
            }
        }
    }

    async fn packet(&mut self) -> Result<Bytes, Trouble> {
        let head = self.wire.take(4).await?;
        let length = usize::from(head[0]) | usize::from(head[1]) << 8 | usize::from(head[2]) << 16;
        self.sequence = head[3].wrapping_add(1);
        self.wire.take(length).await
    }

    async fn send(&mut self, payload: &[u8]) -> Result<(), Trouble> {
        if payload.len() >= MAX_PACKET {
            return Err(Trouble::unknown("query", "the statement is longer than 16 MiB"));
        }
        let length = u32::try_from(payload.len()).unwrap_or(0);
        let mut out = BytesMut::with_capacity(payload.len() + 4);
        out.put_slice(&length.to_le_bytes()[..3]);
        out.put_u8(self.sequence);
        out.put_slice(payload);
        self.wire.send(&out).await
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// The id that the greeting gave; compare with `CONNECTION_ID()`.
    pub fn connection_id(&self) -> u32 {
        self.connection_id
    }
}

fn put_head(out: &mut BytesMut, flags: u32) {
    out.put_u32_le(flags);
    out.put_u32_le(1 << 24);
    out.put_u8(UTF8MB4);
    out.put_bytes(0, 23);
}

fn put_string(out: &mut BytesMut, text: &str) {
    out.put_slice(text.as_bytes());
    out.put_u8(0);
}

fn take_string(bytes: &mut Bytes) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let text = String::from_utf8_lossy(&bytes.split_to(end)).into_owned();
    if !bytes.is_empty() {
        bytes.advance(1);
    }
    text
}

fn read_greeting(packet: &Bytes) -> Result<Greeting, Trouble> {
    let foreign = || Trouble::unknown("handshake", "this is not MySQL");
    match packet.first() {
        Some(0xff) => return Err(server_error(packet)),
        Some(10) => {}
        _ => return Err(foreign()),
    }
    let mut rest = packet.slice(1..);
    let version = take_string(&mut rest);
    if rest.remaining() < 4 + 8 + 1 + 2 {
        return Err(foreign());
    }
    let connection_id = rest.get_u32_le();
    let mut nonce = rest.split_to(8).to_vec();
    rest.advance(1);
    let mut capabilities = u32::from(rest.get_u16_le());
    let mut plugin = String::new();
    if rest.remaining() >= 1 + 2 + 2 + 1 + 10 {
        rest.advance(3);
        capabilities |= u32::from(rest.get_u16_le()) << 16;
        let length = usize::from(rest.get_u8());
        rest.advance(10);
        // The rest of the nonce with its zero; 13 bytes in practice.
        let more = length.saturating_sub(8).max(13).min(rest.remaining());
        let more = rest.split_to(more);
        nonce.extend_from_slice(more.strip_suffix(&[0]).unwrap_or(&more));
        plugin = take_string(&mut rest);
    }
    if plugin.is_empty() {
        plugin = "mysql_native_password".to_owned();
    }
    let version = version.strip_prefix("5.5.5-").unwrap_or(&version).to_owned();
    Ok(Greeting { version, connection_id, capabilities, nonce, plugin })
}

fn is_eof(packet: &Bytes) -> bool {
    packet.first() == Some(&0xfe) && packet.len() < 9
}

fn read_row(mut packet: Bytes) -> Option<Row> {
    let mut row = Row::new();
    while packet.has_remaining() {
        let length = match packet.get_u8() {
            0xfb => {
                row.push(None);
                continue;
            }
            0xfc if packet.remaining() >= 2 => usize::from(packet.get_u16_le()),
            0xfd if packet.remaining() >= 3 => usize::try_from(packet.get_uint_le(3)).ok()?,
            0xfe if packet.remaining() >= 8 => usize::try_from(packet.get_u64_le()).ok()?,
            small @ 0..=0xfa => usize::from(small),
            _ => return None,
        };
        if packet.remaining() < length {
            return None;
        }
        row.push(Some(String::from_utf8_lossy(&packet.split_to(length)).into_owned()));
    }
    Some(row)
}

fn server_error(packet: &Bytes) -> Trouble {
    let mut rest = packet.slice(1.min(packet.len())..);
    if rest.remaining() < 2 {
        return Trouble::unknown("reply", "an error without a number");
    }
    let number = rest.get_u16_le();
    if rest.first() == Some(&b'#') && rest.remaining() >= 6 {
        rest.advance(6);
    }
    let reason = format!("{} ({number})", String::from_utf8_lossy(&rest));
    // https://dev.mysql.com/doc/mysql-errors/8.0/en/server-error-reference.html
    let trouble = match number {
        // Access denied: to all, to the database, plugin, old password.
        1045 | 1044 | 1698 | 1251 => Trouble::auth(reason),
        1049 => Trouble::no("database", reason),
        // Too many connections, shutting down, host blocked.
        1040 | 1053 | 1203 | 1129 => Trouble::no("starting", reason),
        _ => Trouble::unknown("server", reason),
    };
    trouble.state(number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_with_nulls_and_long_values() {
        let mut bytes = vec![3, b'a', b'b', b'c', 0xfb, 0];
        bytes.extend_from_slice(&[0xfc, 0x2c, 0x01]);
        bytes.extend_from_slice(&[b'x'; 300]);
        let row = read_row(Bytes::from(bytes)).unwrap();
        assert_eq!(row[0].as_deref(), Some("abc"));
        assert_eq!(row[1], None);
        assert_eq!(row[2].as_deref(), Some(""));
        assert_eq!(row[3].as_ref().unwrap().len(), 300);
        assert_eq!(read_row(Bytes::from_static(&[5, b'a'])), None);
        assert_eq!(read_row(Bytes::from_static(&[0xff])), None);
    }

    #[test]
    fn strange_greetings_are_errors() {
        for bytes in [&b""[..], b"\x0a", b"\x0a8.0\0abc", b"HTTP/1.1 400", b"\xff"] {
            assert!(read_greeting(&Bytes::copy_from_slice(bytes)).is_err());
        }
        let error = read_greeting(&Bytes::from_static(b"\xff\x10\x04Too many connections")).err().unwrap();
        assert!(error.definite && error.reason.contains("Too many"));
    }
}
