//! ConfigMaps hold the files of examples/config, byte for byte; the real binaries accept them and the arguments.

use std::path::{Path, PathBuf};

use serde_json::Value;
use testkit::{Proc, skip_or_fail};

use crate::pod::{Container, Pod};
use crate::yaml::{self, TOOLS, config_maps, list, root, text};

pub(crate) fn check(file: &Path, documents: &[Value]) -> Vec<String> {
    let mut problems = Vec::new();
    for (map, name, content) in config_maps(documents) {
        let source = root().join("examples/config").join(name);
        match std::fs::read_to_string(&source) {
            Ok(wanted) if wanted == content => {}
            Ok(_) => {
                problems.push(format!("{}: {map}/{name} differs from examples/config/{name}", file.display()))
            }
            // A file of somebody else's program (nginx.conf) has no twin.
            Err(_) if !TOOLS.iter().any(|(tool, _)| name.starts_with(tool)) => {}
            Err(error) => {
                problems.push(format!("{}: {map}/{name}: examples/config/{name}: {error}", file.display()))
            }
        }
    }
    problems
}

/// Runs each of the four with `--check` and its own arguments, ConfigMap volumes unpacked where they are mounted.
pub(crate) fn check_args(file: &Path, pod: &Pod<'_>, documents: &[Value]) -> Vec<String> {
    let mut problems = Vec::new();
    for container in &pod.containers {
        let Some((tool, _)) = container.tool().and_then(|at| TOOLS.get(at)) else { continue };
        let Some(binary) = binary(tool) else { continue };
        let dir = tempfile::tempdir().expect("a folder");
        let mounts = unpack(dir.path(), pod, container, documents);
        let mut command = Proc::new(binary).arg("--check");
        for arg in container.args() {
            command = command.arg(inside(arg, &mounts));
        }
        for variable in list(&container.spec["env"]) {
            command = command.env(text(&variable["name"]), text(&variable["value"]));
        }
        let exited = command.run();
        if exited.code() != Some(0) {
            let said = exited.stderr();
            problems.push(format!("{}: {}: {:?}: {said}", file.display(), container.name, exited.code()));
        }
    }
    problems
}

/// Writes the ConfigMaps that the container mounts below `dir`; returns (mount path, folder).
fn unpack(
    dir: &Path,
    pod: &Pod<'_>,
    container: &Container<'_>,
    documents: &[Value],
) -> Vec<(String, PathBuf)> {
    let mut mounts = Vec::new();
    for mount in container.mounts() {
        let volume = list(&pod.spec["volumes"]).iter().find(|volume| volume["name"] == mount["name"]);
        let Some(map) = volume.and_then(|volume| volume["configMap"]["name"].as_str()) else { continue };
        let folder = dir.join(map);
        std::fs::create_dir_all(&folder).expect("a folder");
        for (_, name, content) in config_maps(documents).filter(|(found, _, _)| *found == map) {
            std::fs::write(folder.join(name), content).expect("write a file");
        }
        mounts.push((text(&mount["mountPath"]).to_owned(), folder));
    }
    mounts
}

fn inside(arg: &str, mounts: &[(String, PathBuf)]) -> String {
    for (path, folder) in mounts {
        if let Some(rest) = arg.strip_prefix(path.as_str()) {
            return format!("{}{rest}", folder.display());
        }
    }
    arg.to_owned()
}

fn binary(name: &str) -> Option<PathBuf> {
    let binary = yaml::binary(name);
    if binary.exists() {
        return Some(binary);
    }
    skip_or_fail(&format!("{name} is not built; `cargo build --workspace` builds it"));
    None
}
