//! Reading manifests, and the names that all rules share.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// In the order of the pod, each with the default of its drain in seconds.
pub(crate) const TOOLS: [(&str, u64); 4] =
    [("ambassador-proxy", 5), ("sidecar-logshipper", 8), ("adapter-logformat", 3), ("init-waitfor", 0)];

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the root of the workspace")
}

pub(crate) fn read(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The YAML files of a folder, by name.
pub(crate) fn files(folder: &str) -> Vec<PathBuf> {
    let folder = root().join(folder);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a folder entry").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files
}

/// A list that may be absent.
pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A text that may be absent.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

/// (ConfigMap, file name, content)
pub(crate) fn config_maps(documents: &[Value]) -> impl Iterator<Item = (&str, &str, &str)> {
    documents.iter().filter(|document| document["kind"] == "ConfigMap").flat_map(|map| {
        let data = map["data"].as_object().into_iter().flatten();
        data.map(|(name, content)| (text(&map["metadata"]["name"]), name.as_str(), text(content)))
    })
}

/// A binary of the workspace, beside the folder of the test binaries, where `cargo build` and `cargo xtask test` put it.
pub(crate) fn binary(name: &str) -> PathBuf {
    let here = std::env::current_exe().expect("the path of this test");
    here.parent().and_then(Path::parent).expect("target/PROFILE/deps").join(name)
}
