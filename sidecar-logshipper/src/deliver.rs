//! From a batch to "all of it is settled": repeat, split, bury. The sink's part is one attempt.

use std::cell::RefCell;
use std::time::Duration;

use podkit::backoff::Backoff;
use podkit::limit::Every;
use podkit::shutdown::Shutdown;
use tokio::sync::{Mutex, Notify};
use tracing::{error, warn};

use crate::batch::Batch;
use crate::dead_letter::DeadLetters;
use crate::item::Item;
use crate::metrics::SinkMetrics;
use crate::sink::{Answer, Sink, Verdict};

/// Pauses between attempts: full jitter below a ceiling that doubles from here …
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// … to here. There is no last attempt.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A batch that fails while others are taken is not tried more often than this for it.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
/// While draining, a sink that comes back must be noticed within the grace.
const DRAINING_PAUSE: Duration = Duration::from_millis(250);

/// So many times in a row without an answer, and less is sent at once: a request that takes someone on the way too long, or is too large for
/// them, would never pass as it is.
const LOST_BEFORE_HALVES: u32 = 3;

/// What all batches of a sink share.
#[derive(Debug)]
pub struct Courier {
    pub sink: Sink,
    pub dead: DeadLetters,
    pub metrics: SinkMetrics,
    pub shutdown: Shutdown,
    /// Ends pauses: someone is waiting.
    pub hurry: Notify,
    /// Ends long pauses: the sink has just taken something, so it is well again.
    well: Notify,
    /// Held by who asks again: one request at a time, until the sink is well.
    again: Mutex<()>,
    warn: Every,
    /// Why the last attempt did not succeed; `None` when it did.
    trouble: RefCell<Option<String>>,
}

/// How a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Every line is delivered or buried.
    Done {
        /// The sink had to be asked more than once.
        retried: bool,
    },
    /// The reader has gone.
    Closed,
}

impl Courier {
    pub fn new(sink: Sink, dead: DeadLetters, metrics: SinkMetrics, shutdown: Shutdown) -> Self {
        let warn = Every::new(Duration::from_secs(10));
        let (hurry, well, trouble) = (Notify::new(), Notify::new(), RefCell::default());
        Self { sink, dead, metrics, shutdown, hurry, well, again: Mutex::default(), warn, trouble }
    }

    /// What the sink said last, if it did not take what it was given.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }

    /// Delivers a batch, however long it takes.
    pub async fn deliver(&self, batch: &Batch) -> Settled {
        let (mut retried, mut lost) = (false, 0);
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        // Parts that are still to be sent; the first is the whole.
        let mut parts: Vec<Part> = vec![Part::Whole];
        while let Some(part) = parts.pop() {
            let cut = match &part {
                Part::Whole => None,
                Part::Items(items) => Some(batch.part(items)),
            };
            let sent = cut.as_ref().unwrap_or(batch);
            let alone = if retried { Some(self.again.lock().await) } else { None };
            self.metrics.requests.inc();
            self.metrics.bytes_sent.inc_by(sent.body.len() as u64);
            let outcome = decide(self.sink.attempt(sent).await, sent.items.len());
            drop(alone);
            match outcome {
                Outcome::Settled => {
                    lost = 0;
                    self.metrics.delivered.inc_by(sent.lines as u64);
                    self.trouble.take();
                    self.well.notify_waiters();
                }
                Outcome::Closed => return Settled::Closed,
                Outcome::Split { why } => {
                    self.complain(&why, "the batch is sent in halves");
                    self.halve(batch, part, &mut parts);
                }
                Outcome::Partial { refused, why } => {
                    let why = format!("{refused} of these {} lines: {why}", sent.lines);
                    let items: Vec<Item> =
                        if let Part::Items(items) = part { items } else { batch.items.iter().collect() };
                    let all: Vec<(Item, String)> =
                        items.into_iter().map(|item| (item, why.clone())).collect();
                    self.metrics.delivered.inc_by((sent.lines as u64).saturating_sub(refused));
                    self.bury(batch, &all, refused, &mut backoff).await;
                }
                Outcome::Later { why, after, answer_lost } => {
                    retried = true;
                    self.metrics.retries.inc();
                    self.metrics.answers_lost.inc_by(u64::from(answer_lost));
                    self.complain(&why, "tried again until it is taken");
                    lost = if answer_lost { lost + 1 } else { 0 };
                    if lost >= LOST_BEFORE_HALVES && sent.items.len() > 1 {
                        lost = 0;
                        backoff.reset();
                        self.halve(batch, part, &mut parts);
                    } else {
                        parts.push(part);
                    }
                    self.pause(&mut backoff, after).await;
                }
                Outcome::Items { taken, known, later, refused } => {
                    lost = 0;
                    self.metrics.delivered.inc_by(taken + known);
                    self.metrics.known.inc_by(known);
                    let originals: Vec<Item> =
                        if let Part::Items(items) = part { items } else { batch.items.iter().collect() };
                    let refused: Vec<(Item, String)> = refused
                        .into_iter()
                        .filter_map(|(at, why)| Some((originals.get(at)?.clone(), why)))
                        .collect();
                    self.bury(batch, &refused, refused.len() as u64, &mut backoff).await;
                    if taken + known > 0 {
                        self.trouble.take();
                    }
                    if let Some((_, why)) = later.first() {
                        retried = true;
                        self.metrics.retries.inc();
                        self.complain(why, "these lines are tried again");
                        let items = later.iter().filter_map(|(at, _)| originals.get(*at).cloned()).collect();
                        parts.push(Part::Items(items));
                        if taken + known > 0 {
                            backoff.reset();
                        }
                        self.pause(&mut backoff, None).await;
                    }
                }
            }
        }
        Settled::Done { retried }
    }

    /// Sends it as two. The first half goes first; of a sink that is away for long, only that becomes smaller still.
    fn halve(&self, batch: &Batch, part: Part, parts: &mut Vec<Part>) {
        let mut items: Vec<Item> =
            if let Part::Items(items) = part { items } else { batch.items.iter().collect() };
        let second = items.split_off(items.len() / 2);
        parts.push(Part::Items(second));
        parts.push(Part::Items(items));
        self.metrics.splits.inc();
    }

    /// Writes down what was refused, until that succeeds: a line may wait, but not vanish.
    /// `count` of them: where the sink does not say which, all are kept.
    async fn bury(&self, batch: &Batch, refused: &[(Item, String)], count: u64, backoff: &mut Backoff) {
        let Some((item, why)) = refused.first() else { return };
        if let Some(suppressed) = self.warn.allow() {
            error!(lines = count, first = %item.path.display(), offset = item.offset, why, suppressed, "refused for good");
        }
        while let Err(e) = self.dead.bury(batch, refused).await {
            self.complain(&e.to_string(), "the dead-letter file cannot be written; the lines wait");
            self.pause(backoff, None).await;
        }
        self.metrics.dead_letters.inc_by(count);
    }

    async fn pause(&self, backoff: &mut Backoff, after: Option<Duration>) {
        let mut pause = backoff.next_pause().max(after.unwrap_or_default());
        if self.shutdown.is_started() {
            pause = pause.min(DRAINING_PAUSE);
        }
        let well = async {
            tokio::time::sleep(SHORTEST_WAIT).await;
            self.well.notified().await;
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = well, if after.is_none() => {}
            () = self.hurry.notified() => backoff.reset(),
            () = self.shutdown.started(), if !self.shutdown.is_started() => backoff.reset(),
        }
    }

    fn complain(&self, why: &str, then: &'static str) {
        /// Bytes of it that are shown: a server may answer with a page.
        const SHOWN: usize = 300;
        self.trouble.replace(Some(why.chars().take(SHOWN).collect()));
        if let Some(suppressed) = self.warn.allow() {
            warn!(sink = self.metrics.name, why, suppressed, "{then}");
        }
    }
}

#[derive(Debug)]
enum Part {
    Whole,
    Items(Vec<Item>),
}

/// What an answer means for what was sent.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Settled,
    Closed,
    Split { why: String },
    Partial { refused: u64, why: String },
    Later { why: String, after: Option<Duration>, answer_lost: bool },
    Items { taken: u64, known: u64, later: Vec<(usize, String)>, refused: Vec<(usize, String)> },
}

fn decide(answer: Answer, items: usize) -> Outcome {
    match answer {
        Answer::Accepted => Outcome::Settled,
        Answer::Closed => Outcome::Closed,
        Answer::Partial { refused, why } => Outcome::Partial { refused, why },
        Answer::Later { why, after, answer_lost } => Outcome::Later { why, after, answer_lost },
        // Alone, an item that is refused or too large is itself at fault.
        Answer::TooLarge { why } | Answer::Refused { why } if items > 1 => Outcome::Split { why },
        Answer::TooLarge { why } | Answer::Refused { why } if items == 1 => {
            Outcome::Items { taken: 0, known: 0, later: Vec::new(), refused: vec![(0, why)] }
        }
        Answer::TooLarge { why } | Answer::Refused { why } => {
            Outcome::Later { why, after: None, answer_lost: false }
        }
        Answer::Items(verdicts) => {
            let (mut taken, mut known) = (0, 0);
            let (mut later, mut refused) = (Vec::new(), Vec::new());
            for (at, verdict) in verdicts.into_iter().enumerate() {
                match verdict {
                    Verdict::Taken => taken += 1,
                    Verdict::Known => known += 1,
                    Verdict::Later(why) => later.push((at, why)),
                    Verdict::Refused(why) => refused.push((at, why)),
                }
            }
            Outcome::Items { taken, known, later, refused }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_batch_is_halved_until_one_is_left_to_blame() {
        let refused = || Answer::Refused { why: "no".into() };
        assert_eq!(decide(refused(), 7), Outcome::Split { why: "no".into() });
        let alone = Outcome::Items { taken: 0, known: 0, later: vec![], refused: vec![(0, "no".into())] };
        assert_eq!(decide(refused(), 1), alone);
        assert_eq!(decide(Answer::TooLarge { why: "no".into() }, 1), alone);
    }

    #[test]
    fn items_are_sorted_by_their_fate() {
        let answer = Answer::Items(vec![
            Verdict::Taken,
            Verdict::Refused("bad".into()),
            Verdict::Known,
            Verdict::Later("busy".into()),
        ]);
        let (later, refused) = (vec![(3, "busy".into())], vec![(1, "bad".into())]);
        assert_eq!(decide(answer, 4), Outcome::Items { taken: 1, known: 1, later, refused });
    }
}
