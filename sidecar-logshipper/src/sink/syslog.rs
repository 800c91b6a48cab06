//! RFC 5424 over TCP and TLS (octet counting, RFC 6587 and RFC 5425) and UDP (RFC 5426). There is no acknowledgement in
//! these protocols: an accepted write counts as one.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use podkit::dns::Resolver;
use podkit::tls::TlsOptions;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::socket::Socket;
use super::{Answer, Patience, SetupError, Verdict};
use crate::batch::Batch;
use crate::config::Transport;

/// A host of the same cluster that takes no datagrams has said so by then (ICMP).
const REFUSAL: Duration = Duration::from_millis(10);

/// See the module.
#[derive(Debug)]
pub struct Syslog(Way);

#[derive(Debug)]
enum Way {
    Stream(Box<Socket>),
    Datagrams { host: String, port: u16, resolver: Resolver },
}

impl Syslog {
    /// # Errors
    /// Certificates that cannot be used.
    pub fn new(
        transport: Transport,
        host: &str,
        port: u16,
        tls: &TlsOptions,
        patience: Patience,
    ) -> Result<Self, SetupError> {
        Ok(Self(match transport {
            Transport::Udp => Way::Datagrams { host: host.to_owned(), port, resolver: Resolver::system() },
            Transport::Tcp => Way::Stream(Socket::new(host, port, None, patience).into()),
            Transport::Tls => {
                // Wrong files are told at once.
                podkit::tls::client_config(tls, &[])?;
                Way::Stream(Socket::new(host, port, Some(tls.clone()), patience).into())
            }
        }))
    }

    pub(super) async fn close(&self, within: Duration) {
        if let Way::Stream(socket) = &self.0 {
            socket.close(within).await;
        }
    }

    pub(super) async fn attempt(&self, batch: &Batch) -> Answer {
        match &self.0 {
            Way::Stream(socket) => match socket.exchange(&batch.body, |_| Some(())).await {
                Ok(()) => Answer::Accepted,
                Err((sent, why)) => Answer::Later { why, after: None, answer_lost: sent },
            },
            Way::Datagrams { host, port, resolver } => datagrams(batch, host, *port, resolver).await,
        }
    }
}

/// A message is a datagram; one that is too large for any is refused alone. Where the kernel hears that nobody took them, all are for later.
async fn datagrams(batch: &Batch, host: &str, port: u16, resolver: &Resolver) -> Answer {
    let later = |why: String| Answer::Later { why, after: None, answer_lost: false };
    let addr = match resolver.ips(host).await {
        Ok(answer) => match answer.addrs.first() {
            Some(ip) => SocketAddr::new(*ip, port),
            None => return later(format!("{host} has no address")),
        },
        Err(e) => return later(e.to_string()),
    };
    let own: SocketAddr =
        if addr.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = match UdpSocket::bind(own).await {
        Ok(socket) => socket,
        Err(e) => return later(e.to_string()),
    };
    if let Err(e) = socket.connect(addr).await {
        return later(e.to_string());
    }
    let mut verdicts = Vec::with_capacity(batch.items.len());
    for item in batch.items.iter() {
        verdicts.push(match socket.send(batch.document(&item)).await {
            Ok(_) => Verdict::Taken,
            Err(e) if e.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error()) => {
                Verdict::Refused("too large for a datagram".into())
            }
            // About one of those before: nobody is there to take any.
            Err(e) if e.kind() == ErrorKind::ConnectionRefused => return later(e.to_string()),
            Err(e) => Verdict::Later(e.to_string()),
        });
    }
    // What is said about the last ones comes a little later, and wakes.
    let _ = timeout(REFUSAL, socket.ready(Interest::ERROR)).await;
    match socket.take_error() {
        Ok(Some(e)) => later(e.to_string()),
        _ => Answer::Items(verdicts),
    }
}
