//! What a block is.

use std::path::Path;

use serde_json::{Value, json};

use crate::fences::Block;
use crate::yaml::TOOLS;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    /// Lines for a shell.
    Shell,
    /// Pods, or parts of them.
    Pods(Vec<Value>),
    /// A configuration of this binary.
    Config(&'static str),
    /// A picture, an output, or an object without containers.
    Picture,
    /// It has to say more.
    Unknown(String),
}

pub(crate) fn of(file: &Path, block: &Block) -> Kind {
    match block.language.as_str() {
        "sh" | "console" | "bash" => Kind::Shell,
        "yaml" => yaml(file, &block.text),
        "" | "text" | "json" => Kind::Picture,
        other => Kind::Unknown(format!("a block in {other}: whose is it? `<!-- not run: … -->` says so")),
    }
}

fn yaml(file: &Path, text: &str) -> Kind {
    let documents: Vec<Value> = match serde_saphyr::from_multiple(text) {
        Ok(documents) => documents,
        Err(error) => return Kind::Unknown(format!("no YAML: {error}")),
    };
    let pods: Vec<Value> = documents.iter().filter_map(pod).collect();
    if !pods.is_empty() {
        return Kind::Pods(pods);
    }
    if documents.iter().any(|object| object["kind"].is_string() || object["resources"].is_array()) {
        return Kind::Unknown("an object that nothing here takes: `<!-- not run: … -->` says so".to_owned());
    }
    let first = text.lines().next().unwrap_or("").trim_start_matches(['#', ' ']);
    let folder = file.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
    let tools = || TOOLS.iter().map(|(tool, _)| *tool);
    match tools().find(|tool| first.starts_with(tool)).or_else(|| tools().find(|tool| folder == *tool)) {
        Some(tool) => Kind::Config(tool),
        None => Kind::Unknown("a configuration of whom? Its first line may say `# BINARY`".to_owned()),
    }
}

/// A pod made of what a block shows of one.
fn pod(document: &Value) -> Option<Value> {
    let specs = [document, &document["spec"], &document["spec"]["template"]["spec"]];
    let spec =
        specs.into_iter().find(|spec| spec["containers"].is_array() || spec["initContainers"].is_array())?;
    Some(json!({"kind": "Pod", "metadata": {"name": "block"}, "spec": spec}))
}
