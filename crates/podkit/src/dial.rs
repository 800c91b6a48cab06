//! A TCP connection to whichever address of a host answers first (RFC 8305), and every reason when none does.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::dns::{DnsError, Resolver};
use crate::stagger;

/// RFC 8305, section 8: the "Connection Attempt Delay".
pub const CONNECTION_ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error(transparent)]
    Dns(#[from] DnsError),
    #[error("{}", sentence(.0))]
    Refused(Vec<(SocketAddr, String)>),
}

impl DialError {
    /// Whether every address said "nobody listens here" (or the name does not exist): an answer, not a failure to ask.
    pub fn is_definite(&self) -> bool {
        match self {
            DialError::Dns(error) => error.is_definite(),
            DialError::Refused(list) => list.iter().all(|(_, why)| why == "connection refused"),
        }
    }
}

fn sentence(list: &[(SocketAddr, String)]) -> String {
    let parts: Vec<String> = list.iter().map(|(address, why)| format!("{address} {why}")).collect();
    parts.join(", ")
}

/// Resolves and connects; all within `budget`.
///
/// # Errors
/// The lookup's, or what every address said.
pub async fn host(
    resolver: &Resolver,
    host: &str,
    port: u16,
    budget: Duration,
) -> Result<TcpStream, DialError> {
    let until = Instant::now() + budget;
    let answer = resolver.within(budget).ips(host).await?;
    let addrs: Vec<SocketAddr> =
        answer.addrs.into_iter().map(|ip: IpAddr| SocketAddr::new(ip, port)).collect();
    any(&addrs, until).await.map_err(DialError::Refused)
}

/// Connects to the first address that accepts; the next one is tried after 250 ms or at once after a failure.
///
/// # Errors
/// What each address said; those that were still silent at `until` say so.
pub async fn any(addrs: &[SocketAddr], until: Instant) -> Result<TcpStream, Vec<(SocketAddr, String)>> {
    let tries = addrs.iter().map(|address| async move {
        let left = until.saturating_duration_since(Instant::now());
        match tokio::time::timeout(left, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                let _ = stream.set_nodelay(true);
                Ok(stream)
            }
            Ok(Err(error)) => Err((*address, reason(&error))),
            Err(_) => Err((*address, "no answer".to_owned())),
        }
    });
    // The last try gets all the time that is left: `first` would give up one delay after starting it.
    let mut list = match stagger::first_patient(tries, CONNECTION_ATTEMPT_DELAY).await {
        Ok(stream) => return Ok(stream),
        Err(errors) => errors,
    };
    list.sort_by_key(|(address, _)| addrs.iter().position(|known| known == address));
    Err(list)
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network unreachable".to_owned(),
        io::ErrorKind::HostUnreachable => "host unreachable".to_owned(),
        io::ErrorKind::TimedOut => "no answer".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_first_address_does_not_matter() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        let dead: SocketAddr = "127.0.0.1:1".parse().unwrap();
        // A listener whose queue is full drops what comes, which is the silence of a dead host.
        let full = tokio::net::TcpSocket::new_v4().unwrap();
        full.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let full = full.listen(1).unwrap();
        let silent = full.local_addr().unwrap();
        let mut queue = Vec::new();
        while let Ok(Ok(stream)) =
            tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(silent)).await
        {
            queue.push(stream);
        }
        let stream = any(&[dead, silent, good], until).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
    }

    #[tokio::test]
    async fn every_address_gives_its_reason() {
        let until = Instant::now() + Duration::from_secs(20);
        let error =
            any(&["127.0.0.1:1".parse().unwrap(), "127.0.0.2:1".parse().unwrap()], until).await.unwrap_err();
        let error = DialError::Refused(error);
        assert_eq!(error.to_string(), "127.0.0.1:1 connection refused, 127.0.0.2:1 connection refused");
        assert!(error.is_definite());
    }
}
