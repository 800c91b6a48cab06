//! `grpc://host:port[/service]`: the gRPC health protocol, version 1.
//! <https://github.com/grpc/grpc/blob/master/doc/health-checking.md>

use std::time::Duration;

use http_body_util::{BodyExt as _, Limited};
use podkit::http::{ClientOptions, client, describe};
use podkit::tls::TlsOptions;

use super::{Attempt, Verdict};
use crate::config::TargetConfig;
use crate::target::{HostPort, Login, Parts, Wrong};

#[derive(Debug)]
pub struct Grpc {
    pub at: HostPort,
    /// Empty: the server as a whole.
    service: String,
    tls: Option<TlsOptions>,
}

impl Grpc {
    pub(super) fn parse(parts: &Parts<'_>, entry: &TargetConfig) -> Result<Self, Wrong> {
        let secure = parts.scheme == "grpcs";
        let Login { at, path, .. } = Login::parse(parts, entry, if secure { 443 } else { 80 }, &[])?;
        let service = path.unwrap_or_default().trim_end_matches('/').to_owned();
        if service.len() > 120 {
            return Err(Wrong::new(
                "the service's name is longer than 120 bytes",
                "write its full name, such as shop.v1.Orders",
            ));
        }
        Ok(Grpc { at, service, tls: secure.then(|| entry.tls.clone().unwrap_or_default()) })
    }

    pub(super) async fn check(&self, attempt: &Attempt<'_>) -> Verdict {
        match tokio::time::timeout_at(attempt.until, self.attempt(attempt)).await {
            Ok(verdict) => verdict,
            Err(_) => Verdict::unknown("response", "no response in time"),
        }
    }

    async fn attempt(&self, attempt: &Attempt<'_>) -> Verdict {
        let built = client(&ClientOptions {
            tls: self.tls.clone(),
            resolver: attempt.resolver.clone(),
            connect_timeout: Duration::from_secs(3600),
            timeout: None,
            idle_per_host: 0,
            http2_only: true,
            ..ClientOptions::default()
        });
        let client = match built {
            Ok(client) => client,
            Err(error) => return Verdict::unknown("tls files", error.to_string()),
        };
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}/grpc.health.v1.Health/Check", self.at);
        let request = client
            .post(url)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(self.request());
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return super::http::failed(&error, &self.at.to_string()),
        };
        if !response.status().is_success() {
            return Verdict::no("status", format!("HTTP {}: no gRPC server", response.status()));
        }
        // The status is in the trailers, or in the head when there is no message.
        let status_of = |headers: &reqwest::header::HeaderMap| {
            headers.get("grpc-status").and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let head = status_of(response.headers());
        let body = Limited::new(reqwest::Body::from(response), 64 << 10).collect().await;
        let trailer = body.as_ref().ok().and_then(|body| body.trailers()).and_then(status_of);
        let status = trailer.or(head);
        match (status.as_deref(), body.map(|body| body.to_bytes())) {
            (Some("5"), _) => {
                Verdict::no("service", format!("the server knows no service {:?}", self.service))
            }
            (Some("12"), _) => Verdict::no("service", "the server does not speak the health protocol"),
            (Some("16" | "7"), _) => {
                crate::wire::Trouble::auth("the server refuses (grpc-status 7 or 16)").into()
            }
            (Some(code), _) if code != "0" => Verdict::unknown("response", format!("grpc-status {code}")),
            (_, Err(error)) => Verdict::unknown("response", describe(error.as_ref())),
            (_, Ok(body)) => match serving(&body) {
                Some(1) => Verdict::ready("SERVING"),
                Some(2) => Verdict::no("health", "NOT_SERVING"),
                Some(3) => Verdict::no("health", "SERVICE_UNKNOWN"),
                Some(_) => Verdict::no("health", "UNKNOWN"),
                None => Verdict::unknown("response", "the answer is no health message"),
            },
        }
    }

    /// `HealthCheckRequest { string service = 1 }` in a frame: not compressed, length, message.
    fn request(&self) -> Vec<u8> {
        let mut message = Vec::new();
        if !self.service.is_empty() {
            message.extend([0x0a, u8::try_from(self.service.len()).unwrap_or(0)]);
            message.extend(self.service.as_bytes());
        }
        let mut frame = vec![0];
        frame.extend(u32::try_from(message.len()).unwrap_or(0).to_be_bytes());
        frame.extend(message);
        frame
    }
}

/// `HealthCheckResponse { ServingStatus status = 1 }`; zero is left out by protobuf.
fn serving(body: &[u8]) -> Option<u8> {
    let (head, message) = body.split_at_checked(5)?;
    if head[0] != 0
        || usize::try_from(u32::from_be_bytes([head[1], head[2], head[3], head[4]])).ok()? != message.len()
    {
        return None;
    }
    match message {
        [] => Some(0),
        [0x08, status, ..] => Some(*status),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames() {
        assert_eq!(serving(&[0, 0, 0, 0, 2, 8, 1]), Some(1));
        assert_eq!(serving(&[0, 0, 0, 0, 0]), Some(0));
        for bad in [&[][..], &[0, 0, 0], &[1, 0, 0, 0, 2, 8, 1], &[0, 0, 0, 0, 9, 8, 1], &[0, 0, 0, 0, 1, 9]]
        {
            assert_eq!(serving(bad), None);
        }
    }
}
