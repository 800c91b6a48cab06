//! Every command and configuration in the documentation is run, checked by the real binary, or says why not.
//!
//! `document → fenced blocks → what each is → problems`. A block counts by its language:
//!
//! - `sh`, `console`: a line that begins with one of the four is checked by that binary (`--check`, or for a subcommand its help). With
//!   `<!-- run -->` before the block the lines are run, in a folder with a few logs, and have to succeed.
//! - `yaml`: a manifest's containers of ours are checked by their binaries, a configuration by the binary whose README it is
//!   in (or which its first line names: `# adapter-logformat`).
//! - anything else is a picture, an output, or another tool's.
//!
//! So is `code` within a sentence or a table that begins with one of the four.
//!
//! What can be none of this has `<!-- not run: REASON -->` before it.

mod cli;
mod fences;

use std::path::{Path, PathBuf};

use fences::{Block, Mark};
use testkit::{PodDir, Proc};

use crate::pod;
use crate::yaml::{TOOLS, binary, root};

#[test]
fn every_block_runs_or_says_why_not() {
    if TOOLS.iter().any(|(tool, _)| !binary(tool).exists()) {
        return testkit::skip_or_fail("the four are not built; `cargo build --workspace` builds them");
    }
    let (mut problems, mut counts) = (Vec::new(), [0_usize; 4]);
    for file in documents() {
        let text =
            std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let name = file.strip_prefix(root()).unwrap_or(&file).display().to_string();
        for command in fences::inline(&text).iter().flat_map(|code| cli::commands(code)) {
            // A command with something to check; "…" stands for what the reader knows.
            let whole = command.iter().any(|word| word.starts_with("--") || word.contains("://"));
            if whole && !command.iter().any(|word| word.contains('…')) {
                counts[3] += 1;
                problems.extend(cli::check(&command).map(|what| format!("{name}: {what}")));
            }
        }
        for block in fences::all(&text) {
            let (kind, wrong) = judge(&file, &block);
            counts[kind] += 1;
            let place = format!("{name}:{}", block.line);
            problems.extend(wrong.into_iter().map(|what| format!("{place}: {what}")));
        }
    }
    let [looked, reasons, pictures, inline] = counts;
    println!(
        "{looked} checked or run, {reasons} with a reason, {pictures} pictures and outputs, {inline} within sentences"
    );
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
    assert!(looked > 20 && inline > 10, "hardly any block was found: {counts:?}");
}

/// All that people read: the READMEs, docs/, and the pages beside examples.
fn documents() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = [
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "examples/README.md",
        "examples/kustomize/README.md",
        "examples/pods/debug.md",
    ]
    .iter()
    .map(|file| root().join(file))
    .collect();
    files.extend(TOOLS.iter().map(|(tool, _)| root().join(tool).join("README.md")));
    let docs = std::fs::read_dir(root().join("docs")).expect("docs/").flatten().map(|entry| entry.path());
    files.extend(docs.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    files.sort();
    files
}

/// 0 looked at, 1 with a reason, 2 nothing to look at; and what is wrong.
fn judge(file: &Path, block: &Block) -> (usize, Vec<String>) {
    if let Mark::NotRun(reason) = &block.mark {
        let wrong = (reason.len() < 10).then(|| format!("{reason:?} is no reason"));
        // Commands of ours in it are still checked.
        let mut wrong: Vec<String> = wrong.into_iter().collect();
        wrong.extend(cli::commands(&block.text).iter().filter_map(|words| cli::check(words)));
        return (1, wrong);
    }
    match block.language.as_str() {
        _ if block.mark == Mark::Run => (0, run(&block.text)),
        "sh" | "console" | "bash" => (0, shell(&block.text)),
        "yaml" => (0, configuration(file, &block.text)),
        "" | "text" | "json" => {
            // A picture may name the four without calling them.
            let mut commands = cli::commands(&block.text);
            commands.retain(|words| words.iter().any(|word| word.starts_with("--") || word.contains("://")));
            (
                if commands.is_empty() { 2 } else { 0 },
                commands.iter().filter_map(|words| cli::check(words)).collect(),
            )
        }
        other => (2, vec![format!("a block in {other}: whose is it? `<!-- not run: … -->` says so")]),
    }
}

/// Every line is a command of ours; others need a mark.
fn shell(text: &str) -> Vec<String> {
    let commands = cli::commands(text);
    let mut problems: Vec<String> = commands.iter().filter_map(|words| cli::check(words)).collect();
    if cli::others(text) {
        problems.push(
            "a command that is none of the four: `<!-- run -->` or `<!-- not run: … -->` before it"
                .to_owned(),
        );
    }
    problems
}

/// Runs the lines with a shell, in a folder that has what the READMEs speak of.
fn run(text: &str) -> Vec<String> {
    let dir = PodDir::new();
    let visit = "203.0.113.7 - - [21/Nov/2026:10:00:00 +0000] \"GET /orders/7 HTTP/1.1\" 200 512 \"-\" \"curl/8.0\"\n";
    dir.write("access.log", visit.repeat(3));
    dir.write("logs/app.log", "one ERROR\ntwo\n");
    let path = format!("{}:{}", binary("").display(), std::env::var("PATH").unwrap_or_default());
    let script: String =
        text.lines().map(|line| format!("{}\n", line.strip_prefix("$ ").unwrap_or(line))).collect();
    let done = Proc::new("sh").args(["-euc", &script]).env("PATH", path).current_dir(dir.path()).run();
    if done.code() == Some(0) && !done.stdout().is_empty() {
        return Vec::new();
    }
    vec![format!("exit {:?}, stdout {:?}: {}", done.code(), done.stdout(), done.stderr())]
}

/// A manifest (or a part of one), or the configuration of one of the four.
fn configuration(file: &Path, text: &str) -> Vec<String> {
    let documents: Vec<serde_json::Value> = match serde_saphyr::from_multiple(text) {
        Ok(documents) => documents,
        Err(error) => return vec![format!("no YAML: {error}")],
    };
    let mut problems = Vec::new();
    for document in &documents {
        let pod = [document, &document["spec"], &document["spec"]["template"]["spec"]];
        let found =
            pod.into_iter().find(|spec| spec["containers"].is_array() || spec["initContainers"].is_array());
        if let Some(spec) = found {
            let pod = serde_json::json!({"kind": "Pod", "metadata": {"name": "block"}, "spec": spec});
            let documents = [pod];
            for container in &pod::all(&documents)[0].containers {
                if container.tool().is_some() {
                    let args: Vec<String> = container.args().iter().map(|&arg| arg.to_owned()).collect();
                    problems.extend(cli::check(&[vec![container.image().to_owned()], args].concat()));
                }
            }
            continue;
        }
        if document["services"].is_object()
            || document["kind"].is_string()
            || document["resources"].is_array()
        {
            // compose.yaml and other objects: there is nothing of ours to check in it.
            continue;
        }
        let first = text.lines().next().unwrap_or("").trim_start_matches(['#', ' ']);
        let named = TOOLS.iter().map(|(tool, _)| *tool).find(|tool| first.starts_with(tool));
        let folder = file.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
        let of_readme = TOOLS.iter().map(|(tool, _)| *tool).find(|tool| folder.as_deref() == Some(tool));
        let Some(tool) = named.or(of_readme) else {
            problems.push("a configuration of whom? Its first line may say `# BINARY`".to_owned());
            continue;
        };
        let dir = PodDir::new();
        let config = dir.write("config.yaml", text);
        let checked = Proc::new(binary(tool)).arg("--check").arg("--config").arg(config).run();
        if checked.code() != Some(0) {
            problems.push(format!("{tool} --check: {}", checked.stderr()));
        }
    }
    problems
}
