//! Tokens by OAuth 2.0 client credentials (RFC 6749, 4.4), fetched ahead of their expiry on the control thread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use podkit::backoff::Backoff;
use podkit::dns::Resolver;
use podkit::tls::TlsOptions;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::refresh::base64;
use super::{Credential, Shared};
use crate::config::OAuth2;

/// For one token, with the connection.
const TIMEOUT: Duration = Duration::from_secs(10);
/// An answer is far below.
const LARGEST: usize = 64 << 10;
/// A token that does not say how long it lives.
const LIFE: Duration = Duration::from_secs(300);

/// Keeps a token at hand, for ever. A fetch that fails keeps the old one until it has expired.
pub async fn run(shared: &Shared, resolver: &Resolver) {
    let Some(plan) = shared.plan.credentials.as_ref().and_then(|credentials| credentials.oauth2.as_ref())
    else {
        return;
    };
    let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(30));
    let mut expires: Option<Instant> = None;
    loop {
        let fetched = tokio::time::timeout(TIMEOUT, fetch(plan, resolver)).await;
        let pause = match fetched.unwrap_or_else(|_| Err(format!("no token within {TIMEOUT:?}"))) {
            Ok((token, life)) => {
                backoff.reset();
                expires = Some(Instant::now() + life);
                shared.credential.store(Some(Arc::new(Credential::Header(header::AUTHORIZATION, token))));
                shared.note(|discovery| discovery.files = None);
                tracing::debug!(upstream = %shared.plan.name, ?life, "token fetched");
                // After three quarters of its life, and not in step with other pods.
                life.mul_f64(0.7 + 0.1 * fastrand::f64()).max(Duration::from_secs(1))
            }
            Err(error) => {
                let error = format!("no OAuth 2.0 token from {}: {error}", plan.token_url);
                if expires.is_some_and(|at| Instant::now() >= at) {
                    // An expired token would only be refused, and its error would name the wrong culprit.
                    shared.credential.store(None);
                    expires = None;
                }
                shared.note(|discovery| {
                    if discovery.files.as_ref() != Some(&error) {
                        tracing::warn!(upstream = %shared.plan.name, %error, "the token that is there stays until it expires");
                    }
                    discovery.files = Some(error);
                });
                backoff.next_pause()
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// A token as a header, and how long it lives.
async fn fetch(plan: &OAuth2, resolver: &Resolver) -> Result<(HeaderValue, Duration), String> {
    let url = url::Url::parse(&plan.token_url).map_err(|error| error.to_string())?;
    let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(443));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let answer = resolver.ips(host).await.map_err(|error| error.to_string())?;
    let tries = answer.addrs.iter().map(|ip| TcpStream::connect((*ip, port)));
    let stream = podkit::stagger::first_patient(tries, Duration::from_millis(250)).await;
    let stream =
        stream.map_err(|errors| errors.last().map_or("no address".to_owned(), ToString::to_string))?;
    if url.scheme() != "https" {
        return ask(plan, &url, stream).await;
    }
    let options = TlsOptions { ca: plan.ca.as_ref().map(Into::into), ..TlsOptions::default() };
    let config = podkit::tls::client_config(&options, &["http/1.1"]).map_err(|error| error.to_string())?;
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let connected = tokio_rustls::TlsConnector::from(config).connect(name, stream).await;
    ask(plan, &url, connected.map_err(|error| error.to_string())?).await
}

async fn ask(
    plan: &OAuth2,
    url: &url::Url,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<(HeaderValue, Duration), String> {
    let secret = plan.client_secret.read().map_err(|error| error.to_string())?;
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    for (name, value) in [("scope", &plan.scope), ("audience", &plan.audience)] {
        if let Some(value) = value {
            form.append_pair(name, value);
        }
    }
    // Both are form-encoded before they are joined (RFC 6749, 2.3.1).
    let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = base64(format!("{}:{}", encoded(&plan.client_id), encoded(&secret)).as_bytes());
    let authority = url.host_str().unwrap_or_default().to_owned()
        + &url.port().map_or_else(String::new, |port| format!(":{port}"));
    let request = Request::post(&url[url::Position::BeforePath..url::Position::AfterQuery])
        .header(header::HOST, authority)
        .header(header::AUTHORIZATION, format!("Basic {pair}"))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::ACCEPT, "application/json")
        .header(header::CONNECTION, "close")
        .body(Full::<bytes::Bytes>::from(form.finish()))
        .map_err(|error| error.to_string())?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    tokio::task::spawn_local(tokio::time::timeout(TIMEOUT, connection));
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = response.status();
    let body =
        Limited::new(response.into_body(), LARGEST).collect().await.map_err(|error| error.to_string())?;
    token(status.as_u16(), &body.to_bytes())
}

/// Reads an answer (RFC 6749, 5). Its text never goes into an error: it may hold a token.
fn token(status: u16, body: &[u8]) -> Result<(HeaderValue, Duration), String> {
    let json: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    if status != 200 {
        let code = json["error"].as_str().filter(|code| code.len() < 100).unwrap_or("no error code");
        return Err(format!("status {status}, {code:?}"));
    }
    let text = json["access_token"]
        .as_str()
        .filter(|text| !text.is_empty())
        .ok_or("an answer without access_token")?;
    let kind = json["token_type"].as_str().unwrap_or("Bearer");
    if !kind.eq_ignore_ascii_case("bearer") {
        return Err(format!("token_type {kind:?} is not Bearer"));
    }
    let mut value =
        HeaderValue::try_from(format!("Bearer {text}")).map_err(|_| "a token that no header may carry")?;
    value.set_sensitive(true);
    // Some servers write the number as text.
    let seconds = json["expires_in"].as_u64().or_else(|| json["expires_in"].as_str()?.parse().ok());
    Ok((value, seconds.map_or(LIFE, |seconds| Duration::from_secs(seconds.clamp(1, 30 * 86_400)))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let (value, life) =
            token(200, br#"{"access_token":"t-1","token_type":"bearer","expires_in":"60"}"#).unwrap();
        assert_eq!((value.to_str().unwrap(), life), ("Bearer t-1", Duration::from_secs(60)));
        assert!(value.is_sensitive());
        assert_eq!(token(200, br#"{"access_token":"t"}"#).unwrap().1, LIFE);
        assert_eq!(
            token(401, br#"{"error":"invalid_client"}"#).unwrap_err(),
            "status 401, \"invalid_client\""
        );
        for bad in [
            &b"{}"[..],
            b"no json",
            br#"{"access_token":"a\nb"}"#,
            br#"{"access_token":"t","token_type":"mac"}"#,
        ] {
            let error = token(200, bad).unwrap_err();
            assert!(!error.contains("a\nb"), "{error}");
        }
    }
}
