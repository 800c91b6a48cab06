//! `cargo xtask test`: `set-up → source → tests → pod → manifests → binaries that ship → images → summary`.
//!
//! Every step runs even when one before it failed, so that one run shows all there is to mend; every step is
//! timed; a step that cannot run here says why. With `CI=true` such a skip is a failure.

mod examples;
mod full;
mod newer;
mod setup;
mod source;
mod summary;

use std::time::{Duration, Instant};

use crate::sh;
use summary::Summary;

#[derive(clap::Args, Clone, Default)]
pub(crate) struct Options {
    /// Adds what is slow: every feature, the binaries built twice, licences, checkov, zizmor, fuzzing, probes, a long demo under SIGKILL
    #[arg(long)]
    full: bool,
    /// Runs only the steps whose names contain one of these words
    #[arg(value_name = "STEP")]
    only: Vec<String>,
    /// Lists the steps
    #[arg(long)]
    list: bool,
}

/// How a step ended when it did not fail.
pub(crate) enum Done {
    /// With something worth a word in the summary.
    Passed(String),
    /// Not run, and why.
    Skipped(String),
}

type Step = fn() -> anyhow::Result<Done>;

/// The steps of every run, the quickest to fail first.
const STEPS: [(&str, Step); 15] = [
    ("set-up", setup::run),
    ("format", source::format),
    ("clippy", source::clippy),
    ("build", source::build),
    ("tests", source::tests),
    ("doc-tests", source::doc_tests),
    ("schemas", examples::schemas),
    ("configs", examples::configs),
    ("manifests", examples::manifests),
    ("lint-files", examples::lint_files),
    ("demo", examples::demo),
    ("dist", source::dist),
    ("shipped", source::shipped),
    ("images", examples::images),
    ("compose", examples::compose),
];

/// Side by side when both are wanted: one mostly waits, the other computes.
const TOGETHER: (&str, &str) = ("demo", "dist");

const FULL: [(&str, Step); 11] = [
    ("features", full::features),
    ("reproducible", full::reproducible),
    ("fuzz", full::fuzz),
    ("migration-tools", full::migration_tools),
    ("probes", full::probes),
    ("deny", full::deny),
    ("checkov", full::checkov),
    ("zizmor", full::zizmor),
    ("old-compose", full::old_compose),
    ("long-demo", full::long_demo),
    ("pages", full::pages),
];

pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    let mut steps = STEPS.to_vec();
    if options.full {
        steps.extend(FULL);
    }
    if options.list {
        for (name, _) in &steps {
            eprintln!("{name}");
        }
        return Ok(true);
    }
    steps.retain(|(name, _)| options.only.is_empty() || options.only.iter().any(|word| name.contains(word)));
    let (begun, mut summary) = (Instant::now(), Summary::new(sh::is_ci()));
    let mut steps = steps.into_iter().peekable();
    while let Some((name, step)) = steps.next() {
        let beside = steps.next_if(|(next, _)| (name, *next) == TOGETHER);
        eprintln!(
            "\n━━━ {name}{}",
            beside.map(|(next, _)| format!(", and beside it {next}")).unwrap_or_default()
        );
        let (outcome, other) = std::thread::scope(|scope| {
            let other = beside.map(|(name, step)| (name, scope.spawn(move || timed(step))));
            let outcome = timed(step);
            (outcome, other.map(|(name, thread)| (name, thread.join())))
        });
        summary.add(name, outcome.0, outcome.1);
        if let Some((name, other)) = other {
            let (took, outcome) =
                other.unwrap_or_else(|_| (Duration::ZERO, Err(anyhow::anyhow!("it panicked"))));
            summary.add(name, took, outcome);
        }
    }
    Ok(summary.show(begun.elapsed()))
}

fn timed(step: Step) -> (Duration, anyhow::Result<Done>) {
    let begun = Instant::now();
    let outcome = step();
    (begun.elapsed(), outcome)
}
