//! `http://…` and `https://…`: one request, and what its answer must be.

mod expect;
mod hop;

use std::net::SocketAddr;
use std::time::Duration;

use podkit::http::{ClientOptions, HttpError, client, describe};
use podkit::tls::TlsOptions;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::OnceCell;

use super::{Attempt, NotYet, Verdict};
use crate::config::{HeaderText, HttpConfig, TargetConfig};
use crate::report::Redactor;
use crate::target::Wrong;
use crate::wire::{certificate, rustls_error};
use expect::Expect;
use hop::Hop;

/// Response body bytes looked at, unless the target says otherwise.
const BODY_LIMIT: u64 = 1 << 20;

#[derive(Debug)]
pub struct Http {
    url: url::Url,
    method: reqwest::Method,
    headers: Vec<(HeaderName, HeaderText)>,
    password: Option<podkit::secret::Secret>,
    expect: Expect,
    body_limit: u64,
    request: HttpConfig,
    tls: Option<TlsOptions>,
    /// Built at the first attempt: roots cost time to read and memory to keep, and most targets need none.
    client: OnceCell<reqwest::Client>,
}

impl Http {
    pub(super) fn new(
        text: &str,
        entry: &TargetConfig,
        redactor: &Redactor,
    ) -> Result<Self, (&'static str, Wrong)> {
        let url = url::Url::parse(text).map_err(|error| {
            ("target", Wrong::new(format!("{text:?}: {error}"), "write for example http://app:8080/healthz"))
        })?;
        if url.host_str().is_none_or(str::is_empty) {
            return Err(("target", Wrong::new("names no host", "write for example http://app:8080/healthz")));
        }
        let request = entry.http.clone().unwrap_or_default();
        let method = request.method.as_deref().unwrap_or("GET");
        let method = reqwest::Method::from_bytes(method.as_bytes()).map_err(|_| {
            ("http.method", Wrong::new(format!("{method:?} is no method"), "write GET, HEAD or POST"))
        })?;
        let mut headers = Vec::new();
        for (name, value) in &request.headers {
            let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
                ("http.headers", Wrong::new(format!("{name:?} is no header name"), "write 'Name: value'"))
            })?;
            if let HeaderText::Text(text) = value {
                if HeaderValue::from_str(text).is_err() {
                    let remedy = "leave out line ends and control characters";
                    return Err((
                        "http.headers",
                        Wrong::new(format!("the value of {name} is no header value"), remedy),
                    ));
                }
                if header == "cookie" || crate::report::is_telling(header.as_str()) {
                    learn(redactor, text);
                }
            }
            headers.push((header, value.clone()));
        }
        let https = url.scheme() == "https";
        Ok(Http {
            expect: Expect::new(&request)?,
            body_limit: request.max_body.map_or(BODY_LIMIT, podkit::units::Size::bytes),
            // A redirect may lead from http to https.
            tls: (https || request.redirects > 0).then(|| entry.tls.clone().unwrap_or_default()),
            password: entry.password.clone(),
            url,
            method,
            headers,
            request,
            client: OnceCell::new(),
        })
    }

    pub(super) fn host(&self) -> Option<String> {
        self.url.host_str().map(|host| host.trim_matches(['[', ']']).to_owned())
    }

    pub(super) async fn check(&self, attempt: &Attempt<'_>) -> Verdict {
        match tokio::time::timeout_at(attempt.until, self.attempt(attempt)).await {
            Ok(verdict) => verdict,
            Err(_) => Verdict::unknown("response", "no response in time"),
        }
    }

    async fn attempt(&self, attempt: &Attempt<'_>) -> Verdict {
        let whom = match self.addresses(attempt).await {
            Ok(whom) => whom,
            Err(verdict) => return verdict,
        };
        let client = match self.client(attempt).await {
            Ok(client) => client,
            Err(error) => return Verdict::unknown("tls files", error.to_string()),
        };
        let response = match self.exchange(&client, attempt, &whom).await {
            Ok(response) => response,
            Err(verdict) => return verdict,
        };
        let status = response.status();
        let version = format!("{:?}", response.version());
        let (content_limit, wants_body) = (self.body_limit, self.expect.wants_body());
        if !self.expect.status(status.as_u16()) {
            let reason = match response.headers().get("location").and_then(|to| to.to_str().ok()) {
                // Behind the question mark are the tokens of a login page.
                Some(to) => {
                    format!("{status}, redirects to {}", to.split(['?', '#']).next().unwrap_or_default())
                }
                None => format!("{status}"),
            };
            let code = (status.as_u16() == 401).then_some(crate::code::AUTH);
            return Verdict::NotYet(NotYet { class: "status", reason, definite: true, code, again: None });
        }
        if let Err(reason) = self.expect.headers(response.headers()) {
            return Verdict::no("header", format!("{status}, but {reason}"));
        }
        if wants_body {
            let body = match read_body(response, content_limit).await {
                Ok(body) => body,
                Err(reason) => return Verdict::unknown("body", reason),
            };
            if let Err(reason) = self.expect.body(&body) {
                return Verdict::no("body", format!("{status}, but {reason}"));
            }
        }
        Verdict::ready(format!("{status} by {version}"))
    }

    /// Who will be asked, for messages. The name is looked up first, because its rcode is lost in an HTTP error.
    async fn addresses(&self, attempt: &Attempt<'_>) -> Result<String, Verdict> {
        if let Some(socket) = &self.request.unix_socket {
            return Ok(socket.display().to_string());
        }
        let (Some(host), port) = (self.host(), self.url.port_or_known_default().unwrap_or(0)) else {
            return Ok(String::new());
        };
        let answer = attempt.resolver.within(attempt.left()).ips(&host).await.map_err(|error| {
            let reason = error.to_string();
            if error.is_definite() { Verdict::no("dns", reason) } else { Verdict::unknown("dns", reason) }
        })?;
        let list = answer.addrs.iter().map(|ip| SocketAddr::new(*ip, port).to_string());
        Ok(list.collect::<Vec<_>>().join(", "))
    }

    /// Kept where only the system's roots are needed; with files of its own made anew, because those arrive and rotate.
    async fn client(&self, attempt: &Attempt<'_>) -> Result<reqwest::Client, HttpError> {
        let files = |tls: &TlsOptions| tls.ca.is_some() || tls.cert.is_some() || tls.key.is_some();
        if self.tls.as_ref().is_some_and(files) {
            return self.build(attempt);
        }
        self.client.get_or_try_init(|| async { self.build(attempt) }).await.cloned()
    }

    fn build(&self, attempt: &Attempt<'_>) -> Result<reqwest::Client, HttpError> {
        client(&ClientOptions {
            tls: self.tls.clone(),
            resolver: attempt.resolver.clone(),
            // The attempt's own clock ends everything.
            connect_timeout: Duration::from_secs(3600),
            timeout: None,
            redirects: 0,
            // A connection kept from the last attempt may lead to a pod that is gone.
            idle_per_host: 0,
            http2_only: self.request.http2,
            unix_socket: self.request.unix_socket.clone(),
            ..ClientOptions::default()
        })
    }

    /// The answer, behind as many redirects as are to be followed.
    async fn exchange(
        &self,
        client: &reqwest::Client,
        attempt: &Attempt<'_>,
        whom: &str,
    ) -> Result<reqwest::Response, Verdict> {
        let mut hop = Hop { url: self.url.clone(), method: self.method.clone(), body: true };
        for left in (0..=self.request.redirects).rev() {
            let request =
                self.request(client, attempt, &hop).map_err(|reason| Verdict::unknown("secret", reason))?;
            let response = request.send().await.map_err(|error| failed(&error, whom))?;
            match hop.next(response.status(), response.headers()) {
                Some(next) if left > 0 => hop = next,
                Some(_) if self.request.redirects > 0 => break,
                _ => return Ok(response),
            }
        }
        Err(Verdict::unknown(
            "response",
            format!("too many redirects (more than {})", self.request.redirects),
        ))
    }

    fn request(
        &self,
        client: &reqwest::Client,
        attempt: &Attempt<'_>,
        hop: &Hop,
    ) -> Result<reqwest::RequestBuilder, String> {
        let ours = hop.is_ours(&self.url);
        let mut headers = HeaderMap::new();
        let agent = concat!("init-waitfor/", env!("CARGO_PKG_VERSION"));
        headers.insert(reqwest::header::USER_AGENT, HeaderValue::from_static(agent));
        for (name, value) in self.headers.iter().filter(|_| ours) {
            let text = match value {
                HeaderText::Text(text) => text.clone(),
                HeaderText::Secret(secret) => {
                    let text = secret.read().map_err(|error| error.to_string())?;
                    learn(attempt.redactor, &text);
                    text
                }
            };
            let mut value = HeaderValue::from_str(&text)
                .map_err(|_| format!("the secret for {name} holds characters that no header may"))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let mut request = client.request(hop.method.clone(), hop.url.clone()).headers(headers);
        if let Some(password) = self.password.as_ref().filter(|_| ours) {
            let password = password.read().map_err(|error| error.to_string())?;
            attempt.redactor.learn(&password);
            request = request.basic_auth(self.url.username(), Some(password));
        }
        if let Some(body) = self.request.body.as_ref().filter(|_| hop.body) {
            request = request.body(body.clone());
        }
        Ok(request)
    }
}

/// A header's value, and the token behind its scheme.
fn learn(redactor: &Redactor, text: &str) {
    redactor.learn(text);
    text.split_once(' ').into_iter().for_each(|(_, token)| redactor.learn(token));
}

/// Refused by every address is an answer; a timeout or a broken connection is not. `whom`: who was asked.
pub(super) fn failed(error: &reqwest::Error, whom: &str) -> Verdict {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            if io.kind() == std::io::ErrorKind::ConnectionRefused {
                return Verdict::no("connect", format!("{whom} connection refused"));
            }
            if let Some(rustls::Error::InvalidCertificate(why)) = rustls_error(io) {
                return Verdict::no("certificate", format!("certificate: {}", certificate(why)));
            }
        }
        source = cause.source();
    }
    let what = describe(error);
    // "(os error 113)" tells a reader nothing that the words before it do not.
    let what = what.split(" (os error ").next().unwrap_or_default();
    if error.is_connect() {
        return Verdict::unknown("connect", format!("{whom} {what}"));
    }
    Verdict::unknown("response", what)
}

async fn read_body(mut response: reqwest::Response, limit: u64) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| describe(&error))? {
        let room = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(body.len());
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() >= room {
            break;
        }
    }
    Ok(body)
}
