//! The loop: attempts of all targets in parallel, each with its own pauses, against one clock.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use podkit::backoff::Backoff;
use podkit::dns::Resolver;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::check::{Attempt, NotYet, Verdict};
use crate::config::{Config, FailFast};
use crate::decide::{Decision, Standing, decide};
use crate::report::Report;
use crate::target::{Target, Targets};

#[cfg(test)]
mod tests;

/// A check watches its own time; this is how much later it is cut off if it does not.
const SAFETY_NET: Duration = Duration::from_millis(250);
/// What a reason may take: the words are those of servers, which may say megabytes.
const REASON_LIMIT: usize = 1000;

/// How a target stands, with all that a report needs.
#[derive(Debug)]
pub struct State {
    pub name: String,
    pub phase: Phase,
    pub attempts: u32,
    /// Since the start of the wait.
    pub settled: Option<Duration>,
    backoff: Backoff,
}

#[derive(Debug)]
pub enum Phase {
    /// Waits for other targets, which the text names.
    Blocked(String),
    /// Between attempts or in one.
    Waiting {
        running: bool,
        next: Instant,
        last: Option<NotYet>,
    },
    Ready(String),
    Failed {
        code: u8,
        reason: String,
    },
}

impl State {
    pub fn standing(&self) -> Standing {
        match self.phase {
            Phase::Ready(_) => Standing::Ready,
            Phase::Failed { .. } => Standing::Hopeless,
            Phase::Blocked(_) | Phase::Waiting { .. } => Standing::Open,
        }
    }

    /// The last thing known.
    pub fn reason(&self) -> &str {
        match &self.phase {
            Phase::Blocked(on) => on,
            Phase::Waiting { last: None, .. } => "no attempt has ended yet",
            Phase::Waiting { last: Some(last), .. } => &last.reason,
            Phase::Ready(text) => text,
            Phase::Failed { reason, .. } => reason,
        }
    }
}

/// How the wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Ready,
    /// Time is up.
    Timeout,
    /// Enough can no longer become ready.
    Never,
    /// A signal, as its exit code.
    Stopped(u8),
}

/// Waits until enough targets are ready, enough can no longer be ready, time is up, or `stop` says with which code to end.
pub async fn wait(
    config: &Config,
    targets: &Targets,
    resolver: &Resolver,
    report: &mut Report,
    stop: impl Future<Output = u8>,
) -> (Outcome, Vec<State>) {
    let start = Instant::now();
    let deadline = config.timeout.limit().map(|limit| start + limit);
    let required = config.require.number(targets.list.len());
    let after: Vec<Vec<usize>> = targets.list.iter().map(|target| target.after.clone()).collect();
    let mut states: Vec<State> =
        targets.list.iter().map(|target| State::new(config, target, &targets.list)).collect();
    let mut running = FuturesUnordered::new();
    let mut stop = std::pin::pin!(stop);
    report.start(&states, required);
    let outcome = 'wait: loop {
        let standings: Vec<Standing> = states.iter().map(State::standing).collect();
        match decide(required, &standings, &after) {
            Decision::Enough => break Outcome::Ready,
            Decision::Never => break Outcome::Never,
            Decision::Open => {}
        }
        let now = Instant::now();
        for (index, target) in targets.list.iter().enumerate() {
            if states[index].due(now, target.after.iter().all(|other| standings[*other] == Standing::Ready)) {
                states[index].attempts += 1;
                let time = target.attempt_timeout.unwrap_or(config.attempt_timeout.get());
                let until = deadline.map_or(now + time, |deadline| deadline.min(now + time));
                // Cut short by the end of the wait, it says less than the attempt before.
                let cut = until < now + time;
                running.push(async move { (index, cut, attempt(target, targets, resolver, until).await) });
            }
        }
        let wake = states.iter().filter_map(State::wakes).chain(deadline).chain(report.wakes()).min();
        let asleep = async {
            match wake {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            code = &mut stop => break Outcome::Stopped(code),
            Some((index, cut, verdict)) = running.next() => {
                if cut && states[index].knows_better(&verdict) {
                    continue;
                }
                let changed = states[index].settle(verdict, config, start);
                report.attempt(&states, index, changed);
            }
            () = asleep => {
                if let Some(deadline) = deadline.filter(|deadline| Instant::now() >= *deadline) {
                    // The only attempt there was may have been cut short just now: its reason is worth a moment.
                    while states.iter().any(State::is_wordless) {
                        tokio::select! {
                            biased;
                            code = &mut stop => break 'wait Outcome::Stopped(code),
                            Some((index, _, verdict)) = running.next() => {
                                let changed = states[index].settle(verdict, config, start);
                                report.attempt(&states, index, changed);
                            }
                            () = sleep_until(deadline + SAFETY_NET) => break,
                        }
                    }
                    let standings: Vec<Standing> = states.iter().map(State::standing).collect();
                    break match decide(required, &standings, &after) {
                        Decision::Enough => Outcome::Ready,
                        Decision::Never => Outcome::Never,
                        Decision::Open => Outcome::Timeout,
                    };
                }
            }
        }
        report.tick(&states, start.elapsed());
    };
    report.finish(&states, outcome, start.elapsed());
    (outcome, states)
}

/// One attempt at one target, with `not:` applied and secrets taken out.
pub async fn attempt(target: &Target, targets: &Targets, resolver: &Resolver, until: Instant) -> Verdict {
    let attempt = Attempt { resolver, until, redactor: &targets.redactor };
    let verdict = timeout_at(until + SAFETY_NET, target.check.run(&attempt))
        .await
        .unwrap_or_else(|_| Verdict::unknown("attempt", "no answer in time"));
    let verdict = if target.negated { verdict.negated() } else { verdict };
    let told = |text: &str| limited(targets.redactor.clean(text));
    match verdict {
        Verdict::Ready(text) => Verdict::Ready(told(&text)),
        Verdict::NotYet(not_yet) => Verdict::NotYet(NotYet { reason: told(&not_yet.reason), ..not_yet }),
        Verdict::Terminal { code, reason } => Verdict::Terminal { code, reason: told(&reason) },
    }
}

fn limited(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(REASON_LIMIT) {
        text.truncate(end);
        text.push('…');
    }
    text
}

impl State {
    fn new(config: &Config, target: &Target, all: &[Target]) -> Self {
        let phase = if target.after.is_empty() {
            Phase::now()
        } else {
            let names: Vec<&str> = target.after.iter().map(|other| all[*other].name.as_str()).collect();
            Phase::Blocked(format!("waits for {}", names.join(", ")))
        };
        Self::of(config, target, phase)
    }

    /// A target in this phase, before its first attempt.
    pub(crate) fn of(config: &Config, target: &Target, phase: Phase) -> Self {
        let backoff = Backoff::new(config.interval.get(), config.max_interval.get());
        State { name: target.name.clone(), phase, attempts: 0, settled: None, backoff }
    }

    /// Whether to start an attempt; if so, it counts as running.
    fn due(&mut self, now: Instant, unblocked: bool) -> bool {
        if matches!(self.phase, Phase::Blocked(_)) && unblocked {
            self.phase = Phase::now();
        }
        match &mut self.phase {
            Phase::Waiting { running, next, .. } if !*running && *next <= now => {
                *running = true;
                true
            }
            _ => false,
        }
    }

    fn wakes(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting { running: false, next, .. } => Some(next),
            _ => None,
        }
    }

    /// Whether its first attempt is still under way.
    fn is_wordless(&self) -> bool {
        matches!(self.phase, Phase::Waiting { running: true, last: None, .. })
    }

    /// Whether "no answer" would hide an answer.
    fn knows_better(&self, verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::NotYet(not_yet) if !not_yet.definite)
            && matches!(self.phase, Phase::Waiting { last: Some(_), .. })
    }

    /// Takes an attempt's result. Says whether the target stands differently than before.
    fn settle(&mut self, verdict: Verdict, config: &Config, start: Instant) -> Change {
        match verdict {
            Verdict::Ready(text) => self.phase = Phase::Ready(text),
            Verdict::Terminal { code, reason } => self.phase = Phase::Failed { code, reason },
            Verdict::NotYet(NotYet { code: Some(code), reason, .. })
                if code == crate::code::AUTH && config.fail_fast == Some(FailFast::Auth) =>
            {
                self.phase = Phase::Failed { code, reason };
            }
            Verdict::NotYet(not_yet) => {
                let before = match &self.phase {
                    Phase::Waiting { last, .. } => last.as_ref(),
                    _ => None,
                };
                let change = match before {
                    Some(last) if last.class == not_yet.class && last.reason == not_yet.reason => {
                        Change::None
                    }
                    Some(last) if last.class == not_yet.class => Change::Words,
                    Some(_) => {
                        // Another obstacle: something moves, so look more often again.
                        self.backoff.reset();
                        Change::Obstacle
                    }
                    None => Change::Obstacle,
                };
                let pause = self.backoff.next_pause();
                let pause = not_yet.again.map_or(pause, |again| again.min(config.max_interval.get()));
                self.phase =
                    Phase::Waiting { running: false, next: Instant::now() + pause, last: Some(not_yet) };
                return change;
            }
        }
        self.settled = Some(start.elapsed());
        Change::Obstacle
    }
}

impl Phase {
    fn now() -> Self {
        Phase::Waiting { running: false, next: Instant::now(), last: None }
    }
}

/// What an attempt changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    None,
    /// The same obstacle in other words (another count, another message).
    Words,
    /// Another obstacle, or none any more.
    Obstacle,
}
