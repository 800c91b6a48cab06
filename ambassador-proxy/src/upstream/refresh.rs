//! Discovery, and files that change: runs on the control thread, publishes to every worker.
//!
//! An error, NXDOMAIN or an empty answer never takes an endpoint away: the last good set stays for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue};
use podkit::backoff::Backoff;
use podkit::dns::{Kind, Resolver, Value};
use podkit::tls::TlsOptions;

use super::sign::{AwsSigner, Signer};
use super::{Credential, Endpoint, Peer, Shared, TlsConfigs};
use crate::config::Credentials;
use crate::config::Protocol;
use crate::config::plan::{Host, Source, UpstreamPlan};

/// How often files with certificates and credentials are compared.
const FILES: Duration = Duration::from_secs(2);

/// Keeps an upstream's endpoints, credentials and certificates up to date, for ever.
pub async fn run(shared: Arc<Shared>, resolver: Resolver) {
    let files = files(&shared);
    let health = super::health::run(&shared);
    let tokens = super::oauth2::run(&shared, &resolver);
    tokio::join!(endpoints(&shared, resolver.clone()), files, health, tokens);
}

async fn endpoints(shared: &Shared, resolver: Resolver) {
    let (min, max) = shared.plan.ttl;
    let mut backoff = Backoff::new(Duration::from_millis(250), max.min(Duration::from_secs(5)));
    loop {
        let pause = match resolve(&shared.plan, &resolver, shared.generation() > 0).await {
            Ok((found, ttl)) => {
                backoff.reset();
                shared.note(|discovery| {
                    discovery.resolved = Some(Instant::now());
                    discovery.error = None;
                });
                publish(shared, found);
                let Some(ttl) = ttl else { return };
                // Up to a tenth earlier, so that a fleet does not ask in step.
                // A file costs nothing to look at; its own short time is not stretched.
                let min = if matches!(shared.plan.source, Source::File(_)) { min.min(FILES) } else { min };
                ttl.clamp(min, max.max(min)).mul_f64(1.0 - fastrand::f64() / 10.0)
            }
            Err(error) => {
                shared.dns_failures.fetch_add(1, Ordering::Relaxed);
                let known = shared.generation() > 0;
                shared.note(|discovery| {
                    if discovery.error.is_none() {
                        let kept = if known { "the last good addresses stay" } else { "none known yet" };
                        tracing::warn!(upstream = %shared.plan.name, %error, "lookup failed; {kept}");
                    }
                    discovery.error = Some(error);
                });
                backoff.next_pause()
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// What discovery finds: peer, weight, priority.
type Found = Vec<(Peer, u32, u16)>;

/// Endpoints, and how long they are good for; `None` means for ever.
///
/// Once a set is known, one name of several that fails keeps all of it: half a set would move all traffic to the rest.
async fn resolve(
    plan: &UpstreamPlan,
    resolver: &Resolver,
    known: bool,
) -> Result<(Found, Option<Duration>), String> {
    match &plan.source {
        Source::Unix(path) => Ok((vec![(Peer::Unix(path.clone()), 1, 0)], None)),
        Source::Hosts(list) => hosts(plan, list, resolver, known).await,
        Source::File(path) => {
            let text = std::fs::read_to_string(path);
            let text =
                text.map_err(|error| format!("endpoints_file {} cannot be read: {error}", path.display()))?;
            let list = crate::config::check::endpoints(&text)
                .map_err(|error| format!("endpoints_file {}: {error}", path.display()))?;
            if list.is_empty() {
                return Err(format!("endpoints_file {} names no endpoint", path.display()));
            }
            let (found, ttl) = hosts(plan, &list, resolver, known).await?;
            Ok((found, Some(ttl.unwrap_or(FILES).min(FILES))))
        }
        Source::Srv(name) => {
            let records = resolver.lookup(name, Kind::Srv).await.map_err(|error| error.to_string())?;
            let mut ttl = records.ttl;
            let mut found = Found::new();
            for value in &records.values {
                let Value::Srv { priority, weight, port, target } = value else { continue };
                // Absolute: SRV targets are whole names, the search list does not apply.
                let answer = resolver.ips(&format!("{}.", target.trim_end_matches('.'))).await;
                let Ok(answer) = answer else { continue };
                ttl = ttl.min(answer.ttl);
                let weight = u32::from(*weight).max(1);
                found.extend(
                    answer.addrs.iter().map(|ip| (Peer::Tcp((*ip, *port).into()), weight, *priority)),
                );
            }
            if found.is_empty() {
                return Err(format!("no target of the SRV records of {name} has an address"));
            }
            Ok((found, Some(ttl)))
        }
    }
}

/// Names with ports, as A and AAAA.
async fn hosts(
    plan: &UpstreamPlan,
    hosts: &[Host],
    resolver: &Resolver,
    known: bool,
) -> Result<(Found, Option<Duration>), String> {
    let literal = hosts.iter().all(|host| host.name.parse::<std::net::IpAddr>().is_ok());
    let answers = hosts.iter().map(|host| async move {
        let answer = resolver.ips(&host.name).await.map_err(|error| error.to_string())?;
        Ok::<_, String>((answer, host))
    });
    let answers = futures_util::future::join_all(answers).await;
    let (mut found, mut ttl) = (Found::new(), Duration::MAX);
    for answer in answers {
        match answer {
            Ok((answer, host)) => {
                ttl = ttl.min(answer.ttl);
                let peer =
                    |ip: &std::net::IpAddr| (Peer::Tcp((*ip, host.port).into()), host.weight, host.priority);
                found.extend(answer.addrs.iter().map(peer));
            }
            Err(error) if known || hosts.len() == 1 => return Err(error),
            Err(error) => {
                tracing::warn!(upstream = %plan.name, %error, "one of the endpoints has no address yet");
                ttl = Duration::ZERO;
            }
        }
    }
    if found.is_empty() {
        return Err("none of the endpoints has an address".to_owned());
    }
    Ok((found, (!literal).then_some(ttl)))
}

/// Publishes what was found, if it is different; endpoints that stay keep the word of their health check.
fn publish(shared: &Shared, mut found: Found) {
    found.sort();
    found.dedup_by(|a, b| a.0 == b.0);
    let old = shared.endpoints();
    let same = old.len() == found.len()
        && old
            .iter()
            .zip(&found)
            .all(|(old, new)| (&old.peer, old.weight, old.priority) == (&new.0, new.1, new.2));
    if same && shared.generation() > 0 {
        return;
    }
    let endpoints: Vec<_> = found
        .into_iter()
        .map(|(peer, weight, priority)| {
            let well = old.iter().find(|known| known.peer == peer).map(|known| known.well.clone());
            let well = well.unwrap_or_else(|| Arc::new(AtomicBool::new(true)));
            Endpoint { peer, weight, priority, well }
        })
        .collect();
    let names: Vec<_> = endpoints.iter().map(|endpoint| endpoint.peer.to_string()).collect();
    let names = names.join(",");
    tracing::info!(upstream = %shared.plan.name, addresses = %names, "endpoints");
    shared.publish(endpoints);
}

/// Loads certificates and the credential, and again whenever their content has changed.
async fn files(shared: &Shared) {
    if shared.plan.tls.is_none() && shared.plan.credentials.is_none() {
        return;
    }
    let mut seen = None;
    loop {
        let now = contents(&shared.plan);
        if seen.as_ref() != Some(&now) {
            let result = load_tls(shared).and_then(|()| load_credential(shared));
            if let Err(error) = &result {
                tracing::warn!(upstream = %shared.plan.name, %error, "TLS or credential files cannot be used; what was loaded before stays");
            } else if seen.is_some() {
                tracing::info!(upstream = %shared.plan.name, "TLS and credential files loaded again");
            }
            // Both files of a pair change one after the other: a pair that does not fit is looked at again when its content changes.
            shared.note(|discovery| discovery.files = result.err());
            seen = Some(now);
        }
        tokio::time::sleep(FILES).await;
    }
}

fn secrets(credentials: &Credentials) -> impl Iterator<Item = &podkit::secret::Secret> {
    let basic = credentials.basic.as_ref().map(|basic| &basic.password);
    let key = credentials.api_key.as_ref().map(|key| &key.value);
    let aws = credentials.aws.iter();
    let aws = aws
        .flat_map(|aws| [&aws.access_key_id, &aws.secret_access_key].into_iter().chain(&aws.session_token));
    let hmac = credentials.hmac.as_ref().map(|hmac| &hmac.key);
    credentials.bearer.iter().chain(basic).chain(key).chain(aws).chain(hmac)
}

/// A hash of everything that may rotate; a file that cannot be read counts as a content of its own.
fn contents(plan: &UpstreamPlan) -> u64 {
    let mut parts: Vec<Option<Vec<u8>>> = Vec::new();
    if let Some(tls) = &plan.tls {
        let pair = tls.identity.iter().flat_map(|(cert, key)| [cert, key]);
        parts.extend(tls.ca.iter().chain(pair).map(|path| std::fs::read(path).ok()));
    }
    if let Some(credentials) = &plan.credentials {
        parts.extend(secrets(credentials).map(|secret| secret.read().ok().map(String::into_bytes)));
    }
    super::balance::hash(&parts)
}

fn load_tls(shared: &Shared) -> Result<(), String> {
    let Some(tls) = &shared.plan.tls else { return Ok(()) };
    let options = TlsOptions {
        ca: tls.ca.clone(),
        cert: tls.identity.as_ref().map(|(cert, _)| cert.clone()),
        key: tls.identity.as_ref().map(|(_, key)| key.clone()),
        insecure: tls.insecure,
    };
    let alpn: &[&str] = match shared.plan.protocol {
        Protocol::Auto => &["h2", "http/1.1"],
        Protocol::Http1 => &["http/1.1"],
        Protocol::Http2 => &["h2"],
    };
    let mut any = podkit::tls::client_config(&options, alpn).map_err(|error| error.to_string())?;
    if !tls.san.is_empty() {
        let roots = podkit::tls::roots(tls.ca.as_deref()).map_err(|error| error.to_string())?;
        let pinned = super::san::Pinned::new(roots, tls.san.clone())?;
        Arc::make_mut(&mut any).dangerous().set_certificate_verifier(pinned);
    }
    let mut http1 = rustls::ClientConfig::clone(&any);
    // A database would be puzzled by "http/1.1".
    http1.alpn_protocols = if shared.plan.bytes { Vec::new() } else { vec![b"http/1.1".to_vec()] };
    shared.tls.store(Some(Arc::new(TlsConfigs { any, http1: Arc::new(http1) })));
    Ok(())
}

fn load_credential(shared: &Shared) -> Result<(), String> {
    let Some(credentials) = &shared.plan.credentials else { return Ok(()) };
    let read = |secret: &podkit::secret::Secret| secret.read().map_err(|error| error.to_string());
    let unfit = |_| "the credential has bytes that no header may carry".to_owned();
    let (name, text) = if let Some(token) = &credentials.bearer {
        (http::header::AUTHORIZATION, format!("Bearer {}", read(token)?))
    } else if let Some(basic) = &credentials.basic {
        let pair = STANDARD.encode(format!("{}:{}", basic.user, read(&basic.password)?));
        (http::header::AUTHORIZATION, format!("Basic {pair}"))
    } else if let Some(key) = &credentials.api_key {
        let name = HeaderName::try_from(key.header.as_str()).map_err(|error| error.to_string())?;
        (name, read(&key.value)?)
    } else if let Some(aws) = &credentials.aws {
        let token = match &aws.session_token {
            Some(token) => {
                let mut token = HeaderValue::try_from(read(token)?).map_err(unfit)?;
                token.set_sensitive(true);
                Some(token)
            }
            None => None,
        };
        let signer = AwsSigner {
            region: aws.region.clone(),
            service: aws.service.clone(),
            id: read(&aws.access_key_id)?,
            secret: read(&aws.secret_access_key)?,
            token,
        };
        shared.credential.store(Some(Arc::new(Credential::Signature(Signer::Aws(Box::new(signer))))));
        return Ok(());
    } else if let Some(hmac) = &credentials.hmac {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, read(&hmac.key)?.as_bytes());
        let signer = Signer::Hmac(hmac.key_id.clone(), Box::new(key));
        shared.credential.store(Some(Arc::new(Credential::Signature(signer))));
        return Ok(());
    } else {
        return Ok(());
    };
    let mut value = HeaderValue::try_from(text).map_err(unfit)?;
    value.set_sensitive(true);
    shared.credential.store(Some(Arc::new(Credential::Header(name, value))));
    Ok(())
}
