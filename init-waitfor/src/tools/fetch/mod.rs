//! `request → download → digest → unpack → place`
//!
//! `fetch URL DEST`: a file or an archive over HTTP, whole and checked, or nothing. With `--refresh` it stays and keeps it current
//! ([`refresh`]).

pub mod config;
#[cfg(feature = "git")]
mod git;
mod observe;
mod refresh;
pub mod transfer;
mod worktrees;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use podkit::Exit;
use podkit::backoff::Backoff;
use podkit::dns::Resolver;
use tokio::time::Instant;
use tracing::info;

use super::place::{Placing, PlacingTree};
use super::unpack::{self, Limits, UnpackError};
use crate::config::Config;
use crate::report::{Heartbeat, Redactor};
use config::Shape;
pub use config::{FetchConfig, Plan};
pub use refresh::refresh;
use transfer::{Download, Failure, Transfer};

/// How long a stopped unpacking may need to clean up after itself.
const CLEAN_UP: Duration = Duration::from_millis(500);

/// Once, then done.
///
/// # Errors
/// Code 1 when the server or the check says no, 124 when time is up, 143 at SIGTERM.
pub async fn fetch(
    plan: &Plan,
    config: &Config,
    resolver: &Resolver,
    stop: impl Future<Output = u8>,
) -> Result<(), Exit> {
    let redactor = Redactor::default();
    may_write(plan)?;
    let transfer = Transfer::new(plan, resolver, config.attempt_timeout.get(), &redactor)
        .map_err(|error| Exit::failed(format!("init-waitfor: {error}")))?;
    let cancelled = Arc::new(AtomicBool::new(false));
    let work = until_there(plan, config, &redactor, async || once(plan, &transfer, &cancelled).await);
    let result = tokio::select! {
        biased;
        code = stop => Err(Exit::with(code, "init-waitfor: stopped before the file was there")),
        result = work => result,
    };
    cancel(cancelled).await;
    result.map_err(|exit| Exit { message: exit.message.map(|message| redactor.clean(&message)), ..exit })
}

/// Tries again and again, until it works, will never work, or time is up.
async fn until_there(
    plan: &Plan,
    config: &Config,
    redactor: &Redactor,
    mut attempt: impl AsyncFnMut() -> Result<String, Failure>,
) -> Result<(), Exit> {
    let deadline = config.timeout.limit().map(|limit| Instant::now() + limit);
    let mut backoff = Backoff::new(config.interval.get(), config.max_interval.get());
    let url = plan.url.as_str();
    let mut last = "no attempt has ended".to_owned();
    let tries = async {
        // A line per state change and a heartbeat, as for every other wait.
        let (mut attempts, mut heartbeat) = (0u64, Heartbeat::default());
        loop {
            attempts += 1;
            let pause = match attempt().await {
                Ok(what) => {
                    info!(to = %plan.dest.display(), "fetched {}", redactor.clean(&what));
                    return Ok(());
                }
                Err(Failure::Final(reason)) => {
                    return Err(Exit::failed(format!("init-waitfor: {url}: {reason}")));
                }
                Err(Failure::Again(reason, pause)) => {
                    let beats = heartbeat.due(Instant::now());
                    if reason != last || beats {
                        info!(attempts, reason = redactor.clean(&reason), "not yet");
                    }
                    last = reason;
                    pause
                }
            };
            tokio::time::sleep(pause.unwrap_or_default().max(backoff.next_pause())).await;
        }
    };
    let result = match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline, tries).await,
        None => Ok(tries.await),
    };
    result.unwrap_or_else(|_| {
        Err(Exit::with(crate::code::TIMEOUT, format!("init-waitfor: {url}: time is up: {last}")))
    })
}

async fn once(plan: &Plan, transfer: &Transfer, cancelled: &Arc<AtomicBool>) -> Result<String, Failure> {
    let lost = |error: std::io::Error| disk(&plan.dest, &error);
    if plan.git.is_some() {
        let Some(files) = repository(plan, transfer, plan.dest.clone(), None, cancelled).await? else {
            return Err(Failure::again("nothing although nothing was known"));
        };
        files.tree.place().map_err(lost)?;
        return Ok(format!("{} of commit {}", files.what, files.commit));
    }
    let mode = if let Shape::File { mode } = plan.shape { mode } else { 0o600 };
    let mut placing = Placing::new(&plan.dest, mode).map_err(lost)?.owner(plan.owner);
    let Download::Whole { bytes, sha256, .. } = transfer.run(plan, None, &mut placing).await? else {
        return Err(Failure::again("304 although nothing was known"));
    };
    if matches!(plan.shape, Shape::File { .. }) {
        placing.place().map_err(lost)?;
        return Ok(format!("{bytes} bytes, sha256 {sha256}"));
    }
    let (tree, what) = unpacked(plan, placing, plan.dest.clone(), cancelled).await?;
    tree.place().map_err(lost)?;
    Ok(format!("{what} from {bytes} bytes, sha256 {sha256}"))
}

/// Unpacks beside `dest`, on a thread of its own.
async fn unpacked(
    plan: &Plan,
    mut archive: Placing,
    dest: std::path::PathBuf,
    cancelled: &Arc<AtomicBool>,
) -> Result<(PlacingTree, String), Failure> {
    let Shape::Tree { strip, bytes, entries } = plan.shape else {
        return Err(Failure::Final("is no archive".to_owned()));
    };
    let (owner, shown) = (plan.owner, plan.dest.clone());
    let limits = Limits { bytes, entries, cancelled: cancelled.clone() };
    let work = tokio::task::spawn_blocking(move || {
        let lost = |error: std::io::Error| disk(&shown, &error);
        let tree = PlacingTree::new(&dest).map_err(lost)?;
        let done = unpack::unpack(&mut archive.file, tree.path(), strip, &limits);
        let done = done.map_err(|error| match error {
            UnpackError::Refused(reason) => Failure::Final(reason),
            UnpackError::Disk(error) => lost(error),
        })?;
        if let Some(owner) = owner {
            owner.give_tree(tree.path()).map_err(lost)?;
        }
        Ok((tree, format!("{} entries with {} bytes", done.entries, done.bytes)))
    });
    work.await.unwrap_or_else(|error| Err(Failure::Final(format!("unpacking failed: {error}"))))
}

/// The files of a commit, on their way.
struct Files {
    commit: String,
    tree: PlacingTree,
    /// For the log.
    what: String,
    /// Bytes received.
    bytes: u64,
}

/// Fetches a repository beside `dest`, on a thread of its own; `None`: it is still at `known`.
#[cfg(feature = "git")]
async fn repository(
    plan: &Plan,
    transfer: &Transfer,
    dest: std::path::PathBuf,
    known: Option<String>,
    cancelled: &Arc<AtomicBool>,
) -> Result<Option<Files>, Failure> {
    let Shape::Tree { bytes, entries, .. } = plan.shape else {
        return Err(Failure::Final("is no repository".to_owned()));
    };
    let limits = Limits { bytes, entries, cancelled: cancelled.clone() };
    let (web, plan) = (transfer.web(plan)?, plan.clone());
    let work = tokio::task::spawn_blocking(move || git::bring(&plan, web, known.as_deref(), &dest, &limits));
    let done = work.await.unwrap_or_else(|error| Err(Failure::Final(format!("git failed: {error}"))))?;
    Ok(done.map(|git::Brought { commit, tree, unpacked, downloaded }| Files {
        commit,
        tree,
        what: format!("{} entries with {} bytes", unpacked.entries, unpacked.bytes),
        bytes: downloaded,
    }))
}

/// In the other image.
#[cfg(not(feature = "git"))]
async fn repository(
    _: &Plan,
    _: &Transfer,
    _: std::path::PathBuf,
    _: Option<String>,
    _: &Arc<AtomicBool>,
) -> Result<Option<Files>, Failure> {
    Err(Failure::Final(
        "git repositories are not in this build; use the image with -git in its tag".to_owned(),
    ))
}

/// Tells the thread that unpacks to stop, and waits a moment for it to clean up.
async fn cancel(flag: Arc<AtomicBool>) {
    flag.store(true, Ordering::Relaxed);
    let until = Instant::now() + CLEAN_UP;
    while Arc::strong_count(&flag) > 1 && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What is known to fail is said before anything is fetched.
fn may_write(plan: &Plan) -> Result<(), Exit> {
    let dest = plan.dest.display();
    if let Some(owner) = plan.owner {
        owner.allowed().map_err(|reason| Exit::failed(format!("init-waitfor: {reason}")))?;
    }
    let Ok(about) = plan.dest.symlink_metadata() else { return Ok(()) };
    if matches!(plan.shape, Shape::File { .. }) && plan.git.is_none() && about.is_dir() {
        return Err(Exit::failed(format!(
            "init-waitfor: {dest} is a directory; name the file in it, or unpack an archive with --extract"
        )));
    }
    if about.is_dir() && is_mount_point(&plan.dest) {
        return Err(Exit::failed(format!(
            "init-waitfor: {dest} is a mount point, which cannot be replaced in one step; name a directory below it, such as {}",
            plan.dest.join("current").display()
        )));
    }
    Ok(())
}

/// Another device than its parent. A bind mount of the same device is found out by the rename, which fails.
fn is_mount_point(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;

    let parent = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match (path.symlink_metadata(), parent.metadata()) {
        (Ok(path), Ok(parent)) => path.dev() != parent.dev(),
        _ => false,
    }
}

fn disk(dest: &Path, error: &std::io::Error) -> Failure {
    let dest = dest.display();
    let remedy = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => "give the volume more room",
        std::io::ErrorKind::ResourceBusy => "it is a mount point; name a file or directory below it",
        _ => "mount a writable volume there",
    };
    Failure::Final(format!("cannot write {dest}: {error}; {remedy}"))
}
