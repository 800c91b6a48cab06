//! Every exchange of a lookup, kept for `explain`.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::conf::ResolvConf;
use super::error::Failure;
use super::message::{Kind, Reply};
use super::transport::Told;
use super::{Answer, conf};

/// One question to one server.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// The candidate for whose sake the question was asked.
    pub candidate: String,
    /// The name asked for: the candidate, or an alias' target.
    pub name: String,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub server: SocketAddr,
    /// `NOERROR`, `NXDOMAIN`, `NODATA`, `SERVFAIL`, … or `no answer`.
    pub rcode: String,
    /// In the text form of zone files.
    pub answers: Vec<String>,
    /// Seconds of the smallest time to live.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
    pub took_ms: u64,
}

/// A lookup with everything that led to its result.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    pub name: String,
    #[serde(rename = "type")]
    pub asked: String,
    pub servers: Vec<SocketAddr>,
    pub search: Vec<String>,
    pub ndots: usize,
    /// Candidate names in search order.
    pub candidates: Vec<String>,
    /// Addresses known without the DNS: a literal, the hosts file, `localhost`. They win.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub without_dns: Vec<String>,
    /// In search order, then in the order in which they ended.
    pub steps: Vec<Step>,
    /// The candidate whose answer counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chosen: Option<String>,
    pub values: Vec<String>,
    /// Why there is no result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Where the steps go; nowhere when off.
#[derive(Debug)]
pub(super) struct Trace {
    steps: Option<Mutex<Vec<Step>>>,
}

/// A step that has begun; dropped without an end it counts as "no answer".
pub(super) struct Begun<'a> {
    trace: &'a Trace,
    step: Option<Step>,
    at: Instant,
}

impl Trace {
    pub(super) fn off() -> Self {
        Trace { steps: None }
    }

    pub(super) fn on() -> Self {
        Trace { steps: Some(Mutex::default()) }
    }

    pub(super) fn begin(&self, candidate: &str, name: &str, server: SocketAddr, kind: Kind) -> Begun<'_> {
        let step = self.steps.as_ref().map(|_| Step {
            candidate: candidate.to_owned(),
            name: name.to_owned(),
            kind: kind.name(),
            server,
            rcode: "no answer".to_owned(),
            answers: Vec::new(),
            ttl: None,
            took_ms: 0,
        });
        Begun { trace: self, step, at: Instant::now() }
    }

    pub(super) fn finish(
        self,
        name: &str,
        kinds: &[Kind],
        conf: ResolvConf,
        local: Option<Answer>,
        results: Vec<(String, Result<Vec<Reply>, Failure>)>,
    ) -> Explanation {
        let candidates = conf::candidates(name, &conf);
        let mut steps = self.steps.and_then(|steps| steps.into_inner().ok()).unwrap_or_default();
        steps.sort_by_key(|step| candidates.iter().position(|name| *name == step.candidate));
        let hit =
            results.iter().find_map(|(name, result)| result.as_ref().ok().map(|replies| (name, replies)));
        let (chosen, values, error) = match (&local, hit) {
            (Some(answer), _) => {
                (Some(answer.name.clone()), answer.addrs.iter().map(ToString::to_string).collect(), None)
            }
            (None, Some((name, replies))) => {
                let values =
                    replies.iter().flat_map(|reply| &reply.values).map(ToString::to_string).collect();
                (Some(name.clone()), values, None)
            }
            (None, None) => {
                let failures = results.iter().filter_map(|(_, result)| result.as_ref().err().cloned());
                (None, Vec::new(), Failure::worst(failures).map(|failure| failure.to_string()))
            }
        };
        Explanation {
            name: name.to_owned(),
            asked: kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join("/"),
            servers: conf.servers,
            search: conf.search,
            ndots: conf.ndots,
            candidates,
            without_dns: local.iter().flat_map(|answer| &answer.addrs).map(ToString::to_string).collect(),
            steps,
            chosen,
            values,
            error,
        }
    }
}

impl Begun<'_> {
    pub(super) fn end(mut self, told: &Told) {
        let Some(step) = &mut self.step else { return };
        match told {
            Told::Answer(reply) => {
                "NOERROR".clone_into(&mut step.rcode);
                step.answers = reply.values.iter().map(ToString::to_string).collect();
                step.ttl = Some(reply.ttl.as_secs());
            }
            Told::Alias(to, ttl) => {
                "NOERROR".clone_into(&mut step.rcode);
                step.answers = vec![format!("alias of {to}")];
                step.ttl = Some(ttl.as_secs());
            }
            Told::Failed(failure) => step.rcode = failure.to_string(),
        }
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        let (Some(steps), Some(mut step)) = (&self.trace.steps, self.step.take()) else { return };
        step.took_ms =
            u64::try_from(self.at.elapsed().min(Duration::from_secs(3600)).as_millis()).unwrap_or(0);
        if let Ok(mut steps) = steps.lock() {
            steps.push(step);
        }
    }
}
