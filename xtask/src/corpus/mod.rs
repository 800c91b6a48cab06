//! `cargo xtask corpus`: logs with the records that others made of them, beside ours. A table per system, and every difference in a list.
//!
//! The corpus is no part of the project (its licences are its own): a folder with an `index.tsv`, by default `shared/corpus` beside the checkout.
//! Where it is not there, nothing is compared.

mod compare;
mod names;
mod otlp;
mod traces;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::sh;
use compare::Tally;

/// Below this share of equal fields of the schema, where the expectation is right, the run fails.
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
    /// The records are OTLP/JSON instead of the Elastic Common Schema.
    otlp: bool,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    let beside = || sh::root().parent().map(|up| up.join("shared").join("corpus"));
    let Some(dir) = options.corpus.clone().or_else(beside).filter(|dir| dir.join("index.tsv").is_file())
    else {
        say("no corpus here: nothing compared (name its folder with --corpus)");
        return Ok(true);
    };
    if !options.no_build {
        // As the tests build it: by itself it would take other features of its dependencies, and compile each of them once more.
        sh::run(sh::cargo(&["build", "--workspace", "--all-targets", "--locked"]))?;
    }
    let program = sh::target_dir().join("debug").join("adapter-logformat");
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    for case in cases(&dir)? {
        if options.system.as_ref().is_some_and(|system| *system != case.system) {
            continue;
        }
        let format = match case.otlp {
            true => names::other_format(&case.system, &case.log),
            false => names::format(&case.system, &case.log),
        };
        let Some(format) = format else {
            tallies.entry(case.system).or_default().skipped += 1;
            continue;
        };
        let expected: Vec<Value> = serde_json::from_slice(&fs::read(&case.expected)?)
            .with_context(|| format!("{} is no list of records", case.expected.display()))?;
        // The records in ECS were made two hours west of Greenwich, the others in California.
        let zone = if case.otlp { "America/Los_Angeles" } else { "Etc/GMT+2" };
        let ours = read(&program, format, zone, &case.log)?;
        let expected = if case.otlp { otlp::records(&expected) } else { expected };
        let tally = tallies.entry(case.system.clone()).or_default();
        // A collector that refused its configuration expects nothing.
        if !expected.is_empty() {
            tally.add(&case.system, &expected, &ours);
        }
    }
    let traces = traces::compare(&dir, |log| Ok(read(&program, &["--from", "auto"], "UTC", log)?.len()))?;
    let good = show(&tallies, options.examples);
    say(&format!(
        "{} of {} stack traces are one record; {} are of other languages",
        traces.all - traces.torn.len(),
        traces.all,
        traces.others
    ));
    for (name, records) in &traces.torn {
        say(&format!("    {name}: {records} records"));
    }
    Ok(good && traces.torn.is_empty())
}

/// The rows with records that ours can be compared with.
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
        .filter(|row| matches!(row.get(kind), Some(&("log+expected-ECS" | "log+expected-OTLP"))))
        .filter_map(|row| {
            Some(Case {
                system: (*row.get(system)?).to_owned(),
                log: dir.join(row.get(log)?),
                expected: dir.join(row.get(expected)?),
                otlp: row.get(kind)?.ends_with("OTLP"),
            })
        })
        .collect())
}

/// The adapter's records of a log.
fn read(program: &Path, format: &[&str], zone: &str, log: &Path) -> anyhow::Result<Vec<Value>> {
    let mut command = std::process::Command::new(program);
    command.args(format).args(["--schema", "ecs", "--timezone", zone]);
    let output = command.stdin(Stdio::from(fs::File::open(log)?)).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "{} ended with {}", sh::shown(&command), output.status);
    output
        .stdout
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
        .map(|l| Ok(serde_json::from_slice(l)?))
        .collect()
}

/// Whether every system has enough.
fn show(tallies: &BTreeMap<String, Tally>, examples: usize) -> bool {
    say(&format!(
        "{:<15} {:>8} {:>8} {:>8} {:>8} {:>13} {:>8} {:>12}",
        "system", "records", "parsed %", "fields", "equal %", "of the schema", "equal %", "where right %"
    ));
    let mut all = Tally::default();
    let mut good = true;
    for (system, tally) in tallies {
        if tally.records == 0 {
            say(&format!("{system:<15} {:>8}", "no format of ours"));
            continue;
        }
        say(&row(system, tally));
        good &= tally.right() >= WANTED;
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
    say(&format!(
        "\n{:.1} % of the fields that the schema defines are equal, {:.1} % where the expectation is right; wanted of each system: {WANTED} %",
        percent(all.schema_equal, all.schema),
        all.right()
    ));
    good
}

fn row(name: &str, tally: &Tally) -> String {
    format!(
        "{name:<15} {:>8} {:>8.1} {:>8} {:>8.1} {:>13} {:>8.1} {:>12.1}",
        tally.records,
        percent(tally.parsed, tally.records),
        tally.fields,
        percent(tally.equal, tally.fields),
        tally.schema,
        percent(tally.schema_equal, tally.schema),
        tally.right()
    )
}

/// To stdout: the table is what this program is asked for. A reader that has gone away is no reason to stop.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

fn percent(part: usize, whole: usize) -> f64 {
    if whole == 0 { 100.0 } else { part as f64 * 100.0 / whole as f64 }
}
