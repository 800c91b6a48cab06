//! What has to fit together within one manifest, and between it and examples/README.md.

use std::path::Path;

use serde_json::Value;

use crate::pod::{self, Pod};
use crate::yaml::{config_maps, list, root, text};

pub(crate) fn check(file: &Path, documents: &[Value]) -> Vec<String> {
    let mut problems = Vec::new();
    for document in documents {
        problems.extend(selectors(document, documents));
    }
    problems.extend(maps(documents));
    for pod in pod::all(documents) {
        problems.extend(configs(&pod, documents));
    }
    problems.extend(told(file));
    problems
}

/// Labels say who belongs to whom; the API takes any, and then nothing is selected.
fn selectors(document: &Value, documents: &[Value]) -> Vec<String> {
    let (kind, name) = (text(&document["kind"]), text(&document["metadata"]["name"]));
    let mut problems = Vec::new();
    let selector = &document["spec"]["selector"];
    if kind == "Service" {
        let chosen: Vec<&Value> =
            documents.iter().filter(|other| matches(selector, &labels(other)["labels"])).collect();
        if chosen.is_empty() {
            problems.push(format!("the Service {name} selects no pod of this file"));
        }
        let ports: Vec<&Value> = pod::all(documents)
            .iter()
            .flat_map(|pod| pod.containers.iter().map(|c| c.spec))
            .flat_map(|spec| list(&spec["ports"]))
            .collect();
        for port in list(&document["spec"]["ports"]) {
            let target = if port["targetPort"].is_null() { &port["port"] } else { &port["targetPort"] };
            if !ports.iter().any(|found| found["name"] == *target || found["containerPort"] == *target) {
                problems.push(format!("the Service {name} leads to {target}, which no container has"));
            }
        }
    } else if !selector.is_null() && !matches(&selector["matchLabels"], &labels(document)["labels"]) {
        problems.push(format!("{kind} {name} does not select its own pods"));
    }
    if kind != "Service" && kind != "ConfigMap" {
        let pods = pod::all(std::slice::from_ref(document));
        for pod in pods.iter().filter(|pod| pod.containers.len() > 1) {
            let shown = &labels(document)["annotations"]["kubectl.kubernetes.io/default-container"];
            if !pod.containers.iter().any(|container| !container.init && *shown == container.name) {
                problems.push(format!(
                    "{name}: `kubectl logs` shows {shown}; the annotation default-container names the app"
                ));
            }
        }
    }
    problems
}

/// The metadata of the pods that a document makes.
fn labels(document: &Value) -> &Value {
    if document["kind"] == "Pod" { &document["metadata"] } else { &document["spec"]["template"]["metadata"] }
}

fn matches(selector: &Value, labels: &Value) -> bool {
    selector.as_object().is_some_and(|wanted| wanted.iter().all(|(key, value)| labels[key] == *value))
}

/// Every ConfigMap is used, and every one that is used is here.
pub(crate) fn maps(documents: &[Value]) -> Vec<String> {
    let mut problems = Vec::new();
    let of_pods = pod::all(documents);
    let used: Vec<&str> = of_pods
        .iter()
        .flat_map(|pod| list(&pod.spec["volumes"]))
        .filter_map(|volume| volume["configMap"]["name"].as_str())
        .collect();
    let here: Vec<&str> = config_maps(documents).map(|(map, _, _)| map).collect();
    problems.extend(
        here.iter().filter(|map| !used.contains(map)).map(|map| format!("nobody mounts the ConfigMap {map}")),
    );
    problems.extend(
        used.iter()
            .filter(|map| !here.contains(map))
            .map(|map| format!("the ConfigMap {map} is not in this file")),
    );
    problems
}

/// `--config FILE` lies in a ConfigMap that the container mounts.
fn configs(pod: &Pod<'_>, documents: &[Value]) -> Vec<String> {
    let mut problems = Vec::new();
    for container in pod.containers.iter().filter(|container| container.tool().is_some()) {
        let Some(config) = container.flag("--config") else { continue };
        let found = container.mounts().iter().any(|mount| {
            let volume = list(&pod.spec["volumes"]).iter().find(|volume| volume["name"] == mount["name"]);
            let map = volume.map_or("", |volume| text(&volume["configMap"]["name"]));
            let rest =
                config.strip_prefix(text(&mount["mountPath"])).map(|rest| rest.trim_start_matches('/'));
            config_maps(documents).any(|(name, file, _)| name == map && rest == Some(file))
        });
        if !found {
            problems.push(format!("{}: no ConfigMap brings {config}", container.name));
        }
    }
    problems
}

/// A comment at the top says what it shows and how; examples/README.md has a row for it.
fn told(file: &Path) -> Vec<String> {
    let mut problems = Vec::new();
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let content = std::fs::read_to_string(file).expect("a manifest");
    let head: Vec<&str> = content.lines().take_while(|line| line.starts_with('#')).collect();
    if !head.join("\n").contains(&format!("kubectl apply -f examples/pods/{name}")) {
        problems.push("its first comment does not say how to apply it".to_owned());
    }
    let readme = std::fs::read_to_string(root().join("examples/README.md")).expect("examples/README.md");
    if !readme.lines().any(|line| line.starts_with('|') && line.contains(&format!("(pods/{name})"))) {
        problems.push(format!("examples/README.md has no row for pods/{name}"));
    }
    problems
}
