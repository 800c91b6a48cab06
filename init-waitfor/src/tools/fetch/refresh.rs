//! `fetch … --refresh D`: a native sidecar that keeps what it fetched current.
//!
//! Ready when there is content, be it that of an earlier run: a server that cannot be reached makes no pod unready.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use podkit::Exit;
use podkit::backoff::Backoff;
use podkit::dns::Resolver;
use podkit::limit::Every;
use podkit::process::{Pod, Serve};
use podkit::ready::Latch;
use podkit::reload::Reloader;
use tokio::time::Instant;
use tracing::{info, warn};

use super::config::{Plan, Shape};
use super::observe::Observer;
use super::transfer::{Download, Failure, Transfer, Validators};
use super::worktrees::Worktrees;
use super::{cancel, disk, may_write, repository, unpacked};
use crate::cli::Cli;
use crate::config::Config;
use crate::report::Redactor;
use crate::run::Waitfor;
use crate::tools::place::{Placing, PlacingTree};
use crate::{ADMIN_PORT, APP};

/// Time for the end after SIGTERM: nothing has to be drained, only half a tree removed.
const GRACE: Duration = Duration::from_secs(3);
/// How often a failure that lasts is told.
const TELL: Duration = Duration::from_secs(60);

/// Runs until SIGTERM.
///
/// # Errors
/// Before there is content: code 1 when there never will be, 124 when time is up. After that only what makes the store unusable at start.
pub fn refresh(cli: Cli, config: Config, resolver: Resolver) -> Result<(), Exit> {
    let serve = Serve::new(&cli.serve_args(), ADMIN_PORT, GRACE);
    podkit::process::run(&APP, &serve, |pod| async move {
        let redactor = Redactor::default();
        let result = Keeper::start(pod, cli, config, resolver, redactor.clone());
        let result = match result {
            Ok(mut keeper) => keeper.keep().await,
            Err(exit) => Err(exit),
        };
        result.map_err(|exit| Exit { message: exit.message.map(|message| redactor.clean(&message)), ..exit })
    })
}

struct Keeper {
    pod: Pod,
    reloader: Reloader<Waitfor>,
    config: Config,
    resolver: Resolver,
    redactor: Redactor,
    plan: Plan,
    every: Duration,
    trees: Arc<Mutex<Worktrees>>,
    transfer: Option<Transfer>,
    known: Option<Validators>,
    /// Of a git repository, what was last seen.
    commit: Option<String>,
    observer: Observer,
    latch: Option<Latch>,
    told: Every,
}

/// What a look at the source brought.
struct Found {
    version: String,
    bytes: u64,
    validators: Validators,
    commit: Option<String>,
    made: Made,
}

/// A version on its way into the store.
enum Made {
    File(Placing),
    Tree(PlacingTree),
    /// It is in the store already.
    Nothing,
}

impl Keeper {
    fn start(
        pod: Pod,
        cli: Cli,
        config: Config,
        resolver: Resolver,
        redactor: Redactor,
    ) -> Result<Self, Exit> {
        let plan = config.fetch.clone().unwrap_or_default().plan()?;
        may_write(&plan)?;
        let latch = Some(pod.ready.latch("content"));
        let trees =
            Worktrees::open(&plan.dest).map_err(|error| Exit::failed(format!("init-waitfor: {error}")))?;
        redactor.learn_url(plan.url.as_str());
        let observer = Observer::new(&pod, &redactor.clean(plan.url.as_str()), &plan.dest);
        Ok(Keeper {
            reloader: Reloader::new(cli, &pod.metrics),
            every: plan.refresh.unwrap_or(Duration::from_secs(60)),
            trees: Arc::new(Mutex::new(trees)),
            transfer: None,
            known: None,
            commit: None,
            told: Every::new(TELL),
            pod,
            config,
            resolver,
            redactor,
            plan,
            observer,
            latch,
        })
    }

    async fn keep(&mut self) -> Result<(), Exit> {
        let shutdown = self.pod.shutdown.clone();
        let mut backoff = Backoff::new(self.config.interval.get(), self.every);
        // Until there is content, time is limited: the kubelet then starts us again and shows why.
        let mut deadline = None;
        if let Some(version) = self.current() {
            self.observer.version(&version);
            self.ready();
        } else {
            deadline = self.config.timeout.limit().map(|limit| Instant::now() + limit);
        }
        loop {
            let cancelled = Arc::new(AtomicBool::new(false));
            let result = tokio::select! {
                biased;
                () = shutdown.started() => None,
                result = self.look(&cancelled, deadline) => Some(result),
            };
            cancel(cancelled).await;
            let Some(result) = result else { return Ok(()) };
            let pause = match result {
                Ok(()) => {
                    backoff.reset();
                    deadline = None;
                    self.ready();
                    self.every
                }
                Err(failure) => {
                    let (reason, pause) = self.failed(failure, deadline)?;
                    if let Some(unsaid) = self.told.allow() {
                        warn!(reason, unsaid, "not fetched; what is there stays");
                    }
                    pause.unwrap_or_default().max(backoff.next_pause()).min(self.every.max(TELL))
                }
            };
            let until = Instant::now() + pause;
            tokio::select! {
                biased;
                () = shutdown.started() => return Ok(()),
                config = self.reloader.next() => {
                    self.take(config);
                    backoff.reset();
                }
                () = tokio::time::sleep_until(deadline.map_or(until, |deadline| until.min(deadline))) => {}
            }
        }
    }

    /// One look, within the time that one may take.
    async fn look(&mut self, cancelled: &Arc<AtomicBool>, deadline: Option<Instant>) -> Result<(), Failure> {
        let limit = self.config.timeout.limit().map(|limit| Instant::now() + limit);
        let until = deadline.or(limit);
        let found = async {
            // Asked for without condition when what we know of is not there any more.
            let known = if self.current().is_some() { self.known.clone() } else { None };
            self.find(known.as_ref(), cancelled).await
        };
        let found = match until {
            Some(until) => tokio::time::timeout_at(until, found)
                .await
                .unwrap_or_else(|_| Err(Failure::again("it took longer than --timeout")))?,
            None => found.await?,
        };
        match found {
            None => self.observer.unchanged(),
            Some(found) => self.swap(found).await?,
        }
        Ok(())
    }

    /// `None`: nothing new.
    async fn find(
        &mut self,
        known: Option<&Validators>,
        cancelled: &Arc<AtomicBool>,
    ) -> Result<Option<Found>, Failure> {
        let plan = self.plan.clone();
        let lost = |error: std::io::Error| disk(&plan.dest, &error);
        // Certificate files may have been renewed.
        if self.transfer.is_none() || plan.tls != podkit::tls::TlsOptions::default() {
            let time = self.config.attempt_timeout.get();
            let transfer = Transfer::new(&plan, &self.resolver, time, &self.redactor);
            self.transfer = Some(transfer.map_err(Failure::again)?);
        }
        let Some(transfer) = &self.transfer else { return Ok(None) };
        if plan.git.is_some() {
            let known = if self.current().is_some() { self.commit.clone() } else { None };
            let place = self.store().place("repository");
            let Some(files) = repository(&plan, transfer, place, known, cancelled).await? else {
                return Ok(None);
            };
            let version = version(&plan, &files.commit);
            let there = self.store().place(&version).symlink_metadata().is_ok();
            let made = if there { Made::Nothing } else { Made::Tree(files.tree) };
            let (commit, validators) = (Some(files.commit), Validators::default());
            return Ok(Some(Found { version, bytes: files.bytes, validators, commit, made }));
        }
        let mode = if let Shape::File { mode } = plan.shape { mode } else { 0o600 };
        let mut placing =
            Placing::new(&self.store().place("download"), mode).map_err(lost)?.owner(plan.owner);
        let (bytes, sha256, validators) = match transfer.run(&plan, known, &mut placing).await? {
            Download::Unchanged => return Ok(None),
            Download::Whole { bytes, sha256, validators } => (bytes, sha256, validators),
        };
        let version = version(&plan, &sha256);
        let there = self.store().place(&version);
        let made = if there.symlink_metadata().is_ok() {
            Made::Nothing
        } else if matches!(plan.shape, Shape::File { .. }) {
            Made::File(placing)
        } else {
            let (tree, what) = unpacked(&plan, placing, there, cancelled).await?;
            info!("unpacked {what}");
            Made::Tree(tree)
        };
        Ok(Some(Found { version, bytes, validators, commit: None, made }))
    }

    /// Syncing and removing take their time, so another thread does it.
    async fn swap(&mut self, found: Found) -> Result<(), Failure> {
        let Found { version, bytes, validators, commit, made } = found;
        let (trees, name) = (self.trees.clone(), version.clone());
        let work = tokio::task::spawn_blocking(move || {
            let mut trees = trees.lock().unwrap_or_else(PoisonError::into_inner);
            let place = trees.place(&name);
            match made {
                Made::File(file) => file.place_at(&place)?,
                Made::Tree(tree) => tree.place_at(&place)?,
                Made::Nothing => {}
            }
            trees.swap(&name)
        });
        let swapped = work.await.map_err(|error| Failure::again(format!("placing failed: {error}")))?;
        let swapped = swapped.map_err(|error| disk(&self.plan.dest, &error))?;
        self.known = Some(validators);
        self.commit = commit;
        self.observer.fetched(&version, bytes, swapped);
        if swapped {
            info!(version, bytes, to = %self.plan.dest.display(), "swapped");
        }
        Ok(())
    }

    /// Ends the process when there is no content and none will come.
    fn failed(
        &self,
        failure: Failure,
        deadline: Option<Instant>,
    ) -> Result<(String, Option<Duration>), Exit> {
        let (reason, pause, last) = match failure {
            Failure::Again(reason, pause) => (reason, pause, false),
            Failure::Final(reason) => (reason, None, true),
        };
        let reason = self.redactor.clean(&reason);
        self.observer.failed(&reason);
        if self.current().is_none() {
            let url = self.plan.url.as_str();
            if last {
                return Err(Exit::failed(format!("init-waitfor: {url}: {reason}")));
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                let message = format!("init-waitfor: {url}: time is up: {reason}");
                return Err(Exit::with(crate::code::TIMEOUT, message));
            }
        }
        Ok((reason, pause))
    }

    /// A new configuration: everything but the place, which only a start takes over.
    fn take(&mut self, config: Config) {
        match config.fetch.clone().unwrap_or_default().plan() {
            Ok(plan) if plan.dest == self.plan.dest && plan.refresh.is_some() => {
                self.every = plan.refresh.unwrap_or(self.every);
                self.plan = plan;
                self.config = config;
                self.transfer = None;
                self.known = None;
                self.commit = None;
            }
            _ => warn!(
                "fetch.dest and whether to refresh change at the next start; the old configuration stays"
            ),
        }
    }

    fn ready(&mut self) {
        if let Some(latch) = self.latch.take() {
            latch.release();
            info!(target: "ready", admin = %self.pod.admin_text(), "ready");
        }
    }

    fn current(&self) -> Option<String> {
        self.store().current().map(|name| name.to_string_lossy().into_owned())
    }

    fn store(&self) -> std::sync::MutexGuard<'_, Worktrees> {
        self.trees.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The content's digest, and what else makes a difference on disk.
fn version(plan: &Plan, digest: &str) -> String {
    let mut name = digest.to_owned();
    match plan.shape {
        Shape::File { mode } => name.push_str(&format!("-{mode:04o}")),
        Shape::Tree { strip: 0, .. } => {}
        Shape::Tree { strip, .. } => name.push_str(&format!("-strip{strip}")),
    }
    if let Some(owner) = plan.owner {
        name.push_str(&format!("-{}-{}", owner.uid, owner.gid));
    }
    name
}
