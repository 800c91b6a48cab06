//! One try: the request goes out on one connection, and the head of an answer comes back, or not.

use std::future::poll_fn;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;

use super::attempt::Job;
use super::body::{Exchange, Outgoing};
use super::fault::Fault;
use crate::h1::client::Broken;
use crate::h1::head::Answered;
use crate::stats::Reason;
use crate::upstream::endpoint::LocalEndpoint;
use crate::upstream::local::Leased;
use crate::upstream::pool::Wire;

/// What a try came to.
pub(super) enum Sent {
    /// The head of an answer.
    Answer(Response<Rest>),
    /// The connection was dead before a byte of the request left.
    Nothing(Error),
    /// It broke afterwards.
    Broken {
        error: Error,
        /// Whether bytes of an answer had come.
        answered: bool,
    },
    /// No answer in time; says which time.
    Late(String),
}

/// Where the rest of an answer comes from.
pub enum Rest {
    /// From the connection it was asked on; these are the bytes of its head.
    Line(Bytes),
    /// From a stream of HTTP/2.
    H2(Incoming),
}

/// Why there is no answer.
pub(super) enum Error {
    H1(Broken),
    H2(hyper::Error),
}

fn response(answered: Answered) -> Response<Rest> {
    let mut response = Response::new(Rest::Line(answered.spelling));
    (*response.status_mut(), *response.headers_mut()) = (answered.status, answered.headers);
    response
}

/// Sends the request. The connection comes back with the result, because an answer's body still needs it.
pub(super) async fn send(
    job: &Job,
    request: Request<Outgoing>,
    mut leased: Leased,
    exchange: &Exchange,
    deadline: Option<Instant>,
) -> (Sent, Leased) {
    let requests = &leased.wire.meta().requests;
    requests.set(requests.get() + 1);
    let sent_at = Instant::now();
    let streaming = job.grpc || job.upgrade.is_some();
    // The flag says that nothing of the request was processed.
    let result = {
        let late = late(job, exchange, deadline, streaming, sent_at);
        match &mut leased.wire {
            Wire::H1(lease) => {
                lease.conn.begin(request, &job.spelling);
                let head = race(poll_fn(|cx| lease.conn.poll_head(cx)), late).await;
                head.map(|head| {
                    head.map(response).map_err(|error| (!lease.conn.has_sent(), Error::H1(error)))
                })
            }
            Wire::H2(lease) => {
                let response = race(lease.sender.try_send_request(request), late).await;
                response.map(|response| {
                    response.map(|response| response.map(Rest::H2)).map_err(|mut error| {
                        let returned = error.take_message().is_some();
                        let error = error.into_error();
                        (returned || refused(&error), Error::H2(error))
                    })
                })
            }
        }
    };
    let sent = match result {
        Ok(Ok(response)) => {
            let now = Instant::now();
            // Uploads would make an endpoint look slow: what counts is the time after the last byte sent.
            let since = exchange.body_done.get().map_or(now, |done| done.max(sent_at));
            let took = now.saturating_duration_since(since);
            leased.carried.0.observe(took, now);
            job.upstream.shared.in_flight.observe(Some(took));
            Sent::Answer(response)
        }
        Ok(Err((true, error))) => Sent::Nothing(error),
        Ok(Err((false, error))) => {
            let answered = matches!(&leased.wire, Wire::H1(lease) if lease.conn.has_answered());
            Sent::Broken { error, answered }
        }
        Err(detail) => Sent::Late(detail),
    };
    if !matches!(sent, Sent::Answer(_)) {
        job.upstream.shared.in_flight.observe(None);
    }
    (sent, leased)
}

async fn race<T>(send: impl Future<Output = T>, late: impl Future<Output = String>) -> Result<T, String> {
    tokio::select! {
        biased;
        result = send => Ok(result),
        detail = late => Err(detail),
    }
}

/// Ends when the answer is late, with the limit that was reached.
async fn late(
    job: &Job,
    exchange: &Exchange,
    deadline: Option<Instant>,
    streaming: bool,
    sent_at: Instant,
) -> String {
    let timeouts = &job.policy.timeouts;
    let first_byte = if streaming { None } else { timeouts.first_byte };
    let per_try = job.policy.retry.per_try;
    loop {
        let now = Instant::now();
        // Times for the answer begin when the request is out; until then, and for streams, silence is what counts.
        let done = exchange.body_done.get().map(|done| done.max(sent_at));
        let mut limits: [Option<(Instant, &str, Duration)>; 4] = [None; 4];
        if let Some(done) = done {
            limits[0] = first_byte.map(|limit| (done + limit, "first_byte", limit));
            limits[1] = per_try.map(|limit| (done + limit, "per_try", limit));
        }
        if done.is_none() || streaming {
            let active = exchange.active.get().max(sent_at);
            limits[2] = timeouts.idle.map(|limit| (active + limit, "idle", limit));
        }
        limits[3] = deadline.map(|at| (at, "total", at.saturating_duration_since(job.started)));
        let Some((at, name, limit)) = limits.into_iter().flatten().min_by_key(|(at, ..)| *at) else {
            return std::future::pending().await;
        };
        if now >= at {
            return format!("gave no answer in time ({name} {limit:?})");
        }
        // An upload may end at any moment, and with it begins the time for the answer.
        let pause = if done.is_none() { (at - now).min(Duration::from_millis(100)) } else { at - now };
        tokio::time::sleep(pause).await;
    }
}

/// HTTP/2 says so when a request was not processed: REFUSED_STREAM, or a GOAWAY that counts it out (RFC 9113, 8.7).
fn refused(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| {
        let unprocessed =
            cause.is_go_away() && cause.is_remote() && cause.reason() == Some(h2::Reason::NO_ERROR);
        unprocessed || (cause.is_remote() && cause.reason() == Some(h2::Reason::REFUSED_STREAM))
    })
}

/// What to tell the client about a broken connection.
pub(super) fn fault(error: &Error, endpoint: &LocalEndpoint) -> Fault {
    let name = &endpoint.name;
    let (kind, reason, detail) = match error {
        Error::H1(Broken::Large) => (
            "http_response_header_section_size",
            Reason::Protocol,
            format!("{name} answered with a head over 64 KB or 100 headers"),
        ),
        Error::H1(Broken::Form(why)) => (
            "http_protocol_error",
            Reason::Protocol,
            format!("{name} answered something that is no HTTP/1.1: {why}"),
        ),
        Error::H1(Broken::Closed) => (
            "connection_terminated",
            Reason::Reset,
            format!("{name} closed the connection without an answer"),
        ),
        Error::H1(error @ (Broken::Io(_) | Broken::Body(_))) => {
            ("connection_terminated", Reason::Reset, format!("the connection to {name} broke ({error})"))
        }
        Error::H2(error) => {
            let cause =
                std::error::Error::source(error).map_or_else(String::new, |cause| format!(": {cause}"));
            let detail = format!("the connection to {name} broke ({error}{cause})");
            ("connection_terminated", Reason::Reset, detail)
        }
    };
    Fault::upstream(StatusCode::BAD_GATEWAY, kind, reason, detail)
}
