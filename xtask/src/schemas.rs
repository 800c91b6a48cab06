//! `schemas/NAME.json`: the JSON Schema of each binary's configuration file, for editors and for the tests.

use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::sh;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Writes nothing; fails when a schema differs from what its binary prints
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    // As the tests build it: by itself it would take other features of its dependencies, and compile each of them once more.
    sh::run(sh::cargo(&["build", "--workspace", "--all-targets", "--locked"]))?;
    let stale = each(options.check)?;
    for name in &stale {
        eprintln!("schemas/{name}.json differs from `{name} --print-schema`; run `cargo xtask schemas`");
    }
    Ok(stale.is_empty())
}

/// Compares (or writes) every schema; returns the names of those that differ. The binaries must be built.
pub(crate) fn each(check: bool) -> anyhow::Result<Vec<&'static str>> {
    let dir = sh::root().join("schemas");
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let mut stale = Vec::new();
    for name in sh::TOOLS {
        let schema = print(&sh::target_dir().join("debug").join(name))?;
        let path = dir.join(format!("{name}.json"));
        let same = fs::read_to_string(&path).is_ok_and(|now| now == schema);
        if !check {
            fs::write(&path, schema).with_context(|| format!("cannot write {}", path.display()))?;
        } else if !same {
            stale.push(name);
        }
    }
    Ok(stale)
}

fn print(binary: &Path) -> anyhow::Result<String> {
    let text = sh::output(sh::command(&binary.to_string_lossy(), &["--print-schema"]))?;
    // Read and written again, so that the layout never depends on the binary's printer.
    let value: serde_json::Value = serde_json::from_str(&text)
        .with_context(|| format!("{} --print-schema does not print JSON", binary.display()))?;
    Ok(serde_json::to_string_pretty(&value)? + "\n")
}
