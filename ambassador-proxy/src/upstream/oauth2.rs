//! Tokens by OAuth 2.0 client credentials (RFC 6749, 4.4), fetched ahead of their expiry on the control thread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, header};
use podkit::backoff::Backoff;
use podkit::dns::Resolver;

use super::{Credential, Shared};
use crate::config::OAuth2;
use crate::control::{self, Place};

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
        let pause = match fetch(plan, resolver).await {
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
    let pair = STANDARD.encode(format!("{}:{}", encoded(&plan.client_id), encoded(&secret)));
    let login = HeaderValue::try_from(format!("Basic {pair}")).map_err(|error| error.to_string())?;
    let headers = vec![
        (header::AUTHORIZATION, login),
        (header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded")),
        (header::ACCEPT, HeaderValue::from_static("application/json")),
    ];
    let place = Place { url, ca: plan.ca.as_ref().map(Into::into) };
    let (status, _, body) = control::post(&place, resolver, headers, form.finish().into()).await?;
    token(status, &body)
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
