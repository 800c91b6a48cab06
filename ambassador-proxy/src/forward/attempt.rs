//! Sends a request, and sends it again when that is safe.
//!
//! - No connection could be made: nothing was sent, so every request may try another endpoint.
//! - A kept connection died before a byte came back: an idempotent request is replayed once, on a new connection. Others
//!   get 502, and for a minute requests that must not be repeated take new connections to that endpoint.
//! - Anything else only when the configuration asks for it, for methods it allows, and within the retry budget.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, StatusCode};
use hyper::upgrade::OnUpgrade;

use super::answer::{Answer, Relay};
use super::body::{Exchange, Inbound, Outgoing};
use super::fault::Fault;
use super::finish::Finish;
use super::send::{self, Got, Rest, Sent};
use super::upgrade::Near;
use super::{Served, headers, hedge, shadow, upgrade};
use crate::clock;
use crate::config::plan::Policy;
use crate::fields::Ask;
use crate::fields::name::{CONNECTION, GRPC_STATUS, IDEMPOTENCY_KEY, RETRY_AFTER, UPGRADE};
use crate::listen::Client;
use crate::policy::retry;
use crate::stats::{AGAINS, Again, Reason};
use crate::upstream::endpoint::LocalEndpoint;
use crate::upstream::local::{Choice, Leased, LocalUpstream};
use crate::upstream::pool::Wire;

/// A request with everything decided but the endpoint.
pub(super) struct Job {
    pub(super) upstream: Rc<LocalUpstream>,
    pub(super) policy: Arc<Policy>,
    pub(super) client: Rc<Client>,
    pub(super) started: Instant,
    pub(super) grpc: bool,
    pub(super) upgrade: Option<HeaderValue>,
    /// The stream of HTTP/2 that asks for it.
    pub(super) tunnel: Cell<Option<OnUpgrade>>,
    /// The upstream that gets a copy.
    pub(super) shadow: Option<Rc<LocalUpstream>>,
}

/// What wraps the answer's body.
pub(super) struct Wrap {
    leased: Leased,
    exchange: Rc<Exchange>,
    idle: Option<Duration>,
    deadline: Option<Instant>,
}

impl Wrap {
    pub(super) fn wrap(self, body: Rest, finish: Box<Finish>) -> Answer {
        let Leased { carried, wire, .. } = self.leased;
        let pool = finish.upstream.as_ref().map(|upstream| upstream.shared.plan.pool);
        let Some(pool) = pool else { return Answer::Own(None, Some(finish)) };
        Answer::Relay(Relay::new(body, wire, carried, pool, finish, self.exchange, self.idle, self.deadline))
    }
}

/// What to do after a try.
enum Next {
    Answer(Got),
    /// Again, after a pause; an answer that is thrown away has been dropped by then.
    Again(Again, Duration),
    Give(Fault),
}

impl Job {
    pub(super) async fn run(
        self,
        ask: &mut Ask,
        body: Inbound,
        finish: &mut Box<Finish>,
    ) -> Result<Served, Fault> {
        let plan = &self.policy.retry;
        let deadline = self.deadline(ask);
        let key = self.key(ask);
        let most = self.upstream.shared.plan.limits.body;
        if let Some(most) = most.filter(|most| http_body::Body::size_hint(&body).lower() > *most) {
            return Err(Fault::too_long(most));
        }
        let exchange = Exchange::new(self.started, http_body::Body::is_end_stream(&body), most);
        // For the shadow as it came, before rules and credentials of this upstream.
        let copy = self.shadow.as_ref().map(|_| ask.clone());
        let signer = self.prepare(ask)?;
        let source = match self.is_known_first(&body, signer.as_deref()) {
            None => self.streamed(body, ask, &exchange),
            Some(most) => Box::pin(self.collected(body, ask, most, &exchange, deadline)).await?,
        };
        if let (Some(shadow), Some(copy)) = (&self.shadow, copy) {
            shadow::start(shadow, &self, copy, source.as_ref());
        }
        let repeatable = retry::repeatable(plan, &ask.method) || ask.headers.has(&IDEMPOTENCY_KEY);
        let mut avoid: Vec<Rc<LocalEndpoint>> = Vec::new();
        // Replays on a new connection do not count as attempts, but there are few of them.
        let (mut attempt, mut fresh, mut replays) = (1, false, 0);
        loop {
            finish.record.attempts += 1;
            finish.begin_try();
            let choice = Choice {
                want: self.want(ask),
                fresh,
                once: !repeatable,
                key,
                avoid: &avoid,
                limit: self.limit(deadline)?,
            };
            let leased = match self.upstream.kept(&choice) {
                Ok(leased) => Ok(leased),
                // In a box: most requests find a kept connection and should not carry room for this.
                Err(first) => Box::pin(self.upstream.lease(&choice, first)).await,
            };
            let mut leased = match leased {
                Ok(leased) => leased,
                Err(error) => {
                    let fault = Fault::connect(&error);
                    finish.end_try(fault.error);
                    if attempt >= plan.attempts || error.reason == Reason::Dns || !self.granted(finish) {
                        return Err(fault);
                    }
                    self.count(finish, Again::Connect);
                    attempt += 1;
                    Box::pin(tokio::time::sleep(self.bounded(retry::pause(plan, attempt), deadline))).await;
                    continue;
                }
            };
            self.write_down(finish, &leased);
            let (trying, span) = (finish.trying, finish.span.as_deref_mut());
            let (body, signs) = (source.as_deref(), signer.as_deref());
            let own = self.for_one_try(ask, &leased, body, signs, deadline, span, trying)?;
            let headers = own.as_ref().unwrap_or(&ask.headers);
            let hedge = plan.hedge_after.filter(|_| repeatable && self.upgrade.is_none() && signer.is_none());
            let sent = match hedge {
                None => {
                    let body = Outgoing::new(source.as_ref());
                    send::send(&self, ask, headers, body, &mut leased, &exchange, deadline).await
                }
                // In a box: few ask for it.
                Some(after) => {
                    let source = source.as_ref();
                    let work =
                        hedge::send(&self, ask, headers, source, after, leased, &exchange, deadline, finish);
                    let (sent, used) = Box::pin(work).await;
                    leased = used;
                    sent
                }
            };
            if let Sent::Answer(got) = &sent {
                finish.answered_try(got.status.as_u16());
            }
            let can_repeat = source.as_ref().is_none_or(|source| source.replayable());
            let reused = leased.reused;
            let next = self.judge(
                sent,
                &leased,
                finish,
                &exchange,
                attempt,
                replays,
                repeatable && can_repeat,
                can_repeat,
            );
            match next {
                Next::Answer(got) => {
                    return self.answer(got, leased, exchange, deadline, finish);
                }
                Next::Give(mut fault) => {
                    fault.endpoint = Some(leased.carried.0.name.to_string());
                    finish.end_try(fault.error);
                    finish.record.bytes.0 = exchange.sent.get();
                    return Err(fault);
                }
                Next::Again(why, pause) => {
                    self.count(finish, why);
                    finish.end_try(AGAINS[why as usize].1);
                    if why == Again::Stale {
                        (fresh, replays) = (true, replays + 1);
                    } else {
                        attempt += 1;
                        fresh |= reused && why == Again::Reset;
                        avoid.push(leased.carried.0.clone());
                    }
                    drop(leased);
                    Box::pin(tokio::time::sleep(self.bounded(pause, deadline))).await;
                }
            }
        }
    }

    /// What a try came to.
    #[expect(clippy::too_many_arguments, reason = "the whole decision in one place")]
    fn judge(
        &self,
        sent: Sent,
        leased: &Leased,
        finish: &mut Finish,
        exchange: &Exchange,
        attempt: u32,
        replays: u32,
        repeatable: bool,
        can_repeat: bool,
    ) -> Next {
        let plan = &self.policy.retry;
        let endpoint = &leased.carried.0;
        let more = attempt < plan.attempts;
        if exchange.client_failed.get() && !matches!(sent, Sent::Answer(_)) {
            if let Some(most) = exchange.too_long() {
                return Next::Give(Fault::too_long(most));
            }
            let refusal = self.client.watch.refusal.get();
            let detail = refusal.map_or("the request body broke off", |refusal| refusal.why);
            let mut fault = Fault::client(StatusCode::BAD_REQUEST, "http_request_error", detail);
            fault.close = true;
            return Next::Give(fault);
        }
        match sent {
            Sent::Answer(got) => {
                let status = got.status;
                let bad = matches!(status.as_u16(), 502..=504);
                if bad {
                    self.upstream.failed(endpoint)
                } else {
                    endpoint.succeeded(self.upstream.shared.plan.slow_start)
                }
                let again = more && repeatable && self.unwanted(&got);
                if again && self.granted(finish) {
                    return Next::Again(Again::Status, pause_for(&got, retry::pause(plan, attempt + 1)));
                }
                Next::Answer(got)
            }
            Sent::Nothing(error) => {
                // Not a byte of the request has left: as safe as a failed connect.
                if replays < 3 && can_repeat {
                    return Next::Again(Again::Stale, Duration::ZERO);
                }
                Next::Give(send::fault(&error, endpoint))
            }
            Sent::Broken { error, answered } => {
                if leased.reused && !answered {
                    endpoint.distrust(clock::now());
                    if repeatable && replays == 0 {
                        return Next::Again(Again::Stale, Duration::ZERO);
                    }
                } else {
                    self.upstream.failed(endpoint);
                }
                if more && plan.on_reset && !answered && repeatable && self.granted(finish) {
                    return Next::Again(Again::Reset, retry::pause(plan, attempt + 1));
                }
                Next::Give(send::fault(&error, endpoint))
            }
            Sent::Late(detail) => {
                self.upstream.failed(endpoint);
                let per_try = plan.per_try.is_some() && more && repeatable && detail.contains("per_try");
                if per_try && self.granted(finish) {
                    return Next::Again(Again::Reset, retry::pause(plan, attempt + 1));
                }
                let detail = format!("{} {detail}", endpoint.name);
                Next::Give(Fault::upstream(
                    StatusCode::GATEWAY_TIMEOUT,
                    "http_response_timeout",
                    Reason::Timeout,
                    detail,
                ))
            }
        }
    }

    /// An answer that the configuration wants tried again.
    fn unwanted(&self, got: &Got) -> bool {
        let plan = &self.policy.retry;
        if self.grpc {
            let code = got.headers.text(&GRPC_STATUS).and_then(|code| code.parse().ok());
            return code.is_some_and(|code: u32| plan.grpc_codes.contains(&code));
        }
        plan.statuses.contains(&got.status.as_u16())
    }

    /// Asks the retry budget.
    pub(super) fn granted(&self, finish: &mut Finish) -> bool {
        let granted = self.upstream.budget.retry(clock::now(), self.policy.retry.budget_percent);
        if !granted {
            finish.flag("over_budget");
            self.upstream.stats.again[Again::Refused as usize].add(1);
        }
        granted
    }

    pub(super) fn count(&self, finish: &mut Finish, why: Again) {
        self.upstream.stats.again[why as usize].add(1);
        finish.flag(match why {
            Again::Connect => "connect_retry",
            Again::Stale => "stale_connection",
            Again::Reset => "reset_retry",
            Again::Status => "status_retry",
            Again::Hedge => "hedged",
            Again::Refused => "over_budget",
        });
    }

    fn write_down(&self, finish: &mut Finish, leased: &Leased) {
        let record = &mut finish.record;
        record.endpoint = Some(leased.carried.0.name.clone());
        record.reused = leased.reused;
        record.dns += leased.dns;
        record.connect += leased.timings.connect;
        record.tls += leased.timings.tls;
    }

    fn answer(
        &self,
        mut got: Got,
        leased: Leased,
        exchange: Rc<Exchange>,
        deadline: Option<Instant>,
        finish: &mut Finish,
    ) -> Result<Served, Fault> {
        let took = clock::now().saturating_duration_since(self.started);
        finish.record.first_byte = Some(took);
        self.upstream.stats.latency.observe(took);
        let idle = self.policy.timeouts.idle;
        if got.status == StatusCode::SWITCHING_PROTOCOLS {
            let Leased { carried, wire, .. } = leased;
            let (Some(_), Wire::H1(lease)) = (&self.upgrade, wire) else {
                let detail = "the upstream switched protocols without being asked";
                return Err(Fault::upstream(
                    StatusCode::BAD_GATEWAY,
                    "http_protocol_error",
                    Reason::Protocol,
                    detail,
                ));
            };
            let (stream, read) = lease.conn.into_stream();
            let protocol = headers::strip_hop_by_hop(&mut got.headers);
            let (status, near) = if let Some(stream) = self.tunnel.take() {
                got.headers.remove(&upgrade::ACCEPT);
                (StatusCode::OK, Near::Stream(stream))
            } else {
                got.headers.set(&CONNECTION, HeaderValue::from_static("upgrade"));
                if let Some(protocol) = protocol {
                    got.headers.set(&UPGRADE, protocol);
                }
                (got.status, Near::Line(self.client.take_over()))
            };
            let pending = upgrade::Pending::new(near, (stream, read), carried, idle);
            return Ok(Served::Upgrade(status, got.headers, pending));
        }
        if matches!(got.rest, Rest::Line) {
            if let Some(seconds) = headers::keep_alive_timeout(&got.headers) {
                leased.wire.meta().keep_alive(seconds);
            }
            headers::strip_hop_by_hop(&mut got.headers);
        }
        self.upstream.shared.plan.response_headers.apply(&mut got.headers);
        Ok(Served::Relay(got, Wrap { leased, exchange, idle, deadline }))
    }
}

/// `Retry-After` is honoured up to 5 s; longer ones are the client's business.
fn pause_for(got: &Got, pause: Duration) -> Duration {
    let longest = Duration::from_secs(5);
    let said = got.headers.text(&RETRY_AFTER).and_then(|text| podkit::http::pause(text, longest));
    said.map_or(pause, |said| said.max(pause))
}
