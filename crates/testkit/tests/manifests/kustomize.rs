//! The kustomize components: patched into somebody's Deployment, the result is under the same rules as a manifest.

use std::path::Path;

use serde_json::{Value, json};
use testkit::Proc;

use crate::yaml::{list, read, root, text};

/// What `kubectl kustomize` makes of a folder; `None` where kubectl is missing or too old to know components (before 1.21).
pub(crate) fn by_kubectl(folder: &str) -> Option<Vec<Value>> {
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths).find(|dir| dir.join("kubectl").exists())?;
    let version = Proc::new("kubectl").args(["version", "--client"]).run();
    if !["Kustomize Version: v4", "Kustomize Version: v5"]
        .iter()
        .any(|known| version.stdout().contains(known))
    {
        return None;
    }
    let built = Proc::new("kubectl").arg("kustomize").arg(root().join(folder)).run();
    Some(serde_saphyr::from_multiple(built.expect_code(0).stdout().as_str()).expect("kubectl prints YAML"))
}

/// The same by hand, as far as these components need it: ConfigMaps from files, strategic merge with lists by name, where
/// what is new goes to the front (kustomize #2907).
pub(crate) fn by_hand(folder: &Path) -> Vec<Value> {
    let kustomization = &read(&folder.join("kustomization.yaml"))[0];
    let mut documents = Vec::new();
    for resource in list(&kustomization["resources"]) {
        documents.extend(read(&folder.join(text(resource))));
    }
    for component in list(&kustomization["components"]) {
        let folder = folder.join(text(component));
        let component = &read(&folder.join("kustomization.yaml"))[0];
        assert_eq!(component["kind"], "Component", "{}", folder.display());
        for map in list(&component["configMapGenerator"]) {
            let content = |file: &Value| {
                let content =
                    std::fs::read_to_string(folder.join(text(file))).expect("a file of a ConfigMap");
                (text(file).to_owned(), json!(content))
            };
            let data: serde_json::Map<_, _> = list(&map["files"]).iter().map(content).collect();
            documents.push(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": map["name"]}, "data": data}));
        }
        for patch in list(&component["patches"]) {
            let mut change = read(&folder.join(text(&patch["path"])))[0].clone();
            // The target says whom it is for, not its name.
            change["metadata"] = json!({});
            for document in
                documents.iter_mut().filter(|document| document["kind"] == patch["target"]["kind"])
            {
                merge(document, &change);
            }
        }
    }
    documents
}

fn merge(into: &mut Value, change: &Value) {
    match (into, change) {
        (Value::Object(into), Value::Object(change)) => {
            for (key, value) in change {
                merge(into.entry(key.as_str()).or_insert(Value::Null), value);
            }
        }
        (Value::Array(into), Value::Array(change)) if change.iter().all(|item| item["name"].is_string()) => {
            let mut front = Vec::new();
            for item in change {
                match into.iter_mut().find(|found| found["name"] == item["name"]) {
                    Some(found) => merge(found, item),
                    None => front.push(item.clone()),
                }
            }
            into.splice(0..0, front);
        }
        (into, change) => *into = change.clone(),
    }
}
