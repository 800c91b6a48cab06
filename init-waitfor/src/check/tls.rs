//! `tls://host:port[?min-days=N&server-name=NAME]`: a handshake, the chain, the name, and days left.

use podkit::tls::TlsOptions;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use super::{Attempt, Verdict, tcp, x509};
use crate::target::{HostPort, Parts, Query, Wrong, host_port};
use crate::wire::Trouble;

#[derive(Debug)]
pub struct Tls {
    pub at: HostPort,
    min_days: Option<i64>,
    server_name: Option<ServerName<'static>>,
    options: TlsOptions,
}

impl Tls {
    pub(super) fn parse(parts: &Parts<'_>, options: Option<&TlsOptions>) -> Result<Self, Wrong> {
        let (at, query) = parts.query();
        let query = Query::parse(query, &["min-days", "server-name"])?;
        let server_name = match query.get("server-name") {
            Some(name) => Some(server_name(name)?),
            None => None,
        };
        let at = host_port(at, Some(443))?;
        if server_name.is_none() {
            self::server_name(&at.host)?;
        }
        Ok(Tls {
            at,
            min_days: query.number("min-days")?,
            server_name,
            options: options.cloned().unwrap_or_default(),
        })
    }

    pub(super) async fn check(&self, attempt: &Attempt<'_>) -> Verdict {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => match server_name(&self.at.host) {
                Ok(name) => name,
                Err(wrong) => return Verdict::unknown("tls", wrong.what),
            },
        };
        // Read anew each time: certificates arrive and rotate while we wait.
        let config = match podkit::tls::client_config(&self.options, &[]) {
            Ok(config) => config,
            Err(error) => return Verdict::unknown("tls files", error.to_string()),
        };
        let stream = match tcp::connect(attempt, &self.at).await {
            Ok(stream) => stream,
            Err(verdict) => return verdict,
        };
        let handshake = TlsConnector::from(config).connect(name, stream);
        let stream = match tokio::time::timeout_at(attempt.until, handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Trouble::tls(&error).into(),
            Err(_) => return Verdict::unknown("handshake", "no TLS handshake in time"),
        };
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let now = jiff::Timestamp::now();
        // The chain is as good as its oldest part.
        let until = certificates.iter().filter_map(|certificate| x509::not_after(certificate)).min();
        let Some(until) = until else {
            return Verdict::unknown("certificate", "the certificate has no readable date");
        };
        let days = until.duration_since(now).as_hours().div_euclid(24);
        match self.min_days {
            Some(min) if days < min => Verdict::no(
                "certificate",
                format!("the certificate ends {until}, in {days} days; wanted {min}"),
            ),
            _ => Verdict::ready(format!("certificate valid for {days} days, until {until}")),
        }
    }
}

pub(super) fn server_name(host: &str) -> Result<ServerName<'static>, Wrong> {
    ServerName::try_from(host.trim_end_matches('.').to_owned())
        .map_err(|_| Wrong::new(format!("{host:?} is no host name"), "write a DNS name or an address"))
}
