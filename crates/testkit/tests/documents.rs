//! Every command and configuration in the documentation is run, or says why not.
//!
//! `document → fenced blocks → what each is → run it where a reader would → problems`
//!
//! - `sh`, `console`: the lines are run one after the other by a shell, with our binaries on the path. What ends has to end with 0.
//!   What stays has to become ready, do its work (deliver lines, write records, answer requests), and end with 0 on SIGTERM.
//! - `yaml`: a manifest's containers are run in their order, a configuration by the binary whose README it is in (or which its first
//!   line names: `# adapter-logformat`), both as above.
//! - anything else is a picture, an output, or another tool's.
//!
//! `<!-- checked: REASON -->` before a block: the real binary takes it (`--check`, or for a subcommand its help), and no more.
//! `<!-- not run: REASON -->`: not even that, but what is ours in it is still checked. So is `code` within a sentence or a table
//! that begins with one of the four.

#[path = "documents/cli.rs"]
mod cli;
#[path = "documents/fences.rs"]
mod fences;
#[path = "lifecycle/isolate.rs"]
mod isolate;
#[path = "documents/kind.rs"]
mod kind;
#[path = "manifests/pod.rs"]
#[allow(dead_code, reason = "the policy test uses all of it")]
mod pod;
#[path = "documents/reader.rs"]
mod reader;
#[path = "manifests/role.rs"]
#[allow(dead_code, reason = "the policy test uses all of it")]
mod role;
#[path = "documents/run.rs"]
mod run;
#[path = "documents/services.rs"]
mod services;
#[path = "lifecycle/world.rs"]
#[allow(dead_code, reason = "the lifecycle test uses all of it")]
mod world;
#[path = "manifests/yaml.rs"]
#[allow(dead_code, reason = "the policy test uses all of it")]
mod yaml;

use std::path::{Path, PathBuf};

use fences::{Block, Mark};
use kind::Kind;
use testkit::{PodDir, Proc, skip_or_fail};
use yaml::{TOOLS, binary, root};

/// What became of the blocks.
#[derive(Debug, Default)]
struct Counts {
    run: usize,
    checked: usize,
    not_run: usize,
    pictures: usize,
    inline: usize,
}

#[test]
fn every_block_is_ours_or_says_why_not() {
    if missing() {
        return;
    }
    let (mut problems, mut counts) = (Vec::new(), Counts::default());
    for file in documents() {
        let (name, text) = read(&file);
        for command in fences::inline(&text).iter().flat_map(|code| cli::commands(code)) {
            // A command with something to check; "…" stands for what the reader knows.
            let whole = command.iter().any(|word| word.starts_with("--") || word.contains("://"));
            if whole && !command.iter().any(|word| word.contains('…')) {
                counts.inline += 1;
                problems.extend(cli::check(&command).map(|what| format!("{name}: {what}")));
            }
        }
        for block in fences::all(&text) {
            let wrong = judge(&file, &block, &mut counts);
            problems.extend(wrong.into_iter().map(|what| format!("{name}:{}: {what}", block.line)));
        }
    }
    let Counts { run, checked, not_run, pictures, inline } = counts;
    println!(
        "blocks: {run} to run, {checked} checked and {not_run} not run with their reasons, {pictures} pictures and outputs; {inline} commands within sentences"
    );
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
    assert!(run > 30 && inline > 10, "hardly any block was found: {counts:?}");
}

#[test]
fn every_block_does_what_it_says() {
    isolate::isolated("every_block_does_what_it_says", || {
        if missing() {
            return;
        }
        let reader = reader::Reader::new();
        let (mut problems, mut done) = (Vec::new(), 0);
        for file in documents() {
            let (name, text) = read(&file);
            for block in fences::all(&text).iter().filter(|block| block.mark == Mark::None) {
                let kind = kind::of(&file, block);
                if kind == Kind::Picture {
                    continue;
                }
                reader.begin(&block.text);
                done += 1;
                if let Err(what) = run::block(&reader, block, &kind) {
                    problems.push(format!("{name}:{}: {what}", block.line));
                }
            }
        }
        println!("{done} blocks were run");
        assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
    });
}

/// Whether there is nothing to test with.
fn missing() -> bool {
    let missing = TOOLS.iter().any(|(tool, _)| !binary(tool).exists());
    if missing {
        skip_or_fail("the four are not built; `cargo build --workspace` builds them");
    }
    missing
}

/// Its name, and what it says.
fn read(file: &Path) -> (String, String) {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    (file.strip_prefix(root()).unwrap_or(file).display().to_string(), text)
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

/// What is wrong with a block as it is written; nothing of it is started.
fn judge(file: &Path, block: &Block, counts: &mut Counts) -> Vec<String> {
    let ours = || cli::commands(&block.text);
    let refused = |commands: Vec<Vec<String>>| -> Vec<String> {
        commands.iter().filter_map(|words| cli::check(words)).collect()
    };
    let no_reason = |reason: &str| (reason.len() < 10).then(|| format!("{reason:?} is no reason"));
    match (&block.mark, kind::of(file, block)) {
        (Mark::NotRun(reason), _) => {
            counts.not_run += 1;
            refused(ours()).into_iter().chain(no_reason(reason)).collect()
        }
        (Mark::Checked(reason), kind) => {
            counts.checked += 1;
            let wrong: Vec<String> = match kind {
                Kind::Config(tool) => config_problem(tool, &block.text).into_iter().collect(),
                _ => refused(ours()),
            };
            wrong.into_iter().chain(no_reason(reason)).collect()
        }
        (Mark::None, Kind::Unknown(why)) => vec![why],
        (Mark::None, Kind::Picture) => {
            counts.pictures += 1;
            // A picture may name the four without calling them.
            let called =
                |words: &Vec<String>| words.iter().any(|word| word.starts_with("--") || word.contains("://"));
            if ours().iter().any(called) {
                return vec!["a command of ours in a block without a language: `sh` has it run".to_owned()];
            }
            Vec::new()
        }
        (Mark::None, _) => {
            counts.run += 1;
            Vec::new()
        }
    }
}

fn config_problem(tool: &str, text: &str) -> Option<String> {
    let dir = PodDir::new();
    let config = dir.write("config.yaml", text);
    let checked = Proc::new(binary(tool)).arg("--check").arg("--config").arg(config).run();
    (checked.code() != Some(0)).then(|| format!("{tool} --check: {}", checked.stderr()))
}
