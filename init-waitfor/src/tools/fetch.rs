//! `fetch URL DEST`: one file over HTTP, whole and checked, or nothing.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use podkit::Exit;
use podkit::backoff::Backoff;
use podkit::dns::Resolver;
use podkit::http::{ClientOptions, client, describe};
use podkit::tls::TlsOptions;
use tokio::time::Instant;
use tracing::info;

use super::place::Placing;
use crate::cli::FetchArgs;
use crate::config::Config;
use crate::report::Redactor;

/// Redirects followed: download servers send one to three.
const REDIRECTS: usize = 10;

/// Why an attempt failed.
enum Failure {
    /// Worth another attempt.
    Again(String),
    /// No attempt will change it.
    Final(String),
}

/// # Errors
/// Code 1 when the server or the check says no, 124 when time is up, 143 at SIGTERM.
pub async fn fetch(
    args: &FetchArgs,
    tls: TlsOptions,
    config: &Config,
    resolver: &Resolver,
    stop: impl Future<Output = u8>,
) -> Result<(), Exit> {
    let redactor = Redactor::default();
    redactor.learn_url(&args.url);
    let work = async {
        let client = client(&ClientOptions {
            tls: Some(tls),
            resolver: resolver.clone(),
            connect_timeout: config.attempt_timeout.get(),
            // A large file takes its time; what counts is that something arrives.
            timeout: None,
            redirects: REDIRECTS,
            ..ClientOptions::default()
        })
        .map_err(|error| Exit::failed(format!("init-waitfor: {error}")))?;
        let deadline = config.timeout.limit().map(|limit| Instant::now() + limit);
        let mut backoff = Backoff::new(config.interval.get(), config.max_interval.get());
        loop {
            let idle = config.attempt_timeout.get().max(Duration::from_secs(1));
            let reason = match once(args, &client, idle).await {
                Ok(bytes) => {
                    info!(bytes, to = %args.dest.display(), "fetched");
                    return Ok(());
                }
                Err(Failure::Final(reason)) => {
                    return Err(Exit::failed(format!("init-waitfor: {}: {reason}", args.url)));
                }
                Err(Failure::Again(reason)) => reason,
            };
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(Exit::with(
                    crate::code::TIMEOUT,
                    format!("init-waitfor: {}: {reason}", args.url),
                ));
            }
            info!(reason = redactor.clean(&reason), "not yet");
            tokio::time::sleep(backoff.next_pause()).await;
        }
    };
    let result = tokio::select! {
        biased;
        code = stop => Err(Exit::with(code, "init-waitfor: stopped before the file was there")),
        result = work => result,
    };
    result.map_err(|exit| Exit { message: exit.message.map(|message| redactor.clean(&message)), ..exit })
}

async fn once(args: &FetchArgs, client: &reqwest::Client, idle: Duration) -> Result<u64, Failure> {
    let response = client.get(&args.url).send().await.map_err(|error| Failure::Again(describe(&error)))?;
    let status = response.status();
    if !status.is_success() {
        let text = status.to_string();
        // 408 and 429 ask for patience; other 4xx will stay.
        let lasting = status.is_client_error() && !matches!(status.as_u16(), 408 | 425 | 429);
        return Err(if lasting { Failure::Final(text) } else { Failure::Again(text) });
    }
    let most = args.max_size.bytes();
    let too_large = || Failure::Final(format!("is larger than --max-size {}", args.max_size));
    if response.content_length().is_some_and(|length| length > most) {
        return Err(too_large());
    }
    let dest = args.dest.display();
    let disk = |error: std::io::Error| {
        Failure::Final(format!("cannot write {dest}: {error}; mount a writable volume there"))
    };
    let mut placing = Placing::new(Path::new(&args.dest), args.mode).map_err(disk)?;
    let mut digest = Context::new(&SHA256);
    let mut bytes = 0_u64;
    let mut response = response;
    loop {
        let chunk = match tokio::time::timeout(idle, response.chunk()).await {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) => break,
            Ok(Err(error)) => return Err(Failure::Again(describe(&error))),
            Err(_) => {
                return Err(Failure::Again(format!("nothing arrived for {idle:?}, after {bytes} bytes")));
            }
        };
        bytes += chunk.len() as u64;
        if bytes > most {
            return Err(too_large());
        }
        digest.update(&chunk);
        placing.file.write_all(&chunk).map_err(disk)?;
    }
    let got: String = digest.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    if let Some(wanted) = &args.sha256
        && *wanted != got
    {
        return Err(Failure::Final(format!("has SHA-256 {got}, wanted {wanted}")));
    }
    placing.place().map_err(disk)?;
    Ok(bytes)
}
