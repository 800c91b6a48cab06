//! The search walk: candidate names in order, each asked of every server until one says something definite.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until, timeout};

use super::conf::{self, ResolvConf};
use super::error::{DnsError, Failure};
use super::message::{Kind, Reply, Value};
use super::trace::Trace;
use super::transport::{self, Told};
use crate::stagger;

/// After the first family's answer, how long the other may still take. RFC 8305 asks for 50 ms; a slow pod network
/// gets more, a server that drops AAAA questions does not stop the lookup.
const OTHER_FAMILY: Duration = Duration::from_millis(300);
/// No pause between two starts is shorter, however little time there is.
const SHORTEST_STEP: Duration = Duration::from_millis(100);
/// Aliases followed by asking again; within one answer any number.
const ALIAS_HOPS: usize = 8;

/// A candidate that exists.
#[derive(Debug)]
pub(super) struct Hit {
    pub name: String,
    replies: Vec<Reply>,
}

impl Hit {
    pub(super) fn values(&self) -> impl Iterator<Item = &Value> {
        self.replies.iter().flat_map(|reply| &reply.values)
    }

    pub(super) fn ttl(&self) -> Duration {
        self.replies.iter().map(|reply| reply.ttl).min().unwrap_or_default()
    }

    pub(super) fn canonical(&self) -> &str {
        self.replies.first().map_or(&self.name, |reply| &reply.canonical)
    }
}

/// Time between two starts of a try, so that every server gets every attempt within the budget.
pub(super) fn budget_per_try(conf: &ResolvConf, budget: Duration) -> Duration {
    let tries = u32::try_from(conf.servers.len()).unwrap_or(u32::MAX).saturating_mul(conf.attempts);
    conf.timeout.min(budget / tries.saturating_add(1)).max(SHORTEST_STEP)
}

/// The first candidate in search order that exists. A silent candidate does not hold back the others: the next one
/// starts after a step of silence, and its hit counts once all before it have been silent for two.
pub(super) async fn walk(
    conf: &ResolvConf,
    name: &str,
    kinds: &[Kind],
    budget: Duration,
    trace: &Trace,
) -> Result<Hit, DnsError> {
    let names = conf::candidates(name, conf);
    let until = Instant::now() + budget;
    let share = budget / u32::try_from(names.len() + 1).unwrap_or(u32::MAX);
    let step = conf.timeout.min(share).max(SHORTEST_STEP);
    let per_try = budget_per_try(conf, budget);

    let mut results: Vec<Option<Result<Vec<Reply>, Failure>>> = names.iter().map(|_| None).collect();
    let mut started: Vec<Instant> = Vec::new();
    let mut running = FuturesUnordered::new();
    loop {
        let next = started.len();
        if next < names.len() && running_is_silent(&results, &started, step) {
            let candidate_name = &names[next];
            running.push(async move {
                (next, candidate(conf, candidate_name, kinds, per_try, until, trace).await)
            });
            started.push(Instant::now());
        }
        if let Some(index) = decided(&results, &started, step) {
            if let Some(Some(Ok(replies))) = results.get_mut(index).map(Option::take) {
                return Ok(Hit { name: names[index].clone(), replies });
            }
        } else if started.len() == names.len() && running.is_empty() {
            break;
        }
        let wake = started
            .iter()
            .flat_map(|at| [*at + step, *at + step * 2])
            .filter(|at| *at > Instant::now())
            .min()
            .unwrap_or(until)
            .min(until);
        tokio::select! {
            Some((index, result)) = running.next() => results[index] = Some(result),
            () = sleep_until(wake) => if wake >= until { break },
        }
    }

    // Time is up: a hit behind a silent candidate is still a hit.
    if let Some(index) = results.iter().position(|result| matches!(result, Some(Ok(_))))
        && let Some(Ok(replies)) = results[index].take()
    {
        return Ok(Hit { name: names[index].clone(), replies });
    }
    drop(running);
    let candidates: Vec<(String, Failure)> = names
        .into_iter()
        .zip(results)
        .map(|(name, result)| (name, result.and_then(Result::err).unwrap_or(Failure::Timeout)))
        .collect();
    let kind = Failure::worst(candidates.iter().map(|(_, failure)| failure.clone()));
    let asked: Vec<&str> = kinds.iter().rev().map(|kind| kind.name()).collect();
    Err(DnsError {
        name: name.to_owned(),
        asked: asked.join("/"),
        kind: kind.unwrap_or(Failure::NxDomain),
        candidates,
        servers: conf.servers.clone(),
    })
}

type Results = [Option<Result<Vec<Reply>, Failure>>];

/// Whether everything started so far has failed or been silent for a step: time for the next candidate.
fn running_is_silent(results: &Results, started: &[Instant], step: Duration) -> bool {
    results.iter().zip(started).all(|(result, at)| match result {
        Some(Ok(_)) => false,
        Some(Err(_)) => true,
        None => at.elapsed() >= step,
    })
}

/// The earliest hit, if nothing before it may still win.
fn decided(results: &Results, started: &[Instant], step: Duration) -> Option<usize> {
    for (index, (result, at)) in results.iter().zip(started).enumerate() {
        match result {
            Some(Ok(_)) => return Some(index),
            None if at.elapsed() < step * 2 => return None,
            Some(Err(_)) | None => {}
        }
    }
    None
}

/// One candidate, all wanted types at the same time.
pub(super) async fn candidate(
    conf: &ResolvConf,
    name: &str,
    kinds: &[Kind],
    per_try: Duration,
    until: Instant,
    trace: &Trace,
) -> Result<Vec<Reply>, Failure> {
    let mut running: FuturesUnordered<_> =
        kinds.iter().map(|kind| question(conf, name, *kind, per_try, until, trace)).collect();
    let mut replies = Vec::new();
    let mut failures = Vec::new();
    loop {
        let next = if replies.is_empty() {
            running.next().await
        } else {
            // A timeout here ends the wait for the other family.
            timeout(OTHER_FAMILY, running.next()).await.unwrap_or(None)
        };
        match next {
            Some(Ok(reply)) => replies.push(reply),
            Some(Err(failure)) => failures.push(failure),
            None if replies.is_empty() => return Err(Failure::worst(failures).unwrap_or(Failure::Timeout)),
            None => return Ok(replies),
        }
    }
}

/// One name, one type: every server, as often as `attempts` says, until one says something definite.
async fn question(
    conf: &ResolvConf,
    name: &str,
    kind: Kind,
    per_try: Duration,
    until: Instant,
    trace: &Trace,
) -> Result<Reply, Failure> {
    let mut asked = name.to_owned();
    let mut chain = Duration::MAX;
    for _ in 0..ALIAS_HOPS {
        let order: Vec<_> = (0..conf.attempts).flat_map(|_| conf.servers.iter().copied()).collect();
        let tries = order.into_iter().map(|server| {
            let asked = asked.as_str();
            async move {
                let step = trace.begin(name, asked, server, kind);
                let told = transport::ask(server, asked, kind, conf.tcp_only).await;
                step.end(&told);
                match told {
                    Told::Failed(failure) if !failure.is_definite() => Err(failure),
                    told => Ok(told),
                }
            }
        });
        match stagger::first(tries, per_try, until).await {
            Ok(Told::Answer(mut reply)) => {
                reply.ttl = reply.ttl.min(chain);
                return Ok(reply);
            }
            Ok(Told::Alias(to, ttl)) => {
                chain = chain.min(ttl);
                asked = to;
            }
            Ok(Told::Failed(failure)) => return Err(failure),
            Err(failed) => {
                let silence = (failed.unfinished > 0).then_some(Failure::Timeout);
                return Err(
                    Failure::worst(failed.errors.into_iter().chain(silence)).unwrap_or(Failure::Timeout)
                );
            }
        }
    }
    Err(Failure::Malformed(format!("more than {ALIAS_HOPS} aliases")))
}
