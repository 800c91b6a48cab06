//! Events on stdout, one JSON object per line.

use std::io::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::Heartbeat;
use crate::wait::{Change, Outcome, Phase, State};

#[derive(Debug, Default)]
pub struct Json {
    pub(super) heartbeat: Heartbeat,
}

impl Json {
    pub(super) fn start(&mut self, states: &[State], required: usize) {
        let names: Vec<&str> = states.iter().map(|state| state.name.as_str()).collect();
        emit("start", json!({ "targets": names, "required": required }));
    }

    pub(super) fn attempt(&mut self, state: &State, change: Change) {
        if change != Change::None {
            emit("state", describe(state));
        }
    }

    pub(super) fn beat(&mut self, states: &[State], elapsed: Duration) {
        emit("heartbeat", summary(states, elapsed));
    }

    pub(super) fn finish(&mut self, states: &[State], outcome: Outcome, elapsed: Duration) {
        let mut value = summary(states, elapsed);
        value["result"] = outcome_name(outcome).into();
        value["code"] = super::last_word::code(outcome, states).into();
        emit("end", value);
    }
}

pub(super) fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Ready => "ready",
        Outcome::Timeout => "timeout",
        Outcome::Never => "failed",
        Outcome::Stopped(_) => "stopped",
    }
}

/// One target, as events and `status -o json` show it.
pub(crate) fn describe(state: &State) -> Value {
    let (name, key) = match state.phase {
        Phase::Ready(_) => ("ready", "found"),
        Phase::Failed { .. } => ("failed", "reason"),
        Phase::Blocked(_) => ("blocked", "reason"),
        Phase::Waiting { .. } => ("waiting", "reason"),
    };
    let mut value = json!({ "target": state.name, "state": name, "attempts": state.attempts });
    value[key] = state.reason().into();
    if let Phase::Failed { code, .. } = state.phase {
        value["code"] = code.into();
    }
    value
}

fn summary(states: &[State], elapsed: Duration) -> Value {
    json!({
        "elapsed_ms": u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        "ready": states.iter().filter(|state| matches!(state.phase, Phase::Ready(_))).count(),
        "targets": states.iter().map(describe).collect::<Vec<_>>(),
    })
}

fn emit(event: &str, mut value: Value) {
    if let Value::Object(map) = &mut value {
        map.shift_insert(0, "event".to_owned(), event.into());
        map.shift_insert(1, "time".to_owned(), jiff::Timestamp::now().to_string().into());
    }
    // A reader that has gone away does not stop the gate.
    let _ = writeln!(std::io::stdout().lock(), "{value}");
}
