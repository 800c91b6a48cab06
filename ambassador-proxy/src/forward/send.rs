//! One try: the request goes out on one connection, and the head of an answer comes back, or not.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use http::StatusCode;
use hyper::body::Incoming;

use super::attempt::Job;
use super::body::{Exchange, Outgoing};
use super::fault::Fault;
use crate::clock::{self, Alarm};
use crate::fields::{Ask, Headers};
use crate::h1::client::Broken;
use crate::stats::Reason;
use crate::upstream::endpoint::LocalEndpoint;
use crate::upstream::local::Leased;
use crate::upstream::pool::Wire;

/// What a try came to.
pub(super) enum Sent {
    /// The head of an answer.
    Answer(Got),
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

/// The head of an answer, and the way to its body.
pub(super) struct Got {
    pub(super) status: StatusCode,
    pub(super) headers: Headers,
    pub(super) rest: Rest,
}

/// Where the rest of an answer comes from.
pub enum Rest {
    /// From the connection it was asked on.
    Line,
    /// From a stream of HTTP/2.
    H2(Incoming),
}

/// Why there is no answer.
pub(super) enum Error {
    H1(Broken),
    H2(hyper::Error),
}

/// Sends the request; an answer's body still needs the connection.
pub(super) async fn send(
    job: &Job,
    ask: &Ask,
    headers: &Headers,
    body: Outgoing,
    leased: &mut Leased,
    exchange: &Exchange,
    deadline: Option<Instant>,
) -> Sent {
    let requests = &leased.wire.meta().requests;
    requests.set(requests.get() + 1);
    let sent_at = clock::now();
    let streaming = job.grpc || job.upgrade.is_some();
    let mut late = Late { job, exchange, deadline, streaming, sent_at, alarm: Alarm::default() };
    // The flag says that nothing of the request was processed.
    let result = match &mut leased.wire {
        Wire::H1(lease) => {
            lease.conn.begin(&ask.method, ask.target(), headers, body);
            let head = poll_fn(|cx| match lease.conn.poll_head(cx) {
                Poll::Ready(head) => Poll::Ready(Ok(head)),
                Poll::Pending => late.poll(cx).map(Err),
            });
            head.await.map(|head| match head {
                Ok(head) => Ok(Got { status: head.status, headers: head.headers, rest: Rest::Line }),
                Err(error) => Err((!lease.conn.has_sent(), Error::H1(error))),
            })
        }
        Wire::H2(lease) => {
            let mut sending = pin!(lease.sender.try_send_request(job.over_h2(ask, headers, body)));
            let response = poll_fn(|cx| match sending.as_mut().poll(cx) {
                Poll::Ready(response) => Poll::Ready(Ok(response)),
                Poll::Pending => late.poll(cx).map(Err),
            });
            response.await.map(|response| match response {
                Ok(response) => {
                    let (head, incoming) = response.into_parts();
                    Ok(Got { status: head.status, headers: head.headers.into(), rest: Rest::H2(incoming) })
                }
                Err(mut error) => {
                    let returned = error.take_message().is_some();
                    let error = error.into_error();
                    Err((returned || refused(&error), Error::H2(error)))
                }
            })
        }
    };
    let sent = match result {
        Ok(Ok(got)) => {
            let now = clock::now();
            // Uploads would make an endpoint look slow: what counts is the time after the last byte sent.
            let since = exchange.body_done.get().map_or(now, |done| done.max(sent_at));
            let took = now.saturating_duration_since(since);
            leased.carried.0.observe(took, now);
            job.upstream.shared.in_flight.observe(Some(took));
            Sent::Answer(got)
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
    sent
}

/// The limits of the time for an answer.
struct Late<'a> {
    job: &'a Job,
    exchange: &'a Exchange,
    deadline: Option<Instant>,
    streaming: bool,
    sent_at: Instant,
    alarm: Alarm,
}

impl Late<'_> {
    /// Ready when the answer is late, with the limit that was reached.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<String> {
        loop {
            let now = clock::now();
            // An upload may end at any moment, and with it begins the time for the answer.
            let sends = self.exchange.body_done.get().is_none();
            let Some((at, name, limit)) = self.next() else {
                if sends {
                    ready!(self.alarm.poll(cx, now + Duration::from_millis(100)));
                    clock::turn();
                    continue;
                }
                return Poll::Pending;
            };
            if now >= at {
                return Poll::Ready(format!("gave no answer in time ({name} {limit:?})"));
            }
            let at = if sends { at.min(now + Duration::from_millis(100)) } else { at };
            ready!(self.alarm.poll(cx, at));
            clock::turn();
        }
    }

    /// The first limit that will be reached, as things are.
    fn next(&self) -> Option<(Instant, &'static str, Duration)> {
        let Self { job, exchange, deadline, streaming, sent_at, .. } = *self;
        let timeouts = &job.policy.timeouts;
        let mut next: Option<(Instant, &'static str, Duration)> = None;
        let mut limits = |at: Instant, name, limit| {
            if next.is_none_or(|(other, ..)| at < other) {
                next = Some((at, name, limit));
            }
        };
        // Times for the answer begin when the request is out; until then, and for streams, silence is what counts.
        let done = exchange.body_done.get().map(|done| done.max(sent_at));
        if let Some(done) = done {
            if let Some(limit) = timeouts.first_byte.filter(|_| !streaming) {
                limits(done + limit, "first_byte", limit);
            }
            if let Some(limit) = job.policy.retry.per_try {
                limits(done + limit, "per_try", limit);
            }
        }
        if let Some(limit) = timeouts.idle.filter(|_| done.is_none() || streaming) {
            limits(exchange.active.get().max(sent_at) + limit, "idle", limit);
        }
        if let Some(at) = deadline {
            limits(at, "total", at.saturating_duration_since(job.started));
        }
        next
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
