//! What is kept between attempts: where the object was found, what is known of it, and the open watch.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::access::{self, Access, Kept};
use super::api::{self, Cut, Reply};
use super::event::{self, Event, Known};
use super::judge::{self, For};
use super::kinds::{Kind, Named, Resource};
use super::{Attempt, JOB_FAILED, Missing, Verdict, What, discover};
use crate::check::NotYet;
use crate::wire::Trouble;

/// A watch that has said nothing for so long is not believed any more: a get tells whether something was missed (a proxy that holds
/// streams back, a connection that died unnoticed).
const BELIEVED: Duration = Duration::from_secs(60);
/// A watch that ends sooner than this is opened again with a pause.
const SHORT: Duration = Duration::from_secs(1);

/// Empty at first.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// The name's version and scope, once asked.
    resource: Option<Resource>,
    credential: Kept,
    seen: Option<Seen>,
    watch: Option<Watch>,
    /// The next watch begins with what is there: an object may be older than what a watch can go on from.
    afresh: bool,
    /// Watching is refused, and that has been said.
    polls: bool,
}

/// The object as last seen.
#[derive(Debug)]
struct Seen {
    known: Known,
    /// Resource version to go on from.
    since: Option<String>,
    at: Instant,
    verdict: Verdict,
}

#[derive(Debug)]
struct Watch {
    events: Reply,
    opened: Instant,
}

impl Session {
    pub(super) async fn attempt(&mut self, what: &What, attempt: &Attempt<'_>) -> Verdict {
        let done = tokio::time::timeout_at(attempt.until, self.step(what, attempt)).await;
        match (done, &self.seen) {
            (Ok(Ok(verdict) | Err(verdict)), _) => verdict,
            // Nothing has happened.
            (Err(_), Some(seen)) if self.watch.is_some() => at_once(seen.verdict.clone()),
            (Err(_), _) => Verdict::unknown("timeout", "the API server does not answer in time"),
        }
    }

    /// A get at first; then the next event.
    async fn step(&mut self, what: &What, attempt: &Attempt<'_>) -> Result<Verdict, Verdict> {
        if self.seen.as_ref().is_some_and(|seen| seen.at.elapsed() > BELIEVED) {
            self.forget();
        }
        loop {
            let Some(seen) = &mut self.seen else { return self.get(what, attempt).await };
            let Some(watch) = &mut self.watch else {
                if let Some(verdict) = self.open(what, attempt).await? {
                    return Ok(verdict);
                }
                continue;
            };
            let line = match watch.events.line().await {
                Ok(Some(line)) => line,
                // It cannot be gone on from behind it.
                Err(Cut::TooLarge) => {
                    self.forget();
                    return Err(Verdict::unknown("answer", Cut::TooLarge.to_string()));
                }
                // The end of its time, or of the connection: go on from where it was.
                Ok(None) | Err(Cut::Early(_)) => {
                    let (short, verdict) = (watch.opened.elapsed() < SHORT, seen.verdict.clone());
                    self.watch = None;
                    if short {
                        return Ok(verdict);
                    }
                    continue;
                }
            };
            match seen.known.take(&line, &what.name, &mut seen.since) {
                Event::Bookmark => seen.at = Instant::now(),
                Event::Expired => {
                    let (short, verdict) = (watch.opened.elapsed() < SHORT, seen.verdict.clone());
                    self.forget();
                    self.afresh = true;
                    if short {
                        return Ok(verdict);
                    }
                }
                Event::Error(reason) => {
                    self.forget();
                    return Err(Verdict::unknown("status", reason));
                }
                Event::Changed => {
                    let Some(resource) = &self.resource else { continue };
                    seen.at = Instant::now();
                    seen.verdict = verdict(what, resource, &seen.known, None);
                    return Ok(at_once(seen.verdict.clone()));
                }
            }
        }
    }

    fn forget(&mut self) {
        self.seen = None;
        self.watch = None;
    }

    async fn access(&mut self, what: &What, attempt: &Attempt<'_>) -> Result<Access, Verdict> {
        let context = what.context.as_deref();
        let access = access::access(context, &mut self.credential, attempt.redactor, attempt.until).await;
        let mut access = access.map_err(|reason| Verdict::unknown("account", reason))?;
        if let Some(namespace) = &what.namespace {
            access.namespace.clone_from(namespace);
        }
        Ok(access)
    }

    /// Asks, and turns away what is no answer about the object.
    async fn ask(&mut self, access: &Access, path: &str, attempt: &Attempt<'_>) -> Result<Reply, Verdict> {
        let reply = api::get(access, path, attempt.resolver, attempt.until).await;
        let reply = reply.map_err(|reason| Verdict::unknown("api", reason))?;
        if reply.status == 401 {
            // A program may have a newer one.
            self.credential = None;
            let message = message(&reply.json().await.unwrap_or_default());
            return Err(Trouble::auth(format!(
                "the API server refuses our credentials: {message}; is the token expired, or of another cluster?"
            ))
            .into());
        }
        Ok(reply)
    }

    async fn get(&mut self, what: &What, attempt: &Attempt<'_>) -> Result<Verdict, Verdict> {
        let access = self.access(what, attempt).await?;
        let resource = self.resource(what, &access, attempt).await?;
        let path = resource.get(&access.namespace, &what.name);
        let reply = self.ask(&access, &path, attempt).await?;
        let status = reply.status;
        let answer = reply.json().await.map_err(|cut| Verdict::unknown("answer", cut.to_string()))?;
        let afresh = std::mem::take(&mut self.afresh) && resource.kind != Kind::Endpoints;
        let (known, since) = match status {
            200 => {
                let since = event::version(&answer).filter(|_| !afresh);
                (Known::from(resource.kind, answer), since)
            }
            404 => {
                let known = Known::nothing(resource.kind);
                let verdict = verdict(what, &resource, &known, Some(message(&answer)));
                self.seen = Some(Seen { known, since: None, at: Instant::now(), verdict: verdict.clone() });
                return Ok(self.next(verdict));
            }
            403 => return Err(forbidden(&resource, &access, what)),
            _ => return Err(Verdict::unknown("status", format!("HTTP {status}: {}", message(&answer)))),
        };
        let verdict = verdict(what, &resource, &known, None);
        self.seen = Some(Seen { known, since, at: Instant::now(), verdict: verdict.clone() });
        Ok(self.next(verdict))
    }

    /// What is not yet so is watched without a pause; where watching is not allowed, got again after one.
    fn next(&mut self, verdict: Verdict) -> Verdict {
        if self.polls {
            self.seen = None;
            return verdict;
        }
        at_once(verdict)
    }

    /// Opens the watch. A verdict instead: there is none (now).
    async fn open(&mut self, what: &What, attempt: &Attempt<'_>) -> Result<Option<Verdict>, Verdict> {
        let access = self.access(what, attempt).await?;
        let resource = self.resource(what, &access, attempt).await?;
        let Some(seen) = &self.seen else { return Ok(None) };
        let (verdict, since) = (seen.verdict.clone(), seen.since.clone());
        let path = resource.watch(&access.namespace, &what.name, since.as_deref());
        let reply = self.ask(&access, &path, attempt).await?;
        match reply.status {
            200 => {
                self.watch = Some(Watch { events: reply, opened: Instant::now() });
                Ok(None)
            }
            410 if since.is_some() => {
                self.forget();
                self.afresh = true;
                Ok(None)
            }
            400..=428 => {
                tracing::info!(
                    role = resource.role(&access.namespace, &what.name),
                    "watching is refused, so {} is asked for again and again; this role would allow both",
                    what.name
                );
                self.polls = true;
                self.seen = None;
                Ok(Some(verdict))
            }
            status => {
                let message = message(&reply.json().await.unwrap_or_default());
                Err(Verdict::unknown("status", format!("HTTP {status}: {message}")))
            }
        }
    }

    /// Version and scope, asked once.
    async fn resource(
        &mut self,
        what: &What,
        access: &Access,
        attempt: &Attempt<'_>,
    ) -> Result<Resource, Verdict> {
        if let Some(resource) = &self.resource {
            return Ok(resource.clone());
        }
        let resource = match &what.resource {
            Named::Known(resource) => resource.clone(),
            Named::InGroup { name, group } => {
                let about = self.discovery(access, &format!("/apis/{group}"), attempt).await?;
                let mut found = None;
                for version in about.iter().flat_map(discover::versions) {
                    let path = format!("/apis/{group}/{version}");
                    let list = self.discovery(access, &path, attempt).await?;
                    found = list.and_then(|list| discover::find(&list, name, group, &version));
                    if found.is_some() {
                        break;
                    }
                }
                // It may come: definitions of resources are installed, too.
                found.ok_or_else(|| {
                    Verdict::no(
                        "resource",
                        format!("the API server knows no {name} in the group {group} (yet)"),
                    )
                })?
            }
        };
        self.resource = Some(resource.clone());
        Ok(resource)
    }

    async fn discovery(
        &mut self,
        access: &Access,
        path: &str,
        attempt: &Attempt<'_>,
    ) -> Result<Option<Value>, Verdict> {
        let reply = self.ask(access, path, attempt).await?;
        let status = reply.status;
        let answer = reply.json().await.map_err(|cut| Verdict::unknown("answer", cut.to_string()))?;
        match status {
            200 => Ok(Some(answer)),
            404 => Ok(None),
            403 => Err(Trouble::auth(format!(
                "forbidden to ask {path}; name the version, as in RESOURCE.VERSION.GROUP, or bind the account to the ClusterRole system:discovery"
            ))
            .into()),
            _ => Err(Verdict::unknown("api", format!("HTTP {status}: {}", message(&answer)))),
        }
    }
}

/// With `missing` applied when it is not there.
fn verdict(what: &What, resource: &Resource, known: &Known, said: Option<String>) -> Verdict {
    if let Some(object) = known.value() {
        return judge::judge(resource.kind, &what.wanted, &object);
    }
    let said = said.unwrap_or_else(|| format!("{} {:?} is gone", resource.plural, what.name));
    match what.missing {
        _ if what.wanted == For::Delete => Verdict::ready("is not there"),
        Missing::Wait => Verdict::no("missing", said),
        Missing::Ok => Verdict::ready("is not there, which is allowed"),
        Missing::Fail => Verdict::Terminal { code: JOB_FAILED, reason: said },
    }
}

/// The next attempt waits for the next event, so it may begin at once.
fn at_once(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::NotYet(not_yet) => Verdict::NotYet(NotYet { again: Some(Duration::ZERO), ..not_yet }),
        other => other,
    }
}

fn forbidden(resource: &Resource, access: &Access, what: &What) -> Verdict {
    Trouble::auth(format!(
        "forbidden; this role (and a binding) would allow it: {}",
        resource.role(&access.namespace, &what.name)
    ))
    .into()
}

fn message(status: &Value) -> String {
    status["message"].as_str().unwrap_or("no message").to_owned()
}
