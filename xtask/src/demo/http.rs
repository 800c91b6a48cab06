//! One small HTTP request, blocking and bounded: enough to ask processes on this machine how they are.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

/// For questions that are asked again soon.
const TIMEOUT: Duration = Duration::from_millis(800);
/// For what has to be done once, on a machine that may be busy.
const PATIENCE: Duration = Duration::from_secs(10);
const LARGEST: u64 = 8 << 20;

/// Status and body.
pub(crate) fn request(addr: SocketAddr, method: &str, path: &str) -> anyhow::Result<(u16, String)> {
    within(TIMEOUT, addr, method, path)
}

/// The body of a `POST` that has to succeed.
pub(crate) fn post(addr: SocketAddr, path: &str) -> anyhow::Result<String> {
    let (status, body) = within(PATIENCE, addr, "POST", path)?;
    ensure!(status == 200, "POST {path} answered {status}: {}", body.trim());
    Ok(body)
}

fn within(limit: Duration, addr: SocketAddr, method: &str, path: &str) -> anyhow::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&addr, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.take(LARGEST).read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n").context("not an HTTP answer")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("not an HTTP answer")?;
    Ok((status, body.to_owned()))
}

/// The JSON body of a successful `GET`.
pub(crate) fn json(addr: SocketAddr, path: &str) -> anyhow::Result<Value> {
    let (status, body) = request(addr, "GET", path)?;
    ensure!(status == 200, "{path} answered {status}");
    Ok(serde_json::from_str(&body)?)
}

pub(crate) fn is_ok(addr: SocketAddr, path: &str) -> bool {
    request(addr, "GET", path).is_ok_and(|(status, _)| status == 200)
}

/// An unsigned number at `pointer` (RFC 6901), 0 when it is not there.
pub(crate) fn number(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
}
