//! What may stand behind `--in` besides paths and globs: `tcp://`, `tls://`, `udp://`, `unix://`, `unixgram://`, `fifo://`, with options behind a `?`.

use std::path::PathBuf;
use std::time::Duration;

use podkit::tls::ServerTls;
use podkit::units::Dur;

/// How messages are told apart on a byte stream (RFC 6587) or in a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Framing {
    /// Syslog: octet counting where a message begins with its count, lines otherwise; anything else: lines.
    #[default]
    Auto,
    /// Every line is one.
    Lines,
    /// Ended by a NUL byte.
    Nul,
    /// RFC 6587, 3.4.1: `LENGTH SP MESSAGE`.
    Octets,
    /// A datagram is one message, whatever it holds.
    Message,
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Host (empty: loopback) and port.
    Tcp(String, u16),
    /// The same below TLS (RFC 5425 for syslog).
    Tls(String, u16, ServerTls),
    Udp(String, u16),
    Unix(PathBuf),
    UnixDatagram(PathBuf),
    Fifo(PathBuf),
}

/// One listener, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// As it was written.
    pub text: String,
    pub address: Address,
    pub framing: Framing,
    /// Connections served at once; more wait in the kernel's queue.
    pub max_connections: usize,
    /// A connection that is silent for so long is closed; `None`: never.
    pub idle: Option<Duration>,
    /// Permissions of the socket's or the FIFO's file.
    pub mode: u32,
}

/// What a listener's memory is bounded by, when nothing else is said.
const MAX_CONNECTIONS: usize = 64;

/// `None`: a path, a glob, or `-`.
pub fn parse(text: &str) -> Option<Result<Listener, String>> {
    let (scheme, rest) = text.split_once("://")?;
    Some(listener(text, scheme, rest))
}

/// A path that is there and is a FIFO.
pub fn fifo(path: &str) -> Option<Listener> {
    use std::os::unix::fs::FileTypeExt;

    let about = std::fs::metadata(path).ok()?;
    about.file_type().is_fifo().then(|| Listener::new(path, Address::Fifo(PathBuf::from(path))))
}

impl Listener {
    fn new(text: &str, address: Address) -> Self {
        Self {
            text: text.to_owned(),
            address,
            framing: Framing::Auto,
            max_connections: MAX_CONNECTIONS,
            idle: None,
            mode: 0o666,
        }
    }

    /// Whether a datagram or a connection of it comes without bytes being held back when the adapter is slow.
    pub fn may_drop(&self) -> bool {
        matches!(self.address, Address::Udp(..))
    }
}

fn listener(text: &str, scheme: &str, rest: &str) -> Result<Listener, String> {
    let (place, options) = rest.split_once('?').unwrap_or((rest, ""));
    let path = || match place.strip_prefix('/') {
        Some(path) if !path.is_empty() => Ok(PathBuf::from(place)),
        _ => Err(format!("{text:?} has no absolute path; write {scheme}:///run/app/log.sock")),
    };
    let address = match scheme {
        "tcp" => host_port(text, scheme, place).map(|(host, port)| Address::Tcp(host, port))?,
        "tls" => host_port(text, scheme, place)
            .map(|(host, port)| Address::Tls(host, port, ServerTls::default()))?,
        "udp" => host_port(text, scheme, place).map(|(host, port)| Address::Udp(host, port))?,
        "unix" => Address::Unix(path()?),
        "unixgram" => Address::UnixDatagram(path()?),
        "fifo" => Address::Fifo(path()?),
        _ => {
            return Err(format!("{scheme:?} is none of tcp, tls, udp, unix, unixgram, fifo"));
        }
    };
    let mut listener = Listener::new(text, address);
    for option in options.split('&').filter(|o| !o.is_empty()) {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        listener.option(key, value).map_err(|problem| format!("{key}={value} {problem}"))?;
    }
    if let Address::Tls(.., tls) = &listener.address {
        for (name, path) in [("cert", &tls.cert), ("key", &tls.key)] {
            if path.as_os_str().is_empty() {
                let whole = format!("{scheme}://{place}?cert=/etc/tls/tls.crt&key=/etc/tls/tls.key");
                return Err(format!("{text:?} has no {name}; write {whole}"));
            }
        }
    }
    Ok(listener)
}

impl Listener {
    fn option(&mut self, key: &str, value: &str) -> Result<(), String> {
        let stream = matches!(self.address, Address::Tcp(..) | Address::Tls(..) | Address::Unix(_));
        let datagram = matches!(self.address, Address::Udp(..) | Address::UnixDatagram(_));
        let file = !matches!(self.address, Address::Tcp(..) | Address::Tls(..) | Address::Udp(..));
        if let Address::Tls(.., tls) = &mut self.address
            && matches!(key, "cert" | "key" | "client-ca")
        {
            if value.is_empty() {
                return Err("names no file".to_owned());
            }
            let path = PathBuf::from(value);
            match key {
                "cert" => tls.cert = path,
                "key" => tls.key = path,
                _ => tls.client_ca = Some(path),
            }
            return Ok(());
        }
        match key {
            "framing" => {
                self.framing = match value {
                    "auto" => Framing::Auto,
                    "lines" => Framing::Lines,
                    "nul" if !datagram => Framing::Nul,
                    "octets" if stream => Framing::Octets,
                    "message" if datagram => Framing::Message,
                    _ if datagram => return Err("is none of auto, lines, message".to_owned()),
                    _ => return Err("is none of auto, lines, octets, nul".to_owned()),
                }
            }
            "max-connections" if stream => {
                self.max_connections = value
                    .parse()
                    .ok()
                    .filter(|n| (1..=4096).contains(n))
                    .ok_or("is not a number from 1 to 4096")?;
            }
            "idle" if stream => self.idle = value.parse::<Dur>()?.limit(),
            "mode" if file => {
                self.mode = u32::from_str_radix(value, 8)
                    .ok()
                    .filter(|mode| *mode <= 0o777)
                    .ok_or("is no permission in octal; write for example mode=0660")?;
            }
            _ => {
                let secure = matches!(self.address, Address::Tls(..));
                let known = [
                    ("framing", true),
                    ("max-connections", stream),
                    ("idle", stream),
                    ("mode", file),
                    ("cert", secure),
                    ("key", secure),
                    ("client-ca", secure),
                ];
                let known: Vec<_> = known.iter().filter(|(_, fits)| *fits).map(|(name, _)| *name).collect();
                return Err(format!("is no option here; there are {}", known.join(", ")));
            }
        }
        Ok(())
    }
}

/// `HOST:PORT`, `:PORT`, `[::1]:PORT`.
pub fn host_port(text: &str, scheme: &str, place: &str) -> Result<(String, u16), String> {
    let wrong = || format!("{text:?} has no HOST:PORT; write {scheme}://127.0.0.1:5170");
    let (host, port) = place.trim_end_matches('/').rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().map_err(|_| wrong())?;
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_their_options() {
        assert_eq!(parse("/var/log/*.log"), None);
        let tcp = parse("tcp://:5170?framing=octets&max-connections=9&idle=5m")
            .expect("an address")
            .expect("right");
        assert_eq!(tcp.address, Address::Tcp(String::new(), 5170));
        assert_eq!((tcp.framing, tcp.max_connections), (Framing::Octets, 9));
        assert_eq!(tcp.idle, Some(Duration::from_secs(300)));
        let tls = parse("tls://:6514?cert=/c/tls.crt&key=/c/tls.key&client-ca=/c/ca.crt&idle=1h");
        let tls = tls.expect("an address").expect("right");
        let files = ServerTls {
            cert: "/c/tls.crt".into(),
            key: "/c/tls.key".into(),
            client_ca: Some("/c/ca.crt".into()),
        };
        assert_eq!(tls.address, Address::Tls(String::new(), 6514, files));
        let unix = parse("unix:///run/x.sock?mode=0660").expect("an address").expect("right");
        assert_eq!((unix.address, unix.mode), (Address::Unix("/run/x.sock".into()), 0o660));
        assert_eq!(
            parse("udp://[::1]:514").and_then(Result::ok).map(|l| l.address),
            Some(Address::Udp("::1".to_owned(), 514))
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, said) in [
            ("http://x:1", "none of tcp"),
            ("tcp://x", "no HOST:PORT"),
            ("tcp://x:99999", "no HOST:PORT"),
            ("unix://x", "no absolute path"),
            ("udp://:1?framing=octets", "none of auto, lines, message"),
            ("udp://:1?idle=1s", "there are framing"),
            ("tls://:1?key=/k", "has no cert"),
            ("tls://:1?cert=/c", "has no key"),
            ("tls://:1?cert=&key=/k", "names no file"),
            ("tls://:1?cert=/c&key=/k&ca=/x", "key, client-ca"),
            ("tcp://:1?cert=/c", "there are framing"),
            ("tcp://:1?max-connections=0", "1 to 4096"),
            ("unix:///x?mode=999", "octal"),
            ("tcp://:1?idle=5", "no unit"),
        ] {
            let problem = parse(text).expect("an address").expect_err(text);
            assert!(problem.contains(said), "{text}: {problem}");
        }
    }
}
