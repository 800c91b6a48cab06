//! What is sent: the head of a request for every try, its body, and the time for it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::COOKIE;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, StatusCode, Uri, Version};

use super::attempt::Job;
use super::body::{Exchange, Inbound, Outgoing, REPLAY, Source, Unread};
use super::expect::Gate;
use super::fault::Fault;
use super::{grpc, headers};
use crate::clock;
use crate::config::Protocol;
use crate::config::plan::{HashKey, HostRule};
use crate::fields::name::{CONNECTION, EXPECT, GRPC_TIMEOUT, HOST, UPGRADE};
use crate::fields::{Ask, Headers};
use crate::stats::Reason;
use crate::trace::span::Span;
use crate::upstream::connect::Want;
use crate::upstream::local::Leased;
use crate::upstream::sign::Subject;
use crate::upstream::{Credential, balance};

/// A body that has to be known before it is sent: the most of it, and the longest time for it.
const SIGNED: usize = 1 << 20;
const UPLOAD: Duration = Duration::from_secs(60);

impl Job {
    /// When the whole request has to be over.
    pub(super) fn deadline(&self, ask: &Ask) -> Option<Instant> {
        let grpc = if self.grpc { grpc::timeout(&ask.headers) } else { None };
        let total = self.policy.timeouts.total.into_iter().chain(grpc).min()?;
        self.started.checked_add(total)
    }

    /// Time for a connection.
    pub(super) fn limit(&self, deadline: Option<Instant>) -> Result<Duration, Fault> {
        let left =
            deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(clock::now()));
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

    pub(super) fn bounded(&self, pause: Duration, deadline: Option<Instant>) -> Duration {
        deadline.map_or(pause, |deadline| pause.min(deadline.saturating_duration_since(clock::now())))
    }

    pub(super) fn want(&self, ask: &Ask) -> Want {
        let plan = &self.upstream.shared.plan;
        match plan.protocol {
            _ if self.upgrade.is_some() => Want::Http1,
            Protocol::Http1 => Want::Http1,
            Protocol::Http2 => Want::Http2,
            Protocol::Auto if plan.tls.is_some() => Want::Either,
            Protocol::Auto if self.grpc && ask.version == Version::HTTP_2 => Want::Http2,
            Protocol::Auto => Want::Http1,
        }
    }

    /// What `balance: hash` hashes.
    pub(super) fn key(&self, ask: &Ask) -> Option<u64> {
        let plan = &self.upstream.shared.plan;
        if !balance::hashes(plan.balance) {
            return None;
        }
        match &plan.hash_on {
            HashKey::Header(name) => ask.headers.get(name).map(|value| balance::hash(&value)),
            HashKey::Cookie(name) => cookie(&ask.headers, name).map(|value| balance::hash(&value.as_bytes())),
            HashKey::Source => Some(balance::hash(&self.client.ip)),
        }
    }

    /// The parts of the head that are the same for every try.
    ///
    /// What has to be signed anew for each try comes back as the credential that does so.
    pub(super) fn prepare(&self, ask: &mut Ask) -> Result<Option<Arc<Credential>>, Fault> {
        let shared = &self.upstream.shared;
        let plan = &shared.plan;
        let host = match &plan.host {
            HostRule::Upstream => None,
            HostRule::Literal(value) => Some(value.clone()),
            HostRule::Keep => headers::host(ask).and_then(|host| HeaderValue::try_from(host).ok()),
        };
        ask.headers.set(&HOST, host.unwrap_or_else(|| shared.authority.clone()));
        if let Some(protocol) = &self.upgrade {
            ask.headers.set(&CONNECTION, HeaderValue::from_static("upgrade"));
            ask.headers.set(&UPGRADE, protocol.clone());
        }
        plan.request_headers.apply(&mut ask.headers);
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
                Credential::Header(name, value) => ask.headers.set(name, value.clone()),
                Credential::Signature(_) => signer = Some(credential),
            }
        }
        let rewritten =
            crate::route::rewrite(ask.target(), &plan.prefix, self.policy.replace_prefix.as_ref());
        let bad =
            || Fault::client(StatusCode::BAD_REQUEST, "http_request_error", "the path cannot be rewritten");
        let target = match rewritten {
            Some(text) => text.parse::<PathAndQuery>().map_err(|_| bad())?,
            // As it came, which is as it goes out.
            None if ask.uri.authority().is_none() => return Ok(signer),
            None => ask.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/")),
        };
        ask.uri = Uri::from(target);
        Ok(signer)
    }

    /// Whether the request's body has to be here before it is sent, and then the most of it.
    pub(super) fn is_known_first(&self, body: &Inbound, signer: Option<&Credential>) -> Option<usize> {
        let signs = matches!(signer, Some(Credential::Signature(signer)) if signer.needs_body());
        let small = http_body::Body::size_hint(body).upper().is_some_and(|most| most <= REPLAY as u64);
        let copied = self.shadow.is_some() && small;
        let most = if signs { SIGNED } else { REPLAY };
        (signs || copied).then_some(most)
    }

    /// The request's body as a stream.
    pub(super) fn streamed(&self, body: Inbound, ask: &Ask, exchange: &Rc<Exchange>) -> Option<Rc<Source>> {
        Source::new(body, Gate::new(&ask.headers), exchange)
    }

    /// The request's body read to its end.
    pub(super) async fn collected(
        &self,
        body: Inbound,
        ask: &mut Ask,
        most: usize,
        exchange: &Rc<Exchange>,
        deadline: Option<Instant>,
    ) -> Result<Option<Rc<Source>>, Fault> {
        ask.headers.remove(&EXPECT);
        let left =
            deadline.map_or(UPLOAD, |deadline| deadline.saturating_duration_since(clock::now()).min(UPLOAD));
        let limit = exchange.most.map_or(most, |limit| most.min(usize::try_from(limit).unwrap_or(most)));
        let read = tokio::time::timeout(left, Source::collect(body, limit, exchange.clone())).await;
        let (status, detail) = match read {
            Ok(Ok(source)) => return Ok(source),
            Ok(Err(Unread::TooLarge)) if limit < most => return Err(Fault::too_long(limit as u64)),
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
        ask: &Ask,
        source: Option<&Source>,
        headers: &mut Headers,
    ) -> Result<(), Fault> {
        let Credential::Signature(signer) = credential else { return Ok(()) };
        let bytes = source.map(Source::bytes).unwrap_or_default();
        let body = (signer.needs_body() || source.is_none()).then_some(&bytes[..]);
        let host = ask.headers.value(&HOST).unwrap_or_else(|| self.upstream.shared.authority.clone());
        let at = jiff::Timestamp::now();
        let subject = Subject { method: &ask.method, host: &host, target: ask.target(), body, at };
        signer.sign(&subject, headers.map()).map_err(|_| {
            let detail = "the credential of this upstream cannot sign";
            Fault::proxy(StatusCode::SERVICE_UNAVAILABLE, "proxy_configuration_error", detail)
        })
    }

    /// The headers of one try, where they are not the same for every try.
    #[expect(clippy::too_many_arguments, reason = "each is one thing that headers depend on")]
    pub(super) fn for_one_try(
        &self,
        ask: &Ask,
        leased: &Leased,
        source: Option<&Source>,
        signer: Option<&Credential>,
        deadline: Option<Instant>,
        span: Option<&mut Span>,
        trying: u64,
    ) -> Result<Option<Headers>, Fault> {
        let deadline = deadline.filter(|_| self.grpc);
        if deadline.is_none() && signer.is_none() && span.is_none() {
            return Ok(None);
        }
        let mut headers = ask.headers.clone();
        if let Some(deadline) = deadline {
            // What is left of it: the service should give up no later than the client.
            let left = deadline.saturating_duration_since(clock::now()).as_millis().clamp(1, 99_999_999);
            if let Ok(value) = HeaderValue::try_from(format!("{left}m")) {
                headers.set(&GRPC_TIMEOUT, value);
            }
        }
        if let Some(span) = span {
            span.goes_out(trying, &leased.carried.0.name, leased.reused, &mut headers);
        }
        if let Some(signer) = signer {
            self.sign(signer, ask, source, &mut headers)?;
        }
        Ok(Some(headers))
    }

    /// The request as HTTP/2 has it.
    pub(super) fn over_h2(&self, ask: &Ask, headers: &Headers, body: Outgoing) -> Request<Outgoing> {
        // Its connection has no word for "send it now".
        body.wanted();
        let mut request = Request::new(body);
        *request.method_mut() = ask.method.clone();
        *request.headers_mut() = headers.to_map();
        let mut uri = ask.uri.clone().into_parts();
        let scheme = if self.upstream.shared.plan.tls.is_some() { "https" } else { "http" };
        uri.scheme = scheme.parse().ok();
        let host = request.headers_mut().remove(&*HOST);
        uri.authority = host.and_then(|host| http::uri::Authority::try_from(host.as_bytes()).ok());
        if uri.path_and_query.is_none() {
            uri.path_and_query = Some(PathAndQuery::from_static("/"));
        }
        if let Ok(uri) = Uri::from_parts(uri) {
            *request.uri_mut() = uri;
        }
        *request.version_mut() = Version::HTTP_2;
        request
    }
}

fn cookie(headers: &Headers, name: &str) -> Option<String> {
    let mut found = None;
    headers.each(&COOKIE, |line| {
        let pairs = std::str::from_utf8(line).unwrap_or_default().split(';');
        let value = pairs.filter_map(|pair| pair.trim().split_once('=')).find(|(key, _)| *key == name);
        if let (None, Some((_, value))) = (&found, value) {
            found = Some(value.to_owned());
        }
    });
    found
}
