//! Files in: follow, convert, deliver, acknowledge.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use logtail::{FileKey, Options, Tail, Wakeup};
use podkit::{exit::Exit, ready::Latch, shutdown::Shutdown};
use serde_json::json;
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::{
    batch::Batch,
    follow::Follow,
    network::Network,
    recover,
    sink::{Patience, Sink, Stop},
    state::{Found, Intent, Run, State},
    streams::Streams,
};
use crate::{meter::Meter, time::Time};

/// Bytes read for one batch.
const BATCH: usize = 1 << 20;
/// A writer that logs line by line wakes the reader with every one: this pause makes batches of them.
const LINGER: Duration = Duration::from_millis(20);
/// How often the page and the gauges are brought up to date.
const SHOW: Duration = Duration::from_millis(500);

/// How long an event waits for a line that may belong to it.
const PATIENCE: Duration = Duration::from_millis(400);

/// What the thread works with.
pub struct Job {
    pub streams: Arc<Streams>,
    pub sink: Sink,
    /// Sockets and FIFOs beside the files.
    pub network: Option<Network>,
    pub state: Option<(State, Found)>,
    pub meter: Meter,
    pub shutdown: Shutdown,
    pub wakeup: Wakeup,
    pub ready: Latch,
    /// Told when the files have been looked at for the first time.
    pub opened: oneshot::Sender<()>,
    /// New streams after a reload of the configuration.
    pub reload: Receiver<Arc<Streams>>,
}

/// Runs until the shutdown, or until the output is closed.
pub fn run(job: Job) -> Result<(), Exit> {
    let Job { streams, sink, network, state, meter, shutdown, wakeup, ready, opened, reload } = job;
    let (state, found) = match state {
        Some((state, found)) => (Some(state), found),
        None => (None, Found::default()),
    };
    if let Some((aside, reason)) = &found.damaged {
        meter.checkpoints_damaged.inc();
        warn!(aside = %aside.display(), reason, newer_copy = found.positions.is_some(), "a damaged position file was set aside");
    }
    let mut positions = found.positions;
    if let (Some(saved), Sink::File(output)) = (&positions, &sink) {
        let finished =
            recover::finish(options(&streams), saved.clone(), &found.intent, output, &streams, &meter);
        positions = Some(finished.map_err(Exit::failed)?);
    }
    let tail =
        Tail::open(options(&streams), positions, wakeup.clone()).map_err(|e| Exit::failed(e.to_string()))?;
    ready.release();
    let _ = opened.send(());
    let patience = Patience::new(shutdown.clone(), meter.clone());
    let mut worker = Worker {
        streams,
        sink,
        network,
        state,
        meter,
        patience,
        tail,
        lanes: HashMap::new(),
        batch: Batch::default(),
        seq: found.intent.seq,
        remembered: found.intent.runs,
        shown: None,
    };
    // Which files there are is known from here on, also when a kill comes before their first line is written and a rename meanwhile.
    worker.save_place();
    let result = worker.follow(&shutdown, &wakeup, &reload);
    worker.save_last();
    worker.show();
    match result {
        Ok(()) | Err(Stop::Closed) => Ok(()),
        Err(Stop::Overdue) => Err(Exit::failed(format!(
            "the output {} took nothing until the end of the drain; the unwritten lines are read again at the next start",
            worker.sink.describe()
        ))),
    }
}

fn options(streams: &Streams) -> Options {
    Options { max_line: 1 << 20, ..Options::new(streams.globs.clone()) }
}

struct Worker {
    streams: Arc<Streams>,
    sink: Sink,
    network: Option<Network>,
    state: Option<State>,
    meter: Meter,
    patience: Patience,
    tail: Tail,
    lanes: HashMap<FileKey, Follow>,
    batch: Batch,
    seq: u64,
    /// Runs of the last batch before the start, for what detection knew.
    remembered: Vec<Run>,
    shown: Option<Instant>,
}

impl Worker {
    fn follow(
        &mut self,
        shutdown: &Shutdown,
        wakeup: &Wakeup,
        reload: &Receiver<Arc<Streams>>,
    ) -> Result<(), Stop> {
        let mut finishing = false;
        loop {
            if let Ok(streams) = reload.try_recv() {
                self.reload(streams, wakeup);
            }
            if shutdown.is_started() && !std::mem::replace(&mut finishing, true) {
                self.tail.finish();
            }
            let turn = self.read();
            let waiting = self.end_events(turn.finished);
            if !self.batch.runs.is_empty() {
                self.deliver()?;
            }
            let (heard, silent) = self.hear()?;
            if turn.finished && silent {
                return Ok(());
            }
            if self.shown.is_none_or(|at| at.elapsed() >= SHOW) {
                self.show();
            }
            if !turn.more && !heard {
                self.sync();
                if turn.bytes > 0 && !finishing {
                    std::thread::sleep(LINGER);
                } else {
                    let soon = waiting || self.network.as_ref().is_some_and(|n| n.waits().is_some());
                    wakeup.wait(turn.wait.min(if soon { PATIENCE / 4 } else { SHOW }));
                }
            }
        }
    }

    /// One turn: what there is, converted. What may go on stays in its file's lane, for a while.
    fn read(&mut self) -> logtail::Turn {
        let now = Time::now();
        let Self { tail, lanes, batch, streams, remembered, seq, .. } = self;
        batch.clear();
        batch.now = now;
        *seq += 1;
        tail.poll(BATCH, |block| {
            let follow = lanes.entry(block.file).or_insert_with(|| {
                let path = block.path.to_string_lossy().into_owned();
                let mut lane = streams.lane(&path);
                if let Some(run) = remembered.iter().rev().find(|run| run.id == block.id.0) {
                    lane.remember(&run.detector);
                }
                Follow::new(path, block.id, lane)
            });
            follow.lane.set_now(now);
            follow.take(&block, batch);
        })
    }

    /// Ends the events that waited long enough for more lines; all of them with `all`. True when some still wait.
    fn end_events(&mut self, all: bool) -> bool {
        let Self { lanes, batch, .. } = self;
        let mut waiting = false;
        for (key, follow) in lanes.iter_mut().filter(|(_, follow)| !follow.carry.is_empty()) {
            if all || follow.since.is_none_or(|at| at.elapsed() >= PATIENCE) {
                follow.lane.set_now(batch.now);
                follow.flush(*key, batch);
            } else {
                waiting = true;
            }
        }
        waiting
    }

    /// What sockets and FIFOs said, written. Whether there may be more, and whether there will be none.
    fn hear(&mut self) -> Result<(bool, bool), Stop> {
        let Self { network, streams, sink, patience, meter, tail, .. } = self;
        let Some(network) = network else { return Ok((false, true)) };
        let more = network.read(streams);
        network.deliver(sink, patience, meter, &streams.filters, || {
            let _ = tail.poll(0, |_| ());
        })?;
        Ok((more, network.finished))
    }

    /// Writes the batch, exactly once where the output is a file with a state directory.
    fn deliver(&mut self) -> Result<(), Stop> {
        let Self { sink, tail, patience, batch, state, meter, seq, streams, .. } = self;
        let idle = |tail: &mut Tail| {
            let _ = tail.poll(0, |_| ());
        };
        loop {
            let place =
                patience.until("opening the output", || sink.place(batch.out.len()), || idle(tail))?;
            if let (Some(state), Some(_)) = (state.as_mut(), place) {
                let intent = Intent {
                    seq: *seq,
                    place,
                    now: (batch.now.seconds, batch.now.nanos),
                    bytes: batch.out.len() as u64,
                    runs: batch.runs.clone(),
                };
                tail.set_note(serde_json::to_value(intent).unwrap_or_default());
                let positions = tail.positions();
                patience.until("saving positions", || state.save(&positions), || idle(tail))?;
            }
            let mut done = 0;
            patience.until("writing the output", || sink.write(&batch.out, &mut done), || idle(tail))?;
            if patience.until("looking at the output", || sink.kept(), || idle(tail))? {
                break;
            }
            warn!("the output file was deleted while it was written; the batch is written again");
        }
        for (file, range) in batch.done.drain(..) {
            tail.acknowledge(file, range);
        }
        meter.delivered(&batch.counts, batch.bytes_read, batch.out.len() as u64);
        meter.filtered(&streams.filters, &batch.filtered);
        if let (Sink::Stdout | Sink::Remote(_), Some(state)) = (&sink, state.as_mut()) {
            tail.set_note(
                serde_json::to_value(Intent { seq: *seq, ..Intent::default() }).unwrap_or_default(),
            );
            let positions = tail.positions();
            patience.until("saving positions", || state.save(&positions), || idle(tail))?;
        }
        Ok(())
    }

    /// Saves what is acknowledged, for the death of the machine.
    fn sync(&mut self) {
        let Some(state) = self.state.as_mut().filter(|s| s.sync_due()) else { return };
        let positions = self.tail.positions();
        if let Err(error) = state.sync(&positions) {
            self.meter.state_errors.inc();
            warn!(%error, "positions could not be synced; tried again");
        }
    }

    /// The last word: everything delivered is acknowledged.
    fn save_last(&mut self) {
        let runs = std::mem::take(&mut self.batch.runs);
        self.save_settled(runs);
    }

    /// The first word: the files that are followed, and how far they are.
    fn save_place(&mut self) {
        let runs = self.remembered.clone();
        self.save_settled(runs);
    }

    /// Saves positions while nothing is on its way; `runs` are for what detection knows.
    fn save_settled(&mut self, runs: Vec<Run>) {
        let Some(state) = &mut self.state else { return };
        self.seq += 1;
        let intent = Intent {
            seq: self.seq,
            runs: runs.into_iter().map(|run| Run { end: run.start, ..run }).collect(),
            ..Intent::default()
        };
        self.tail.set_note(serde_json::to_value(intent).unwrap_or_default());
        let positions = self.tail.positions();
        if let Err(error) = state.save(&positions).and_then(|()| state.sync(&positions)) {
            // What was saved before the last batch leads to the same records.
            warn!(%error, "positions could not be saved; the next start finds them from the output");
        }
    }

    fn reload(&mut self, streams: Arc<Streams>, wakeup: &Wakeup) {
        let positions = self.tail.positions();
        match Tail::open(options(&streams), Some(positions), wakeup.clone()) {
            Ok(tail) => {
                self.tail = tail;
                if let Some(network) = &mut self.network {
                    network.reload(&streams);
                }
                self.streams = streams;
                // What waited there is not acknowledged: it is read again.
                self.lanes.clear();
                info!("following with the new configuration");
            }
            Err(error) => {
                warn!(%error, "the new configuration cannot be followed; the old one stays in force")
            }
        }
    }

    fn show(&mut self) {
        self.shown = Some(Instant::now());
        let files = self.tail.files();
        let lag = self.tail.lag();
        self.meter.lag(lag, files.len());
        self.meter.output(&mut self.sink);
        if let Some(network) = &self.network {
            self.meter.update(|snapshot| snapshot.listeners = network.rows(&self.streams));
        }
        if self.lanes.len() > 4096 {
            // Lanes of files long gone; a lane that is still needed is made again.
            self.lanes.retain(|_, follow| !follow.carry.is_empty());
        }
        let formats: HashMap<&str, String> =
            self.lanes.values().map(|follow| (follow.path.as_str(), follow.lane.format())).collect();
        let rows = files.iter().take(200).map(|file| {
            let path = file.path.to_string_lossy();
            json!({"path": path, "format": formats.get(&*path), "state": file.state, "offset": file.offset, "size": file.size, "lag_bytes": file.lag})
        });
        let rows = rows.collect();
        let problems = self.tail.problems();
        let problems = problems
            .iter()
            .map(|(path, what)| json!({"path": path.to_string_lossy(), "problem": what}))
            .collect();
        self.meter.update(|snapshot| {
            snapshot.lag = lag;
            snapshot.files = rows;
            snapshot.problems = problems;
        });
    }
}
