//! `cargo xtask test`: `set-up → source → tests → pod → manifests → images → summary`.
//!
//! Every step runs even when one before it failed, so that one run shows all there is to mend; every step is
//! timed; a step that cannot run here says why. With `CI=true` such a skip is a failure.

mod examples;
mod full;
mod setup;
mod source;
mod summary;

use std::time::Instant;

use crate::sh;
use summary::Summary;

#[derive(clap::Args, Clone, Default)]
pub(crate) struct Options {
    /// Adds what is slow: checkov, zizmor, fuzzing, probes, a long demo under SIGKILL, pictures of the pages
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
const STEPS: [(&str, Step); 14] = [
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
    ("images", examples::images),
    ("compose", examples::compose),
];

const FULL: [(&str, Step); 8] = [
    ("features", full::features),
    ("fuzz", full::fuzz),
    ("migration-tools", full::migration_tools),
    ("probes", full::probes),
    ("checkov", full::checkov),
    ("zizmor", full::zizmor),
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
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|word| name.contains(word));
    let mut summary = Summary::new(sh::is_ci());
    for (name, step) in steps {
        if !wanted(name) {
            continue;
        }
        eprintln!("\n━━━ {name}");
        let begun = Instant::now();
        let outcome = step();
        summary.add(name, begun.elapsed(), outcome);
    }
    Ok(summary.show())
}
