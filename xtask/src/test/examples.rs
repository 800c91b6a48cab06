//! The steps that use the examples: schemas, configuration files, manifests, the demo in both forms.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};

use super::{Done, setup};
use crate::{demo, docker, images as image, schemas as schema, sh};

/// Sinks behind a cargo feature of their name.
const OPTIONAL: [&str; 2] = ["kafka", "s3"];
/// Oldest and newest Kubernetes that the manifests are for, and the one in which native sidecars became stable.
const KUBERNETES: [&str; 3] = ["1.29", "1.33", "1.37"];

pub(crate) fn schemas() -> anyhow::Result<Done> {
    let stale = schema::each(true)?;
    ensure!(stale.is_empty(), "run `cargo xtask schemas`: out of date are {}", stale.join(", "));
    Ok(Done::Passed(format!("{} up to date", sh::TOOLS.len())))
}

/// Every file in examples/config passes `--check` of its binary, and its schema when the Python tools are there.
pub(crate) fn configs() -> anyhow::Result<Done> {
    let files = files_in("examples/config", "yaml")?;
    ensure!(!files.is_empty(), "there is no configuration in examples/config");
    let validator = setup::python().ok().map(|bin| bin.join("check-jsonschema"));
    for file in &files {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let Some(tool) = sh::TOOLS.into_iter().find(|tool| stem.starts_with(tool)) else {
            bail!("{} does not begin with the name of a binary", file.display());
        };
        let binary = sh::target_dir().join("debug").join(tool);
        let mut check = sh::command(&binary.to_string_lossy(), &["--check", "--config"]);
        check.arg(file);
        // Of a sink that is in no image, the default build says so; what is behind it is checked by the tests of that feature.
        let optional = OPTIONAL.into_iter().find(|feature| stem == format!("{tool}-{feature}"));
        match (sh::output(check), optional) {
            (Ok(_), _) => {}
            (Err(e), Some(sink)) if format!("{e:#}").contains(&format!("this build has no {sink} sink")) => {}
            (Err(e), _) => return Err(e),
        }
    }
    // Starting the validator takes longer than its work: once per schema.
    for tool in sh::TOOLS {
        let of_tool =
            |file: &&PathBuf| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(tool));
        let files: Vec<&PathBuf> = files.iter().filter(of_tool).collect();
        if let (Some(validator), false) = (&validator, files.is_empty()) {
            let mut command = sh::command(&validator.to_string_lossy(), &["--schemafile"]);
            command.arg(sh::root().join("schemas").join(format!("{tool}.json"))).args(files);
            sh::output(command)?;
        }
    }
    let how = if validator.is_some() { "by --check and by schema" } else { "by --check" };
    Ok(Done::Passed(format!("{} files {how}", files.len())))
}

/// The API's own schemas, strictly; what they cannot say is in crates/testkit/tests/manifests.rs.
pub(crate) fn manifests() -> anyhow::Result<Done> {
    let bin = match setup::python() {
        Ok(bin) => bin,
        Err(error) => return Ok(Done::Skipped(format!("no kubernetes-validate: {error:#}"))),
    };
    let mut files = files_in("examples/pods", "yaml")?;
    ensure!(!files.is_empty(), "there is no manifest in examples/pods");
    files.push(readme_deployment()?);
    let validate = bin.join("kubernetes-validate");
    for version in KUBERNETES {
        let mut command = sh::command(&validate.to_string_lossy(), &["--strict", "-k", version]);
        command.args(&files);
        sh::output(command)?;
    }
    Ok(Done::Passed(format!("{} files against Kubernetes {}", files.len(), KUBERNETES.join(", "))))
}

/// The block that the README has people copy, in a Deployment.
fn readme_deployment() -> anyhow::Result<PathBuf> {
    let readme = fs::read_to_string(sh::root().join("README.md")).context("README.md")?;
    let block = readme.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next());
    let block = block.context("the README has no yaml block")?;
    let mut text = "apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: readme }\nspec:\n  selector: { matchLabels: { app: readme } }\n  template:\n    metadata: { labels: { app: readme } }\n".to_owned();
    block.lines().for_each(|line| text.push_str(&format!("    {line}\n")));
    let file = sh::target_dir().join("xtask/readme.yaml");
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

/// Dockerfile, compose file and shell scripts, each by its linter.
pub(crate) fn lint_files() -> anyhow::Result<Done> {
    let bin = match setup::python() {
        Ok(bin) => bin,
        Err(error) => return Ok(Done::Skipped(format!("no linters: {error:#}"))),
    };
    let run = |program: &str, args: &[&str]| {
        sh::output(sh::command(&bin.join(program).to_string_lossy(), args)).map(drop)
    };
    run("hadolint", &["Dockerfile"])?;
    run("shellcheck", &[".ci/run"])?;
    for file in compose_files()? {
        run("check-jsonschema", &["--builtin-schema", "vendor.compose-spec", &file.to_string_lossy()])?;
    }
    run(
        "yamllint",
        &["--config-data", "{extends: relaxed, rules: {line-length: disable}}", "--strict", "examples"],
    )?;
    let workflows = files_in(".github/workflows", "yml").unwrap_or_default();
    for file in &workflows {
        run("check-jsonschema", &["--builtin-schema", "vendor.github-workflows", &file.to_string_lossy()])?;
    }
    Ok(Done::Passed("Dockerfile, compose.yaml, scripts, YAML".to_owned()))
}

/// The whole pod as processes, with SIGKILL to each sidecar: shorter than for people, otherwise the same.
pub(crate) fn demo() -> anyhow::Result<Done> {
    demo::as_a_test("20s")
}

pub(crate) fn images() -> anyhow::Result<Done> {
    if !docker::answers() {
        return Ok(Done::Skipped("no Docker engine answers".to_owned()));
    }
    let about = image::build(&image::Options::prebuilt())?;
    Ok(Done::Passed(format!("{} images, by {:?}", about.len(), docker::builder())))
}

/// The whole pod through images and compose.
pub(crate) fn compose() -> anyhow::Result<Done> {
    if !docker::answers() {
        return Ok(Done::Skipped("no Docker engine answers".to_owned()));
    }
    let composes = docker::composes();
    if composes.is_empty() {
        return Ok(Done::Skipped("neither docker compose nor docker-compose is installed".to_owned()));
    }
    // The overrides need images from elsewhere: that they fit onto the pod is what can be said without those.
    let mut fit = 0;
    for file in compose_files()?.iter().filter(|file| !file.ends_with("compose.yaml")) {
        for program in &composes {
            let mut config = docker::compose_command(program);
            config.args(["--file", "examples/compose/compose.yaml", "--file"]).arg(file);
            sh::output({
                config.args(["config", "--quiet"]);
                config
            })?;
        }
        fit += 1;
    }
    let names: Vec<String> = composes.iter().map(|program| program.join(" ")).collect();
    match demo::as_a_docker_test("20s", false)? {
        Done::Passed(about) => {
            Ok(Done::Passed(format!("{about}; {fit} overrides fit, by {}", names.join(" and "))))
        }
        skipped @ Done::Skipped(_) => Ok(skipped),
    }
}

/// compose.yaml and what is laid over it.
fn compose_files() -> anyhow::Result<Vec<PathBuf>> {
    let mut files = files_in("examples/compose", "yaml")?;
    files.retain(|file| fs::read_to_string(file).is_ok_and(|text| text.contains("\nservices:\n")));
    Ok(files)
}

fn files_in(folder: &str, extension: &str) -> anyhow::Result<Vec<PathBuf>> {
    let folder = sh::root().join(folder);
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    files.retain(|path| path.extension().is_some_and(|found| found == extension));
    files.sort();
    Ok(files)
}
