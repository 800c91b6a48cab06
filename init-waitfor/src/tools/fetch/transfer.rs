//! One download: request, redirects, answer, bytes into a file, digest.

use std::io::Write as _;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use http::header::{ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode};
use podkit::dns::Resolver;
use podkit::http::{ClientOptions, Proxy, client, describe};
use podkit::units::Size;

use super::config::Plan;
use crate::config::HeaderText;
use crate::report::Redactor;
use crate::tools::place::Placing;

/// Redirects followed: download servers send one to three.
const REDIRECTS: usize = 10;
/// A server that asks for more patience than this is asked again anyway.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Why an attempt failed.
#[derive(Debug)]
pub enum Failure {
    /// Worth another attempt, not before the pause that the server asked for.
    Again(String, Option<Duration>),
    /// No attempt will change it.
    Final(String),
}

impl Failure {
    pub fn again(reason: impl Into<String>) -> Self {
        Failure::Again(reason.into(), None)
    }
}

/// What the server said about the version it sent, to ask for a newer one only (RFC 9110, 13.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators {
    etag: Option<HeaderValue>,
    modified: Option<HeaderValue>,
}

/// How a download ended.
#[derive(Debug)]
pub enum Download {
    /// The server has nothing newer.
    Unchanged,
    Whole {
        bytes: u64,
        sha256: String,
        validators: Validators,
    },
}

/// Downloads for one plan, with connections kept.
#[derive(Debug)]
pub struct Transfer {
    client: reqwest::Client,
    redactor: Redactor,
    idle: Duration,
}

impl Transfer {
    /// `attempt` is the time for a connection, and the longest that nothing may arrive.
    ///
    /// # Errors
    /// Certificate files that cannot be used.
    pub fn new(
        plan: &Plan,
        resolver: &Resolver,
        attempt: Duration,
        redactor: &Redactor,
    ) -> Result<Self, String> {
        redactor.learn_url(plan.url.as_str());
        let client = client(&ClientOptions {
            tls: Some(plan.tls.clone()),
            resolver: resolver.clone(),
            connect_timeout: attempt,
            // A large file takes its time; what counts is that something arrives.
            timeout: None,
            // Followed here, because headers that are ours alone must not go to another host.
            redirects: 0,
            // Whoever sets HTTPS_PROXY for this container means its downloads.
            proxy: Proxy::Environment,
            ..ClientOptions::default()
        });
        let client = client.map_err(|error| error.to_string())?;
        Ok(Transfer { client, redactor: redactor.clone(), idle: attempt.max(Duration::from_secs(1)) })
    }

    /// Into the placing's file, which is written from its beginning; its digest is as wanted.
    pub async fn run(
        &self,
        plan: &Plan,
        known: Option<&Validators>,
        placing: &mut Placing,
    ) -> Result<Download, Failure> {
        let mut response = self.ask(plan, known).await?;
        let status = response.status();
        if status == StatusCode::NOT_MODIFIED && known.is_some() {
            return Ok(Download::Unchanged);
        }
        if !status.is_success() {
            return Err(refusal(status, response.headers()));
        }
        if status == StatusCode::PARTIAL_CONTENT {
            return Err(Failure::Final(format!("{status}: the server sends a part of it")));
        }
        let too_large = || Failure::Final(format!("is larger than --max-size {}", Size(plan.most)));
        if response.content_length().is_some_and(|length| length > plan.most) {
            return Err(too_large());
        }
        let validators = Validators {
            etag: response.headers().get(ETAG).cloned(),
            modified: response.headers().get(LAST_MODIFIED).cloned(),
        };
        let mut digest = Context::new(&SHA256);
        let mut bytes = 0_u64;
        loop {
            let chunk = match tokio::time::timeout(self.idle, response.chunk()).await {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => break,
                Ok(Err(error)) => return Err(Failure::again(describe(&error))),
                Err(_) => {
                    let idle = self.idle;
                    return Err(Failure::again(format!("nothing arrived for {idle:?}, after {bytes} bytes")));
                }
            };
            bytes += chunk.len() as u64;
            if bytes > plan.most {
                return Err(too_large());
            }
            digest.update(&chunk);
            placing.file.write_all(&chunk).map_err(|error| super::disk(&plan.dest, &error))?;
        }
        let sha256: String = digest.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        match &plan.sha256 {
            Some(wanted) if *wanted != sha256 => {
                Err(Failure::Final(format!("has SHA-256 {sha256}, wanted {wanted}")))
            }
            _ => Ok(Download::Whole { bytes, sha256, validators }),
        }
    }

    /// The answer after all redirects.
    async fn ask(&self, plan: &Plan, known: Option<&Validators>) -> Result<reqwest::Response, Failure> {
        let own = self.headers(plan)?;
        let mut url = plan.url.clone();
        for _ in 0..=REDIRECTS {
            let mut request = self.client.get(url.clone());
            if url.origin() == plan.url.origin() {
                request = request.headers(own.clone());
            }
            let validators = known
                .into_iter()
                .flat_map(|known| [(IF_NONE_MATCH, &known.etag), (IF_MODIFIED_SINCE, &known.modified)]);
            for (name, value) in validators {
                if let Some(value) = value {
                    request = request.header(name, value.clone());
                }
            }
            let sent = tokio::time::timeout(self.idle, request.send()).await;
            let response = sent
                .map_err(|_| Failure::again(format!("no answer for {:?}", self.idle)))?
                .map_err(|error| Failure::again(describe(&error)))?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            url = next(plan, &url, response.headers())?;
            self.redactor.learn_url(url.as_str());
        }
        Err(Failure::Final(format!("more than {REDIRECTS} redirects")))
    }

    /// The same for git: our client, what only its server may see, and how long nothing may arrive.
    #[cfg(feature = "git")]
    pub(super) fn web(&self, plan: &Plan) -> Result<super::git::Web, Failure> {
        use base64::Engine as _;

        let mut headers = self.headers(plan)?;
        if !plan.url.username().is_empty() && !headers.contains_key(http::header::AUTHORIZATION) {
            let decoded = |text: &str| crate::sql::decode(text);
            let (user, password) =
                (decoded(plan.url.username()), decoded(plan.url.password().unwrap_or_default()));
            let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
            self.redactor.learn(&pair);
            if let Ok(mut value) = HeaderValue::from_str(&format!("Basic {pair}")) {
                value.set_sensitive(true);
                headers.insert(http::header::AUTHORIZATION, value);
            }
        }
        Ok(super::git::Web::new(self.client.clone(), headers, plan.url.origin(), self.idle, plan.most))
    }

    /// Read at each attempt, because secrets rotate. They go into no message.
    fn headers(&self, plan: &Plan) -> Result<HeaderMap, Failure> {
        let mut headers = HeaderMap::new();
        let secret = |text: &str, name: &str| {
            self.redactor.learn(text);
            // `Bearer TOKEN`: a server might repeat the second word alone.
            if let Some((_, last)) = text.rsplit_once(' ') {
                self.redactor.learn(last);
            }
            let mut value = HeaderValue::from_str(text)
                .map_err(|_| Failure::again(format!("header {name}: its secret is not one line of text")))?;
            value.set_sensitive(true);
            Ok(value)
        };
        for (name, text) in &plan.headers {
            let value = match text {
                HeaderText::Text(text) => secret(text, name.as_str())?,
                HeaderText::Secret(source) => {
                    let text = source.read().map_err(|error| Failure::again(error.to_string()))?;
                    secret(&text, name.as_str())?
                }
            };
            headers.insert(name.clone(), value);
        }
        if let Some(bearer) = &plan.bearer {
            let token = bearer.read().map_err(|error| Failure::again(error.to_string()))?;
            headers.insert(http::header::AUTHORIZATION, secret(&format!("Bearer {token}"), "authorization")?);
        }
        Ok(headers)
    }
}

/// Where a redirect leads. The user and password of the first URL are for its host alone.
fn next(plan: &Plan, from: &url::Url, headers: &HeaderMap) -> Result<url::Url, Failure> {
    let mut to = location(from, headers, plan.sha256.is_some())?;
    if to.origin() == plan.url.origin() && to.username().is_empty() {
        let _ = to.set_username(plan.url.username());
        let _ = to.set_password(plan.url.password());
    }
    Ok(to)
}

/// Never from an encrypted connection to one that is not, unless the content is pinned.
pub(super) fn location(from: &url::Url, headers: &HeaderMap, pinned: bool) -> Result<url::Url, Failure> {
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let location = location.ok_or_else(|| Failure::Final("a redirect that leads nowhere".to_owned()))?;
    let to = from.join(location).map_err(|_| Failure::Final("a redirect to no URL".to_owned()))?;
    if !matches!(to.scheme(), "http" | "https") {
        return Err(Failure::Final(format!("a redirect to {}:, which is not followed", to.scheme())));
    }
    if from.scheme() == "https" && to.scheme() == "http" && !pinned {
        return Err(Failure::Final(
            "a redirect from https to http is not followed; pin the content with --sha256, or use a server that stays with https"
                .to_owned(),
        ));
    }
    Ok(to)
}

pub(super) fn refusal(status: StatusCode, headers: &HeaderMap) -> Failure {
    let text = status.to_string();
    // 408, 425 and 429 ask for patience; other 4xx will stay.
    if status.is_client_error() && !matches!(status.as_u16(), 408 | 425 | 429) {
        return Failure::Final(text);
    }
    Failure::Again(text, podkit::http::retry_after(headers, LONGEST_PAUSE))
}
