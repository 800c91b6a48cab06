//! `cargo xtask corpus`: logs with the records that others made of them, beside ours. A table per system, and every difference in a list.
//!
//! The corpus is no part of the project (its licences are its own): a folder with an `index.tsv`, by default `shared/corpus` beside the checkout.
//! Where it is not there, nothing is compared.

mod compare;
mod names;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::sh;
use compare::Tally;

/// Below this share of equal fields of the schema the run fails.
const WANTED: f64 = 95.0;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Folder with the corpus and its index.tsv [default: shared/corpus beside the checkout]
    #[arg(long, env = "PODMATES_CORPUS", value_name = "DIR")]
    corpus: Option<PathBuf>,
    /// Only this system
    #[arg(long, value_name = "NAME")]
    system: Option<String>,
    /// Examples per kind of difference
    #[arg(long, default_value_t = 1, value_name = "N")]
    examples: usize,
    /// Takes the adapter as it was built last
    #[arg(long)]
    no_build: bool,
}

/// One row of the index.
struct Case {
    system: String,
    log: PathBuf,
    expected: PathBuf,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    let beside = || sh::root().parent().map(|up| up.join("shared").join("corpus"));
    let Some(dir) = options.corpus.clone().or_else(beside).filter(|dir| dir.join("index.tsv").is_file())
    else {
        say("no corpus here: nothing compared (name its folder with --corpus)");
        return Ok(true);
    };
    if !options.no_build {
        sh::run(sh::cargo(&["build", "--locked", "--package", "adapter-logformat"]))?;
    }
    let program = sh::target_dir().join("debug").join("adapter-logformat");
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    for case in cases(&dir)? {
        if options.system.as_ref().is_some_and(|system| *system != case.system) {
            continue;
        }
        let Some(format) = names::format(&case.system, &case.log) else {
            tallies.entry(case.system).or_default().skipped += 1;
            continue;
        };
        let expected: Vec<Value> = serde_json::from_slice(&fs::read(&case.expected)?)
            .with_context(|| format!("{} is no list of records", case.expected.display()))?;
        let ours = read(&program, format, &case.log)?;
        tallies.entry(case.system.clone()).or_default().add(&case.system, &expected, &ours);
    }
    show(&tallies, options.examples)
}

/// The rows with records in the Elastic Common Schema: the schema that ours can be compared in.
fn cases(dir: &Path) -> anyhow::Result<Vec<Case>> {
    let index = fs::read_to_string(dir.join("index.tsv"))?;
    let mut lines = index.lines();
    let head: Vec<&str> = lines.next().unwrap_or_default().split('\t').collect();
    let column = |name: &str| {
        head.iter().position(|h| *h == name).with_context(|| format!("index.tsv has no column {name}"))
    };
    let (system, kind, log, expected) =
        (column("system")?, column("kind")?, column("log")?, column("expected")?);
    let rows = lines.map(|line| line.split('\t').collect::<Vec<_>>());
    Ok(rows
        .filter(|row| row.get(kind) == Some(&"log+expected-ECS"))
        .filter_map(|row| {
            Some(Case {
                system: (*row.get(system)?).to_owned(),
                log: dir.join(row.get(log)?),
                expected: dir.join(row.get(expected)?),
            })
        })
        .collect())
}

/// The adapter's records of a log.
fn read(program: &Path, format: &[&str], log: &Path) -> anyhow::Result<Vec<Value>> {
    let mut command = std::process::Command::new(program);
    // The expected records were made two hours west of Greenwich.
    command.args(format).args(["--schema", "ecs", "--timezone", "Etc/GMT+2"]);
    let output = command.stdin(Stdio::from(fs::File::open(log)?)).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "{} ended with {}", sh::shown(&command), output.status);
    output
        .stdout
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
        .map(|l| Ok(serde_json::from_slice(l)?))
        .collect()
}

fn show(tallies: &BTreeMap<String, Tally>, examples: usize) -> anyhow::Result<bool> {
    say(&format!(
        "{:<15} {:>8} {:>8} {:>9} {:>8} {:>12} {:>8}",
        "system", "records", "parsed %", "fields", "equal %", "of the schema", "equal %"
    ));
    let mut all = Tally::default();
    for (system, tally) in tallies {
        if tally.records == 0 {
            say(&format!("{system:<15} {:>8}", "no format of ours"));
            continue;
        }
        say(&row(system, tally));
        all.merge(tally);
    }
    say(&row("all", &all));
    say("\nwhat differs (times, field, why; theirs → ours)");
    for (system, tally) in tallies {
        for (field, miss) in &tally.misses {
            let why = names::explain(system, field).unwrap_or("NOT EXPLAINED");
            say(&format!("{:>5} {system}: {field}: {why}", miss.times));
            for example in miss.examples.iter().take(examples) {
                say(&format!("        {example}"));
            }
        }
    }
    let share = percent(all.schema_equal, all.schema);
    say(&format!("\n{share:.1} % of the fields that the schema defines are equal; wanted: {WANTED} %"));
    Ok(share >= WANTED)
}

fn row(name: &str, tally: &Tally) -> String {
    format!(
        "{name:<15} {:>8} {:>8.1} {:>9} {:>8.1} {:>13} {:>8.1}",
        tally.records,
        percent(tally.parsed, tally.records),
        tally.fields,
        percent(tally.equal, tally.fields),
        tally.schema,
        percent(tally.schema_equal, tally.schema)
    )
}

/// To stdout: the table is what this program is asked for. A reader that has gone away is no reason to stop.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

fn percent(part: usize, whole: usize) -> f64 {
    if whole == 0 { 100.0 } else { part as f64 * 100.0 / whole as f64 }
}
