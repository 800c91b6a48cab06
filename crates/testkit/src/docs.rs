//! Help, schema and README of a binary say the same: for a test in each binary's package.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{PodDir, Proc};

/// What every binary has; the README of the workspace tells about these once.
const COMMON: [&str; 12] = [
    "--admin",
    "--check",
    "--completions",
    "--config",
    "--log-format",
    "--log-level",
    "--print-config",
    "--print-schema",
    "--ready",
    "--shutdown-grace",
    "--termination-log",
    "--version",
];

/// Compares what `binary` prints about itself with its README. Panics with everything that differs.
///
/// - each flag of `--help` (and of each of `subcommands`) that not every binary has is in the README, and each flag that heads a row of an option table exists;
/// - each key of `--print-schema` has a description;
/// - each fenced `yaml` block of the README that is no manifest passes `--check`.
pub fn agree(binary: &str, readme: &str, subcommands: &[&str]) {
    let mut wrong = Vec::new();
    let mut known = flags(&help(binary, &["--help"]));
    for subcommand in subcommands {
        known.extend(flags(&help(binary, &[subcommand, "--help"])));
    }
    let mut mentioned = all_flags(readme);
    mentioned.extend(COMMON.map(str::to_owned));
    wrong.extend(known.difference(&mentioned).map(|flag| format!("--help has {flag}, the README has not")));
    let rows: BTreeSet<String> = readme
        .lines()
        .filter(|line| line.starts_with("| `--"))
        .flat_map(|line| all_flags(line.split('|').nth(1).unwrap_or("")))
        .collect();
    wrong.extend(
        rows.difference(&known).map(|flag| format!("the README has a row for {flag}, --help has not")),
    );

    let schema: Value =
        serde_json::from_str(&help(binary, &["--print-schema"])).expect("--print-schema prints JSON");
    undescribed(&schema, "", &mut wrong);

    let dir = PodDir::new();
    for (index, block) in yaml_blocks(readme).into_iter().enumerate() {
        let file = format!("block-{index}.yaml");
        dir.write(&file, &block);
        let checked = Proc::new(binary).arg("--config").arg(dir.join(&file)).arg("--check").run();
        if checked.code() != Some(0) {
            wrong.push(format!(
                "a yaml block of the README does not pass --check:\n{block}\n{}",
                checked.stderr()
            ));
        }
    }
    assert!(wrong.is_empty(), "{} disagreements:\n{}", wrong.len(), wrong.join("\n"));
}

fn help(binary: &str, args: &[&str]) -> String {
    Proc::new(binary).args(args).run().expect_code(0).stdout()
}

/// The flags that `--help` defines: those at the beginning of a line.
fn flags(help: &str) -> BTreeSet<String> {
    let heads = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    heads
        .flat_map(|line| all_flags(line.split("  ").next().unwrap_or(line)))
        .filter(|flag| flag != "--help")
        .collect()
}

/// Everything that looks like a long flag.
fn all_flags(text: &str) -> BTreeSet<String> {
    let is_flag = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let mut found = BTreeSet::new();
    let mut rest = text;
    while let Some(start) = rest.find("--") {
        let end = rest[start..].find(|c| !is_flag(c)).map_or(rest.len(), |i| start + i);
        let word = rest[start..end].trim_end_matches('-');
        let at_boundary = !rest[..start].ends_with(is_flag);
        if at_boundary && word.len() > 3 {
            found.insert(word.to_owned());
        }
        rest = &rest[end.max(start + 2)..];
    }
    found
}

fn undescribed(schema: &Value, path: &str, wrong: &mut Vec<String>) {
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        for (key, inner) in properties {
            let described = inner.get("description").is_some() || inner.get("$ref").is_some();
            if !described {
                wrong.push(format!("the schema says nothing about {path}{key}"));
            }
        }
    }
    for (name, inner) in schema.get("definitions").and_then(Value::as_object).into_iter().flatten() {
        undescribed(inner, &format!("{name}."), wrong);
    }
}

/// The fenced `yaml` blocks that are configurations, not manifests.
fn yaml_blocks(readme: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = readme.lines();
    while let Some(line) = lines.next() {
        if line.trim() == "```yaml" {
            let block: Vec<&str> = lines.by_ref().take_while(|line| line.trim() != "```").collect();
            let is_manifest = block.iter().any(|line| {
                ["containers:", "initContainers:", "kind:", "services:", "image:", "- name:"].iter().any(
                    |key| {
                        let line = line.trim_start();
                        line.starts_with(key)
                            && (*key != "- name:" || block.iter().any(|line| line.contains("image:")))
                    },
                )
            });
            if !is_manifest {
                blocks.push(block.join("\n") + "\n");
            }
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_found_where_they_are_defined() {
        let help = "Usage: x [OPTIONS]\n\nOptions:\n  -q, --quiet  Say less than --loud\n      --log-level <LEVEL>\n          Text\n  -h, --help\n";
        assert_eq!(flags(help).into_iter().collect::<Vec<_>>(), ["--log-level", "--quiet"]);
        assert!(all_flags("a `--read GLOB`, --to=x; ---- | -- |").iter().eq(["--read", "--to"]));
    }

    #[test]
    fn blocks_that_are_manifests_are_left_to_the_policy_test() {
        let readme = "```yaml\na: 1\n```\ntext\n```yaml\nspec:\n  containers:\n    - name: x\n```\n";
        assert_eq!(yaml_blocks(readme), ["a: 1\n"]);
    }
}
