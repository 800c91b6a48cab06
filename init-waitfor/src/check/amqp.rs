//! `amqp://[user:password@]host:port[/vhost]`: AMQP 0-9-1 up to an open virtual host.
//! <https://www.rabbitmq.com/amqp-0-9-1-reference>

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::Verdict;
use crate::target::Login;
use crate::wire::{Trouble, Wire};

/// Methods of class 10, connection.
const START: u16 = 10;
const START_OK: u16 = 11;
const TUNE: u16 = 30;
const TUNE_OK: u16 = 31;
const OPEN: u16 = 40;
const OPEN_OK: u16 = 41;
const CLOSE: u16 = 50;

pub(super) async fn talk(wire: &mut Wire, login: &Login, password: Option<&str>) -> Result<Verdict, Trouble> {
    wire.send(b"AMQP\0\0\x09\x01").await?;
    expect(wire, START).await?;
    let user = login.user.as_deref().unwrap_or("guest");
    let password = password.unwrap_or("guest");
    wire.send(&start_ok(user, password)).await?;
    let tune = expect(wire, TUNE).await.map_err(|trouble| match trouble.class {
        // Before 0-9-1's extension a refused login was a closed connection.
        "reply" if trouble.reason == Trouble::ended().reason => {
            Trouble::auth("the server hung up at the login")
        }
        _ => trouble,
    })?;
    // What the server proposes is fine, but no heartbeats: we are gone before the first.
    let mut answer = BytesMut::from(&tune[..tune.len().min(6)]);
    answer.put_u16(0);
    wire.send(&frame(TUNE_OK, &answer)).await?;
    // `/` alone and nothing are both the default virtual host.
    let vhost = login.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/");
    let mut open = BytesMut::new();
    put_short(&mut open, vhost);
    open.put_slice(&[0, 0]);
    wire.send(&frame(OPEN, &open)).await?;
    expect(wire, OPEN_OK).await?;
    let _ = wire.send(&frame(CLOSE, &[0, 200, 0, 0, 0, 0, 0])).await;
    Ok(Verdict::ready(format!("virtual host {vhost} is open")))
}

/// The arguments of the next method, which must be this one.
async fn expect(wire: &mut Wire, wanted: u16) -> Result<Bytes, Trouble> {
    let foreign = || Trouble::unknown("reply", "this is not AMQP 0-9-1");
    let mut head = wire.take(7).await?;
    let (kind, _channel, size) = (head.get_u8(), head.get_u16(), head.get_u32());
    // The server's own header means: I speak another version.
    if kind != 1 || size > 1 << 20 {
        return Err(foreign());
    }
    let mut body = wire.take(usize::try_from(size).unwrap_or(usize::MAX).saturating_add(1)).await?;
    if body.len() < 5 || body.last() != Some(&0xce) {
        return Err(foreign());
    }
    body.truncate(body.len() - 1);
    let (class, method) = (body.get_u16(), body.get_u16());
    match (class, method) {
        (10, method) if method == wanted => Ok(body),
        (10, CLOSE) => Err(closed(body)),
        _ => Err(Trouble::unknown("reply", format!("the server answers out of turn ({class}.{method})"))),
    }
}

fn closed(mut body: Bytes) -> Trouble {
    if body.len() < 3 {
        return Trouble::ended();
    }
    let code = body.get_u16();
    let length = usize::from(body.get_u8()).min(body.len());
    let reason = format!("{} ({code})", String::from_utf8_lossy(&body[..length]));
    match code {
        403 if reason.contains("LOGIN") || reason.contains("ACCESS_REFUSED") => Trouble::auth(reason),
        // No such virtual host; no right to it; it is down.
        530 | 402 | 403 => Trouble::no("vhost", reason),
        320 => Trouble::no("starting", reason),
        _ => Trouble::unknown("server", reason),
    }
}

fn start_ok(user: &str, password: &str) -> BytesMut {
    // capabilities { authentication_failure_close: true }: a refused login is then said, not only hung up on.
    let mut capability = BytesMut::new();
    put_short(&mut capability, "authentication_failure_close");
    capability.put_slice(b"t\x01");
    let mut properties = BytesMut::new();
    put_short(&mut properties, "product");
    properties.put_u8(b'S');
    put_long(&mut properties, b"init-waitfor");
    put_short(&mut properties, "capabilities");
    properties.put_u8(b'F');
    put_long(&mut properties, &capability);
    let mut body = BytesMut::new();
    put_long(&mut body, &properties);
    put_short(&mut body, "PLAIN");
    put_long(&mut body, format!("\0{user}\0{password}").as_bytes());
    put_short(&mut body, "en_US");
    frame(START_OK, &body)
}

fn frame(method: u16, arguments: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_u8(1);
    out.put_u16(0);
    out.put_u32(u32::try_from(arguments.len() + 4).unwrap_or(u32::MAX));
    out.put_u16(10);
    out.put_u16(method);
    out.put_slice(arguments);
    out.put_u8(0xce);
    out
}

fn put_short(out: &mut BytesMut, text: &str) {
    let bytes = &text.as_bytes()[..text.len().min(255)];
    out.put_u8(u8::try_from(bytes.len()).unwrap_or(255));
    out.put_slice(bytes);
}

fn put_long(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.put_slice(bytes);
}
