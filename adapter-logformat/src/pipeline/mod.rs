//! The I/O around the pure middle: `stdin | files → lanes → stdout | file`, on a thread of its own, so that a slow output
//! holds up neither probes nor signals.

pub mod batch;
pub mod files;
pub mod follow;
pub mod output;
pub mod recover;
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
    meter::Meter,
};
use output::FileOutput;
use sink::Sink;
use state::State;
use streams::Streams;

/// Runs until the input ends, or the shutdown.
///
/// # Errors
/// The output or the state directory cannot be used.
pub async fn run(cli: Cli, config: Config, pod: Pod) -> Result<(), Exit> {
    let streams = Arc::new(Streams::compile(&config).map_err(Exit::config)?);
    let meter = Meter::default();
    pod.metrics.with(|registry| meter.register(registry));
    let status = meter.clone();
    pod.status.provide(move || status.status());
    let sink = open_output(&config)?;
    meter.update(|snapshot| snapshot.output = sink.describe());
    let latch = pod.ready.latch("reading");
    let (sender, done) = oneshot::channel();
    let shutdown = pod.shutdown.clone();
    if streams.globs.is_empty() {
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
    let state = match config.state_dir() {
        Some(dir) => Some(State::open(&dir).map_err(Exit::failed)?),
        None => {
            info!("no --state: a restart reads the files from their beginning");
            None
        }
    };
    let wakeup = logtail::Wakeup::default();
    let (reloads, reload) = mpsc::channel();
    let (opened, open) = oneshot::channel();
    let job = files::Job {
        streams,
        sink,
        state,
        meter,
        shutdown: shutdown.clone(),
        wakeup: wakeup.clone(),
        ready: latch,
        opened,
        reload,
    };
    let thread = std::thread::Builder::new().name("convert".to_owned());
    let spawned = thread.spawn(move || {
        let _ = sender.send(files::run(job));
    });
    spawned.map_err(|e| Exit::failed(format!("no thread can be started: {e}")))?;
    // Ready means that the files have been looked at: what is renamed from now on is followed.
    if open.await.is_ok() {
        info!(target: "ready", admin = %pod.admin_text(), "ready");
    }
    let mut reloader = Reloader::<Adapter>::new(cli, &pod.metrics);
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
                match Streams::compile(&next) {
                    Ok(streams) if !streams.globs.is_empty() => {
                        let _ = reloads.send(Arc::new(streams));
                        wakeup.fire();
                        current = next;
                    }
                    Ok(_) => {}
                    Err(problem) => warn!(problem, "the new configuration cannot be used; the old one stays in force"),
                }
            }
        }
    }
}

fn open_output(config: &Config) -> Result<Sink, Exit> {
    let Output::File { path, max_size, keep } = config.output() else { return Ok(Sink::Stdout) };
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
