//! Active health checks: each endpoint is asked from time to time, and its word counts for every worker.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;

use super::connect::{self, Want};
use super::{Peer, Shared};
use crate::config::plan::HealthPlan;

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
        let connected = connect::stream(shared, peer, Want::Http1, plan.timeout, None).await;
        let (stream, _) = connected.map_err(|error| error.detail)?;
        let Some(path) = &plan.path else { return Ok(()) };
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        let request = Request::get(path.as_str())
            .header(http::header::HOST, &shared.authority)
            .header(http::header::USER_AGENT, "ambassador-proxy health check")
            .header(http::header::CONNECTION, "close")
            .body(Empty::<bytes::Bytes>::new())
            .map_err(|error| error.to_string())?;
        // Ends by itself after the answer: it asked for `Connection: close`.
        tokio::task::spawn_local(tokio::time::timeout(plan.timeout, connection));
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        let _ = http_body_util::Limited::new(response.into_body(), 64 << 10).collect().await;
        if status.is_success() { Ok(()) } else { Err(format!("answered {status}")) }
    };
    tokio::time::timeout(plan.timeout, work)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {:?}", plan.timeout)))
}
