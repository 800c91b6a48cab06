//! Stack traces of many languages: each has to become one record.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::Value;

/// Languages that the adapter says it reads.
const OURS: [&str; 9] = ["java", "csharp", "go", "js", "python", "rails", "ruby", "php", "rust"];

/// How many there are, of how many languages of ours, and those that fell apart.
pub(crate) struct Traces {
    pub(crate) all: usize,
    pub(crate) torn: Vec<(String, usize)>,
    /// Of languages that the adapter does not know.
    pub(crate) others: usize,
}

/// The folders' traces, each read by `auto`.
pub(crate) fn compare(dir: &Path, read: impl Fn(&Path) -> anyhow::Result<usize>) -> anyhow::Result<Traces> {
    let mut traces = Traces { all: 0, torn: Vec::new(), others: 0 };
    let folder = dir.join("multiline/detect-exceptions");
    let Ok(entries) = fs::read_dir(&folder) else { return Ok(traces) };
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    let scratch = tempfile::tempdir()?;
    for file in files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if !name.split('_').any(|word| OURS.contains(&word)) {
            traces.others += 1;
            continue;
        }
        let case: Value = serde_json::from_slice(&fs::read(&file)?)?;
        let text = case["input"].as_str().with_context(|| format!("{name} has no input"))?;
        let log = scratch.path().join("log");
        fs::write(&log, format!("{}\n", text.trim_matches('\n')))?;
        let records = read(&log)?;
        traces.all += 1;
        if records != 1 {
            traces.torn.push((name, records));
        }
    }
    Ok(traces)
}
