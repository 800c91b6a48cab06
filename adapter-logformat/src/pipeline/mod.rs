//! The I/O around the pure middle: `stdin | files | sockets → lanes → stdout | file | socket`, on a thread of its own, so that a slow
//! output holds up neither probes nor signals.

pub mod batch;
pub mod files;
pub mod follow;
pub mod frame;
pub mod network;
pub mod octets;
pub mod output;
pub mod recover;
pub mod remote;
pub mod sink;
pub mod state;
pub mod stdin;
pub mod streams;

use std::sync::{Arc, mpsc};

use podkit::{exit::Exit, process::Pod, reload::Reloader};
use tokio::sync::oneshot;
use tracing::{info, warn};

use crate::{
    Adapter,
    cli::Cli,
    config::{Config, Output},
    listen,
    meter::Meter,
    rules::Series,
};
use network::Network;
use output::FileOutput;
use remote::{Place, Remote, Target};
use sink::Sink;
use state::State;
use streams::Streams;

/// Runs until the input ends, or the shutdown.
///
/// # Errors
/// The output or the state directory cannot be used.
pub async fn run(cli: Cli, config: Config, pod: Pod) -> Result<(), Exit> {
    let series = Series::default();
    let streams = Arc::new(Streams::compile(&config, &series).map_err(Exit::config)?);
    let meter = Meter::default();
    pod.metrics.with(|registry| {
        meter.register(registry);
        registry.register_collector(Box::new(series.clone()));
    });
    let status = meter.clone();
    pod.status.provide(move || status.status());
    let sink = open_output(&config)?;
    meter.update(|snapshot| snapshot.output = sink.describe());
    let latch = pod.ready.latch("reading");
    let (sender, done) = oneshot::channel();
    let shutdown = pod.shutdown.clone();
    if streams.only_stdin() {
        let thread = std::thread::Builder::new().name("convert".to_owned());
        let spawned = thread.spawn(move || {
            let _ = sender.send(stdin::run(&streams, sink, &meter, &shutdown, latch));
        });
        spawned.map_err(|e| Exit::failed(format!("no thread can be started: {e}")))?;
        if pod.admin().is_some() {
            info!(target: "ready", admin = %pod.admin_text(), "ready");
        }
        return done.await.unwrap_or_else(|_| Err(Exit::failed("the converting thread ended by itself")));
    }
    let wakeup = logtail::Wakeup::default();
    let (reloads, reload) = mpsc::channel();
    let listeners: Vec<_> = streams.listeners.iter().map(|(listener, _)| listener.clone()).collect();
    let bound = listen::Bound::open(listeners).map_err(Exit::failed)?;
    let listening = bound.addresses().iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let network = match streams.listeners.is_empty() {
        true => None,
        false => {
            let inbox = bound.start(&wakeup, &meter, &shutdown);
            Some(Network::new(inbox.map_err(|e| Exit::failed(format!("sockets cannot be read: {e}")))?))
        }
    };
    let (opened, open) = oneshot::channel();
    let known = streams.clone();
    let work: Box<dyn FnOnce() -> Result<(), Exit> + Send> = match network {
        Some(network) if streams.globs.is_empty() => {
            let (wakeup, shutdown) = (wakeup.clone(), shutdown.clone());
            let _ = opened.send(());
            Box::new(move || {
                let outside = network::Outside { sink, meter, shutdown, wakeup, reload, ready: latch };
                network::run(streams, network, outside)
            })
        }
        network => {
            let state = open_state(&config)?;
            let job = files::Job {
                streams,
                sink,
                network,
                state,
                meter,
                shutdown: shutdown.clone(),
                wakeup: wakeup.clone(),
                ready: latch,
                opened,
                reload,
            };
            Box::new(move || files::run(job))
        }
    };
    // Watched before anybody is told that we are ready: a change right behind that is heard.
    let mut reloader = Reloader::<Adapter>::new(cli, &pod.metrics);
    let thread = std::thread::Builder::new().name("convert".to_owned());
    let spawned = thread.spawn(move || {
        let _ = sender.send(work());
    });
    spawned.map_err(|e| Exit::failed(format!("no thread can be started: {e}")))?;
    // Ready means that the files have been looked at: what is renamed from now on is followed.
    if open.await.is_ok() {
        info!(target: "ready", admin = %pod.admin_text(), listening, "ready");
    }
    let mut current = config;
    tokio::pin!(done);
    let mut draining = false;
    loop {
        tokio::select! {
            result = &mut done => {
                return result.unwrap_or_else(|_| Err(Exit::failed("the converting thread ended by itself")));
            }
            () = shutdown.started(), if !draining => {
                draining = true;
                wakeup.fire();
            }
            next = reloader.next() => {
                if (next.output(), next.state_dir(), next.inputs().iter().all(|s| s.input.is_empty()))
                    != (current.output(), current.state_dir(), false)
                {
                    warn!("out, out_max_size, out_keep, state and reading from stdin change only with a restart; the rest is taken over");
                }
                match Streams::compile(&next, &series) {
                    Ok(streams) if !streams.listens_as(&known) || streams.globs.is_empty() != known.globs.is_empty() => {
                        warn!("sockets and FIFOs to listen on change only with a restart; the old configuration stays in force");
                    }
                    Ok(streams) => {
                        let _ = reloads.send(Arc::new(streams));
                        wakeup.fire();
                        current = next;
                    }
                    Err(problem) => warn!(problem, "the new configuration cannot be used; the old one stays in force"),
                }
            }
        }
    }
}

fn open_state(config: &Config) -> Result<Option<(State, state::Found)>, Exit> {
    match config.state_dir() {
        Some(dir) => State::open(&dir).map(Some).map_err(Exit::failed),
        None => {
            info!("no --state: a restart reads the files from their beginning");
            Ok(None)
        }
    }
}

fn open_output(config: &Config) -> Result<Sink, Exit> {
    let (path, max_size, keep) = match config.output() {
        Output::Stdout => return Ok(Sink::Stdout),
        Output::Remote(target) => return Ok(remote(target)),
        Output::File { path, max_size, keep } => (path, max_size, keep),
    };
    if let Some(fifo) = listen::address::fifo(&path.to_string_lossy()) {
        return Ok(remote(Target { place: Place::Fifo(path), text: fifo.text, nul: false }));
    }
    if let Some(dir) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
        std::fs::create_dir_all(dir).map_err(|error| {
            Exit::failed(format!(
                "the output directory {} cannot be made: {error}; mount a volume there that user {} may write",
                dir.display(),
                rustix::process::getuid().as_raw()
            ))
        })?;
    }
    Ok(Sink::File(FileOutput::new(path, max_size, keep)))
}

fn remote(target: Target) -> Sink {
    Sink::Remote(Remote::new(target, tokio::runtime::Handle::current()))
}
