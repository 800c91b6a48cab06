//! The end of a wait that did not succeed: exit code, a sentence, and one JSON line for the termination message.

use std::time::Duration;

use podkit::Exit;
use serde_json::{Value, json};

use super::json::outcome_name;
use super::short;
use crate::wait::{Outcome, Phase, State};

/// What a termination message may take; Kubernetes keeps 4 KiB of it and 12 KiB of all containers of a pod.
const LIMIT: usize = 2048;
/// Targets that the sentence names; with more, the rest is counted.
const NAMED: usize = 20;

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
pub fn last_word(outcome: Outcome, states: &[State], required: usize, elapsed: Duration) -> Result<(), Exit> {
    let code = code(outcome, states);
    let mut open: Vec<&State> =
        states.iter().filter(|state| !matches!(state.phase, Phase::Ready(_))).collect();
    // What failed for good comes first, then what has its own code, then the order of the targets.
    open.sort_by_key(|state| match &state.phase {
        Phase::Failed { .. } => 0,
        Phase::Waiting { last: Some(last), .. } if last.code.is_some() => 1,
        Phase::Waiting { .. } => 2,
        Phase::Blocked(_) | Phase::Ready(_) => 3,
    });
    let mut told: Vec<String> = open
        .iter()
        .take(NAMED)
        .map(|state| match state.attempts {
            0 => format!("{}: {}", state.name, state.reason()),
            1 => format!("{} (1 attempt): {}", state.name, state.reason()),
            n => format!("{} ({n} attempts): {}", state.name, state.reason()),
        })
        .collect();
    if open.len() > NAMED {
        told.push(format!("and {} more", open.len() - NAMED));
    }
    let (waited, count, told) = (short(elapsed), count(states, required), told.join("; "));
    let sentence = match outcome {
        Outcome::Ready => return Ok(()),
        Outcome::Timeout => format!("init-waitfor: not ready after {waited}{count}: {told}"),
        Outcome::Never => format!("init-waitfor: cannot become ready{count}: {told}"),
        Outcome::Stopped(_) => {
            format!("init-waitfor: stopped after {waited}{count}, still waiting for {told}")
        }
    };
    Err(Exit::with(code, sentence).termination(message(outcome, code, &open, states, required, elapsed)))
}

/// ` (1 of 3 targets ready, 2 needed)`; nothing where there is only one.
fn count(states: &[State], required: usize) -> String {
    if states.len() < 2 {
        return String::new();
    }
    let ready = states.iter().filter(|state| matches!(state.phase, Phase::Ready(_))).count();
    let needed = if required < states.len() { format!(", {required} needed") } else { String::new() };
    format!(" ({ready} of {} targets ready{needed})", states.len())
}

fn message(
    outcome: Outcome,
    code: u8,
    open: &[&State],
    states: &[State],
    required: usize,
    elapsed: Duration,
) -> String {
    let head = json!({
        "reason": outcome_name(outcome),
        "code": code,
        "waited_ms": u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        "ready": states.iter().filter(|state| matches!(state.phase, Phase::Ready(_))).count(),
        "required": required,
        "targets": states.len(),
    });
    // Shorter and shorter until it fits: JSON cut in the middle is no JSON.
    for (words, others) in [(600, 12), (300, 6), (150, 3), (80, 0)] {
        let text = build(head.clone(), open, words, others).to_string();
        if text.len() <= LIMIT {
            return text;
        }
    }
    head.to_string()
}

fn build(mut value: Value, open: &[&State], words: usize, others: usize) -> Value {
    if let Some(first) = open.first() {
        value["target"] = cut(&first.name, words).into();
        value["error"] = cut(first.reason(), words).into();
        value["attempts"] = first.attempts.into();
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, TargetConfig, Url};
    use crate::target::Targets;

    /// Targets that have all failed with these words, made by hand because no server says such things.
    fn states(count: usize, name: &str, reason: &str) -> Vec<State> {
        let entry = |index: usize| TargetConfig {
            target: Url("exec:true".to_owned()),
            name: Some(format!("{name}{index}")),
            ..TargetConfig::default()
        };
        let config = Config { targets: (0..count).map(entry).collect(), ..Config::default() };
        let targets = Targets::compile(&config).unwrap();
        targets
            .list
            .iter()
            .map(|target| {
                let phase = Phase::Failed { code: 85, reason: reason.to_owned() };
                State::of(&config, target, phase)
            })
            .collect()
    }

    #[test]
    fn the_termination_message_is_one_json_line_of_at_most_two_kib_whatever_was_said() {
        for count in [1, 2, 12, 200] {
            for text in ["x", "short", &"ü".repeat(1000), &"😀".repeat(1000), &"\"\\".repeat(500)] {
                let states = states(count, text, text);
                let exit = last_word(Outcome::Never, &states, count, Duration::from_secs(9)).unwrap_err();
                let line = exit.termination.unwrap();
                assert!(
                    line.len() <= LIMIT && !line.contains('\n'),
                    "{} bytes of {count} {text:.9}",
                    line.len()
                );
                let value: Value = serde_json::from_str(&line).unwrap();
                assert_eq!(value["code"], 85);
                assert_eq!((&value["targets"], &value["required"]), (&count.into(), &count.into()));
                for key in ["target", "error", "attempts", "reason"] {
                    assert!(!value[key].is_null(), "{key} is missing in {line}");
                }
            }
        }
    }

    #[test]
    fn the_sentence_counts_what_it_does_not_name() {
        let states = states(200, "t", "gone");
        let exit = last_word(Outcome::Never, &states, 150, Duration::from_secs(9)).unwrap_err();
        let sentence = exit.message.unwrap();
        assert!(sentence.contains("(0 of 200 targets ready, 150 needed): t0: gone; t1: gone"), "{sentence}");
        assert!(sentence.ends_with("; and 180 more"), "{sentence}");
    }
}
