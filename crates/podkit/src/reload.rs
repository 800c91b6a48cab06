//! Configuration reload: on a change of the mounted directory (a ConfigMap's `..data` swap, a plain edit) or SIGHUP.
//!
//! A ConfigMap volume is updated by renaming the symlink `..data`; a watch on the file itself dies with the first update. So the directories are watched,
//! the content is compared, and every 30 s it is compared anyway, for file systems that report nothing.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Unit;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::Tool;
use crate::metrics::Metrics;

/// Events of one update come in a burst; it is over after this much silence.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// How often the content is compared without an event.
const POLL: Duration = Duration::from_secs(30);

/// Watches files by their content.
#[derive(Debug)]
pub struct Changes {
    files: Vec<PathBuf>,
    seen: u64,
    events: mpsc::Receiver<()>,
    hangup: Option<Signal>,
    /// Something was heard, and is to be looked at then; kept here so that a caller may drop [`Changes::changed`] at any time.
    look_at: Option<Instant>,
    /// SIGHUP: to be reported whether or not the content changed.
    asked: bool,
    _watcher: Option<RecommendedWatcher>,
}

impl Changes {
    /// Watches `files`; those that are not there yet count as changed when they appear. A directory that cannot be watched is polled.
    pub fn new(files: Vec<PathBuf>) -> Self {
        // One place is enough: an event says "look", not what changed.
        let (sender, events) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                let _ = sender.try_send(());
            }
        });
        let watcher = match watcher {
            Ok(mut watcher) => {
                let directories: BTreeSet<&Path> = files.iter().filter_map(|file| file.parent()).collect();
                for directory in directories {
                    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
                    if let Err(error) = watcher.watch(directory, RecursiveMode::NonRecursive) {
                        warn!(directory = %directory.display(), %error, "cannot be watched; compared every 30 s instead");
                    }
                }
                Some(watcher)
            }
            Err(error) => {
                warn!(%error, "no file events here; files are compared every 30 s instead");
                None
            }
        };
        let seen = content(&files);
        Self {
            files,
            seen,
            events,
            hangup: signal(SignalKind::hangup()).ok(),
            look_at: None,
            asked: false,
            _watcher: watcher,
        }
    }

    /// Waits until the content of a file has changed, or SIGHUP came. Cancel safe: nothing heard is lost.
    pub async fn changed(&mut self) {
        loop {
            if let Some(at) = self.look_at {
                tokio::time::sleep_until(at).await;
                while self.events.try_recv().is_ok() {}
                self.look_at = None;
            } else if !self.asked {
                tokio::select! {
                    Some(()) = async { match &mut self.hangup { Some(signal) => signal.recv().await, None => std::future::pending().await } } => self.asked = true,
                    Some(()) = self.events.recv() => { self.look_at = Some(Instant::now() + DEBOUNCE); continue; }
                    () = tokio::time::sleep(POLL) => {}
                }
            }
            let now = content(&self.files);
            if std::mem::take(&mut self.asked) || now != self.seen {
                self.seen = now;
                return;
            }
        }
    }
}

/// One number for the content of all files.
fn content(files: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for file in files {
        std::fs::read(file).ok().hash(&mut hasher);
    }
    hasher.finish()
}

/// Gives the next valid configuration. An invalid one is logged with its problems and counted, and the old one stays in force.
pub struct Reloader<T: Tool> {
    cli: T::Cli,
    changes: Changes,
    reloads: Counter,
    failures: Counter,
    successful: Gauge,
    timestamp: Gauge<f64, AtomicU64>,
}

impl<T: Tool> Reloader<T> {
    /// Watches the file given with `--config` (without one, SIGHUP alone) and registers the metrics of reloading.
    pub fn new(cli: T::Cli, metrics: &Metrics) -> Self {
        let files = cli.as_ref().config.iter().cloned().collect();
        let this = Self {
            cli,
            changes: Changes::new(files),
            reloads: Counter::default(),
            failures: Counter::default(),
            successful: Gauge::default(),
            timestamp: Gauge::default(),
        };
        let few = metrics.few();
        metrics.with(|registry| {
            registry.register(
                "config_reload_failures",
                "New configurations refused as invalid",
                this.failures.clone(),
            );
            if few {
                return;
            }
            registry.register(
                "config_reloads",
                "Configurations taken over while running",
                this.reloads.clone(),
            );
            registry.register(
                "config_last_reload_successful",
                "1 when the newest configuration is in force",
                this.successful.clone(),
            );
            registry.register_with_unit(
                "config_last_reload_success_timestamp",
                "When the configuration in force was read, Unix time",
                Unit::Seconds,
                this.timestamp.clone(),
            );
        });
        this.succeeded();
        this
    }

    /// Waits for the next valid configuration.
    pub async fn next(&mut self) -> T::Config {
        loop {
            self.changes.changed().await;
            match crate::load::<T>(&self.cli) {
                Ok(config) => {
                    self.reloads.inc();
                    self.succeeded();
                    info!("configuration reloaded");
                    return config;
                }
                Err(problems) => {
                    self.failures.inc();
                    self.successful.set(0);
                    error!(%problems, "new configuration refused; the old one stays in force");
                }
            }
        }
    }

    /// What [`Self::next`] gave is valid and cannot be used, as its user found out: counted as refused.
    pub fn refuse(&self, why: &dyn std::fmt::Display) {
        self.failures.inc();
        self.successful.set(0);
        error!(problems = %why, "new configuration refused; the old one stays in force");
    }

    fn succeeded(&self) {
        self.successful.set(1);
        self.timestamp.set(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_config_map_swap_is_a_change_and_a_touch_is_none() {
        let dir = std::env::temp_dir().join(format!("podkit-reload-{}", std::process::id()));
        let version = |n: u32, text: &str| {
            let data = dir.join(format!("..v{n}"));
            std::fs::create_dir_all(&data).unwrap();
            std::fs::write(data.join("a.yaml"), text).unwrap();
            std::os::unix::fs::symlink(format!("..v{n}"), dir.join("..data_tmp")).unwrap();
            std::fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
        };
        std::fs::create_dir_all(&dir).unwrap();
        version(1, "one");
        std::os::unix::fs::symlink("..data/a.yaml", dir.join("a.yaml")).unwrap();
        let mut changes = Changes::new(vec![dir.join("a.yaml")]);
        version(2, "one");
        let quiet = tokio::time::timeout(Duration::from_millis(700), changes.changed()).await;
        assert!(quiet.is_err(), "same content");
        version(3, "two");
        // A caller that gives up again and again, as a select! in a loop does, still hears of it.
        let mut patience = 200;
        while tokio::time::timeout(Duration::from_millis(100), changes.changed()).await.is_err() {
            patience -= 1;
            assert!(patience > 0, "the swap is seen");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
