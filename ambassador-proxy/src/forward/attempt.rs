//! Sends a request, and sends it again when that is safe.
//!
//! - No connection could be made: nothing was sent, so every request may try another endpoint.
//! - A kept connection died before a byte came back: an idempotent request is replayed once, on a new connection. Others
//!   get 502, and for a minute requests that must not be repeated take new connections to that endpoint.
//! - Anything else only when the configuration asks for it, for methods it allows, and within the retry budget.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONNECTION, HOST, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode, Uri, Version};
use std::sync::Arc;

use super::answer::{Answer, Relay};
use super::body::{Exchange, Inbound, Outgoing, REPLAY, Source, Unread};
use super::expect::Gate;
use super::fault::Fault;
use super::finish::Finish;
use super::send::{self, Rest, Sent};
use super::{Served, grpc, headers, hedge, shadow, upgrade};
use crate::config::Protocol;
use crate::config::plan::{HashKey, HostRule, Policy};
use crate::listen::Client;
use crate::policy::retry;
use crate::stats::{AGAINS, Again, Reason};
use crate::upstream::connect::Want;
use crate::upstream::endpoint::LocalEndpoint;
use crate::upstream::local::{Choice, Leased, LocalUpstream};
use crate::upstream::pool::Wire;
use crate::upstream::sign::Subject;
use crate::upstream::{Credential, balance};

/// A body that has to be known before it is sent: the most of it, and the longest time for it.
const SIGNED: usize = 1 << 20;
const UPLOAD: Duration = Duration::from_secs(60);

/// A request with everything decided but the endpoint.
pub(super) struct Job {
    pub(super) upstream: Rc<LocalUpstream>,
    pub(super) policy: Arc<Policy>,
    pub(super) client: Rc<Client>,
    pub(super) started: Instant,
    pub(super) grpc: bool,
    pub(super) upgrade: Option<HeaderValue>,
    /// The bytes of the request's head, for the spelling of its headers.
    pub(super) spelling: Bytes,
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
    Answer(Response<Rest>),
    /// Again, after a pause; an answer that is thrown away has been dropped by then.
    Again(Again, Duration),
    Give(Fault),
}

impl Job {
    pub(super) async fn run(
        self,
        parts: &mut http::request::Parts,
        body: Inbound,
        finish: &mut Box<Finish>,
    ) -> Result<Served, Fault> {
        let plan = &self.policy.retry;
        let deadline = self.deadline(parts);
        let key = self.key(parts);
        let exchange = Exchange::new(self.started, http_body::Body::is_end_stream(&body));
        // For the shadow as it came, before rules and credentials of this upstream.
        let copy = self.shadow.as_ref().map(|_| parts.clone());
        let signer = self.prepare(parts)?;
        let source = self.source(body, parts, signer.as_deref(), &exchange, deadline).await?;
        if let (Some(shadow), Some(copy)) = (&self.shadow, copy) {
            shadow::start(shadow, &self, copy, source.as_ref());
        }
        let repeatable =
            retry::repeatable(plan, &parts.method) || parts.headers.contains_key("idempotency-key");
        let mut avoid: Vec<Rc<LocalEndpoint>> = Vec::new();
        // Replays on a new connection do not count as attempts, but there are few of them.
        let (mut attempt, mut fresh, mut replays) = (1, false, 0);
        loop {
            finish.record.attempts += 1;
            finish.begin_try();
            let choice = Choice {
                want: self.want(parts),
                fresh,
                once: !repeatable,
                key,
                avoid: &avoid,
                limit: self.limit(deadline)?,
            };
            let leased = match self.upstream.lease(&choice).await {
                Ok(leased) => leased,
                Err(error) => {
                    let fault = Fault::connect(&error);
                    finish.end_try(fault.error);
                    if attempt >= plan.attempts || error.reason == Reason::Dns || !self.granted(finish) {
                        return Err(fault);
                    }
                    self.count(finish, Again::Connect);
                    attempt += 1;
                    tokio::time::sleep(self.bounded(retry::pause(plan, attempt), deadline)).await;
                    continue;
                }
            };
            self.write_down(finish, &leased);
            let mut request = self.request(parts, &leased.wire, source.as_ref(), deadline);
            if let Some(span) = &mut finish.span {
                span.goes_out(finish.trying, &leased.carried.0.name, leased.reused, request.headers_mut());
            }
            if let Some(signer) = signer.as_deref() {
                self.sign(signer, parts, source.as_deref(), request.headers_mut())?;
            }
            let hedge = plan.hedge_after.filter(|_| repeatable && self.upgrade.is_none() && signer.is_none());
            let (sent, leased) = match hedge {
                None => send::send(&self, request, leased, &exchange, deadline).await,
                // In a box: few ask for it.
                Some(after) => {
                    let work = {
                        let source = source.as_ref();
                        hedge::send(&self, parts, source, after, request, leased, &exchange, deadline, finish)
                    };
                    Box::pin(work).await
                }
            };
            if let Sent::Answer(response) = &sent {
                finish.answered_try(response.status().as_u16());
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
                Next::Answer(response) => {
                    return self.answer(response, leased, exchange, deadline, finish);
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
                    tokio::time::sleep(self.bounded(pause, deadline)).await;
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
            let refusal = self.client.watch.refusal.get();
            let detail = refusal.map_or("the request body broke off", |refusal| refusal.why);
            let mut fault = Fault::client(StatusCode::BAD_REQUEST, "http_request_error", detail);
            fault.close = true;
            return Next::Give(fault);
        }
        match sent {
            Sent::Answer(response) => {
                let status = response.status();
                let bad = matches!(status.as_u16(), 502..=504);
                if bad {
                    self.upstream.failed(endpoint)
                } else {
                    endpoint.succeeded(self.upstream.shared.plan.slow_start)
                }
                let again = more && repeatable && self.unwanted(&response);
                if again && self.granted(finish) {
                    return Next::Again(Again::Status, pause_for(&response, retry::pause(plan, attempt + 1)));
                }
                Next::Answer(response)
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
                    endpoint.distrust(Instant::now());
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
    fn unwanted(&self, response: &Response<Rest>) -> bool {
        let plan = &self.policy.retry;
        if self.grpc {
            let code =
                response.headers().get("grpc-status").and_then(|code| code.to_str().ok()?.parse().ok());
            return code.is_some_and(|code: u32| plan.grpc_codes.contains(&code));
        }
        plan.statuses.contains(&response.status().as_u16())
    }

    /// Asks the retry budget.
    pub(super) fn granted(&self, finish: &mut Finish) -> bool {
        let granted = self.upstream.budget.retry(Instant::now(), self.policy.retry.budget_percent);
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
        mut response: Response<Rest>,
        leased: Leased,
        exchange: Rc<Exchange>,
        deadline: Option<Instant>,
        finish: &mut Finish,
    ) -> Result<Served, Fault> {
        let took = finish.elapsed();
        finish.record.first_byte = Some(took);
        self.upstream.stats.latency.observe(took);
        let idle = self.policy.timeouts.idle;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
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
            let protocol = headers::strip_hop_by_hop(response.headers_mut());
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
            if let Some(protocol) = protocol {
                response.headers_mut().insert(UPGRADE, protocol);
            }
            *response.version_mut() = Version::HTTP_11;
            let pending = upgrade::Pending::new(self.client.take_over(), (stream, read), carried, idle);
            return Ok(Served::Upgrade(response.map(|_| ()), pending));
        }
        if let Some(seconds) = headers::keep_alive_timeout(response.headers()) {
            leased.wire.meta().keep_alive(seconds);
        }
        headers::strip_hop_by_hop(response.headers_mut());
        self.upstream.shared.plan.response_headers.apply(response.headers_mut());
        *response.version_mut() = Version::HTTP_11;
        Ok(Served::Relay(response, Wrap { leased, exchange, idle, deadline }))
    }

    /// When the whole request has to be over.
    fn deadline(&self, parts: &http::request::Parts) -> Option<Instant> {
        let grpc = if self.grpc { grpc::timeout(&parts.headers) } else { None };
        let total = self.policy.timeouts.total.into_iter().chain(grpc).min()?;
        self.started.checked_add(total)
    }

    /// Time for a connection.
    pub(super) fn limit(&self, deadline: Option<Instant>) -> Result<Duration, Fault> {
        let left =
            deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            let detail = "the whole request took longer than its deadline";
            return Err(Fault::upstream(
                StatusCode::GATEWAY_TIMEOUT,
                "http_response_timeout",
                Reason::Timeout,
                detail,
            ));
        }
        Ok(self.policy.timeouts.connect.min(left))
    }

    fn bounded(&self, pause: Duration, deadline: Option<Instant>) -> Duration {
        deadline.map_or(pause, |deadline| pause.min(deadline.saturating_duration_since(Instant::now())))
    }

    pub(super) fn want(&self, parts: &http::request::Parts) -> Want {
        let plan = &self.upstream.shared.plan;
        match plan.protocol {
            _ if self.upgrade.is_some() => Want::Http1,
            Protocol::Http1 => Want::Http1,
            Protocol::Http2 => Want::Http2,
            Protocol::Auto if plan.tls.is_some() => Want::Either,
            Protocol::Auto if self.grpc && parts.version == Version::HTTP_2 => Want::Http2,
            Protocol::Auto => Want::Http1,
        }
    }

    /// What `balance: hash` hashes.
    fn key(&self, parts: &http::request::Parts) -> Option<u64> {
        let plan = &self.upstream.shared.plan;
        if !balance::hashes(plan.balance) {
            return None;
        }
        match &plan.hash_on {
            HashKey::Header(name) => parts.headers.get(name).map(|value| balance::hash(&value.as_bytes())),
            HashKey::Cookie(name) => {
                cookie(&parts.headers, name).map(|value| balance::hash(&value.as_bytes()))
            }
            HashKey::Source => Some(balance::hash(&self.client.ip)),
        }
    }

    /// The parts of the head that are the same for every try.
    ///
    /// What has to be signed anew for each try comes back as the credential that does so.
    pub(super) fn prepare(&self, parts: &mut http::request::Parts) -> Result<Option<Arc<Credential>>, Fault> {
        let shared = &self.upstream.shared;
        let plan = &shared.plan;
        let host = match &plan.host {
            HostRule::Upstream => Some(shared.authority.clone()),
            HostRule::Literal(value) => Some(value.clone()),
            HostRule::Keep => {
                headers::host(&parts.uri, &parts.headers).and_then(|host| HeaderValue::try_from(host).ok())
            }
        };
        parts.headers.insert(HOST, host.unwrap_or_else(|| shared.authority.clone()));
        if let Some(protocol) = &self.upgrade {
            parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            parts.headers.insert(UPGRADE, protocol.clone());
        }
        plan.request_headers.apply(&mut parts.headers);
        let mut signer = None;
        if plan.credentials.is_some() {
            let Some(credential) = shared.credential.load_full() else {
                let detail = "the credential of this upstream could not be read";
                return Err(Fault::proxy(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "proxy_configuration_error",
                    detail,
                ));
            };
            match &*credential {
                Credential::Header(name, value) => drop(parts.headers.insert(name.clone(), value.clone())),
                Credential::Signature(_) => signer = Some(credential),
            }
        }
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let rewritten = crate::route::rewrite(path, &plan.prefix, self.policy.replace_prefix.as_ref());
        let target = match rewritten {
            Some(text) => text.parse::<http::uri::PathAndQuery>().ok(),
            None => {
                Some(parts.uri.path_and_query().cloned().unwrap_or(http::uri::PathAndQuery::from_static("/")))
            }
        };
        let bad =
            || Fault::client(StatusCode::BAD_REQUEST, "http_request_error", "the path cannot be rewritten");
        let mut uri = http::uri::Parts::default();
        uri.path_and_query = Some(target.ok_or_else(bad)?);
        parts.uri = Uri::from_parts(uri).map_err(|_| bad())?;
        Ok(signer)
    }

    /// The request's body: as a stream, or read to its end where it has to be known before.
    async fn source(
        &self,
        body: Inbound,
        parts: &mut http::request::Parts,
        signer: Option<&Credential>,
        exchange: &Rc<Exchange>,
        deadline: Option<Instant>,
    ) -> Result<Option<Rc<Source>>, Fault> {
        let signs = matches!(signer, Some(Credential::Signature(signer)) if signer.needs_body());
        let small = http_body::Body::size_hint(&body).upper().is_some_and(|most| most <= REPLAY as u64);
        let copied = self.shadow.is_some() && small;
        if !signs && !copied {
            return Ok(Source::new(body, Gate::new(&parts.headers), exchange.clone()));
        }
        parts.headers.remove(http::header::EXPECT);
        let left = deadline
            .map_or(UPLOAD, |deadline| deadline.saturating_duration_since(Instant::now()).min(UPLOAD));
        let most = if signs { SIGNED } else { REPLAY };
        let read = tokio::time::timeout(left, Source::collect(body, most, exchange.clone())).await;
        let (status, detail) = match read {
            Ok(Ok(source)) => return Ok(source),
            Ok(Err(Unread::TooLarge)) => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "a request that is signed by its body may have 1 MB (credentials.aws)".to_owned(),
            ),
            Ok(Err(Unread::Broken)) => (StatusCode::BAD_REQUEST, "the request body broke off".to_owned()),
            Err(_) => {
                (StatusCode::REQUEST_TIMEOUT, format!("the request body was not there within {left:?}"))
            }
        };
        let mut fault = Fault::client(status, "http_request_error", detail);
        fault.close = true;
        Err(fault)
    }

    /// Signs a request for one try: signatures carry the time.
    fn sign(
        &self,
        credential: &Credential,
        parts: &http::request::Parts,
        source: Option<&Source>,
        headers: &mut http::HeaderMap,
    ) -> Result<(), Fault> {
        let Credential::Signature(signer) = credential else { return Ok(()) };
        let bytes = source.map(Source::bytes).unwrap_or_default();
        let body = (signer.needs_body() || source.is_none()).then_some(&bytes[..]);
        let target = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let host = parts.headers.get(HOST).unwrap_or(&self.upstream.shared.authority);
        let at = jiff::Timestamp::now();
        signer.sign(&Subject { method: &parts.method, host, target, body, at }, headers).map_err(|_| {
            let detail = "the credential of this upstream cannot sign";
            Fault::proxy(StatusCode::SERVICE_UNAVAILABLE, "proxy_configuration_error", detail)
        })
    }

    /// The request for one connection.
    pub(super) fn request(
        &self,
        parts: &http::request::Parts,
        wire: &Wire,
        source: Option<&Rc<Source>>,
        deadline: Option<Instant>,
    ) -> Request<Outgoing> {
        let mut request = Request::new(Outgoing::new(source));
        *request.method_mut() = parts.method.clone();
        *request.headers_mut() = parts.headers.clone();
        if let Some(deadline) = deadline.filter(|_| self.grpc) {
            // What is left of it: the service should give up no later than the client.
            let left = deadline.saturating_duration_since(Instant::now()).as_millis().clamp(1, 99_999_999);
            if let Ok(value) = HeaderValue::try_from(format!("{left}m")) {
                request.headers_mut().insert("grpc-timeout", value);
            }
        }
        match wire {
            Wire::H1(_) => {
                *request.uri_mut() = parts.uri.clone();
            }
            Wire::H2(_) => {
                if let Some(gate) = source.and_then(|source| source.gate.as_ref()) {
                    gate.open();
                }
                let mut uri = parts.uri.clone().into_parts();
                let scheme = if self.upstream.shared.plan.tls.is_some() { "https" } else { "http" };
                uri.scheme = scheme.parse().ok();
                let host = request.headers_mut().remove(HOST);
                uri.authority = host.and_then(|host| http::uri::Authority::try_from(host.as_bytes()).ok());
                if let Ok(uri) = Uri::from_parts(uri) {
                    *request.uri_mut() = uri;
                }
                *request.version_mut() = Version::HTTP_2;
            }
        }
        request
    }
}

fn cookie<'a>(headers: &'a http::HeaderMap, name: &str) -> Option<&'a str> {
    headers.get_all(http::header::COOKIE).iter().filter_map(|value| value.to_str().ok()).find_map(|line| {
        line.split(';').find_map(|pair| {
            let (key, value) = pair.trim().split_once('=')?;
            (key == name).then_some(value)
        })
    })
}

/// `Retry-After` in seconds is honoured up to 5 s; longer ones are the client's business.
fn pause_for(response: &Response<Rest>, pause: Duration) -> Duration {
    let said =
        response.headers().get(http::header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    said.map_or(pause, |seconds: u64| Duration::from_secs(seconds.min(5)).max(pause))
}
