//! `http://…` and `https://…`: one request, and what its answer must be.

mod expect;

use std::time::Duration;

use podkit::http::{ClientOptions, HttpError, client, describe};
use podkit::tls::TlsOptions;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::OnceCell;

use super::{Attempt, NotYet, Verdict};
use crate::config::{HeaderText, HttpConfig, TargetConfig};
use crate::report::Redactor;
use crate::target::Wrong;
use expect::Expect;

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
    /// Built at the first attempt (certificate files may not be there before) and kept: roots cost time to read.
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
                if matches!(header.as_str(), "authorization" | "cookie" | "x-api-key" | "proxy-authorization")
                {
                    redactor.learn(text);
                    text.split_once(' ').into_iter().for_each(|(_, token)| redactor.learn(token));
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
        // The name first: its rcode is lost in an HTTP error.
        if self.request.unix_socket.is_none()
            && let Some(host) = self.host()
            && let Err(error) = attempt.resolver.within(attempt.left()).ips(&host).await
        {
            let reason = error.to_string();
            return if error.is_definite() {
                Verdict::no("dns", reason)
            } else {
                Verdict::unknown("dns", reason)
            };
        }
        let client = match self.client.get_or_try_init(|| async { self.build(attempt) }).await {
            Ok(client) => client,
            Err(error) => return Verdict::unknown("tls files", error.to_string()),
        };
        let request = match self.request(client, attempt) {
            Ok(request) => request,
            Err(reason) => return Verdict::unknown("secret", reason),
        };
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return failed(&error),
        };
        let status = response.status();
        let version = format!("{:?}", response.version());
        let (content_limit, wants_body) = (self.body_limit, self.expect.wants_body());
        if !self.expect.status(status.as_u16()) {
            let reason = match response.headers().get("location").and_then(|to| to.to_str().ok()) {
                Some(to) => format!("{status}, redirects to {to}"),
                None => format!("{status}"),
            };
            let code = (status.as_u16() == 401).then_some(crate::code::AUTH);
            return Verdict::NotYet(NotYet { class: "status", reason, definite: true, code, again: None });
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

    fn build(&self, attempt: &Attempt<'_>) -> Result<reqwest::Client, HttpError> {
        client(&ClientOptions {
            tls: self.tls.clone(),
            resolver: attempt.resolver.clone(),
            // The attempt's own clock ends everything.
            connect_timeout: Duration::from_secs(3600),
            timeout: None,
            redirects: self.request.redirects,
            // A connection kept from the last attempt may lead to a pod that is gone.
            idle_per_host: 0,
            http2_only: self.request.http2,
            unix_socket: self.request.unix_socket.clone(),
            ..ClientOptions::default()
        })
    }

    fn request(
        &self,
        client: &reqwest::Client,
        attempt: &Attempt<'_>,
    ) -> Result<reqwest::RequestBuilder, String> {
        let mut headers = HeaderMap::new();
        let agent = concat!("init-waitfor/", env!("CARGO_PKG_VERSION"));
        headers.insert(reqwest::header::USER_AGENT, HeaderValue::from_static(agent));
        for (name, value) in &self.headers {
            let text = match value {
                HeaderText::Text(text) => text.clone(),
                HeaderText::Secret(secret) => {
                    let text = secret.read().map_err(|error| error.to_string())?;
                    attempt.redactor.learn(&text);
                    text
                }
            };
            let mut value = HeaderValue::from_str(&text)
                .map_err(|_| format!("the secret for {name} holds characters that no header may"))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let mut request = client.request(self.method.clone(), self.url.clone()).headers(headers);
        if let Some(password) = &self.password {
            let password = password.read().map_err(|error| error.to_string())?;
            attempt.redactor.learn(&password);
            request = request.basic_auth(self.url.username(), Some(password));
        }
        if let Some(body) = &self.request.body {
            request = request.body(body.clone());
        }
        Ok(request)
    }
}

/// Refused by every address is an answer; a timeout or a broken connection is not.
pub(super) fn failed(error: &reqwest::Error) -> Verdict {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            if io.kind() == std::io::ErrorKind::ConnectionRefused {
                return Verdict::no("connect", describe(error));
            }
            if let Some(rustls::Error::InvalidCertificate(why)) =
                io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>())
            {
                return Verdict::no("certificate", format!("certificate: {why}"));
            }
        }
        source = cause.source();
    }
    let class = if error.is_connect() { "connect" } else { "response" };
    Verdict::unknown(class, describe(error))
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
