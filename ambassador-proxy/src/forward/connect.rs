//! CONNECT: bytes to a place that the listener's list allows, with everything that belongs to an upstream for bytes.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use hyper::upgrade::OnUpgrade;

use super::Served;
use super::fault::Fault;
use super::finish::Finish;
use super::upgrade::{Near, Pending};
use crate::config::plan::ListenerPlan;
use crate::fields::Ask;
use crate::listen::Client;
use crate::stats::Reason;
use crate::worker::Worker;

/// Connects, and answers 200.
pub(super) async fn run(
    worker: &Rc<Worker>,
    client: &Client,
    plan: Arc<ListenerPlan>,
    ask: &Ask,
    tunnel: Option<OnUpgrade>,
    finish: &mut Box<Finish>,
) -> Result<Served, Fault> {
    let denied = |status, detail: String| {
        let mut fault = Fault::client(status, "http_request_denied", detail);
        fault.close = true;
        fault
    };
    if plan.connect.is_empty() {
        return Err(denied(StatusCode::METHOD_NOT_ALLOWED, "CONNECT is not carried here".to_owned()));
    }
    let target =
        ask.uri.authority().map(|authority| authority.as_str().to_ascii_lowercase()).unwrap_or_default();
    let Some(name) = plan.connect.get(&target) else {
        let detail = format!("{target} is not in this listener's `connect` list");
        return Err(denied(StatusCode::FORBIDDEN, detail));
    };
    let Some(upstream) = worker.upstream(name) else {
        let detail = format!("upstream {name} is gone from the configuration");
        return Err(Fault::proxy(StatusCode::SERVICE_UNAVAILABLE, "proxy_configuration_error", detail));
    };
    finish.upstream(&upstream);
    upstream.budget.request(Instant::now());
    let permit = upstream.shared.in_flight.acquire().await.map_err(|detail| {
        let mut fault = Fault::proxy(StatusCode::SERVICE_UNAVAILABLE, "connection_limit_reached", detail);
        fault.reason = Some(Reason::Limit);
        fault.retry_after = Some(1);
        fault
    })?;
    finish.permit = Some(permit);
    let dialled = crate::tunnel::dial(&upstream, finish, None, None).await;
    let (carried, connected) = dialled.map_err(|error| Fault::connect(&error))?;
    let idle = upstream.shared.plan.tcp_idle;
    let far = (connected.stream, Bytes::new());
    let near = tunnel.map_or_else(|| Near::Line(client.take_over()), Near::Stream);
    let pending = Pending::new(near, far, carried, idle);
    Ok(Served::Upgrade(StatusCode::OK, HeaderMap::new().into(), pending))
}
