//! One HTTP request: credentials read afresh, body compressed, answer bounded.

use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use podkit::http::{ClientOptions, describe};
use podkit::tls::TlsOptions;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use tracing::warn;
use url::Url;

use super::{Answer, Patience, pack};
use crate::config::{Auth, Compression, SinkPlan};

/// Bytes of an answer that are read. A bulk answer has some hundred bytes per item.
const ANSWER_LIMIT: usize = 16 << 20;
/// For a name, a connection and its handshake, if --timeout is not shorter.
const CONNECT: Duration = Duration::from_secs(5);

/// A `Retry-After` beyond it, such as the date of a clock that is wrong, would fill the volume that the logs wait on.
const LONGEST_ASKED: Duration = Duration::from_secs(300);

/// Why a sink cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("{} cannot be written: {source}; {}", path.display(), if path.is_dir() { "write the name of a file in it" } else { "mount a writable volume there" })]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Http(#[from] podkit::http::HttpError),
    #[error(transparent)]
    Tls(#[from] podkit::tls::TlsError),
    #[error("the bucket cannot be used: {0}; write s3+https://HOST/BUCKET/PREFIX")]
    Bucket(String),
    #[error("this build has no {0} sink; build it with --features {0}")]
    NotBuilt(&'static str),
    #[error("header {0:?} is not valid; correct its name or value")]
    Header(String),
}

/// For the rest of an answer that says nothing more.
const REST: Duration = Duration::from_secs(1);

/// Sends bodies to one server.
#[derive(Debug)]
pub struct Requester {
    /// Nothing in the body of a 2xx matters.
    by_status: bool,
    options: ClientOptions,
    patience: Patience,
    /// With the state of the certificate files that it was made from.
    client: Mutex<(reqwest::Client, u64)>,
    headers: HeaderMap,
    auth: Option<Auth>,
    compression: Compression,
}

/// A status and a body, or why there is none.
pub(super) type Got = Result<(u16, HeaderMap, Bytes), Answer>;

impl Requester {
    /// # Errors
    /// Certificates or headers that cannot be used.
    pub fn new(plan: &SinkPlan, patience: Patience) -> Result<Self, SetupError> {
        let options = ClientOptions {
            tls: plan.target.is_https().then(|| plan.tls.clone()),
            connect_timeout: CONNECT.min(plan.timeout),
            timeout: None,
            idle_per_host: plan.requests,
            proxy: plan.proxy.clone(),
            ..ClientOptions::default()
        };
        let stamp = stamp(&options);
        let client = Mutex::new((podkit::http::client(&options)?, stamp));
        let mut headers = HeaderMap::new();
        for (name, value) in &plan.headers {
            let bad = || SetupError::Header(name.clone());
            let key = HeaderName::try_from(name.as_str()).map_err(|_| bad())?;
            headers.insert(key, HeaderValue::try_from(value.as_str()).map_err(|_| bad())?);
        }
        let (auth, compression) = (plan.auth.clone(), plan.compression);
        Ok(Self { by_status: false, options, patience, client, headers, auth, compression })
    }

    /// For a server whose 2xx says all there is to know: it counts, also when the rest of the answer does not come.
    pub(super) fn by_status(self) -> Self {
        Self { by_status: true, ..self }
    }

    /// Posts `body`. Userinfo in the URL becomes basic credentials.
    ///
    /// # Errors
    /// There was no complete answer: the [`Answer`] says so.
    pub async fn post(&self, url: &Url, content_type: &'static str, body: &Bytes) -> Got {
        self.post_with(url, content_type, body, HeaderMap::new()).await
    }

    /// The same with headers of the protocol. A `Content-Encoding` among them means that `body` is compressed already.
    ///
    /// # Errors
    /// As [`Self::post`].
    pub(super) async fn post_with(
        &self,
        url: &Url,
        content_type: &'static str,
        body: &Bytes,
        own: HeaderMap,
    ) -> Got {
        self.send(Method::POST, url, content_type, body, own).await
    }

    /// The same by another method.
    ///
    /// # Errors
    /// As [`Self::post`].
    pub(super) async fn send(
        &self,
        method: Method,
        url: &Url,
        content_type: &'static str,
        body: &Bytes,
        own: HeaderMap,
    ) -> Got {
        let mut headers = self.headers.clone();
        let encoded = own.contains_key(CONTENT_ENCODING);
        headers.extend(own);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        let mut secrets = self.authorize(&mut headers).map_err(|why| Answer::Later {
            why,
            after: None,
            answer_lost: false,
        })?;
        secrets.extend(url.password().map(|text| percent_decode_str(text).decode_utf8_lossy().into_owned()));
        let unpacked =
            || Answer::Later { why: "the body cannot be compressed".into(), after: None, answer_lost: false };
        let body = match self.compression {
            Compression::None => body.clone(),
            _ if encoded => body.clone(),
            Compression::Gzip => {
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                pack::packed(body, pack::gzip).await.ok_or_else(unpacked)?
            }
            Compression::Zstd => {
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static("zstd"));
                pack::packed(body, pack::zstd).await.ok_or_else(unpacked)?
            }
        };
        let request = self.client().request(method, url.clone()).headers(headers).body(body);
        match self.patience.within(ask(request, self.by_status)).await {
            Some(Ok((status, headers, body))) if is_taken(status) => Ok((status, headers, body)),
            Some(Ok((status, headers, body))) => Ok((status, headers, masked(body, &secrets))),
            // Without a connection nothing was sent.
            Some(Err(e)) => {
                Err(Answer::Later { why: describe(&e), after: None, answer_lost: !e.is_connect() })
            }
            None => {
                self.leave();
                Err(Answer::Later { why: "timed out".into(), after: None, answer_lost: true })
            }
        }
    }

    /// Between two questions: not for long while the pod ends.
    pub(super) async fn pause(&self, pause: Duration) {
        self.patience.pause(pause).await;
    }

    /// A connection on which no answer came may be dead without anyone knowing, and HTTP/2 would go on with it: the next request takes
    /// another one.
    fn leave(&self) {
        // The files of a certificate may not fit together just now; then it stays.
        if let Ok(client) = podkit::http::client(&self.options) {
            self.client.lock().unwrap_or_else(PoisonError::into_inner).0 = client;
        }
    }

    /// The one there is, or a new one when certificates have rotated. Files that do not fit together yet leave the old one in use.
    fn client(&self) -> reqwest::Client {
        let mut current = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = stamp(&self.options);
        if stamp != current.1 {
            current.1 = stamp;
            match podkit::http::client(&self.options) {
                Ok(client) => current.0 = client,
                Err(e) => warn!(error = %e, "new certificates cannot be used; the old ones stay in use"),
            }
        }
        current.0.clone()
    }

    /// Puts the credentials into `headers`. Says what of them nobody may see.
    fn authorize(&self, headers: &mut HeaderMap) -> Result<Vec<String>, String> {
        let (scheme, secret) = match &self.auth {
            None => return Ok(Vec::new()),
            Some(Auth::Basic { password, .. }) => ("Basic", password),
            Some(Auth::Bearer(token)) => ("Bearer", token),
            Some(Auth::Splunk(token)) => ("Splunk", token),
            Some(Auth::ApiKey(key)) => ("ApiKey", key),
        };
        let mut secrets = vec![secret.read().map_err(|e| e.to_string())?];
        if let Some(Auth::Basic { user, .. }) = &self.auth {
            secrets.insert(0, STANDARD.encode(format!("{user}:{}", secrets[0])));
        }
        let mut value = HeaderValue::try_from(format!("{scheme} {}", secrets[0]))
            .map_err(|_| "the credentials hold a control character")?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
        Ok(secrets)
    }
}

/// An answer whole, or as much of it as is read.
async fn ask(request: reqwest::RequestBuilder, by_status: bool) -> reqwest::Result<(u16, HeaderMap, Bytes)> {
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = if by_status && is_taken(status) {
        // For the connection's sake, which can be used again then.
        let _ = tokio::time::timeout(REST, read(response)).await;
        Bytes::new()
    } else {
        read(response).await?
    };
    Ok((status, headers, body))
}

async fn read(mut response: reqwest::Response) -> reqwest::Result<Bytes> {
    let mut answer = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if answer.len() + chunk.len() > ANSWER_LIMIT {
            break;
        }
        answer.extend_from_slice(&chunk);
    }
    Ok(answer.into())
}

/// A server may repeat what it was shown, and what it says is logged, served and written down with dead letters.
fn masked(body: Bytes, secrets: &[String]) -> Bytes {
    /// Shorter ones occur by themselves.
    const LEAST: usize = 4;
    let mut shown = body;
    for secret in secrets.iter().map(String::as_bytes).filter(|secret| secret.len() >= LEAST) {
        let (mut rest, mut out) = (&shown[..], Vec::new());
        while let Some(at) = memchr::memmem::find(rest, secret) {
            out.extend_from_slice(&rest[..at]);
            out.extend_from_slice(b"***");
            rest = &rest[at + secret.len()..];
        }
        if rest.len() < shown.len() {
            out.extend_from_slice(rest);
            shown = out.into();
        }
    }
    shown
}

fn stamp(options: &ClientOptions) -> u64 {
    options.tls.as_ref().map_or(0, TlsOptions::stamp)
}

/// What a status means for the whole request, where the sink says nothing more about it. `None`: it was taken.
pub(super) fn judge(status: u16, headers: &HeaderMap, body: &[u8]) -> Option<Answer> {
    let why = || {
        let text = String::from_utf8_lossy(&body[..body.len().min(300)]);
        format!("{status} {}", text.trim())
    };
    if is_taken(status) {
        return None;
    }
    Some(match status {
        // The URL is at fault.
        400 if is_for_https(body) => Answer::Later { why: why(), after: None, answer_lost: false },
        // The items are at fault: for ever.
        400 | 422 => Answer::Refused { why: why() },
        413 => Answer::TooLarge { why: why() },
        // 401, 403, 404 and redirects are the configuration's fault: it can be corrected, the lines wait.
        _ => Answer::Later { why: why(), after: retry_after(headers), answer_lost: false },
    })
}

/// A 2xx, but for 260: Loki's word for "blocked, and thrown away" (`block_ingestion_status_code`), also over OTLP.
fn is_taken(status: u16) -> bool {
    (200..=299).contains(&status) && status != 260
}

/// What Go's net/http, nginx and Apache say to plain HTTP on a port of HTTPS. Compared with what they begin with: a refusal may quote a line.
fn is_for_https(body: &[u8]) -> bool {
    body.starts_with(b"Client sent an HTTP request to an HTTPS server.")
        || body
            .starts_with(b"<html>\r\n<head><title>400 The plain HTTP request was sent to HTTPS port</title>")
        || body.starts_with(b"<!DOCTYPE HTML")
            && memchr::memmem::find(
                body,
                b"\nReason: You're speaking plain HTTP to an SSL-enabled server port.",
            )
            .is_some()
}

/// What a sink asks for, at most [`LONGEST_ASKED`].
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    podkit::http::retry_after(headers, LONGEST_ASKED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_tells_whose_fault_it_is() {
        let judged = |status| judge(status, &HeaderMap::new(), b"because");
        assert_eq!(judged(201), None);
        assert_eq!(judged(400), Some(Answer::Refused { why: "400 because".into() }));
        assert_eq!(judged(413), Some(Answer::TooLarge { why: "413 because".into() }));
        for status in [260, 301, 401, 403, 404, 408, 429, 500, 503] {
            assert!(matches!(judged(status), Some(Answer::Later { .. })), "{status}");
        }
    }

    #[test]
    fn what_is_secret_is_not_repeated() {
        let secrets = ["s3cret".to_owned(), "a".to_owned()];
        let said = |body: &'static str| masked(Bytes::from(body), &secrets);
        assert_eq!(said("no s3cret, s3crets3cret, a"), &b"no ***, ******, a"[..]);
        assert_eq!(said("s3cre"), &b"s3cre"[..]);
    }
}
