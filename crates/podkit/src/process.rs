//! One process of a pod: runtime, signals, admin port, then the tool's own code, then the drain.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::LocalSet;
use tracing::warn;

use crate::admin::{self, Admin, Status};
use crate::cli::{App, ServeArgs};
use crate::descriptors;
use crate::exit::Exit;
use crate::memory;
use crate::metrics::Metrics;
use crate::ready::{Pulse, Readiness};
use crate::shutdown::Shutdown;

/// How long after the deadline of the drain the process may still need to say goodbye.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How the process serves.
#[derive(Debug, Clone)]
pub struct Serve {
    /// `--admin` as given; `off` for none.
    pub admin: Option<String>,
    /// Port when `--admin` is not given.
    pub default_port: u16,
    /// Time for the drain.
    pub grace: Duration,
}

impl Serve {
    /// From the shared flags and the tool's defaults.
    pub fn new(args: &ServeArgs, default_port: u16, default_grace: Duration) -> Self {
        let grace = args.shutdown_grace.map_or(default_grace, |grace| grace.get());
        Self { admin: args.admin.clone(), default_port, grace }
    }
}

/// What the tool's code gets.
#[derive(Clone)]
pub struct Pod {
    /// Starts at SIGTERM or SIGINT.
    pub shutdown: Shutdown,
    /// `/readyz` is 200 when all its latches are released.
    pub ready: Readiness,
    /// `/livez` is 200 while the loops beat.
    pub pulse: Pulse,
    /// `/metrics`.
    pub metrics: Metrics,
    /// `/statusz`, the page, and POST actions.
    pub status: Status,
    admin: Option<SocketAddr>,
}

impl Pod {
    /// Where the admin port really listens (port 0 resolved); `None` when it is off.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// The admin address for the ready line: `off` when there is none.
    pub fn admin_text(&self) -> String {
        self.admin.map_or_else(|| "off".to_owned(), |addr| addr.to_string())
    }

    /// A pod without signals and admin port, for tests and one-shot runs.
    pub fn detached(app: &App, grace: Duration) -> Self {
        Self {
            shutdown: Shutdown::new(grace),
            ready: Readiness::default(),
            pulse: Pulse::default(),
            metrics: Metrics::new(app),
            status: Status::new(app),
            admin: None,
        }
    }
}

/// Runs `body` on a current-thread runtime (a `LocalSet`, so its tasks need not be `Send`), with the admin port served and signals turned into
/// [`Pod::shutdown`]. `body` ends by itself or after the drain; one that overstays the deadline is cut off with a warning.
///
/// # Errors
/// What `body` returns, or code 1 when the admin port cannot be bound.
pub fn run<F>(app: &App, serve: &Serve, body: impl FnOnce(Pod) -> F) -> Result<(), Exit>
where
    F: Future<Output = Result<(), Exit>>,
{
    memory::few_heaps();
    descriptors::take_all();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // File system work goes to few threads: each costs memory, and a sidecar has one disk.
        .max_blocking_threads(4)
        .thread_keep_alive(Duration::from_secs(5))
        .build()
        .map_err(|error| Exit::failed(format!("the runtime cannot start: {error}")))?;
    let result = LocalSet::new().block_on(&runtime, async {
        let mut pod = Pod::detached(app, serve.grace);
        pod.shutdown.on_signals()?;
        let admin = Admin::bind(serve.admin.as_deref(), serve.default_port).await?;
        pod.admin = admin.as_ref().map(Admin::addr);
        if let Some(admin) = admin {
            tokio::spawn(admin.serve(admin::Context {
                ready: pod.ready.clone(),
                pulse: pod.pulse.clone(),
                metrics: pod.metrics.clone(),
                status: pod.status.clone(),
                shutdown: pod.shutdown.clone(),
            }));
        }
        tokio::task::spawn_local(memory::rest_after_start(pod.ready.clone()));
        let pulse = pod.pulse.clone();
        tokio::task::spawn_local(async move {
            loop {
                pulse.beat();
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        let shutdown = pod.shutdown.clone();
        tokio::select! {
            biased;
            result = body(pod) => result,
            () = async { shutdown.overdue().await; tokio::time::sleep(LAST_WORDS).await } => {
                warn!("the drain did not end within --shutdown-grace; leaving");
                Err(Exit::failed("the drain did not end within --shutdown-grace; give it more time, or the pod a longer terminationGracePeriodSeconds"))
            }
        }
    });
    // A read from a pipe or a hanging disk on a blocking thread must not keep the process.
    runtime.shutdown_background();
    result
}
