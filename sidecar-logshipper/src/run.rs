//! From the command line to running lanes, and their end.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use logtail::{Tail, Wakeup};
use podkit::admin::Reply;
use podkit::process::{Pod, Serve};
use podkit::reload::Reloader;
use podkit::{Exit, Prepared, Tool};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::batch::Batcher;
use crate::cli::{Cli, Command, overlay};
use crate::config::{Config, Format, Plan, SinkPlan};
use crate::dead_letter::DeadLetters;
use crate::deliver::Courier;
use crate::enrich::Origin;
use crate::lane::{Ended, Lane, SETTLE};
use crate::metrics::Metrics;
use crate::sink::Sink;
use crate::state::State;
use crate::status::Board;
use crate::{ADMIN_PORT, APP, tools};

/// The drains of a pod share 30 s; this is the shipper's part.
const GRACE: Duration = Duration::from_secs(8);

struct Shipper;

impl Tool for Shipper {
    const APP: podkit::App = APP;
    type Cli = Cli;
    type Config = Config;

    fn overlay(cli: &Cli, config: &mut Config) {
        overlay(cli, config);
    }

    fn without_config(cli: &Cli) -> bool {
        cli.command.is_some()
    }
}

/// The whole program.
///
/// # Errors
/// Its exit code and sentence.
pub fn main() -> Result<(), Exit> {
    let Prepared { cli, config } = podkit::prepare::<Shipper>(std::env::args_os())?;
    let admin = cli.serve.admin.as_deref();
    match &cli.command {
        Some(Command::Probe(args)) => return podkit::probe::run(args, admin, ADMIN_PORT),
        Some(Command::Positions(args)) => return tools::positions::run(args, cli.read.state.as_deref()),
        Some(Command::Drain(args)) => return tools::drain::run(args, admin, ADMIN_PORT),
        None => {}
    }
    let serve = Serve {
        // By hand, reading once, there is nobody to ask.
        admin: config.admin.clone().or_else(|| config.once.then(|| "off".to_owned())),
        default_port: ADMIN_PORT,
        grace: config.shutdown_grace.map_or(GRACE, |grace| grace.get()),
    };
    podkit::process::run(&APP, &serve, |pod| ship(pod, cli, config))
}

/// What lives as long as the process.
struct Ship {
    pod: Pod,
    metrics: Metrics,
    board: Board,
    state: Option<State>,
    /// The couriers of the lanes that run, to be hurried.
    couriers: Vec<Rc<Courier>>,
}

async fn ship(pod: Pod, cli: Cli, mut config: Config) -> Result<(), Exit> {
    let following = pod.ready.latch("following");
    let board = Board::default();
    let shown = board.clone();
    pod.status.provide(move || shown.json());
    let hurry = Wakeup::default();
    let hurried = hurry.clone();
    pod.status.action("/drain", move |_| {
        hurried.fire();
        Reply::accepted("hurrying; ask /statusz for gauges.lag_bytes\n")
    });
    let state = match &config.state {
        Some(dir) => Some(State::open(dir).map_err(|e| Exit::failed(e.to_string()))?),
        None => None,
    };
    let metrics = Metrics::register(&pod.metrics);
    let mut reloader = Reloader::<Shipper>::new(cli, &pod.metrics);
    let mut ship = Ship { pod, metrics, board, state, couriers: Vec::new() };
    let mut stop = CancellationToken::new();
    let mut lanes = ship.start(&Plan::new(&config), &stop)?;
    watch_for_end(&ship.pod, &config);
    following.release();
    info!(target: "ready", admin = ship.pod.admin_text(), sinks = lanes.len(), "ready");
    let mut ends = Vec::new();
    loop {
        tokio::select! {
            ended = lanes.join_next() => match ended {
                Some(Ok(ended)) => ends.push(ended),
                Some(Err(e)) => return Err(Exit::failed(format!("a lane ended unexpectedly: {e}; please report this"))),
                None => return farewell(&ends),
            },
            () = hurry.changed() => ship.couriers.iter().for_each(|courier| courier.hurry.notify_waiters()),
            new = reloader.next(), if !ship.pod.shutdown.is_started() => {
                let plan = Plan::new(&new);
                let origin = Origin::of_process(&plan.fields);
                // Such as a file that cannot be written, or certificates that are not there.
                if let Some(why) = plan.sinks.iter().find_map(|sink| Sink::open(sink, &origin, &ship.pod.shutdown).err()) {
                    reloader.refuse(&why);
                    continue;
                }
                if new.state != config.state {
                    warn!("state cannot change while running; the old directory stays in use");
                }
                // A request that hangs is cut off; what it carried is read again.
                stop.cancel();
                ship.couriers.iter().for_each(|courier| courier.hurry.notify_waiters());
                lanes.shutdown_within(RELOAD).await;
                config = Config { state: config.state.clone(), ..new };
                stop = CancellationToken::new();
                ship.board.clear();
                lanes = ship.start(&Plan::new(&config), &stop)?;
            }
        }
    }
}

/// Lanes settle what is under way, and have some time more to save where they are; one that a disk keeps from that is left.
const RELOAD: Duration = SETTLE.saturating_add(Duration::from_secs(5));

trait ShutdownWithin {
    async fn shutdown_within(&mut self, time: Duration);
}

impl<T: 'static> ShutdownWithin for JoinSet<T> {
    async fn shutdown_within(&mut self, time: Duration) {
        let all = async { while self.join_next().await.is_some() {} };
        if tokio::time::timeout(time, all).await.is_err() {
            self.shutdown().await;
        }
    }
}

impl Ship {
    fn start(&mut self, plan: &Plan, stop: &CancellationToken) -> Result<JoinSet<Ended>, Exit> {
        if plan.state.is_none() && plan.sinks.iter().any(|sink| sink.target.is_remote()) {
            warn!("no --state: after a restart everything is sent again");
        }
        say_what_is_odd(plan);
        let origin = Origin::of_process(&plan.fields);
        self.couriers.clear();
        let mut lanes = JoinSet::new();
        for sink in &plan.sinks {
            let lane = self.lane(plan, sink, &origin, stop)?;
            lanes.spawn_local(lane.run());
        }
        Ok(lanes)
    }

    fn lane(
        &mut self,
        plan: &Plan,
        sink: &SinkPlan,
        origin: &Origin,
        stop: &CancellationToken,
    ) -> Result<Lane, Exit> {
        let failed = |e: &dyn std::fmt::Display| Exit::failed(format!("sink {}: {e}", sink.name));
        let metrics = self.metrics.sink(&sink.name);
        let (store, saved, damaged) = match &self.state {
            None => (None, None, false),
            Some(state) => {
                let (store, saved, damaged) = state.positions(&sink.name).map_err(|e| failed(&e))?;
                (Some(store), saved, damaged)
            }
        };
        metrics.damaged.inc_by(u64::from(damaged));
        // Damaged ones mean reading from the beginning, never from the end.
        let options = logtail::Options { from_end: plan.tail.from_end && !damaged, ..plan.tail.clone() };
        let wakeup = Wakeup::default();
        let mut tail = Tail::open(options, saved, wakeup.clone()).map_err(|e| failed(&e))?;
        if let Some(store) = &store
            && let Err(e) = store.save(&tail.positions())
        {
            // Full just now: it is tried again while delivery goes on.
            warn!(error = %e, "the state directory takes nothing now");
            metrics.save_failures.inc();
            tail.keep_moved();
        }
        let courier = Rc::new(Courier::new(
            Sink::open(sink, origin, &self.pod.shutdown).map_err(|e| failed(&e))?,
            DeadLetters::new(plan.dead_letter.clone(), &sink.name),
            metrics,
            self.pod.shutdown.clone(),
        ));
        self.couriers.push(Rc::clone(&courier));
        Ok(Lane {
            plan: sink.clone(),
            tail,
            wakeup,
            store,
            batcher: Batcher::new(sink, plan.charset, plan.join.clone(), origin.clone()),
            courier,
            board: self.board.clone(),
            shutdown: self.pod.shutdown.clone(),
            stop: stop.clone(),
            once: plan.once,
            drain_quiet: plan.drain_quiet,
        })
    }
}

/// What is no mistake in every pod, and one in most.
fn say_what_is_odd(plan: &Plan) {
    for path in plan.tail.read.iter().filter(|path| Path::new(path).is_dir()) {
        warn!(path, "a directory; to read the files in it, write {}/*", path.trim_end_matches('/'));
    }
    for sink in plan.sinks.iter().filter(|sink| sink.format == Format::Raw && plan.join.is_some()) {
        if !sink.target.is_remote() {
            warn!(
                sink = sink.name,
                "raw bytes pass as they are: no lines are joined; write --format ecs, otel or merge"
            );
        }
    }
}

/// `--until-file`: the app says by a file that it has ended.
fn watch_for_end(pod: &Pod, config: &Config) {
    let Some(path) = config.until_file.clone() else { return };
    let shutdown = pod.shutdown.clone();
    tokio::task::spawn_local(async move {
        while !path.exists() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        info!(path = %path.display(), "the file is there: draining");
        shutdown.begin();
    });
}

fn farewell(ends: &[Ended]) -> Result<(), Exit> {
    let left: Vec<String> = ends
        .iter()
        .filter_map(|ended| match ended {
            Ended::Left { sink, bytes } => Some(format!("{bytes} bytes for {sink}")),
            Ended::Complete | Ended::Closed => None,
        })
        .collect();
    if left.is_empty() {
        info!("everything is delivered");
        return Ok(());
    }
    Err(Exit::failed(format!(
        "not delivered within --shutdown-grace: {}; the files still hold it, but an emptyDir ends with its pod: give it more time, or look at the sink",
        left.join(", ")
    )))
}
