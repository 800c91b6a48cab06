//! `tcp://host:port`: some address of the host accepts a connection.

use podkit::dial::{self, DialError};

use super::{Attempt, Verdict};
use crate::target::{HostPort, Parts, Query, Wrong, host_port};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tcp {
    pub at: HostPort,
}

impl Tcp {
    pub(super) fn parse(parts: &Parts<'_>) -> Result<Self, Wrong> {
        let (at, query) = parts.query();
        Query::parse(query, &[])?;
        Ok(Tcp { at: host_port(at, None)? })
    }

    pub(super) async fn check(&self, attempt: &Attempt<'_>) -> Verdict {
        match connect(attempt, &self.at).await {
            Ok(stream) => match stream.peer_addr() {
                Ok(peer) => Verdict::ready(format!("{peer} accepts")),
                Err(_) => Verdict::ready("accepts"),
            },
            Err(verdict) => verdict,
        }
    }
}

/// A connection to the first address that accepts, or the verdict on not getting one.
pub(super) async fn connect(attempt: &Attempt<'_>, at: &HostPort) -> Result<tokio::net::TcpStream, Verdict> {
    dial::host(attempt.resolver, &at.host, at.port, attempt.left()).await.map_err(|error| {
        let class = if matches!(error, DialError::Dns(_)) { "dns" } else { "connect" };
        if error.is_definite() {
            Verdict::no(class, error.to_string())
        } else {
            Verdict::unknown(class, error.to_string())
        }
    })
}
