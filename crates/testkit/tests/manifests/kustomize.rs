//! The kustomize components: patched into somebody's Deployment, the result is under the same rules as a manifest.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use testkit::Proc;

use crate::yaml::{list, read, root, text};

/// What kustomize itself makes of a folder; `None` where there is none.
pub(crate) fn by_itself(folder: &Path) -> Option<Vec<Value>> {
    let fetched = root().join("target/xtask/bin");
    let paths = std::env::var_os("PATH")?;
    let program = std::iter::once(fetched).chain(std::env::split_paths(&paths)).find_map(|dir| {
        let program = dir.join("kustomize");
        program.exists().then_some(program)
    });
    let built = Proc::new(program?).arg("build").arg(folder).run();
    Some(serde_saphyr::from_multiple(built.expect_code(0).stdout().as_str()).expect("kustomize prints YAML"))
}

/// Somebody's folder beside one component.
pub(crate) struct Mine {
    pub(crate) folder: PathBuf,
    _dir: tempfile::TempDir,
}

/// A folder with the example's Deployment and this kustomization, and the component next to it.
pub(crate) fn mine(component: &str, kustomization: &str) -> Mine {
    let dir = tempfile::tempdir().expect("a folder");
    let examples = root().join("examples/kustomize");
    let (folder, beside) = (dir.path().join("mine"), dir.path().join(component));
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::create_dir(&beside).expect("a folder");
    for file in std::fs::read_dir(examples.join(component)).expect("a component").flatten() {
        std::fs::copy(file.path(), beside.join(file.file_name())).expect("copy");
    }
    std::fs::write(folder.join("kustomization.yaml"), kustomization).expect("write");
    std::fs::copy(examples.join("example/deployment.yaml"), folder.join("deployment.yaml")).expect("copy");
    Mine { folder, _dir: dir }
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
