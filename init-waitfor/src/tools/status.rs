//! `status`: one attempt at each target, shown as a table.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use podkit::Exit;
use podkit::dns::Resolver;
use serde_json::json;

use crate::check::Verdict;
use crate::cli::{Cli, Output};
use crate::config::Config;
use crate::report::short;
use crate::target::Targets;
use crate::wait::attempt;

/// # Errors
/// Code 1 when not enough targets are ready.
pub async fn status(cli: &Cli, config: &Config, targets: &Targets, resolver: &Resolver) -> Result<(), Exit> {
    let looks = join_all(targets.list.iter().map(|target| async move {
        let start = Instant::now();
        let time = target.attempt_timeout.unwrap_or(config.attempt_timeout.get());
        let verdict = attempt(target, targets, resolver, tokio::time::Instant::now() + time).await;
        (target.name.as_str(), verdict, start.elapsed())
    }))
    .await;
    let ready = looks.iter().filter(|(_, verdict, _)| matches!(verdict, Verdict::Ready(_))).count();
    let enough = ready >= config.require.number(looks.len());
    match cli.wait.output {
        _ if cli.wait.quiet => {}
        Output::Json => podkit::cli::print(&as_json(&looks, ready, enough))?,
        Output::Text => podkit::cli::print(&as_table(&looks))?,
    }
    if enough { Ok(()) } else { Err(Exit::code(1)) }
}

fn parts(verdict: &Verdict) -> (&'static str, &str) {
    match verdict {
        Verdict::Ready(text) => ("ready", text),
        Verdict::NotYet(not_yet) => ("not yet", &not_yet.reason),
        Verdict::Terminal { reason, .. } => ("failed", reason),
    }
}

fn as_table(looks: &[(&str, Verdict, Duration)]) -> String {
    let width = looks.iter().map(|(name, ..)| name.chars().count()).max().unwrap_or(0).max("TARGET".len());
    let mut text = format!("{:<width$}  {:<7}  {:>6}  DETAIL\n", "TARGET", "STATE", "TIME");
    for (name, verdict, took) in looks {
        let (state, detail) = parts(verdict);
        text.push_str(&format!("{name:<width$}  {state:<7}  {:>6}  {detail}\n", short(*took)));
    }
    text
}

fn as_json(looks: &[(&str, Verdict, Duration)], ready: usize, enough: bool) -> String {
    let list: Vec<_> = looks
        .iter()
        .map(|(name, verdict, took)| {
            let (state, detail) = parts(verdict);
            let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            json!({ "target": name, "state": state, "detail": detail, "took_ms": took_ms })
        })
        .collect();
    format!("{}\n", json!({ "ready": enough, "ready_targets": ready, "targets": list }))
}
