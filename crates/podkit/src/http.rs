//! An HTTP client (reqwest) that resolves names and trusts certificates the way the rest of the pod does.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::RETRY_AFTER;

use crate::dns::Resolver;
use crate::tls::{self, TlsError, TlsOptions};

/// How to build a client.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// `Some`: `https://` works, certificates are loaded now. `None`: plain HTTP only, and no memory for roots.
    pub tls: Option<TlsOptions>,
    pub resolver: Resolver,
    /// For one connection with name resolution and handshake.
    pub connect_timeout: Duration,
    /// For a whole request with its body; `None` when the caller watches the time.
    pub timeout: Option<Duration>,
    /// How many redirects are followed; 0 returns the 3xx itself.
    pub redirects: usize,
    /// Idle connections kept per host.
    pub idle_per_host: usize,
    /// How long an idle connection is kept. Below the usual 60 s of servers, so that they do not hang up first.
    pub idle_timeout: Duration,
    /// HTTP/2 without TLS and without asking (h2c with prior knowledge).
    pub http2_only: bool,
    /// Every request goes to this socket instead of the URL's host.
    pub unix_socket: Option<PathBuf>,
    /// Through whom requests go.
    pub proxy: Proxy,
}

/// The way out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Proxy {
    /// Straight to the host.
    #[default]
    None,
    /// As `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` say.
    Environment,
    /// Through this one, apart from what `NO_PROXY` names. Userinfo in the URL becomes its credentials.
    Through(String),
}

impl Default for ClientOptions {
    fn default() -> Self {
        ClientOptions {
            tls: None,
            resolver: Resolver::system(),
            connect_timeout: Duration::from_secs(5),
            timeout: Some(Duration::from_secs(30)),
            redirects: 0,
            idle_per_host: 4,
            idle_timeout: Duration::from_secs(50),
            http2_only: false,
            unix_socket: None,
            proxy: Proxy::None,
        }
    }
}

/// A client could not be built.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("HTTP client: {0}")]
    Build(#[from] reqwest::Error),
}

/// A client for these options; to be kept, because it holds the pool of connections. Proxy variables of the environment
/// are followed only on request: inside a pod the way out is configured, not guessed.
///
/// # Errors
/// Certificate files that cannot be used.
pub fn client(options: &ClientOptions) -> Result<reqwest::Client, HttpError> {
    let config = match &options.tls {
        Some(tls) => (*tls::client_config(tls, &["h2", "http/1.1"])?).clone(),
        None => tls::no_roots(),
    };
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .dns_resolver(options.resolver.clone())
        .connect_timeout(options.connect_timeout)
        .pool_max_idle_per_host(options.idle_per_host)
        .pool_idle_timeout(options.idle_timeout)
        .tcp_keepalive(Duration::from_secs(30))
        .redirect(match options.redirects {
            0 => reqwest::redirect::Policy::none(),
            most => reqwest::redirect::Policy::limited(most),
        });
    builder = match &options.proxy {
        Proxy::None => builder.no_proxy(),
        Proxy::Environment => builder,
        Proxy::Through(url) => {
            builder.proxy(reqwest::Proxy::all(url)?.no_proxy(reqwest::NoProxy::from_env()))
        }
    };
    if let Some(timeout) = options.timeout {
        builder = builder.timeout(timeout);
    }
    if options.http2_only {
        builder = builder.http2_prior_knowledge();
    }
    if let Some(path) = &options.unix_socket {
        builder = builder.unix_socket(path.clone());
    }
    Ok(builder.build()?)
}

/// An error with its causes, one sentence, without the URL (which may hold a password). Adjacent repetitions are left out.
pub fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = match error.downcast_ref::<reqwest::Error>() {
            // reqwest prints the URL; its own words are only "error sending request" and the like.
            Some(error) if error.is_timeout() => "timed out".to_owned(),
            Some(error) if error.is_redirect() => "too many redirects".to_owned(),
            Some(error) if error.is_body() || error.is_decode() => "the body ended early".to_owned(),
            Some(error) if error.is_builder() => "the request cannot be built".to_owned(),
            Some(_) => String::new(),
            None => error.to_string(),
        };
        if !text.is_empty() && !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        next = error.source();
    }
    // hyper-util's "client error (Connect)" says nothing once the cause is known.
    if parts.len() > 1 {
        parts.retain(|part| !part.starts_with("client error (") && part != "tcp connect error");
    }
    if parts.is_empty() { "the request failed".to_owned() } else { parts.join(": ") }
}

/// How long an answer asks to be left alone, see [`pause`].
pub fn retry_after(headers: &HeaderMap, longest: Duration) -> Option<Duration> {
    pause(headers.get(RETRY_AFTER)?.to_str().ok()?, longest)
}

/// What a `Retry-After` says: seconds, or a date (RFC 9110, 10.2.3). At most `longest`, because a clock may be wrong; `None` for a date
/// that has passed.
pub fn pause(text: &str, longest: Duration) -> Option<Duration> {
    let text = text.trim();
    let pause = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = jiff::fmt::rfc2822::parse(text).ok()?;
            SystemTime::from(date.timestamp()).duration_since(SystemTime::now()).ok()?
        }
    };
    Some(pause.min(longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        const LONGEST: Duration = Duration::from_secs(60);
        let mut headers = HeaderMap::new();
        assert_eq!(retry_after(&headers, LONGEST), None);
        headers.insert(RETRY_AFTER, " 7 ".parse().unwrap());
        assert_eq!(retry_after(&headers, LONGEST), Some(Duration::from_secs(7)));
        for long in ["Fri, 01 Jan 2100 00:00:00 GMT", "18446744073709551615", "61"] {
            assert_eq!(pause(long, LONGEST), Some(LONGEST), "{long}");
        }
        for none in ["Thu, 01 Jan 1970 00:00:00 GMT", "soon", "-1", ""] {
            assert_eq!(pause(none, LONGEST), None, "{none}");
        }
    }

    #[tokio::test]
    async fn errors_have_causes_and_no_url() {
        let client = client(&ClientOptions::default()).unwrap();
        let error = client.get("http://user:s3cret@127.0.0.1:1/path").send().await.unwrap_err();
        let text = describe(&error);
        assert!(text.to_lowercase().contains("refused"), "{text}");
        assert!(!text.contains("s3cret") && !text.contains("/path"), "{text}");
    }

    #[tokio::test]
    async fn plain_clients_refuse_https_and_tls_clients_build() {
        client(&ClientOptions { tls: Some(TlsOptions::default()), ..ClientOptions::default() }).unwrap();
        client(&ClientOptions { http2_only: true, redirects: 3, ..ClientOptions::default() }).unwrap();
    }
}
