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
mod prepare;
pub mod send;
mod shadow;
pub mod upgrade;

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::header::ACCEPT;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::ext::Protocol;

use self::answer::Answer;
use self::body::Inbound;
use self::fault::{Fault, Head};
use self::finish::Finish;
use crate::access::Record;
use crate::clock;
use crate::config::plan::{FaultPlan, ListenerKind, Policy};
use crate::fields::name::{CONNECTION, HOST, REQUEST_ID};
use crate::fields::{Ask, Headers};
use crate::listen::{Client, framing};
use crate::worker::Worker;

/// An answer for the client.
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: Headers,
    /// The body.
    pub body: Answer,
}

/// Serves a request of HTTP/2.
///
/// # Errors
/// Never.
pub async fn handle(
    worker: Rc<Worker>,
    client: Rc<Client>,
    mut request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    let tunnel = (request.method() == Method::CONNECT).then(|| hyper::upgrade::on(&mut request));
    let protocol = request.extensions_mut().remove::<Protocol>();
    let (parts, body) = request.into_parts();
    let body = tunnel.map_or_else(|| Inbound::H2(body), |tunnel| Inbound::Tunnel(tunnel, protocol));
    clock::turn();
    let mut work = pin!(respond(worker, client, parts.into(), body));
    let reply = poll_fn(|cx| {
        clock::turn();
        work.as_mut().poll(cx)
    });
    let Reply { status, headers, mut body } = reply.await;
    body.set_apart();
    let mut response = Response::new(body);
    (*response.status_mut(), *response.headers_mut()) = (status, headers.into_map());
    Ok(response)
}

/// Serves a request; errors become answers.
pub async fn respond(worker: Rc<Worker>, client: Rc<Client>, mut ask: Ask, body: Inbound) -> Reply {
    let (worker, client, started) = (&worker, &client, clock::now());
    let h2 = ask.version == Version::HTTP_2;
    headers::request_id(&mut ask.headers);
    let grpc = grpc::is_grpc(&ask.headers);
    let connect = ask.method == Method::CONNECT;
    let traces = worker.tracer.borrow().on();
    let logs = worker.log.on() || traces;
    let tap = worker.board.tap.head(&ask);
    let record = record(client, &ask, logs);
    let mut finish = Finish::new(record, worker.log.clone(), client.clone(), started);
    if logs {
        (finish.record.trace, finish.span) = worker.tracer.borrow().begin(&mut ask.headers);
    }
    if let Some(format) = worker.log.format() {
        finish.record.captured = format.request(&ask.headers);
    }
    finish.tap = tap.map(|head| (head, worker.board.clone()));
    let result = serve(worker, client, &mut ask, body, &mut finish, started, grpc).await;
    let mut reply = match result {
        Ok(Served::Relay(got, wrap)) => {
            let send::Got { status, headers, rest } = got;
            finish.record.status = status.as_u16();
            if let Some(format) = worker.log.format() {
                format.answer(&headers, &mut finish.record.captured);
            }
            if let Some((tap, _)) = &mut finish.tap {
                tap.answer(status, &headers);
            }
            Reply { status, headers, body: wrap.wrap(rest, finish) }
        }
        Ok(Served::Upgrade(status, headers, pending)) => {
            finish.record.status = status.as_u16();
            pending.start(finish);
            Reply { status, headers, body: Answer::Own(None, None) }
        }
        Err(fault) => failed(&fault, &ask, grpc, finish),
    };
    let switched = reply.status == StatusCode::SWITCHING_PROTOCOLS || (connect && reply.status.is_success());
    if !h2 {
        client.watch.answered(switched);
    }
    if worker.draining.get() && !h2 && !switched {
        reply.headers.set(&CONNECTION, HeaderValue::from_static("close"));
    }
    reply
}

/// The answer that says what went wrong.
fn failed(fault: &Fault, ask: &Ask, grpc: bool, mut finish: Box<Finish>) -> Reply {
    let upstream = finish.record.upstream.clone();
    let response = fault.response(&Head {
        grpc,
        h2: ask.version == Version::HTTP_2,
        accept: ask.headers.text(&ACCEPT),
        id: ask.headers.text(&REQUEST_ID).unwrap_or_default(),
        upstream: upstream.as_deref(),
    });
    let (head, body) = response.into_parts();
    note(&mut finish, fault, head.status);
    finish.record.bytes.1 = body.as_ref().map_or(0, |body| body.len() as u64);
    Reply { status: head.status, headers: head.headers.into(), body: Answer::Own(body, Some(finish)) }
}

/// What comes of a request that got an answer.
enum Served {
    /// An answer with a body.
    Relay(send::Got, attempt::Wrap),
    /// 101, or 200 to CONNECT: bytes from now on.
    Upgrade(StatusCode, Headers, upgrade::Pending),
}

/// What is known of a request when it comes; most of it only if somebody will `look`.
fn record(client: &Client, ask: &Ask, look: bool) -> Record {
    let written = look && refused(ask, client).is_none();
    let at = if look { jiff::Timestamp::now() } else { jiff::Timestamp::UNIX_EPOCH };
    let protocol = match ask.version {
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    };
    Record {
        http: true,
        request: written.then(|| (ask.method.clone(), ask.uri.clone())),
        host: if look { headers::host(ask).map(str::to_owned) } else { None },
        id: if look { ask.headers.value(&REQUEST_ID) } else { None },
        ..Record::new(at, client.listener(), client.address.clone(), protocol)
    }
}

/// Counts and records a fault.
fn note(finish: &mut Finish, fault: &Fault, status: StatusCode) {
    finish.complete = true;
    finish.record.status = status.as_u16();
    finish.flag(fault.error);
    if let (Some(upstream), Some(reason)) = (&finish.upstream, fault.reason) {
        upstream.stats.failures[reason as usize].add(1);
    }
    finish.record.error = Some(fault.detail.clone());
}

/// Everything up to the head of the answer.
async fn serve(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    ask: &mut Ask,
    body: Inbound,
    finish: &mut Box<Finish>,
    started: Instant,
    grpc: bool,
) -> Result<Served, Fault> {
    check(ask, client)?;
    let (body, tunnel) = match body {
        Inbound::Tunnel(tunnel, protocol) => {
            if let Some(protocol) = protocol {
                upgrade::websocket(ask, protocol.as_ref())?;
            }
            (Inbound::Empty, Some(tunnel))
        }
        body => (body, None),
    };
    let policy = {
        if ask.method == Method::CONNECT {
            let plan = client.door.plan();
            return Box::pin(connect::run(worker, client, plan, ask, tunnel, finish)).await;
        }
        client.door.look(|plan| route(&plan.kind, ask))?
    };
    if let Some(fault) = policy.fault.as_ref().filter(|fault| fastrand::u32(..100) < fault.percent) {
        // In a box, as everything that waits where most requests do not.
        Box::pin(injected(fault, finish)).await?;
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
    let permit = match upstream.shared.in_flight.enter() {
        Some(permit) => Ok(permit),
        None => Box::pin(upstream.shared.in_flight.acquire()).await,
    };
    let permit = permit.map_err(|detail| {
        let mut fault = Fault::proxy(StatusCode::SERVICE_UNAVAILABLE, "connection_limit_reached", detail);
        fault.reason = Some(crate::stats::Reason::Limit);
        fault.retry_after = Some(1);
        fault
    })?;
    finish.permit = Some(permit);
    // HTTP/2 has none (RFC 9113, 8.2.2): such requests were refused.
    let wants =
        if ask.version == Version::HTTP_2 { None } else { headers::strip_hop_by_hop(&mut ask.headers) };
    let wants = if tunnel.is_some() { Some(HeaderValue::from_static("websocket")) } else { wants };
    // HTTP/2 by Upgrade would be a way past routes and rules (and RFC 9113 has dropped it): such a request is served as it is.
    let upgrade = wants.filter(|protocol| {
        ask.version != Version::HTTP_10 && !protocol.as_bytes().to_ascii_lowercase().starts_with(b"h2")
    });
    if ask.version == Version::HTTP_2 {
        headers::join_cookies(ask.headers.map());
    }
    let shadow = policy.shadow.as_ref().filter(|(_, percent)| fastrand::u32(..100) < *percent);
    let shadow = shadow.and_then(|(name, _)| worker.upstream(name));
    let job = attempt::Job {
        upstream,
        policy,
        client: client.clone(),
        started,
        grpc,
        upgrade,
        tunnel: tunnel.into(),
        shadow,
    };
    job.run(ask, body, finish).await
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
fn refused(ask: &Ask, client: &Client) -> Option<crate::listen::framing::Refusal> {
    let stands = ask.version != Version::HTTP_2 && ask.method.as_str() == "PRI";
    if stands { client.watch.refusal.get().copied() } else { None }
}

/// What no upstream should ever see. Most of it was refused by [`crate::listen::framing`], or by hyper on HTTP/2.
fn check(ask: &Ask, client: &Client) -> Result<(), Fault> {
    let bad = |detail: &str| {
        let mut fault = Fault::client(StatusCode::BAD_REQUEST, "http_request_error", detail);
        fault.close = true;
        Err(fault)
    };
    if let Some(refusal) = refused(ask, client) {
        let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST);
        let mut fault = Fault::client(status, "http_request_error", refusal.why);
        fault.close = true;
        return Err(fault);
    }
    let h2 = ask.version == Version::HTTP_2;
    // On HTTP/1 the scanner has seen to it that there is one, and that it is a host.
    if h2 {
        let (mut hosts, mut odd) = (0, false);
        ask.headers.each(&HOST, |host| {
            hosts += 1;
            odd |= !framing::is_host(host);
        });
        if hosts > 1 {
            return bad("more than one Host header");
        }
        if odd {
            return bad("the Host header is no host");
        }
        let (host, authority) = (ask.headers.get(&HOST), ask.uri.authority());
        // Two names for one place: which one counts would depend on who reads it (RFC 9113, 8.3.1).
        if let (Some(host), Some(authority)) = (host, authority)
            && !host.eq_ignore_ascii_case(authority.as_str().as_bytes())
        {
            return bad("Host and :authority name different places");
        }
        if host.is_none() && authority.is_none() {
            return bad("neither :authority nor Host is given");
        }
    }
    let path = ask.uri.path();
    let star = path == "*" && ask.method == Method::OPTIONS;
    if !path.starts_with('/') && !star && !path.is_empty() {
        return bad("the target is no path");
    }
    Ok(())
}

fn route(kind: &ListenerKind, ask: &Ask) -> Result<Arc<Policy>, Fault> {
    let ListenerKind::Http(routes) = kind else {
        let detail = "this listener now carries TCP; connect again";
        return Err(Fault::proxy(StatusCode::SERVICE_UNAVAILABLE, "proxy_configuration_error", detail));
    };
    routes.find(ask).map(|(policy, _)| policy.clone()).ok_or_else(|| {
        let detail = format!("no route takes {} {}", ask.method, ask.uri.path());
        Fault::proxy(StatusCode::NOT_FOUND, "destination_not_found", detail)
    })
}
