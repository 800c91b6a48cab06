//! `BINARY probe`: asks its own admin port, for images without a shell.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use clap::Args;

use crate::exit::Exit;

/// Flags of the `probe` subcommand. The address is that of `--admin` (or its environment twin).
#[derive(Debug, Clone, Args)]
pub struct ProbeArgs {
    /// Ask /readyz instead of /livez
    #[arg(long)]
    pub ready: bool,
}

/// Time for the whole question; the kubelet's default for a probe is 1 s.
const TIMEOUT: Duration = Duration::from_millis(900);

/// Asks the admin port at `admin` (as given to `--admin`), or at `default_port` on loopback.
///
/// # Errors
/// Code 1 with the reason when the answer is not 200.
pub fn run(args: &ProbeArgs, admin: Option<&str>, default_port: u16) -> Result<(), Exit> {
    let path = if args.ready { "/readyz" } else { "/livez" };
    let addr = address(admin, default_port)?;
    let (status, body) =
        request(addr, "GET", path).map_err(|error| Exit::failed(format!("http://{addr}{path}: {error}")))?;
    if status == 200 {
        Ok(())
    } else {
        Err(Exit::failed(format!("http://{addr}{path}: {status} {}", body.trim())))
    }
}

/// Where a process that was given `--admin ADMIN` can be reached from its own pod: an unspecified address means loopback.
///
/// # Errors
/// Code 2 when `admin` is no address or `off`.
pub fn address(admin: Option<&str>, default_port: u16) -> Result<SocketAddr, Exit> {
    let Some(text) = admin else { return Ok(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), default_port)) };
    let mut addr: SocketAddr = text.parse().map_err(|_| {
        Exit::usage(format!("--admin {text}: not an address; write for example 127.0.0.1:{default_port}"))
    })?;
    match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => addr.set_ip(Ipv4Addr::LOCALHOST.into()),
        // The admin port listens dual-stack, and a pod always has 127.0.0.1.
        IpAddr::V6(ip) if ip.is_unspecified() => addr.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(Ipv6Addr::LOCALHOST) | IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    Ok(addr)
}

/// One small HTTP/1.1 request to the own admin port, blocking and bounded: status and body.
///
/// # Errors
/// When the port cannot be reached in time or does not speak HTTP.
pub fn request(addr: SocketAddr, method: &str, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&addr, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.take(1 << 20).read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer);
    let status = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other("not an HTTP answer"))?;
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unspecified_address_is_asked_on_loopback() {
        assert_eq!(address(None, 9104).unwrap().to_string(), "127.0.0.1:9104");
        assert_eq!(address(Some("[::]:9000"), 9104).unwrap().to_string(), "127.0.0.1:9000");
        assert_eq!(address(Some("0.0.0.0:9000"), 9104).unwrap().to_string(), "127.0.0.1:9000");
        assert_eq!(address(Some("10.0.0.7:1"), 9104).unwrap().to_string(), "10.0.0.7:1");
        assert_eq!(address(Some("off"), 9104).unwrap_err().code, 2);
    }

    #[test]
    fn nobody_listening_is_a_failure_that_names_the_address() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let exit = run(&ProbeArgs { ready: true }, Some(&free.to_string()), 1).unwrap_err();
        assert_eq!(exit.code, 1);
        assert!(exit.message.unwrap().contains(&format!("http://{free}/readyz")));
    }
}
