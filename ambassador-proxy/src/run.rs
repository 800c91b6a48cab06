//! The control thread: binds, starts workers, discovers, reloads, drains.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use podkit::admin::Reply;
use podkit::dns::Resolver;
use podkit::process::{Pod, Serve};
use podkit::reload::Reloader;
use podkit::{Exit, units::Dur};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::access::{Form, Writer};
use crate::cli::Cli;
use crate::config::Config;
use crate::config::plan::{ListenerKind, ListenerPlan, Plan};
use crate::listen::bind::{self, Raw, SocketFile};
use crate::stats::Board;
use crate::trace::Tracer;
#[cfg(feature = "otlp")]
use crate::trace::export::Exporter;
use crate::upstream::{Shared, refresh};
use crate::worker::{self, Command, Handle};
use crate::{ADMIN_PORT, APP, GRACE, Proxy, cpus, metrics, status};

/// No connection open and none come for so long: the drain is over.
const QUIET: Duration = Duration::from_secs(1);
/// A worker takes a configuration over in microseconds, unless it is stuck.
const APPLY: Duration = Duration::from_secs(5);
/// For the last spans: what is left of the grace, but not less than the first and not more than the second.
#[cfg(feature = "otlp")]
const LAST_SPANS: (Duration, Duration) = (Duration::from_millis(300), Duration::from_secs(2));

/// Runs until SIGTERM and the drain after it.
///
/// # Errors
/// What could not be bound or started.
pub fn run(cli: Cli, config: Config) -> Result<(), Exit> {
    let grace = config.shutdown_grace.map_or(GRACE, Dur::get);
    let serve = Serve { admin: config.admin.clone(), default_port: ADMIN_PORT, grace };
    podkit::process::run(&APP, &serve, |pod| async move {
        pod.metrics.keep_few();
        let reloader = Reloader::<Proxy>::new(cli.clone(), &pod.metrics);
        // What was changed before the watch began would go unnoticed.
        let config = podkit::load::<Proxy>(&cli).unwrap_or(config);
        let mut control = Control::start(pod, &config).await?;
        let result = control.serve(reloader).await;
        control.stop().await;
        result
    })
}

/// A listener that is bound.
struct Listening {
    address: String,
    tcp: bool,
    _file: Option<SocketFile>,
}

struct Control {
    pod: Pod,
    board: Arc<Board>,
    writer: Writer,
    workers: Vec<Handle>,
    listening: HashMap<String, Listening>,
    upstreams: status::Upstreams,
    refreshers: HashMap<u64, JoinHandle<()>>,
    #[cfg(feature = "otlp")]
    exporter: Option<Exporter>,
    resolver: Resolver,
    ids: AtomicU64,
    /// What only a start takes over.
    fixed: (Option<String>, Option<usize>, Option<Dur>),
}

impl Control {
    async fn start(pod: Pod, config: &Config) -> Result<Self, Exit> {
        let latch = pod.ready.latch("listening");
        let plan = plan(config)?;
        let board = Arc::new(Board::default());
        let fail = |error: std::io::Error| Exit::failed(format!("a thread cannot be started: {error}"));
        let writer = Writer::start().map_err(fail)?;
        let count = plan.workers.unwrap_or_else(cpus::workers);
        let workers = (0..count).map(|n| worker::start(n, board.clone(), writer.clone()));
        let workers = workers.collect::<Result<Vec<_>, _>>().map_err(fail)?;
        let upstreams = status::Upstreams::default();
        let mut control = Self {
            resolver: Resolver::system(),
            listening: HashMap::new(),
            refreshers: HashMap::new(),
            ids: AtomicU64::new(1),
            #[cfg(feature = "otlp")]
            exporter: None,
            fixed: (config.admin.clone(), config.workers, config.shutdown_grace),
            upstreams,
            workers,
            writer,
            board,
            pod,
        };
        metrics::register(&control.pod.metrics, &control.board, &control.upstreams);
        status::provide(&control.pod.status, &control.board, &control.upstreams, count);
        let shutdown = control.pod.shutdown.clone();
        control.pod.status.action("/quit", move |_| {
            shutdown.begin();
            Reply::accepted("draining\n")
        });
        let board = control.board.clone();
        control.pod.status.action("/tap", move |query| board.tap.action(query));
        control.apply(&plan).await.map_err(Exit::failed)?;
        latch.release();
        control.announce(&plan);
        Ok(control)
    }

    /// The line that says that it is ready, and where.
    fn announce(&self, plan: &Plan) {
        let addresses = |tcp: bool| {
            let bound = plan.listeners.iter().filter_map(|plan| self.listening.get(&plan.key));
            let list: Vec<_> =
                bound.filter(|bound| bound.tcp == tcp).map(|bound| bound.address.as_str()).collect();
            list.join(",")
        };
        tracing::info!(
            target: "ready",
            admin = %self.pod.admin_text(),
            http = %addresses(false),
            tcp = %addresses(true),
            workers = self.workers.len(),
            "ready"
        );
    }

    async fn serve(&mut self, mut reloader: Reloader<Proxy>) -> Result<(), Exit> {
        let (sender, mut configs) = tokio::sync::mpsc::channel(1);
        // A task of its own: a watch that is dropped half-way forgets what it has seen.
        let watching =
            tokio::task::spawn_local(
                async move { while sender.send(reloader.next().await).await.is_ok() {} },
            );
        let shutdown = self.pod.shutdown.clone();
        let mut look = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                biased;
                () = shutdown.started() => break,
                Some(config) = configs.recv() => self.reload(&config).await,
                _ = look.tick() => {
                    if self.workers.iter().any(Handle::is_gone) {
                        return Err(Exit::failed("a worker thread has ended; this is a bug, see the log"));
                    }
                }
            }
        }
        watching.abort();
        self.drain().await;
        Ok(())
    }

    async fn reload(&mut self, config: &Config) {
        let fixed = (config.admin.clone(), config.workers, config.shutdown_grace);
        if fixed != self.fixed {
            tracing::warn!("admin, workers and shutdown_grace change at the next start");
        }
        match plan(config) {
            Ok(plan) => {
                if let Err(error) = self.apply(&plan).await {
                    tracing::error!(%error, "part of the new configuration is not in force");
                }
            }
            Err(exit) => tracing::error!(problems = ?exit.message, "new configuration refused"),
        }
    }

    /// Takes a plan over: binds what is new, hands everything to every worker, then lets go of what is gone.
    async fn apply(&mut self, plan: &Plan) -> Result<(), String> {
        let mut trouble = Vec::new();
        let mut sockets: HashMap<&str, Vec<Raw>> = HashMap::new();
        let mut listeners: Vec<&Arc<ListenerPlan>> = Vec::new();
        for listener in &plan.listeners {
            if !self.listening.contains_key(&listener.key) {
                match bind::bind(&listener.bind, self.workers.len()) {
                    Ok(bound) => {
                        sockets.insert(&listener.key, bound.sockets);
                        let tcp = matches!(listener.kind, ListenerKind::Tcp(_));
                        let listening = Listening { address: bound.address, tcp, _file: bound.file };
                        self.listening.insert(listener.key.clone(), listening);
                    }
                    Err(error) => {
                        trouble.push(error);
                        continue;
                    }
                }
            }
            listeners.push(listener);
        }
        let upstreams = self.shared(plan);
        let access_log = Form::from(&plan.access_log);
        let tracer = self.tracer(plan);
        for worker in &self.workers {
            let mut mine = Vec::new();
            for listener in &listeners {
                let socket = sockets.get_mut(listener.key.as_str()).and_then(Vec::pop);
                mine.push(((*listener).clone(), socket));
            }
            let (done, applied) = oneshot::channel();
            let (upstreams, access_log, tracer) = (upstreams.clone(), access_log.clone(), tracer.clone());
            worker.send(Command::Apply { listeners: mine, upstreams, access_log, tracer, done });
            match tokio::time::timeout(APPLY, applied).await {
                Ok(Ok(Ok(()))) => {}
                Ok(Ok(Err(error))) => trouble.push(error),
                _ => trouble.push("a worker does not answer".to_owned()),
            }
        }
        self.listening.retain(|key, _| plan.listeners.iter().any(|listener| listener.key == *key));
        self.upstreams.set(upstreams);
        if trouble.is_empty() { Ok(()) } else { Err(trouble.join("; ")) }
    }

    /// Spans go to the exporter that is there, unless `traces` has changed; the old one sends what it has.
    #[cfg(feature = "otlp")]
    fn tracer(&mut self, plan: &Plan) -> Tracer {
        self.exporter = match (self.exporter.take(), &plan.traces) {
            (Some(exporter), Some(wanted)) if exporter.plan == *wanted => Some(exporter),
            (_, Some(wanted)) => {
                Some(Exporter::start(wanted.clone(), self.resolver.clone(), self.board.spans.clone()))
            }
            (_, None) => None,
        };
        let spans = self.exporter.as_ref().map(|exporter| (exporter.sink.clone(), exporter.plan.ratio));
        Tracer { begin: plan.trace, spans }
    }

    #[cfg(not(feature = "otlp"))]
    #[expect(clippy::unused_self, reason = "the same call with and without spans")]
    fn tracer(&self, plan: &Plan) -> Tracer {
        Tracer { begin: plan.trace, spans: None }
    }

    /// Upstreams that have not changed stay as they are, with their connections; others begin anew.
    fn shared(&mut self, plan: &Plan) -> Arc<HashMap<String, Arc<Shared>>> {
        let old = self.upstreams.get();
        let mut new = HashMap::new();
        for (name, wanted) in &plan.upstreams {
            let shared = match old.get(name) {
                Some(known) if known.plan == *wanted => known.clone(),
                known => {
                    let shared = Arc::new(Shared::new(self.ids.fetch_add(1, Relaxed), wanted.clone()));
                    // What is known about the same name saves the new one its first lookup.
                    if let Some(known) =
                        known.filter(|known| known.plan.source == wanted.source && known.generation() > 0)
                    {
                        shared.publish(known.endpoints().to_vec());
                    }
                    let refresher =
                        tokio::task::spawn_local(refresh::run(shared.clone(), self.resolver.clone()));
                    self.refreshers.insert(shared.id, refresher);
                    shared
                }
            };
            new.insert(name.clone(), shared);
        }
        self.refreshers.retain(|id, refresher| {
            let stays = new.values().any(|shared| shared.id == *id);
            if !stays {
                refresher.abort();
            }
            stays
        });
        Arc::new(new)
    }

    /// Goes on accepting while the app drains, until nothing is open and nothing came for a second, or time is up.
    async fn drain(&self) {
        self.workers.iter().for_each(|worker| worker.send(Command::Drain));
        let began = std::time::Instant::now();
        let quiet = async {
            loop {
                let quiet = self.board.quiet_for().is_some_and(|quiet| quiet >= QUIET);
                if quiet && began.elapsed() >= QUIET {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        if self.pod.shutdown.bounded(quiet).await.is_none() {
            let open = self.board.open.load(Relaxed);
            tracing::warn!(open, "--shutdown-grace is over with connections open; they are cut");
        } else {
            tracing::info!("drained: no connection is open");
        }
    }

    #[cfg_attr(not(feature = "otlp"), expect(clippy::unused_async, reason = "spans are waited for"))]
    async fn stop(mut self) {
        self.workers.iter().for_each(|worker| worker.send(Command::Stop));
        self.workers.drain(..).for_each(Handle::join);
        #[cfg(feature = "otlp")]
        if let Some(exporter) = self.exporter.take() {
            exporter.end(self.pod.shutdown.remaining().clamp(LAST_SPANS.0, LAST_SPANS.1)).await;
        }
        self.writer.flush(Duration::from_millis(300));
    }
}

fn plan(config: &Config) -> Result<Plan, Exit> {
    Plan::new(config).map_err(|problems| {
        let lines: Vec<_> =
            problems.iter().map(|p| format!("{}: {}; {}", p.path, p.what, p.remedy)).collect();
        Exit::config(lines.join("\n"))
    })
}
