//! The policy test: what no schema of Kubernetes or compose can say about the examples.
//!
//! `read → each pod → each rule → all problems at once`. A new manifest in `examples/pods` is under these rules
//! without being named here. The API's own schemas are checked by `cargo xtask test manifests`.

#[path = "manifests/compose.rs"]
mod compose;
#[path = "manifests/config.rs"]
mod config;
#[path = "manifests/pod.rs"]
mod pod;
#[path = "manifests/rules.rs"]
mod rules;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// In the order of the pod, each with the default of its drain in seconds.
pub(crate) const TOOLS: [(&str, u64); 4] =
    [("ambassador-proxy", 5), ("sidecar-logshipper", 8), ("adapter-logformat", 3), ("init-waitfor", 0)];

pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

#[test]
fn every_manifest_keeps_the_rules() {
    let files = yaml_files("examples/pods");
    assert!(!files.is_empty(), "there is no manifest in examples/pods");
    let mut problems = Vec::new();
    for file in &files {
        let documents = read(file);
        let pods = pod::all(&documents);
        if pods.is_empty() {
            problems.push(format!("{}: there is no pod in it", file.display()));
        }
        for pod in &pods {
            for problem in rules::check(pod) {
                problems.push(format!("{}: {}: {problem}", file.display(), pod.name));
            }
        }
    }
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn every_config_map_holds_the_very_files_and_they_pass() {
    let mut problems = Vec::new();
    for file in yaml_files("examples/pods") {
        problems.extend(config::check(&file, &read(&file)));
    }
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn every_command_line_is_accepted_by_its_binary() {
    let mut problems = Vec::new();
    for file in yaml_files("examples/pods") {
        let documents = read(&file);
        for pod in pod::all(&documents) {
            problems.extend(config::check_args(&file, &pod, &documents));
        }
    }
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn compose_has_the_wiring_of_the_full_pod() {
    let compose = read(&root().join("examples/compose/compose.yaml"));
    let documents = read(&root().join("examples/pods/full.yaml"));
    let pods = pod::all(&documents);
    let shop = pods.iter().find(|pod| pod.name == "shop").expect("full.yaml has the pod `shop`");
    let problems = compose::check(&compose[0], shop);
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

/// A rule that never bites is no rule: each of these changes to the good manifest has to be found.
#[test]
fn each_rule_bites() {
    let init = |at: usize, rest: &str| format!("/spec/initContainers/{at}/{rest}");
    let app = |rest: &str| format!("/spec/containers/0/{rest}");
    let cases: Vec<(String, Value, &str)> = vec![
        (init(0, "restartPolicy"), json!("always"), "exactly Always"),
        (init(3, "image"), json!("sidecar-logshipper:0.1.0"), "the order is"),
        (init(1, "name"), json!("app"), "two containers named app"),
        (init(1, "ports/0/containerPort"), json!(9102), "9102 is taken"),
        (init(0, "startupProbe/httpGet/port"), json!("http"), "does not declare"),
        (init(0, "livenessProbe/httpGet/path"), json!("/readyz"), "it is /livez"),
        (init(2, "volumeMounts/1/readOnly"), json!(false), "all write to app-logs"),
        (init(0, "volumeMounts/0/name"), json!("confg"), "mounted and not declared"),
        (init(0, "volumeMounts/0/readOnly"), json!(null), "mounted without readOnly"),
        (init(0, "image"), json!("ambassador-proxy:latest"), "not pinned"),
        (init(0, "image"), json!("ambassador-proxy:9.9.9"), "not of version"),
        (init(0, "resources/limits"), json!({}), "limits/memory is not set"),
        (init(1, "securityContext/capabilities"), json!({}), "capabilities is"),
        (app("securityContext/readOnlyRootFilesystem"), json!(false), "readOnlyRootFilesystem is false"),
        ("/spec/terminationGracePeriodSeconds".to_owned(), json!(20), "grace 20 s is less"),
        ("/spec/volumes/1/emptyDir/sizeLimit".to_owned(), json!(null), "has no sizeLimit"),
        ("/spec/securityContext/runAsNonRoot".to_owned(), json!(null), "runAsNonRoot is null"),
        (
            "/spec/automountServiceAccountToken".to_owned(),
            json!(true),
            "automountServiceAccountToken is true",
        ),
    ];
    let documents = read(&root().join("examples/pods/full.yaml"));
    let good = documents.iter().find(|d| d["kind"] == "Pod" && d["metadata"]["name"] == "shop");
    let good = good.expect("full.yaml has the pod `shop`");
    for (path, value, expected) in cases {
        let mut bad = good.clone();
        *bad.pointer_mut(&path).unwrap_or_else(|| panic!("{path} is not in full.yaml")) = value;
        let documents = [bad];
        let problems: Vec<String> = pod::all(&documents).iter().flat_map(rules::check).collect();
        assert!(
            problems.iter().any(|p| p.contains(expected)),
            "{path}: wanted {expected:?} among {problems:?}"
        );
    }
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the root of the workspace")
}

pub(crate) fn read(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn yaml_files(folder: &str) -> Vec<PathBuf> {
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
