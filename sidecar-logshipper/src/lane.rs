//! One sink's lane: its own tail, its own batches, its own positions.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use logtail::{Store, Tail, Totals, Wakeup};
use podkit::shutdown::Shutdown;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::batch::{Batch, Batcher};
use crate::config::SinkPlan;
use crate::deliver::{Courier, Settled};
use crate::status::{Board, LaneStatus};

/// Positions are at most so old on disk.
const SAVE_EVERY: Duration = Duration::from_millis(200);
/// Between tries when the disk does not take them.
const SAVE_AGAIN: Duration = Duration::from_millis(500);
/// So long after the disk has begun to refuse them, the first lines of new files wait for it …
const PATIENCE: Duration = Duration::from_secs(5);
/// … and less when the pod is about to end.
const LAST_PATIENCE: Duration = Duration::from_secs(1);
/// The part of `batch_age` between requests to a sink that has answered everything.
const IDLE_SHARE: u32 = 20;
/// A writer that writes line by line does not get a poll for each.
const BREATHE: Duration = Duration::from_millis(2);
/// Between looks while there is no room: files come and go although nobody reads.
const LOOK: Duration = Duration::from_millis(50);
const PUBLISH_EVERY: Duration = Duration::from_millis(250);
/// For a server that reads slowly what was written last.
const LAST_READ: Duration = Duration::from_secs(2);
/// After so many bytes, and so long without any, what they took of memory is given back.
const WORTH_A_REST: usize = 1 << 20;
/// What finding a file takes counts as so many bytes: names, its beginning, what is rendered for it, its place in the first saved positions.
const FOUND: u64 = 4 << 10;
const BEFORE_A_REST: Duration = Duration::from_secs(5);
/// Bytes read before what they became is sent: it is still in the processor's cache then.
const READ_AT_ONCE: usize = 512 << 10;
/// Time for what is under way when a new configuration comes; what is not answered by then is read again.
pub const SETTLE: Duration = Duration::from_secs(5);
/// Kept of the grace for the last save and a word about what is left.
const LAST_SAVE: Duration = Duration::from_millis(300);

/// See the module.
pub struct Lane {
    pub plan: SinkPlan,
    pub tail: Tail,
    pub wakeup: Wakeup,
    pub store: Option<Store>,
    pub batcher: Batcher,
    pub courier: Rc<Courier>,
    pub board: Board,
    pub shutdown: Shutdown,
    /// Stop reading, settle what is under way, save: for a new configuration.
    pub stop: CancellationToken,
    /// End when all is read.
    pub once: bool,
    pub drain_quiet: Duration,
}

/// How a lane ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything read and delivered, or stopped for a new configuration.
    Complete,
    /// The grace was over: so many bytes were not acknowledged.
    Left { sink: String, bytes: u64 },
    /// The sink takes no more.
    Closed,
}

/// What changes while it runs.
struct Running {
    lane: Lane,
    waiting: VecDeque<Batch>,
    under_way: JoinSet<(Batch, Settled)>,
    in_flight: usize,
    /// Requests that may be under way now.
    allowed: usize,
    /// Since when each batch in memory waits, oldest first is not needed: the minimum is shown.
    oldest: VecDeque<std::time::Instant>,
    last_sent: Instant,
    saving: JoinSet<bool>,
    /// Since when the disk does not take the positions.
    unsaved: Option<Instant>,
    save_at: Instant,
    published: Instant,
    /// Something has happened that is not shown yet.
    news: bool,
    draining: bool,
    /// Since when only what is under way is waited for.
    stopping_since: Option<Instant>,
    finished: bool,
    quiet_since: Instant,
    /// Bytes read since memory was given back, and [`FOUND`] for each file found.
    since_rest: usize,
    seen: Totals,
    closed: bool,
}

impl Lane {
    /// Runs until everything is delivered after the shutdown began, or its time is over.
    pub async fn run(self) -> Ended {
        let now = Instant::now();
        let mut running = Running {
            allowed: self.plan.requests,
            draining: self.once,
            lane: self,
            waiting: VecDeque::new(),
            under_way: JoinSet::new(),
            in_flight: 0,
            oldest: VecDeque::new(),
            last_sent: now.checked_sub(Duration::from_secs(3600)).unwrap_or(now),
            saving: JoinSet::new(),
            unsaved: None,
            save_at: now,
            published: now,
            stopping_since: None,
            news: false,
            finished: false,
            quiet_since: now,
            since_rest: 0,
            seen: Totals::default(),
            closed: false,
        };
        if running.draining {
            if running.lane.tail.files().is_empty() {
                warn!(sink = running.lane.plan.name, "no file matches --read");
            }
            running.lane.tail.finish();
        }
        running.publish("following");
        running.turn_until_done().await
    }
}

impl Running {
    async fn turn_until_done(mut self) -> Ended {
        loop {
            while let Some(done) = self.under_way.try_join_next() {
                self.joined(done);
            }
            if !self.draining && self.lane.shutdown.is_started() {
                self.draining = true;
                self.quiet_since = Instant::now();
                self.lane.tail.finish();
            }
            // Before reading: what goes now makes room.
            self.send_waiting();
            let stopping = self.lane.stop.is_cancelled();
            let next_poll = if stopping { Instant::now() + LOOK } else { self.read() };
            self.launch(stopping);
            self.save().await;
            let idle = self.under_way.is_empty()
                && self.waiting.is_empty()
                && self.lane.batcher.open_since().is_none();
            if self.closed || (idle && (stopping || (self.draining && self.finished && self.is_quiet()))) {
                break;
            }
            if self.lane.shutdown.is_started() && self.lane.shutdown.remaining() <= LAST_SAVE {
                break;
            }
            if stopping && self.stopping_since.get_or_insert_with(Instant::now).elapsed() >= SETTLE {
                break;
            }
            if self.published.elapsed() >= PUBLISH_EVERY {
                self.publish(if self.draining { "draining" } else { "following" });
            }
            self.wait(next_poll).await;
        }
        self.end().await
    }

    /// Reads while there is room. Says when to come back.
    fn read(&mut self) -> Instant {
        let held = self.in_flight + self.lane.batcher.open_bytes();
        let room = self.lane.plan.in_flight.saturating_sub(held);
        // As a rule, a block becomes up to three times as many bytes when it is wrapped. Short lines become many more: those wait in the batcher.
        let full = room < (self.lane.plan.in_flight / 8).max(1);
        let no_room = full || self.is_ahead();
        let most = self.lane.plan.in_flight.saturating_sub(self.in_flight);
        let batcher = &mut self.lane.batcher;
        let went_on = batcher.is_behind() && !no_room;
        if went_on {
            batcher.go_on(most);
        }
        let budget =
            if no_room || went_on || batcher.is_behind() { 0 } else { (room / 3).clamp(1, READ_AT_ONCE) };
        let turn = self.lane.tail.poll(budget, |block| batcher.push(&block, most));
        self.finished = turn.finished && !batcher.is_behind();
        if turn.bytes > 0 {
            self.quiet_since = Instant::now();
            self.since_rest += turn.bytes;
        } else if self.in_flight == 0 {
            batcher.rest();
            if self.since_rest >= WORTH_A_REST && self.quiet_since.elapsed() >= BEFORE_A_REST {
                self.since_rest = 0;
                self.lane.tail.rest();
                podkit::memory::rest();
            }
        }
        // Behind the last line nothing comes; and what waits for more must not keep the room that reading needs.
        batcher.end_events((self.draining && self.finished) || full);
        for batch in self.lane.batcher.take_sealed() {
            self.in_flight += batch.body.len();
            self.waiting.push_back(batch);
        }
        self.count();
        let pause = match turn {
            _ if went_on => Duration::ZERO,
            _ if budget == 0 => LOOK,
            turn if turn.more => Duration::ZERO,
            turn => turn.wait.max(BREATHE),
        };
        Instant::now() + pause
    }

    /// Half as many batches wait as may be under way. Reading is quicker than any sink: more of them would be memory, and make nothing come earlier.
    fn is_ahead(&self) -> bool {
        self.waiting.len() >= self.lane.plan.requests.div_ceil(2)
    }

    fn count(&mut self) {
        let metrics = &self.lane.courier.metrics;
        let rendered = self.lane.batcher.take_rendered();
        metrics.lines_read.inc_by(rendered.lines);
        metrics.not_utf8.inc_by(rendered.not_utf8);
        metrics.parts.inc_by(rendered.parts);
        metrics.joined.inc_by(rendered.joined);
        let totals = self.lane.tail.totals();
        let found = (totals.files_found - self.seen.files_found).saturating_mul(FOUND);
        self.since_rest = self.since_rest.saturating_add(usize::try_from(found).unwrap_or(usize::MAX));
        metrics.bytes_read.inc_by(totals.bytes_read - self.seen.bytes_read);
        metrics.lost_bytes.inc_by(totals.lost_bytes - self.seen.lost_bytes);
        metrics.lost_files.inc_by(totals.lost_files - self.seen.lost_files);
        metrics.renames.inc_by(totals.renames - self.seen.renames);
        metrics.truncations.inc_by(totals.truncations - self.seen.truncations);
        self.news |= totals != self.seen;
        self.seen = totals;
    }

    /// When the open batch is to be sent: at once where nothing is to be gained by waiting.
    fn seal_at(&self) -> Option<Instant> {
        let since = Instant::from_std(self.lane.batcher.open_since()?);
        if self.draining || !self.lane.plan.target.is_remote() {
            return Some(since);
        }
        let age = self.lane.plan.batch_age;
        if self.under_way.is_empty() && !self.lane.plan.target.is_object_store() {
            // A sink that waits gets what there is; a pause keeps a trickle from becoming a request per line.
            Some((self.last_sent + age / IDLE_SHARE).max(since))
        } else {
            // What comes meanwhile goes together with the next answer, or when it is old enough.
            Some(since + age)
        }
    }

    fn launch(&mut self, stopping: bool) {
        if self.waiting.is_empty()
            && self.under_way.len() < self.allowed
            && (stopping || self.seal_at().is_some_and(|at| at <= Instant::now()))
            && let Some(batch) = self.lane.batcher.take_open()
        {
            self.in_flight += batch.body.len();
            self.waiting.push_back(batch);
        }
        self.send_waiting();
    }

    fn send_waiting(&mut self) {
        while self.under_way.len() < self.allowed && self.may_go() {
            let Some(batch) = self.waiting.pop_front() else { break };
            self.last_sent = Instant::now();
            self.oldest.extend(batch.since);
            let courier = Rc::clone(&self.lane.courier);
            self.under_way.spawn_local(async move {
                let settled = courier.deliver(&batch).await;
                (batch, settled)
            });
        }
    }

    /// Ids are made of the file's own id. Before the first line of a file goes, that is on disk: whatever is killed and rotated then, the line
    /// has the same id the next time. A disk that goes on taking nothing holds back no line.
    fn may_go(&mut self) -> bool {
        if self.lane.store.is_none() || !self.lane.plan.target.has_ids() {
            return true;
        }
        let patience = if self.lane.shutdown.is_started() { LAST_PATIENCE } else { PATIENCE };
        if self.unsaved.is_some_and(|since| since.elapsed() >= patience) {
            return true;
        }
        let Some(batch) = self.waiting.front() else { return true };
        let known = batch.ranges.iter().all(|(file, _)| self.lane.tail.is_recorded(*file));
        if !known && self.saving.is_empty() && (self.unsaved.is_none() || self.save_at <= Instant::now()) {
            self.lane.tail.keep_moved();
            self.start_save();
        }
        known
    }

    fn joined(&mut self, done: Result<(Batch, Settled), JoinError>) {
        self.news = true;
        match done {
            Ok((batch, settled)) => self.settle(batch, settled),
            // Only a bug ends a delivery otherwise. Its lines are not acknowledged: the next start sends them.
            Err(e) => {
                tracing::error!(sink = self.lane.plan.name, error = %e, "a delivery ended unexpectedly")
            }
        }
    }

    fn settle(&mut self, mut batch: Batch, settled: Settled) {
        self.in_flight -= batch.body.len();
        if let Some(since) = batch.since
            && let Some(at) = self.oldest.iter().position(|oldest| *oldest == since)
        {
            self.oldest.remove(at);
        }
        match settled {
            Settled::Done { retried } => {
                // A sink that had to be asked again gets one request at a time until it takes them again.
                self.allowed = if retried { 1 } else { (self.allowed + 1).min(self.lane.plan.requests) };
                for (file, range) in std::mem::take(&mut batch.ranges) {
                    self.lane.tail.acknowledge(file, range);
                }
                self.lane.batcher.recycle(batch);
            }
            Settled::Closed => self.closed = true,
        }
    }

    /// Saves positions when they moved and it is time; on another thread, because the disk may be slow.
    async fn save(&mut self) {
        while let Some(saved) = self.saving.try_join_next() {
            self.saved(saved.unwrap_or(false));
        }
        if self.saving.is_empty() && self.lane.tail.moved() && self.save_at <= Instant::now() {
            self.start_save();
        }
    }

    fn start_save(&mut self) {
        let Some(store) = &self.lane.store else { return };
        let positions = self.lane.tail.positions();
        let path = store.path().to_owned();
        let courier = Rc::clone(&self.lane.courier);
        let failed = courier.metrics.save_failures.clone();
        let saves = courier.metrics.saves.clone();
        let store = store.clone();
        self.saving.spawn_blocking(move || match store.save(&positions) {
            Ok(()) => {
                saves.inc();
                true
            }
            Err(e) => {
                // Said when it begins, and then once per doubling.
                if failed.inc().is_power_of_two() || failed.get() == 1 {
                    warn!(path = %path.display(), error = %e.source, "positions cannot be saved; delivery goes on, after a kill these lines come again");
                }
                false
            }
        });
        self.save_at = Instant::now() + SAVE_EVERY;
    }

    fn saved(&mut self, saved: bool) {
        self.news = true;
        if saved {
            self.unsaved = None;
            self.lane.tail.saved();
        } else {
            self.unsaved.get_or_insert_with(Instant::now);
            self.lane.tail.keep_moved();
            self.save_at = Instant::now() + SAVE_AGAIN;
        }
    }

    fn is_quiet(&self) -> bool {
        !self.lane.shutdown.is_started() || self.quiet_since.elapsed() >= self.lane.drain_quiet
    }

    async fn wait(&mut self, next_poll: Instant) {
        // Others have to get their turn too.
        tokio::task::yield_now().await;
        let now = Instant::now();
        let mut until = next_poll;
        // While a batch waits for the disk, that is what ends the wait.
        if self.waiting.is_empty()
            && self.under_way.len() < self.allowed
            && let Some(at) = self.seal_at()
        {
            until = until.min(at);
        }
        if let Some(due) = self.lane.batcher.events_due() {
            until = until.min(due.into());
        }
        if self.lane.store.is_some() && self.lane.tail.moved() && self.saving.is_empty() {
            until = until.min(self.save_at);
        }
        if self.lane.shutdown.is_started() {
            until = until.min(now + LOOK);
            if self.draining && self.finished && !self.is_quiet() {
                // Someone may still write: look again.
                self.lane.tail.finish();
            }
        }
        if until <= now {
            return;
        }
        let held = self.in_flight + self.lane.batcher.open_bytes();
        let full = self.is_ahead() || held >= self.lane.plan.in_flight * 7 / 8;
        tokio::select! {
            biased;
            Some(done) = self.under_way.join_next() => self.joined(done),
            Some(saved) = self.saving.join_next() => self.saved(saved.unwrap_or(false)),
            () = self.lane.wakeup.changed(), if !full => {
                self.news = true;
                tokio::time::sleep(BREATHE).await;
            }
            () = self.lane.shutdown.started(), if !self.lane.shutdown.is_started() => {}
            () = self.lane.stop.cancelled(), if !self.lane.stop.is_cancelled() => {}
            () = tokio::time::sleep_until(until) => {}
            () = tokio::time::sleep_until(self.published + PUBLISH_EVERY), if self.in_flight > 0 || self.news => {}
        }
    }

    fn publish(&mut self, state: &'static str) {
        self.published = Instant::now();
        self.news = false;
        let files = self.lane.tail.files();
        let lag = self.lane.tail.lag();
        let metrics = &self.lane.courier.metrics;
        let whole = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        metrics.lag_bytes.set(whole(lag));
        metrics.in_flight.set(whole(self.in_flight as u64));
        metrics.files.set(whole(files.len() as u64));
        metrics
            .lag_seconds
            .set(whole(self.oldest.iter().map(|since| since.elapsed().as_secs()).max().unwrap_or(0)));
        let trouble = self.lane.courier.trouble().filter(|_| self.in_flight > 0);
        let state = if trouble.is_some() { "retrying" } else { state };
        self.lane.board.publish(LaneStatus {
            sink: metrics.clone(),
            state,
            trouble,
            in_flight: self.in_flight,
            lag,
            files,
            problems: self.lane.tail.problems(),
            behind: std::collections::HashMap::new(),
            saved: self.lane.store.is_none() || (!self.lane.tail.moved() && self.saving.is_empty()),
        });
    }

    async fn end(mut self) -> Ended {
        self.under_way.abort_all();
        while let Some(saved) = self.saving.join_next().await {
            self.saved(saved.unwrap_or(false));
        }
        if self.lane.tail.moved() {
            self.start_save();
            let _ = self.saving.join_next().await;
        }
        let shutdown = &self.lane.shutdown;
        let left = if shutdown.is_started() { shutdown.remaining() } else { LAST_READ };
        self.lane.courier.sink.close(left.min(LAST_READ)).await;
        self.publish("ended");
        let sink = self.lane.plan.name.clone();
        let left = self.lane.tail.lag();
        if self.closed {
            info!(sink, "the reader has gone");
            return Ended::Closed;
        }
        if left > 0 && !self.lane.stop.is_cancelled() && !(self.finished && self.in_flight == 0) {
            warn!(
                sink,
                bytes = left,
                files = self.lane.tail.files().iter().filter(|file| file.lag > 0).count(),
                "not delivered when the time was over; the files still hold it"
            );
            return Ended::Left { sink, bytes: left };
        }
        Ended::Complete
    }
}
