//! Active health checks: each endpoint is asked from time to time, and its word counts for every worker.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper_util::rt::TokioIo;

use super::connect::{self, Want};
use super::io::Stream;
use super::{Peer, Shared};
use crate::config::plan::{HealthKind, HealthPlan};

/// Checks for ever; ends at once when the plan asks for none.
pub async fn run(shared: &Shared) {
    let Some(plan) = &shared.plan.health else { return };
    // Results in a row: positive for successes, negative for failures.
    let mut rows: HashMap<Peer, i64> = HashMap::new();
    loop {
        let set = shared.endpoints();
        let checks = set.iter().map(|endpoint| check(shared, &endpoint.peer, plan));
        let results = futures_util::future::join_all(checks).await;
        for (endpoint, result) in set.iter().zip(results) {
            let row = rows.entry(endpoint.peer.clone()).or_default();
            *row = if result.is_ok() {
                row.max(&mut 0).saturating_add(1)
            } else {
                row.min(&mut 0).saturating_sub(1)
            };
            let well = endpoint.well.load(Ordering::Relaxed);
            if well && *row <= -i64::from(plan.fall) {
                let error = result.err().unwrap_or_default();
                tracing::warn!(upstream = %shared.plan.name, endpoint = %endpoint.peer, %error, "health check: ill");
                endpoint.well.store(false, Ordering::Relaxed);
            } else if !well && *row >= i64::from(plan.rise) {
                tracing::info!(upstream = %shared.plan.name, endpoint = %endpoint.peer, "health check: well again");
                endpoint.well.store(true, Ordering::Relaxed);
            }
        }
        rows.retain(|peer, _| set.iter().any(|endpoint| endpoint.peer == *peer));
        let wait = if set.is_empty() { Duration::from_millis(100) } else { plan.interval };
        tokio::time::sleep(wait.mul_f64(0.9 + 0.2 * fastrand::f64())).await;
    }
}

async fn check(shared: &Shared, peer: &Peer, plan: &HealthPlan) -> Result<(), String> {
    let work = async {
        let want = if matches!(plan.kind, HealthKind::Grpc(_)) { Want::Http2 } else { Want::Http1 };
        let connected = connect::stream(shared, peer, want, plan.timeout, None).await;
        let stream = connected.map_err(|error| error.detail)?.stream;
        match &plan.kind {
            HealthKind::Connect => Ok(()),
            HealthKind::Get(path) => get(shared, plan, path.as_str(), stream).await,
            HealthKind::Grpc(service) => grpc(shared, plan, service, stream).await,
        }
    };
    tokio::time::timeout(plan.timeout, work)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {:?}", plan.timeout)))
}

async fn get(shared: &Shared, plan: &HealthPlan, path: &str, stream: Stream) -> Result<(), String> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let request = Request::get(path)
        .header(http::header::HOST, &shared.authority)
        .header(http::header::USER_AGENT, AGENT)
        .header(http::header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    // Ends by itself after the answer: it asked for `Connection: close`.
    tokio::task::spawn_local(tokio::time::timeout(plan.timeout, connection));
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = response.status();
    let _ = Limited::new(response.into_body(), 64 << 10).collect().await;
    if status.is_success() { Ok(()) } else { Err(format!("answered {status}")) }
}

/// `grpc.health.v1.Health/Check` (<https://github.com/grpc/grpc/blob/master/doc/health-checking.md>): SERVING is well.
async fn grpc(shared: &Shared, plan: &HealthPlan, service: &str, stream: Stream) -> Result<(), String> {
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(connect::Local, TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
    tokio::task::spawn_local(tokio::time::timeout(plan.timeout, connection));
    let scheme = if shared.plan.tls.is_some() { "https" } else { "http" };
    let authority = shared.authority.to_str().unwrap_or("localhost");
    let request = Request::post(format!("{scheme}://{authority}/grpc.health.v1.Health/Check"))
        .header(http::header::CONTENT_TYPE, "application/grpc")
        .header(http::header::TE, "trailers")
        .header(http::header::USER_AGENT, AGENT)
        .body(Full::new(question(service)))
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let said = |headers: &http::HeaderMap| {
        headers.get("grpc-status").and_then(|code| code.to_str().ok()?.parse().ok())
    };
    let early: Option<u32> = said(response.headers());
    let body =
        Limited::new(response.into_body(), 64 << 10).collect().await.map_err(|error| error.to_string())?;
    let code = early.or_else(|| body.trailers().and_then(said));
    if code != Some(0) {
        return Err(
            code.map_or("gave no gRPC status".to_owned(), |code| format!("answered gRPC status {code}"))
        );
    }
    match status(&body.to_bytes()) {
        Some(1) => Ok(()),
        Some(other) => Err(format!("is not SERVING (status {other})")),
        None => Err("answered something that is no HealthCheckResponse".to_owned()),
    }
}

/// A gRPC frame with `HealthCheckRequest { service = 1 }`.
fn question(service: &str) -> Bytes {
    let service = &service.as_bytes()[..service.len().min(120)];
    let mut message = Vec::new();
    if let Some(length) = u8::try_from(service.len()).ok().filter(|length| *length > 0) {
        message.extend([0x0a, length]);
        message.extend_from_slice(service);
    }
    let mut frame = vec![0, 0, 0, 0, u8::try_from(message.len()).unwrap_or(0)];
    frame.append(&mut message);
    frame.into()
}

/// `HealthCheckResponse { status = 1 }`; a status of 0 is left out on the wire.
fn status(frame: &[u8]) -> Option<u8> {
    match frame {
        [0, 0, 0, 0, 0, ..] => Some(0),
        [0, 0, 0, 0, 2, 0x08, status, ..] => Some(*status),
        _ => None,
    }
}

const AGENT: &str = "ambassador-proxy health check";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_those_of_protobuf() {
        assert_eq!(question(""), &b"\0\0\0\0\0"[..]);
        assert_eq!(question("a.B"), &b"\0\0\0\0\x05\x0a\x03a.B"[..]);
        assert_eq!(status(b"\0\0\0\0\x02\x08\x01"), Some(1));
        assert_eq!((status(b"\0\0\0\0\0"), status(b"x")), (Some(0), None));
    }
}
