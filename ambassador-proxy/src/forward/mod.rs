//! One HTTP request: `check → route → limit → attempt (and again, when that is safe) → answer`

pub mod answer;
pub mod attempt;
pub mod body;
mod connect;
mod expect;
pub mod fault;
pub mod finish;
pub mod grpc;
pub mod headers;
mod hedge;
pub mod send;
mod shadow;
pub mod upgrade;

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{CONNECTION, HOST};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};

use self::answer::Answer;
use self::body::Inbound;
use self::fault::{Fault, Head};
use self::finish::Finish;
use crate::access::Record;
use crate::config::plan::{FaultPlan, ListenerKind, Policy};
use crate::listen::Client;
use crate::worker::Worker;

/// Serves a request; errors become answers. `spelling` is its head as it was written, for the names of its headers.
///
/// # Errors
/// Never.
pub async fn handle(
    worker: Rc<Worker>,
    client: Rc<Client>,
    request: Request<Inbound>,
    spelling: Bytes,
) -> Result<Response<Answer>, Infallible> {
    let started = Instant::now();
    let (mut parts, body) = request.into_parts();
    let h2 = parts.version == Version::HTTP_2;
    let id = headers::request_id(&mut parts.headers);
    let grpc = grpc::is_grpc(&parts.headers);
    let accept = Head::accept(&parts.headers).cloned();
    let connect = parts.method == Method::CONNECT;
    let mut finish =
        Finish::new(record(&worker, &client, &parts, &id), worker.log.clone(), client.clone(), started);
    if worker.log.on() || worker.tracer.borrow().on() {
        (finish.record.trace, finish.span) = worker.tracer.borrow().begin(&mut parts.headers);
    }
    if let Some(format) = worker.log.format() {
        finish.record.captured = format.request(&parts.headers);
    }
    finish.tap = worker.board.tap.head(&parts).map(|head| (head, worker.board.clone()));
    let result = serve(&worker, &client, &mut parts, body, &mut finish, started, grpc, spelling).await;
    let mut response = match result {
        Ok(Served::Relay(response, wrap)) => {
            let (head, body) = response.into_parts();
            finish.record.status = head.status.as_u16();
            if let Some(format) = worker.log.format() {
                format.answer(&head.headers, &mut finish.record.captured);
            }
            if let Some((tap, _)) = &mut finish.tap {
                tap.answer(head.status, &head.headers);
            }
            Response::from_parts(head, wrap.wrap(body, finish))
        }
        Ok(Served::Upgrade(response, wrap)) => {
            finish.record.status = response.status().as_u16();
            wrap.start(finish);
            response.map(|()| Answer::Own(None, None))
        }
        Err(fault) => {
            let name = finish.record.upstream.clone();
            let head = Head { grpc, h2, accept: accept.as_ref(), id: &id, upstream: name.as_deref() };
            let response = fault.response(&head);
            note(&mut finish, fault, response.status());
            let (head, body) = response.into_parts();
            finish.record.bytes.1 = body.as_ref().map_or(0, |body| body.len() as u64);
            Response::from_parts(head, Answer::Own(body, Some(finish)))
        }
    };
    let status = response.status();
    let switched = status == StatusCode::SWITCHING_PROTOCOLS || (connect && status.is_success());
    if !h2 {
        client.watch.answered(switched);
    }
    if worker.draining.get() && !h2 && !switched {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// What comes of a request that got an answer.
enum Served {
    /// An answer with a body.
    Relay(Response<send::Rest>, attempt::Wrap),
    /// 101: bytes from now on.
    Upgrade(Response<()>, upgrade::Pending),
}

fn record(worker: &Worker, client: &Client, parts: &http::request::Parts, id: &HeaderValue) -> Record {
    let on = worker.log.on() || worker.tracer.borrow().spans.is_some();
    Record {
        at: if on { jiff::Timestamp::now() } else { jiff::Timestamp::UNIX_EPOCH },
        listener: client.listener(),
        client: client.address.clone(),
        protocol: match parts.version {
            Version::HTTP_2 => "HTTP/2",
            Version::HTTP_10 => "HTTP/1.0",
            _ => "HTTP/1.1",
        },
        request: match refused(parts, client) {
            Some(_) => None,
            None => Some((parts.method.clone(), parts.uri.clone())),
        },
        host: if on { headers::host(&parts.uri, &parts.headers).map(str::to_owned) } else { None },
        status: 0,
        flags: Vec::new(),
        error: None,
        upstream: None,
        endpoint: None,
        attempts: 0,
        reused: false,
        bytes: (0, 0),
        id: Some(id.clone()),
        dns: std::time::Duration::ZERO,
        connect: std::time::Duration::ZERO,
        tls: std::time::Duration::ZERO,
        first_byte: None,
        took: std::time::Duration::ZERO,
        trace: None,
        captured: crate::access::format::Captured::default(),
    }
}

/// Counts and records a fault.
fn note(finish: &mut Finish, fault: Fault, status: StatusCode) {
    finish.complete = true;
    finish.record.status = status.as_u16();
    finish.flag(fault.error);
    if let (Some(upstream), Some(reason)) = (&finish.upstream, fault.reason) {
        upstream.stats.failures[reason as usize].add(1);
    }
    finish.record.error = Some(fault.detail);
}

/// Everything up to the head of the answer.
#[expect(clippy::too_many_arguments, reason = "everything that is known about a request")]
async fn serve(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    parts: &mut http::request::Parts,
    body: Inbound,
    finish: &mut Box<Finish>,
    started: Instant,
    grpc: bool,
    spelling: Bytes,
) -> Result<Served, Fault> {
    check(parts, client)?;
    let plan = client.door.plan();
    if parts.method == Method::CONNECT {
        return Box::pin(connect::run(worker, client, &plan, parts, finish)).await;
    }
    let policy = route(&plan.kind, parts)?;
    if let Some(fault) = policy.fault.as_ref().filter(|fault| fastrand::u32(..100) < fault.percent) {
        injected(fault, finish).await?;
    }
    if let Some(bucket) = &policy.rate_limit {
        bucket.take(started).map_err(|wait| {
            let detail = "more requests than rate_limit allows";
            let mut fault = Fault::client(StatusCode::TOO_MANY_REQUESTS, "http_request_denied", detail);
            fault.retry_after = Some(wait.as_secs() + 1);
            fault
        })?;
    }
    let Some(upstream) = worker.upstream(&policy.upstream) else {
        let detail = format!("upstream {} is gone from the configuration", policy.upstream);
        return Err(Fault::proxy(StatusCode::SERVICE_UNAVAILABLE, "proxy_configuration_error", detail));
    };
    finish.upstream(&upstream);
    upstream.budget.request(started);
    let permit = upstream.shared.in_flight.acquire().await.map_err(|detail| {
        let mut fault = Fault::proxy(StatusCode::SERVICE_UNAVAILABLE, "connection_limit_reached", detail);
        fault.reason = Some(crate::stats::Reason::Limit);
        fault.retry_after = Some(1);
        fault
    })?;
    finish.permit = Some(permit);
    let wants = headers::strip_hop_by_hop(&mut parts.headers);
    // HTTP/2 by Upgrade would be a way past routes and rules (and RFC 9113 has dropped it): such a request is served as it is.
    let upgrade = wants.filter(|protocol| {
        parts.version == Version::HTTP_11 && !protocol.as_bytes().to_ascii_lowercase().starts_with(b"h2")
    });
    if parts.version == Version::HTTP_2 {
        headers::join_cookies(&mut parts.headers);
    }
    let shadow = policy.shadow.as_ref().filter(|(_, percent)| fastrand::u32(..100) < *percent);
    let shadow = shadow.and_then(|(name, _)| worker.upstream(name));
    let job =
        attempt::Job { upstream, policy, client: client.clone(), started, grpc, upgrade, spelling, shadow };
    job.run(parts, body, finish).await
}

/// A fault that the configuration asks for.
async fn injected(fault: &FaultPlan, finish: &mut Finish) -> Result<(), Fault> {
    finish.flag("injected_fault");
    if let Some(delay) = fault.delay {
        tokio::time::sleep(delay).await;
    }
    match fault.status {
        None => Ok(()),
        Some(status) => {
            let detail = "the configuration asks for this fault (route, `fault`)";
            Err(Fault::proxy(status, "proxy_internal_response", detail))
        }
    }
}

/// Why the bytes of this request were refused before they were parsed; it stands for them only.
fn refused(parts: &http::request::Parts, client: &Client) -> Option<crate::listen::framing::Refusal> {
    let stands = parts.version != Version::HTTP_2 && parts.method.as_str() == "PRI";
    if stands { client.watch.refusal.get().copied() } else { None }
}

/// What no upstream should ever see. Most of it was refused by [`crate::listen::framing`], or by hyper on HTTP/2.
fn check(parts: &http::request::Parts, client: &Client) -> Result<(), Fault> {
    let bad = |detail: &str| {
        let mut fault = Fault::client(StatusCode::BAD_REQUEST, "http_request_error", detail);
        fault.close = true;
        Err(fault)
    };
    if let Some(refusal) = refused(parts, client) {
        let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST);
        let mut fault = Fault::client(status, "http_request_error", refusal.why);
        fault.close = true;
        return Err(fault);
    }
    let mut hosts = parts.headers.get_all(HOST).iter();
    let first = hosts.next();
    if hosts.next().is_some() {
        return bad("more than one Host header");
    }
    if first.is_none() && parts.version == Version::HTTP_11 && parts.uri.authority().is_none() {
        return bad("no Host header");
    }
    if first.is_some_and(|host| {
        !host.as_bytes().iter().all(|b| b.is_ascii_graphic() && !b"/?#@\\,\"<>".contains(b))
    }) {
        return bad("the Host header is no host");
    }
    // Two names for one place: which one counts would depend on who reads it (RFC 9113, 8.3.1).
    let authority = parts.uri.authority().filter(|_| parts.version == Version::HTTP_2);
    if let (Some(host), Some(authority)) = (first, authority)
        && !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes())
    {
        return bad("Host and :authority name different places");
    }
    if parts.version == Version::HTTP_2 && first.is_none() && authority.is_none() {
        return bad("neither :authority nor Host is given");
    }
    let path = parts.uri.path();
    let star = path == "*" && parts.method == Method::OPTIONS;
    if !path.starts_with('/') && !star && !path.is_empty() {
        return bad("the target is no path");
    }
    Ok(())
}

fn route(kind: &ListenerKind, parts: &http::request::Parts) -> Result<Arc<Policy>, Fault> {
    let ListenerKind::Http(routes) = kind else {
        let detail = "this listener now carries TCP; connect again";
        return Err(Fault::proxy(StatusCode::SERVICE_UNAVAILABLE, "proxy_configuration_error", detail));
    };
    let host = headers::host(&parts.uri, &parts.headers);
    let found = routes.find(&parts.method, host, parts.uri.path(), &parts.headers);
    found.map(|(policy, _)| policy.clone()).ok_or_else(|| {
        let detail = format!("no route takes {} {}", parts.method, parts.uri.path());
        Fault::proxy(StatusCode::NOT_FOUND, "destination_not_found", detail)
    })
}
