//! The end of a wait that did not succeed: exit code, a sentence, and one JSON line for the termination message.

use std::time::Duration;

use podkit::Exit;
use serde_json::{Value, json};

use super::json::outcome_name;
use super::short;
use crate::wait::{Outcome, Phase, State};

/// What a termination message may take; Kubernetes keeps 4 KiB of it and 12 KiB of all containers of a pod.
const LIMIT: usize = 2048;

/// The exit code.
pub(super) fn code(outcome: Outcome, states: &[State]) -> u8 {
    match outcome {
        Outcome::Ready => 0,
        Outcome::Stopped(code) => code,
        Outcome::Timeout => states
            .iter()
            .find_map(|state| match &state.phase {
                Phase::Waiting { last: Some(last), .. } => last.code,
                Phase::Failed { code, .. } => Some(*code),
                _ => None,
            })
            .unwrap_or(crate::code::TIMEOUT),
        Outcome::Never => states
            .iter()
            .find_map(|state| match &state.phase {
                Phase::Failed { code, .. } => Some(*code),
                _ => None,
            })
            .unwrap_or(1),
    }
}

/// `Ok` when everything needed is ready.
///
/// # Errors
/// The exit with its sentence and its termination message.
pub fn last_word(outcome: Outcome, states: &[State], elapsed: Duration) -> Result<(), Exit> {
    let code = code(outcome, states);
    let mut open: Vec<&State> =
        states.iter().filter(|state| !matches!(state.phase, Phase::Ready(_))).collect();
    // What failed for good comes first, then what has its own code, then the order of the targets.
    open.sort_by_key(|state| match &state.phase {
        Phase::Failed { .. } => 0,
        Phase::Waiting { last: Some(last), .. } if last.code.is_some() => 1,
        Phase::Waiting { .. } => 2,
        Phase::Blocked | Phase::Ready(_) => 3,
    });
    let told: Vec<String> = open
        .iter()
        .map(|state| match state.attempts {
            0 => format!("{}: {}", state.name, state.reason()),
            n => format!("{} ({n} attempts): {}", state.name, state.reason()),
        })
        .collect();
    let waited = short(elapsed);
    let sentence = match outcome {
        Outcome::Ready => return Ok(()),
        Outcome::Timeout => format!("init-waitfor: not ready after {waited}: {}", told.join("; ")),
        Outcome::Never => format!("init-waitfor: cannot become ready: {}", told.join("; ")),
        Outcome::Stopped(_) => {
            format!("init-waitfor: stopped after {waited}, still waiting for {}", told.join("; "))
        }
    };
    Err(Exit::with(code, sentence).termination(message(outcome, code, &open, states, elapsed)))
}

fn message(outcome: Outcome, code: u8, open: &[&State], states: &[State], elapsed: Duration) -> String {
    // Shorter and shorter until it fits: JSON cut in the middle is no JSON.
    for (words, others) in [(600, 12), (300, 6), (150, 3), (80, 0)] {
        let text = build(outcome, code, open, states, elapsed, words, others).to_string();
        if text.len() <= LIMIT {
            return text;
        }
    }
    json!({ "reason": outcome_name(outcome), "code": code }).to_string()
}

fn build(
    outcome: Outcome,
    code: u8,
    open: &[&State],
    states: &[State],
    elapsed: Duration,
    words: usize,
    others: usize,
) -> Value {
    let mut value = json!({ "reason": outcome_name(outcome), "code": code });
    if let Some(first) = open.first() {
        value["target"] = cut(&first.name, words).into();
        value["error"] = cut(first.reason(), words).into();
        value["attempts"] = first.attempts.into();
    }
    value["waited_ms"] = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).into();
    value["ready"] = states.iter().filter(|state| matches!(state.phase, Phase::Ready(_))).count().into();
    value["targets"] = states.len().into();
    let also: Vec<Value> = open
        .iter()
        .skip(1)
        .take(others)
        .map(
            |state| json!({ "target": cut(&state.name, words / 4), "error": cut(state.reason(), words / 4) }),
        )
        .collect();
    if !also.is_empty() {
        value["also"] = also.into();
    }
    value
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(std::iter::once('…')).collect()
}
