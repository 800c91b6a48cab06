//! The closing count: what was written against what arrived, what was sent against what came back.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde_json::Value;

use super::http::number;
use super::view::{Tone, View, thousands};

/// A failure is noticed a little after its cause, and a process is back a little before we see it.
const MARGIN: Duration = Duration::from_millis(1500);
/// How many missing lines are named.
const NAMED: usize = 5;

/// From the death of a process until it was ready again, if it was.
pub(crate) type Away = (SystemTime, Option<SystemTime>);

/// What the app prints as its last line: `{"report": {…}, "failures": […]}`.
pub(crate) fn last_report(stdout: &str) -> Option<Value> {
    let lines = stdout.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line.trim()).ok());
    lines.into_iter().find(|value| value.get("report").is_some())
}

pub(crate) struct Proof {
    pub(crate) lines_written: u64,
    pub(crate) lines_received: u64,
    pub(crate) duplicates: u64,
    pub(crate) absorbed: u64,
    /// Ids that were written and not received; empty also when only counts are known.
    pub(crate) missing: Vec<String>,
    pub(crate) sent: u64,
    pub(crate) answered: u64,
    pub(crate) failed_while_away: u64,
    pub(crate) failed_otherwise: Vec<String>,
    pub(crate) orders_distinct: u64,
    pub(crate) orders_repeated: u64,
    /// Sidecars that were killed because they did not end in time.
    pub(crate) forced: Vec<String>,
    pub(crate) length: Duration,
}

impl Proof {
    /// `app` is the shop's report, `backend` the backend's `/stats`.
    pub(crate) fn from_reports(app: &Value, backend: &Value) -> Self {
        Proof {
            lines_written: number(app, "/lines_written"),
            lines_received: number(backend, "/lines_distinct"),
            duplicates: number(backend, "/lines_duplicate"),
            absorbed: number(backend, "/redeliveries_absorbed"),
            missing: Vec::new(),
            sent: number(app, "/requests_sent"),
            answered: number(app, "/requests_answered"),
            failed_while_away: number(app, "/requests_failed"),
            failed_otherwise: Vec::new(),
            orders_distinct: number(backend, "/orders_distinct"),
            orders_repeated: number(backend, "/orders_repeated"),
            forced: Vec::new(),
            length: Duration::ZERO,
        }
    }

    /// Sorts the failed requests by whether a process was away at that time.
    pub(crate) fn judge_failures(&mut self, failures: &Value, away: &[Away]) {
        for failure in failures.as_array().into_iter().flatten() {
            let at = UNIX_EPOCH + Duration::from_millis(number(failure, "/unix_ms"));
            let excused =
                away.iter().any(|(from, to)| at + MARGIN >= *from && to.is_none_or(|to| at <= to + MARGIN));
            if !excused {
                self.failed_while_away = self.failed_while_away.saturating_sub(1);
                self.failed_otherwise.push(failure["why"].as_str().unwrap_or("?").to_owned());
            }
        }
    }

    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.lines_written != self.lines_received || !self.missing.is_empty() {
            let lost = i128::from(self.lines_written) - i128::from(self.lines_received);
            faults.push(format!("{lost} lines are missing"));
        }
        faults.extend(self.missing.iter().take(NAMED).map(|id| format!("not received: {id}")));
        if self.lines_written == 0 {
            faults.push("no line was written".to_owned());
        }
        let known = self.answered + self.failed_while_away;
        if self.sent != known {
            let rest = i128::from(self.sent) - i128::from(known);
            faults
                .push(format!("{rest} requests failed (or were never answered) while every process was up"));
        }
        let reasons: BTreeSet<&String> = self.failed_otherwise.iter().collect();
        faults.extend(reasons.into_iter().take(NAMED).map(|why| format!("a request failed: {why}")));
        if self.orders_distinct < self.answered {
            let lost = self.answered - self.orders_distinct;
            faults.push(format!("{lost} requests were answered that orders never saw"));
        }
        faults.extend(self.forced.iter().map(|name| format!("{name} did not end within its grace")));
        faults
    }

    pub(crate) fn show(&self, view: &mut View) -> bool {
        let n = thousands;
        view.headline("The proof");
        view.line(&format!(
            "  lines     {:>9} written = {:>9} received          {} duplicates, {} redeliveries absorbed by _id",
            n(self.lines_written),
            n(self.lines_received),
            n(self.duplicates),
            n(self.absorbed)
        ));
        view.line(&format!(
            "  requests  {:>9} sent    = {:>9} answered + {} failed while a process was restarting",
            n(self.sent),
            n(self.answered),
            n(self.failed_while_away)
        ));
        let mut rate = String::new();
        if self.length > Duration::ZERO {
            let per_second = self.sent as f64 / self.length.as_secs_f64();
            rate = format!("; {per_second:.0} requests per second over {:.0} s", self.length.as_secs_f64());
        }
        view.line(&format!(
            "  orders    {:>9} received, {} of them more than once{rate}",
            n(self.orders_distinct),
            n(self.orders_repeated)
        ));
        let faults = self.faults();
        for fault in &faults {
            let text = view.paint(Tone::Bad, &format!("  {fault}"));
            view.line(&text);
        }
        let verdict = match faults.is_empty() {
            true => view.paint(Tone::Good, "  It balances: nothing was lost."),
            false => view.paint(Tone::Bad, "  It does not balance."),
        };
        view.line(&verdict);
        faults.is_empty()
    }
}

/// The ids of all lines in the shop's logs.
pub(crate) fn written_ids(dir: &Path) -> anyhow::Result<HashSet<String>> {
    let mut ids = HashSet::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            for line in String::from_utf8_lossy(&bytes).lines() {
                // The shop writes one id per line, and `ln-` nowhere else.
                let id = line.find("ln-").map(|at| {
                    let rest = &line[at..];
                    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
                    rest[..end.unwrap_or(rest.len())].to_owned()
                });
                ids.insert(id.unwrap_or_else(|| format!("(a line without id in {})", path.display())));
            }
        }
    }
    Ok(ids)
}

/// The ids of all lines the backend acknowledged.
pub(crate) fn received_ids(store: &Path) -> anyhow::Result<HashSet<String>> {
    let text = fs::read_to_string(store).with_context(|| format!("cannot read {}", store.display()))?;
    Ok(text.lines().filter_map(|line| line.strip_prefix("line ")).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn proof() -> Proof {
        let app =
            json!({"lines_written": 10, "requests_sent": 5, "requests_answered": 4, "requests_failed": 1});
        let backend = json!({"lines_distinct": 10, "lines_duplicate": 2, "orders_distinct": 4});
        Proof::from_reports(&app, &backend)
    }

    #[test]
    fn a_failure_counts_only_while_something_was_away() {
        let at = |second| UNIX_EPOCH + Duration::from_secs(second);
        let mut fine = proof();
        let failures = json!([{"unix_ms": 100_000, "why": "refused"}]);
        fine.judge_failures(&failures, &[(at(99), Some(at(102)))]);
        assert!(fine.faults().is_empty(), "{:?}", fine.faults());
        let mut wrong = proof();
        wrong.judge_failures(&failures, &[(at(10), Some(at(12)))]);
        assert_eq!(wrong.faults().len(), 2, "{:?}", wrong.faults());
    }

    #[test]
    fn a_missing_line_is_a_fault() {
        let mut proof = proof();
        proof.lines_received = 9;
        assert_eq!(proof.faults(), ["1 lines are missing"]);
    }
}
