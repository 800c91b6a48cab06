//! The log: a line per change, a heartbeat, a summary.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::{Heartbeat, short};
use crate::wait::{Change, Outcome, Phase, State};

/// The same obstacle in other words is told at most this often per target.
const WORDS: Duration = Duration::from_secs(10);
/// Targets that a heartbeat names.
const NAMED: usize = 10;

#[derive(Debug, Default)]
pub struct Lines {
    pub(super) heartbeat: Heartbeat,
    /// When each target was last told.
    told: Vec<Option<Instant>>,
}

impl Lines {
    pub(super) fn start(&mut self, states: &[State], required: usize) {
        self.told = vec![None; states.len()];
        info!(targets = states.len(), required, "waiting");
    }

    pub(super) fn attempt(&mut self, state: &State, index: usize, change: Change) {
        let Some(told) = self.told.get_mut(index) else { return };
        match change {
            Change::None => return,
            Change::Words if told.is_some_and(|at| at.elapsed() < WORDS) => return,
            Change::Words | Change::Obstacle => *told = Some(Instant::now()),
        }
        let (on, attempts, reason) = (&state.name, state.attempts, state.reason());
        match &state.phase {
            Phase::Ready(_) => info!(on, attempts, found = reason, "ready"),
            Phase::Failed { code, .. } => warn!(on, attempts, code, reason, "failed for good"),
            Phase::Blocked(_) | Phase::Waiting { .. } => info!(on, attempts, reason, "not yet"),
        }
    }

    pub(super) fn beat(&mut self, states: &[State], elapsed: Duration) {
        let ready = states.iter().filter(|state| matches!(state.phase, Phase::Ready(_))).count();
        let mut waiting: Vec<String> = states
            .iter()
            .filter(|state| !matches!(state.phase, Phase::Ready(_)))
            .take(NAMED)
            .map(|state| format!("{} ({})", state.name, state.reason()))
            .collect();
        let more = (states.len() - ready).saturating_sub(NAMED);
        if more > 0 {
            waiting.push(format!("and {more} more"));
        }
        info!(
            ready,
            targets = states.len(),
            elapsed = short(elapsed),
            on = waiting.join(", "),
            "still waiting"
        );
    }

    pub(super) fn finish(&mut self, states: &[State], outcome: Outcome, elapsed: Duration) {
        let ready = states.iter().filter(|state| matches!(state.phase, Phase::Ready(_))).count();
        // A failure is told by the last sentence of the process.
        if outcome == Outcome::Ready {
            info!(ready, targets = states.len(), elapsed = short(elapsed), "everything needed is ready");
        }
    }
}
